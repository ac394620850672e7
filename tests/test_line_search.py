"""Line searches: what they share; Armijo, Wolfe, fixed steps and the user's own."""

import dataclasses
import math
import warnings

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given
from hypothesis import strategies as st

from cases_searches import ENDLESS, MONOTONE, Curve, guesses, network, parabola, seeds
from fastmlp.solvers.line_search import (
    Armijo,
    Custom,
    Exact,
    Fixed,
    LineSearchResult,
    Outcome,
    Wolfe,
    resolve,
)


@pytest.mark.parametrize("search", [*MONOTONE, Custom(lambda curve, guess: 1.0)], ids=repr)
def test_nothing_to_search(search):
    zero, up, level = parabola(scale=0.0), parabola(at=-1.0), parabola(at=0.0)
    nan = Curve(lambda a: math.nan, lambda a: -1.0)
    steep = Curve(lambda a: 1.0, lambda a: -math.inf)
    outcomes = [search(curve, 1.0) for curve in (zero, up, level)]
    assert [found.outcome for found in outcomes] == [
        Outcome.ZERO_DIRECTION, Outcome.NOT_DESCENT, Outcome.NOT_DESCENT,
    ]  # fmt: skip
    assert all(found.alpha == 0 == found.evaluations for found in outcomes)
    assert {search(curve, 1.0).outcome for curve in (nan, steep)} == {Outcome.NOT_FINITE}


def test_messages():
    assert len({outcome.value for outcome in Outcome}) == len(Outcome) == 6
    found = Exact()(parabola(), 1.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.alpha = 2.0


@given(seed=seeds, guess=guesses(-3, 3), c1=st.sampled_from([1e-4, 0.3]))
def test_armijo(seed, guess, c1):
    curve = network(seed)
    found = Armijo(c1)(curve, guess)
    assert found.success
    bound = [curve.phi(0.0) + c1 * a * curve.slope(0.0) for a in curve.trials]
    accepted = [curve(a) <= b for a, b in zip(curve.trials, bound, strict=True)]
    assert accepted == [False] * (len(accepted) - 1) + [True]
    assert found.alpha == curve.trials[-1]
    assert len(curve.slopes) == 1  # at 0
    assert math.isnan(found.derivative)
    if guess is not None:
        assert curve.trials[0] == 2 * guess
    for before, after in zip(curve.trials, curve.trials[1:], strict=False):
        assert 0.0999 <= after / before <= 0.5


def test_armijo_where_values_tell_nothing():
    found = Armijo()(parabola(k=2e-17, floor=1.0), 0.5)
    assert (found.outcome, found.alpha) == (Outcome.NO_DECREASE, 0)


@given(seed=seeds, guess=guesses(-3, 3))
def test_wolfe(seed, guess):
    curve, c1, c2 = network(seed), 1e-3, 0.2
    found = Wolfe(c1, c2)(curve, guess)
    if found.success:
        assert found.value <= curve(0.0) + c1 * found.alpha * curve.slope(0.0)
        assert abs(found.derivative) <= c2 * -curve.slope(0.0)
        assert found.value == curve(found.alpha)


def test_wolfe_is_scipys():
    for seed in range(20):
        plain, curve = network(seed), network(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            alpha, *_ = scipy.optimize.line_search(
                lambda x, c=plain: c.phi(x[0]), lambda x, c=plain: np.array([c.slope(x[0])]),
                np.zeros(1), np.ones(1), old_fval=plain.phi(0.0), c2=0.1, maxiter=40,
            )  # fmt: skip
        assert Wolfe()(curve, 1.0).alpha == (alpha or 0)


def test_wolfe_without_end():
    found = Wolfe()(Curve(*ENDLESS["line"]), 1.0)
    assert found.outcome is Outcome.ENDLESS
    assert found.alpha >= 2**30


def test_fixed_costs_nothing():
    search, curve = Fixed(3), parabola()
    found = search(curve, 1.0)
    assert (found.alpha, found.evaluations, found.outcome) == (3.0, 0, Outcome.FOUND)
    assert curve.evaluations == 0
    assert not search.is_monotone
    assert search(parabola(scale=0.0)).outcome is Outcome.ZERO_DIRECTION


def test_own_function():
    calls = []

    def half(curve, guess):
        calls.append(guess)
        return np.float32(0.5) if curve(0.5) < curve(0.0) else 0

    curve = parabola()
    found = resolve(half)(curve, 2.0)
    assert (found.alpha, found.evaluations, found.outcome) == (0.5, 1, Outcome.FOUND)
    assert calls == [2.0]
    assert resolve(lambda *_: 0)(curve).outcome is Outcome.NO_DECREASE
    given_back = LineSearchResult(0.3, 1.0, -1.0, (0, 1), 99, Outcome.ENDLESS)
    found = resolve(lambda *_: given_back)(curve)
    assert found == dataclasses.replace(given_back, evaluations=0)
    assert not resolve(half).is_monotone


@pytest.mark.parametrize("bad", [-0.5, math.nan, math.inf, "1", None, True, [1.0], 1j], ids=repr)
def test_own_function_that_returns_something_else(bad):
    def guesswork(curve, guess):
        return bad

    with pytest.raises(ValueError, match=r"line_search .*guesswork returned"):
        resolve(guesswork)(parabola())


def test_resolve():
    assert resolve("exact") == Exact()
    assert resolve("armijo") == Armijo()
    assert resolve("wolfe") == Wolfe()
    assert resolve(np.float32(0.5)) == Fixed(0.5)
    assert resolve(search := Exact(1e-3)) is search
    for bad in ("exakt", 0, -1.0, math.inf):
        with pytest.raises(ValueError, match=r"line_search|step"):
            resolve(bad)
    for bad in (None, True, [0.1], Exact):
        with pytest.raises(TypeError, match="line_search must be"):
            resolve(bad)


INVALID = {
    "tol": [lambda: Exact(0), lambda: Exact(1.0), lambda: Exact(math.nan)],
    "method": [lambda: Exact(method="newton")],
    "c1": [lambda: Armijo(1), lambda: Wolfe(0.2, 0.1), lambda: Wolfe(0)],
    "c2": [lambda: Wolfe(c2=1)],
    "growth": [lambda: Armijo(growth=0.5), lambda: Armijo(growth=math.inf)],
    "step": [lambda: Fixed(-1), lambda: Fixed(0), lambda: Fixed(math.nan)],
}


@pytest.mark.parametrize("name", INVALID)
def test_invalid_options(name):
    for make in INVALID[name]:
        with pytest.raises(ValueError, match=rf"{name} must be"):
            make()
    with pytest.raises(TypeError, match="tol must be a positive number"):
        Exact("tight")
