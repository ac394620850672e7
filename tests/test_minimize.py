"""SciPy's optimisers on objectives: minima, iterates, options, and how they end."""

from __future__ import annotations

import threading
import warnings

import numpy as np
import pytest
import scipy.optimize
from numpy.testing import assert_allclose, assert_array_equal
from threadpoolctl import threadpool_info

import fastmlp as fm
from cases import SQUARED, problem, same_bits
from cases_curves import case_of, sample_weight
from cases_descent import METHODS, every_dtype, every_method, logistic, rises

WITH_HESSIAN = ("Newton-CG", "trust-ncg", "trust-krylov")

# Minima --------------------------------------------------------------------------------------


def ridge(rng):
    """Weighted least squares, and their minimiser."""
    net = fm.Network([6, 2], loss="half_squared_error", dtype="float64")
    case = case_of(net, 50, rng, sample_weight=sample_weight(50, rng), l2=0.01)
    inputs, S = np.column_stack([case.X, np.ones(50)]), case.twin.factors()[:, None]
    penalty = np.diag([0.01] * 6 + [0])
    return case, np.linalg.solve(inputs.T @ (S * inputs) + penalty, inputs.T @ (S * case.y)).ravel()


def four_points():
    net = fm.Network([2, 1], output="sigmoid", loss="squared_error", dtype="float64")
    return fm.Objective(net, [[0, 0], [0, 1], [1, 0], [1, 1]], np.array([0, 1, 1, 1]), l2=1e-2)


def binary(rng):
    net = fm.Network([3, 2], output="sigmoid", dtype="float64")
    return case_of(net, 40, rng, l2=0.01, sample_weight=sample_weight(40, rng))


@every_method
def test_least_squares(method, rng):
    case, solution = ridge(rng)
    result = fm.minimize(case.objective(), case.w, method, tol=1e-7)
    assert (result.status, result.success) == (0, True)
    assert result.message == "Converged: the norm of the gradient is at most 1e-07."
    assert_allclose(result.x, solution, rtol=1e-6, atol=1e-6)
    assert result.fun == pytest.approx(case.twin.value(solution), rel=1e-12)


@pytest.mark.parametrize("name", ["logistic", "binary", "four points"])
def test_all_methods_reach_the_same_minimum(name, rng):
    objective, values = (
        {
            "logistic": lambda: logistic().objective(),
            "binary": lambda: binary(rng).objective(),
            "four points": four_points,
        }[name](),
        {},
    )
    w = objective.net.init(3)
    for method in METHODS:
        result = fm.minimize(objective, w, method, tol=1e-7, max_iter=2000)
        assert result.status == 0, (method, result.message)
        assert np.linalg.norm(objective.gradient(result.x)) <= 1e-7
        values[method] = result.fun
    for direction in ("steepest", "conjugate", "nesterov"):
        result = fm.gradient_descent(objective, w, direction=direction, tol=1e-7, max_iter=5000)
        values[direction] = result.fun
    least = min(values.values())
    assert {method: fun for method, fun in values.items() if fun > least + 1e-12} == {}


@every_method
@pytest.mark.parametrize("loss", SQUARED)
def test_a_hidden_layer(loss, method, rng):
    net = fm.Network([3, 4, 2], hidden="tanh", loss=loss, dtype="float64")
    case = case_of(net, 30, rng, l2=0.1)
    result = fm.minimize(case.objective(), case.w, method, tol=1e-7, max_iter=2000)
    assert result.status == 0
    assert np.linalg.norm(case.twin.gradient(result.x)) <= 1.01e-7
    assert result.fun == pytest.approx(case.twin.value(result.x), rel=1e-12)


# Iterates ------------------------------------------------------------------------------------


@every_method
def test_iterates_are_scipys(method):
    """Bit for bit, with SciPy's own stopping rules off."""
    case = logistic()
    objective, ours, theirs = case.objective(), [], []
    off = {"L-BFGS-B": {"ftol": 0, "gtol": 0}, "Newton-CG": {"xtol": 0}}.get(method, {"gtol": 0})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        expected = scipy.optimize.minimize(
            objective.value_and_gradient,
            case.w,
            jac=True,
            hessp=objective.hessian_vector if method in WITH_HESSIAN else None,
            method=method,
            callback=lambda x: theirs.append(x.copy()),
            options={"maxiter": 4, **off},
        )
    counts = objective.nfev, objective.njev, objective.nhev
    result = fm.minimize(
        objective, case.w, method, tol=0, max_iter=4, callback=lambda r: ours.append(r.x.copy())
    )
    assert_array_equal(ours, theirs)
    assert same_bits(result.x, expected.x)
    assert result.fun == expected.fun
    assert same_bits(result.jac, objective.gradient(expected.x))
    assert result.nit == expected.nit == 4
    assert (result.nfev, result.njev, result.nhev) == counts


