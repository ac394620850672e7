"""Data and small estimators for the tests of what MLPClassifier and MLPRegressor add."""

import numpy as np

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp.estimators.rules import NAMES, is_stochastic

N, N_FEATURES = 60, 5
_RNG = np.random.default_rng(0)
X = _RNG.normal(size=(N, N_FEATURES))
Y01 = (X[:, 0] + 0.3 * X[:, 1] > 0).astype(int)
Y = np.array(["no", "yes"])[Y01]
Y3 = np.array(["a", "b", "c"])[np.digitize(X[:, 0] + X[:, 1], [-0.5, 0.5])]
Y_MANY = (X[:, :3] > 0.2).astype(int)  # multilabel
TARGETS = X[:, 0] - 2 * np.tanh(X[:, 1])
WEIGHTS = _RNG.uniform(0.1, 3.0, N)
X_VAL, Y_VAL, WEIGHTS_VAL = X[:23] + 0.1, Y[:23], WEIGHTS[:23]

FULL_BATCH = sorted(name for name in NAMES if not is_stochastic(name))
STOCHASTIC = sorted(name for name in NAMES if is_stochastic(name))


def classifier(**parameters):
    defaults = {"hidden_layer_sizes": (6,), "max_iter": 4, "random_state": 0}
    return MLPClassifier(**{**defaults, **parameters})


def regressor(**parameters):
    defaults = {"hidden_layer_sizes": (6,), "max_iter": 4, "random_state": 0}
    return MLPRegressor(**{**defaults, **parameters})


def state(estimator):
    """Return what an estimator holds, as something that can be compared bit for bit."""
    held = {}
    for name, value in vars(estimator).items():
        if name != "_predictor":
            held[name] = _comparable(value)
    return held


def _comparable(value):
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, np.random.RandomState):
        return _comparable(value.get_state())
    if isinstance(value, (list, tuple)):
        return [_comparable(one) for one in value]
    if hasattr(value, "__dict__") and not callable(value):
        return {name: _comparable(one) for name, one in vars(value).items()}
    return repr(value)


def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
