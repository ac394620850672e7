"""Rows of sparse matrices, made dense a few at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias, TypeGuard

import numpy as np

from fastmlp.sources.base import Source
from fastmlp.sources.subset import Subset


class SparseRows:
    """The rows of a sparse matrix: indexed by a slice or by integers, they come out dense.

    So whoever converts X in bounded runs of rows need not know that it is sparse.

    Parameters
    ----------
    matrix : sparse matrix or array of shape (n_rows, n_columns)
        In CSR format its data are not copied.

    Attributes
    ----------
    matrix : the same in CSR format; itself if it has that already
    shape, dtype, ndim
        Of the matrix.
    """

    ndim = 2

    def __init__(self, matrix: Any) -> None:
        self.matrix = matrix.tocsr()
        self.shape: tuple[int, int] = self.matrix.shape
        self.dtype: np.dtype[Any] = self.matrix.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        dense: np.ndarray = self.matrix[rows].toarray()
        return dense

    def runs(self, n_stored: int) -> Iterator[tuple[int, Any]]:
        """Yield (first row, CSR matrix) of runs of rows with so many stored numbers, or one row.

        Columns ascend in each row, and none occurs twice.
        """
        ends, start = self.matrix.indptr, 0
        while start < len(self):
            most = min(int(ends[start]) + n_stored, int(ends[-1]))
            # Of the same dtype: searchsorted would copy all ends otherwise.
            stop = int(np.searchsorted(ends, ends.dtype.type(most), side="right")) - 1
            stop = max(stop, start + 1)
            run = self.matrix[start:stop]  # a copy
            run.sum_duplicates()
            yield start, run
            start = stop


Features: TypeAlias = np.ndarray | SparseRows | Source


def is_sparse(X: Any) -> bool:
    """Return whether X is a matrix or array of scipy.sparse, or the rows of one."""
    if isinstance(X, SparseRows):
        return True
    if not hasattr(X, "toarray"):  # nothing of SciPy's: it need not be imported
        return False
    from scipy.sparse import issparse

    return bool(issparse(X))


def rows(X: Any) -> SparseRows:
    """Return the rows of what `is_sparse`."""
    return X if isinstance(X, SparseRows) else SparseRows(X)


def by_rows(X: Any) -> Any:
    """Return the rows of what `is_sparse`, and anything else as it is."""
    return rows(X) if is_sparse(X) else X


def is_ready(X: Features, dtype: np.dtype[Any]) -> TypeGuard[np.ndarray]:
    """Return whether kernels can read X as it is: dense, of this dtype and in C order."""
    return isinstance(X, np.ndarray) and X.dtype == dtype and X.flags.c_contiguous


def take(X: Features, index: np.ndarray) -> Features:
    """Return a copy of some rows, which stay sparse if they are; of a source, where they are."""
    if isinstance(X, Source):
        return Subset(X, index)
    return SparseRows(X.matrix[index]) if isinstance(X, SparseRows) else X[index]


def as_given(X: Features) -> Any:
    """Return what users know X as: an array, a sparse matrix or a source."""
    return X.matrix if isinstance(X, SparseRows) else X


def has_random_access(X: Features) -> bool:
    """Return whether rows from anywhere take about as long as consecutive ones."""
    return not isinstance(X, Source) or X.has_random_access