@every_dtype
@every_method
def test_history(method, dtype):
    case, iterates = logistic(dtype), []
    objective = case.objective()
    result = fm.minimize(
        objective, case.w, method, tol=1e-3, callback=lambda r: iterates.append(r.x.copy())
    )
    assert (result.status, result.nit) == (0, len(iterates))
    history, n = result.history, result.nit + 1
    assert {*history} == {"value", "gradient_norm", "evaluations", "seconds"}
    assert all((column.shape, column.dtype) == ((n,), np.float64) for column in history.values())
    assert (np.diff(history.seconds, prepend=0) > 0).all()
    anew = [objective.value_and_gradient(x) for x in [case.w, *iterates]]
    assert_array_equal(history.value, [value for value, _ in anew])
    norms = [np.linalg.norm(gradient.astype(np.float64)) for _, gradient in anew]
    assert_allclose(history.gradient_norm, norms, rtol=1e-12)
    assert history.gradient_norm[-1] <= 1e-3 < history.gradient_norm[:-1].min()
    assert history.evaluations[0] == 1
    assert history.evaluations.sum() == result.nfev == result.njev
    assert (result.nhev > 0) == (method in WITH_HESSIAN)
    assert not rises(history.value)
    assert same_bits(result.x, iterates[-1])
    assert result.x.dtype == case.net.dtype
    assert result.fun == history.value[-1]
    assert same_bits(result.jac, anew[-1][1])


@every_method
def test_counts_go_on(method):
    case = logistic()
    objective = case.objective()
    for _ in range(3):
        before = objective.nfev, objective.njev, objective.nhev
        result = fm.minimize(objective, case.w, method, max_iter=5)
        after = objective.nfev, objective.njev, objective.nhev
        counted = result.nfev, result.njev, result.nhev
        assert counted == tuple(b - a for a, b in zip(before, after, strict=True))


# Ends ----------------------------------------------------------------------------------------


@every_method
def test_converged_at_the_start(method):
    net = fm.Network([3, 2], loss="half_squared_error", dtype="float64")
    objective = fm.Objective(net, np.eye(3), np.zeros((3, 2)))
    start = np.zeros(8)
    result = fm.minimize(objective, start, method, tol=0)
    assert not np.shares_memory(result.x, start)
    assert (result.status, result.nit, result.nfev) == (0, 0, 1)
    assert_array_equal(result.history.value, [0.0])


@every_method
@pytest.mark.parametrize("max_iter", [1, 4])
def test_out_of_iterations(max_iter, method):
    case = logistic()
    result = fm.minimize(case.objective(), case.w, method, tol=0, max_iter=max_iter)
    assert (result.status, result.success, result.nit) == (4, False, max_iter)
    assert result.message == f"Out of iterations: {max_iter} made."
    assert len(result.history.value) == max_iter + 1


@every_dtype
@every_method
def test_no_progress(method, dtype):
    """Without a tolerance, they end where digits do: without warnings, and near the minimum."""
    case = logistic(dtype)
    result = fm.minimize(case.objective(), case.w, method, tol=0, max_iter=300)
    assert result.status in (4, 5)
    assert result.status == 5 or method.startswith("trust")  # regions shrink for ever
    eps = float(np.finfo(dtype).eps)
    assert np.linalg.norm(case.twin.gradient(result.x)) < 100 * eps**0.5
    lowest = fm.minimize(logistic().objective(), case.w, "Newton-CG", tol=1e-12).fun
    assert result.fun == pytest.approx(lowest, rel=100 * eps)


@every_method
def test_a_start_that_is_not_finite(method):
    net = fm.Network([3, 2], dtype="float64")
    objective = fm.Objective(net, np.full((4, 3), 1e200), np.ones((4, 2)))
    with pytest.warns(RuntimeWarning, match="Diverged"):
        result = fm.minimize(objective, np.ones(8), method)
    assert (result.status, result.success, result.nit) == (3, False, 0)
    assert_array_equal(result.x, 1)


