"""Labels: the classes that a network tells apart, and those of its samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from fastmlp.network import Network

# The labels of a column of y, of losses that have such columns.
PAIRS = {"binary_cross_entropy": (0, 1), "hinge": (-1, 1), "perceptron": (-1, 1)}
# Labels that are looked up at a time.
BLOCK = 2**16


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


def known_places(
    y: np.ndarray, known: np.ndarray, where: Callable[[int], str], whose: str
) -> np.ndarray:
    """Return the place in `known` of each of the labels y (n,), in the smallest dtype.

    Parameters
    ----------
    y : ndarray of shape (n,)
    known : ndarray of shape (n_classes,)
        Ascending.
    where : callable
        Returns in words where a row comes from.
    whose : str
        Of an error: "the label 'x' is none that" these have.

    Raises
    ------
    ValueError
        For a label that is not known, naming it and the first row that has it.
    """
    if known.dtype.kind == "O":
        known = known.astype(str)
    found = np.empty(len(y), np.min_scalar_type(len(known)))
    for start in range(0, len(y), BLOCK):
        block = y[start : start + BLOCK]
        if "U" in (known.dtype.kind, block.dtype.kind):
            texts, block = known.astype(str), block.astype(str)
            order = texts.argsort()
            at = order[np.minimum(texts.searchsorted(block, sorter=order), len(known) - 1)]
            is_unknown = texts[at] != block
        else:
            at = np.minimum(known.searchsorted(block), len(known) - 1)
            is_unknown = known[at] != block
        if is_unknown.any():
            row = int(is_unknown.argmax())
            shown = ", ".join(repr(one) for one in known[:10].tolist())
            more = f" ... ({len(known)} in all)" if len(known) > 10 else ""
            raise ValueError(
                f"{where(start + row)}: the label {block[row].item()!r} is none that {whose}: "
                f"{shown}{more}"
            )
        found[start : start + BLOCK] = at
    return found
