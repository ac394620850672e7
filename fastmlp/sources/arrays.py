"""Arrays in memory as tables."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fastmlp.sources.base import Rows
from fastmlp.sources.tables import READ_BYTES, Table


class ArrayTable(Table):
    """The rows of an array (n_rows, n_columns).

    Parameters
    ----------
    array : ndarray
        Not copied.
    name : str
        What to call it.
    columns : ndarray of int
        Those of X, in their order.
    target : int or None
    """

    has_random_access = True

    def __init__(
        self, array: np.ndarray, name: str, columns: np.ndarray, target: int | None = None
    ) -> None:
        self._array, self._name, self._target = array, name, target
        self._columns = columns
        self._is_whole = np.array_equal(columns, np.arange(array.shape[1]))
        self.n_rows, self.width, self.dtype = len(array), len(columns), array.dtype

    def read(self, rows: Rows, out: np.ndarray) -> None:
        """Write rows into out (n, width), converted to its dtype."""
        out[...] = self._array[rows] if self._is_whole else self._array[rows][:, self._columns]

    def chunks(self) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Yield X and the targets of all rows in sequence."""
        n_chunk = max(1, READ_BYTES // max(1, self._array[:1].nbytes))
        for start in range(0, self.n_rows, n_chunk):
            rows = self._array[start : start + n_chunk]
            y = None if self._target is None else rows[:, self._target]
            yield rows if self._is_whole else rows[:, self._columns], y

    def where(self, row: int) -> str:
        """Return the array and the row, in words."""
        return f"{self._name}, row {row}"

    def close(self) -> None:
        """Do nothing."""
