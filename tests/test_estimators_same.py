"""The estimators end where scikit-learn's do, from the same random state."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine
from sklearn.preprocessing import StandardScaler
from sklearn.utils.fixes import parse_version

from cases_twins import KINDS, NAMES, SOLVERS, VERSION, Twins, assert_same, close, outcome, task

pytestmark = pytest.mark.skipif(
    parse_version("1.9") > VERSION, reason="the estimators do what scikit-learn 1.9's do"
)
# Several batches an epoch: our loss takes the penalty to change evenly in between.
INTERPOLATED = 1e-4


def pairs(*kinds: str) -> list[tuple[str, str]]:
    """Return kinds of tasks with solvers.

    Not several outputs with "lbfgs": scikit-learn's gets the mean loss over outputs, but the
    gradient of their sum.
    """
    both = itertools.product(kinds, SOLVERS)
    return [pair for pair in both if pair != ("two outputs", "lbfgs")]


@pytest.mark.parametrize(("kind", "solver"), pairs(*KINDS))
def test_tasks(kind: str, solver: str) -> None:
    data = task(kind)
    twins = data.twins(solver=solver, learning_rate_init=0.01)
    assert_same(twins.do("fit", data.X, data.y), data.X, data.y)


@pytest.mark.parametrize("momentum", [0, 0.9, 1])
@pytest.mark.parametrize("nesterovs_momentum", [False, True])
@pytest.mark.parametrize("learning_rate", ["constant", "invscaling", "adaptive"])
def test_sgd(learning_rate: str, nesterovs_momentum: bool, momentum: float) -> None:
    data = task("multiclass")
    twins = data.twins(
        solver="sgd",
        learning_rate=learning_rate,
        nesterovs_momentum=nesterovs_momentum,
        momentum=momentum,
        learning_rate_init=0.1 if momentum < 1 else 0.003,
        power_t=0.3,
        tol=1e-2,
        n_iter_no_change=2,
        batch_size=16,
    ).set_params(max_iter=60 if momentum < 1 else 15)
    twins.do("fit", data.X, data.y)
    assert_same(twins, data.X, data.y, rtol=1e-8, loss_rtol=INTERPOLATED)
    # scikit-learn keeps the rate of the next epoch, in private.
    assert twins.ours._optimizer.learning_rate == pytest.approx(
        twins.theirs._optimizer.learning_rate, rel=1e-14
    )


@pytest.mark.parametrize(
    "parameters",
    [{"beta_1": 0.0}, {"beta_2": 0.0}, {"beta_1": 0.5, "beta_2": 0.9}, {"epsilon": 0.1}],
)
def test_adam(parameters: dict[str, float]) -> None:
    data = task("binary")
    twins = data.twins(learning_rate_init=0.003, **parameters).do("fit", data.X, data.y)
    assert_same(twins, data.X, data.y, rtol=1e-8)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("batch_size", ["auto", 1, 7, 52, 53, 60])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_batches(solver: str, batch_size: Any, shuffle: bool) -> None:
    data = task("multiclass")
    twins = data.twins(solver=solver, batch_size=batch_size, shuffle=shuffle)
    twins.do("fit", data.X, data.y)
    one = batch_size in ("auto", 53, 60)
    assert_same(twins, data.X, data.y, loss_rtol=1e-9 if one else INTERPOLATED)


def test_auto_batches_are_of_200_samples() -> None:
    data = task("regression", n=411)
    twins = data.twins().do("fit", data.X, data.y)
    assert_same(twins, data.X, data.y, loss_rtol=INTERPOLATED)


@pytest.mark.parametrize("alpha", [0, 1.0, 50.0])
@pytest.mark.parametrize(("kind", "solver"), pairs("multilabel", "two outputs"))
def test_penalties(kind: str, solver: str, alpha: float) -> None:
    data = task(kind)
    twins = data.twins(solver=solver, alpha=alpha, learning_rate_init=0.01)
    assert_same(twins.do("fit", data.X, data.y), data.X, data.y)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_activations(activation: str, solver: str) -> None:
    data = task("multiclass")
    twins = data.twins(solver=solver, activation=activation).do("fit", data.X, data.y)
    assert_same(twins, data.X, data.y)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("sizes", [7, (), (1,), [17, 16, 8], np.array([5, 3])])
def test_hidden_layers(sizes: Any, solver: str) -> None:
    data = task("regression")
    twins = data.twins(solver=solver).set_params(hidden_layer_sizes=sizes)
    assert_same(twins.do("fit", data.X, data.y), data.X, data.y)


@pytest.mark.parametrize(
    ("kind", "solver"), pairs("binary", "multiclass", "multilabel", "two outputs")
)
@pytest.mark.parametrize("batch_size", ["auto", 20])
def test_sample_weights(kind: str, solver: str, batch_size: Any, rng: np.random.Generator) -> None:
    data = task(kind)
    weights = rng.integers(0, 4, len(data.X)) * 0.7
    twins = data.twins(solver=solver, batch_size=batch_size, alpha=1.0)
    twins.set_params(max_iter=3)  # L-BFGS soon tries steps where scikit-learn clips the loss
    twins.do("fit", data.X, data.y, weights)
    # scikit-learn averages the batches by their sizes, ours by their weights.
    several = batch_size == 20 and solver != "lbfgs"
    assert_same(twins, data.X, data.y, weights, loss_rtol=None if several else 1e-9)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "one class"])
def test_early_stopping(kind: str, solver: str, weighted: bool, rng: np.random.Generator) -> None:
    data = task(kind)
    weights = rng.uniform(0.1, 2.0, len(data.X)) if weighted else None
    twins = data.twins(
        solver=solver, early_stopping=True, validation_fraction=0.3, n_iter_no_change=3, tol=1e-3,
        learning_rate_init=0.02,
    ).set_params(max_iter=40)  # fmt: skip
    twins.do("fit", data.X, data.y, weights)
    assert_same(twins, data.X, data.y, weights)


def test_early_stopping_splits_by_class() -> None:
    X = np.array([[1, 2], [2, 3], [3, 4], [4, 5]])
    ours, _ = Twins("MLPClassifier", early_stopping=True).call("fit", X, [0, 0, 0, 1])
    assert ours.error is not None
    assert "['True']" in ours.error[1]


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("kind", ["multiclass", "multilabel", "two outputs"])
def test_single_precision(kind: str, solver: str) -> None:
    data = task(kind)
    X = data.X.astype(np.float32)
    y = data.y.astype(np.float32) if data.name == "MLPRegressor" else data.y
    twins = data.twins(solver=solver, batch_size=20, learning_rate_init=0.01)
    twins.do("fit", X, y)
    assert_same(twins, X, y, rtol=1e-4, loss_rtol=1e-4)


def test_lbfgs_of_single_precision() -> None:
    """The parameters are single as well; those of scikit-learn are double."""
    data = task("multiclass")
    X = data.X.astype(np.float32)
    twins = data.twins(solver="lbfgs", alpha=1.0).do("fit", X, data.y)
    assert twins.ours.parameters_.dtype == np.float32
    assert twins.ours.loss_ == pytest.approx(twins.theirs.loss_, rel=1e-4)
    close(twins.ours.predict_proba(X), twins.theirs.predict_proba(X), 1e-3)


@pytest.mark.parametrize("form", [sparse.csr_array, sparse.csr_matrix, sparse.csc_array])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("early_stopping", [False, True])
def test_sparse_features(form: Any, solver: str, early_stopping: bool) -> None:
    data = task("multiclass")
    X = form(np.where(data.X > 0.5, data.X, 0))
    twins = data.twins(
        solver=solver, batch_size=20, early_stopping=early_stopping, activation="tanh"
    )
    twins.do("fit", X, data.y)
    assert_same(twins, X, data.y, loss_rtol=INTERPOLATED)


@pytest.mark.parametrize("form", [sparse.csr_array, sparse.csc_matrix])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_sparse_labels(form: Any, early_stopping: bool) -> None:
    data = task("multilabel")
    y = form(data.y)
    twins = data.twins(early_stopping=early_stopping).do("fit", data.X, y)
    ours, theirs = twins.ours.predict(data.X), twins.theirs.predict(data.X)
    assert type(ours) is type(theirs)
    assert_array_equal(ours.toarray(), theirs.toarray())
    assert twins.ours.score(data.X, y) == twins.theirs.score(data.X, y)
    close(twins.ours.coefs_[0], twins.theirs.coefs_[0])
    close(twins.ours.loss_curve_, twins.theirs.loss_curve_)


@pytest.mark.parametrize("X_type", [list, np.int64, np.float16])
def test_features_of_other_types(X_type: Any) -> None:
    data = task("binary")
    X = np.round(3 * data.X)
    X = X.tolist() if X_type is list else X.astype(X_type)
    twins = data.twins().do("fit", X, data.y.tolist())
    assert_same(twins, X, data.y)


@pytest.mark.parametrize("name", NAMES)
def test_draws(name: str) -> None:
    """A state of random numbers that is given is left as scikit-learn leaves it."""
    data = task("binary" if name == NAMES[0] else "regression")
    states = np.random.RandomState(3), np.random.RandomState(3)
    twins = Twins(name, early_stopping=True, batch_size=20, max_iter=5)
    twins.ours.random_state, twins.theirs.random_state = states
    twins.do("fit", data.X, data.y)
    assert_same(twins, data.X, data.y, loss_rtol=INTERPOLATED)
    np.testing.assert_equal(*(state.get_state() for state in states))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", ["binary", "multilabel", "regression"])
def test_warm_start(kind: str, solver: str) -> None:
    data = task(kind)
    twins = data.twins(solver=solver, warm_start=True)
    for max_iter in (5, 3, 6):
        twins.set_params(max_iter=max_iter).do("fit", data.X, data.y)
        assert_same(twins, data.X, data.y)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_warm_start_with_early_stopping(solver: str) -> None:
    """The same as long as each fit finds a better score than the one before."""
    data = task("regression")
    twins = data.twins(solver=solver, warm_start=True, early_stopping=True)
    for max_iter in (5, 3, 6):
        twins.set_params(max_iter=max_iter).do("fit", data.X, data.y)
        assert_same(twins, data.X, data.y)


def test_warm_start_keeps_the_best_of_all_fits() -> None:
    """scikit-learn keeps the last parameters where a later fit finds no better score."""
    data = task("regression")
    twins = data.twins(warm_start=True, early_stopping=True, n_iter_no_change=100)
    twins.set_params(max_iter=60, learning_rate_init=0.01).do("fit", data.X, data.y)
    best = twins.ours.parameters_.copy()
    twins.set_params(max_iter=3, learning_rate_init=1.0).do("fit", data.X, data.y)
    assert max(twins.ours.validation_scores_[60:]) < max(twins.ours.validation_scores_[:60])
    assert_array_equal(twins.ours.parameters_, best)
    assert (twins.theirs.coefs_[0] != twins.ours.coefs_[0]).any()


SGD = {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.1}


@pytest.mark.parametrize("parameters", [SGD, {"solver": "sgd"}, {"solver": "adam"}])
@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel", "two outputs", "poisson"])
def test_partial_fits(kind: str, parameters: dict[str, Any], rng: np.random.Generator) -> None:
    data = task(kind, n=90)
    twins = data.twins(**parameters)
    first = {}
    if data.name == "MLPClassifier":
        first["classes"] = np.arange(3) if kind == "multilabel" else np.unique(data.y)
    for part in np.split(rng.permutation(90), 3):
        twins.do("partial_fit", data.X[part], data.y[part], **first)
        first = {}
        assert_same(twins, data.X, data.y, loss_rtol=1e-9)
    weights = rng.uniform(0, 2, 90)
    twins.do("partial_fit", data.X, data.y, weights)
    assert_same(twins, data.X, data.y)


@pytest.mark.parametrize("parameters", [SGD, {"solver": "adam"}])
@pytest.mark.parametrize("name", NAMES)
def test_fits_and_partial_fits_in_turn(name: str, parameters: dict[str, Any]) -> None:
    data = task("multiclass" if name == NAMES[0] else "regression")
    twins = data.twins(**parameters)
    for method in ("fit", "partial_fit", "partial_fit", "fit", "partial_fit"):
        twins.do(method, data.X, data.y)
        assert_same(twins, data.X, data.y)
    twins.set_params(warm_start=True)
    for method in ("fit", "partial_fit"):
        twins.do(method, data.X, data.y)
        assert_same(twins, data.X, data.y)


@pytest.mark.parametrize("parameters", [SGD, {"solver": "adam"}])
def test_training_until_it_converges(parameters: dict[str, Any]) -> None:
    data = task("binary")
    twins = data.twins(**parameters, tol=1e-3, n_iter_no_change=2).set_params(max_iter=500)
    twins.do("fit", data.X, data.y)
    assert 5 < twins.ours.n_iter_ < 500
    assert_same(twins, data.X, data.y, rtol=1e-6)


DATA_SETS = {
    "iris": load_iris,
    "wine": load_wine,
    "breast_cancer": load_breast_cancer,
    "digits": load_digits,
    "diabetes": load_diabetes,
}


@pytest.mark.parametrize("max_iter", [10, 2000])
@pytest.mark.parametrize("name", DATA_SETS)
def test_lbfgs_ends_at_the_same_loss(name: str, max_iter: int) -> None:
    X, y = DATA_SETS[name](return_X_y=True)
    X = StandardScaler().fit_transform(X)[::4]
    y = y[::4] / 100 if name == "diabetes" else y[::4]
    twins = Twins(
        NAMES[name == "diabetes"], solver="lbfgs", hidden_layer_sizes=8, activation="tanh",
        max_iter=max_iter, alpha=1.0, tol=1e-6, random_state=1,
    )  # fmt: skip
    for mlp in (twins.ours, twins.theirs):
        mlp.set_params(max_fun=4 * max_iter)
    twins.do("fit", X, y)
    assert twins.ours.loss_ == pytest.approx(twins.theirs.loss_, rel=1e-6)
    assert (twins.ours.n_iter_ == max_iter) == (max_iter == 10)


def test_lbfgs_of_several_outputs_converges() -> None:
    """scikit-learn's does not, as its line search is misled."""
    data, alpha = task("two outputs"), 3.0
    twins = data.twins(solver="lbfgs", alpha=alpha, tol=1e-9)
    twins.set_params(hidden_layer_sizes=(), max_iter=100)

    def value(mlp: Any) -> float:
        (W,), (b,) = mlp.coefs_, mlp.intercepts_
        squares = ((data.X @ W + b - data.y) ** 2).sum() + alpha * (W**2).sum()
        return float(squares) / (2 * len(data.X))

    ours, theirs = (
        outcome(lambda mlp=mlp: value(mlp.fit(data.X, data.y)))
        for mlp in (twins.ours, twins.theirs)
    )
    assert ours.warnings == []
    assert len(theirs.warnings) == 1
    assert ours.value < theirs.value


