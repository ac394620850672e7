"""Curve: the objective along a line through the parameters."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastmlp import validation
from fastmlp.directional import step


class Curve:
    """phi(alpha) = E(w + alpha d): an objective E along a line, as `Objective.along` returns it.

    A curve remembers what it was asked for: the same alpha again costs nothing, nor does 0 where
    the gradient at w has just been computed. Every other alpha is a pass over the samples, which
    costs the network without its first layer (see `Objective.along`). alpha is rounded to the
    network's dtype.

    Attributes
    ----------
    start : ndarray of shape (n_params,)
        w.
    direction : ndarray of shape (n_params,)
        d.
    evaluations : int
        Passes over the samples so far.

    Examples
    --------
    >>> import numpy as np
    >>> import fastmlp as fm
    >>> net = fm.Network([2, 1], dtype="float64")
    >>> objective = fm.Objective(net, np.eye(2), np.ones(2))
    >>> phi = objective.along(np.zeros(3), np.array([1.0, 1.0, 0.0]))
    >>> phi(0.5), phi.derivative(1.0)
    (0.25, 0.0)
    """

    def __init__(
        self,
        evaluate: Callable[[Curve, float, bool], tuple[float, float]],
        start: np.ndarray,
        direction: np.ndarray,
    ) -> None:
        self.start, self.direction = start, direction
        self.evaluations = 0
        # w.w, w.d and d.d of the weights, where the objective has a penalty on them.
        self.penalty: tuple[float, float, float] | None = None
        self._evaluate = evaluate
        self._values: dict[float, float] = {}
        self._derivatives: dict[float, float] = {}

    def __call__(self, alpha: float) -> float:
        """Return phi(alpha).

        Parameters
        ----------
        alpha : float
            Finite.

        Returns
        -------
        float
            Not finite where numbers overflow.
        """
        alpha = self._rounded(alpha)
        if alpha not in self._values:
            self._pass(alpha, with_derivative=False)
        return self._values[alpha]

    def derivative(self, alpha: float) -> float:
        """Return phi'(alpha), by one pass of forward mode: a value is computed on the way.

        Parameters
        ----------
        alpha : float
            Finite.
        """
        return self.value_and_derivative(alpha)[1]

    def value_and_derivative(self, alpha: float) -> tuple[float, float]:
        """Return phi(alpha) and phi'(alpha), in one pass.

        Parameters
        ----------
        alpha : float
            Finite.
        """
        alpha = self._rounded(alpha)
        if alpha not in self._derivatives:
            self._pass(alpha, with_derivative=True)
        return self._values[alpha], self._derivatives[alpha]

    def at(self, alpha: float) -> np.ndarray:
        """Return the parameters w + alpha d, each number with one rounding.

        Parameters
        ----------
        alpha : float
            Finite.

        Returns
        -------
        ndarray of shape (n_params,) and of the network's dtype
        """
        moved = self.start.copy()
        step(moved, self.direction, self._rounded(alpha))
        return moved

    def remember(self, alpha: float, value: float, derivative: float) -> None:
        """Take phi and phi' at alpha as known."""
        self._values[alpha], self._derivatives[alpha] = value, derivative

    def _pass(self, alpha: float, with_derivative: bool) -> None:
        value, derivative = self._evaluate(self, alpha, with_derivative)
        self.evaluations += 1
        self._values[alpha] = value
        if with_derivative:
            self._derivatives[alpha] = derivative

    def _rounded(self, alpha: Any) -> float:
        if not validation.is_number(alpha):
            raise TypeError(f"alpha must be a number; got {alpha!r}")
        with np.errstate(over="ignore"):
            rounded = float(self.start.dtype.type(alpha))
        if not math.isfinite(rounded):
            raise ValueError(f"alpha must be finite in {self.start.dtype}; got {alpha!r}")
        return rounded
