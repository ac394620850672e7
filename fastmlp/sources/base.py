"""Source: rows of a table that need not be in memory."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

# Which rows: consecutive ones, or some in any order.
Rows: TypeAlias = slice | np.ndarray
MEMORY_LIMIT = 2**30
# Without random access, consecutive rows of so many numbers are read together in a shuffled order,
# and so many such runs are shuffled together: 1 and 32 MiB of float32.
RUN_NUMBERS, BUFFER_RUNS = 2**18, 32


class Source(ABC):
    """Rows of a table of numbers, read a few at a time into a buffer.

    What `open` returns is one; so is every subclass that has `shape`, `dtype` and `read`. Wherever
    this library takes samples X, it takes a source.

    Attributes
    ----------
    shape : tuple of int
        (n_rows, n_columns).
    dtype : numpy.dtype
        Of the numbers as they are stored.
    has_random_access : bool
        Whether rows from anywhere take about as long as consecutive ones. Where not, a shuffled
        order takes blocks of rows in a random order and shuffles within a buffer of blocks: see
        `fastmlp.minibatch_sgd`.
    names : sequence of str or None
        Of the columns.
    y : ndarray of shape (n_rows,) or None
        The column of targets, where there is one: numbers, or labels.
    n_dropped : int
        Rows that were left out, as something is missing in them.
    memory_limit : int
        The most bytes for rows and buffers.
    in_memory : ndarray of shape (n_rows, n_columns) or None
        All rows, where they are in memory.
    greatest : float
        No number of the rows has a larger magnitude, nor is one NaN; infinity where that is not
        known: then all rows are read once, to see, wherever the source is passed to.

    Examples
    --------
    >>> import numpy as np
    >>> import fastmlp as fm
    >>> class Squares(fm.sources.Source):
    ...     shape, dtype, has_random_access = (10**9, 2), np.dtype("int64"), True
    ...
    ...     def read(self, rows, out):
    ...         numbers = np.r_[rows]
    ...         out[:, 0], out[:, 1] = numbers, numbers**2
    >>> Squares()[7:9]
    array([[ 7, 49],
           [ 8, 64]])
    """

    ndim = 2
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    has_random_access: bool = False
    names: Sequence[str] | None = None
    y: np.ndarray | None = None
    n_dropped: int = 0
    memory_limit: int = MEMORY_LIMIT
    in_memory: np.ndarray | None = None
    greatest: float = math.inf

    @abstractmethod
    def read(self, rows: Rows, out: np.ndarray) -> None:
        """Write rows into a buffer, converted to its dtype. Threads may call it at the same time.

        Parameters
        ----------
        rows : slice or ndarray of shape (n,) and dtype int64
            Rows from 0 to n_rows - 1; a slice has both ends, and no step.
        out : ndarray of shape (n, n_columns)
            Of any real dtype and any strides.
        """

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Rows) -> np.ndarray:
        """Return rows as an array, of the dtype they are stored in."""
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            if step != 1:
                raise ValueError(f"a slice of a source must have no step; got {rows}")
            rows = slice(start, max(start, stop))
            n = rows.stop - start
        else:
            rows = self._numbers(rows)
            n = len(rows)
        out = np.empty((n, self.shape[1]), self.dtype)
        self.read(rows, out)
        return out

    def _numbers(self, rows: Any) -> np.ndarray:
        """Return which rows an index of NumPy means, from 0 on."""
        index = np.asarray(rows)
        if index.size == 0 and index.ndim == 1:
            return np.empty(0, np.int64)
        if index.ndim != 1 or index.dtype.kind not in "iub":
            raise IndexError(f"rows must be a slice or a vector of integers; got {rows!r}")
        if index.dtype.kind == "b":
            if len(index) != len(self):
                raise IndexError(f"rows has {len(index)} truth values, the source {len(self)} rows")
            return np.flatnonzero(index)
        numbers = index.astype(np.int64, copy=False)
        for row in (numbers.min(), numbers.max()):
            if not -len(self) <= row < len(self):
                raise IndexError(f"there is no row {row} in a source of {len(self)} rows")
        return np.where(numbers < 0, numbers + len(self), numbers)

    def where(self, row: int) -> str:
        """Return where a row comes from, in words."""
        return f"row {row}"


class Wrapped(Source):
    """A table made of another one, of which it has what is not its own.

    Parameters
    ----------
    X : ndarray, SparseRows or Source of shape (n_rows, n_columns)
    """

    def __init__(self, X: Any) -> None:
        self.X, self.shape, self.dtype = X, X.shape, X.dtype
        self.has_random_access = getattr(X, "has_random_access", True)  # of what is in memory
        self.names, self.y = getattr(X, "names", None), getattr(X, "y", None)
        self.n_dropped = getattr(X, "n_dropped", 0)
        self.memory_limit = getattr(X, "memory_limit", MEMORY_LIMIT)
        self.greatest = getattr(X, "greatest", math.inf)

    def where(self, row: int) -> str:
        """Return where a row comes from, in words."""
        return self.X.where(row) if isinstance(self.X, Source) else super().where(row)


def read(X: Any, rows: Rows, out: np.ndarray) -> None:
    """Write rows into a buffer, as `Source.read`: of a source, or of what they are an index of."""
    if isinstance(X, Source):
        X.read(rows, out)
    else:
        out[...] = X[rows]
