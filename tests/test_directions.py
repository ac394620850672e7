"""Directions of descent: steepest, conjugate, Nesterov's, and the user's own."""

from __future__ import annotations

import hashlib
import json
import warnings
from functools import cache
from itertools import product

import numba
import numpy as np
import pytest
import scipy.optimize
from numpy.testing import assert_allclose, assert_array_equal

import fastmlp as fm
from cases import AVX2_ONLY, DTYPES, needs_x86_with_fma, problem, run_child, same_bits
from cases_curves import case_of
from cases_descent import DIRECTIONS, every_direction, rises
from fastmlp.solvers import directions

# Four points ---------------------------------------------------------------------------------

POINTS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
OR, AND = (0, 1, 1, 1), (0, 0, 0, 1)
SEPARABLE = sorted({*product((0, 1), repeat=4)} - {(0, 1, 1, 0), (1, 0, 0, 1)})


def sigmoid_unit(labels, **options):
    net = fm.Network([2, 1], output="sigmoid", loss="squared_error", dtype="float64")
    return fm.Objective(net, POINTS, np.array(labels), **options)


@every_direction
@pytest.mark.parametrize("labels", SEPARABLE, ids=str)
def test_separable_points(labels, direction):
    """There is no minimiser: E falls to 0 as w grows, and the gradient with it."""
    objective = sigmoid_unit(labels)
    w = objective.net.init(sum(labels))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Diverged")
        result = fm.gradient_descent(objective, w, direction=direction, tol=1e-12, max_iter=200)
    assert not rises(result.history.value)
    assert result.success == (np.linalg.norm(objective.gradient(result.x)) <= 1e-12)
    assert result.fun < 1e-10 or not result.success
    assert_array_equal(objective.net.predict(result.x, POINTS)[:, 0] > 0.5, labels)


@every_direction
@pytest.mark.parametrize("labels", [OR, AND], ids=["or", "and"])
def test_penalised_points(labels, direction):
    """The minimum is reached to the last digits of E, and to 1e-10 of its gradient."""
    objective = sigmoid_unit(labels, l2=1e-2)
    starts = [objective.net.init(seed) for seed in range(10)]
    lowest = min(
        scipy.optimize.minimize(
            objective.value_and_gradient, starts[0], jac=True, method=method, tol=1e-12
        ).fun
        for method in ("BFGS", "CG", "L-BFGS-B")
    )
    missed = {}
    for seed, w in enumerate(starts):
        result = fm.gradient_descent(objective, w, direction=direction, tol=1e-10, max_iter=1000)
        norm = np.linalg.norm(objective.gradient(result.x))
        assert not rises(result.history.value)
        assert result.success == (norm <= 1e-10)
        assert result.fun <= lowest + 1e-15
        if not result.success:
            missed[seed] = result.nit, norm, result.message
    assert not missed


# Conjugate directions ------------------------------------------------------------------------


def polak_ribiere(gradients):
    """The directions that belong to these gradients: PR+, from -g anew each n steps or uphill."""
    found, age = [], 0
    for k, g in enumerate(gradients):
        d, age = -g, age + 1
        if k > 0 and age <= g.size:
            past = gradients[k - 1]
            d = -g + max(0, g @ (g - past) / (past @ past)) * found[-1]
        if age > g.size or g @ d >= 0:
            d, age = -g, 1
        found.append(d)
    return found


@pytest.mark.parametrize("widths", [(1, 1), (2, 1), (3, 4, 1)])
def test_conjugate_steps_are_the_twins(widths, rng):
    net = fm.Network(widths, hidden="tanh", output="sigmoid", dtype="float64")
    case = case_of(net, 30, rng, l2=0.01)
    iterates, n = [case.w], net.n_params
    result = fm.gradient_descent(
        case.objective(),
        case.w,
        direction="conjugate",
        tol=1e-5,
        max_iter=20,
        callback=lambda intermediate: iterates.append(intermediate.x.copy()),
    )
    assert result.nit > min(n, 15)
    gradients = [case.twin.gradient(w) for w in iterates[:-1]]
    expected = polak_ribiere(gradients)
    for k, step in enumerate(np.diff(iterates, axis=0)):
        move = result.history.alpha[k + 1] * expected[k]
        assert_allclose(step, move, rtol=0, atol=1e-8 * np.linalg.norm(step))
    if n < result.nit:
        assert_array_equal(expected[n], -gradients[n])


