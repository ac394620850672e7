"""How descents end: each status, and Ctrl-C."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import fastmlp as fm
from cases import SQUARED, problem, same_bits
from cases_descent import (
    DIRECTIONS,
    ULPS,
    every_direction,
    every_dtype,
    every_solver,
    logistic,
    rises,
    solve,
)
from cases_interrupts import Lines, traced
from fastmlp.solvers.descent import Descent
from fastmlp.solvers.line_search import LineSearchResult, Outcome
from fastmlp.solvers.minimize import Minimisation

# Statuses of gradient_descent ----------------------------------------------------------------


def test_converged_at_the_start():
    net = fm.Network([3, 2], loss="half_squared_error", dtype="float64")
    objective = fm.Objective(net, np.eye(3), np.zeros((3, 2)))
    start = np.zeros(8)
    for direction, tol in product(DIRECTIONS, (0, 1e-6)):
        result = fm.gradient_descent(objective, start, direction=direction, tol=tol)
        assert not np.shares_memory(result.x, start)
        assert (result.status, result.success, result.nit) == (0, True, 0)
        assert result.message == f"Converged: the norm of the gradient is at most {tol:g}."
        assert_array_equal(result.history.value, [0.0])
        assert (result.fun, result.nfev, result.njev) == (0.0, 1, 1)


@every_direction
@pytest.mark.parametrize("max_iter", [1, 7])
def test_out_of_iterations(max_iter, direction):
    case = logistic()
    result = fm.gradient_descent(
        case.objective(), case.w, direction=direction, tol=0, max_iter=max_iter
    )
    assert (result.status, result.success, result.nit) == (4, False, max_iter)
    assert result.message == f"Out of iterations: {max_iter} made."
    assert len(result.history.value) == max_iter + 1


@every_direction
@every_dtype
def test_no_progress(dtype, direction):
    """Without a tolerance, a run ends where digits do; begun there, sooner."""
    case = logistic(dtype)
    options = {"direction": direction, "tol": 0, "max_iter": 2000}
    result = fm.gradient_descent(case.objective(), case.w, **options)
    assert (result.status, result.success) == (5, False)
    assert result.message.startswith("No progress possible")
    again = fm.gradient_descent(case.objective(), result.x, **options)
    assert (again.status, again.nit < result.nit) == (5, True)
    rounding = ULPS * np.spacing(result.fun)
    if direction == "nesterov":  # it compares values of searches, which have the dtype's rounding
        rounding += np.finfo(dtype).eps * result.fun
    assert again.fun <= result.fun + rounding
    norm = np.linalg.norm(case.twin.gradient(result.x))
    assert norm < 10 * np.finfo(dtype).eps ** 0.5  # E is flat to as many digits


NO_STEPS = [0, 1e-300, LineSearchResult(0.0, 1.0, -1.0, (0.0, 1.0), 1, Outcome.FOUND)]


@every_direction
@pytest.mark.parametrize("answer", [*NO_STEPS, replace(NO_STEPS[2], outcome=Outcome.NO_DECREASE)])
def test_no_step_of_the_own_search(answer, direction):
    case = logistic()
    options = {"direction": direction, "line_search": lambda curve, guess: answer}
    result = fm.gradient_descent(case.objective(), case.w, **options)
    assert (result.status, result.nit) == (5, 0)
    assert same_bits(result.x, case.w)


def diverging(objective, w, **options):
    """Run; return the result, and the last iterate that a callback has seen."""
    iterates = [w]
    with pytest.warns(RuntimeWarning, match="Diverged") as caught:
        result = fm.gradient_descent(
            objective, w, callback=lambda r: iterates.append(r.x.copy()), **options
        )
    assert len(caught) == 1
    assert str(caught[0].message) == result.message
    assert (result.status, result.success) == (3, False)
    return result, iterates[-1]


@every_dtype
@pytest.mark.parametrize("loss", SQUARED)
@pytest.mark.parametrize("direction", ["steepest", "conjugate"])
@pytest.mark.parametrize("exponent", [0.02, 0.3, 0.6, 0.9])
def test_divergence(exponent, direction, loss, dtype, rng):
    net = fm.Network([3, 6, 2], hidden="relu", loss=loss, dtype=dtype)
    w, X, y = problem(net, 20, rng)
    step = 10 * float(np.finfo(dtype).max) ** exponent
    result, last = diverging(fm.Objective(net, X, y), w, direction=direction, line_search=step)
    assert same_bits(result.x, last)
    assert np.isfinite(result.x).all()
    assert np.isfinite(result.fun)
    assert result.fun == result.history.value[-1]
    assert np.isfinite(result.jac).all()
    assert len(result.history.value) == result.nit + 1


def test_a_fixed_step_beyond_the_dtype():
    case = logistic("float32")
    with pytest.raises(ValueError, match="finite in float32"):
        fm.gradient_descent(case.objective(), case.w, line_search=1e39)


def test_nesterovs_method_keeps_off_what_is_higher(rng):
    net = fm.Network([3, 6, 2], hidden="relu", dtype="float64")
    w, X, y = problem(net, 20, rng)
    objective = fm.Objective(net, X, y)
    for step in 10.0 ** np.arange(2, 308, 17):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Diverged")
            result = fm.gradient_descent(objective, w, direction="nesterov", line_search=step)
        assert result.status in (3, 5)
        assert same_bits(result.x, w)


def test_a_start_that_is_not_finite():
    net = fm.Network([3, 2], dtype="float64")
    objective = fm.Objective(net, np.full((4, 3), 1e200), np.ones((4, 2)))
    result, _ = diverging(objective, np.ones(8))
    assert result.nit == 0
    assert_array_equal(result.x, 1)


@every_direction
@every_dtype
@pytest.mark.parametrize("widths", [(2, 1), (2, 2)])
def test_decrease_without_end(widths, dtype, direction):
    """Cross-entropy of separable points, so close that w goes far before E is 0."""
    outputs = {1: "sigmoid", 2: "softmax"}
    net = fm.Network(widths, output=outputs[widths[-1]], bias=False, dtype=dtype)
    objective = fm.Objective(net, 1e-12 * np.array([[0, 1], [1, 0], [1, 1]]), np.array([0, 1, 1]))
    result, _ = diverging(objective, net.init(0), direction=direction, tol=0)
    assert "decreases along the direction as far as it was followed" in result.message
    assert np.isfinite(result.x).all()
    assert not rises(result.history.value, 0)


@every_direction
@pytest.mark.parametrize("tol", [0, 1e-6])
@pytest.mark.parametrize("widths", [(2, 1), (2, 2)])
def test_what_is_followed_as_far_as_numbers_go_has_converged(widths, tol, direction):
    """Where E and its gradient have become 0, or as small as was asked for."""
    outputs = {1: "sigmoid", 2: "softmax"}
    net = fm.Network(widths, output=outputs[widths[-1]], bias=False, dtype="float64")
    objective = fm.Objective(net, [[0, 1], [1, 0], [1, 1]], np.array([0, 1, 1]))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Diverged")
        result = fm.gradient_descent(objective, net.init(0), direction=direction, tol=tol)
    assert result.success == (np.linalg.norm(objective.gradient(result.x)) <= tol)


# Ctrl-C --------------------------------------------------------------------------------------


def interrupted(name, objective, w, **options):
    """Run; check what holds wherever the signal comes; return the result."""
    with pytest.warns(RuntimeWarning, match="Interrupted") as caught:
        result = solve(name, objective, w, **options)
    assert (result.status, result.success) == (2, False)
    assert result.message == str(caught[0].message) == f"Interrupted after {result.nit} iterations."
    return result


@every_solver
def test_interrupt_in_a_callback(name):
    def callback(intermediate):
        if intermediate.nit == 3:
            raise KeyboardInterrupt

    case = logistic()
    objective = case.objective()
    result = interrupted(name, objective, case.w, callback=callback)
    assert (result.nit, len(result.history.value)) == (3, 4)
    assert result.fun == result.history.value[-1]
    assert same_bits(result.x, solve(name, case.objective(), case.w, max_iter=3).x)
    if name != "nesterov":  # which is ahead
        assert same_bits(result.jac, objective.gradient(result.x))


@every_solver
@pytest.mark.parametrize("at", [1, 2, 5])
def test_interrupt_in_a_gradient(at, name, monkeypatch):
    """The result is that of the last complete iteration."""
    case, left = logistic(), [at]
    objective = case.objective()
    compute = objective.value_and_gradient

    def interrupting(w):
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        return compute(w)

    monkeypatch.setattr(objective, "value_and_gradient", interrupting)
    iterates = [case.w]
    result = interrupted(
        name,
        objective,
        case.w,
        callback=lambda intermediate: iterates.append(intermediate.x.copy()),
    )
    assert same_bits(result.x, iterates[-1])
    assert result.nit == len(iterates) - 1
    assert len(result.history.value) == (result.nit + 1 if at > 1 else 0)
    if at > 1:
        assert result.fun == result.history.value[-1]


@pytest.mark.parametrize("name", [*DIRECTIONS, "L-BFGS-B", "Newton-CG"])
def test_interrupt_at_any_line(name):
    """x is an iterate, fun its value, and the objective as good as ever."""
    case, options = logistic(), {"max_iter": 3, "tol": 0}
    objective, iterates = case.objective(), [case.w]
    solve(name, objective, case.w, callback=lambda r: iterates.append(r.x.copy()), **options)
    values, at, escaped = [objective.value(x) for x in iterates], 0, 0
    while True:
        lines = Lines(at, within=(Descent.run.__code__, Minimisation.run.__code__))
        result = traced(lines, lambda: solve(name, objective, case.w, **options))
        at += 23
        if result is None:  # before the first computation, or after the last
            escaped += 1
            continue
        if result.status != 2:
            break
        (k,) = [k for k, x in enumerate(iterates) if same_bits(x, result.x)]
        assert abs(result.nit - k) <= 1
        assert abs(result.nit + 1 - len(result.history.value)) <= 1
        if at > 500 or not math.isnan(result.fun):
            assert result.fun == pytest.approx(values[k], rel=1e-14)
    assert result.status == 4
    assert same_bits(result.x, iterates[-1])
    assert at > 300
    assert escaped <= 3
