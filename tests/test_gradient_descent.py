"""Full gradient descent: what every run keeps to, and what steps each search makes."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import OptimizeResult

import fastmlp as fm
from cases import DEVIATIONS, DIFFERENTIABLE, PAIRS, same_bits
from cases_curves import Case, Expected, case_of, random_case, sample_weight
from cases_descent import DIRECTIONS, ULPS, every_direction, every_dtype, logistic, rises
from fastmlp.solvers.line_search import Armijo, Exact, Fixed, LineSearchResult, Outcome, Wolfe

# Every run -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recorded(fm.line_search.Exact):
    """Exact search that remembers what it found."""

    found: list[LineSearchResult] = field(default_factory=list)

    def __call__(self, curve, guess=None):
        self.found.append(super().__call__(curve, guess))
        return self.found[-1]


@dataclass(frozen=True)
class Run:
    """A run, its iterates, its searches, and the objective's counts at its end."""

    case: Case
    result: OptimizeResult
    iterates: list[np.ndarray]
    searches: list[LineSearchResult]
    counts: tuple[int, int]

    def __repr__(self):
        result = self.result
        return f"<{self.case}: status {result.status} after {result.nit}>"

    def error_of_value(self, w):
        """A bound of the rounding error of E there, and along lines from near by."""
        value, deviation = Expected(replace(self.case, w=w)).value()
        return 2 * DEVIATIONS * (deviation + np.finfo(self.case.net.dtype).eps * value)


def follow(case, **options):
    """Descend from the case's w, by exact search."""
    objective, iterates, search = case.objective(), [case.w], Recorded()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Diverged")
        result = fm.gradient_descent(
            objective,
            case.w,
            line_search=search,
            callback=lambda intermediate: iterates.append(intermediate.x.copy()),
            **options,
        )
    if result.nit == len(iterates):  # the last step led to no end
        iterates.append(result.x)
    return Run(case, result, iterates, search.found, (objective.nfev, objective.njev))


TOL, MOST = 1e-6, 60
N_CASES = 60  # of each dtype


@cache
def runs(direction, dtype):
    """Random problems, every pair of output and loss among them."""
    found = []
    for number in range(N_CASES):
        rng = np.random.default_rng(number)
        output, loss = PAIRS[number % len(PAIRS)]
        widths = [*rng.integers(1, 8, rng.integers(1, 4)).tolist(), int(rng.integers(2, 8))]
        hidden = [str(name) for name in rng.choice(DIFFERENTIABLE, len(widths) - 2)]
        options = {"bias": bool(rng.random() < 0.7), "dtype": dtype}
        net = fm.Network(widths, hidden=hidden, output=output, loss=loss, **options)
        case = random_case(net, int(rng.integers(1, 40)), rng)
        found.append(follow(case, direction=direction, tol=TOL, max_iter=MOST))
    return found


@every_direction
@every_dtype
def test_recorded_values_never_rise(direction, dtype):
    assert not [run for run in runs(direction, dtype) if rises(run.result.history.value)]


@every_direction
@every_dtype
def test_values_computed_anew_never_rise(direction, dtype):
    """Beyond some ulps of float64, whatever the dtype.

    Nesterov's method compares values of searches: float32's rounding counts there.
    """
    found = {}
    for run in runs(direction, dtype):
        values = [run.case.objective().value(x) for x in [*run.iterates, run.result.x]]
        for k, rise in rises(values, ULPS):
            rounding = (direction, dtype) == ("nesterov", "float32")
            if not rounding or rise > run.error_of_value(run.iterates[k - 1]):
                found[str(run)] = f"iterate {k}: by {rise / values[k]:.2g} E"
    assert not found


@every_direction
@every_dtype
def test_history(direction, dtype):
    for run in runs(direction, dtype):
        history, n = run.result.history, run.result.nit
        assert {*history} == {"value", "gradient_norm", "alpha", "evaluations", "seconds"}
        assert all(column.shape == (n + 1,) for column in history.values())
        assert all(column.dtype == np.float64 for column in history.values())
        assert history.alpha[0] == history.evaluations[0] == 0
        assert (history.alpha[1:] > 0).all()
        assert (np.diff(history.seconds, prepend=0) > 0).all()
        objective = run.case.objective()
        values = np.array([objective.value(x) for x in run.iterates])
        close = ULPS * np.spacing(values)
        if direction == "nesterov":  # its values are the searches'
            close += [run.error_of_value(x) for x in run.iterates]
        else:
            gradients = [objective.gradient(x) for x in run.iterates]
            norms = [np.linalg.norm(gradient.astype(np.float64)) for gradient in gradients]
            assert_allclose(history.gradient_norm, norms, rtol=1e-12)
        assert (abs(history.value - values) <= close).all(), run


