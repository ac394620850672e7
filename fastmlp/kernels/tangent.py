"""Derivatives along a direction v of the parameters: forward mode and the R-operator.

With R{.} the derivative by alpha at w + alpha v, and T_l = R{A_l} (Pearlmutter, "Fast exact
multiplication by the Hessian", Neural Computation 6, 1994):

    R{Z_l} = T_{l-1} W_l + A_{l-1} V_l + v_l        T_l = phi'(Z_l) R{Z_l}
    slope of a sample's loss = D_L . R{Z_L}
    R{D_{l-1}} = phi' (R{D_l} W_l^T + D_l V_l^T) + phi'' R{Z_{l-1}} (D_l W_l^T)
    R{dW_l} = T_{l-1}^T D_l + A_{l-1}^T R{D_l}

These are phases of a batch, as those of batch.py. v, T, R{D} and the slopes are the second halves
of w, outputs, deltas and sample_losses; of the output layer, R{Z_L} stands where T_L would. R{dW_l}
takes no phase of its own: it is `batch.weights`, on the second half of deltas, then of outputs.
"""

from __future__ import annotations

import numpy as np

from fastmlp.kernels import activations, batch, losses, rowwise
from fastmlp.kernels.batch import (
    ACTIVATE,
    ACTIVATION,
    BLOCK,
    CHUNK,
    DEPTH,
    STORES,
    columns,
    n_panels,
    share,
    split,
)
from fastmlp.kernels.jit import call_at, inlined, kernel, like
from fastmlp.kernels.pack import pack, pack_transposed
from fastmlp.kernels.tile import multiply, n_lanes, vectors_for

FEW = 8  # rows between two passes of elementwise work over a whole layer
HALF_DEPTH = DEPTH // 2  # two panels share the scratch of one


@kernel
def line(layer, worker, n_workers, model, data, start, n_rows, mode, step, scale):
    """Write A_1 = phi(Z_1 + step R{Z_1}) of the worker's rows, from those kept; Z_1 for softmax."""
    _, n_out, _, _, code, stores, _, _, z, ldz = model.layers[0]
    Z, kept = model.outputs, model.kept
    n_vectors = vectors_for(n_out, Z)
    r0, r1 = split(n_rows, n_workers, worker)
    for r in range(r0, r1, FEW):
        m = min(FEW, r1 - r)
        at, k = z + r * ldz, r * 2 * ldz
        rowwise.copy(Z, at, ldz, kept, k, 2 * ldz, m, n_vectors, 0)
        if step != 0:  # else there need be no R{Z_1}
            rowwise.multiply_add(Z, at, ldz, kept, k + ldz, 2 * ldz, m, n_vectors, step)
        activations.activate(code, model.no_bias, 0, Z, at, ldz, m, n_vectors)
        activations.activate_stored(
            code, stores, model.addresses[ACTIVATE], Z, at, model.slopes, ldz, m, n_vectors
        )


@inlined
def _first_tangent(worker, n_workers, model, n_rows, is_last):
    """Write T_1 of the worker's rows, from the kept R{Z_1}."""
    _, n_out, _, _, code, stores, _, _, z, ldz = model.layers[0]
    T = model.outputs
    t = z + len(T) // 2
    n_vectors = vectors_for(n_out, T)
    r0, r1 = split(n_rows, n_workers, worker)
    for r in range(r0, r1, FEW):
        m = min(FEW, r1 - r)
        at = t + r * ldz
        rowwise.copy(T, at, ldz, model.kept, (2 * r + 1) * ldz, 2 * ldz, m, n_vectors, 0)
        if not is_last:
            activations.multiply_by_derivative(
                code, stores, T, model.slopes, z + r * ldz, T, at, ldz, m, n_vectors
            )


