"""Curves to search along, whose minimisers are known, and what must hold of certificates."""

import math

import numpy as np
from hypothesis import strategies as st

from fastmlp.solvers.line_search import Armijo, Exact, Outcome, Wolfe

seeds = st.integers(0, 2**32 - 1)
MONOTONE = [Exact(), Exact(1e-6), Exact(method="brent"), Exact(method="golden"), Armijo(), Wolfe()]


def guesses(least, most):
    """None, or 10 to some power in between."""
    return st.none() | st.floats(least, most).map(lambda power: 10**power)


class Curve:
    """phi and phi' as given; remembers, and counts passes as an objective's curve does."""

    def __init__(self, phi, slope, dtype="float64", scale=1.0):
        self.phi, self.slope = phi, slope
        self.direction = np.array([scale, -scale / 2], dtype)
        self.evaluations, self.values, self.slopes = 0, {}, {}
        self.value_and_derivative(0.0)  # known from the gradient
        self.evaluations = 0

    def __call__(self, alpha):
        if alpha not in self.values:
            self.evaluations += 1
            self.values[alpha] = self.phi(alpha)
        return self.values[alpha]

    def value_and_derivative(self, alpha):
        assert type(alpha) is float
        if alpha not in self.slopes:
            self.evaluations += 1
            self.values[alpha], self.slopes[alpha] = self.phi(alpha), self.slope(alpha)
        return self.values[alpha], self.slopes[alpha]

    @property
    def trials(self):
        return list(self.values)[1:]


def parabola(at=1.0, k=1.0, floor=0.0, **options):
    return Curve(lambda a: floor + k / 2 * (a - at) ** 2, lambda a: k * (a - at), **options)


def power(at, n=4):
    return Curve(lambda a: (a - at) ** n, lambda a: n * (a - at) ** (n - 1))


def network(seed, l2=1e-3, noise=0.0, dtype="float64"):
    """A net of tanh units along a line: smooth, in general with several minimisers."""
    rng = np.random.default_rng(seed)
    U, V, c, y = (rng.standard_normal(shape) for shape in [(30, 4), (30, 4), 4, 30])
    V *= 10 ** rng.uniform(-1, 1)

    def error(a):
        return np.tanh(U + a * V) @ c - y

    def slope(a):
        return float(2 * np.mean(error(a) * ((1 - np.tanh(U + a * V) ** 2) * V @ c)) + 2 * l2 * a)

    if slope(0.0) > 0:
        V *= -1
    level = noise * abs(slope(0.0))

    def random(a):
        return np.random.default_rng(np.float64(a).view(np.uint64)).uniform(-1, 1, 2)

    def phi(a):
        value = float(np.mean(error(a) ** 2)) + l2 * a * a
        return value * (1 + float(np.finfo(dtype).eps) * random(a)[0]) if noise else value

    return Curve(phi, lambda a: slope(a) + (level * random(a)[1] if noise else 0.0), dtype)


def kinked(seed):
    """The mean of some |c_i - a| and a little parabola: the derivative jumps at each c_i."""
    rng = np.random.default_rng(seed)
    c = rng.uniform(-1, 3, rng.integers(1, 40))
    c += max(0.0, 0.1 - np.median(c))
    return Curve(
        lambda a: float(np.mean(np.abs(c - a)) + 1e-3 * (a - 0.1) ** 2),
        lambda a: float(np.mean(np.where(a >= c, 1.0, -1.0)) + 2e-3 * (a - 0.1)),
    )


def check_certificate(curve, found, tol=1e-2):
    """What holds wherever an exact search has found a step."""
    assert found.success
    assert found.outcome is Outcome.FOUND
    assert found.alpha > 0
    assert (found.value, found.derivative) == curve.value_and_derivative(found.alpha)
    check_no_increase(curve, found)
    low, high = found.bracket
    assert 0 <= low <= found.alpha <= high < math.inf
    assert curve.slope(low) < 0
    assert curve.slope(high) >= 0 or curve.phi(high) > curve.phi(low)
    assert found.evaluations == curve.evaluations
    start = abs(curve.slope(0.0))
    if abs(found.derivative) > tol * start:  # it jumps: then there is no more to be gained
        gain = min(abs(curve.slope(low)), abs(curve.slope(high))) * (high - low)
        ulp = np.finfo(curve.direction.dtype).eps * abs(curve(0.0))
        assert gain <= tol**2 * start * high + 2 * ulp


def check_no_increase(curve, found):
    """What holds of all searches but a fixed step and the user's own."""
    assert found.value == curve.phi(found.alpha)
    if found.value > curve(0.0):
        assert found.value <= curve(0.0) + 4 * math.ulp(curve(0.0))
        assert abs(found.derivative) < -curve.slopes[0.0]


def beyond(curve, wall, bad, derivative_only=False):
    phi, slope = curve.phi, curve.slope
    if not derivative_only:
        curve.phi = lambda a: bad if a >= wall else phi(a)
    curve.slope = lambda a: bad if a >= wall else slope(a)
    return curve


ENDLESS = {
    "exp": (lambda a: math.exp(-a), lambda a: -math.exp(-a)),
    "softplus": (lambda a: math.log1p(math.exp(-a)), lambda a: -1 / (1 + math.exp(min(a, 700)))),
    "rounded": (lambda a: math.log(1 + math.exp(-a)), lambda a: 1 / (1 + math.exp(-a)) - 1),
    "inverse": (lambda a: 1 / (1 + a), lambda a: -1 / (1 + a) ** 2),
    "line": (lambda a: -a, lambda a: -1.0),
}