@every_direction
@every_dtype
def test_fun_and_jac(direction, dtype):
    for run in runs(direction, dtype):
        result, objective = run.result, run.case.objective()
        last, value = result.history.value[-1], objective.value(result.x)
        assert result.x.dtype == run.case.net.dtype
        assert abs(result.fun - value) <= ULPS * np.spacing(value)
        if run.result.status != 3:
            assert same_bits(result.jac, objective.gradient(result.x))
        if direction == "nesterov":  # it may have converged ahead
            assert result.status == 0 or same_bits(result.x, run.iterates[-1])
            assert result.fun <= last + run.error_of_value(result.x)
        else:
            assert same_bits(result.x, run.iterates[-1])
            assert result.fun == last


@every_direction
@every_dtype
def test_counts(direction, dtype):
    for run in runs(direction, dtype):
        result, spent = run.result, [found.evaluations for found in run.searches]
        assert (result.nfev, result.njev) == run.counts
        assert result.nfev == result.njev + sum(spent)
        assert result.history.evaluations.sum() <= sum(spent)
        assert result.njev > result.nit
        if direction == "steepest":
            assert_array_equal(result.history.evaluations[1:], spent[: result.nit])
            assert result.njev <= result.nit + 2


@every_direction
@every_dtype
def test_status(direction, dtype):
    """It is true: of convergence, of E that falls without end, and of no progress."""
    wrong = []
    for run in runs(direction, dtype):
        result, objective = run.result, run.case.objective()
        gradient = objective.gradient(result.x)
        norm = np.linalg.norm(gradient.astype(np.float64))
        assert result.success == (norm <= TOL) == (result.status == 0)
        assert result.nit == MOST or result.status != 4
        if result.status == 3 and objective.l2 > 0:
            wrong.append(run)
        if result.status == 5:
            phi = objective.along(result.x, -gradient)
            noise = run.error_of_value(result.x)
            for alpha in np.geomspace(1e-16, 1, 97):
                if phi(alpha) > result.fun + 10 * noise:  # beyond the first minimiser
                    break
                assert phi(alpha) > result.fun - noise, run
    assert not wrong


# Steps ---------------------------------------------------------------------------------------


@every_dtype
def test_alpha_leads_from_one_iterate_to_the_next(dtype):
    """Of steepest descent: along minus the gradient there."""
    for run in runs("steepest", dtype):
        objective, alpha = run.case.objective(), run.result.history.alpha
        for k in range(run.result.nit):
            w = run.iterates[k]
            phi = objective.along(w, -objective.gradient(w))
            assert same_bits(phi.at(alpha[k + 1]), run.iterates[k + 1])


@every_dtype
@pytest.mark.parametrize("step", [0.01, 0.25])
def test_fixed_steps_are_the_plain_loop(step, dtype, rng):
    net = fm.Network([3, 7, 2], hidden="tanh", output="softmax", dtype=dtype)
    case = case_of(net, 20, rng, sample_weight=sample_weight(20, rng), l2=0.01)
    w, twin = case.w.astype(np.float64), case.twin
    values = [twin.value(w)]
    for _ in range(25):
        w = w - step * twin.gradient(w)
        values.append(twin.value(w))
    options = {"line_search": step, "tol": 0, "max_iter": 25}
    result = fm.gradient_descent(case.objective(), case.w, **options)
    u = 100 * float(np.finfo(dtype).eps)
    assert_allclose(result.x, w, rtol=u, atol=u)
    assert_allclose(result.history.value, values, rtol=u)
    assert_array_equal(result.history.alpha, [0, *25 * [step]])
    assert_array_equal(result.history.evaluations, 0)
    assert result.nfev == result.njev == 26
    options["line_search"] = Fixed(step)
    assert same_bits(fm.gradient_descent(case.objective(), case.w, **options).x, result.x)


def one(curve, guess):
    return 1.0


SEARCHES = [
    "exact", "armijo", "wolfe", 0.3, Exact(1e-6), Exact(method="brent"), Exact(method="golden"),
    Exact(method="bounded"), Armijo(c1=0.3, growth=1), Wolfe(c2=0.5), one,
]  # fmt: skip


