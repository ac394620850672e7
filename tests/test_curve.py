"""Curves phi(alpha) = E(w + alpha d): values, derivatives, what is kept, and for how long."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import minimize_scalar

import fastmlp as fm
import naive
from cases import COMBINATIONS, DTYPES, PAIRS, check, parameters, same_bits, small_network
from cases_curves import (
    DEEP,
    Expected,
    case_of,
    drawn_cases,
    mixed_case,
    random_case,
    random_networks,
    sample_weight,
)
from fastmlp import workspace

every_dtype = pytest.mark.parametrize("dtype", DTYPES)
every_pair = pytest.mark.parametrize(("output", "loss"), PAIRS)
every_combination = pytest.mark.parametrize(("hidden", "output", "loss"), COMBINATIONS)
law = settings(deadline=None, max_examples=40)

# Against the twin ----------------------------------------------------------------------------


def slope_of_gradient(case):
    """(expected, deviation) of phi'(0), where it is the gradient . d."""
    expected = Expected(case)
    (slope, E), (_, E_gradient) = expected.slope(), expected.gradient()
    return slope, E + np.sqrt(((E_gradient * case.d) ** 2).sum())


def check_curve(case, alphas=(0.0, 1.0, -0.4, 1e-3, 2.5)):
    """Against the twin, a fresh evaluation at the same place, and products that are not kept."""
    objective, dtype = case.objective(), case.net.dtype
    curve, recomputed = objective.along(case.w, case.d), case.curve(kept_bytes=0)
    for alpha in alphas:
        expected = Expected(case, alpha)
        if abs(expected.twin.slope(expected.at, expected.d)) > np.finfo(dtype).max ** 0.5:
            continue  # exp(z) is beyond the dtype's range
        both = curve.value_and_derivative(alpha)
        assert {type(number) for number in both} == {float}
        value, slope = expected.value(), expected.slope()
        check(f"phi({alpha})", both[0], value, dtype)
        check(f"phi'({alpha})", both[1], slope, dtype)
        assert recomputed.value_and_derivative(alpha) == both
        assert (curve(alpha), curve.derivative(alpha)) == both
        at = curve.at(alpha)
        fresh = case.objective().value(at)
        check(f"phi({alpha})", both[0], (fresh, 2 * value[1]), dtype)
        if alpha == 0:
            assert same_bits(at, case.w)
            assert both[0] == fresh
            gradient = case.objective().gradient(at).astype(float)
            check("phi'(0)", gradient @ case.d, slope_of_gradient(case), dtype)
    apart = case.curve()
    assert [apart(alpha) for alpha in alphas] == [curve(alpha) for alpha in alphas]


@pytest.mark.parametrize(("net", "n"), list(random_networks(96, 21)), ids=str)
def test_random_network(net, n, rng):
    check_curve(random_case(net, n, rng), (0.0, float(rng.normal())))


@every_dtype
@pytest.mark.parametrize("n", [1, 65])
@pytest.mark.parametrize("widths", DEEP, ids=str)
def test_deeper_than_a_panel(widths, n, dtype, rng):
    net = fm.Network(widths, hidden="tanh", dtype=dtype)
    check_curve(random_case(net, n, rng), (0.0, 0.7))


@every_combination
def test_every_activation_and_loss(hidden, output, loss, rng):
    for dtype in DTYPES:
        net = fm.Network([17, 9, 48, 5], hidden=hidden, output=output, loss=loss, dtype=dtype)
        check_curve(random_case(net, 31, rng))


@every_pair
@pytest.mark.parametrize("dtype", DTYPES)
def test_one_layer(output, loss, dtype, rng):
    for bias in (True, False):
        net = fm.Network([16, 7], output=output, loss=loss, dtype=dtype, bias=bias)
        check_curve(random_case(net, 13, rng))


def test_more_rows_than_a_block(rng):
    net = fm.Network([3, 8, 2], output="softmax")
    check_curve(random_case(net, 2 * workspace.block_rows(net) + 13, rng), (0.0, 0.6))


