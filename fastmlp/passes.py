"""Passes over all samples, in blocks of rows of bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from fastmlp.kernels import batch
from fastmlp.kernels.steps import run
from fastmlp.sources.base import Source
from fastmlp.sources.read_ahead import ReadAhead
from fastmlp.sparse import Features, is_ready
from fastmlp.threads import workers
from fastmlp.workspace import (
    LINE_BYTES,
    Program,
    Workspace,
    blocks,
    pass_rows,
    program,
    row_stride,
    samples,
    writeable,
)

if TYPE_CHECKING:
    from fastmlp.network import Network

GATHER: Program = ((batch.GATHER, 0),)
# What `steps.run` takes where nothing is updated or counted.
_NO_STEP, _UNCOUNTED = np.zeros((1, 1)), np.zeros(1, np.int64)


class Passes:
    """Computes predictions, losses and gradients of samples, at whatever parameters.

    Parameters
    ----------
    net : Network
    X : ndarray, SparseRows or Source of shape (n_samples, n_0)
        Checked, of any dtype and layout: converted block by block where need be. Of a source, the
        next block is read meanwhile.
    y : ndarray of shape (n_samples,) or (n_samples, n_L), optional
        Checked, likewise.
    weights : ndarray of shape (n_samples,), optional
        Of the samples' losses, of the network's dtype.
    """

    def __init__(
        self,
        net: Network,
        X: Features,
        y: np.ndarray | None = None,
        weights: np.ndarray | None = None,
    ) -> None:
        self.net, self.X, self.y, self.weights = net, X, y, weights
        self.n_samples = len(X)
        self.n_rows = min(len(X), pass_rows(net))
        self._workspaces: dict[str, Workspace] = {}
        row_bytes = net.widths[0] * net.dtype.itemsize
        self._is_converted = not is_ready(X, net.dtype)
        self._ahead = ReadAhead(X, net.dtype, self.n_rows) if isinstance(X, Source) else None
        # Rows of an even number of cache lines would fall on few of the cache's sets.
        self._in_place: np.ndarray | None = None
        if is_ready(X, net.dtype) and row_bytes % (2 * LINE_BYTES):
            self._in_place = writeable(X).reshape(-1)

    def predict(self, w: np.ndarray, out: np.ndarray) -> None:
        """Write A_L (n_samples, n_L) into out."""
        workspace = self.workspace("predict")
        model = workspace.model._replace(w=self._flat(w))
        for start, stop in self.blocks():
            self.run(workspace, model, start, stop)
            out[start:stop] = workspace.predictions(stop - start)

    def loss(self, w: np.ndarray) -> float:
        """Return the sum of the weighted losses."""
        workspace, phases = self.workspace("gradient"), program(self.net, "loss")
        model = workspace.model._replace(w=self._flat(w))
        total = np.zeros(batch.N_TOTALS)
        for start, stop in self.blocks():
            self.run(workspace, model, start, stop, phases=phases, total=total)
        return float(total[0])

    def gradient(self, w: np.ndarray, scale: float, out: np.ndarray) -> float:
        """Write scale times the gradient of `loss` into out; return the loss."""
        workspace = self.workspace("gradient")
        model = workspace.model._replace(w=self._flat(w), gradient=out)
        total = np.zeros(batch.N_TOTALS)
        for start, stop in self.blocks():
            mode = batch.ACCUMULATE if start else batch.WRITE
            self.run(workspace, model, start, stop, mode=mode, scale=scale, total=total)
        return float(total[0])

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Yield (start, stop) of each block of rows."""
        return iter(blocks(self.n_samples, self.n_rows))

    def workspace(self, purpose: str) -> Workspace:
        """Return the workspace to "predict", or for losses and the "gradient"; one of each."""
        if purpose not in self._workspaces:
            self.allocate(purpose, np.empty(0, self.net.dtype))
        return self._workspaces[purpose]

    def allocate(self, purpose: str, w: np.ndarray, tangent: bool = False) -> Workspace:
        """Return a new workspace, kept for this purpose from now on."""
        workspace = Workspace(self.net, self.n_rows, w, purpose, tangent=tangent)
        self.use(purpose, workspace)
        return workspace

    def use(self, purpose: str, workspace: Workspace) -> None:
        """Keep a workspace, for blocks of `n_rows` rows or more, for this purpose from now on."""
        n_in = self.net.widths[0]
        stride = row_stride(n_in, self.net.dtype) if self._in_place is None else n_in
        workspace.model.layers[0, batch.A_STRIDE] = stride
        self._workspaces[purpose] = workspace

    def data(self, start: int, stop: int, with_X: bool = True) -> batch.Data:
        """Bundle a block of rows for the kernels, converted where need be."""
        X = np.empty((0, self.net.widths[0]), self.net.dtype)
        if with_X:
            X = np.ascontiguousarray(self.X[start:stop], self.net.dtype)
        y = None
        if self.y is not None:
            dtype = np.dtype(np.int64) if self.y.ndim == 1 else self.net.dtype
            y = np.ascontiguousarray(self.y[start:stop], dtype)
        weights = None if self.weights is None else self.weights[start:stop]
        return samples(self.net, X, y, np.arange(stop - start), weights=weights)

    def run(
        self,
        workspace: Workspace,
        model: batch.Model,
        start: int,
        stop: int,
        *,
        phases: Program | None = None,
        mode: int = batch.WRITE,
        scale: float = 1.0,
        table: np.ndarray = _NO_STEP,
        total: np.ndarray | None = None,
    ) -> None:
        """Do the phases, by default the workspace's own, for one block of rows."""
        phases = workspace.program if phases is None else phases
        total, n = np.zeros(batch.N_TOTALS) if total is None else total, stop - start
        if self._in_place is not None:
            n_in = self.net.widths[0]
            model = model._replace(inputs=self._in_place[start * n_in : stop * n_in])
        elif self._is_converted and phases[:1] == GATHER:
            workspace.inputs(n)[:] = self._rows(start, stop)
        if (self._in_place is not None or self._is_converted) and phases[:1] == GATHER:
            phases = phases[1:]
        data = self.data(start, stop, with_X=phases[:1] == GATHER)
        with workers() as n_workers:
            schedule = workspace.schedule(n, n_workers, phases)
            run(model, data, schedule, 0, n, n, mode, scale, table, total, _UNCOUNTED)

    def _rows(self, start: int, stop: int) -> np.ndarray:
        """Return rows of X, which begin a block; of a source, have the next block read."""
        if self._ahead is None:
            rows: np.ndarray = self.X[start:stop]
            return rows
        rows = self._ahead.rows(slice(start, stop))
        if stop < self.n_samples:
            self._ahead.expect(slice(stop, min(stop + self.n_rows, self.n_samples)))
        return rows

    def _flat(self, w: np.ndarray) -> np.ndarray:
        return writeable(np.ascontiguousarray(w, self.net.dtype))
