"""The first minimiser of a curve: bracketed from a guess, then refined by values and slopes."""

from __future__ import annotations

import enum
import math
from typing import Any, NamedTuple, Protocol

import numpy as np

MOST_TRIALS = 50  # of one search
REACH = 1e10  # a minimiser so many times nearer or farther than first trials is not looked for
SHORTEST, LONGEST = 1e-30, 1e18  # of first trials: what becomes of them must fit into float32
GROWTH = (1.0, 1.1, 2.0, 10.0)  # each trial outwards is at least so many times the one before
ULPS = 4  # two computations of a value may differ by so many units in the last place of float64
NOISE = 32  # differences between values below so many ulps of phi(0) say nothing


class Curve(Protocol):
    """What a search asks of a curve; an alpha that is asked for again must cost nothing."""

    @property
    def direction(self) -> np.ndarray:
        """The direction d; its dtype is the precision of the curve."""

    @property
    def evaluations(self) -> int:
        """Passes over the data made so far."""

    def __call__(self, alpha: float, /) -> float:
        """Return phi(alpha)."""

    def value_and_derivative(self, alpha: float, /) -> tuple[float, float]:
        """Return phi(alpha) and phi'(alpha)."""


class Outcome(enum.Enum):
    """How a search ended, with a message."""

    FOUND = "A step was found."
    ZERO_DIRECTION = "The direction is zero."
    NOT_DESCENT = "The direction is not one of descent."
    NOT_FINITE = "The objective, or its derivative along the direction, is not finite."
    ENDLESS = "The objective decreases along the direction as far as it was followed."
    NO_DECREASE = "No acceptable step was found."


class Point(NamedTuple):
    """alpha, phi(alpha), phi'(alpha)."""

    alpha: float
    value: float
    slope: float

    @property
    def finite(self) -> bool:
        """Whether value and slope are."""
        return math.isfinite(self.value) and math.isfinite(self.slope)


def look(curve: Curve, alpha: float) -> Point:
    """Return the curve's point at alpha."""
    value, slope = curve.value_and_derivative(alpha)
    return Point(alpha, float(value), float(slope))


def first_trial(curve: Curve, start: Point, guess: float | None) -> float:
    """Return the guess; without one, half of where a parabola of this start would reach 0.

    It moves no parameter by more than 1: the least value may be far from 0.
    """
    if guess is not None and 0 < guess < math.inf:
        first = float(guess)
    else:
        first = 1 / float(np.abs(curve.direction).max())
        if start.value != 0:
            first = min(first, abs(start.value) / -start.slope)
    return min(max(first, SHORTEST), LONGEST)


_NOWHERE = Point(math.inf, math.inf, math.nan)


class Trials:
    """The points of a curve that a search looked at."""

    def __init__(self, curve: Curve, start: Point) -> None:
        self.curve, self.start = curve, start
        self.points: list[Point] = []

    def trial(self, alpha: float) -> Point:
        """Look at the curve."""
        self.points.append(look(self.curve, alpha))
        return self.points[-1]

    def progresses(self, point: Point) -> bool:
        """Whether the point lies lower than the start or, as high, on less of a slope.

        Close to a minimiser the digits of values end before those of slopes: a rise of a few ulps
        is none.
        """
        if not (point.alpha > 0 and point.finite):
            return False
        flatter = abs(point.slope) < -self.start.slope
        rise = point.value - self.start.value
        return rise < 0 or (rise <= ULPS * math.ulp(self.start.value) and flatter)

    def lowest(self) -> Point:
        """Return the lowest point, the farthest of several; the start where none progresses."""
        points = filter(self.progresses, self.points)
        return max(points, key=lambda p: (-p.value, p.alpha), default=self.start)