# Conjugate directions ask for a search.
BOTH = [(search, direction) for search in SEARCHES for direction in DIRECTIONS
        if direction != "conjugate" or search not in (0.3, one)]  # fmt: skip


@pytest.mark.parametrize(("search", "direction"), BOTH, ids=str)
def test_every_search_leads_to_the_minimum(search, direction):
    case = logistic()
    options = {"direction": direction, "line_search": search, "tol": 1e-7}
    result = fm.gradient_descent(case.objective(), case.w, **options)
    assert result.status == 0
    lowest = fm.minimize(case.objective(), result.x, "Newton-CG", tol=1e-12).fun
    assert -1e-15 < result.fun - lowest <= 1e-14 / (2 * 0.1) + 1e-15  # |g|^2 / 2 l2
    if search is not one and not isinstance(search, float):
        assert not rises(result.history.value)


def test_searches_that_are_the_same():
    case = logistic()
    for name, search in (("exact", Exact()), ("armijo", Armijo()), ("wolfe", Wolfe())):
        found = [
            fm.gradient_descent(case.objective(), case.w, line_search=each, max_iter=9).x
            for each in (name, search)
        ]
        assert same_bits(*found)
    default = fm.gradient_descent(case.objective(), case.w)
    named = fm.gradient_descent(
        case.objective(), case.w, direction="steepest", line_search="exact", tol=1e-6, max_iter=500
    )
    assert same_bits(default.x, named.x)


@every_direction
def test_own_search_is_given_the_curve_and_the_last_step(direction):
    case, seen = logistic(), []

    def search(curve, guess):
        seen.append((curve, guess))
        phi, slope = curve.value_and_derivative(0.0)
        assert phi == pytest.approx(case.twin.value(curve.start), rel=1e-14)
        assert slope == pytest.approx(case.twin.slope(curve.start, curve.direction), rel=1e-12)
        return np.float32(0.25) / len(seen) ** 0.5

    result = fm.gradient_descent(
        case.objective(), case.w, direction=direction, line_search=search, max_iter=5
    )
    steps = np.float32(0.25) / np.sqrt(np.arange(1, 6))
    assert_allclose(result.history.alpha, [0, *steps], rtol=1e-7)
    assert [guess for _, guess in seen] == [None, *result.history.alpha[1:-1]]
    first = seen[0][0]
    assert same_bits(first.start, case.w)
    assert_array_equal(first.direction, -case.objective().gradient(case.w))


def test_own_certificate():
    case, curves = logistic(), []

    def search(curve, guess):
        curves.append(curve)
        for alpha in (0.1, 0.2):
            curve(alpha)
        return LineSearchResult(0.2, curve(0.2), float("nan"), (0.1, 0.3), 77, Outcome.FOUND)

    result = fm.gradient_descent(case.objective(), case.w, line_search=search, max_iter=4)
    assert_array_equal(result.history.alpha, [0, *4 * [0.2]])
    assert_array_equal(result.history.evaluations, [0, *4 * [2]])  # as counted, not as claimed
    assert [curve.evaluations for curve in curves] == 4 * [2]


NONSENSE = [-0.5, float("nan"), float("inf"), "0.1", None, True, 1j, [0.1], np.ones(1), object()]


@every_direction
@pytest.mark.parametrize("nonsense", NONSENSE, ids=str)
def test_own_search_that_returns_nonsense(nonsense, direction):
    case, objective = logistic(), logistic().objective()
    value = objective.value(case.w)

    def my_search(curve, guess):
        return nonsense

    options = {"direction": direction, "line_search": my_search}
    with pytest.raises(ValueError, match=r"line_search must return.*my_search returned") as caught:
        fm.gradient_descent(objective, case.w, **options)
    assert repr(nonsense) in str(caught.value)
    assert objective.value(case.w) == value


def test_errors_of_the_own_search_go_through():
    case, objective = logistic(), logistic().objective()
    expected = objective.value_and_gradient(case.w)

    def search(curve, guess):
        if guess is not None:
            raise KeyError("mine")
        return 0.1

    with pytest.raises(KeyError, match="mine"):
        fm.gradient_descent(objective, case.w, line_search=search)
    found = objective.value_and_gradient(case.w)
    assert found[0] == expected[0]
    assert same_bits(found[1], expected[1])
