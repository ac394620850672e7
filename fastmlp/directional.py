"""Passes along a direction d of the parameters: E(w + alpha d), its slope, Hessian times d.

The first layer is linear in alpha, Z_1 = X W_1 + b_1 + alpha (X D_1 + d_1). Both products are kept
for all samples where memory allows; else they are computed again for each block of rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastmlp.kernels import activations, batch, updates
from fastmlp.passes import GATHER, Passes
from fastmlp.sparse import Features
from fastmlp.threads import workers
from fastmlp.workspace import (
    LINE_BYTES,
    Program,
    Workspace,
    allocate,
    backward,
    row_stride,
)

if TYPE_CHECKING:
    from fastmlp.network import Network

# Fewer numbers than this are not worth a second thread.
SHARED_OUT = 2**16

PRODUCT: Program = (*GATHER, (batch.FORWARD, 0))


def _along(net: Network, *, tangent: bool) -> Program:
    """Return the phases of the loss, from the kept products on, with or without its slope."""
    phases = [(batch.LINE, 0), *([(batch.TANGENT, 0)] if tangent else [])]
    for layer in range(1, net.n_layers):
        phases.append((batch.FORWARD, layer))
        if tangent:
            phases.append((batch.TANGENT, layer))
    return (*phases, (batch.LOSS, net.n_layers - 1))


class DirectionalPasses(Passes):
    """Passes that keep the first layer's products, for lines through the parameters.

    Parameters
    ----------
    net, X, y, weights
        As in `Passes`.
    kept_bytes : int
        The most memory for the products of all samples.
    """

    def __init__(
        self,
        net: Network,
        X: Features,
        y: np.ndarray,
        weights: np.ndarray | None,
        kept_bytes: int,
    ) -> None:
        super().__init__(net, X, y, weights)
        last = net.n_layers - 1
        self._value = _along(net, tangent=False)
        self._slope = (*_along(net, tangent=True), (batch.SLOPE, last))
        self._curvature = (
            *_along(net, tangent=True),
            (batch.LOSS_TANGENT, last),
            *((batch.BACKWARD_TANGENT, layer) for layer in range(last, 0, -1)),
        )
        self._stride = row_stride(net.widths[1], net.dtype)
        self.keeps_all = 2 * self.n_samples * self._stride * net.dtype.itemsize <= kept_bytes
        self._kept = np.empty(0, net.dtype)  # of all samples
        self._block = np.empty(0, net.dtype)  # of a block of rows

    def _line(self) -> Workspace:
        """Return the workspace whose w is [w + alpha d, d]; it serves the gradient as well."""
        workspace = self._workspaces.get("gradient")
        if workspace is None or not workspace.model.w.size:
            half = self.net.n_params + LINE_BYTES
            w = allocate(2 * half, self.net.dtype)
            w[:] = 0
            workspace = self.allocate("gradient", w, tangent=True)
        return workspace

    def _halves(self) -> tuple[np.ndarray, np.ndarray]:
        w = self._line().model.w
        n, half = self.net.n_params, len(w) // 2
        return w[:n], w[half : half + n]

    def _kept_rows(self, start: int, stop: int, all_samples: bool) -> np.ndarray:
        """Return where the products of the rows are, or will be."""
        n, row = (self.n_samples if all_samples else self.n_rows), 2 * self._stride
        if all_samples:
            if not self._kept.size:
                self._kept = allocate(n * row, self.net.dtype)
            return self._kept[start * row : stop * row]
        if not self._block.size:
            self._block = allocate(n * row, self.net.dtype)
        return self._block[: (stop - start) * row]

    def _products(
        self,
        workspace: Workspace,
        w: np.ndarray,
        start: int,
        stop: int,
        kept: np.ndarray,
        halves: tuple[int, ...],
    ) -> None:
        """Write Z_1 (half 0) and R{Z_1} (half 1) of a block into the kept rows."""
        model = workspace.model
        phases = PRODUCT
        for half in halves:
            linear = model.layers[:1].copy()
            row, w_half = linear[0], half * (len(w) // 2)
            row[batch.ACTIVATION] = activations.IDENTITY
            row[batch.W_OFFSET] += w_half
            row[batch.B_OFFSET] += w_half if self.net.bias else 0
            row[batch.Z_OFFSET], row[batch.Z_STRIDE] = half * self._stride, 2 * self._stride
            product = model._replace(layers=linear, outputs=kept, w=w)
            self.run(workspace, product, start, stop, phases=phases)
            phases = PRODUCT[1:]  # gathered once

    def gradient_and_products(self, w: np.ndarray, scale: float, out: np.ndarray) -> float:
        """As `gradient`, and keep Z_1 of all samples on the way; only where `keeps_all`."""
        workspace = self.workspace("gradient")
        model = workspace.model._replace(w=self._flat(w), gradient=out)
        phases = (*self._value, *backward(self.net))
        total = np.zeros(batch.N_TOTALS)
        for start, stop in self.blocks():
            kept = self._kept_rows(start, stop, True)
            self._products(workspace, model.w, start, stop, kept, (0,))
            self.run(
                workspace, model._replace(kept=kept), start, stop, phases=phases,
                mode=batch.ACCUMULATE if start else batch.WRITE, scale=scale, total=total,
            )  # fmt: skip
        return float(total[0])

    def begin_line(self, w: np.ndarray, d: np.ndarray, has_products: bool) -> None:
        """Take the line through w in direction d; `has_products`: Z_1 at w is kept already."""
        self._set_line(w, d)
        if self.keeps_all:
            line, halves = self._line(), (1,) if has_products else (0, 1)
            for start, stop in self.blocks():
                kept = self._kept_rows(start, stop, True)
                self._products(line, line.model.w, start, stop, kept, halves)

    def along(self, w: np.ndarray, alpha: float, with_slope: bool) -> tuple[float, float]:
        """Return the loss at w + alpha d, w being the line's, and its slope; 0 if not asked for."""
        workspace = self._line()
        n_in, n_out = self.net.widths[:2]
        first = (n_in + self.net.bias) * n_out
        moved, d = (half[first:] for half in self._halves())
        moved[:] = w[first:]
        step(moved, d, alpha)
        total = np.zeros(batch.N_TOTALS)
        for start, stop in self.blocks():
            kept = self._kept_rows(start, stop, self.keeps_all)
            if not self.keeps_all:
                self._products(workspace, workspace.model.w, start, stop, kept, (0, 1))
            self.run(
                workspace, workspace.model._replace(kept=kept), start, stop,
                phases=self._slope if with_slope else self._value,
                table=np.array([[alpha]]), total=total,
            )  # fmt: skip
        return float(total[0]), float(total[1])

    def hessian_vector(self, w: np.ndarray, v: np.ndarray, scale: float) -> np.ndarray:
        """Return scale times the Hessian of `loss` at w, times v; ends the line begun before."""
        self._set_line(w, v)
        net, workspace = self.net, self._line()
        model, half = workspace.model, len(workspace.model.outputs) // 2
        without_biases = model.layers.copy()
        without_biases[:, batch.B_OFFSET] = -1
        every = tuple((batch.WEIGHTS, layer) for layer in range(net.n_layers))
        # Summed apart, so that the order of the sums does not follow the blocks.
        out, second = np.empty(net.n_params, net.dtype), np.zeros(net.n_params, net.dtype)
        for start, stop in self.blocks():
            mode = batch.ACCUMULATE if start else batch.WRITE
            kept = self._kept_rows(start, stop, False)
            self._products(workspace, model.w, start, stop, kept, (0, 1))
            self.run(
                workspace, model._replace(kept=kept), start, stop,
                phases=self._curvature, scale=scale,
            )  # fmt: skip
            a_rd = model._replace(deltas=model.deltas[half:], gradient=out)
            self.run(workspace, a_rd, start, stop, phases=every, mode=mode)
            t_d = model._replace(
                outputs=model.outputs[half:], layers=without_biases, gradient=second
            )
            self.run(workspace, t_d, start, stop, phases=every[1:], mode=mode)
        with np.errstate(over="ignore", invalid="ignore"):
            out += second
        return out

    def _set_line(self, w: np.ndarray, d: np.ndarray) -> None:
        at, direction = self._halves()
        at[:], direction[:] = w, d


def step(w: np.ndarray, d: np.ndarray, alpha: float) -> None:
    """Add alpha d to w, each number with one rounding."""
    if w.size:
        with workers() as n_workers:
            n_workers = n_workers if w.size >= SHARED_OUT else 1
            updates.descend(w, d, -alpha, n_workers)
