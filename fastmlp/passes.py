"""Passes over all samples, in blocks of rows of bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from fastmlp.kernels import batch
from fastmlp.threads import workers
from fastmlp.workspace import Program, Workspace, blocks, pass_rows, program, samples, writeable

if TYPE_CHECKING:
    from fastmlp.network import Network

# What `batch.run` takes where nothing is updated or counted.
_NO_STEP, _UNCOUNTED = np.zeros(1), np.zeros(1, np.int64)


class Passes:
    """Computes predictions, losses and gradients of samples, at whatever parameters.

    Parameters
    ----------
    net : Network
    X : ndarray of shape (n_samples, n_0)
        Checked, of any dtype and layout: converted block by block where need be.
    y : ndarray of shape (n_samples,) or (n_samples, n_L), optional
        Checked, likewise.
    weights : ndarray of shape (n_samples,), optional
        Of the samples' losses, of the network's dtype.
    """

    def __init__(
        self,
        net: Network,
        X: np.ndarray,
        y: np.ndarray | None = None,
        weights: np.ndarray | None = None,
    ) -> None:
        self.net, self.X, self.y, self.weights = net, X, y, weights
        self.n_samples = len(X)
        self.n_rows = min(len(X), pass_rows(net))
        self._workspaces: dict[str, Workspace] = {}

    def predict(self, w: np.ndarray, out: np.ndarray) -> None:
        """Write A_L (n_samples, n_L) into out."""
        workspace = self.workspace("predict")
        model = workspace.model._replace(w=self._flat(w))
        for start, stop in self.blocks():
            self.run(workspace, model, self.data(start, stop), stop - start)
            out[start:stop] = workspace.predictions(stop - start)

    def loss(self, w: np.ndarray) -> float:
        """Return the sum of the weighted losses."""
        workspace, phases = self.workspace("gradient"), program(self.net, "loss")
        model = workspace.model._replace(w=self._flat(w))
        total = np.zeros(2)
        for start, stop in self.blocks():
            data = self.data(start, stop)
            self.run(workspace, model, data, stop - start, phases=phases, total=total)
        return float(total[0])

    def gradient(self, w: np.ndarray, scale: float, out: np.ndarray) -> float:
        """Write scale times the gradient of `loss` into out; return the loss."""
        workspace = self.workspace("gradient")
        model = workspace.model._replace(w=self._flat(w), gradient=out)
        total = np.zeros(2)
        for start, stop in self.blocks():
            mode = batch.ACCUMULATE if start else batch.WRITE
            self.run(
                workspace, model, self.data(start, stop), stop - start,
                mode=mode, scale=scale, total=total,
            )  # fmt: skip
        return float(total[0])

    def blocks(self) -> Iterator[tuple[int, int]]:
        """Yield (start, stop) of each block of rows."""
        return iter(blocks(self.n_samples, self.n_rows))

    def workspace(self, purpose: str) -> Workspace:
        """Return the workspace to "predict", or for losses and the "gradient"; one of each."""
        if purpose not in self._workspaces:
            no_w = np.empty(0, self.net.dtype)
            self._workspaces[purpose] = Workspace(self.net, self.n_rows, no_w, purpose)
        return self._workspaces[purpose]

    def data(self, start: int, stop: int, with_X: bool = True) -> batch.Data:
        """Bundle a block of rows for the kernels, converted where need be."""
        rows = slice(start, stop if with_X else start)
        X = np.ascontiguousarray(self.X[rows], self.net.dtype)
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
        data: batch.Data,
        n_rows: int,
        *,
        phases: Program | None = None,
        mode: int = batch.WRITE,
        scale: float = 1.0,
        step: np.ndarray = _NO_STEP,
        total: np.ndarray | None = None,
    ) -> None:
        """Do the phases, by default the workspace's own, for one block of rows."""
        total = np.zeros(2) if total is None else total
        with workers() as n_workers:
            schedule = workspace.schedule(n_rows, n_workers, phases)
            batch.run(
                model, data, schedule, 0, n_rows, n_rows, mode, scale, step, total, _UNCOUNTED
            )

    def _flat(self, w: np.ndarray) -> np.ndarray:
        return writeable(np.ascontiguousarray(w, self.net.dtype))
