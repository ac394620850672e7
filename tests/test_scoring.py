"""Scorers: scikit-learn's, by name or made, and one's own, on a network at some parameters."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import metrics
from sklearn.base import is_classifier, is_regressor
from sklearn.utils.validation import check_is_fitted

import fastmlp as fm
from cases import parameters, run_child, same_bits
from fastmlp import validation
from fastmlp.passes import Passes
from fastmlp.solvers import scoring

N = 90


def fitted(rng, dtype="float32", **given):
    """A network after some training, and samples it has not seen."""
    net = fm.Network(**{"widths": [4, 8, 1], "hidden": "tanh", "dtype": dtype, **given})
    X = rng.standard_normal((2 * N, 4)).astype(dtype)
    teacher = np.sin(2 * X @ rng.standard_normal((4, net.widths[-1])))
    teacher += 0.5 * rng.standard_normal(teacher.shape)
    y = {
        "cross_entropy": teacher.argmax(axis=1),
        "binary_cross_entropy": (teacher > 0).astype(int),
        "hinge": np.where(teacher > 0, 1, -1),
        "perceptron": np.where(teacher > 0, 1, -1),
    }.get(net.loss_name, teacher.astype(dtype))
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    w = fm.minibatch_sgd(
        net, X[:N], y[:N], parameters(net, rng), batch_size=8, step=0.05, epochs=5, rng=0
    ).x
    return net, w, X[N:], y[N:]


def score(given, net, w, X, y):
    targets = scoring.targets(net, validation.truth(net, y, len(X)))
    value = scoring.scorer(given)(scoring.model(net, w), X, targets)
    assert type(value) is float
    return value


SOFTMAX = {"widths": [4, 8, 3], "output": "softmax"}
TWO_CLASSES = {"widths": [4, 8, 2], "output": "softmax"}
SIGMOID = {"output": "sigmoid"}
SIGMOIDS = {"widths": [4, 8, 3], "output": "sigmoid"}
TWO_SIGMOIDS = {"widths": [4, 8, 2], "output": "sigmoid"}
OUTPUTS = {"widths": [4, 8, 3]}
HINGE = {"loss": "hinge"}
HINGES = {"widths": [4, 8, 3], "loss": "hinge"}
PERCEPTRON = {"loss": "perceptron"}


# Against metrics of predictions, written out -------------------------------------------------


def labels(P):
    return P.argmax(axis=1)


def likely(P):
    return np.where(P > 0.5, 1, 0)


def signs(Z):
    return np.where(Z > 0, 1, -1)


def recall(y, P):
    return np.mean([np.mean(labels(P)[y == label] == label) for label in np.unique(y)])


def in_first_two(y, P):
    return np.mean([np.sum(row > row[label]) < 2 for row, label in zip(P, y, strict=True)])


def explained(y, A):
    return np.mean(1 - np.var(y - A, axis=0) / y.var(axis=0))


def names(value):
    return "" if callable(value) else str(value)


SCORES = [
    (SOFTMAX, "accuracy", lambda y, P: np.mean(labels(P) == y)),
    (SOFTMAX, "balanced_accuracy", recall),
    (SOFTMAX, "f1_macro", lambda y, P: metrics.f1_score(y, labels(P), average="macro")),
    (SOFTMAX, "neg_log_loss", lambda y, P: np.log(P[np.arange(N), y]).mean()),
    (SOFTMAX, "roc_auc_ovr", lambda y, P: metrics.roc_auc_score(y, P, multi_class="ovr")),
    (SOFTMAX, "top_k_accuracy", in_first_two),
    (TWO_CLASSES, "roc_auc", lambda y, P: metrics.roc_auc_score(y, P[:, 1])),
    (TWO_CLASSES, "f1", lambda y, P: metrics.f1_score(y, labels(P))),
    (SIGMOID, "accuracy", lambda y, P: np.mean(likely(P[:, 0]) == y)),
    (SIGMOID, "f1", lambda y, P: metrics.f1_score(y, likely(P[:, 0]))),
    (SIGMOID, "roc_auc", lambda y, P: metrics.roc_auc_score(y, P[:, 0])),
    (SIGMOID, "average_precision", lambda y, P: metrics.average_precision_score(y, P[:, 0])),
    (SIGMOID, "neg_brier_score", lambda y, P: -np.mean((P[:, 0] - y) ** 2)),
    (SIGMOID, "neg_log_loss", lambda y, P: np.log(np.where(y, P[:, 0], 1 - P[:, 0])).mean()),
    (SIGMOIDS, "accuracy", lambda y, P: np.mean((likely(P) == y).all(axis=1))),
    (SIGMOIDS, "f1_micro", lambda y, P: metrics.f1_score(y.ravel(), likely(P).ravel())),
    (SIGMOIDS, "roc_auc", lambda y, P: metrics.roc_auc_score(y, P)),
    (TWO_SIGMOIDS, "roc_auc", lambda y, P: metrics.roc_auc_score(y, P)),
    (HINGE, "accuracy", lambda y, Z: np.mean(signs(Z[:, 0]) == y)),
    (HINGE, "roc_auc", lambda y, Z: metrics.roc_auc_score(y, Z[:, 0])),
    (HINGES, "accuracy", lambda y, Z: np.mean((signs(Z) == y).all(axis=1))),
    (PERCEPTRON, "average_precision", lambda y, Z: metrics.average_precision_score(y, Z[:, 0])),
    ({}, "r2", lambda y, A: 1 - ((A[:, 0] - y) ** 2).sum() / ((y - y.mean()) ** 2).sum()),
    ({}, "neg_mean_absolute_error", lambda y, A: -abs(A[:, 0] - y).mean()),
    ({}, "neg_median_absolute_error", lambda y, A: -np.median(abs(A[:, 0] - y))),
    (OUTPUTS, "neg_mean_squared_error", lambda y, A: -((A - y) ** 2).mean()),
    (OUTPUTS, "explained_variance", explained),
    ({**SIGMOID, "loss": "squared_error"}, "r2", lambda y, A: metrics.r2_score(y, A[:, 0])),
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("given", "name", "expected"), SCORES, ids=names)
def test_scorers_of_scikit_learn(given, name, expected, dtype, rng):
    net, w, X, y = fitted(rng, dtype, **given)
    value = score(name, net, w, X, y)
    assert_allclose(value, expected(y, net.predict(w, X)), rtol=1e-5)
    assert score(metrics.get_scorer(name), net, w, X, y) == value


def test_made_scorers(rng):
    net, w, X, y = fitted(rng, **SIGMOID)
    made = metrics.make_scorer(metrics.fbeta_score, beta=2.0, pos_label=0)
    expected = metrics.fbeta_score(y, likely(net.predict(w, X)[:, 0]), beta=2.0, pos_label=0)
    assert_allclose(score(made, net, w, X, y), expected)
    made = metrics.make_scorer(
        metrics.roc_auc_score, response_method=("decision_function", "predict_proba")
    )
    assert_allclose(score(made, net, w, X, y), metrics.roc_auc_score(y, net.predict(w, X)[:, 0]))


# One's own -----------------------------------------------------------------------------------


def test_what_a_scorer_sees(rng):
    net, w, X, y = fitted(rng, **SOFTMAX)
    seen = []

    def own(model, X, y):
        seen.extend([model, X, y])
        return np.float32(0.25)

    assert score(own, net, w, X, y) == 0.25
    model, X_seen, y_seen = seen
    assert model.net == net
    assert model.w is w
    assert X_seen is X
    assert_array_equal(y_seen, y)
    assert_array_equal(model.classes_, [0, 1, 2])
    assert same_bits(model.predict_proba(X), net.predict(w, X))
    other = X[::-2]
    assert same_bits(model.predict_proba(other), net.predict(w, other))
    assert_array_equal(model.predict(X), net.predict(w, X).argmax(axis=1))


@pytest.mark.parametrize(
    ("given", "y", "expected"),
    [
        (SOFTMAX, np.array([0.0, 2, 1]), np.array([0, 2, 1])),
        (SOFTMAX, np.eye(3)[[0, 1]], np.eye(3)[[0, 1]]),
        (SIGMOID, np.array([[1.0], [0]]), np.array([1, 0])),
        (SIGMOID, np.array([True, False]), np.array([1, 0])),
        (SIGMOID, np.array([0.5, 1]), np.array([0.5, 1])),
        (SIGMOIDS, np.eye(3)[[0, 1]], np.array([[1, 0, 0], [0, 1, 0]])),
        (SIGMOIDS, np.full((2, 3), 0.5), np.full((2, 3), 0.5)),
        ({}, np.array([[1.0], [0]]), np.array([1.0, 0])),
        (OUTPUTS, np.eye(3)[[0, 1]], np.eye(3)[[0, 1]]),
    ],
    ids=str,
)
def test_targets(given, y, expected):
    net = fm.Network(**{"widths": [4, 8, 1], **given})
    assert same_bits(scoring.targets(net, validation.truth(net, y, len(y))), expected)


@pytest.mark.parametrize("given", [SOFTMAX, SIGMOID, SIGMOIDS, HINGE, {}, OUTPUTS], ids=str)
def test_a_fitted_estimator_to_scikit_learn(given, rng):
    net, w, X, y = fitted(rng, **given)
    model = scoring.model(net, w)
    check_is_fitted(model)
    classifies = "output" in given or "loss" in given
    assert (is_classifier(model), is_regressor(model)) == (classifies, not classifies)
    assert hasattr(model, "predict_proba") == ("output" in given)
    assert hasattr(model, "decision_function") == ("loss" in given)
    with pytest.raises(NotImplementedError):
        model.fit(X, y)


def test_buffers_lent_change_no_bit(rng):
    net, w, X, _ = fitted(rng, **SOFTMAX)
    lent = scoring.model(net, w, Passes(net, X))
    for rows in (X, X[:17]):
        assert same_bits(lent.predict_proba(rows), net.predict(w, rows))


def test_no_scoring():
    assert scoring.scorer(None) is None


# Errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("acuracy", ValueError, "scoring must be .*'accuracy'.*got 'acuracy'"),
        ("", ValueError, "scoring must be .*'accuracy'.*got ''"),
        ("neg_mean_square_error", ValueError, "scoring .*'neg_mean_squared_error'"),
        (3, TypeError, "scoring must be .*got 3"),
        (["accuracy"], TypeError, r"scoring must be .*got \['accuracy'\]"),
        (metrics.accuracy_score, ValueError, "scoring .* metric accuracy_score.*make_scorer"),
    ],
    ids=str,
)
def test_bad_scoring(given, error, message):
    with pytest.raises(error, match=message):
        scoring.scorer(given)


@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        (None, TypeError, "scoring must return a number.*got None"),
        (True, TypeError, "scoring must return a number.*got True"),
        ("0.5", TypeError, "scoring must return a number.*got '0.5'"),
        ({"f1": 0.5}, TypeError, r"scoring must return a number.*got \{'f1': 0.5\}"),
        (np.ones(3), TypeError, r"scoring must return a number.*got array\(\[1., 1., 1.\]\)"),
        (np.inf, ValueError, "scoring must return a finite number.*got inf"),
    ],
    ids=str,
)
def test_bad_scores(returned, error, message, rng):
    with pytest.raises(error, match=message):
        score(lambda model, X, y: returned, *fitted(rng))


def test_no_score(rng):
    assert np.isnan(score(lambda model, X, y: np.nan, *fitted(rng)))
    assert np.isnan(score(lambda model, X, y: np.array(np.nan), *fitted(rng)))


def test_errors_of_scorers_pass(rng):
    def fails(model, X, y):
        raise ZeroDivisionError("of its own")

    with pytest.raises(ZeroDivisionError, match="of its own"):
        score(fails, *fitted(rng))


def test_scikit_learn_is_imported_where_asked_for():
    code = (
        "import json, sys, numpy as np, fastmlp as fm;"
        "from fastmlp.solvers import scoring;"
        "net = fm.Network([2, 1]); w = net.init(0); X = np.ones((3, 2), 'f');"
        "score = scoring.scorer(lambda model, X, y: model.predict(X).sum());"
        "score(scoring.model(net, w), X, np.ones(3));"
        "before = 'sklearn' in sys.modules;"
        "scoring.scorer('r2');"
        "print(json.dumps([before, 'sklearn' in sys.modules]))"
    )
    assert run_child("-c", code) == [False, True]
