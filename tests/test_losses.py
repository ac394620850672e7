"""Losses by their formulas, at kinks and far away; laws; label smoothing; rows of probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import fastmlp as fm
from cases import DTYPES, problem, same_bits, truth
from fastmlp import losses

every_dtype = pytest.mark.parametrize("dtype", DTYPES)
law = settings(deadline=None, max_examples=60)
LOG_2 = float(np.log(2))


def at(loss, a, y, dtype="float64"):
    """e, e' and e'' where Z is a and the target y: a network of one bias is one number."""
    net = fm.Network([1, 1], loss=loss, dtype=dtype)
    w, X, y = np.array([0, a], dtype), np.zeros((1, 1)), np.array([y])
    slope = net.gradient(w, X, y)[1]
    assert net.sample_gradients(w, X, y)[0, 1] == slope
    curvature = fm.Objective(net, X, y).hessian_vector(w, [0, 1])[1]
    return net.loss(w, X, y), slope, curvature


# By hand -------------------------------------------------------------------------------------

BY_HAND = [
    ("absolute_error", 2, 0.5, (1.5, 1, 0)),
    ("absolute_error", -2, 0.5, (2.5, -1, 0)),
    ("absolute_error", 0.5, 0.5, (0, 0, 0)),
    ("huber", 0.5, 0, (0.125, 0.5, 1)),
    ("huber", 1, 0, (0.5, 1, 0)),
    ("huber", -3, 1, (3.5, -1, 0)),
    (losses.huber(0.25), 3, 1, (0.25 * 1.875, 0.25, 0)),
    (losses.huber(4), 3, 1, (2, 2, 1)),
    ("log_cosh", 0.5, 0.5, (0, 0, 1)),
    ("log_cosh", 3, 1, (np.log(np.cosh(2)), np.tanh(2), 1 / np.cosh(2) ** 2)),
    ("log_cosh", 1e4, 0, (1e4 - LOG_2, 1, 0)),
    ("log_cosh", -1e4, 0, (1e4 - LOG_2, -1, 0)),
    ("log_cosh", 2.0**-30, 0, (2.0**-61, 2.0**-30, 1)),
    ("quantile", 3, 1, (1, 0.5, 0)),
    (losses.quantile(0.25), 1, 3, (0.5, -0.25, 0)),
    (losses.quantile(0.25), 3, 1, (1.5, 0.75, 0)),
    (losses.quantile(0.25), 1, 1, (0, 0, 0)),
    ("hinge", 0, 1, (1, -1, 0)),
    ("hinge", 1, 1, (0, -1, 0)),
    ("hinge", 1.5, 1, (0, 0, 0)),
    ("hinge", -1, -1, (0, 1, 0)),
    ("hinge", 3, -1, (4, 1, 0)),
    ("perceptron", 0, 1, (0, -1, 0)),
    ("perceptron", 0, -1, (0, 1, 0)),
    ("perceptron", -2, 1, (2, -1, 0)),
    ("perceptron", -2, -1, (0, 0, 0)),
    ("poisson", 0, 0, (1, 1, 1)),
    ("poisson", 0, 1, (0, 0, 1)),
    ("poisson", 0, 2, (2 * LOG_2 - 1, -1, 1)),
    ("poisson", -1e4, 0, (0, 0, 0)),
    ("poisson", -1e4, 1, (1e4 - 1, -1, 0)),
]


@every_dtype
@pytest.mark.parametrize(("loss", "a", "y", "expected"), BY_HAND, ids=str)
def test_by_hand(loss, a, y, expected, dtype):
    value, slope, curvature = at(loss, a, y, dtype)
    eps = np.finfo(dtype).eps
    # Of poisson at its minimum, what cancels is as large as y.
    assert_allclose(value, expected[0], rtol=2e-15, atol=1e-15 if loss == "poisson" else 0)
    assert_allclose([slope, curvature], expected[1:], rtol=2 * eps, atol=1e-300)


