"""Some rows of a table, read from where they are."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastmlp.sources.base import Rows, Wrapped, read


class Subset(Wrapped):
    """Some rows of a table.

    Parameters
    ----------
    X : ndarray, SparseRows or Source of shape (n_rows, n_columns)
        Not copied.
    rows : ndarray of shape (n,) and dtype int64
        Which, in which order.
    """

    def __init__(self, X: Any, rows: np.ndarray) -> None:
        super().__init__(X)
        self.rows, self.shape = rows, (len(rows), X.shape[1])
        self.y = None if self.y is None else self.y[rows]

    def read(self, rows: Rows, out: np.ndarray) -> None:
        """Write rows into a buffer; parameters are those of `Source.read`."""
        read(self.X, self.rows[rows], out)

    def where(self, row: int) -> str:
        """Return where a row comes from, in words."""
        return super().where(int(self.rows[row]))
