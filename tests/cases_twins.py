"""Our estimators beside scikit-learn's classes of the same names: both do the same."""

from __future__ import annotations

import contextlib
import copy
import io
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import neural_network
from sklearn.utils.fixes import parse_version

import fastmlp

VERSION = parse_version(sklearn.__version__)
NAMES = ("MLPClassifier", "MLPRegressor")
SOLVERS = ("sgd", "adam", "lbfgs")
# What NumPy tells of scikit-learn's arithmetic: "overflow encountered in matmul".
ARITHMETIC = re.compile("encountered in ")


@dataclass
class Outcome:
    """What a call has returned, raised, warned of and printed."""

    value: Any = None
    error: tuple[type, str] | None = None
    warnings: list[tuple[type, str]] = field(default_factory=list)
    printed: str = ""


def outcome(call: Callable[[], Any]) -> Outcome:
    """Return what comes of a call."""
    result, printed = Outcome(), io.StringIO()
    with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stdout(printed):
        warnings.simplefilter("always")
        try:
            result.value = call()
        except Exception as error:
            result.error = (type(error), str(error))
    result.printed = printed.getvalue()
    texts = [(w.category, str(w.message)) for w in caught]
    result.warnings = [(kind, text) for kind, text in texts if not ARITHMETIC.search(text)]
    return result


class Twins:
    """An estimator of ours and scikit-learn's with the same parameters."""

    def __init__(self, name: str, **parameters: Any) -> None:
        self.ours = getattr(fastmlp, name)(**copy.deepcopy(parameters))
        self.theirs = getattr(neural_network, name)(**parameters)

    def call(self, method: str, *args: Any, **kwargs: Any) -> tuple[Outcome, Outcome]:
        """Call a method of both, which must warn and fail alike; return what comes of it."""
        ours, theirs = (
            outcome(lambda mlp=mlp: getattr(mlp, method)(*args, **kwargs))
            for mlp in (self.ours, self.theirs)
        )
        assert ours.error == theirs.error
        assert ours.warnings == theirs.warnings
        return ours, theirs

    def do(self, method: str, *args: Any, **kwargs: Any) -> Twins:
        """Call a method of both, which must not fail; return self."""
        ours, _ = self.call(method, *args, **kwargs)
        assert ours.error is None, ours.error
        return self

    def set_params(self, **parameters: Any) -> Twins:
        for mlp in (self.ours, self.theirs):
            mlp.set_params(**parameters)
        return self


def close(ours: Any, theirs: Any, rtol: float = 1e-9) -> None:
    """Assert that two arrays differ by rtol of the largest number at most; NaN where NaN."""
    theirs = np.asarray(theirs)
    finite = np.abs(theirs[np.isfinite(theirs)])
    assert_allclose(ours, theirs, rtol=rtol, atol=rtol * finite.max(initial=0.0))


def assert_same(
    twins: Twins,
    X: Any,
    y: Any,
    sample_weight: Any = None,
    *,
    rtol: float = 1e-9,
    loss_rtol: float | None = 1e-9,
) -> None:
    """Assert that the fitted attributes and the predictions for X are the same.

    The losses are compared to loss_rtol, not at all where that is None.
    """
    ours, theirs = twins.ours, twins.theirs
    for name in ("n_iter_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(ours, name) == getattr(theirs, name), name
    for mine, other in zip(
        chain(ours.coefs_, ours.intercepts_), chain(theirs.coefs_, theirs.intercepts_), strict=True
    ):
        assert mine.dtype == other.dtype
        close(mine, other, rtol)
    _assert_same_course(ours, theirs, rtol, loss_rtol)
    predictions = ["predict"]
    if hasattr(theirs, "classes_"):
        assert_array_equal(ours.classes_, theirs.classes_)
        assert ours.classes_.dtype == theirs.classes_.dtype
        if len(ours.classes_) > 1:  # of one, scikit-learn gives two columns
            predictions += ["predict_proba", "predict_log_proba"]
    for method in predictions:
        mine, other = getattr(ours, method)(X), getattr(theirs, method)(X)
        assert mine.dtype == other.dtype
        assert mine.shape == other.shape
        if mine.dtype.kind == "f":
            close(mine, other, rtol)
        else:
            assert_array_equal(mine, other)
    close(ours.score(X, y, sample_weight), theirs.score(X, y, sample_weight), rtol)


def _assert_same_course(ours: Any, theirs: Any, rtol: float, loss_rtol: float | None) -> None:
    """Assert that the losses and the scores on the way are the same."""
    if loss_rtol is not None:
        close(ours.loss_, theirs.loss_, loss_rtol)
    if theirs.solver == "lbfgs":  # scikit-learn records nothing else
        return
    assert ours.t_ == theirs.t_
    assert len(ours.loss_curve_) == len(theirs.loss_curve_)
    assert (ours.best_loss_ is None) == (theirs.best_loss_ is None)
    if loss_rtol is not None:
        for mine, other in zip(ours.loss_curve_, theirs.loss_curve_, strict=True):
            close(mine, other, loss_rtol)
        if ours.best_loss_ is not None:
            close(ours.best_loss_, theirs.best_loss_, loss_rtol)
    assert (ours.validation_scores_ is None) == (theirs.validation_scores_ is None)
    if theirs.validation_scores_ is None:
        assert ours.best_validation_score_ is None
    else:
        close(ours.validation_scores_, theirs.validation_scores_, rtol)
        close(ours.best_validation_score_, theirs.best_validation_score_, rtol)


@dataclass
class Task:
    """Samples of one kind, and the estimator that takes them."""

    name: str
    X: np.ndarray
    y: np.ndarray
    parameters: dict[str, Any]

    def twins(self, **parameters: Any) -> Twins:
        settings = {"hidden_layer_sizes": (9, 7), "max_iter": 12, "random_state": 0}
        return Twins(self.name, **settings, **self.parameters, **parameters)


def task(kind: str, n: int = 53, seed: int = 0) -> Task:
    """Return n samples of 6 features for a kind of task; see KINDS."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 6))
    X[:, 2] = 0.0
    Z = X[:, :3] @ rng.standard_normal((3, 3)) + 0.3 * rng.standard_normal((n, 3))
    parameters = {"loss": "poisson"} if kind == "poisson" else {}
    y = {
        "binary": np.where(Z[:, 0] > 0, "yes", "no"),
        "multiclass": 3 * Z.argmax(axis=1) - 2,
        "one class": np.full(n, 5),
        "multilabel": (Z > 0).astype(int),
        "regression": Z[:, 0],
        "two outputs": Z[:, :2],
        "poisson": rng.poisson(np.exp(0.3 * Z[:, 0])).astype(float),
    }[kind]
    is_regression = kind in ("regression", "two outputs", "poisson")
    return Task(NAMES[is_regression], X, y, parameters)


KINDS = ("binary", "multiclass", "one class", "multilabel", "regression", "two outputs", "poisson")