@kernel
def tangent(layer, worker, n_workers, model, data, start, n_rows, mode, step, scale):
    """Write T = phi' (T_{l-1} W + A_{l-1} V + v), or R{Z_L}, into the worker's part of outputs."""
    n_in, n_out, w0, b0, code, stores, a, lda, z, ldz = model.layers[layer]
    is_last = layer == len(model.layers) - 1
    if layer == 0:
        _first_tangent(worker, n_workers, model, n_rows, is_last)
        return
    A = model.outputs
    half, v = len(A) // 2, len(model.w) // 2
    lanes = n_lanes(A)
    P = model.packed[worker]
    bias = model.scratch[worker]
    v0, v1, r0, r1 = share(vectors_for(n_out, A), n_rows, n_workers, worker)
    for panel in range(n_panels(v0, v1)):
        j0, n_columns, n_vectors = columns(v0, v1, panel, n_out, lanes)
        width = n_vectors * lanes
        for j in range(width):
            bias[j] = model.w[v + b0 + j0 + j] if b0 >= 0 and j < n_columns else 0
        for k0 in range(0, n_in, HALF_DEPTH):
            depth = min(HALF_DEPTH, n_in - k0)
            first = w0 + k0 * n_out + j0
            pack(model.w, first, n_out, depth, n_columns, P)
            pack(model.w, v + first, n_out, depth, n_columns, P[depth * width :])
            for r in range(r0, r1, CHUNK):
                m = min(CHUNK, r1 - r)
                from_row, to = a + r * lda + k0, half + z + r * ldz + j0
                multiply(
                    A, half + from_row, lda, P, 0, width, A, to, ldz, m, depth, n_vectors, k0 > 0
                )
                multiply(
                    A, from_row, lda, P, depth * width, width, A, to, ldz, m, depth, n_vectors, True
                )
                if k0 + depth == n_in:
                    rowwise.add(A, to, ldz, bias, 0, 0, m, n_vectors, 0)
                    if not is_last:
                        activations.multiply_by_derivative(
                            code, stores, A, model.slopes, to - half, A, to, ldz, m, n_vectors
                        )


