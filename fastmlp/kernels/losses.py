"""Losses e of one sample and d e / d Z of the output layer, by code.

The cross-entropies are computed from Z, so they neither overflow nor lose digits far from zero;
the squared errors from A = phi(Z), and leave the factor phi'(Z) to the caller.
"""

from __future__ import annotations

import numpy as np

from fastmlp.kernels.activations import SOFTMAX, softmax
from fastmlp.kernels.elementary import sigmoid, softplus
from fastmlp.kernels.jit import fma, inlined, like

SQUARED_ERROR, HALF_SQUARED_ERROR, BINARY_CROSS_ENTROPY, CROSS_ENTROPY = range(4)
CODES = {
    "squared_error": SQUARED_ERROR,
    "half_squared_error": HALF_SQUARED_ERROR,
    "binary_cross_entropy": BINARY_CROSS_ENTROPY,
    "cross_entropy": CROSS_ENTROPY,
}


@inlined
def takes_z(loss):
    """Return whether the loss is a function of Z, its activation built in."""
    return loss == BINARY_CROSS_ENTROPY or loss == CROSS_ENTROPY


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
def _binary_cross_entropy(Z, z, ldz, n_rows, n_out, truth, start, scale, D, losses):
    _, targets, index = truth
    for r in range(n_rows):
        row = z + r * ldz
        sample = index[start + r]
        total = 0.0
        for j in range(n_out):
            z_j, y_j = np.float64(Z[row + j]), np.float64(targets[sample, j])
            if y_j != 1:
                total += (1 - y_j) * softplus(z_j)
            if y_j != 0:
                total += y_j * softplus(-z_j)
            D[row + j] = scale * (sigmoid(Z[row + j]) - targets[sample, j])
        losses[r] = total


@inlined
def _cross_entropy(Z, z, ldz, n_rows, n_out, truth, start, scale, D, losses):
    labels, targets, index = truth
    softmax(Z, z, ldz, n_rows, n_out, scale, D, losses)
    for r in range(n_rows):
        row = z + r * ldz
        sample = index[start + r]
        if labels.size > 0:
            at = row + labels[sample]
            losses[r] -= np.float64(Z[at])
            D[at] -= scale
        else:
            total = 0.0
            for j in range(n_out):
                if targets[sample, j] != 0:
                    total += np.float64(targets[sample, j]) * (losses[r] - np.float64(Z[row + j]))
                D[row + j] = fma(-scale, targets[sample, j], D[row + j])
            losses[r] = total


@inlined
def losses_and_deltas(loss, activation, Z, z, ldz, n_rows, n_out, truth, start, scale, D, losses):
    """Write each row's loss into losses and scale * d e / d z into D, but for phi' (see above).

    Z (n_rows, n_out) flat from offset z with row stride ldz, and D likewise, its rows whole
    vectors. Z holds Z where `takes_z(loss)`, else A; where the output is softmax, Z, overwritten
    by A. `truth` is the tuple (labels, targets, index), one of the first two empty: row r is sample
    index[start + r].
    """
    if loss == CROSS_ENTROPY:
        _cross_entropy(Z, z, ldz, n_rows, n_out, truth, start, scale, D, losses)
    elif loss == BINARY_CROSS_ENTROPY:
        _binary_cross_entropy(Z, z, ldz, n_rows, n_out, truth, start, scale, D, losses)
    else:
        half = loss == HALF_SQUARED_ERROR
        factor = 0.5 if half else 1.0
        slope = scale if half else scale + scale
        _squared_error(
            factor, activation == SOFTMAX, Z, z, ldz, n_rows, n_out, truth, start, slope, D, losses
        )
