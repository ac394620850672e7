"""Directions of descent, from the gradients met so far: where to look, and whither to step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fastmlp.kernels.updates import dot
from fastmlp.solvers.checkpoints import parameters_of

if TYPE_CHECKING:
    from fastmlp.network import Network


@dataclass(frozen=True)
class Step:
    """What came of a search from a base along a direction.

    Attributes
    ----------
    base, gradient : ndarray of shape (n_params,)
        Where it began, and the gradient there.
    base_value : float
    before, after : ndarray of shape (n_params,)
        The iterate before it, and where it led: base + alpha d.
    after_value : float
    is_lower : bool
        Whether `after` is lower than the iterate before.
    """

    base: np.ndarray
    base_value: float
    gradient: np.ndarray
    before: np.ndarray
    after: np.ndarray
    after_value: float
    is_lower: bool


class Direction(Protocol):
    """A rule for directions; a solver begins it anew for each run.

    The solver computes the gradient at the base, asks for the direction, searches along it, and
    reports the step. The base is the iterate, unless the rule looks ahead.
    """

    looks_ahead: bool
    """Whether bases are other points than iterates, and an iterate is replaced by lower ones only.
    """

    def base(self, w: np.ndarray) -> np.ndarray:
        """Return where to search from, w being the iterate: w itself or a new array.

        Only asked of a rule that looks ahead.
        """

    def direction(self, gradient: np.ndarray) -> np.ndarray:
        """Return d (n_params,), from the gradient at the base."""

    def learn(self, step: Step) -> None:
        """Take note of a step that was made."""

    def restart(self) -> bool:
        """Forget the past: the next direction is steepest. Return False where there was none."""

    def state_dict(self) -> dict[str, Any]:
        """Return the past, as plain values and arrays that are not changed later.

        Only asked of a rule whose run has checkpoints.
        """

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Have that past."""


class _Remembers:
    """A rule whose past is in its attributes."""

    def state_dict(self) -> dict[str, Any]:
        """Return the attributes."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Have these attributes: numbers of the same types, none below 0; vectors or None."""
        for name, value in vars(self).items():
            is_number = isinstance(value, (int, float))
            there = type(value)(state[name]) if is_number else state[name]
            if is_number and not 0 <= there < math.inf:
                raise ValueError(f"{name} is {there!r}")
            vars(self)[name] = there


class Steepest(_Remembers):
    """d = -gradient (Cauchy, "Méthode générale pour la résolution des systèmes d'équations
    simultanées", Comptes rendus 25, 1847).
    """  # noqa: D205

    looks_ahead = False

    def direction(self, gradient: np.ndarray) -> np.ndarray:
        """Return -gradient."""
        return -gradient

    def learn(self, step: Step) -> None:
        """Do nothing."""

    def restart(self) -> bool:
        """Return False: there is no past."""
        return False


class Conjugate(_Remembers):
    """Nonlinear conjugate gradients by Polak and Ribiere, with restarts.

    ``d_k = -g_k + beta d_{k-1}`` with ``beta = max(0, g_k . (g_k - g_{k-1}) / |g_{k-1}|^2)``. The
    method restarts with d = -g after n_params steps, and where d would not descend. Nocedal and
    Wright, "Numerical optimization", 2006, eq. 5.44 and 5.45.
    """

    looks_ahead = False

    def __init__(self) -> None:
        self._gradient: np.ndarray | None = None
        self._direction: np.ndarray | None = None
        self._age = 0

    def direction(self, gradient: np.ndarray) -> np.ndarray:
        """Return the conjugate direction."""
        d, self._age = -gradient, self._age + 1
        last, direction = self._gradient, self._direction
        if last is not None and direction is not None and self._age <= gradient.size:
            beta = (dot(gradient, gradient) - dot(gradient, last)) / dot(last, last)
            conjugate = d + gradient.dtype.type(max(beta, 0.0)) * direction
            if dot(gradient, conjugate) < 0:
                d = conjugate
            else:
                self._age = 1
        else:
            self._age = 1
        self._gradient, self._direction = gradient, d
        return d

    def learn(self, step: Step) -> None:
        """Do nothing: gradients tell all."""

    def restart(self) -> bool:
        """Forget the last direction."""
        had_past = self._age > 1
        self._gradient, self._age = None, 0
        return had_past


