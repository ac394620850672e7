"""Exact searches: the first minimiser of a curve, and how few evaluations find it."""

import math

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from cases_searches import (
    ENDLESS,
    MONOTONE,
    Curve,
    beyond,
    check_certificate,
    check_no_increase,
    guesses,
    kinked,
    network,
    parabola,
    power,
    seeds,
)
from fastmlp.solvers import first_minimiser
from fastmlp.solvers.line_search import Armijo, Exact, Outcome, Wolfe

# Where the minimiser is ---------------------------------------------------------------


@given(
    at=st.floats(-6, 6),
    k=st.floats(-6, 6),
    floor=st.floats(0, 1e4),
    off=guesses(-1, 1),
)
def test_parabolas_are_exact(at, k, floor, off):
    at, k = 10**at, 10**k
    curve = parabola(at, k, floor * k * at * at)
    found = Exact()(curve, off and at * off)
    check_certificate(curve, found)
    assert found.evaluations <= (10 if off is None else 3)
    if off is not None:
        assert abs(found.alpha - at) <= 1e-10 * at


def test_a_parabola_in_two_evaluations():
    for guess in (0.3, 0.9, 1.1, 7.0):
        found = Exact()(parabola(), guess)
        assert found.evaluations == 2
        assert_allclose(found.alpha, 1, rtol=1e-11)
    assert Exact()(parabola(), 1.0).evaluations == 1


@pytest.mark.parametrize("off", [1e-15, 1e-8, 1e-5, 1e-2, 1e2, 1e5, 1e8, 1e15])
@pytest.mark.parametrize("make", [parabola, power, network, kinked])
def test_guesses_far_off(make, off):
    found = Exact()(curve := make(3), 3 * off)
    check_certificate(curve, found)
    assert found.evaluations <= (20 if 1e-9 < off < 1e9 else 30)


@pytest.mark.parametrize("guess", [None, 0.0, -1.0, math.nan, math.inf, 0.2, 5.0, np.float32(0.7)])
def test_every_guess_will_do(guess):
    curve = network(1)
    check_certificate(curve, Exact()(curve, guess))


@pytest.mark.parametrize("tol", [0.3, 1e-2, 1e-4, 1e-9])
@given(seed=seeds, guess=guesses(-3, 3))
def test_smooth_curves(tol, seed, guess):
    curve = network(seed)
    check_certificate(curve, Exact(tol)(curve, guess), tol)


@pytest.mark.parametrize("tol", [1e-2, 1e-6, 1e-9])
def test_slopes_are_as_small_as_tol(tol):
    for seed in range(100):
        found = Exact(tol)(curve := network(seed), 0.5)
        assert abs(found.derivative) <= tol * -curve.slope(0.0)


@given(seed=seeds, c=st.integers(-30, 30), s=st.integers(-30, 30), guess=guesses(-2, 2))
def test_scaling_changes_nothing_else(seed, c, s, guess):
    """c phi(s alpha) is searched at the same points as phi."""
    curve, c, s = network(seed), 2.0**c, 2.0**s
    scaled = Curve(lambda a: c * curve.phi(s * a), lambda a: c * s * curve.slope(s * a), scale=s)
    for search in (Exact(), Armijo(), Wolfe()):
        plain = network(seed)
        found, same = search(plain, guess), search(scaled, guess and guess / s)
        assert same.alpha * s == found.alpha
        assert same.value == c * found.value
        assert same.outcome is found.outcome
        scaled.values, scaled.slopes, scaled.evaluations = {}, {}, 0


def test_first_trial():
    """The guess; or where no parameter moves by more than 1, a parabola not below 0."""
    for guess in (0.3, 1e-7, 4000.0):
        Exact()(curve := network(0), guess)
        assert curve.trials[0] == guess
    for k, scale, first in ((1.0, 1.0, 0.5), (1.0, 4.0, 0.25), (1.0, 1e-3, 0.5)):
        Exact()(curve := parabola(k=k, scale=scale), None)
        assert curve.trials[0] == first
    Exact()(curve := parabola(dtype="float32", scale=1e-40, floor=1e60), None)
    assert max(curve.trials) < 1e30


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("guess", [1e-300, 1.0 - 1e-16, 1.0 - 1e-9, 1.0 - 1e-5, 1e300])
def test_guesses_at_the_edges(dtype, guess):
    """A slope next to nothing still is none that rises: another trial has to."""
    found = Exact()(curve := parabola(floor=2.0, dtype=dtype), guess)
    if 0.1 < guess < 1:
        check_certificate(curve, found)
        assert found.evaluations == 2
        assert abs(found.derivative) == min(map(abs, list(curve.slopes.values())[1:]))
    assert all(1e-45 < alpha < 1e38 for alpha in curve.trials)