def check_differences(objective, curve):
    start, d = curve.at(0), curve.direction
    for alpha in (0.0, 0.8):
        for f in (lambda v: curve(v[0]), lambda v: objective.value(start + v[0] * d)):
            slope = naive.finite_difference_gradient(f, [alpha])[0]
            atol = 3e-9 * max(1, abs(slope), np.linalg.norm(d) ** 3)
            assert_allclose(curve.derivative(alpha), slope, rtol=0, atol=atol)


@every_combination
def test_finite_differences(hidden, output, loss, rng):
    for reduction, bias in (("mean", True), ("sum", False)):
        net = fm.Network(
            [5, 9, 4, 3], hidden=hidden, output=output, loss=loss, bias=bias, dtype="float64"
        )
        case = case_of(net, 4, rng, sample_weight=sample_weight(4, rng), l2=0.3)
        objective = case.objective(reduction=reduction)
        check_differences(objective, objective.along(case.w, case.d))


# Laws ----------------------------------------------------------------------------------------


@law
@given(drawn_cases(), st.floats(-3, 3))
def test_any_case(case, alpha):
    check_curve(case, (alpha,))


@law
@given(drawn_cases(), st.integers(-20, 20), st.floats(-2, 2))
def test_length_of_the_direction(case, exponent, alpha):
    """A power of two changes only exponents."""
    curve, scale = case.curve(), 2.0**exponent
    other = case.objective().along(case.w, case.d * case.d.dtype.type(scale))
    value, slope = other.value_and_derivative(alpha / scale)
    assert (value, slope / scale) == curve.value_and_derivative(alpha)
    assert same_bits(other.at(alpha / scale), curve.at(alpha))


@law
@given(drawn_cases(), st.floats(-1e3, 1e3))
def test_direction_zero(case, alpha):
    curve = case.objective().along(case.w, 0 * case.d)
    assert curve.value_and_derivative(alpha) == (case.objective().value(case.w), 0)
    assert same_bits(curve.at(alpha), case.w)


@every_dtype
def test_a_parabola(dtype, rng):
    """Squared errors of one linear layer: phi is a parabola, and SciPy finds its minimum."""
    net = fm.Network([6, 3], dtype=dtype)
    case = case_of(net, 40, rng, l2=0.1)
    curve, twin = case.curve(), case.twin
    curvature = twin.hessian_vector(case.w, case.d) @ case.d.astype(float)
    best = -twin.slope(case.w, case.d) / curvature
    rtol = 1e-4 if dtype == "float32" else 1e-9
    for alpha in (-2, 0, 0.5, 3):
        assert_allclose(curve.derivative(alpha), curvature * (alpha - best), rtol=rtol, atol=rtol)
        expected = twin.value(case.w + best * case.d) + curvature / 2 * (alpha - best) ** 2
        assert_allclose(curve(alpha), expected, rtol=rtol)
    assert_allclose(minimize_scalar(curve).x, best, rtol=100 * rtol, atol=100 * rtol)


# What is kept --------------------------------------------------------------------------------


def test_evaluations(rng):
    case = mixed_case(rng)
    objective = case.objective()
    curve = objective.along(case.w, case.d)

    def passes():
        assert objective.nfev == curve.evaluations
        return curve.evaluations

    assert passes() == 0
    assert curve(0.5) == curve(0.5) == curve(np.float64(0.5)) == curve(np.float32(0.5))
    assert passes() == 1
    both = curve.value_and_derivative(0.25)
    assert both == (curve(0.25), curve.derivative(0.25)) == curve.value_and_derivative(0.25)
    assert passes() == 2
    assert curve(1) == curve(1.0)
    assert curve.derivative(0) == curve.derivative(-0.0)
    assert curve.derivative(0.25) == both[1]
    assert passes() == 4
    curve.at(0.7)
    assert passes() == 4


@pytest.mark.parametrize("kept_bytes", [0, 2**30])
def test_the_start_costs_nothing_after_a_gradient(kept_bytes, rng):
    case = mixed_case(rng)
    objective = case.objective(kept_bytes=kept_bytes)
    value, gradient = objective.value_and_gradient(case.w)
    curve = objective.along(case.w, case.d)
    assert curve(0) == curve.value_and_derivative(0)[0] == value
    check("phi'(0)", curve.derivative(0), slope_of_gradient(case), case.net.dtype)
    assert_allclose(curve.derivative(0), gradient.astype(float) @ case.d, rtol=1e-6)
    gradient[:] = np.nan  # the caller's own
    assert objective.along(case.w, case.d).derivative(0) == curve.derivative(0)
    assert (curve.evaluations, objective.nfev) == (0, 1)
    assert curve.value_and_derivative(0.5) == case.curve().value_and_derivative(0.5)
    assert (curve.evaluations, objective.nfev) == (1, 2)


