"""All that an update does to the parameters: a rule, penalties, bounds, a mean of iterates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastmlp import validation
from fastmlp.kernels import rules as kernel
from fastmlp.solvers.rules import SGD, Rule, resolve


@dataclass(frozen=True)
class Updates:
    """The settings of a solver's updates.

    Attributes
    ----------
    rule : Rule
    l1, l2 : float
        Strengths of the penalties.
    clip_value, clip_norm, max_norm : float
        Bounds, infinite where there is none.
    average_from : int or None
        How many updates are made before iterates are averaged.
    shares_penalty : bool
        Whether each update's penalty is divided by its batch's weight, as that of a sum of losses.
    """

    rule: Rule
    l1: float = 0.0
    l2: float = 0.0
    clip_value: float = math.inf
    clip_norm: float = math.inf
    max_norm: float = math.inf
    average_from: int | None = None
    shares_penalty: bool = False

    def require_range(self, dtype: np.dtype[Any]) -> None:
        """Raise ValueError where a penalty would be infinite in a dtype, or a bound 0."""
        for name in ("l1", "l2", "clip_value", "clip_norm", "max_norm"):
            value = getattr(self, name)
            with np.errstate(over="ignore", under="ignore"):
                rounded = dtype.type(value)
            too_large = np.isinf(rounded) and value < math.inf
            if too_large or (rounded == 0 and name not in ("l1", "l2")):
                raise ValueError(f"{name} is {value!r}, beyond the range of {dtype}")

    @property
    def is_plain(self) -> bool:
        """Whether an update is ``w <- w - step g`` and nothing more."""
        return self == Updates(SGD())

    def table(self, steps: np.ndarray, first: int, weights: Any = 1.0) -> np.ndarray:
        """Return the kernel's coefficients, a row for each update from number `first` (0, ...).

        `weights` are those of the updates' batches, where they share the penalty.
        """
        if self.is_plain:
            return steps.reshape(-1, 1)
        t = np.arange(first + 1, first + 1 + len(steps))
        table = np.zeros((len(steps), kernel.N_COEFFICIENTS))
        scale = steps if self.rule.moves_by_state else 1.0  # of the gradient
        table[:, kernel.STEP] = 1.0 if self.rule.moves_by_state else steps
        table[:, kernel.STEP] *= self.rule.step_factors(t)
        table[:, kernel.L1], table[:, kernel.L2] = self.l1, self.l2
        table[:, kernel.L1 : kernel.L2 + 1] *= np.reshape(scale / weights, (-1, 1))
        clip = self.clip_value
        table[:, kernel.CLIP] = scale * clip if clip < math.inf else clip
        table[:, kernel.CLIP_NORM] = self.clip_norm
        table[:, kernel.FACTOR] = scale
        table[:, kernel.DECAY] = 1 - steps * getattr(self.rule, "weight_decay", 0.0)
        table[:, kernel.MAX_NORM] = self.max_norm
        if self.average_from is not None:
            averaged = t - self.average_from
            table[:, kernel.AVERAGE] = (averaged > 0) / np.maximum(averaged, 1)
        for k, values in enumerate(self.rule.coefficients(t)):
            table[:, kernel.OWN + k] = values
        return table


def updates(
    rule: Any, l1: Any, l2: Any, clip_value: Any, clip_norm: Any, max_norm: Any, average: Any
) -> Updates:
    """Return the checked settings of updates, from a solver's arguments."""
    if clip_value is not None and clip_norm is not None:
        raise ValueError(
            f"clip_value and clip_norm exclude each other; got {clip_value!r} and {clip_norm!r}"
        )
    return Updates(
        resolve(rule),
        validation.not_negative("l1", l1),
        validation.not_negative("l2", l2),
        _bound("clip_value", clip_value),
        _bound("clip_norm", clip_norm),
        _bound("max_norm", max_norm),
        _average_from(average),
    )


def _bound(name: str, value: Any) -> float:
    if value is None:
        return math.inf
    bound = validation.not_negative(name, value)
    if bound == 0:
        raise ValueError(f"{name} must be above 0, or None; got {value!r}")
    return bound


def _average_from(average: Any) -> int | None:
    if isinstance(average, (bool, np.bool_)):
        return 0 if average else None
    return min(validation.count("average", average, least=0), 2**62)