@every_dtype
@pytest.mark.parametrize("loss", ["absolute_error", "huber", "log_cosh", "quantile"])
def test_linear_far_away(loss, dtype):
    factor = 0.5 if loss == "quantile" else 1
    for a in (1e10, -1e10, 1e30, -1e30):
        value, slope, curvature = at(loss, a, 1, dtype)
        assert_allclose(value, factor * abs(a), rtol=1e-7)
        assert (slope, curvature) == (factor * np.sign(a), 0)


@every_dtype
def test_poisson_beyond_the_range(dtype):
    """exp(z) is infinite, and so is the derivative; solvers call it divergence."""
    assert at("poisson", 1e4, 3, dtype)[:2] == (np.inf, np.inf)
    net = fm.Network([1, 1], loss="poisson", dtype=dtype)
    w, X = np.array([0, 1e4], dtype), np.ones((3, 1))
    for solver in (fm.sgd, fm.minibatch_sgd):
        with pytest.warns(RuntimeWarning, match="Diverged"):
            assert solver(net, X, np.ones(3), w, rng=0).status == 3


# Laws ----------------------------------------------------------------------------------------

ONE_LAYER = ["absolute_error", "huber", "log_cosh", "quantile", "hinge", "perceptron", "poisson"]
seeds = st.integers(0, 2**32)


def linear(loss, seed, n_out=3, dtype="float64", n=20):
    """A network of one layer and random (w, X, y)."""
    net = fm.Network([4, n_out], loss=loss, dtype=dtype)
    return net, *problem(net, n, np.random.default_rng(seed))


def with_loss(net, loss):
    return fm.Network(net.widths, loss=loss, dtype=net.dtype)


@law
@given(st.sampled_from(ONE_LAYER), st.integers(1, 20), st.sampled_from(DTYPES), seeds)
def test_outputs_add_up(loss, n_out, dtype, seed):
    """Several outputs are as many networks of one: one against the rest."""
    net, w, X, y = linear(loss, seed, n_out, dtype)
    single = fm.Network([4, 1], loss=loss, dtype=dtype)
    columns = net.weights(w)[0].T, net.biases(w)[0]
    alone = [np.append(W, b).astype(dtype) for W, b in zip(*columns, strict=True)]
    total = sum(single.loss(v, X, y[:, j]) for j, v in enumerate(alone))
    assert_allclose(net.loss(w, X, y), total, rtol=1e-5 if dtype == "float32" else 1e-13)
    g = net.gradient(w, X, y)
    each = np.array([single.gradient(v, X, y[:, j]) for j, v in enumerate(alone)])
    atol = 1e-5 if dtype == "float32" else 1e-13
    atol *= 1 + abs(each).max()
    assert_allclose(np.vstack([*net.weights(g), *net.biases(g)]), each.T, rtol=0, atol=atol)


@law
@given(st.sampled_from(["absolute_error", "quantile"]), st.integers(-20, 20), seeds)
def test_homogeneous(loss, exponent, seed):
    """e(c a, c y) = c e(a, y) for c > 0: a power of two, so that it is exact."""
    net, w, X, y = linear(loss, seed)
    c = 2.0**exponent
    assert net.loss(c * w, X, c * y) == c * net.loss(w, X, y)
    assert_array_equal(net.gradient(c * w, X, c * y), net.gradient(w, X, y))


@law
@given(st.integers(-20, 20), seeds)
def test_perceptron_is_homogeneous_in_the_prediction(exponent, seed):
    net, w, X, y = linear("perceptron", seed)
    c = 2.0**exponent
    assert net.loss(c * w, X, y) == c * net.loss(w, X, y)
    assert_array_equal(net.gradient(c * w, X, y), net.gradient(w, X, y))


@law
@given(st.integers(-20, 20), st.floats(0.01, 10), seeds)
def test_huber_scales_as_a_square(exponent, delta, seed):
    net, w, X, y = linear(losses.huber(delta), seed)
    c = 2.0**exponent
    scaled = with_loss(net, losses.huber(c * delta))
    assert scaled.loss(c * w, X, c * y) == c * c * net.loss(w, X, y)
    assert_array_equal(scaled.gradient(c * w, X, c * y), c * net.gradient(w, X, y))


