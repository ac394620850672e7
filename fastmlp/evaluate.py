"""Predictions, losses, gradients and Jacobians, in blocks of rows of bounded memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp import validation
from fastmlp.kernels import batch, sample
from fastmlp.threads import workers
from fastmlp.workspace import Workspace, block_rows, blocks, parameter_buffer, samples, writeable

if TYPE_CHECKING:
    from fastmlp.network import Network


def predict(net: Network, w: Any, X: Any) -> np.ndarray:
    """Return A_L (n_samples, n_L); see `Network.predict`."""
    w, X = validation.parameters(net, w), validation.features(net, X)
    out = np.empty((len(X), net.widths[-1]), net.dtype)
    workspace = _workspace(net, w, len(X), "predict")
    for start, stop in blocks(len(X), workspace.n_rows):
        _run(workspace, X[start:stop], None)
        out[start:stop] = workspace.predictions(stop - start)
    return out


def loss(net: Network, w: Any, X: Any, y: Any, reduction: str) -> float:
    """Return the mean or the sum of losses; see `Network.loss`."""
    w, X, y = _checked(net, w, X, y, reduction)
    workspace = _workspace(net, w, len(X), "loss")
    total = np.zeros(1)
    for start, stop in blocks(len(X), workspace.n_rows):
        _run(workspace, X[start:stop], y[start:stop], total=total)
    return float(total[0] / len(X) if reduction == "mean" else total[0])


def gradient(net: Network, w: Any, X: Any, y: Any, reduction: str) -> np.ndarray:
    """Return the gradient of the mean or the sum of losses; see `Network.gradient`."""
    net.require_derivatives()
    w, X, y = _checked(net, w, X, y, reduction)
    out = np.empty(net.n_params, net.dtype)
    workspace = _workspace(net, w, len(X), "gradient", out)
    scale = 1 / len(X) if reduction == "mean" else 1.0
    total = np.zeros(1)
    for start, stop in blocks(len(X), workspace.n_rows):
        mode = batch.ACCUMULATE if start else batch.WRITE
        _run(workspace, X[start:stop], y[start:stop], mode, scale, total)
    return out


def sample_gradients(net: Network, w: Any, X: Any, y: Any) -> np.ndarray:
    """Return each sample's gradient (n_samples, n_params); see `Network.sample_gradients`."""
    net.require_derivatives()
    w, X, y = _checked(net, w, X, y, "mean")
    out = np.empty((len(X), net.n_params), net.dtype)
    workspace = Workspace(net, 1, parameter_buffer(w, net.dtype), "gradient")
    for start, stop in blocks(len(X), _samples_at_once(net)):
        data = _block(net, X[start:stop], y[start:stop])
        sample.gradients(workspace.model, data, out[start:stop])
    return out


def jacobian(net: Network, w: Any, X: Any) -> np.ndarray:
    """Return d A_L / d w (n_samples, n_L, n_params); see `Network.jacobian`."""
    net.require_derivatives()
    w, X = validation.parameters(net, w), validation.features(net, X)
    out = np.empty((len(X), net.widths[-1], net.n_params), net.dtype)
    workspace = Workspace(net, 1, parameter_buffer(w, net.dtype), "predict")
    for start, stop in blocks(len(X), _samples_at_once(net)):
        sample.jacobians(workspace.model, _block(net, X[start:stop], None), out[start:stop])
    return out


def _checked(net: Network, w: Any, X: Any, y: Any, reduction: str) -> tuple[Any, Any, Any]:
    validation.one_of("reduction", reduction, validation.REDUCTIONS)
    w, X = validation.parameters(net, w), validation.features(net, X)
    return w, X, validation.truth(net, y, len(X))


def _samples_at_once(net: Network) -> int:
    """Return how many samples to do between two looks at Ctrl-C: about 10^8 parameters' worth."""
    return max(1, 10**8 // (net.n_params * net.widths[-1]))


def _workspace(
    net: Network, w: np.ndarray, n: int, phases: str, gradient: np.ndarray | None = None
) -> Workspace:
    flat = writeable(np.ascontiguousarray(w, net.dtype))
    return Workspace(net, min(n, block_rows(net)), flat, phases, gradient)


def _block(net: Network, X: np.ndarray, y: np.ndarray | None) -> batch.Data:
    """Convert a block of rows, where need be, and bundle it for the kernels."""
    if y is not None:
        y = np.ascontiguousarray(y, np.int64 if y.ndim == 1 else net.dtype)
    return samples(net, np.ascontiguousarray(X, net.dtype), y, np.arange(len(X)))


def _run(
    workspace: Workspace,
    X: np.ndarray,
    y: np.ndarray | None,
    mode: int = batch.WRITE,
    scale: float = 1.0,
    total: np.ndarray | None = None,
) -> None:
    """Do one block of rows."""
    with workers() as n_workers:
        schedule = workspace.schedule(len(X), n_workers)
        data = _block(workspace.net, X, y)
        total = np.zeros(1) if total is None else total
        batch.run(
            workspace.model, data, schedule, 0, len(X), len(X), mode, scale, np.zeros(1), total,
            np.zeros(1, np.int64),
        )  # fmt: skip