@st.composite
def settings_of_estimators(draw: st.DrawFn) -> dict[str, Any]:
    """Draw parameters that both classes take."""
    return {
        "hidden_layer_sizes": draw(st.lists(st.integers(1, 20), max_size=3)),
        "activation": draw(st.sampled_from(["identity", "logistic", "tanh", "relu"])),
        "solver": draw(st.sampled_from(SOLVERS)),
        "alpha": draw(st.sampled_from([0.0, 1e-4, 0.1, 3.0])),
        "batch_size": draw(st.just("auto") | st.integers(1, 40)),
        "learning_rate": draw(st.sampled_from(["constant", "invscaling", "adaptive"])),
        "learning_rate_init": draw(st.sampled_from([1e-3, 1e-2])),  # outputs do not saturate
        "power_t": draw(st.floats(0, 1)),
        "max_iter": draw(st.integers(1, 6)),
        "shuffle": draw(st.booleans()),
        "random_state": draw(st.integers(0, 1000)),
        "momentum": draw(st.sampled_from([0.0, 0.5, 0.9])),
        "nesterovs_momentum": draw(st.booleans()),
        "early_stopping": draw(st.booleans()),
        "validation_fraction": draw(st.sampled_from([0.1, 0.25, 0.5])),
        "beta_1": draw(st.sampled_from([0.0, 0.9])),
        "beta_2": draw(st.sampled_from([0.5, 0.999])),
        "n_iter_no_change": draw(st.integers(1, 4)),
    }


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from([kind for kind in KINDS if kind != "poisson"]),
    st.integers(2, 40),
    settings_of_estimators(),
    st.booleans(),
)
def test_any_setting(kind: str, n: int, parameters: dict[str, Any], weighted: bool) -> None:
    data = task(kind, n=n, seed=parameters["random_state"])
    weights = np.random.default_rng(n).uniform(0.5, 2, n) if weighted else None
    # Where the losses are shown otherwise, they may end the training otherwise.
    if parameters["solver"] == "lbfgs":
        assume(kind != "two outputs")
        parameters["max_iter"] = min(parameters["max_iter"], 2)
    elif not parameters["early_stopping"]:
        parameters["n_iter_no_change"] = 10
    twins = Twins(data.name, **parameters)
    ours, _ = twins.call("fit", data.X, data.y, weights)
    if ours.error is None:
        is_exact = parameters["solver"] == "lbfgs" or parameters["alpha"] == 0
        loss_rtol = None if weighted else 1e-6 if is_exact else 0.1
        assert_same(twins, data.X, data.y, rtol=1e-6, loss_rtol=loss_rtol)
