"""Gradients against finite differences, and laws that losses and gradients obey."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import fastmlp as fm
import naive
from cases import (
    COMBINATIONS,
    DIFFERENTIABLE,
    DTYPES,
    PAIRS,
    SQUARED,
    Expected,
    check,
    parameters,
    problem,
    same_bits,
    truth,
)

# Finite differences --------------------------------------------------------------------------

every_combination = pytest.mark.parametrize(("hidden", "output", "loss"), COMBINATIONS)


def close_to_differences(actual, differences):
    """Central differences of step eps^(1/3) are good to eps^(2/3), times the third derivative."""
    assert actual.shape == differences.shape
    scale = max(1, abs(differences).max())
    assert_allclose(actual, differences, rtol=0, atol=3e-9 * scale)


@every_combination
@pytest.mark.parametrize("bias", [True, False])
def test_finite_differences(hidden, output, loss, bias, rng):
    net = fm.Network(
        [5, 9, 4, 3], hidden=hidden, output=output, loss=loss, bias=bias, dtype="float64"
    )
    for labels in (True, False) if loss == "cross_entropy" else (True,):
        w, X, y = problem(net, 2, rng, labels)

        def losses(v, X=X, y=y):
            each = [net.loss(v, X[i : i + 1], y[i : i + 1]) for i in range(len(X))]
            return np.array([*each, net.loss(v, X, y), net.loss(v, X, y, reduction="sum")])

        *each, mean, total = naive.finite_difference_gradient(losses, w)
        close_to_differences(net.sample_gradients(w, X, y), np.array(each))
        close_to_differences(net.gradient(w, X, y), mean)
        close_to_differences(net.gradient(w, X, y, reduction="sum"), total)


@pytest.mark.parametrize(
    ("hidden", "output"), sorted({(hidden, output) for hidden, output, _ in COMBINATIONS})
)
@pytest.mark.parametrize("bias", [True, False])
def test_finite_differences_of_predictions(hidden, output, bias, rng):
    net = fm.Network([5, 9, 4, 3], hidden=hidden, output=output, bias=bias, dtype="float64")
    w, X, _ = problem(net, 4, rng)
    differences = naive.finite_difference_gradient(lambda v: net.predict(v, X), w)
    close_to_differences(net.jacobian(w, X), differences)


def test_finite_differences_of_a_wide_network(rng):
    """More than a tile in each direction; a direction at a time, in float64."""
    net = fm.Network([49, 60, 51], hidden="tanh", output="softmax", dtype="float64")
    w, X, y = problem(net, 101, rng)
    gradient = net.gradient(w, X, y)
    for _ in range(20):
        d = rng.standard_normal(w.size)
        step = 1e-5
        slope = (net.loss(w + step * d, X, y) - net.loss(w - step * d, X, y)) / (2 * step)
        assert_allclose(gradient @ d, slope, rtol=1e-6, atol=1e-8)


# Laws ----------------------------------------------------------------------------------------

law = settings(deadline=None, max_examples=60)
widths = st.lists(st.sampled_from([1, 2, 3, 7, 8, 9, 16, 17, 24, 49]), min_size=2, max_size=4)


@st.composite
def problems(draw, pairs=PAIRS, least_rows=1, **fixed):
    """(net, w, X, y): shapes, names and a seed; numbers of order 1 from the seed."""
    output, loss = draw(st.sampled_from(pairs))
    shape = draw(widths)
    hidden = [draw(st.sampled_from(DIFFERENTIABLE)) for _ in shape[2:]]
    choices = {"bias": draw(st.booleans()), "dtype": draw(st.sampled_from(DTYPES))}
    net = fm.Network(shape, hidden=hidden, output=output, loss=loss, **choices)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n = draw(st.integers(least_rows, 40))
    return net, *problem(net, n, rng, labels=draw(st.booleans()))


def check_twice(name, net, actual, expected, deviation):
    """As `check`, where `expected` has rounding errors of its own."""
    check(name, actual, (np.asarray(expected, np.float64), 2 * deviation), net.dtype)


@law
@given(problems())
def test_gradient_is_the_mean_of_sample_gradients(case):
    net, w, X, y = case
    each = net.sample_gradients(w, X, y).astype(np.float64)
    for reduction in ("mean", "sum"):
        _, deviation = Expected(net, w, X, y).gradient(reduction)
        actual = net.gradient(w, X, y, reduction=reduction)
        check_twice("gradient", net, actual, naive.reduce(each, reduction), deviation)


@law
@given(problems())
def test_sum_is_n_means(case):
    net, w, X, y = case
    n = len(X)
    assert net.loss(w, X, y, reduction="sum") / n == net.loss(w, X, y)
    total = net.gradient(w, X, y, reduction="sum")
    _, deviation = Expected(net, w, X, y).gradient("sum")
    mean = net.gradient(w, X, y).astype(np.float64)
    check_twice("n * mean", net, n * mean, total, deviation)
    if n & (n - 1) == 0:  # a power of two only changes the exponent
        assert_array_equal(n * mean, total)


@law
@given(problems(pairs=[pair for pair in PAIRS if pair[1] == "squared_error"]))
def test_half_squared_error_is_half(case):
    net, w, X, y = case
    half = fm.Network(
        net.widths, hidden=net.activations[:-1], output=net.activations[-1],
        loss="half_squared_error", bias=net.bias, dtype=net.dtype,
    )  # fmt: skip
    for reduction in ("mean", "sum"):
        options = {"reduction": reduction}
        assert 2 * half.loss(w, X, y, **options) == net.loss(w, X, y, **options)
        gradient = half.gradient(w, X, y, **options)
        assume(not ((gradient != 0) & (abs(gradient) < 1e-30)).any())
        assert_array_equal(2 * gradient, net.gradient(w, X, y, **options))
    assert_array_equal(2 * half.sample_gradients(w, X, y), net.sample_gradients(w, X, y))


@law
@given(problems(), st.randoms(use_true_random=False))
def test_order_of_samples_does_not_matter(case, random):
    net, w, X, y = case
    order = random.sample(range(len(X)), len(X))
    assert same_bits(net.predict(w, X[order]), net.predict(w, X)[order])
    each = net.sample_gradients(w, X, y)
    assert same_bits(net.sample_gradients(w, X[order], y[order]), each[order])
    expected = Expected(net, w, X, y)
    loss, gradient = (getattr(net, name)(w, X, y) for name in ("loss", "gradient"))
    assert_allclose(net.loss(w, X[order], y[order]), loss, rtol=len(X) * 3e-16)
    shuffled = net.gradient(w, X[order], y[order])
    check_twice("gradient", net, shuffled, gradient, expected.gradient()[1])


@law
@given(problems())
def test_samples_twice(case):
    """Every sample doubled: the same mean, twice the sum."""
    net, w, X, y = case
    twice = np.concatenate([X, X]), np.concatenate([y, y])
    assert_allclose(net.loss(w, *twice), net.loss(w, X, y), rtol=1e-13)
    for reduction, factor in (("mean", 1), ("sum", 2)):
        single = net.gradient(w, X, y, reduction=reduction)
        _, deviation = Expected(net, w, *twice).gradient(reduction)
        doubled = net.gradient(w, *twice, reduction=reduction)
        check_twice("gradient", net, doubled, factor * single.astype(np.float64), deviation)


@law
@given(problems(pairs=[("softmax", "cross_entropy")]))
def test_labels_are_rows_with_a_single_one(case):
    net, w, X, y = case
    labels = y if y.ndim == 1 else y.argmax(axis=1)
    rows = np.eye(net.widths[-1], dtype=net.dtype)[labels]
    assert_allclose(net.loss(w, X, rows), net.loss(w, X, labels), rtol=1e-13)
    assert same_bits(net.gradient(w, X, rows), net.gradient(w, X, labels))
    assert same_bits(net.sample_gradients(w, X, rows), net.sample_gradients(w, X, labels))


@law
@given(problems(pairs=[("softmax", "cross_entropy"), ("softmax", "squared_error")]))
def test_probabilities(case):
    net, w, X, _ = case
    P = net.predict(w, 10 * X)
    eps = np.finfo(net.dtype).eps
    assert (P >= 0).all()
    assert (P <= 1).all()
    assert_allclose(P.sum(axis=1, dtype=np.float64), 1, rtol=0, atol=2 * eps * P.shape[1] ** 0.5)
    slopes = net.jacobian(w, X).sum(axis=1, dtype=np.float64)  # of 1
    deviation = Expected(net, w, X).jacobian()[1].sum(axis=1)
    check("the sum's slope", slopes, (np.zeros_like(slopes), deviation), net.dtype)


@law
@given(problems(pairs=[(output, loss) for output in DIFFERENTIABLE for loss in SQUARED]))
def test_chain_rule(case):
    """The loss's gradient is the Jacobian, transposed, times the loss's derivative."""
    net, w, X, y = case
    J = net.jacobian(w, X).astype(np.float64)
    residual = net.predict(w, X).astype(np.float64) - y
    factor = 2 if net.loss_name == "squared_error" else 1
    product = factor * np.einsum("noi,no->ni", J, residual)
    _, deviation = Expected(net, w, X, y).sample_gradients()
    J_size = np.einsum("noi,no->ni", abs(J), abs(residual))
    deviation = deviation + 16 * np.finfo(net.dtype).eps * J_size
    check_twice("J^T r", net, net.sample_gradients(w, X, y), product, deviation)


# Far from zero -------------------------------------------------------------------------------

FAR = 1e4


def linear(n_out, dtype, **names):
    """A network that passes Z on as it gets it: w = 1 on the diagonal, no bias."""
    net = fm.Network([n_out, n_out], bias=False, dtype=dtype, **names)
    return net, np.eye(n_out, dtype=dtype).ravel()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("z", [FAR, 1e30])
@pytest.mark.parametrize("n_out", [1, 3, 17])
def test_binary_cross_entropy_far_from_zero(n_out, z, dtype):
    net, w = linear(n_out, dtype, loss="binary_cross_entropy")
    z = np.dtype(dtype).type(z)
    for y, slopes in ((0, (0, 1)), (1, (-1, 0)), (0.25, (-0.25, 0.75))):
        for sign, slope in zip((-1, 1), slopes, strict=True):
            X, Y = np.full((1, n_out), sign * z), np.full((1, n_out), y, dtype)
            assert_array_equal(net.predict(w, X), max(sign, 0))
            expected = n_out * float(z) * abs(slope)
            assert_allclose(net.loss(w, X, Y), expected, rtol=1e-15)
            d_w = np.outer(X, np.full(n_out, slope)).ravel().astype(dtype)
            assert_array_equal(net.gradient(w, X, Y), d_w)
            assert_array_equal(net.sample_gradients(w, X, Y), d_w[None])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_out", [2, 3, 17])
@pytest.mark.parametrize("form", ["labels", "rows"])
def test_cross_entropy_far_from_zero(form, n_out, dtype):
    net, w = linear(n_out, dtype, loss="cross_entropy")
    for winner in (0, n_out - 1):
        for z in (FAR, 2 * FAR):
            Z = np.full((1, n_out), FAR - z, dtype)
            Z[0, winner] = FAR
            one = np.eye(n_out, dtype=dtype)
            assert_array_equal(net.predict(w, Z), one[[winner]])
            for label in (0, n_out - 1):
                y = np.array([label]) if form == "labels" else one[[label]]
                assert net.loss(w, Z, y) == (0 if label == winner else z)
                d_w = np.outer(Z, one[winner] - one[label]).ravel()
                assert_array_equal(net.gradient(w, Z, y), d_w)
                assert_array_equal(net.sample_gradients(w, Z, y), d_w[None])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sign", [-1, 1])
def test_equal_scores_far_from_zero(sign, dtype):
    """Softmax does not change with a shift of its row."""
    net, w = linear(8, dtype, loss="cross_entropy")
    Z = np.full((1, 8), sign * FAR, dtype)
    assert_array_equal(net.predict(w, Z), 0.125)
    assert_allclose(net.loss(w, Z, [3]), np.log(8), rtol=0, atol=4e-12)
    rows = np.full((1, 8), 0.125)
    assert_allclose(net.loss(w, Z, rows), np.log(8), rtol=0, atol=4e-12)
    assert_array_equal(net.gradient(w, Z, rows), 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("hidden", "output", "loss"), [names for names in COMBINATIONS if "exp" not in names]
)
def test_large_parameters_stay_finite(hidden, output, loss, dtype, rng):
    net = fm.Network([5, 9, 3], hidden=hidden, output=output, loss=loss, dtype=dtype)
    w = 1000 * parameters(net, rng)
    X = rng.standard_normal((20, 5)).astype(dtype)
    y = truth(net, 20, rng)
    assert np.isfinite(net.loss(w, X, y))
    for values in (net.gradient(w, X, y), net.sample_gradients(w, X, y), net.jacobian(w, X)):
        assert np.isfinite(values).all()
    assert_allclose(net.loss(w, X, y), naive.loss(naive.twin(net), w, X, y), rtol=1e-3)