@pytest.mark.parametrize("n", [1, 2, 3, 8, 40])
def test_conjugate_directions_restart(n, rng):
    """After n steps, and where the direction would lead uphill."""
    gradients = rng.standard_normal((50, n)) * np.exp(rng.standard_normal((50, 1)))
    rule = directions.Conjugate()
    found = [rule.direction(g) for g in gradients]
    for d, expected in zip(found, polak_ribiere(gradients), strict=True):
        assert_allclose(d, expected, rtol=1e-9, atol=1e-12)
    rule.restart()
    assert not rule.restart()  # nothing is left to be forgotten
    assert_array_equal(rule.direction(gradients[7]), -gradients[7])
    assert not rule.restart()


# Nesterov's method ---------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_nesterovs_bound(seed):
    """E - E* <= 2 L |w_0 - w*|^2 / k^2 on badly conditioned least squares, L = 1 and E* = 0."""
    rng = np.random.default_rng(seed)
    net = fm.Network([30, 1], loss="half_squared_error", bias=False, dtype="float64")
    Q = np.linalg.qr(rng.standard_normal((50, 30)))[0]
    X = np.sqrt(50) * Q * np.geomspace(1e-3, 1, 30)
    solution = rng.standard_normal(30) * np.geomspace(30, 1, 30)
    objective, start = fm.Objective(net, X, X @ solution), np.zeros(30)
    values = {}
    for direction in ("steepest", "nesterov"):
        result = fm.gradient_descent(objective, start, direction=direction, tol=0, max_iter=300)
        values[direction] = result.history.value
    excess, k = values["nesterov"][1:], np.arange(1, len(values["nesterov"]))
    assert (excess <= 2 * (solution @ solution) / k**2).all()
    assert excess[-1] < 0.5 * values["steepest"][-1]


# The user's own ------------------------------------------------------------------------------


class Own:
    """Directions that a user might write: -gradient, where not overridden; notes its calls."""

    looks_ahead = False

    def __init__(self):
        self.restarts, self.steps = 0, []

    def base(self, w):
        return w

    def direction(self, gradient):
        return -gradient

    def learn(self, step):
        self.steps.append(step)

    def restart(self):
        self.restarts += 1
        return False


class LargestOnly(Own):
    """Gauss-Southwell: along the coordinate that descends fastest."""

    def direction(self, gradient):
        d, j = np.zeros_like(gradient), abs(gradient).argmax()
        d[j] = -gradient[j]
        return d


class HeavyBall(Own):
    """Look ahead along the last step."""

    looks_ahead = True

    def base(self, w):
        step = self.steps[-1] if self.steps else None
        return w if step is None or not step.is_lower else w + 0.5 * (step.after - step.before)

    def restart(self):
        had_past, self.steps = bool(self.steps), []
        return had_past


def test_own_direction_is_begun_anew_and_told_of_each_step():
    objective, own, iterates = sigmoid_unit(OR, l2=0.1), Own(), []
    w = objective.net.init(1)
    result = fm.gradient_descent(
        objective, w, direction=own, callback=lambda r: iterates.append(r.x.copy())
    )
    assert result.status == 0
    assert same_bits(result.x, fm.gradient_descent(objective, w).x)
    assert own.restarts == 1
    assert len(own.steps) == result.nit
    for step, before, after in zip(own.steps, [w, *iterates], iterates, strict=False):
        assert same_bits(step.before, before)
        assert same_bits(step.after, after)
        assert step.after_value == pytest.approx(objective.value(after), rel=1e-14)
        assert_allclose(step.gradient, objective.gradient(step.base), rtol=1e-14)