@law
@given(st.sampled_from(DTYPES), seeds)
def test_huber_of_a_large_delta_is_half_the_squared_error(dtype, seed):
    net, w, X, y = linear(losses.huber(1e6), seed, dtype=dtype)
    half = with_loss(net, "half_squared_error")
    eps = np.finfo(dtype).eps
    assert_allclose(net.loss(w, X, y), half.loss(w, X, y), rtol=4 * eps)
    assert_allclose(net.gradient(w, X, y), half.gradient(w, X, y), rtol=0, atol=32 * eps)


@law
@given(seeds)
def test_huber_of_a_small_delta_is_proportional_to_the_absolute_error(seed):
    delta = 2.0**-60
    net, w, X, y = linear(losses.huber(delta), seed)
    absolute = with_loss(net, "absolute_error")
    assert_allclose(net.loss(w, X, y) / delta, absolute.loss(w, X, y), rtol=1e-13)
    assert_array_equal(net.gradient(w, X, y) / delta, absolute.gradient(w, X, y))


@law
@given(st.sampled_from(DTYPES), seeds)
def test_the_median_is_half_the_absolute_error(dtype, seed):
    net, w, X, y = linear("quantile", seed, dtype=dtype)
    absolute = with_loss(net, "absolute_error")
    y[:5] = net.predict(w, X[:5])
    assert 2 * net.loss(w, X, y) == absolute.loss(w, X, y)
    assert_array_equal(2 * net.gradient(w, X, y), absolute.gradient(w, X, y))


@law
@given(st.floats(0.01, 0.99), seeds)
def test_opposite_quantiles_add_to_the_absolute_error(q, seed):
    net, w, X, y = linear(losses.quantile(q), seed)
    other = with_loss(net, losses.quantile(1 - q))
    total = net.loss(w, X, y) + other.loss(w, X, y)
    assert_allclose(total, with_loss(net, "absolute_error").loss(w, X, y), rtol=1e-13)


@law
@given(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3))
def test_log_cosh_lies_between(a, y):
    size = abs(a - y)
    value, slope, curvature = at("log_cosh", a, y)
    allowed = 1e-15 * (1 + size)
    assert size - LOG_2 - allowed <= value <= min(size, size**2 / 2) + allowed
    assert abs(slope) <= 1
    assert 0 <= curvature <= 1
    assert_allclose(slope**2 + curvature, 1, rtol=1e-14)


@law
@given(st.floats(-30, 30), st.sampled_from([-1, 1]))
def test_hinge_is_perceptron_with_a_margin(a, y):
    (hinge, slope, _), (perceptron, _, _) = at("hinge", a, y), at("perceptron", a, y)
    assert perceptron <= hinge <= perceptron + 1
    assert (hinge == 0) == (y * a >= 1)
    assert slope in (0, -y)


@law
@given(st.floats(-20, 20), st.floats(0, 1e3))
def test_poisson_is_least_where_the_mean_is_y(z, y):
    value, slope, curvature = at("poisson", z, y)
    allowed = 1e-15 * (np.exp(z) + y * (1 + abs(z)))
    assert value >= -allowed
    assert_allclose([slope, curvature], [np.exp(z) - y, np.exp(z)], rtol=1e-14, atol=allowed)
    if y > 1e-3:
        assert abs(at("poisson", np.log(y), y)[0]) <= 1e-13 * (1 + y)


# Label smoothing -----------------------------------------------------------------------------


