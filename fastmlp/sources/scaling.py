"""Rows that are shifted and scaled as they are read."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastmlp import validation
from fastmlp.sources.base import Rows, Source, Wrapped, read

BLOCK_NUMBERS = 2**18
# Of integers whose difference to a float32 has all their digits.
FEW_BITS = 16


def scaled(X: Any, shift: Any, factor: Any) -> Source:
    """Return ``(X - shift) * factor``, computed as it is read, a block of rows at a time.

    Parameters
    ----------
    X : {array-like, sparse matrix, Source} of shape (n_rows, n_columns)
        Not copied: do not change it while the result is in use.
    shift, factor : array-like of shape (n_columns,)

    Returns
    -------
    Source
        With dtype float64 where X is float64, of integers of more than 16 bits, or where float32
        cannot hold the shifts and factors, else float32. That is also what it is computed in: each
        number from its own, and its column's shift and factor, alone. Names, y and the rest are
        those of X. To read what is beyond the range of the buffer's dtype raises ValueError.

    Raises
    ------
    ValueError
        For shapes that do not fit, and for NaN or infinity in shift and factor.

    Examples
    --------
    >>> import numpy as np
    >>> import fastmlp as fm
    >>> X = np.array([[0, 50], [10, 70], [20, 90]], np.uint8)
    >>> found = fm.sources.statistics(X)
    >>> Z = fm.sources.scaled(X, found.least, 1 / (found.greatest - found.least))
    >>> Z[:]
    array([[0. , 0. ],
           [0.5, 0.5],
           [1. , 1. ]], dtype=float32)
    """
    X = validation.table(X)
    n_columns = X.shape[1]
    return Scaled(
        X,
        validation.columns("shift", shift, n_columns),
        validation.columns("factor", factor, n_columns),
    )


class Scaled(Wrapped):
    """What `scaled` returns.

    Parameters
    ----------
    X : ndarray, SparseRows or Source of shape (n_rows, n_columns)
    shift, factor : ndarray of shape (n_columns,), float64
        Finite.
    """

    def __init__(self, X: Any, shift: np.ndarray, factor: np.ndarray) -> None:
        super().__init__(X)
        is_narrow = _is_narrow(self.dtype) and _fits_float32(shift) and _fits_float32(factor)
        self.dtype = np.dtype(np.float32 if is_narrow else np.float64)
        self.shift, self.factor = shift.astype(self.dtype), factor.astype(self.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            largest = (self.greatest + np.abs(shift)) * np.abs(factor)
        self.greatest = float(largest.max() * (1 + 4 * np.finfo(self.dtype).eps))

    def read(self, rows: Rows, out: np.ndarray) -> None:
        """Write rows into a buffer; parameters are those of `Source.read`."""
        n, in_place = len(out), out.dtype == self.dtype
        size = max(1, BLOCK_NUMBERS // max(1, out.shape[1]))
        # Of this call: others may be reading at the same time.
        scratch = None if in_place else np.empty((min(size, n), out.shape[1]), self.dtype)
        for start in range(0, n, size):
            stop = min(start + size, n)
            some = _part(rows, start, stop)
            block = out[start:stop] if scratch is None else scratch[: stop - start]
            read(self.X, some, block)
            try:
                with np.errstate(over="raise", under="ignore", invalid="ignore"):
                    np.subtract(block, self.shift, out=block)
                    np.multiply(block, self.factor, out=block)
                    if scratch is not None:
                        out[start:stop] = block
            except FloatingPointError:
                raise self._beyond(some, out.dtype) from None

    def _beyond(self, rows: Rows, dtype: np.dtype[Any]) -> ValueError:
        """Return the error about rows of which one has a number beyond a dtype's range."""
        numbers = np.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows
        raw = np.empty((len(numbers), self.shape[1]), self.dtype)
        read(self.X, rows, raw)
        with np.errstate(all="ignore"):
            values = (raw - self.shift) * self.factor
            if dtype.kind == "f":
                values = values.astype(dtype)
        row, column = np.argwhere(~np.isfinite(values) & np.isfinite(raw))[0]
        place = f"X[{numbers[row]}, {column}]"
        if isinstance(self.X, Source):
            place = f"X, {self.where(int(numbers[row]))}, column {column}"
        return ValueError(
            f"{place} is {raw[row, column]}, which scaled is beyond the range of {dtype}"
        )


def _part(rows: Rows, start: int, stop: int) -> Rows:
    """Return the rows from one place among them to another."""
    if isinstance(rows, slice):
        return slice(rows.start + start, rows.start + stop)
    return rows[start:stop]


def _is_narrow(dtype: np.dtype[Any]) -> bool:
    """Return whether float32 holds all numbers of a dtype, and their differences well enough."""
    if dtype.kind == "f":
        return dtype.itemsize <= np.dtype(np.float32).itemsize
    return 8 * dtype.itemsize <= FEW_BITS


def _fits_float32(numbers: np.ndarray) -> bool:
    """Return whether all are 0 or normal numbers of float32."""
    sizes, limits = np.abs(numbers), np.finfo(np.float32)
    fit = (sizes == 0) | ((sizes >= limits.smallest_normal) & (sizes <= limits.max))
    return bool(fit.all())
