"""The samples that a stochastic solver trains on, as the kernels take them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastmlp.kernels import batch
from fastmlp.sources.base import Source
from fastmlp.sources.read_ahead import ReadAhead
from fastmlp.sparse import Features, is_ready
from fastmlp.workspace import block_rows, samples

if TYPE_CHECKING:
    from fastmlp.network import Network
    from fastmlp.solvers.orders import Order

# X of another dtype or layout is converted, and a source read, in runs of about so many bytes, or
# one batch.
CONVERTED_BYTES = 4 * 2**20


class Samples:
    """The samples that a solver trains on, as the kernels take them.

    Parameters
    ----------
    net : Network
    X : ndarray, SparseRows or Source
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
        self._ahead: ReadAhead | None = None

    def __len__(self) -> int:
        return len(self.X) if self.rows is None else len(self.rows)

    def epoch(self, order: Order, batch_size: int, place: int) -> Epoch:
        """Return the samples of an epoch that has begun, from a place in its order on."""
        n_run, n_block = self._run_lengths(batch_size)
        if not isinstance(self.X, Source):
            return Epoch(self, order, n_run, place)
        if self._ahead is None:
            self._ahead = ReadAhead(self.X, self.net.dtype, n_block)
        return SourceEpoch(self, order, n_run, place, self._ahead, n_block)

    def _run_lengths(self, batch_size: int) -> tuple[int, int]:
        """Return how many samples to take from the order, and to convert or read, at once."""
        if is_ready(self.X, self.net.dtype):
            return len(self), len(self)
        row_bytes = self.net.widths[0] * self.net.dtype.itemsize
        # No less than the trainer may take of a batch that is done in blocks.
        n_block = max(CONVERTED_BYTES // row_bytes, min(batch_size, block_rows(self.net)))
        n_run = max(1, n_block // batch_size) * batch_size  # whole batches
        return n_run, min(n_block, n_run)

    def index(self, places: np.ndarray) -> np.ndarray:
        """Return which rows of X are at these places among those to train on."""
        return places if self.rows is None else self.rows[places]

    def data(self, index: np.ndarray, X: np.ndarray | None = None) -> batch.Data:
        """Bundle these rows for the kernels, converted where need be, or as they are given."""
        y, y_index, weights = self.y, index, self.weights
        if X is not None:
            x_index = np.arange(len(index))
        elif is_ready(self.X, self.net.dtype):
            X, x_index = self.X, index
        else:
            X = np.ascontiguousarray(self.X[index], self.net.dtype)
            x_index = np.arange(len(index))
        if self.converts_y:
            y, y_index = np.ascontiguousarray(y[index], self.y_dtype), np.arange(len(index))
            weights = None if weights is None else weights[index]
        return samples(self.net, X, y, x_index, y_index, weights)


class Part:
    """Some samples, one after the other in the order of an epoch.

    Parameters
    ----------
    samples : Samples
    index : ndarray of shape (n,)
        Which rows of X.

    Attributes
    ----------
    index
    """

    def __init__(self, samples: Samples, index: np.ndarray) -> None:
        self._samples, self.index = samples, index

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, places: slice) -> Part:
        """Return those at consecutive places."""
        return Part(self._samples, self.index[places])

    def data(self) -> batch.Data:
        """Bundle the rows for the kernels."""
        return self._samples.data(self.index)


class Epoch:
    """The samples of an epoch, taken in the order's sequence.

    Parameters
    ----------
    samples : Samples
    order : Order
        Of which an epoch has begun.
    n_run : int
        The most samples to take at once: a multiple of the batch's size.
    place : int
        Where to begin.
    """

    def __init__(self, samples: Samples, order: Order, n_run: int, place: int) -> None:
        self.samples, self.order, self.n_run = samples, order, n_run
        order.skip(place)

    def end(self, start: int) -> int:
        """Return up to which place samples may be taken from `start` on."""
        return min(start + self.n_run, len(self.samples))

    def take(self, start: int, stop: int) -> Part:
        """Return the samples at places start .. stop - 1, to be called in sequence."""
        return Part(self.samples, self.samples.index(self.order.take(start, stop)))


class SourceEpoch(Epoch):
    """The samples of an epoch, read from a source in runs: the next one while one is in use.

    A run that is longer than a buffer, as its one batch is, is read in blocks.

    Parameters
    ----------
    samples, order, n_run, place
        As in `Epoch`.
    ahead : ReadAhead
    n_block : int
        The most rows that it takes.
    """

    def __init__(
        self,
        samples: Samples,
        order: Order,
        n_run: int,
        place: int,
        ahead: ReadAhead,
        n_block: int,
    ) -> None:
        super().__init__(samples, order, n_run, place)
        self.ahead, self.n_block = ahead, n_block
        self._run = slice(place, place)
        self._next = self._taken(place)
        self._begin_next()

    def _taken(self, start: int) -> np.ndarray:
        """Return which rows of X the run from a place on has."""
        places = self.order.take(start, min(start + self.n_run, len(self.samples)))
        return self.samples.index(places)

    def _begin_next(self) -> None:
        """Have the next run, and let the one after it be read."""
        self._index = self._next
        self._run = slice(self._run.stop, self._run.stop + len(self._index))
        is_whole = len(self._index) <= self.n_block
        self._rows = self.ahead.rows(self._index) if is_whole else None
        if self._run.stop < len(self.samples):
            self._next = self._taken(self._run.stop)
            if is_whole:
                self.ahead.expect(self._next[: self.n_block])

    def end(self, start: int) -> int:
        """Return up to which place samples may be taken from `start` on."""
        if start == self._run.stop:
            self._begin_next()
        return self._run.stop

    def take(self, start: int, stop: int) -> Part:
        """Return the samples at places start .. stop - 1, of one run."""
        places = slice(start - self._run.start, stop - self._run.start)
        return SourcePart(self, self._index, self._rows, places)


class SourcePart(Part):
    """Some samples of a run.

    Parameters
    ----------
    epoch : SourceEpoch
    run : ndarray of shape (n_run,)
        Which rows of X the run has.
    rows : ndarray of shape (n_run, n_0) or None
        They, where they are read.
    places : slice
        In the run.
    """

    def __init__(
        self, epoch: SourceEpoch, run: np.ndarray, rows: np.ndarray | None, places: slice
    ) -> None:
        super().__init__(epoch.samples, run[places])
        self._epoch, self._run, self._rows, self._places = epoch, run, rows, places

    def __getitem__(self, places: slice) -> Part:
        """Return those at consecutive places."""
        start, stop, _ = places.indices(len(self))
        first = self._places.start
        within = slice(first + start, first + stop)
        return SourcePart(self._epoch, self._run, self._rows, within)

    def data(self) -> batch.Data:
        """Bundle the rows for the kernels; of a run not read yet, have the next ones read."""
        if self._rows is not None or not len(self):
            rows = np.empty((0, self._samples.net.widths[0]), self._samples.net.dtype)
            return self._samples.data(
                self.index, rows if self._rows is None else self._rows[self._places]
            )
        n, stop = len(self), self._places.stop
        rows = self._epoch.ahead.rows(self.index)
        following = self._run[stop : stop + n]
        if len(following):
            self._epoch.ahead.expect(following)
        return self._samples.data(self.index, rows)
