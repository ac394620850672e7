"""Looks at an objective, for those who study descent."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp import validation
from fastmlp.kernels.updates import dot

if TYPE_CHECKING:
    from fastmlp.objective import Objective


def directional_derivative(
    objective: Objective, w: Any, d: Any, *, numerically: bool = False
) -> float:
    """Return the derivative of E at w along d: the inner product of E's gradient with d.

    Parameters
    ----------
    objective : Objective
    w : array-like of shape (n_params,)
    d : array-like of shape (n_params,)
        Of any length; the derivative is proportional to it.
    numerically : bool, default=False
        Whether to take the central difference ``(E(w + h d) - E(w - h d)) / 2h`` instead of one
        pass of forward-mode differentiation: a check that knows values only. With the precision
        eps of the network's dtype, h d has about the length eps^(1/3) max(1, |w|) (the power of two
        nearest to the root), and the error is about eps^(2/3) |d| (|gradient| + E).

    Returns
    -------
    float

    Raises
    ------
    ValueError
        As `Objective.along`.
    """
    if not numerically:
        return objective.along(w, d).derivative(0.0)
    objective.net.require_derivatives()
    wide = np.array(validation.parameters(objective.net, w), np.float64)
    direction = np.array(validation.parameters(objective.net, d, "d"), np.float64)
    largest = float(np.abs(direction).max())
    if largest == 0:
        return 0.0
    direction /= largest  # squares neither overflow nor vanish
    length = math.sqrt(dot(direction, direction))
    eps = float(np.finfo(objective.net.dtype).eps)
    h = math.ldexp(1.0, round(math.log2(eps) / 3)) * max(1.0, math.sqrt(dot(wide, wide))) / length
    ahead, behind = objective.value(wide + h * direction), objective.value(wide - h * direction)
    return float((ahead - behind) / (2 * h) * largest)


def is_descent_direction(
    objective: Objective, w: Any, d: Any, *, numerically: bool = False
) -> bool:
    """Return whether E decreases from w along d, at first: whether its derivative is negative.

    Parameters
    ----------
    objective, w, d, numerically
        As in `directional_derivative`.

    Returns
    -------
    bool
    """
    return directional_derivative(objective, w, d, numerically=numerically) < 0
