"""Losses e of one sample and d e / d Z of the output layer, by code.

The cross-entropies are computed from Z, so they neither overflow nor lose digits far from zero;
the squared errors from A = phi(Z), and leave the factor phi'(Z) to the caller. The losses that are
called by address are in elementwise.py.
"""

from __future__ import annotations

import numpy as np

from fastmlp.kernels.activations import SOFTMAX, softmax
from fastmlp.kernels.elementary import sigmoid, softplus
from fastmlp.kernels.jit import call_at, fma, inlined, like

SQUARED_ERROR, HALF_SQUARED_ERROR, BINARY_CROSS_ENTROPY, CROSS_ENTROPY = range(4)
# From here on those of elementwise.py; CUSTOM stands for one of the user's.
ABSOLUTE_ERROR, HUBER, LOG_COSH, QUANTILE, HINGE, PERCEPTRON, POISSON, CUSTOM = range(4, 12)
CODES = {
    "squared_error": SQUARED_ERROR,
    "half_squared_error": HALF_SQUARED_ERROR,
    "binary_cross_entropy": BINARY_CROSS_ENTROPY,
    "cross_entropy": CROSS_ENTROPY,
    "absolute_error": ABSOLUTE_ERROR,
    "huber": HUBER,
    "log_cosh": LOG_COSH,
    "quantile": QUANTILE,
    "hinge": HINGE,
    "perceptron": PERCEPTRON,
    "poisson": POISSON,
}


@inlined
def takes_z(loss):
    """Return whether the loss is a function of Z, its activation built in."""
    return loss == BINARY_CROSS_ENTROPY or loss == CROSS_ENTROPY or loss == POISSON


@inlined
def is_elementwise(loss):
    """Return whether the loss is one of elementwise.py, or the user's."""
    return loss >= ABSOLUTE_ERROR


@inlined
def _squared_error(
    factor, softmax_output, Z, z, ldz, n_rows, n_out, truth, start, scale, D, losses
):
    _, targets, index = truth
    if softmax_output:
        softmax(Z, z, ldz, n_rows, n_out, like(1, scale), D, losses)
    for r in range(n_rows):
        row = z + r * ldz
        sample = index[start + r]
        total = 0.0
        inner = like(0, scale)
        for j in range(n_out):
            a = D[row + j] if softmax_output else Z[row + j]
            residual = a - targets[sample, j]
            total += np.float64(residual) * np.float64(residual)
            inner = fma(residual, a, inner)
            D[row + j] = scale * residual
            Z[row + j] = a
        if softmax_output:  # its Jacobian is Diag(a) - a a^T
            for j in range(n_out):
                D[row + j] = scale * (Z[row + j] * (Z[row + j] - targets[sample, j] - inner))
        losses[r] = factor * total


@inlined
def _binary_cross_entropy(smoothing, Z, z, ldz, n_rows, n_out, truth, start, scale, D, losses):
    _, targets, index = truth
    keep, even = 1 - smoothing, smoothing / 2
    for r in range(n_rows):
        row = z + r * ldz
        sample = index[start + r]
        total = 0.0
        for j in range(n_out):
            z_j, y_j = np.float64(Z[row + j]), fma(keep, np.float64(targets[sample, j]), even)
            if y_j != 1:
                total += (1 - y_j) * softplus(z_j)
            if y_j != 0:
                total += y_j * softplus(-z_j)
            D[row + j] = scale * (sigmoid(Z[row + j]) - like(y_j, scale))
        losses[r] = total


@inlined
def _cross_entropy(smoothing, Z, z, ldz, n_rows, n_out, truth, start, scale, D, losses):
    labels, targets, index = truth
    keep, even = 1 - smoothing, smoothing / n_out
    softmax(Z, z, ldz, n_rows, n_out, scale, D, losses)
    for r in range(n_rows):
        row = z + r * ldz
        sample = index[start + r]
        if labels.size > 0 and smoothing == 0:
            at = row + labels[sample]
            losses[r] -= np.float64(Z[at])
            D[at] -= scale
        else:
            label = labels[sample] if labels.size > 0 else -1
            total = 0.0
            for j in range(n_out):
                if label >= 0:
                    target = keep + even if j == label else even
                else:
                    target = fma(keep, np.float64(targets[sample, j]), even)
                if target != 0:
                    total += target * (losses[r] - np.float64(Z[row + j]))
                D[row + j] = fma(-scale, like(target, scale), D[row + j])
            losses[r] = total


@inlined
def losses_and_deltas(
    loss, parameter, elementwise, activation, Z, z, ldz, n_rows, n_out, truth, start, scale,
    D, losses,
):  # fmt: skip
    """Write each row's loss into losses and scale * d e / d z into D, but for phi' (see above).

    Z (n_rows, n_out) flat from offset z with row stride ldz, and D likewise, its rows whole
    vectors. Z holds Z where `takes_z(loss)`, else A; where the output is softmax, Z, overwritten
    by A. `truth` is the tuple (labels, targets, index), one of the first two empty: row r is sample
    index[start + r]. `parameter` is the loss's own, `elementwise` the address of the kernel that
    does the losses of elementwise.py.
    """
    if loss == CROSS_ENTROPY:
        _cross_entropy(parameter, Z, z, ldz, n_rows, n_out, truth, start, scale, D, losses)
    elif loss == BINARY_CROSS_ENTROPY:
        _binary_cross_entropy(parameter, Z, z, ldz, n_rows, n_out, truth, start, scale, D, losses)
    elif is_elementwise(loss):
        _, targets, index = truth
        call_at(
            elementwise,
            (loss, parameter, Z, z, ldz, n_rows, n_out, targets, index, start, scale, D, losses),
        )
    else:
        half = loss == HALF_SQUARED_ERROR
        factor = 0.5 if half else 1.0
        slope = scale if half else scale + scale
        _squared_error(
            factor, activation == SOFTMAX, Z, z, ldz, n_rows, n_out, truth, start, slope, D, losses
        )