@every_dtype
@every_method
@pytest.mark.parametrize("loss", SQUARED)
@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e6, 1e12])
def test_any_scale(scale, loss, method, dtype, rng):
    """Searches may go too far, for numbers that no network holds: that is no error."""
    net = fm.Network([3, 6, 2], hidden="relu", loss=loss, dtype=dtype)
    w, X, y = problem(net, 20, rng)
    objective = fm.Objective(net, scale * X, y)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Diverged")
        result = fm.minimize(objective, w, method, max_iter=20)
    assert np.isfinite(result.x).all()
    assert np.isfinite(result.fun)
    assert result.fun <= result.history.value[0]
    assert result.fun == result.history.value[-1] == objective.value(result.x)


# Options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "rule", "message"),
    [
        ("L-BFGS-B", {"ftol": 1e-3}, "REDUCTION OF F"),
        ("L-BFGS-B", {"gtol": 1e-2}, "PROJECTED GRADIENT"),
        ("CG", {"gtol": 1e-2}, "terminated successfully"),
        ("BFGS", {"gtol": 1e-2}, "terminated successfully"),
        ("BFGS", {"xrtol": 1e-2}, "terminated successfully"),
        ("Newton-CG", {"xtol": 1e-2}, "terminated successfully"),
        ("trust-ncg", {"gtol": 1e-2}, "terminated successfully"),
    ],
    ids=str,
)
def test_stopping_rules_of_scipy(method, rule, message):
    case, options = logistic(), dict(rule)
    result = fm.minimize(case.objective(), case.w, method, tol=0, options=options)
    assert (result.status, result.success) == (0, True)
    assert result.message.startswith("Converged: ")
    assert message in result.message.replace("_", " ")  # SciPy's spelling has changed
    assert result.history.gradient_norm[-1] > 1e-6
    assert options == rule
    sooner = fm.minimize(case.objective(), case.w, method, tol=1, options=options)
    assert (sooner.status, sooner.nit < result.nit) == (0, True)
    assert "norm of the gradient" in sooner.message


def test_options_are_passed_on():
    case, found = logistic(), {}
    for maxcor in (1, 10):
        options = {"maxcor": maxcor}
        ours = fm.minimize(case.objective(), case.w, tol=0, max_iter=6, options=options)
        theirs = scipy.optimize.minimize(
            case.objective().value_and_gradient,
            case.w,
            jac=True,
            method="L-BFGS-B",
            options={"maxcor": maxcor, "maxiter": 6, "ftol": 0, "gtol": 0},
        )
        found[maxcor] = ours.x
        assert same_bits(ours.x, theirs.x)
    assert not same_bits(found[1], found[10])
    with pytest.warns(scipy.optimize.OptimizeWarning, match="nonsense"):
        fm.minimize(case.objective(), case.w, options={"nonsense": 1})


@every_method
def test_most_iterations_by_option(method):
    case = logistic()
    result = fm.minimize(case.objective(), case.w, method, tol=0, options={"maxiter": 3})
    assert (result.status, result.success, result.nit) == (4, False, 3)


def test_the_default_method():
    case = logistic()
    named = fm.minimize(case.objective(), case.w, "L-BFGS-B", tol=1e-6, max_iter=500, options={})
    assert same_bits(fm.minimize(case.objective(), case.w).x, named.x)


def test_warnings_of_a_callback_are_its_own():
    case = logistic()
    with pytest.warns(RuntimeWarning, match="mine"):
        fm.minimize(
            case.objective(),
            case.w,
            callback=lambda _: warnings.warn("mine", RuntimeWarning, stacklevel=2),
        )


def test_numpy_warnings_of_a_callback_are_its_own():
    case = logistic()
    with pytest.warns(RuntimeWarning, match="divide by zero"):
        fm.minimize(case.objective(), case.w, callback=lambda _: np.divide(1.0, np.zeros(1)) < 0)


def test_overlapping_runs_leave_blas_and_filters_as_they_were():
    def blas():
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    def wait(other, mine):
        mine.set()
        assert other.wait(60)

    case = logistic()
    case.objective().value(case.w)
    before, filters = blas(), list(warnings.filters)
    first, second, ended = threading.Event(), threading.Event(), threading.Event()

    def run_last():  # begins while the first run is on, ends after it
        assert first.wait(60)
        fm.minimize(case.objective(), case.w, max_iter=1, callback=lambda _: wait(ended, second))

    thread = threading.Thread(target=run_last)
    thread.start()
    fm.minimize(case.objective(), case.w, max_iter=1, callback=lambda _: wait(second, first))
    ended.set()
    thread.join()
    assert blas() == before
    assert warnings.filters == filters