@kernel
def slope(layer, worker, n_workers, model, data, start, n_rows, mode, step, scale):
    """Write D_L . R{Z_L} of the worker's rows behind the losses; in float64, as they are."""
    _, n_out, _, _, _, _, _, _, z, ldz = model.layers[layer]
    t = z + len(model.outputs) // 2
    slopes = model.sample_losses[len(model.sample_losses) // 2 :]
    r0, r1 = split(n_rows, n_workers, worker)
    for r in range(r0, r1):
        total = 0.0
        for j in range(n_out):
            d, rz = model.deltas[z + r * ldz + j], model.outputs[t + r * ldz + j]
            total += np.float64(d) * np.float64(rz)
        slopes[r] = total


@inlined
def _cross_entropy_tangent(Z, row, t, n_out, factor, R, log_sums):
    """R[row:] = factor R{P}, with P = softmax(Z[row:]): R{P} = P (R{Z} - P . R{Z})."""
    activations.softmax(Z, row, 0, 1, n_out, like(1, factor), R, log_sums)
    inner = like(0, factor)
    for j in range(n_out):
        inner += R[row + j] * Z[t + j]
    for j in range(n_out):
        R[row + j] = factor * (R[row + j] * (Z[t + j] - inner))


@inlined
def _softmax_error_tangent(A, row, t, n_out, targets, sample, factor, R):
    """R[row:] = factor R{A (r - r . A)}, of a squared error r = A - Y with A = softmax(Z)."""
    mean = inner = change = like(0, factor)
    for j in range(n_out):
        mean += A[row + j] * A[t + j]
        inner += A[row + j] * (A[row + j] - targets[sample, j])
    for j in range(n_out):
        a_j = A[row + j]
        t_j = a_j * (A[t + j] - mean)
        R[row + j] = t_j
        change += t_j * (a_j + (a_j - targets[sample, j]))
    for j in range(n_out):
        a_j, t_j = A[row + j], R[row + j]
        d_j = a_j - targets[sample, j] - inner
        R[row + j] = factor * (t_j * d_j + a_j * (t_j - change))


@inlined
def _error_tangent(code, stores, A, S, row, t, n_vectors, D, R):
    """R[row:] = (phi'' / phi') D R{Z}; and phi'^2 R{Z} in place of R{Z} = A[t:]."""
    zero = like(0, A[t])
    rowwise.copy(R, row, 0, A, t, 0, 1, n_vectors, 0)
    if activations.is_curved(code):
        rowwise.multiply(R, row, 0, D, row, 0, 1, n_vectors, 0)
        activations.multiply_by_curvature(code, stores, A, S, row, 0, R, row, 0, 1, n_vectors)
    else:
        rowwise.scale(R, row, 0, R, row, 0, 1, n_vectors, zero)
    for _ in range(2):
        activations.multiply_by_derivative(code, stores, A, S, row, A, t, 0, 1, n_vectors)


@kernel
def loss_tangent(layer, worker, n_workers, model, data, start, n_rows, mode, step, scale):
    """Write R{D_L} of the worker's rows, times scale, behind the deltas; after `loss`."""
    _, n_out, _, _, code, stores, _, _, z, ldz = model.layers[layer]
    A, D = model.outputs, model.deltas
    half = len(A) // 2
    R = D[half:]
    log_sums = model.sample_losses[len(model.sample_losses) // 2 :]
    n_vectors = vectors_for(n_out, D)
    r0, r1 = split(n_rows, n_workers, worker)
    for r in range(r0, r1):
        row, t = z + r * ldz, half + z + r * ldz
        sample = data.y_index[start + r]
        weight = np.float64(data.weights[sample]) if data.weights.size > 0 else 1.0
        factor = like(weight * scale, A[0])
        if model.loss == losses.CROSS_ENTROPY:
            _cross_entropy_tangent(A, row, t, n_out, factor, R, log_sums[r : r + 1])
        elif model.loss == losses.BINARY_CROSS_ENTROPY:
            for j in range(n_out):
                p = activations.sigmoid(A[row + j])
                R[row + j] = factor * (p * (1 - p) * A[t + j])
        else:
            factor = factor + factor if model.loss == losses.SQUARED_ERROR else factor
            if code == activations.SOFTMAX:
                _softmax_error_tangent(A, row, t, n_out, data.targets, sample, factor, R)
            else:
                _error_tangent(code, stores, A, model.slopes, row, t, n_vectors, D, R)
                if losses.is_elementwise(model.loss):
                    call_at(
                        model.addresses[batch.ELEMENTWISE_CURVATURE],
                        (
                            model.loss, model.loss_parameter, A, row, n_out,
                            data.targets, np.int64(sample), t,
                        ),
                    )  # fmt: skip
                rowwise.multiply_add(R, row, 0, A, t, 0, 1, n_vectors, factor)


@inlined
def _through_activation(code, stores, A, S, a, t, D, d, r, ld, n_rows, n_vectors, G):
    """Finish R{D} = phi' R + phi'' / phi' T D and D = phi' D, where R{D} is R = D[r:] so far.

    T is A[t:].
    """
    for i in range(0, n_rows, BLOCK):
        m = min(BLOCK, n_rows - i)
        at = i * ld
        width = n_vectors * n_lanes(D)
        is_curved = activations.is_curved(code)
        if is_curved:
            rowwise.copy(G, 0, width, A, t + at, ld, m, n_vectors, 0)
            rowwise.multiply(G, 0, width, D, d + at, ld, m, n_vectors, 0)
            activations.multiply_by_curvature(
                code, stores, A, S, a + at, ld, G, 0, width, m, n_vectors
            )
        for x in (r, d):
            activations.multiply_by_derivative(
                code, stores, A, S, a + at, D, x + at, ld, m, n_vectors
            )
        if is_curved:
            rowwise.add(D, r + at, ld, G, 0, width, m, n_vectors, 0)


@kernel
def backward_tangent(layer, worker, n_workers, model, data, start, n_rows, mode, step, scale):
    """Write D_{l-1} and R{D_{l-1}} into the worker's part of the deltas; l > 0."""
    n_in, n_out, w0, _, _, _, a, lda, z, ldz = model.layers[layer]
    code, stores = model.layers[layer - 1, ACTIVATION], model.layers[layer - 1, STORES]
    A, D = model.outputs, model.deltas
    half, v = len(D) // 2, len(model.w) // 2
    lanes = n_lanes(D)
    P = model.packed[worker]
    v0, v1, r0, r1 = share(vectors_for(n_in, D), n_rows, n_workers, worker)
    for panel in range(n_panels(v0, v1)):
        j0, n_columns, n_vectors = columns(v0, v1, panel, n_in, lanes)
        width = n_vectors * lanes
        for k0 in range(0, n_out, HALF_DEPTH):
            depth = min(HALF_DEPTH, n_out - k0)
            first, second = w0 + j0 * n_out + k0, vectors_for(depth, D) * lanes * width
            pack_transposed(model.w, first, n_out, depth, n_columns, P)
            pack_transposed(model.w, v + first, n_out, depth, n_columns, P[second:])
            for r in range(r0, r1, CHUNK):
                m = min(CHUNK, r1 - r)
                d, to = z + r * ldz + k0, a + r * lda + j0
                multiply(D, d, ldz, P, 0, width, D, to, lda, m, depth, n_vectors, k0 > 0)
                multiply(
                    D, half + d, ldz, P, 0, width, D, half + to, lda, m, depth, n_vectors, k0 > 0
                )
                multiply(D, d, ldz, P, second, width, D, half + to, lda, m, depth, n_vectors, True)
                if k0 + depth == n_out:
                    _through_activation(
                        code, stores, A, model.slopes, to, half + to, D, to, half + to, lda,
                        m, n_vectors, model.scratch[worker],
                    )  # fmt: skip


PHASES = {
    batch.LINE: line,
    batch.TANGENT: tangent,
    batch.SLOPE: slope,
    batch.LOSS_TANGENT: loss_tangent,
    batch.BACKWARD_TANGENT: backward_tangent,
}
