"""Directional derivatives: the gradient times the direction, exact and by values alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import fastmlp as fm
from cases import DTYPES, KINKED, KINKED_ACTIVATIONS, PAIRS, check, same_bits
from cases_curves import Expected, case_of, drawn_cases, random_case, random_networks
from cases_descent import every_dtype, logistic

SMOOTH = [
    (output, loss)
    for output, loss in PAIRS
    if output not in KINKED_ACTIVATIONS and fm.losses.resolve(loss).name not in KINKED
]
either_way = pytest.mark.parametrize("numerically", [False, True])


def norm(v):
    return float(np.linalg.norm(np.asarray(v, np.float64)))


def eps(dtype, power=1.0):
    return float(np.finfo(dtype).eps) ** power


def test_it_is_the_twins():
    rng = np.random.default_rng(0)
    for net, n in random_networks(48, 7):
        case = random_case(net, n, rng)
        found = fm.directional_derivative(case.objective(), case.w, case.d)
        check(str(case), found, Expected(case).slope(), net.dtype)


@every_dtype
@pytest.mark.parametrize(("output", "loss"), PAIRS)
def test_it_is_gradient_times_direction(output, loss, dtype, rng):
    net = fm.Network([5, 7, 3], hidden="tanh", output=output, loss=loss, dtype=dtype)
    for _ in range(5):
        case = random_case(net, 30, rng)
        objective = case.objective()
        found = fm.directional_derivative(objective, case.w, case.d)
        gradient = objective.gradient(case.w).astype(np.float64)
        size = norm(gradient) * norm(case.d) + objective.value(case.w)
        expected = gradient @ case.d.astype(np.float64)
        assert found == pytest.approx(expected, abs=10 * eps(dtype) * size)
        # Known from the gradient, or by a pass of its own.
        again = fm.directional_derivative(objective, case.w, case.d)
        assert again == pytest.approx(expected, rel=1e-12, abs=1e-14 * size)


@every_dtype
@pytest.mark.parametrize(("output", "loss"), SMOOTH)
def test_by_values_alone(output, loss, dtype, rng):
    """To about eps^(2/3), of what the derivative and the values are made of."""
    for hidden in ("identity", "sigmoid", "tanh"):
        net = fm.Network([5, 7, 3], hidden=hidden, output=output, loss=loss, dtype=dtype)
        case = random_case(net, 30, rng)
        objective = case.objective()
        exact = fm.directional_derivative(objective, case.w, case.d)
        found = fm.directional_derivative(objective, case.w, case.d, numerically=True)
        size = norm(case.d) * (norm(objective.gradient(case.w)) + objective.value(case.w))
        error = 10 * eps(dtype, 2 / 3) * size
        assert found == pytest.approx(exact, abs=error)
        assert found != exact  # it is another way indeed


@given(drawn_cases(), st.floats(-4, 4), st.floats(-4, 4), st.integers(0, 2**32))
def test_it_is_linear_in_the_direction(case, a, b, seed):
    objective, dtype = case.objective(), case.net.dtype
    u, v = case.d, np.random.default_rng(seed).standard_normal(len(case.d)).astype(dtype)
    both = (a * u.astype(np.float64) + b * v).astype(dtype)
    of_u, of_v, of_both = (fm.directional_derivative(objective, case.w, d) for d in (u, v, both))
    size = norm(objective.gradient(case.w)) + objective.value(case.w)
    size *= 1 + abs(a) * norm(u) + abs(b) * norm(v)
    assert of_both == pytest.approx(a * of_u + b * of_v, abs=100 * eps(dtype) * size)


@either_way
@every_dtype
@pytest.mark.parametrize("scale", [2.0**-20, 2.0**20, 1e-30, 1e30])
def test_it_is_proportional_to_the_directions_length(scale, dtype, numerically):
    case = logistic(dtype)
    objective, scaled = case.objective(), (scale * case.d).astype(dtype)
    expected = scale * fm.directional_derivative(objective, case.w, case.d, numerically=numerically)
    found = fm.directional_derivative(objective, case.w, scaled, numerically=numerically)
    rel = 10 * eps(dtype, 1 / 2 if numerically else 1)
    assert found == pytest.approx(expected, rel=rel)


@either_way
@pytest.mark.parametrize("scale", [1e-300, 1e-200, 1e200, 1e300])
def test_directions_whose_square_no_number_can_hold(scale, numerically):
    case = logistic()
    objective = case.objective()
    expected = fm.directional_derivative(objective, case.w, case.d)
    found = fm.directional_derivative(objective, case.w, scale * case.d, numerically=numerically)
    assert found / scale == pytest.approx(expected, rel=1e-6)


@either_way
@every_dtype
@pytest.mark.parametrize(("output", "loss"), PAIRS)
def test_directions_of_descent(output, loss, dtype, numerically, rng):
    net = fm.Network([5, 7, 3], hidden="tanh", output=output, loss=loss, dtype=dtype)
    case = case_of(net, 30, rng, l2=0.1)
    objective = case.objective()
    g = objective.gradient(case.w)
    for d, expected in ((-g, True), (g, False), (0 * g, False), (-3 * g, True)):
        answer = fm.is_descent_direction(objective, case.w, d, numerically=numerically)
        assert answer is expected
    found = fm.directional_derivative(objective, case.w, -g, numerically=numerically)
    assert type(found) is float
    # Values alone know the derivative on either side of a kink.
    rel = (100 if output == "exp" else 10) * eps(dtype, 2 / 3)  # times the third derivative
    rel = 1e-2 if numerically and (output, loss) not in SMOOTH else rel
    size = norm(g) * (norm(g) + objective.value(case.w))
    assert found == pytest.approx(-(norm(g) ** 2), rel=rel, abs=rel * size)


@given(drawn_cases(SMOOTH))
def test_descent_is_a_negative_derivative(case):
    objective = case.objective()
    found = fm.directional_derivative(objective, case.w, case.d)
    assert fm.is_descent_direction(objective, case.w, case.d) is (found < 0)
    size = norm(case.d) * (norm(objective.gradient(case.w)) + objective.value(case.w))
    assume(set(case.net.activations) <= {"identity", "sigmoid", "tanh", "softmax"})
    assume(abs(found) > 100 * eps(case.net.dtype, 2 / 3) * size)
    assert fm.is_descent_direction(objective, case.w, case.d, numerically=True) is (found < 0)
    assert fm.is_descent_direction(objective, case.w, -case.d, numerically=True) is (found > 0)


@either_way
@every_dtype
def test_no_direction(dtype, numerically):
    case = logistic(dtype)
    zero = np.zeros_like(case.w)
    found = fm.directional_derivative(case.objective(), case.w, zero, numerically=numerically)
    assert found == 0
    assert not fm.is_descent_direction(case.objective(), case.w, zero, numerically=numerically)


def test_costs_and_arguments():
    """One pass, and none after the gradient there; two by values alone. Nothing is changed."""
    case = logistic("float32")
    w, d = case.w.astype(np.float64), case.d.copy()
    objective = case.objective()
    for numerically, cost in ((False, 1), (True, 2)):
        before = objective.nfev
        fm.directional_derivative(objective, w, d, numerically=numerically)
        assert (objective.nfev - before, objective.njev) == (cost, 0)
    objective.gradient(w)
    before = objective.nfev
    fm.directional_derivative(objective, w, d)
    assert objective.nfev == before
    assert same_bits(w, case.w.astype(np.float64))
    assert same_bits(d, case.d)
    listed = fm.directional_derivative(objective, w.tolist(), d.tolist())
    assert listed == fm.directional_derivative(objective, w, d)


@either_way
@pytest.mark.parametrize("function", [fm.directional_derivative, fm.is_descent_direction])
@pytest.mark.parametrize("bad", [np.ones(11), np.ones((12, 1)), np.full(12, np.nan), 1.0], ids=str)
def test_refused(bad, function, numerically):
    case = logistic()
    for name, w, d in (("w", bad, case.d), ("d", case.w, bad)):
        with pytest.raises(ValueError, match=f"^{name} "):
            function(case.objective(), w, d, numerically=numerically)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["step", "sign"])
def test_networks_without_derivatives(activation, dtype):
    net = fm.Network([2, 3, 1], hidden=activation, dtype=dtype)
    objective = fm.Objective(net, np.ones((4, 2)), np.ones(4))
    with pytest.raises(ValueError, match=activation):
        fm.directional_derivative(objective, net.init(0), np.ones(13))
