"""Labels: the classes that a network tells apart, and those of its samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from fastmlp.network import Network

# The labels of a column of y, of losses that have such columns.
PAIRS = {"binary_cross_entropy": (0, 1), "hinge": (-1, 1), "perceptron": (-1, 1)}


def classes(net: Network) -> np.ndarray | None:
    """Return the labels, ascending, of which each sample may have one; None where it has none."""
    n_out = net.widths[-1]
    if net.loss_name == "cross_entropy":
        return np.arange(n_out)
    if n_out == 1 and net.loss_name in PAIRS:
        return np.array(PAIRS[net.loss_name])
    return None


def places(net: Network, y: np.ndarray) -> np.ndarray | None:
    """Return the place of each sample's label in `classes` (n,), for y as `validation.truth` gives.

    None where y holds probabilities or other targets.
    """
    known = classes(net)
    if known is None:
        return None
    if net.loss_name == "cross_entropy":
        return y.astype(np.int64) if y.ndim == 1 else None
    column = y[:, 0]
    is_last: np.ndarray = column == known[1]
    if not (is_last | (column == known[0])).all():
        return None
    return is_last.astype(np.int64)