class Nesterov(_Remembers):
    """Accelerated gradients with an exact or inexact search, monotone, with adaptive restart.

    With A_0 = 0, z_0 = w_0 and a step size s, each step takes a from ``a^2 = s (A_k + a)``, and

        ``y = (A_k w_k + a z_k) / (A_k + a),  d = -g(y),  w_{k+1} = y + alpha d`` if that is lower,
        ``A_{k+1} = A_k + a,  z_{k+1} = z_k - a g(y)``

    provided that the search lowered E by at least ``s / 2 |g(y)|^2``; otherwise s becomes what
    would have sufficed (no less than a tenth of it), and A and z stay. That inequality is all that
    the proof of ``E(w_k) - E* <= |w_0 - w*|^2 / (2 A_k)``, with ``A_k >= s k^2 / 4``, asks of a
    step. The method restarts from w_k (A = 0, z = w_k) where a step leads uphill or against the
    gradient.

    Nesterov, "Introductory lectures on convex optimization", 2004, sec. 2.2.1; O'Donoghue and
    Candès, "Adaptive restart for accelerated gradient schemes", Found. Comput. Math. 15, 2015.
    """

    looks_ahead = True
    # The inequality holds to so many units of the value's rounding.
    SLACK = 16

    def __init__(self) -> None:
        self._A = self._a = self._s = 0.0
        self._z: np.ndarray | None = None

    def base(self, w: np.ndarray) -> np.ndarray:
        """Return y."""
        if self._A == 0 or self._z is None:
            return w
        self._a = (self._s + math.sqrt(self._s**2 + 4 * self._s * self._A)) / 2
        share = w.dtype.type(self._a / (self._A + self._a))
        ahead: np.ndarray = w + share * (self._z - w)
        return ahead

    def direction(self, gradient: np.ndarray) -> np.ndarray:
        """Return -gradient."""
        return -gradient

    def learn(self, step: Step) -> None:
        """Move z, or take a smaller s, or restart."""
        square = dot(step.gradient, step.gradient)
        gained = 2 * (step.base_value - step.after_value) / square if square > 0 else 0.0
        if self._A == 0 or self._z is None:  # the first: any size is as good as what it gained
            self._z, self._a = step.base, gained
            self._s = gained
        slack = self.SLACK * np.finfo(step.after.dtype).eps * abs(step.base_value) / (square or 1.0)
        if not step.is_lower or dot(step.gradient, step.after - step.before) > 0:
            self.restart()
        elif gained + slack >= self._s > 0:
            self._z = self._z - step.after.dtype.type(self._a) * step.gradient
            self._A += self._a
        elif gained > 0:
            self._s = max(gained, self._s / 10)
        else:
            self.restart()

    def restart(self) -> bool:
        """Begin anew from the iterate."""
        had_past = self._A > 0
        self._A, self._z = 0.0, None
        return had_past


NAMES: dict[str, type[Any]] = {"steepest": Steepest, "conjugate": Conjugate, "nesterov": Nesterov}


def looks_ahead(direction: Any) -> bool:
    """Return whether a rule searches from other points than the iterates."""
    return bool(getattr(direction, "looks_ahead", False))


def resolve(direction: Any) -> Direction:
    """Return a new rule of that name, or the user's own, begun anew."""
    if isinstance(direction, str) and direction in NAMES:
        named: Direction = NAMES[direction]()
        return named
    methods = ("direction", "learn", "restart", *(["base"] if looks_ahead(direction) else []))
    if isinstance(direction, type) or not all(hasattr(direction, name) for name in methods):
        listed = ", ".join(repr(name) for name in NAMES)
        raise ValueError(
            f"direction must be one of {listed}, or an object with the methods of "
            f"fastmlp.solvers.directions.Direction; got {direction!r}"
        )
    own: Direction = direction
    own.restart()
    return own


def restore(rule: Direction, state: dict[str, Any], net: Network) -> None:
    """Give a rule its past, as a file has it; raise where it is not one of this network."""
    if isinstance(rule, _Remembers):
        for name, value in vars(rule).items():
            if not isinstance(value, (int, float)) and state[name] is not None:
                parameters_of(net, state[name])
    rule.load_state_dict(state)
