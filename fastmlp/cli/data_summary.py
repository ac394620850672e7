"""What a file of rows holds, as plain values."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp.cli import data

if TYPE_CHECKING:
    from fastmlp.sources import FileSource

MOST_LABELS = 20


def summary(source: FileSource, n_first: int, with_statistics: bool) -> dict[str, Any]:
    """Return what rows look like, the first ones among them."""
    names, y = data.names_of(source), source.y
    first = source[:n_first]
    held: dict[str, Any] = {
        "rows": len(source),
        "rows_with_missing": source.n_dropped,
        "columns": source.shape[1],
        "dtype": str(source.dtype),
        "names": names,
        "target": None if y is None else _target(y),
        "first_rows": [dict(zip(names, row, strict=True)) for row in first.tolist()],
    }
    if y is not None:
        for row, value in zip(held["first_rows"], y.tolist(), strict=False):
            row["target"] = value
    if with_statistics:
        held["statistics"] = dict(zip(names, _statistics(source), strict=True))
    return held


def _target(y: np.ndarray) -> dict[str, Any]:
    """Return what targets are: how many rows have each, where they are few, else their range."""
    held: dict[str, Any] = {"dtype": str(y.dtype)}
    values, counts = np.unique(y, return_counts=True)
    held["distinct"] = len(values)
    if len(values) <= MOST_LABELS:
        held["counts"] = Counter(dict(zip(map(str, values.tolist()), counts.tolist(), strict=True)))
    elif y.dtype.kind != "U":
        held |= {
            "least": values[0].item(),
            "greatest": values[-1].item(),
            "mean": float(y.mean(dtype=np.float64)),
        }
    return held


def _statistics(source: FileSource) -> list[dict[str, float]]:
    """Return mean, deviation and range of each column, by blocks: Chan, Golub and LeVeque, 1979."""
    n, mean, squares = 0, np.zeros(source.shape[1]), np.zeros(source.shape[1])
    least, greatest = np.full(source.shape[1], np.inf), np.full(source.shape[1], -np.inf)
    for _, X in data.blocks(source, "reading"):
        block = X.astype(np.float64)
        of_block = block.mean(axis=0)
        shift, total = of_block - mean, n + len(block)
        squares += ((block - of_block) ** 2).sum(axis=0) + shift**2 * (n * len(block) / total)
        mean += shift * (len(block) / total)
        n = total
        least = np.minimum(least, block.min(axis=0))
        greatest = np.maximum(greatest, block.max(axis=0))
    rows = np.column_stack([mean, np.sqrt(squares / n), least, greatest]).tolist()
    keys = ("mean", "deviation", "least", "greatest")
    return [dict(zip(keys, row, strict=True)) for row in rows]