def test_a_slope_that_moves_no_digit():
    curve = Curve(lambda a: (a - 1) ** 2, lambda a: 2 * (a - 1) or -1e-30)
    check_certificate(curve, found := Exact()(curve, 1.0))
    assert (found.alpha, found.evaluations) == (1.0, 2)


def test_the_first_minimiser_of_many():
    """Of a wave, from a guess no longer than its period."""
    for guess in (1e-3, 0.1, 0.5, 1.0):
        curve = Curve(lambda a: 2 - math.sin(a) - 0.1 * a, lambda a: -math.cos(a) - 0.1)
        found = Exact(1e-6)(curve, guess)
        check_certificate(curve, found, tol=1e-6)
        assert_allclose(found.alpha, math.pi - math.acos(0.1), rtol=1e-5)


@given(period=st.floats(0.01, 10), tilt=st.floats(0.01, 0.9), guess=guesses(-2, 2))
def test_one_of_many_minimisers(period, tilt, guess):
    w = 1 / period
    curve = Curve(
        lambda a: 100 + 1e-3 * a * a - math.sin(w * a) - tilt * w * a,
        lambda a: 2e-3 * a - w * math.cos(w * a) - tilt * w,
    )
    check_certificate(curve, Exact()(curve, guess))


@given(seed=seeds, guess=guesses(-3, 3))
def test_kinks(seed, guess):
    curve = kinked(seed)
    found = Exact()(curve, guess)
    check_certificate(curve, found)
    assert found.evaluations <= 25


@pytest.mark.parametrize("tol", [1e-2, 1e-3])
@pytest.mark.parametrize("at", [0.3, 1.0, 17.0])
def test_one_kink_is_found_by_its_tangents(at, tol):
    curve = Curve(lambda a: abs(a - at), lambda a: 1.0 if a >= at else -1.0)
    found = Exact(tol)(curve, 2.0)
    check_certificate(curve, found, tol)
    assert abs(found.alpha - at) <= tol**2 * at
    assert found.value == min(map(curve.phi, found.bracket))
    assert found.evaluations <= (9 if tol == 1e-2 else 14)


@pytest.mark.parametrize("guess", [0.5, 1.0, 3.0, 1e4])
def test_a_floor_of_dead_units(guess):
    curve = Curve(lambda a: max(1.5 - a, 0.5), lambda a: -1.0 if a < 1 else 0.0)
    found = Exact()(curve, guess)
    check_certificate(curve, found)
    assert (found.value, found.derivative) == (0.5, 0.0)


@pytest.mark.parametrize("guess", [0.1, 1.0, 4.0, 100.0, 1e4])
def test_a_floor_of_saturated_units(guess):
    """Where the slope is exactly 0, however it came to be."""
    curve = Curve(lambda a: 2 - math.tanh(a), lambda a: math.tanh(a) ** 2 - 1)
    found = Exact()(curve, guess)
    check_certificate(curve, found)
    assert found.derivative == 0 or found.alpha < 10


def test_a_small_slope_alone_is_not_a_minimiser():
    """Of exp(-a) + 1e-9 a^2: the bracket's far end rises, far beyond where slopes are small."""
    curve = Curve(lambda a: math.exp(-a) + 1e-9 * a * a, lambda a: -math.exp(-a) + 2e-9 * a)
    found = Exact()(curve, 1.0)
    check_certificate(curve, found)
    assert curve.slope(found.bracket[1]) > 0


# Rounding -----------------------------------------------------------------------------


@pytest.mark.parametrize("guess", [1e-3, 0.6, 2.0, 1e3])
def test_values_that_tell_nothing(guess):
    """Of 1 + 1e-17 (a - 1)^2 only derivatives show where the minimiser is."""
    curve = parabola(k=2e-17, floor=1.0)
    assert curve(0.0) == curve.phi(2.0) == 1.0
    found = Exact(1e-6)(curve, guess)
    check_certificate(curve, found, tol=1e-6)
    assert found.evaluations <= (2 if guess == 0.6 else 8)