@every_dtype
@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("smoothing", [0.1, 0.75, 1])
def test_smoothed_labels_are_rows_of_probabilities(smoothing, labels, dtype, rng):
    net = fm.Network([5, 9, 4], loss=losses.cross_entropy(smoothing), dtype=dtype)
    w, X, y = problem(net, 30, rng, labels)
    rows = np.eye(4)[y] if labels else y.astype(float)
    plain = fm.Network([5, 9, 4], loss="cross_entropy", dtype=dtype)
    rows = (1 - smoothing) * rows + smoothing / 4
    eps = np.finfo(dtype).eps
    assert_allclose(net.loss(w, X, y), plain.loss(w, X, rows), rtol=8 * eps)
    atol = 16 * eps
    assert_allclose(net.gradient(w, X, y), plain.gradient(w, X, rows), rtol=0, atol=atol)
    assert same_bits(net.predict(w, X), plain.predict(w, X))


@every_dtype
def test_smoothed_targets_of_the_binary_cross_entropy(dtype, rng):
    net = fm.Network([5, 9, 4], loss=losses.binary_cross_entropy(0.3), dtype=dtype)
    w, X, y = problem(net, 30, rng)
    plain = fm.Network([5, 9, 4], loss="binary_cross_entropy", dtype=dtype)
    eps = np.finfo(dtype).eps
    smoothed = 0.7 * y.astype(float) + 0.15
    assert_allclose(net.loss(w, X, y), plain.loss(w, X, smoothed), rtol=8 * eps)
    found, expected = net.gradient(w, X, y), plain.gradient(w, X, smoothed)
    assert_allclose(found, expected, rtol=0, atol=16 * eps)


def test_two_classes_smoothed_are_one_sigmoid(rng):
    """Softmax of (z, 0) is the sigmoid; smoothing is shared out among as many classes."""
    X, y = rng.standard_normal((40, 3)), rng.integers(2, size=40)
    w = rng.standard_normal(4)
    sigmoid = fm.Network([3, 1], loss=losses.binary_cross_entropy(0.2), dtype="float64")
    softmax = fm.Network([3, 2], loss=losses.cross_entropy(0.2), dtype="float64")
    both = np.column_stack([0 * w, w]).ravel()
    assert_allclose(softmax.loss(both, X, y), sigmoid.loss(w, X, y), rtol=1e-14)


def test_all_smoothed_away(rng):
    net = fm.Network([5, 4], loss=losses.cross_entropy(1.0), dtype="float64")
    w, X, _ = problem(net, 10, rng)
    values = [net.loss(w, X, np.full(10, label)) for label in range(4)]
    assert_allclose(values, values[0], rtol=1e-15)


# Rows of probabilities -----------------------------------------------------------------------


def entropy(P):
    return -np.where(P > 0, P * np.log(np.where(P > 0, P, 1)), 0).sum(axis=1)


@law
@given(st.integers(2, 20), seeds)
def test_gibbs_inequality(n_out, seed):
    """The cross-entropy of a row is never below the row's entropy."""
    rng = np.random.default_rng(seed)
    net = fm.Network([3, n_out], output="softmax", dtype="float64")
    w, X = 3 * rng.standard_normal(net.n_params), rng.standard_normal((10, 3))
    P = truth(net, 10, rng, labels=False)
    P[:5] = net.predict(w, X[:5])  # equality
    values = np.array([net.loss(w, X[i : i + 1], P[i : i + 1]) for i in range(10)])
    assert (values >= entropy(P) - 1e-13).all()
    assert_allclose(values[:5], entropy(P[:5]), rtol=1e-12, atol=1e-12)


def test_cross_entropy_reaches_the_rows_entropy(rng):
    """A network that can fit every row does; no loss is lower."""
    X = np.eye(6)
    P = rng.dirichlet(np.ones(4), 6)
    net = fm.Network([6, 8, 4], hidden="tanh", output="softmax", dtype="float64")
    result = fm.minimize(fm.Objective(net, X, P), net.init(0), tol=1e-7)
    assert result.success
    assert_allclose(net.predict(result.x, X), P, atol=1e-5)
    assert_allclose(result.fun, entropy(P).mean(), rtol=1e-12)
    assert result.history.value.min() >= entropy(P).mean() - 1e-14