def test_w_and_d_are_copied(rng):
    case = mixed_case(rng)
    w, d = case.w.copy(), case.d.copy()
    objective = case.objective()
    objective.value_and_gradient(w)
    curve = objective.along(w, d)
    assert same_bits(curve.direction, d)
    w[:], d[:] = np.nan, np.nan
    expected = case.curve()
    assert same_bits(curve.direction, case.d)
    assert curve(0) == expected(0)
    for alpha in (0.5, 1.0):
        assert curve.value_and_derivative(alpha) == expected.value_and_derivative(alpha)
        at = curve.at(alpha)
        assert (at.dtype, at.shape) == (case.net.dtype, case.w.shape)
        assert same_bits(at, expected.at(alpha))
        eps = np.finfo(at.dtype).eps
        exact = case.w + alpha * case.d.astype(float)
        assert (abs(at - exact) <= eps * (abs(case.w) + abs(alpha * case.d))).all()
        at[:] = np.nan  # the caller's own
        assert same_bits(curve.at(alpha), expected.at(alpha))


@pytest.mark.parametrize("kept_bytes", [0, 2**30])
def test_parameters_that_change_in_place(kept_bytes, rng):
    """Neither the value nor the products of what w held before are taken for those of w."""
    case = mixed_case(rng)
    objective, w = case.objective(kept_bytes=kept_bytes), case.w.copy()
    for scale in (1.25, -0.5):
        objective.value_and_gradient(w)
        w *= np.float32(scale)
        curve, fresh = objective.along(w, case.d), case.objective().along(w, case.d)
        for alpha in (0, 0.5):
            assert curve(alpha) == fresh(alpha)
        assert_allclose(curve.derivative(0), fresh.derivative(0), rtol=1e-3)
        assert curve.derivative(0.5) == fresh.derivative(0.5)


ELSEWHERE = {
    "value": lambda objective, w, d: objective.value(d),
    "gradient": lambda objective, w, d: objective.value_and_gradient(d),
    "gradient at w": lambda objective, w, d: objective.value_and_gradient(w),
    "hessian_vector": lambda objective, w, d: objective.hessian_vector(d, w),
    "curve from w": lambda objective, w, d: objective.along(w, -w)(0.3),
    "curve along d": lambda objective, w, d: objective.along(d, d).derivative(0.3),
    "curve not evaluated": lambda objective, w, d: objective.along(d, w),
    "prediction": lambda objective, w, d: objective.net.predict(d, objective.X),
}


@pytest.mark.parametrize("kept_bytes", [0, 2**30])
@pytest.mark.parametrize("elsewhere", ELSEWHERE.values(), ids=ELSEWHERE)
def test_interleaved(elsewhere, kept_bytes, rng):
    """Each curve keeps being right after others were evaluated, and after work elsewhere."""
    case = mixed_case(rng)
    objective, (w, d) = case.objective(kept_bytes=kept_bytes), (case.w, case.d)
    lines = [(w, d), (w, w), (d, d), (w, d)]
    curves = [objective.along(*line) for line in lines]
    for alpha in (0.5, 0.25, -1.0):
        for line, curve in zip(lines, curves, strict=True):
            expected = case.objective().along(*line)
            assert curve(alpha) == expected(alpha)
            elsewhere(objective, w, d)
            assert curve.value_and_derivative(2 * alpha) == expected.value_and_derivative(2 * alpha)


