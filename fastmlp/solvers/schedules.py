"""Step sizes as functions of the step number k = 0, 1, 2, ..."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastmlp import validation


@dataclass(frozen=True)
class Constant:
    """The same step size always.

    Does not satisfy the conditions of Robbins and Monro: the sum of squares is infinite.
    """

    c: float

    def __call__(self, k: Any) -> Any:
        """Return the step size at step number k, an int or an array of them."""
        return self.c + 0.0 * np.asarray(k, np.float64)

    def __repr__(self) -> str:
        return f"constant({self.c!r})"


@dataclass(frozen=True)
class Inverse:
    """c / (k + 1).

    Satisfies the conditions of Robbins and Monro: the sum of steps is infinite, the sum of their
    squares finite.
    """

    c: float

    def __call__(self, k: Any) -> Any:
        """Return the step size at step number k, an int or an array of them."""
        return self.c / (np.asarray(k, np.float64) + 1.0)

    def __repr__(self) -> str:
        return f"inverse({self.c!r})"


def _positive(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a positive number; got {value!r}")
    size = float(value)
    if not (math.isfinite(size) and size > 0):
        raise ValueError(f"{name} must be a positive finite number; got {value!r}")
    return size


def constant(c: float) -> Constant:
    """Return the schedule that is c at every step.

    Parameters
    ----------
    c : float
        The step size, positive.
    """
    return Constant(_positive("c", c))


def inverse(c: float) -> Inverse:
    """Return the schedule c / (k + 1).

    Parameters
    ----------
    c : float
        The first step size, positive.

    References
    ----------
    Robbins and Monro, "A stochastic approximation method", Annals of Mathematical Statistics 22,
    1951.
    """
    return Inverse(_positive("c", c))


def resolve(step: Any) -> Callable[[int, int], np.ndarray]:
    """Return the function (start, stop) -> step sizes of steps start .. stop - 1.

    Parameters
    ----------
    step : float, schedule or callable
        A callable of the step number must return a finite number, not negative.
    """
    if isinstance(step, (Constant, Inverse)):
        return lambda start, stop: step(np.arange(start, stop))
    if callable(step):
        return lambda start, stop: _evaluate(step, start, stop)
    if isinstance(step, bool) or not isinstance(step, numbers.Real):
        raise TypeError(f"step must be a number, a schedule or a callable; got {step!r}")
    size = _positive("step", step)
    return lambda start, stop: np.full(stop - start, size)


def _evaluate(step: Callable[[int], float], start: int, stop: int) -> np.ndarray:
    sizes = np.empty(stop - start)
    for k in range(start, stop):
        size = step(k)
        if not validation.is_number(size):
            raise ValueError(f"step({k}) must be a number; got {size!r}")
        if not (math.isfinite(size) and size >= 0):
            raise ValueError(f"step({k}) must be finite, 0 or more; got {size!r}")
        sizes[k - start] = size
    return sizes
