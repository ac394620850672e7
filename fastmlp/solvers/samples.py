"""The samples that a stochastic solver trains on, as the kernels take them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastmlp.kernels import batch
from fastmlp.sparse import Features, is_ready
from fastmlp.workspace import samples

if TYPE_CHECKING:
    from fastmlp.network import Network

# X of another dtype or layout is converted in runs of about so many bytes, or one batch.
CONVERTED_BYTES = 4 * 2**20


class Samples:
    """The samples that a solver trains on, as the kernels take them.

    Parameters
    ----------
    net : Network
    X : ndarray or SparseRows
    y : ndarray
        Checked, of any dtype and layout; not copied.
    weights : ndarray of shape (n_samples,), optional
        Of the network's dtype.
    rows : ndarray of shape (n,), optional
        The samples to train on; by default all.
    """

    def __init__(
        self,
        net: Network,
        X: Features,
        y: np.ndarray,
        weights: np.ndarray | None,
        rows: np.ndarray | None,
    ) -> None:
        self.net, self.X, self.y, self.weights, self.rows = net, X, y, weights, rows
        self.y_dtype = np.dtype(np.int64) if y.ndim == 1 else net.dtype
        self.converts_y = not (y.dtype == self.y_dtype and y.flags.c_contiguous)

    def __len__(self) -> int:
        return len(self.X) if self.rows is None else len(self.rows)

    def most_entries(self, batch_size: int) -> int:
        """Return how many samples may be converted at once: whole batches of bounded memory."""
        if is_ready(self.X, self.net.dtype):
            return len(self)
        row_bytes = self.net.widths[0] * self.net.dtype.itemsize
        return max(1, CONVERTED_BYTES // row_bytes // batch_size) * batch_size

    def index(self, places: np.ndarray) -> np.ndarray:
        """Return which rows of X are at these places among those to train on."""
        return places if self.rows is None else self.rows[places]

    def data(self, index: np.ndarray) -> batch.Data:
        """Bundle these rows for the kernels, converted where need be."""
        y, y_index, weights = self.y, index, self.weights
        if is_ready(self.X, self.net.dtype):
            X, x_index = self.X, index
        else:
            X = np.ascontiguousarray(self.X[index], self.net.dtype)
            x_index = np.arange(len(index))
        if self.converts_y:
            y, y_index = np.ascontiguousarray(y[index], self.y_dtype), np.arange(len(index))
            weights = None if weights is None else weights[index]
        return samples(self.net, X, y, x_index, y_index, weights)
