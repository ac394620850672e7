"""The estimators warn, fail and print in scikit-learn's words."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.fixes import parse_version

import fastmlp
from cases_twins import NAMES, VERSION, Twins, assert_same, outcome, task

pytestmark = pytest.mark.skipif(
    parse_version("1.9") > VERSION, reason="the words are those of scikit-learn 1.9"
)
X = task("binary").X
Y = {NAMES[0]: task("multiclass").y, NAMES[1]: task("regression").y}


@pytest.mark.parametrize(
    "parameters",
    [
        {"solver": "adam", "max_iter": 4},
        {"solver": "sgd", "max_iter": 4, "batch_size": 100},
        {"solver": "lbfgs", "max_iter": 4},
        {"solver": "lbfgs", "max_fun": 5},
        {"solver": "lbfgs", "max_fun": 1},
        {"solver": "adam", "tol": 1e9, "n_iter_no_change": 3},
        {"solver": "adam", "tol": 1e9, "n_iter_no_change": np.inf, "max_iter": 15},
        {"solver": "sgd", "tol": 1e9, "n_iter_no_change": 3, "max_iter": 4},
        {"solver": "lbfgs", "tol": 0.5},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", NAMES)
def test_warnings_of_convergence(name: str, parameters: dict[str, Any]) -> None:
    twins = Twins(name, hidden_layer_sizes=5, random_state=0, **parameters)
    assert_same(twins.do("fit", X, Y[name]), X, Y[name])


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize(
    "parameters",
    [
        {"solver": "adam", "max_iter": 3},
        {"solver": "adam", "tol": 1e9, "n_iter_no_change": 2, "verbose": 10},
        {"solver": "sgd", "tol": 1e9, "n_iter_no_change": 2},
        {"solver": "sgd", "tol": 0.3, "n_iter_no_change": 1, "learning_rate": "adaptive"},
        {"solver": "adam", "tol": 0.3, "n_iter_no_change": 1, "learning_rate": "adaptive"},
        {"solver": "sgd", "max_iter": 3, "learning_rate": "invscaling"},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", NAMES)
def test_what_is_printed(name: str, parameters: dict[str, Any], early_stopping: bool) -> None:
    settings = {"hidden_layer_sizes": 5, "random_state": 0, "verbose": True, **parameters}
    twins = Twins(name, early_stopping=early_stopping, **settings)
    ours, theirs = twins.call("fit", X, Y[name])
    assert ours.printed == theirs.printed
    assert ours.printed.startswith("Iteration 1, loss = ")
    if not early_stopping:
        ours, theirs = twins.call("partial_fit", X, Y[name])
        assert ours.printed == theirs.printed


def test_nothing_is_printed_unless_asked(capsys: pytest.CaptureFixture[str]) -> None:
    for solver in ("adam", "lbfgs", "gd"):
        mlp = fastmlp.MLPRegressor(solver=solver, max_iter=2)
        with pytest.warns(ConvergenceWarning):
            mlp.fit(X, Y[NAMES[1]])
    assert capsys.readouterr() == ("", "")


def test_lbfgs_prints_each_iteration(capsys: pytest.CaptureFixture[str]) -> None:
    """scikit-learn leaves it to SciPy, which prints nothing since 1.18."""
    mlp = fastmlp.MLPRegressor(solver="lbfgs", max_iter=2, verbose=True)
    with pytest.warns(ConvergenceWarning):
        mlp.fit(X, Y[NAMES[1]])
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"Iteration {k}, loss = {loss:.8f}" for k, loss in enumerate(mlp.loss_curve_, 1)
    ]


# Parameters that neither class takes: whose words differ only in what else would do.
BAD_PARAMETERS: list[tuple[str, Any]] = [
    ("hidden_layer_sizes", 0),
    ("hidden_layer_sizes", -3),
    ("hidden_layer_sizes", 2.5),
    ("hidden_layer_sizes", "wide"),
    ("hidden_layer_sizes", None),
    ("hidden_layer_sizes", (4, 0)),
    ("hidden_layer_sizes", (4, -1)),
    ("activation", "ghost"),
    ("activation", 3),
    ("solver", "hadoken"),
    ("solver", None),
    ("alpha", -1),
    ("alpha", "much"),
    ("alpha", None),
    ("batch_size", 0),
    ("batch_size", -2),
    ("batch_size", 2.5),
    ("batch_size", "all"),
    ("learning_rate", "ghost"),
    ("learning_rate", 0.1),
    ("learning_rate_init", 0),
    ("learning_rate_init", -0.1),
    ("learning_rate_init", None),
    ("power_t", -0.1),
    ("max_iter", 0),
    ("max_iter", -1),
    ("max_iter", 10.0),
    ("shuffle", "yes"),
    ("shuffle", 2),
    ("random_state", "seed"),
    ("random_state", -1),
    ("random_state", 1.5),
    ("tol", -1e-4),
    ("tol", None),
    ("verbose", "loud"),
    ("verbose", -1),
    ("warm_start", "yes"),
    ("warm_start", 2),
    ("momentum", -0.1),
    ("momentum", 1.1),
    ("nesterovs_momentum", "no"),
    ("early_stopping", "no"),
    ("early_stopping", 3),
    ("validation_fraction", 1.0),
    ("validation_fraction", -0.1),
    ("beta_1", 1.0),
    ("beta_1", -0.1),
    ("beta_2", 1.0),
    ("epsilon", 0.0),
    ("epsilon", -1e-8),
    ("n_iter_no_change", 0),
    ("n_iter_no_change", -1),
    ("n_iter_no_change", 1.5),
    ("max_fun", 0),
    ("max_fun", 1.5),
]
WHAT_WOULD_DO = re.compile("must be .* Got ")


@pytest.mark.parametrize(("parameter", "value"), BAD_PARAMETERS)
@pytest.mark.parametrize("name", NAMES)
def test_bad_parameters(name: str, parameter: str, value: Any) -> None:
    twins = Twins(name, **{parameter: value})
    ours, theirs = (
        outcome(lambda mlp=mlp: mlp.fit(X, Y[name])).error for mlp in (twins.ours, twins.theirs)
    )
    assert ours is not None
    assert theirs is not None
    assert ours[0] is theirs[0]
    assert WHAT_WOULD_DO.sub("", ours[1]) == WHAT_WOULD_DO.sub("", theirs[1])
    takes_more = parameter in ("activation", "solver", "learning_rate", "warm_start")
    assert takes_more or ours[1] == theirs[1]


def nan_at(X: np.ndarray, value: float = np.nan) -> np.ndarray:
    spoilt = X.copy()
    spoilt[3, 1] = value
    return spoilt


def call(*args: Any, method: str = "fit", **kwargs: Any) -> Callable[[Twins], Any]:
    """Return what calls a method of new twins."""
    return lambda twins: twins.call(method, *args, **kwargs)


def after_fit(*args: Any, method: str = "predict", **kwargs: Any) -> Callable[[Twins], Any]:
    """Return what calls a method of twins that are fitted."""

    def calls(twins: Twins) -> Any:
        twins.set_params(max_iter=2).do("fit", X, Y[type(twins.ours).__name__])
        return twins.call(method, *args, **kwargs)

    return calls


Y_ANY = np.arange(len(X)) % 3
WRONG_CALLS: dict[str, Callable[[Twins], Any]] = {
    "lengths": call(X, Y_ANY[:-1]),
    "no samples": call(X[:0], Y_ANY[:0]),
    "no features": call(X[:, :0], Y_ANY),
    "X is a vector": call(X[:, 0], Y_ANY),
    "X has three dimensions": call(X[:, :, None], Y_ANY),
    "X is None": call(None, Y_ANY),
    "y is None": call(X, None),
    "y is a number": call(X, 3),
    "NaN in X": call(nan_at(X), Y_ANY),
    "infinite X": call(nan_at(X, np.inf), Y_ANY),
    "NaN in y": call(X, np.where(Y_ANY == 1, np.nan, Y_ANY)),
    "infinite y": call(X, np.where(Y_ANY == 1, np.inf, Y_ANY)),
    "complex X": call(X.astype(complex), Y_ANY),
    "strings in X": call(np.full(X.shape, "a"), Y_ANY),
    "sparse y": call(X, sparse.csr_array(np.eye(len(X))[:, :1])),
    "weights' length": call(X, Y_ANY, np.ones(5)),
    "NaN in weights": call(X, Y_ANY, np.where(Y_ANY == 1, np.nan, 1)),
    "weights in two dimensions": call(X, Y_ANY, np.ones((len(X), 2))),
    "weights all 0": call(X, Y_ANY, np.zeros(len(X))),
    "predict before fit": call(X, method="predict"),
    "score before fit": call(X, Y_ANY, method="score"),
    "predict fewer features": after_fit(X[:, :-1]),
    "predict no samples": after_fit(X[:0]),
    "predict NaN": after_fit(nan_at(X)),
    "predict a vector": after_fit(X[0]),
    "predict strings": after_fit(np.full(X.shape, "a")),
    "sparse fewer features": after_fit(sparse.csr_array(X[:, :-1])),
    "sparse NaN": after_fit(sparse.csr_array(nan_at(X))),
    "score lengths": after_fit(X, Y_ANY[:-1], method="score"),
    "partial_fit other features": after_fit(X[:, :-1], Y_ANY, method="partial_fit"),
    "too few to validate on": lambda twins: twins.set_params(early_stopping=True).call(
        "fit", X[:5], [0, 1, 0, 1, 0]
    ),
    "nothing to validate on": lambda twins: twins.set_params(
        early_stopping=True, validation_fraction=0.0
    ).call("fit", X, Y_ANY),
}


@pytest.mark.parametrize("case", WRONG_CALLS)
@pytest.mark.parametrize("name", NAMES)
def test_wrong_calls(name: str, case: str) -> None:
    twins = Twins(name, max_iter=2, random_state=0)
    ours, _ = WRONG_CALLS[case](twins)  # which compares the errors
    assert ours.error is not None


def partial_fits(*calls: dict[str, Any]) -> Callable[[Twins], Any]:
    """Return what calls `partial_fit` several times: the last may fail."""

    def run(twins: Twins) -> Any:
        *first, last = calls
        for arguments in first:
            twins.do("partial_fit", **arguments)
        return twins.call("partial_fit", **last)

    return run


def warm_starts(y: Any) -> Callable[[Twins], Any]:
    """Return what fits twice: first to classes 0, 1, 2."""
    return lambda twins: twins.set_params(warm_start=True).do("fit", X, Y_ANY).call("fit", X, y)


WRONG_LABELS: dict[str, Callable[[Twins], Any]] = {
    "several classes each": call(X, np.stack([Y_ANY, Y_ANY + 1], axis=1)),
    "a class of one": lambda twins: twins.set_params(early_stopping=True).call(
        "fit", X, np.arange(len(X)) == 3
    ),
    "first without classes": partial_fits({"X": X, "y": Y_ANY}),
    "unknown at first": partial_fits({"X": X, "y": Y_ANY, "classes": [0, 1]}),
    "unknown later": partial_fits(
        {"X": X, "y": Y_ANY, "classes": [0, 1, 2]}, {"X": X, "y": Y_ANY + 1}
    ),
    "other classes later": partial_fits(
        {"X": X, "y": Y_ANY, "classes": [0, 1, 2]}, {"X": X, "y": Y_ANY, "classes": [0, 1, 2, 3]}
    ),
    "strings later": partial_fits(
        {"X": X, "y": Y_ANY, "classes": [0, 1, 2]}, {"X": X, "y": Y_ANY.astype(str)}
    ),
    "partial_fit, features": partial_fits({"X": X[:0], "y": Y_ANY[:0], "classes": [0, 1, 2]}),
    "warm start, fewer": warm_starts(Y_ANY % 2),
    "warm start, more": warm_starts(np.arange(len(X)) % 4),
    "warm start, others": warm_starts(Y_ANY + 1),
}


@pytest.mark.parametrize("case", WRONG_LABELS)
def test_wrong_labels(case: str) -> None:
    ours, _ = WRONG_LABELS[case](Twins(NAMES[0], max_iter=2, random_state=0))
    assert ours.error is not None


def both_errors(twins: Twins, *args: Any, method: str = "fit") -> tuple[Any, Any]:
    """Return the errors of both, which may differ."""
    ours, theirs = (
        outcome(lambda mlp=mlp: getattr(mlp, method)(*args)).error
        for mlp in (twins.ours, twins.theirs)
    )
    return ours, theirs


@pytest.mark.parametrize(
    "y",
    [
        X[:, 0],
        X[:, :2],
        np.array([None, "a", "b"], dtype=object)[Y_ANY],
        np.array([1, "a", 2.5], dtype=object)[Y_ANY],
    ],
    ids=["continuous", "several", "None", "mixed"],
)
def test_what_is_no_label(y: np.ndarray) -> None:
    """scikit-learn fails as well, some way or other: our words are those of its other classes."""
    ours, theirs = both_errors(Twins(NAMES[0]), X, y)
    assert ours[0] is ValueError
    assert ours[1].startswith("Unknown label type: ")
    assert theirs is not None


def test_what_is_no_class() -> None:
    ours, theirs = both_errors(Twins(NAMES[0]), X, X[:, 0], None, [0, 1], method="partial_fit")
    assert ours[0] is theirs[0] is ValueError
    assert ours[1].startswith("`y` has classes not in `self.classes_`.")


def test_strings_for_the_regressor() -> None:
    y = np.array(["a", "b", "c"])[Y_ANY]
    ours, theirs = both_errors(Twins(NAMES[1]), X, y)
    assert ours == (ValueError, "y must hold real numbers; got dtype <U1")
    assert theirs is not None
    ours, _ = Twins(NAMES[1]).call("fit", X, y.astype(object))
    assert ours.error is not None


def test_what_scikit_learn_lets_pass() -> None:
    """Counts below 0, weights below 0, and lbfgs of batches."""
    ours, theirs = both_errors(Twins(NAMES[1], loss="poisson", max_iter=2), X, Y_ANY - 1.0)
    assert (ours, theirs) == ((ValueError, "y must be 0 or more for poisson; got -1.0"), None)
    ours, theirs = both_errors(Twins(NAMES[0], max_iter=2), X, Y_ANY, np.arange(-3.0, 50.0))
    assert (ours, theirs) == ((ValueError, "sample_weight must be 0 or more; got -3.0"), None)
    Twins(NAMES[0], solver="lbfgs").call("partial_fit", X, Y_ANY)
    ours, theirs = both_errors(Twins(NAMES[1], solver="lbfgs"), X, Y_ANY, method="partial_fit")
    assert ours == (AttributeError, "This 'MLPRegressor' has no attribute 'partial_fit'")
    assert theirs is None


@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
def test_divergence(solver: str) -> None:
    """We see it at the end of the epoch, scikit-learn when all are done; or, by lbfgs, never."""
    twins = Twins(NAMES[1], solver=solver, learning_rate_init=1e20, activation="identity")
    ours, theirs = both_errors(twins, X if solver == "sgd" else 1e200 * X, Y[NAMES[1]])
    assert ours[0] is ValueError
    assert ours[1].startswith("Solver produced non-finite parameter weights.")
    assert theirs == (ours if solver == "sgd" else None)


def test_column_of_targets() -> None:
    for name in NAMES:
        ours, _ = Twins(name, max_iter=2).call("fit", X, Y[name][:, None])
        assert len(ours.warnings) == 2


class TestFeatureNames:
    def test_others(self) -> None:
        pd = pytest.importorskip("pandas")
        names = [f"f{k}" for k in range(6)]
        frame = pd.DataFrame(X, columns=names)
        twins = Twins(NAMES[0], max_iter=2, random_state=0).do("fit", frame, Y_ANY)
        for wrong in (
            frame[names[::-1]],
            frame.rename(columns={"f0": "g"}),
            frame[names[1:]],
            frame.assign(more=1.0),
            X,
        ):
            for method in ("predict", "predict_proba", "predict_log_proba"):
                ours, _ = twins.call(method, wrong)
                assert (ours.error is None) == (wrong is X)
            twins.call("partial_fit", wrong, Y_ANY)
        plain = Twins(NAMES[0], max_iter=2, random_state=0).do("fit", X, Y_ANY)
        ours, _ = plain.call("predict", frame)
        assert len(ours.warnings) == 1

    def test_of_several_types(self) -> None:
        pd = pytest.importorskip("pandas")
        frame = pd.DataFrame(X, columns=["a", "b", "c", 3, 4, 5])
        ours, _ = Twins(NAMES[0]).call("fit", frame, Y_ANY)
        assert ours.error is not None
