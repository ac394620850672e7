"""What does the updates of a stochastic solver: one sample at a time, or a batch at a time.

Both do a run of updates in compiled code, in place, and come back before long, so that Python can
show progress and hear Ctrl-C.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from fastmlp.kernels import batch, sample, updates
from fastmlp.kernels.tile import ROWS
from fastmlp.threads import workers
from fastmlp.workspace import Workspace, block_rows, flops, parameter_buffer

if TYPE_CHECKING:
    from fastmlp.network import Network

# Bundles the samples of an index for the kernels.
DataOf = Callable[[np.ndarray], batch.Data]

# Compiled code should come back after about this many seconds ...
RUN_SECONDS = 0.1
# ... and a batch that takes longer than this is done in several parts, which is a little slower.
LONGEST_SECONDS = 0.4
# Before anything is measured: flops per second, and seconds of overhead for each sample.
GUESSED_SPEED, GUESSED_OVERHEAD = 150e9, 2e-7
MOST_ENTRIES = 2**16


class Trainer:
    """Parameters on their way, and how fast they go.

    Attributes
    ----------
    parameters : ndarray of shape (n_params,)
    done : ndarray of shape (1,)
        Updates made; exact even where Ctrl-C interrupts.
    """

    def __init__(self, net: Network, w: np.ndarray, batch_size: int) -> None:
        self.net = net
        self.batch_size = batch_size
        self.buffer = parameter_buffer(w, net.dtype)
        self.parameters = self.buffer[: net.n_params]
        self.done = np.zeros(1, np.int64)
        self.seconds_per_sample = flops(net) / GUESSED_SPEED + GUESSED_OVERHEAD

    def entries_at_once(self) -> int:
        """Return how many samples, in whole batches, to do before coming back to Python."""
        samples = min(RUN_SECONDS / self.seconds_per_sample, MOST_ENTRIES)
        return max(1, int(samples / self.batch_size)) * self.batch_size

    def _timed(self, n_samples: int, began: float) -> None:
        self.seconds_per_sample = max((time.perf_counter() - began) / n_samples, 1e-9)


class SampleTrainer(Trainer):
    """Updates by one sample after the other."""

    def __init__(self, net: Network, w: np.ndarray) -> None:
        super().__init__(net, w, batch_size=1)
        self.workspace = Workspace(net, 1, self.buffer, "gradient")

    def advance(
        self, data_of: DataOf, index: np.ndarray, steps: np.ndarray, total: np.ndarray
    ) -> None:
        """Do the samples of `index`; add to total[0] each loss, as it was before its update."""
        data = data_of(index)
        began = time.perf_counter()
        sample.sgd(self.workspace.model, data, steps, total, self.done)
        self._timed(len(steps), began)


class BatchTrainer(Trainer):
    """Updates by mini-batches, the update done on the gradient's tiles while they are in cache.

    A batch too large for the workspace, or too slow for Ctrl-C to wait for, is done in blocks of
    rows whose gradients add up in a buffer: same sums in the same order, so the same bits.
    """

    def __init__(self, net: Network, w: np.ndarray, batch_size: int, mean: bool) -> None:
        super().__init__(net, w, batch_size)
        self.mean = mean
        one = np.zeros(1, net.dtype)
        updates.descend(one, one, 0.0, 1, np.zeros(1, np.int64))  # compiled with the rest
        self.workspace = Workspace(net, min(batch_size, block_rows(net)), self.buffer, "gradient")

    def advance(
        self, data_of: DataOf, index: np.ndarray, steps: np.ndarray, total: np.ndarray
    ) -> None:
        """Do the samples of `index`; add to total[0] each loss, as it was before its update."""
        n = len(index)
        slow = self.seconds_per_sample * self.batch_size > LONGEST_SECONDS
        if slow or self.batch_size > self.workspace.n_rows:
            for k, step in enumerate(steps):
                rows = index[k * self.batch_size : (k + 1) * self.batch_size]
                self._step_in_blocks(data_of, rows, step, total)
                if not np.isfinite(total[0]):
                    return
            return
        data = data_of(index)
        with workers() as n_workers:
            schedule = self.workspace.schedule(self.batch_size, n_workers)
            began = time.perf_counter()
            batch.run(
                self.workspace.model, data, schedule, 0, n, self.batch_size, batch.UPDATE,
                0.0 if self.mean else 1.0, steps, total, self.done,
            )  # fmt: skip
        self._timed(n, began)

    def _step_in_blocks(
        self, data_of: DataOf, index: np.ndarray, step: float, total: np.ndarray
    ) -> None:
        """Do one update from the samples of `index`; add their losses to total[0]."""
        model = self.workspace.model
        if model.gradient.size == 0:
            model = model._replace(gradient=np.empty(self.net.n_params, self.net.dtype))
            self.workspace.model = model
        scale = 1 / len(index) if self.mean else 1.0
        no_step, uncounted = np.zeros(1), np.zeros(1, np.int64)
        first, mode = 0, batch.WRITE
        while first < len(index):
            rows = max(ROWS, int(RUN_SECONDS / self.seconds_per_sample))
            rows = min(rows, self.workspace.n_rows, len(index) - first)
            data = data_of(index[first : first + rows])
            with workers() as n_workers:
                schedule = self.workspace.schedule(rows, n_workers)
                began = time.perf_counter()
                batch.run(
                    model, data, schedule, 0, rows, rows, mode, scale,
                    no_step, total, uncounted,
                )  # fmt: skip
            self._timed(rows, began)
            first, mode = first + rows, batch.ACCUMULATE
            del data  # before the next block is converted
        if np.isfinite(total[0]):
            with workers() as n_workers:
                updates.descend(self.parameters, model.gradient, float(step), n_workers, self.done)
