"""Searches for the step alpha along a direction d, on the curve phi(alpha) = E(w + alpha d).

A search is a callable ``search(curve, guess) -> LineSearchResult``; the guess is the last accepted
step, or None.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from fastmlp import validation
from fastmlp.solvers.first_minimiser import (
    Curve,
    Descent,
    Outcome,
    Point,
    Trials,
    first_trial,
    look,
)

__all__ = [
    "Armijo",
    "Curve",
    "Custom",
    "Exact",
    "Fixed",
    "LineSearchResult",
    "Outcome",
    "Wolfe",
    "resolve",
]


@dataclass(frozen=True)
class LineSearchResult:
    """The certificate of a search.

    Attributes
    ----------
    alpha : float
        The accepted step; 0 where there is none. Besides FOUND, the outcomes ENDLESS and NOT_FINITE
        may have one: the lowest point seen, the farthest of several, before the search gave up.
    value, derivative : float
        phi(alpha) and phi'(alpha); nan where the search had no need of them.
    bracket : tuple of float
        (low, high), with the first minimiser found inside; high is inf where none was bracketed.
    evaluations : int
        Passes over the data that the search made.
    outcome : Outcome
    """

    alpha: float
    value: float
    derivative: float
    bracket: tuple[float, float]
    evaluations: int
    outcome: Outcome

    @property
    def success(self) -> bool:
        """Whether a step was found."""
        return self.outcome is Outcome.FOUND


class LineSearch(Protocol):
    """What `resolve` returns."""

    @property
    def is_monotone(self) -> bool:
        """Whether phi(alpha) <= phi(0) is promised, to 4 ulps."""

    def __call__(self, curve: Curve, guess: float | None = None) -> LineSearchResult:
        """Search along the curve, from the last accepted step on."""


class _Search:
    """What comes before every search."""

    is_monotone = True

    def __call__(self, curve: Curve, guess: float | None = None) -> LineSearchResult:
        before = curve.evaluations
        start = look(curve, 0.0)
        if not np.any(curve.direction):
            result = _result(start, Outcome.ZERO_DIRECTION)
        elif not start.finite:
            result = _result(start, Outcome.NOT_FINITE)
        elif start.slope >= 0:
            result = _result(start, Outcome.NOT_DESCENT)
        else:
            result = self._search(curve, start, guess)
        return dataclasses.replace(result, evaluations=curve.evaluations - before)

    def _search(self, curve: Curve, start: Point, guess: float | None) -> LineSearchResult:
        raise NotImplementedError


def _result(
    point: Point, outcome: Outcome, bracket: tuple[float, float] = (0.0, math.inf)
) -> LineSearchResult:
    return LineSearchResult(*point, bracket, 0, outcome)


@dataclass(frozen=True)
class Exact(_Search):
    """Step to the first minimiser beyond 0.

    It is bracketed from the guess on, by values and derivatives, then refined. Where values differ
    by no more than rounding, near a minimiser of E, derivatives alone decide. A step that raises
    phi is never accepted; a rise of at most 4 ulps of float64 is none if |phi'| has become smaller.

    Parameters
    ----------
    tol : float, default=0.01
        Stop where |phi'(alpha)| <= tol |phi'(0)| or, where the derivative jumps across 0, where no
        more than about tol^2 of the decrease is left to be gained. On a parabola both are the same,
        and the second trial is exact anyway. With the default, steps of steepest descent and of
        conjugate gradients on networks cost 2 to 3 evaluations and the iterates converge as fast
        as with a smaller one; 1e-3 costs twice as much on the many kinks of relu networks.
    method : str or callable, default="derivative"
        How to refine. "derivative": by cubics through values and derivatives. "brent", "bounded"
        or "golden": those of `scipy.optimize.minimize_scalar`, by values alone, to the relative
        accuracy tol of alpha. Or a custom method of that function: it is given ``bounds``.

    References
    ----------
    Cauchy, "Méthode générale pour la résolution des systèmes d'équations simultanées", Comptes
    rendus de l'Académie des sciences 25, 1847. Nocedal and Wright, "Numerical Optimization", 2006,
    chapter 3. Brent, "Algorithms for Minimization without Derivatives", 1973.
    """

    tol: float | None = None
    method: str | Callable[..., Any] = "derivative"

    def __post_init__(self) -> None:
        if self.tol is not None:
            _check_within("tol", self.tol, 1)
        if not callable(self.method):
            validation.one_of("method", self.method, ("derivative", "brent", "bounded", "golden"))

    def _search(self, curve: Curve, start: Point, guess: float | None) -> LineSearchResult:
        descent = Descent(curve, start, 1e-2 if self.tol is None else self.tol)
        outcome = descent.bracket(first_trial(curve, start, guess))
        if outcome is not Outcome.FOUND:
            return _result(descent.lowest(), outcome, (descent.low.alpha, math.inf))
        point = descent.accepted(self._refined(curve, descent))
        if not descent.high.finite:
            return _result(point, Outcome.NOT_FINITE, (descent.low.alpha, math.inf))
        outcome = Outcome.FOUND if point.alpha > 0 else Outcome.NO_DECREASE
        return _result(point, outcome, (descent.low.alpha, descent.high.alpha))

    def _refined(self, curve: Curve, descent: Descent) -> Point:
        from scipy.optimize import minimize_scalar  # slow to import

        if self.method == "derivative":
            return self._by_derivatives(curve, descent)
        low, high = descent.low, descent.high
        bounds = (low.alpha, high.alpha)
        if self.method == "bounded":
            options = {"xatol": descent.tol * descent.inner()}
            found = minimize_scalar(curve, bounds=bounds, method="bounded", options=options)
        elif callable(self.method):
            found = minimize_scalar(curve, bounds=bounds, method=self.method)
        else:
            inner = descent.trial(descent.inner())
            if not inner.value < min(low.value, high.value):
                return self._by_derivatives(curve, descent)
            triple, options = (low.alpha, inner.alpha, high.alpha), {"xtol": descent.tol}
            found = minimize_scalar(curve, triple, method=self.method, options=options)
        if low.alpha <= found.x <= high.alpha:  # not so for NaN
            point = descent.trial(float(found.x))
            if descent.progresses(point):
                return point
        return self._by_derivatives(curve, descent)

    def _by_derivatives(self, curve: Curve, descent: Descent) -> Point:
        from scipy.optimize import minimize_scalar  # slow to import

        bounds = (descent.low.alpha, descent.high.alpha)
        found = minimize_scalar(curve, bounds=bounds, method=descent.refine)
        return descent.trial(float(found.x))


@dataclass(frozen=True)
class Armijo(_Search):
    """Step as far as the decrease is at least a share of what the derivative promises.

    Accepts the first alpha with phi(alpha) <= phi(0) + c1 alpha phi'(0), going down from `growth`
    times the guess by parabolas through phi(0), phi'(0) and phi(alpha), to between a tenth and a
    half at a time. Only values are evaluated.

    Parameters
    ----------
    c1 : float, default=1e-4
        The share, below 1.
    growth : float, default=2.0
        At least 1. Above 1, steps can grow again.

    References
    ----------
    Armijo, "Minimization of functions having Lipschitz continuous first partial derivatives",
    Pacific Journal of Mathematics 16, 1966. Nocedal and Wright, "Numerical Optimization", 2006,
    section 3.5.
    """

    c1: float = 1e-4
    growth: float = 2.0

    def __post_init__(self) -> None:
        _check_within("c1", self.c1, 1)
        _check_within("growth", self.growth, math.inf)
        if self.growth < 1:
            raise ValueError(f"growth must be at least 1; got {self.growth!r}")

    # Not SciPy's: its function for this is private, and takes no account of NaN.
    def _search(self, curve: Curve, start: Point, guess: float | None) -> LineSearchResult:
        alpha, outcome = self.growth * first_trial(curve, start, guess), Outcome.NOT_FINITE
        for _ in range(30):
            value = float(curve(alpha))
            share = 0.0
            if math.isfinite(value):
                if value < start.value and value <= start.value + self.c1 * alpha * start.slope:
                    return _result(Point(alpha, value, math.nan), Outcome.FOUND)
                outcome = Outcome.NO_DECREASE
                promise = -start.slope * alpha
                share = 0.5 * promise / (value - start.value + promise)
            alpha *= min(max(share, 0.1), 0.5)
        return _result(start, outcome)


@dataclass(frozen=True)
class Wolfe(_Search):
    """Step to where the strong Wolfe conditions hold, by `scipy.optimize.line_search`.

    phi(alpha) <= phi(0) + c1 alpha phi'(0) and |phi'(alpha)| <= c2 |phi'(0)|.

    Parameters
    ----------
    c1, c2 : float, default=1e-4, 0.1
        0 < c1 < c2 < 1. SciPy's own default for c2, 0.9, is meant for quasi-Newton directions.

    References
    ----------
    Wolfe, "Convergence conditions for ascent methods", SIAM Review 11, 1969. Nocedal and Wright,
    "Numerical Optimization", 2006, algorithms 3.5 and 3.6.
    """

    c1: float = 1e-4
    c2: float = 0.1

    def __post_init__(self) -> None:
        _check_within("c2", self.c2, 1)
        _check_within("c1", self.c1, self.c2)

    def _search(self, curve: Curve, start: Point, guess: float | None) -> LineSearchResult:
        from scipy.optimize import line_search

        trials, first = Trials(curve, start), first_trial(curve, start, guess)
        while not trials.trial(first).finite and len(trials.points) < 20:
            first *= 0.1

        def value(x: np.ndarray) -> float:
            point = trials.trial(float(x[0]))
            return point.value if point.finite else math.inf

        def gradient(x: np.ndarray) -> np.ndarray:
            return np.array([trials.trial(float(x[0])).slope])

        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # what they say is in the result too
            share, *_, found = line_search(  # its first trial is 1, here the guess
                *(value, gradient, np.zeros(1), np.array([first]), np.array([start.slope])),
                old_fval=start.value, c1=self.c1, c2=self.c2, maxiter=40,
            )  # fmt: skip
        if share is None:
            finite = any(point.finite for point in trials.points)
            return _result(start, Outcome.NO_DECREASE if finite else Outcome.NOT_FINITE)
        if found is None:
            return _result(trials.lowest(), Outcome.ENDLESS)
        return _result(trials.trial(float(share * first)), Outcome.FOUND)


@dataclass(frozen=True)
class Fixed(_Search):
    """Always the same step, without a look at the curve: it may lead upwards.

    Parameters
    ----------
    step : float
        Positive.
    """

    step: float

    is_monotone = False

    def __post_init__(self) -> None:
        _check_within("step", self.step, math.inf)

    def __call__(self, curve: Curve, guess: float | None = None) -> LineSearchResult:
        """Return the step."""
        point, outcome = Point(float(self.step), math.nan, math.nan), Outcome.FOUND
        if not np.any(curve.direction):
            point, outcome = Point(0.0, math.nan, math.nan), Outcome.ZERO_DIRECTION
        return _result(point, outcome)


@dataclass(frozen=True)
class Custom(_Search):
    """The user's own search.

    Parameters
    ----------
    function : callable
        ``function(curve, guess)`` returns the step, a finite number of at least 0 (0: none is
        acceptable), or a LineSearchResult. It is not called where the direction is zero or not one
        of descent, nor where the curve's start is not finite. The step may lead upwards.
    """

    function: Callable[[Curve, float | None], Any]

    is_monotone = False

    def _search(self, curve: Curve, start: Point, guess: float | None) -> LineSearchResult:
        found = self.function(curve, guess)
        alpha = found.alpha if isinstance(found, LineSearchResult) else found
        if not (validation.is_number(alpha) and 0 <= alpha < math.inf):
            name = getattr(self.function, "__qualname__", repr(self.function))
            raise ValueError(
                "line_search must return a finite number of at least 0 or a LineSearchResult; "
                f"{name} returned {found!r}"
            )
        if isinstance(found, LineSearchResult):
            return found
        if alpha == 0:
            return _result(start, Outcome.NO_DECREASE)
        return _result(Point(float(alpha), math.nan, math.nan), Outcome.FOUND)


NAMES: dict[str, type[_Search]] = {"exact": Exact, "armijo": Armijo, "wolfe": Wolfe}


def resolve(line_search: Any) -> LineSearch:
    """Return the search that is meant.

    Parameters
    ----------
    line_search : {"exact", "armijo", "wolfe"}, float, callable or search
        A number is a fixed step; a callable the user's own function, as in `Custom`.

    Raises
    ------
    ValueError
        For a name that is not known and a number that is not positive and finite.
    TypeError
        For anything else.
    """
    if isinstance(line_search, str):
        return NAMES[validation.one_of("line_search", line_search, NAMES)]()
    if isinstance(line_search, _Search):
        return line_search
    if callable(line_search) and not isinstance(line_search, type):
        return Custom(line_search)
    if validation.is_number(line_search):
        return Fixed(float(line_search))
    raise TypeError(
        f"line_search must be one of {', '.join(map(repr, NAMES))}, a number, a function of "
        f"(curve, guess) or a search such as Exact(); got {line_search!r}"
    )


def _check_within(name: str, value: Any, limit: float) -> None:
    if not validation.is_number(value):
        raise TypeError(f"{name} must be a positive number; got {value!r}")
    if not 0 < value < limit:
        expected = "finite" if limit == math.inf else f"below {limit!r}"
        raise ValueError(f"{name} must be positive and {expected}; got {value!r}")
