"""Losses against scikit-learn's and PyTorch's, and learning rules that have names of their own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import metrics
from sklearn.linear_model import Perceptron, SGDClassifier

import fastmlp as fm
from cases import DTYPES, problem
from fastmlp import losses

every_dtype = pytest.mark.parametrize("dtype", DTYPES)
law = settings(deadline=None, max_examples=60)

# Scikit-learn's metrics ----------------------------------------------------------------------


@every_dtype
def test_scikit_learns_metrics(dtype, rng):
    for loss, metric in {
        "absolute_error": metrics.mean_absolute_error,
        losses.quantile(0.8): lambda y, p: metrics.mean_pinball_loss(y, p, alpha=0.8),
        "hinge": metrics.hinge_loss,
        "poisson": lambda y, p: metrics.mean_poisson_deviance(y, p) / 2,
    }.items():
        net = fm.Network([5, 9, 1], hidden="tanh", loss=loss, dtype=dtype)
        w, X, y = problem(net, 40, rng)
        p, y = (values.ravel().astype(float) for values in (net.predict(w, X), y))
        eps = np.finfo(dtype).eps
        assert_allclose(net.loss(w, X, y), metric(y, p), rtol=16 * eps)


def test_scikit_learns_poisson_loss(rng):
    """That of MLPRegressor(loss="poisson")."""
    base = pytest.importorskip("sklearn.neural_network._base")
    if not hasattr(base, "poisson_loss"):
        pytest.skip("needs scikit-learn 1.7")
    net = fm.Network([5, 9, 3], hidden="tanh", loss="poisson", dtype="float64")
    w, X, y = problem(net, 40, rng)
    assert_allclose(net.loss(w, X, y), base.poisson_loss(y, net.predict(w, X)), rtol=1e-13)


# PyTorch -------------------------------------------------------------------------------------

TORCH = {
    "absolute_error": lambda nn: nn.L1Loss(reduction="sum"),
    "huber": lambda nn: nn.HuberLoss(reduction="sum"),
    losses.huber(0.3): lambda nn: nn.HuberLoss(reduction="sum", delta=0.3),
    "binary_cross_entropy": lambda nn: nn.BCEWithLogitsLoss(reduction="sum"),
    "cross_entropy": lambda nn: nn.CrossEntropyLoss(reduction="sum"),
    losses.cross_entropy(0.1): lambda nn: nn.CrossEntropyLoss(reduction="sum", label_smoothing=0.1),
    "poisson": lambda nn: nn.PoissonNLLLoss(reduction="sum"),
}


@every_dtype
@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize(("loss", "criterion"), TORCH.items(), ids=[*map(str, TORCH)])
def test_pytorchs_losses(loss, criterion, labels, dtype, rng):
    torch = pytest.importorskip("torch")
    net = fm.Network([5, 4], loss=loss, dtype=dtype)
    w, X, y = problem(net, 30, rng, labels)
    Z = torch.tensor(X @ net.weights(w)[0] + net.biases(w)[0], requires_grad=True)
    value = criterion(torch.nn)(Z, torch.tensor(y))
    value.backward()
    constant = 0
    if loss == "poisson":  # torch's leaves out what does not depend on the prediction
        constant = (np.where(y > 0, y * np.log(np.where(y > 0, y, 1)), 0) - y).sum(dtype=float)
    found, eps = net.loss(w, X, y, reduction="sum"), np.finfo(dtype).eps
    size = abs(value.item()) + abs(constant)
    assert_allclose(found, value.item() + constant, rtol=0, atol=16 * eps * size)
    slopes, D = net.biases(net.gradient(w, X, y, reduction="sum"))[0], Z.grad.numpy()
    assert_allclose(slopes, D.sum(axis=0), rtol=0, atol=64 * eps * (1 + abs(D).sum(axis=0).max()))


# Rosenblatt's perceptron ---------------------------------------------------------------------


def rosenblatt(X, y, epochs):
    """Wherever a sample is not strictly on its side, add it to the weights, or subtract it."""
    v, b = np.zeros(X.shape[1]), 0.0
    for _ in range(epochs):
        for x, sign in zip(X, y, strict=True):
            if sign * (x @ v + b) <= 0:
                v, b = v + sign * x, b + sign
    return np.append(v, b)


def learned(X, y, loss, epochs, step=1.0):
    net = fm.Network([X.shape[1], 1], loss=loss, dtype="float64")
    start = np.zeros(net.n_params)
    return fm.sgd(net, X, y, start, step=step, order="sequential", epochs=epochs)


def samples(n, n_features, separable, seed):
    """Small integers: their sums are exact. Both signs are among y."""
    rng = np.random.default_rng(seed)
    X = rng.integers(-4, 5, (n, n_features)).astype(float)
    X[:2] = 0
    X[:2, 0] = -5, 5
    y, v = rng.choice([-1.0, 1], n), rng.integers(-3, 4, n_features)
    y[:2], v[0] = (-1, 1), 2
    return X, np.sign(X @ v + 0.5) if separable else y


cases = (st.integers(2, 40), st.integers(1, 9), st.booleans(), st.integers(0, 2**32))


@law
@given(*cases, st.integers(1, 7))
def test_the_perceptron_is_rosenblatts(n, n_features, separable, seed, epochs):
    X, y = samples(n, n_features, separable, seed)
    result = learned(X, y, "perceptron", epochs)
    assert_array_equal(result.x, rosenblatt(X, y, epochs))
    peer = Perceptron(shuffle=False, tol=None, max_iter=epochs).fit(X, y)
    assert_array_equal(result.x, np.append(peer.coef_, peer.intercept_))


def test_the_perceptron_converges_where_separable():
    """Rosenblatt and Novikoff: after finitely many mistakes there are none."""
    X, y = samples(40, 3, True, 0)
    before = learned(X, y, "perceptron", 200)
    assert_array_equal(before.x, learned(X, y, "perceptron", 400).x)
    assert before.history.loss[-1] == 0
    assert (np.sign(X @ before.x[:-1] + before.x[-1]) == y).all()


def test_one_against_the_rest():
    """Several outputs are as many perceptrons."""
    X, labels = samples(40, 3, False, 1)[0], np.random.default_rng(1).integers(3, size=40)
    net = fm.Network([3, 3], loss="perceptron", dtype="float64")
    y = np.where(np.eye(3, dtype=bool)[labels], 1, -1)
    result = fm.sgd(net, X, y, np.zeros(12), step=1.0, order="sequential", epochs=4)
    peer = Perceptron(shuffle=False, tol=None, max_iter=4).fit(X, labels)
    assert_array_equal(net.weights(result.x)[0], peer.coef_.T)
    assert_array_equal(net.biases(result.x)[0], peer.intercept_)


# The hinge -----------------------------------------------------------------------------------


@law
@given(*cases, st.integers(1, 7), st.sampled_from([1.0, 0.25]))
def test_the_hinge_is_scikit_learns(n, n_features, separable, seed, epochs, step):
    X, y = samples(n, n_features, separable, seed)
    result = learned(X, y, "hinge", epochs, step)
    peer = SGDClassifier(
        loss="hinge", penalty=None, alpha=0.0, learning_rate="constant", eta0=step,
        shuffle=False, tol=None, max_iter=epochs,
    ).fit(X, y)  # fmt: skip
    assert_array_equal(result.x, np.append(peer.coef_, peer.intercept_))