def lifted(ulps, least, most):
    """A parabola of which values tell nothing, but that they are higher here."""
    curve = parabola(k=2e-17, floor=1.0)
    curve.phi = lambda a: 1.0 + ulps * math.ulp(1.0) if least < a < most else 1.0
    return curve


def test_a_value_lifted_by_rounding():
    """It is not accepted; one nearby is not lifted."""
    found = Exact()(curve := lifted(5, 0.95, 1.05), 0.1)
    assert found.success
    assert_allclose(found.alpha, 0.9, rtol=1e-2)
    assert (found.value, found.derivative) == curve.value_and_derivative(found.alpha)
    assert found.evaluations == curve.evaluations


def test_all_values_lifted_by_rounding():
    found = Exact()(lifted(5, 0, math.inf), 0.9)
    assert found.outcome is Outcome.NO_DECREASE
    assert (found.alpha, found.value, found.derivative) == (0, 1.0, -2e-17)
    assert found.evaluations <= 15


def test_a_few_ulps_are_no_increase():
    """If the slope is smaller."""
    found = Exact()(curve := lifted(4, 0, math.inf), 0.9)
    check_certificate(curve, found)
    assert found.value > curve(0.0)


def test_a_step_too_short_to_change_anything():
    """It is no progress: not even the slope has become smaller."""
    curve = Curve(lambda a: 1.0 if a < 1e-3 else 2.0, lambda a: -1.0 if a < 1e-3 else 1.0)
    found = Exact()(curve, 1.0)
    assert (found.outcome, found.alpha) == (Outcome.NO_DECREASE, 0)


@settings(max_examples=300)
@given(seed=seeds, guess=guesses(-2, 2), tol=st.sampled_from([1e-2, 1e-4, 1e-7]))
def test_float32(seed, guess, tol):
    """Values are off by an ulp of float32, derivatives by 1e-5 |phi'(0)|."""
    curve = network(seed, noise=1e-5, dtype="float32")
    found = Exact(tol)(curve, guess)
    if not found.success:
        assert found.outcome is Outcome.NO_DECREASE
        assert found.bracket[1] * -curve.slope(0.0) < 1e-6 * curve(0.0)
        return
    assert found.value < curve(0.0) or abs(found.derivative) < -curve.slopes[0.0]
    if curve(0.0) - found.value > 1e-5 * curve(0.0):  # otherwise the best may be lifted
        check_certificate(curve, found, max(tol, 1e-3))
    assert found.evaluations <= (20 if tol == 1e-2 else 50)


@settings(max_examples=300)
@given(
    seed=seeds, noise=st.sampled_from([0.0, 1e-6, 0.3]), guess=guesses(-4, 4),
    dtype=st.sampled_from(["float32", "float64"]), l2=st.sampled_from([0.0, 1e-3]),
)  # fmt: skip
def test_never_an_increase(seed, noise, guess, dtype, l2):
    for search in MONOTONE:
        curve = network(seed, l2, noise, dtype)
        found = search(curve, guess)
        assert search.is_monotone
        check_no_increase(curve, found)
        assert found.success is (found.outcome is Outcome.FOUND)
        assert found.alpha > 0 or not found.success
        assert found.evaluations == curve.evaluations <= 70


# What else can come --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ENDLESS)
@pytest.mark.parametrize("guess", [None, 1e-6, 0.3, 3.0, 1e4])
def test_endless(name, guess):
    curve = Curve(*ENDLESS[name])
    found = Exact()(curve, guess)
    assert found.outcome is Outcome.ENDLESS
    assert not found.success
    assert found.alpha == max(a for a in curve.values if curve(a) == min(curve.values.values()))
    assert found.value == curve(found.alpha) < curve(0.0)
    assert found.bracket[1] == math.inf
    assert found.evaluations <= 25


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("wall", [1.01, 1.5, 40])
@pytest.mark.parametrize("guess", [0.1, 2.0, 1e7])
@pytest.mark.parametrize("derivative_only", [False, True])
def test_not_finite_beyond_the_minimiser(bad, wall, guess, derivative_only):
    for search in (Exact(), Wolfe(), Armijo()):
        curve = beyond(parabola(), wall, bad, derivative_only and search != Armijo())
        found = search(curve, guess)
        assert found.success
        assert found.value < curve(0.0)
        if search == Exact():
            check_certificate(curve, found)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_falling_until_not_finite(bad):
    for guess in (0.1, 0.99, 3.0, 1e5):
        found = Exact()(beyond(parabola(at=3.0), 1.0, bad), guess)
        assert found.outcome is Outcome.NOT_FINITE
        assert 0.99 < found.alpha < 1
        assert found.bracket[1] == math.inf


