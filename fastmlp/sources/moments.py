"""Statistics of columns, in one pass over their rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastmlp import validation
from fastmlp.sources.base import read
from fastmlp.sources.subset import Subset

BLOCK_NUMBERS = 2**16


@dataclass(frozen=True, eq=False)
class Statistics:
    """Statistics of the columns of a table.

    Attributes
    ----------
    n : int
        How many rows there are, of a weight that is not 0.
    mean : ndarray of shape (n_columns,), float64
    deviation : ndarray of shape (n_columns,), float64
        The population's standard deviation, ``sqrt(sum_i s_i (x_i - mean)^2 / sum_i s_i)`` with the
        rows' weights s_i. Of a column of one number only it is 0, and the mean is that number,
        exactly.
    least, greatest : ndarray of shape (n_columns,), float64
    """

    n: int
    mean: np.ndarray
    deviation: np.ndarray
    least: np.ndarray
    greatest: np.ndarray


def statistics(X: Any, sample_weight: Any = None) -> Statistics:
    """Return means, deviations, least and greatest numbers of the columns, from one pass.

    Parameters
    ----------
    X : {array-like, sparse matrix, Source} of shape (n_rows, n_columns)
        Read in blocks of about half a megabyte; not copied. What a sparse matrix does not store
        counts as 0.
    sample_weight : array-like of shape (n_rows,), optional
        Not negative, not all 0. Weight 0 equals leaving the row out; least and greatest numbers do
        not depend on the others.

    Returns
    -------
    Statistics

    Raises
    ------
    ValueError
        For no rows, weights that do not fit, NaN and infinity, and for numbers whose squares are
        beyond float64.

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
    weights = None
    if sample_weight is not None:
        X, weights = _weighted(X, sample_weight)
    n_rows, n_columns = X.shape
    size = min(n_rows, max(1, BLOCK_NUMBERS // max(1, n_columns)))
    block, adder = np.empty((size, n_columns)), _Adder(size, n_columns, weights)
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
            parts.append(_part(rows, adder.of(start, stop)))
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
        deviation = np.sqrt(whole.squares / whole.weight)
    if not np.isfinite(deviation).all():
        column = int(np.isfinite(deviation).argmin())
        raise ValueError(
            f"X[:, {column}] has numbers between {least[column]} and {greatest[column]}, whose "
            "squares are beyond the range of float64"
        )
    # Which of 0.0 and -0.0 is less is up to the CPU.
    return Statistics(n_rows, mean + 0.0, deviation, least + 0.0, greatest + 0.0)


def _weighted(X: Any, sample_weight: Any) -> tuple[Any, np.ndarray]:
    """Return the rows that count, and their weights, the largest in [0.5, 1)."""
    n_rows = X.shape[0]
    weights = validation.weights("sample_weight", sample_weight, n_rows, np.dtype(np.float64))
    weights = np.ldexp(weights, -np.frexp(weights.max())[1])
    counted = np.flatnonzero(weights)
    return (X if len(counted) == n_rows else Subset(X, counted)), weights[counted]


@dataclass(frozen=True, eq=False)
class _Part:
    """The weight of rows, the columns' means, and sums of squared differences to them."""

    weight: float
    mean: np.ndarray
    squares: np.ndarray

    def joined(self, other: _Part) -> _Part:
        """Return the part that both are."""
        weight, difference = self.weight + other.weight, other.mean - self.mean
        mean = self.mean + difference * (other.weight / weight)
        between = difference**2 * (self.weight * (other.weight / weight))
        return _Part(weight, mean, self.squares + other.squares + between)


def _part(rows: np.ndarray, adder: _Adder) -> _Part:
    """Return what these rows are, which are overwritten."""
    weight = adder.weight()
    mean = adder.sums(rows) / weight
    rows -= mean
    rest = adder.sums(rows)  # what the mean's rounding has left
    np.multiply(rows, rows, out=rows)
    squares = adder.sums(rows) - rest * (rest / weight)
    return _Part(weight, mean + rest / weight, np.maximum(squares, 0.0))


class _Adder:
    """Sums of columns, and the memory for them.

    Parameters
    ----------
    n_rows, n_columns : int
        The most rows at a time.
    weights : ndarray of shape (n,) or None
        Of all rows.
    """

    def __init__(self, n_rows: int, n_columns: int, weights: np.ndarray | None) -> None:
        self._scratch = np.empty(((n_rows + 1) // 2, n_columns))
        self._all_weights = None if weights is None else weights.reshape(-1, 1)
        if weights is not None:
            self._weighted = np.empty((n_rows, n_columns))

    def of(self, start: int, stop: int) -> _Adder:
        """Return itself, for these rows from now on."""
        self._n = stop - start
        self._weights = None if self._all_weights is None else self._all_weights[start:stop]
        return self

    def weight(self) -> float:
        """Return the sum of the rows' weights."""
        if self._weights is None:
            return float(self._n)
        return float(_folded(self._weights, np.empty(((self._n + 1) // 2, 1)))[0])

    def sums(self, rows: np.ndarray) -> np.ndarray:
        """Return the weighted sums of the columns (n_columns,)."""
        if self._weights is not None:
            rows = np.multiply(rows, self._weights, out=self._weighted[: self._n])
        return _folded(rows, self._scratch)


def _folded(rows: np.ndarray, scratch: np.ndarray) -> np.ndarray:
    """Return the sum of the rows.

    Their lower half is added to the upper one until one row is left. Each addition is one of
    elements: `np.sum` chooses its order by shape, strides and the CPU.
    """
    n = len(rows)
    while n > 1:
        half = n // 2
        upper = scratch[: n - half]
        np.add(rows[:half], rows[n - half : n], out=upper[:half])
        if n % 2:
            upper[half] = rows[half]
        rows, n = upper, n - half
    folded: np.ndarray = rows[0].copy()
    return folded


def _raise_where(X: Any) -> None:
    """Raise the error about a number that is not finite."""
    validation.require_finite("X", X, np.dtype(np.float64))
    raise ValueError("X must be finite; it has changed since it was read")