@pytest.mark.parametrize("rule", [LargestOnly, HeavyBall])
def test_other_directions_converge(rule):
    objective = sigmoid_unit(OR, l2=0.1)
    result = fm.gradient_descent(objective, objective.net.init(1), direction=rule())
    assert result.status == 0
    assert not rises(result.history.value)
    assert result.fun == pytest.approx(fm.minimize(objective, result.x, tol=1e-9).fun, rel=1e-9)


@pytest.mark.parametrize("had_past", [False, True, None])
def test_directions_that_lead_uphill(had_past):
    """Whatever they claim, the end comes."""
    objective, own = sigmoid_unit(OR, l2=0.1), Own()
    own.direction, own.restart = lambda gradient: gradient, lambda: had_past
    w = objective.net.init(1)
    result = fm.gradient_descent(objective, w, direction=own)
    assert (result.status, result.nit) == (5, 0)
    assert "not one of descent" in result.message
    assert same_bits(result.x, w)


INVALID = ["newton", "Steepest", b"steepest", 3, None, object(), directions.Steepest, ["steepest"]]


@pytest.mark.parametrize("direction", INVALID, ids=str)
def test_invalid_directions(direction):
    objective = sigmoid_unit(OR)
    with pytest.raises(ValueError, match=r"direction must be.*'steepest', 'conjugate', 'nest"):
        fm.gradient_descent(objective, objective.net.init(0), direction=direction)
    assert objective.nfev == 0


def without(kind, *names):
    """An object like those of this kind, but for these attributes."""
    parts = {**vars(Own), **vars(kind)}
    kept = {key: part for key, part in parts.items() if key not in (*names, "__dict__")}
    return type("Lacking", (), kept)()


@pytest.mark.parametrize(
    ("kind", "name"),
    [(Own, "direction"), (Own, "learn"), (Own, "restart"), (HeavyBall, "base")],
)
def test_directions_that_lack_something(kind, name):
    objective = sigmoid_unit(OR)
    with pytest.raises(ValueError, match="direction must be"):
        fm.gradient_descent(objective, objective.net.init(0), direction=without(kind, name))


def test_directions_that_need_no_base():
    objective = sigmoid_unit(OR, l2=0.1)
    w = objective.net.init(1)
    expected = fm.gradient_descent(objective, w)
    found = fm.gradient_descent(objective, w, direction=without(Own, "base", "looks_ahead"))
    assert same_bits(found.x, expected.x)


# Bits ----------------------------------------------------------------------------------------


def report():
    """Print hashes of the bits of each direction's descent, on a network worth two threads."""
    hashes = {}
    for dtype in DTYPES:
        rng = np.random.default_rng(0)
        net = fm.Network(
            [205, 97, 131], hidden="tanh", output="softmax", loss="cross_entropy", dtype=dtype
        )
        w, X, y = problem(net, 263, rng)
        for direction in DIRECTIONS:
            objective = fm.Objective(net, X, y, l2=1e-3)
            result = fm.gradient_descent(objective, w, direction=direction, tol=0, max_iter=8)
            assert result.nit == 8
            history = result.history
            for name in ("value", "gradient_norm", "alpha", "evaluations"):
                hashes[f"{dtype} {direction} {name}"] = history[name].tobytes().hex()
            digest = hashlib.sha256(result.x.tobytes() + objective.gradient(result.x).tobytes())
            hashes[f"{dtype} {direction} x"] = digest.hexdigest()
    print(json.dumps({"threads": numba.get_num_threads(), "hashes": hashes}))


@cache
def report_with(n_threads, avx2_only=False):
    environment = AVX2_ONLY if avx2_only else {}
    return run_child(__file__, NUMBA_NUM_THREADS=str(n_threads), **environment)


def check_same_hashes(found, expected):
    assert found["hashes"].keys() == expected["hashes"].keys()
    assert [
        name for name, bits in found["hashes"].items() if bits != expected["hashes"][name]
    ] == []


def test_same_bits_with_two_threads():
    found, expected = report_with(2), report_with(1)
    assert (found["threads"], expected["threads"]) == (2, 1)
    check_same_hashes(found, expected)


@needs_x86_with_fma
def test_same_bits_with_avx2_only():
    check_same_hashes(report_with(2, avx2_only=True), report_with(1))


if __name__ == "__main__":
    report()