def test_not_finite_around_the_minimiser():
    """The curve rises beyond, but falls until it is not finite."""
    curve = parabola()
    phi = curve.phi
    curve.phi = lambda a: math.nan if 0.9 < a < 1.1 else phi(a)
    found = Exact()(curve, 3.0)
    assert found.outcome is Outcome.NOT_FINITE
    assert 0.8 < found.alpha < 0.9
    assert found.bracket[1] == math.inf


def test_not_finite_from_0_on():
    for search in MONOTONE:
        found = search(beyond(parabola(), 1e-300, math.nan), 1.0)
        assert (found.outcome, found.alpha, found.value) == (Outcome.NOT_FINITE, 0, 0.5)


# SciPy's methods, and how many evaluations are saved -----------------------------------------


@pytest.mark.parametrize("method", ["brent", "bounded", "golden"])
def test_methods_of_scipy(method):
    for seed in range(100):
        found = Exact(1e-4, method)(curve := network(seed), 0.5)
        assert found.success
        assert found.bracket[0] <= found.alpha <= found.bracket[1]
        assert found.value == curve.phi(found.alpha) < curve(0.0)
        assert abs(found.derivative) <= 0.01 * -curve.slope(0.0)
        assert found.derivative == curve.slope(found.alpha)
        assert all(alpha > 0 for alpha in curve.trials)


def test_scipy_is_asked(monkeypatch):
    """minimize_scalar refines, by the method that is meant, inside the bracket."""
    asked, minimize_scalar = [], scipy.optimize.minimize_scalar

    def spy(fun, *args, **options):
        asked.append(options["method"])
        return minimize_scalar(fun, *args, **options)

    def own(fun, args, bracket, bounds):
        asked.append(bounds)
        return scipy.optimize.OptimizeResult(x=0.75, fun=fun(0.75))

    monkeypatch.setattr(scipy.optimize, "minimize_scalar", spy)
    for method in ("derivative", "brent", "bounded", "golden", own):
        found = Exact(method=method)(parabola(), 3.0)
    assert asked[1:] == ["brent", "bounded", "golden", own, (0.0, 3.0)]
    assert asked[0].__func__ is first_minimiser.Descent.refine
    assert (found.alpha, found.value, found.derivative) == (0.75, 1 / 32, -0.25)


@pytest.mark.parametrize("x", [math.nan, -1.0, 5.0])
def test_a_custom_method_that_leaves_the_bracket(x):
    found = Exact(method=lambda *_, **__: scipy.optimize.OptimizeResult(x=x, fun=0.0))(
        parabola(), 1.5
    )
    assert_allclose(found.alpha, 1)


def test_fewer_evaluations_than_by_values_alone():
    """Brent's method from the same guess to the same accuracy takes nearly twice as many."""
    for tol, most in ((1e-2, 430), (1e-4, 580)):
        ours = theirs = 0
        for seed in range(100):
            curve, plain = network(seed), network(seed)
            ours += Exact(tol)(curve, 0.5).evaluations
            scipy.optimize.minimize_scalar(plain, bracket=(0, 0.5), options={"xtol": tol})
            theirs += plain.evaluations
        assert ours <= most
        assert ours <= 0.55 * theirs


def test_few_evaluations_along_a_descent():
    """The guess is the last step: off by a factor of 2 at most."""
    rng = np.random.default_rng(0)
    counts = []
    for seed in range(200):
        at = Exact(1e-6)(network(seed), 0.5).alpha
        counts.append(Exact()(network(seed), at * 2 ** rng.uniform(-1, 1)).evaluations)
    assert np.median(counts) <= 3
    assert np.mean(counts) <= 3.2
