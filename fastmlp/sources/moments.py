"""Statistics of columns, in one pass over their rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastmlp import validation
from fastmlp.sources.base import Source, read

BLOCK_NUMBERS = 2**16


@dataclass(frozen=True, eq=False)
class Statistics:
    """Statistics of the columns of a table.

    Attributes
    ----------
    n : int
        How many rows there are.
    mean : ndarray of shape (n_columns,), float64
    deviation : ndarray of shape (n_columns,), float64
        The population's standard deviation, ``sqrt(sum_i (x_i - mean)^2 / n)``. Of a column of one
        number only it is 0, and the mean is that number, exactly.
    least, greatest : ndarray of shape (n_columns,), float64
    """

    n: int
    mean: np.ndarray
    deviation: np.ndarray
    least: np.ndarray
    greatest: np.ndarray


def statistics(X: Any) -> Statistics:
    """Return means, deviations, least and greatest numbers of the columns, from one pass.

    Parameters
    ----------
    X : {array-like, sparse matrix, Source} of shape (n_rows, n_columns)
        Read in blocks of about half a megabyte; not copied. What a sparse matrix does not store
        counts as 0.

    Returns
    -------
    Statistics

    Raises
    ------
    ValueError
        For no rows, for NaN and infinity, and for numbers whose squares are beyond float64.

    Notes
    -----
    Computed in float64, by differences to the first row, so that a large common offset costs no
    digits. A block has as many rows as make 65536 numbers (at least one), and its sums are folded
    in halves: the bits depend on the numbers and their number alone, not on how they are stored nor
    on the CPU.

    References
    ----------
    Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
    variances", 1979.

    Examples
    --------
    >>> import numpy as np
    >>> import fastmlp as fm
    >>> found = fm.sources.statistics(np.array([[1, 1e9], [2, 1e9 + 1], [3, 1e9 + 2]]))
    >>> found.mean.tolist()
    [2.0, 1000000001.0]
    >>> found.deviation.round(4).tolist()
    [0.8165, 0.8165]
    >>> found.n, found.least.tolist(), found.greatest.tolist()
    (3, [1.0, 1000000000.0], [3.0, 1000000002.0])
    """
    X = validation.table(X)
    n_rows, n_columns = X.shape
    size = min(n_rows, max(1, BLOCK_NUMBERS // max(1, n_columns)))
    block, scratch = np.empty((size, n_columns)), np.empty(((size + 1) // 2, n_columns))
    first = np.empty((1, n_columns))
    read(X, slice(0, 1), first)
    least, greatest = np.full(n_columns, np.inf), np.full(n_columns, -np.inf)
    parts: list[_Part] = []
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, n_rows, size):
            stop = min(start + size, n_rows)
            rows = block[: stop - start]
            read(X, slice(start, stop), rows)
            # No rounding, so in any order; NaN is passed on.
            np.minimum(least, np.minimum.reduce(rows, axis=0), out=least)
            np.maximum(greatest, np.maximum.reduce(rows, axis=0), out=greatest)
            if not (np.isfinite(least).all() and np.isfinite(greatest).all()):
                break
            rows -= first
            parts.append(_part(rows, scratch))
            # As a binary counter: parts are joined with those of as many blocks.
            n_blocks = start // size + 1
            while n_blocks % 2 == 0:
                last = parts.pop()
                parts[-1] = parts[-1].joined(last)
                n_blocks //= 2
        if not (np.isfinite(least).all() and np.isfinite(greatest).all()):
            _raise_where(X)
        whole = parts.pop()
        while parts:
            whole = parts.pop().joined(whole)
        mean = np.clip(first[0] + whole.mean, least, greatest)
        deviation = np.sqrt(whole.squares / n_rows)
    if not np.isfinite(deviation).all():
        column = int(np.isfinite(deviation).argmin())
        raise ValueError(
            f"X[:, {column}] has numbers between {least[column]} and {greatest[column]}, whose "
            "squares are beyond the range of float64"
        )
    # Which of 0.0 and -0.0 is less is up to the CPU.
    return Statistics(n_rows, mean + 0.0, deviation, least + 0.0, greatest + 0.0)


@dataclass(frozen=True, eq=False)
class _Part:
    """How many rows, the columns' means, and sums of squared differences to them."""

    n: int
    mean: np.ndarray
    squares: np.ndarray

    def joined(self, other: _Part) -> _Part:
        """Return the part that both are."""
        n, difference = self.n + other.n, other.mean - self.mean
        mean = self.mean + difference * (other.n / n)
        squares = self.squares + other.squares + difference**2 * (self.n * other.n / n)
        return _Part(n, mean, squares)


def _part(rows: np.ndarray, scratch: np.ndarray) -> _Part:
    """Return what these rows are, which are overwritten."""
    n = len(rows)
    mean = _sums(rows, scratch) / n
    rows -= mean
    rest = _sums(rows, scratch)  # what the mean's rounding has left
    np.multiply(rows, rows, out=rows)
    squares = _sums(rows, scratch) - rest * (rest / n)
    return _Part(n, mean + rest / n, np.maximum(squares, 0.0))


def _sums(rows: np.ndarray, scratch: np.ndarray) -> np.ndarray:
    """Return the sums of the columns (n_columns,).

    The lower half of the rows is added to the upper one until one row is left. Each addition is one
    of elements: `np.sum` chooses its order by shape, strides and the CPU.
    """
    n = len(rows)
    while n > 1:
        half = n // 2
        upper = scratch[: n - half]
        np.add(rows[:half], rows[n - half : n], out=upper[:half])
        if n % 2:
            upper[half] = rows[half]
        rows, n = upper, n - half
    sums: np.ndarray = rows[0].copy()
    return sums


def _raise_where(X: Any) -> None:
    """Raise the error about a number that is not finite."""
    dtype = np.dtype(np.float64)
    if isinstance(X, Source):
        X.require_finite(dtype)
    else:
        validation.require_finite("X", X, dtype)
    raise ValueError("X must be finite; it has changed since it was read")