NET = fm.Network([5, 9, 4, 3], hidden=["tanh", "relu"], output="softmax")
N = 13
# What both products take: with a little less they are not kept.
EXACTLY = [2 * N * width * 4 for width in (9, 16, 48)]
index = st.integers(0, 2)
alpha = st.sampled_from([0.0, 0.5, 1.0, -0.25, 3.0])
actions = st.one_of(
    st.tuples(st.sampled_from(["value", "gradient", "value_and_gradient", "change"]), index),
    st.tuples(st.sampled_from(["along", "hessian_vector"]), index, index),
    st.tuples(st.sampled_from(["__call__", "derivative", "value_and_derivative"]), index, alpha),
)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(actions, min_size=3, max_size=25),
    st.sampled_from([0, 1, 2**30, *EXACTLY, *(size - 1 for size in EXACTLY)]),
)
def test_any_sequence_of_calls(actions, kept_bytes):
    """Each result is that of an objective of its own, whatever has been computed before."""
    rng = np.random.default_rng(0)
    case = case_of(NET, N, rng, sample_weight=sample_weight(N, rng), l2=0.1)
    ws, ds = ([parameters(NET, rng) for _ in range(3)] for _ in range(2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workspace, "FEWEST_ROWS", 8)
        patch.setattr(workspace, "MOST_ROWS", 8)
        objective = case.objective(kept_bytes=kept_bytes)
        starts = [(ws[i].copy(), ds[i].copy()) for i in range(3)]
        curves = [objective.along(w, d) for w, d in starts]
        for name, i, *rest in actions:
            if name == "change":
                ws[i] *= np.float32(-0.75)
            elif name == "along":
                starts[i] = ws[i].copy(), ds[rest[0]].copy()
                curves[i] = objective.along(ws[i], ds[rest[0]])
            elif rest and name != "hessian_vector":
                fresh = case.objective().along(*starts[i])
                found, expected = (getattr(curve, name)(*rest) for curve in (curves[i], fresh))
                if rest == [0] and name != "__call__":  # the slope may be gradient . d
                    assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
                else:
                    assert found == expected
            else:
                arguments = ws[i], *(ds[j] for j in rest)
                found, expected = (
                    getattr(each, name)(*arguments) for each in (objective, case.objective())
                )
                for a, b in (
                    zip(np.atleast_1d(found), np.atleast_1d(expected), strict=True)
                    if (name != "value_and_gradient")
                    else zip(found, expected, strict=True)
                ):
                    assert same_bits(a, b)


def test_memory(rng):
    """Without room for the products, memory does not grow with the samples."""
    net, n = fm.Network([3, 64, 2]), 60_000
    case = case_of(net, n, rng)
    case.curve().value_and_derivative(0.5)  # compile
    peaks = []
    for kept_bytes in (0, 2**30):
        tracemalloc.start()
        curve = case.curve(kept_bytes=kept_bytes)
        values = curve.value_and_derivative(0.5), curve(1.0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert values == (case.curve().value_and_derivative(0.5), case.curve()(1.0))
    assert peaks[0] < n * 64 * 4 < 2 * n * 64 * 4 < peaks[1]


# Far out -------------------------------------------------------------------------------------


@every_dtype
@every_pair
def test_far_out(output, loss, dtype, rng):
    """Where numbers overflow, the value says so; the next one does not know."""
    net = small_network(output, loss, "relu", dtype)
    case = case_of(net, 20, rng, l2=0.1)
    expected = case.curve().value_and_derivative(0.5)
    for alpha in (1e10, -1e20, 0.9 * float(np.finfo(dtype).max)):
        curve = case.curve()
        value, slope = curve.value_and_derivative(alpha)
        assert {type(value), type(slope)} == {float}
        assert curve.at(alpha).dtype == net.dtype
        with np.errstate(all="ignore"):
            right = case.twin.value(case.w + alpha * case.d.astype(float))
        if np.isfinite(value):
            assert_allclose(value, right, rtol=1e-3)
        assert curve.value_and_derivative(0.5) == expected


@every_dtype
@pytest.mark.parametrize("alpha", [np.nan, np.inf, -np.inf, 1e39, "1", None, 1j, [0.5, 1]], ids=str)
def test_bad_alpha(alpha, dtype, rng):
    case = mixed_case(rng, dtype=dtype)
    curve = case.curve()
    if alpha == 1e39 and dtype == "float64":
        return
    for call in (curve, curve.derivative, curve.value_and_derivative, curve.at):
        with pytest.raises((TypeError, ValueError), match=r"\balpha\b"):
            call(alpha)
    assert curve.evaluations == 0
    assert curve(0.5) == case.curve()(0.5)
