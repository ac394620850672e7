"""Rates of convergence keep the theory's bounds: on problems of examples/convergence.py."""

from __future__ import annotations

import numpy as np
import pytest

import fastmlp as fm
from examples_loader import load_example

example = load_example("convergence")


def measured(rates, method, quantity):
    """The one rate of this method and quantity."""
    (rate,) = [each for each in rates if (each.method, each.quantity) == (method, quantity)]
    return rate.measured


def assert_kept(rates):
    assert not [rate for rate in rates if not rate.ok]


# Strongly convex: a factor an iteration ------------------------------------------------------


@pytest.mark.parametrize("kappa", [10, 100, 1000])
def test_linear_rates_keep_their_bounds(kappa):
    """Each single iteration does, not only the fitted factor."""
    runs, rates = example.linear_rates(120, kappa)
    assert len(runs) == 4
    assert_kept(rates)


def test_steepest_descent_reaches_kantorovichs_bound_from_the_worst_start():
    """So the bound is sharp; steps that are not exact would not keep to it from here."""
    _, rates = example.linear_rates(120)
    method, bound = f"{example.STEEPEST}, worst start", example.kantorovich(100)
    for quantity in ("factor, fitted", "factor, largest"):
        assert measured(rates, method, quantity) == pytest.approx(bound, rel=1e-9)


# Convex: a power of k ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def power_rates():
    return example.power_rates(300)[1]


def test_power_rates_keep_their_bounds(power_rates):
    """Steepest descent falls at least like 1 / k, Nesterov's method at least like 1 / k^2.

    There is no tolerance: the problem's own exponents, for large k, are -1.1 and -2.2, so the fit,
    from k = 30 on, has 0.1 and 0.2 to spare for what is not yet large.
    """
    assert_kept(power_rates)
    quantity = "exponent of k, fitted"
    assert measured(power_rates, example.STEEPEST, quantity) <= -1
    assert measured(power_rates, example.NESTEROV, quantity) <= -2


def test_a_fixed_step_falls_as_this_spectrum_says(power_rates):
    """The excess is the integral of lambda^0.1 (1 - lambda)^(2 k) by lambda: like k^-1.1.

    Between k and k + 1 that is Beta(1.1, 2 k + 1), whose exponent from 30 to 300 lies within 0.01
    of -1.1; 400 eigenvalues, 50 a decade, stand for the integral.
    """
    exponent = measured(power_rates, example.FIXED, "exponent of k, fitted")
    assert exponent == pytest.approx(-1.1, abs=0.01)


def test_worst_functions_lie_between_upper_and_lower_bound():
    k, excesses, rates = example.worst_rates(40)
    assert_kept(rates)
    # Conjugate gradients are the best of all methods that move along gradients: what the lower
    # bound estimates, they reach. E_k - E* is exactly L / (16 (k + 1)) there.
    squared_distances = [example.worst_function(int(each)).squared_distance for each in k]
    expected = 1 / (16 * (k + 1) * np.array(squared_distances))
    np.testing.assert_allclose(excesses[example.CONJUGATE], expected, rtol=1e-8)


# Quadratics: what an exact step is, and conjugate directions ------------------------------------


def well_conditioned(n, rng):
    return example.quadratic(rng.uniform(1, 10, n), rng.standard_normal(n))


@pytest.mark.parametrize("n", [5, 8, 13, 21, 30])
def test_conjugate_gradients_solve_n_unknowns_in_n_steps(n, rng):
    problem = well_conditioned(n, rng)
    result = fm.gradient_descent(
        problem.objective, problem.start, direction="conjugate", tol=0, max_iter=n
    )
    norms = result.history.gradient_norm
    assert norms[-1] < 1e-8 * norms[0]
    # Not much earlier: with all eigenvalues different, it takes about as many steps.
    assert norms[n // 2] > 1e-8 * norms[0]


@pytest.mark.parametrize("direction", ["steepest", "conjugate"])
def test_the_exact_step_on_a_quadratic_is_known(direction, rng):
    """Of the first iteration, g.g / g.H g; of steepest descent's others as well."""
    problem = well_conditioned(20, rng)
    objective, points = problem.objective, [problem.start]
    result = fm.gradient_descent(
        objective,
        problem.start,
        direction=direction,
        tol=0,
        max_iter=6,
        callback=lambda intermediate_result: points.append(intermediate_result.x.copy()),
    )
    n_known = 6 if direction == "steepest" else 1
    for alpha, w in zip(result.history.alpha[1 : n_known + 1], points, strict=False):
        g = objective.gradient(w)
        assert alpha == pytest.approx(g @ g / (g @ objective.hessian_vector(w, g)), rel=1e-10)


def test_the_first_exact_step_is_the_same_at_any_scale(rng):
    """The units of w and of E are the user's: a guess of 1 may be far off."""
    eigenvalues, error = rng.uniform(1, 10, 12), rng.standard_normal(12)
    for scale in (1e-8, 1e8):
        problem = example.quadratic(scale * eigenvalues, error)
        g = problem.objective.gradient(problem.start)
        expected = g @ g / (g @ problem.objective.hessian_vector(problem.start, g))
        result = fm.gradient_descent(problem.objective, problem.start, tol=0, max_iter=1)
        assert result.history.alpha[1] == pytest.approx(expected, rel=1e-10)


# The pictures' numbers -----------------------------------------------------------------------


def test_logistic_regression_reaches_its_minimum():
    """By conjugate gradients and L-BFGS, to what float64 resolves; L bounds the Hessian."""
    problem = example.logistic(500, 10)
    for method in (example.CONJUGATE, example.LBFGS):
        excess = example.run(problem, method, 300, 1e-9).excess
        assert abs(excess[-1]) < 1e-12 * excess[0]
    v = np.random.default_rng(0).standard_normal(len(problem.start))
    for _ in range(50):  # the power method
        v = problem.objective.hessian_vector(problem.start, v / np.linalg.norm(v))
    assert 0.5 * problem.largest < np.linalg.norm(v) <= problem.largest * (1 + 1e-9)
