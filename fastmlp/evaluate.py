"""Predictions, losses, gradients and Jacobians, in blocks of rows of bounded memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp import predictor, validation
from fastmlp.kernels import sample
from fastmlp.passes import Passes
from fastmlp.weights import combined, total_weight
from fastmlp.workspace import Workspace, blocks, parameter_buffer

if TYPE_CHECKING:
    from fastmlp.network import Network


def predict(net: Network, w: Any, X: Any) -> np.ndarray:
    """Return A_L (n_samples, n_L); see `Network.predict`."""
    w, X = validation.parameters(net, w), validation.features(net, X)
    return predictor.predict(net, w, X)


def loss(
    net: Network, w: Any, X: Any, y: Any, sample_weight: Any, class_weight: Any, reduction: str
) -> float:
    """Return the mean or the sum of losses; see `Network.loss`."""
    w, X, y = _checked(net, w, X, y, reduction)
    weights = combined(net, sample_weight, class_weight, y, reduction)
    value = Passes(net, X, y, weights).loss(w)
    return value / total_weight(weights, len(X)) if reduction == "mean" else value


def gradient(
    net: Network, w: Any, X: Any, y: Any, sample_weight: Any, class_weight: Any, reduction: str
) -> np.ndarray:
    """Return the gradient of the mean or the sum of losses; see `Network.gradient`."""
    net.require_derivatives()
    w, X, y = _checked(net, w, X, y, reduction)
    weights = combined(net, sample_weight, class_weight, y, reduction)
    scale = 1 / total_weight(weights, len(X)) if reduction == "mean" else 1.0
    out = np.empty(net.n_params, net.dtype)
    Passes(net, X, y, weights).gradient(w, scale, out)
    return out


def sample_gradients(net: Network, w: Any, X: Any, y: Any) -> np.ndarray:
    """Return each sample's gradient (n_samples, n_params); see `Network.sample_gradients`."""
    net.require_derivatives()
    w, X, y = _checked(net, w, X, y, "mean")
    out = np.empty((len(X), net.n_params), net.dtype)
    workspace = Workspace(net, 1, parameter_buffer(w, net.dtype), "gradient")
    passes = Passes(net, X, y)
    for start, stop in blocks(len(X), _samples_at_once(net)):
        sample.gradients(workspace.model, passes.data(start, stop), out[start:stop])
    return out


def jacobian(net: Network, w: Any, X: Any) -> np.ndarray:
    """Return d A_L / d w (n_samples, n_L, n_params); see `Network.jacobian`."""
    net.require_derivatives()
    w, X = validation.parameters(net, w), validation.features(net, X)
    out = np.empty((len(X), net.widths[-1], net.n_params), net.dtype)
    workspace = Workspace(net, 1, parameter_buffer(w, net.dtype), "jacobian")
    passes = Passes(net, X)
    for start, stop in blocks(len(X), _samples_at_once(net)):
        sample.jacobians(workspace.model, passes.data(start, stop), out[start:stop])
    return out


def _checked(net: Network, w: Any, X: Any, y: Any, reduction: str) -> tuple[Any, Any, Any]:
    validation.one_of("reduction", reduction, validation.REDUCTIONS)
    w, X = validation.parameters(net, w), validation.features(net, X)
    return w, X, validation.truth(net, y, len(X))


def _samples_at_once(net: Network) -> int:
    """Return how many samples to do between two looks at Ctrl-C: about 10^8 parameters' worth."""
    return max(1, 10**8 // (net.n_params * net.widths[-1]))