class Descent(Trials):
    """The state of an exact search: the first minimiser lies between `low` and `high`.

    The curve falls at `low`; at `high` it rises, or lies higher than at `low`, or is not finite.
    Where values differ by no more than `noise`, slopes alone decide.
    """

    def __init__(self, curve: Curve, start: Point, tol: float) -> None:
        super().__init__(curve, start)
        self.low, self.high = start, _NOWHERE
        self.n_kinks = 0  # trials in a row that met no smaller slope: it may jump in the bracket
        self.eps = float(np.finfo(np.result_type(curve.direction, np.float32)).eps)
        self.noise = NOISE * self.eps * abs(start.value)
        self.target = tol * -start.slope
        self.tol = tol

    def beyond(self, point: Point) -> bool:
        """Whether a minimiser lies between `low` and the point."""
        return not point.slope < 0 or point.value > self.low.value + self.noise

    def good(self, point: Point) -> bool:
        """Whether the slope is small enough to stop; not yet with a guess, however good.

        A second trial makes the step exact on parabolas.
        """
        target = self.target if len(self.points) > 1 else 1e-10 * -self.start.slope
        return abs(point.slope) <= target and point.value <= self.start.value + self.noise

    def levelled(self, point: Point) -> bool:
        """Whether values near 0 with a slope of exactly 0 look like a tail that underflowed.

        A minimum lies lower than `low` by about half of slope times distance; a tail by less. A
        floor above 0 is none: that is what dead units leave, and it is a minimiser.
        """
        low, drop = self.low, self.low.value - point.value
        is_nothing = point.slope == 0 and point.value <= self.eps * self.start.value
        return is_nothing and drop < 0.1 * -low.slope * (point.alpha - low.alpha)

    def bracket(self, first: float) -> Outcome:
        """Go outwards until the curve rises: set `low` and `high`."""
        usual = first_trial(self.curve, self.start, None)  # the guess may be of another direction
        nearest, farthest = min(first, usual) / REACH, max(first, usual) * REACH
        before, level, wall, n_lows, alpha = self.low, _NOWHERE, math.inf, 0, first
        while len(self.points) < MOST_TRIALS and self.low.alpha < farthest:
            point = self.trial(alpha)
            if not point.finite or self.levelled(point):
                wall, level = alpha, point if point.finite else _NOWHERE
            elif self.beyond(point):
                self.high = point
                return Outcome.FOUND
            else:
                before, self.low, n_lows = self.low, point, n_lows + 1
            low = self.low
            if level.finite and -low.slope <= self.target:  # the slope has faded to nothing
                return Outcome.ENDLESS
            if wall < max(nearest, low.alpha * 1.001):
                break
            if point is low:
                alpha = min(self.extrapolated(before, n_lows), 0.5 * (low.alpha + wall))
            else:
                alpha = low.alpha + 0.1 * (wall - low.alpha)
        return Outcome.NOT_FINITE if wall < math.inf and not level.finite else Outcome.ENDLESS

    def extrapolated(self, before: Point, n_lows: int) -> float:
        """Return a trial a little beyond where the minimiser should be, so as to bracket it."""
        alpha, doubt = self.estimate(before, self.low)
        step = alpha - self.low.alpha
        if not step > 0:
            step = math.inf
        elif math.isnan(doubt):  # close to a minimiser of E: a parabola, but for rounding
            step *= 1 + min(math.sqrt(self.eps), 0.5 * self.target / -self.low.slope)
        else:
            step += 0.5 * min(step, doubt)
        least = GROWTH[min(n_lows, len(GROWTH)) - 1]
        alpha = self.low.alpha + step * (1 + 1e-12)  # beyond it on parabolas too
        return min(max(alpha, least * self.low.alpha), GROWTH[-1] * self.low.alpha)

    def estimate(self, a: Point, b: Point) -> tuple[float, float]:
        """Return the minimiser of the cubic through two points, and how far it is in doubt.

        That is its distance from the secant's; nan where the secant alone can tell.
        """
        width, rise = b.alpha - a.alpha, b.slope - a.slope
        secant = a.alpha - width * a.slope / rise if rise > 0 else math.inf
        bend = a.slope + b.slope - 3 * (b.value - a.value) / width  # Nocedal & Wright, (3.59)
        square = bend * bend - a.slope * b.slope
        denominator = rise + 2 * math.sqrt(square) if square >= 0 else 0.0
        if self.indistinct(a, b) or not denominator > 0:
            return secant, math.nan
        cubic = b.alpha - width * (b.slope + math.sqrt(square) - bend) / denominator
        doubt = abs(cubic - secant)
        # What rounding of the values makes of the cubic; on a parabola the secant is exact.
        rounding = max(1e-6, self.noise / (width * max(-a.slope, abs(b.slope))))
        return (secant, 0.0) if doubt < rounding * width else (cubic, doubt)

    def indistinct(self, a: Point, b: Point) -> bool:
        """Whether the values of two points cannot tell how the curve bends between them."""
        return self.noise > (b.alpha - a.alpha) * max(-a.slope, abs(b.slope))

    def settled(self) -> bool:
        """Whether the slope is small enough or, at a kink, next to nothing is left to be gained.

        A slope of tol |phi'(0)| on a parabola leaves tol^2 of the decrease to be gained. Kinks
        (relu) have no small slope: there it is the tangents at both ends that bound the gain.
        """
        low, high = self.low, self.high
        width = high.alpha - low.alpha
        gain = -low.slope * width
        if high.slope > 0 and high.value - low.value <= high.slope * width + self.noise:  # convex
            gain *= high.slope / (high.slope - low.slope)
        nothing = max(0.5 * self.tol * self.target * high.alpha, self.noise / NOISE)
        narrow = width <= 4 * self.eps * high.alpha or (self.n_kinks > 2 and gain <= nothing)
        return narrow or self.good(low) or self.good(high)

    def refine(
        self, fun: Any, args: Any = (), bracket: Any = None, bounds: Any = None, **options: Any
    ) -> Any:
        """Shrink the bracket: a method for `scipy.optimize.minimize_scalar`.

        SciPy's arguments are not needed: the state has the slopes too.
        """
        from scipy.optimize import OptimizeResult

        last, n_same = _NOWHERE, 0
        while len(self.points) < MOST_TRIALS and not self.settled():
            low, high = self.low, self.high
            alpha = self.inner()
            if n_same > 1:  # one end stays: go farther beyond the other one's estimate
                alpha = last.alpha + (alpha - last.alpha) * 2.0 ** (n_same - 1)
                if abs(alpha - last.alpha) > 0.5 * (high.alpha - low.alpha):
                    alpha = self.middle()
            point = self.trial(alpha)
            smaller = abs(point.slope) <= 0.5 * min(-low.slope, abs(high.slope))
            self.n_kinks = 0 if smaller else self.n_kinks + 1
            if not point.finite or self.beyond(point):
                n_same = n_same + 1 if last is high else 1
                self.high = last = point
            else:
                n_same = n_same + 1 if last is low else 1
                self.low = last = point
        good = [p for p in (self.low, self.high) if self.good(p)]
        best = min(good, key=lambda p: abs(p.slope), default=self.lower_end())
        return OptimizeResult(x=best.alpha, fun=best.value, success=True, nfev=len(self.points))

    def lower_end(self) -> Point:
        """Return the lower one of `low` and `high`."""
        return self.high if self.high.value < self.low.value else self.low

    def inner(self) -> float:
        """Return where between `low` and `high` to look next."""
        alpha = self.modelled()
        return alpha if self.low.alpha < alpha < self.high.alpha else self.middle()

    def middle(self) -> float:
        """Return the middle between `low` and `high`, in proportion where they are far apart."""
        low, high = self.low.alpha, self.high.alpha
        if high > 4 * low:
            return math.sqrt(low * high) or 0.1 * high
        return 0.5 * (low + high)

    def modelled(self) -> float:
        """Return where a simple curve like this has its minimiser; nan where nothing can tell."""
        low, high = self.low, self.high
        width, rise = high.alpha - low.alpha, high.value - low.value
        if not high.finite:
            return low.alpha + 0.1 * width
        if high.slope < 0:  # it lies higher: the parabola through both values and the slope at low
            share = -0.5 * low.slope * width / (rise - low.slope * width)
            return low.alpha + min(max(share, 0.1), 0.5) * width
        if self.n_kinks:  # where the tangents meet
            if self.indistinct(low, high):
                return math.nan
            share = (high.slope * width - rise) / (high.slope - low.slope) / width
            return low.alpha + min(max(share, 0.01), 0.99) * width
        return self.estimate(low, high)[0]

    def accepted(self, point: Point) -> Point:
        """Return a point no higher than the start: this one, or one nearly as good, or the start.

        Near a minimiser of E, rounding lifts some values by an ulp: others nearby are not lifted.
        """
        if self.progresses(point):
            return point
        seen = filter(self.progresses, self.points)
        best = min(seen, key=lambda p: abs(p.slope), default=self.start)
        if abs(best.slope) > 0.5 * -self.start.slope:
            for alpha in np.linspace(0.9, 0.1, 9) * point.alpha:
                if alpha > 0 and self.curve(float(alpha)) <= self.start.value:
                    near = self.trial(float(alpha))
                    if self.progresses(near):
                        return near
        return best
