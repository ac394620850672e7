"""Forward, backward and weight gradient of a batch of rows, parallel over tiles.

A step is a row of phases (gather, forward layer by layer, output, and for each layer from the last
to the first backward and weights). In every phase a worker owns the same columns of a layer, so
that its part of the weights stays in its core's cache from one phase and one step to the next.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastmlp.kernels import activations, dropout, losses, rowwise
from fastmlp.kernels.jit import call_at, fma, inlined, kernel, like
from fastmlp.kernels.pack import pack, pack_transposed
from fastmlp.kernels.tile import (
    ROWS,
    VECTORS,
    is_one_tile,
    multiply,
    multiply_transposed,
    n_lanes,
    vectors_for,
)

# Columns of `Model.layers`, one row a layer.
N_IN, N_OUT, W_OFFSET, B_OFFSET, ACTIVATION, STORES = range(6)
A_OFFSET, A_STRIDE, Z_OFFSET, Z_STRIDE = range(6, 10)
N_LAYER_COLUMNS = 10

GATHER, FORWARD, SOFTMAX, LOSS, BACKWARD, WEIGHTS = range(6)
LINE, TANGENT, SLOPE, LOSS_TANGENT, BACKWARD_TANGENT = range(6, 11)  # in tangent.py
SQUARES, APPLY, MAX_NORM, AVERAGE = range(11, 15)  # in updates.py
# No phases, but in the same table: `stored.activate`, for the activations that it has;
# `rules.update`, for all rules but the plain one; `dropout.drop`; what elementwise losses call.
ACTIVATE, RULE, DROPOUT, ELEMENTWISE, ELEMENTWISE_CURVATURE = range(15, 20)
N_ADDRESSES = 20

# What becomes of a tile of the weight gradient: it is the update, or is kept for later phases.
WRITE, ACCUMULATE, UPDATE, WRITE_AND_APPLY = range(4)
# What a batch adds to `total`: losses, slopes, weights of its samples.
LOSSES, SLOPES, SAMPLE_WEIGHTS = range(3)
N_TOTALS = 3

LARGE = 2.0**64  # deltas multiplied by more than this might overflow
DEPTH = 2048  # rows of a packed panel: it stays in the second-level cache
CHUNK = 64  # rows of output between two passes of elementwise work: they stay in the first
BLOCK = 4 * ROWS  # rows of weights whose gradient is in scratch at once


class Model(NamedTuple):
    """A network's layout, its parameters and the workspace of a batch, as the kernels take them.

    Where derivatives along a direction are computed (`tangent`), w, outputs, deltas and
    sample_losses have a second half of the same layout: the direction, and what the numbers of the
    first half change by along it. That of slopes holds phi'' / phi'.
    """

    # (n_layers, N_LAYER_COLUMNS) int64; the output's ACTIVATION is identity where a loss takes Z
    layers: np.ndarray
    loss: np.int64  # code
    loss_parameter: np.float64  # the loss's own; 0 if it has none
    addresses: np.ndarray  # (N_ADDRESSES,) int64, of phases; 0 for those not compiled
    w: np.ndarray  # (n_params,) parameters
    inputs: np.ndarray  # flat: A_0, where rows are gathered
    outputs: np.ndarray  # flat: A_1 .. A_L, each (n_rows, Z_STRIDE) from Z_OFFSET on
    slopes: np.ndarray  # flat: phi'(Z) of the layers that store it, as outputs; or empty
    deltas: np.ndarray  # flat: D_1 .. D_L, as outputs
    packed: np.ndarray  # (n_workers, DEPTH + 2 lanes, panel) packed panels of each worker
    scratch: np.ndarray  # (n_workers, BLOCK + 1, panel) a gradient tile, or a panel's bias
    gradient: np.ndarray  # (n_params,), or empty where the update is fused
    no_bias: np.ndarray  # zeros, as many as the widest layer in whole vectors has outputs
    sample_losses: np.ndarray  # (n_rows,) float64
    kept: np.ndarray  # (n_rows, 2, Z_STRIDE of layer 0): rows of Z_1 and of its tangent, or empty
    rule: np.int64  # code
    # (n_states * n_params,) of the rule; behind them, where wanted, the mean of iterates, after
    # what its sums have lost
    states: np.ndarray
    # (rules.N_COEFFICIENTS,) float64 of an update, and behind them what its phases sum up
    coefficients: np.ndarray
    counters: np.ndarray  # int64, of dropout; or empty


class Data(NamedTuple):
    """Samples: rows of X and y, in the order of an index each."""

    X: np.ndarray  # (n_samples, n_0)
    labels: np.ndarray  # (n_samples,) int64, or empty
    targets: np.ndarray  # (n_samples, n_L), or empty
    weights: np.ndarray  # (n_samples,) of the losses, or empty: all 1
    x_index: np.ndarray  # (n,) int64
    y_index: np.ndarray  # (n,) int64, of labels, targets and weights


@kernel
def split(n, n_parts, part):
    """Return (start, stop) of the part: n things in runs as equal as can be."""
    return part * n // n_parts, (part + 1) * n // n_parts


@kernel
def share(n_vectors, n_rows, n_workers, worker):
    """Return (start, stop) of the worker's vectors of columns and of its rows.

    Columns are divided first, and rows, by whole tiles, only as far as that balances better.
    """
    n_blocks = (n_rows + ROWS - 1) // ROWS
    best = n_workers
    least = np.inf
    for columns in range(n_workers, 0, -1):
        if n_workers % columns == 0:
            rows = n_workers // columns
            load = ((n_vectors + columns - 1) // columns) * ((n_blocks + rows - 1) // rows)
            if load < 0.95 * least:
                best = columns
                least = load
    v0, v1 = split(n_vectors, best, worker % best)
    r0, r1 = split(n_blocks, n_workers // best, worker // best)
    return v0, v1, min(r0 * ROWS, n_rows), min(r1 * ROWS, n_rows)


@inlined
def n_panels(v0, v1):
    """Return how many panels v1 - v0 vectors of columns are walked in."""
    return (v1 - v0 + VECTORS - 1) // VECTORS


@inlined
def columns(v0, v1, panel, n, lanes):
    """Return the panel's first column, its columns below n, and its vectors: equal as can be."""
    p0, p1 = split(v1 - v0, n_panels(v0, v1), panel)
    j0 = (v0 + p0) * lanes
    return j0, min((p1 - p0) * lanes, n - j0), p1 - p0


@inlined
def _drop(model, layer, A, at, ld, row, n_rows, unit, n_vectors):
    """Apply dropout to rows of a layer's inputs, A (n_rows, n_vectors * lanes), from `at` on."""
    if model.counters.size > 0 and model.counters[dropout.THRESHOLDS + layer] > 0:
        code = model.layers[max(layer - 1, 0), ACTIVATION]
        call_at(
            model.addresses[DROPOUT],
            (
                code, A, model.slopes, at, ld, n_rows, n_vectors, layer, row, unit, model.counters,
            ),
        )  # fmt: skip


@kernel
def forward(layer, worker, n_workers, model, data, start, n_rows, mode, step, scale):
    """Write A = phi(A W + b), but for softmax, into the worker's part of the layer's output."""
    n_in, n_out, w0, b0, code, stores, a, lda, z, ldz = model.layers[layer]
    A = model.inputs if layer == 0 else model.outputs
    lanes = n_lanes(A)
    P = model.packed[worker]
    bias = model.scratch[worker]
    v0, v1, r0, r1 = share(vectors_for(n_out, A), n_rows, n_workers, worker)
    for panel in range(n_panels(v0, v1)):
        j0, n_columns, n_vectors = columns(v0, v1, panel, n_out, lanes)
        width = n_vectors * lanes
        for j in range(width):
            bias[j] = model.w[b0 + j0 + j] if b0 >= 0 and j < n_columns else 0
        for k0 in range(0, n_in, DEPTH):
            depth = min(DEPTH, n_in - k0)
            first = w0 + k0 * n_out + j0
            B, b, ldb = model.w, first, n_out  # where read once, as they are, if nothing beyond
            if not is_one_tile(r1 - r0) or first + (depth - 1) * n_out + width > model.w.size:
                B, b, ldb = P, 0, width
                pack(model.w, first, n_out, depth, n_columns, P)
            for r in range(r0, r1, CHUNK):
                m = min(CHUNK, r1 - r)
                c = z + r * ldz + j0
                multiply(
                    A, a + r * lda + k0, lda, B, b, ldb, model.outputs, c, ldz,
                    m, depth, n_vectors, k0 > 0,
                )  # fmt: skip
                if k0 + depth == n_in:
                    activations.activate(code, bias, 0, model.outputs, c, ldz, m, n_vectors)
                    activations.activate_stored(
                        code, stores, model.addresses[ACTIVATE], model.outputs, c, model.slopes,
                        ldz, m, n_vectors,
                    )  # fmt: skip
                    if layer + 1 < len(model.layers):
                        _drop(model, layer + 1, model.outputs, c, ldz, r, m, j0, n_vectors)


@kernel
def backward(layer, worker, n_workers, model, data, start, n_rows, mode, step, scale):
    """Write D_{l-1} = (D_l W_l^T) phi'_{l-1} into the worker's part of the deltas; l > 0."""
    n_in, n_out, w0, _, _, _, a, lda, z, ldz = model.layers[layer]
    code, stores = model.layers[layer - 1, ACTIVATION], model.layers[layer - 1, STORES]
    D = model.deltas
    lanes = n_lanes(D)
    P = model.packed[worker]
    v0, v1, r0, r1 = share(vectors_for(n_in, D), n_rows, n_workers, worker)
    for panel in range(n_panels(v0, v1)):
        j0, n_columns, n_vectors = columns(v0, v1, panel, n_in, lanes)
        width = n_vectors * lanes
        for k0 in range(0, n_out, DEPTH):
            depth = min(DEPTH, n_out - k0)
            pack_transposed(model.w, w0 + j0 * n_out + k0, n_out, depth, n_columns, P)
            for r in range(r0, r1, CHUNK):
                m = min(CHUNK, r1 - r)
                c = a + r * lda + j0
                multiply(
                    D, z + r * ldz + k0, ldz, P, 0, width, D, c, lda, m, depth, n_vectors, k0 > 0
                )
                if k0 + depth == n_out:
                    activations.multiply_by_derivative(
                        code, stores, model.outputs, model.slopes, c, D, c, lda, m, n_vectors
                    )


@inlined
def _copy(source, s, s_stride, target, t, t_stride, n_rows, n_columns):
    for i in range(n_rows):
        from_row = source[s + i * s_stride : s + i * s_stride + n_columns]
        to_row = target[t + i * t_stride : t + i * t_stride + n_columns]
        for j in range(n_columns):
            to_row[j] = from_row[j]


@inlined
def n_params(layers):
    """Return the length of the parameter vector."""
    n_in, n_out, w0, b0 = (
        layers[-1, N_IN],
        layers[-1, N_OUT],
        layers[-1, W_OFFSET],
        layers[-1, B_OFFSET],
    )
    return b0 + n_out if b0 >= 0 else w0 + n_in * n_out


@inlined
def update(model, at, stride, G, g, g_stride, n_rows, n_columns, is_weight, step):
    """Update the parameters (n_rows, n_columns) from `at` on by their gradient, G from g on."""
    if model.addresses[RULE] != 0:
        call_at(
            model.addresses[RULE],
            (
                model.rule, model.w, at, stride, model.states, n_params(model.layers),
                G, g, g_stride, n_rows, n_columns, model.coefficients, is_weight,
            ),
        )  # fmt: skip
        return
    w = model.w
    n_vectors = n_columns // n_lanes(w)
    rowwise.multiply_add(w, at, stride, G, g, g_stride, n_rows, n_vectors, -step)
    for i in range(n_rows):
        for j in range(n_vectors * n_lanes(w), n_columns):
            k = at + i * stride + j
            w[k] = fma(-step, G[g + i * g_stride + j], w[k])


@kernel
def weights(layer, worker, n_workers, model, data, start, n_rows, mode, step, scale):
    """Finish dW = A^T D and db = sum of D over rows, for the worker's part of the layer."""
    n_in, n_out, w0, b0, _, _, a, lda, z, ldz = model.layers[layer]
    A = model.inputs if layer == 0 else model.outputs
    D = model.deltas
    lanes = n_lanes(A)
    G = model.scratch[worker]
    v0, v1, r0, r1 = share(vectors_for(n_out, A), n_in, n_workers, worker)
    for panel in range(n_panels(v0, v1)):
        j0, n_columns, n_vectors = columns(v0, v1, panel, n_out, lanes)
        width = n_vectors * lanes
        for i0 in range(r0, r1, BLOCK):
            m = min(BLOCK, r1 - i0)
            first = w0 + i0 * n_out + j0
            if mode == ACCUMULATE:
                _copy(model.gradient, first, n_out, G, 0, width, m, n_columns)
            elif mode == UPDATE:
                rowwise.prefetch(model.w, first, n_out, m, n_columns)
                for at in range(first, len(model.states), n_params(model.layers)):
                    rowwise.prefetch(model.states, at, n_out, m, n_columns)
            multiply_transposed(
                A, a + i0, lda, D, z + j0, ldz, G, 0, width,
                m, n_rows, n_vectors, mode == ACCUMULATE,
            )  # fmt: skip
            if mode == UPDATE:
                update(model, first, n_out, G, 0, width, m, n_columns, True, step)
            else:
                _copy(G, 0, width, model.gradient, first, n_out, m, n_columns)
        if b0 >= 0 and r0 == 0 < r1:  # of workers without rows, several may begin at 0
            g = G[:width]
            for j in range(width):
                g[j] = 0
            if mode == ACCUMULATE:
                _copy(model.gradient, b0 + j0, 0, g, 0, 0, 1, n_columns)
            for r in range(n_rows):
                rowwise.add(g, 0, 0, D, z + r * ldz + j0, 0, 1, n_vectors, 0)
            if mode == UPDATE:
                update(model, b0 + j0, 0, G, 0, 0, 1, n_columns, False, step)
            else:
                _copy(g, 0, 0, model.gradient, b0 + j0, 0, 1, n_columns)


@kernel
def gather(layer, worker, n_workers, model, data, start, n_rows, mode, step, scale):
    """Copy the worker's rows of the batch into the inputs."""
    r0, r1 = split(n_rows, n_workers, worker)
    n_in, lda = model.layers[0, N_IN], model.layers[0, A_STRIDE]
    for r in range(r0, r1):
        x = data.X[data.x_index[start + r]]
        a = model.inputs[r * lda : r * lda + n_in]
        for j in range(n_in):
            a[j] = x[j]
    n_vectors = vectors_for(n_in, model.inputs)
    _drop(model, 0, model.inputs, r0 * lda, lda, r0, r1 - r0, 0, n_vectors)


@kernel
def loss(layer, worker, n_workers, model, data, start, n_rows, mode, step, scale):
    """Write the losses of the worker's rows and, times scale, the deltas of the output layer."""
    _, n_out, _, _, code, stores, _, _, z, ldz = model.layers[layer]
    r0, r1 = split(n_rows, n_workers, worker)
    at = z + r0 * ldz
    # One over the sum of a batch's small weights may be too large: then weights come first.
    weights_first = scale > LARGE
    factor = like(1.0 if weights_first else scale, model.w[0])
    losses.losses_and_deltas(
        model.loss, model.loss_parameter, model.addresses[ELEMENTWISE], code,
        model.outputs, at, ldz, r1 - r0, n_out,
        (data.labels, data.targets, data.y_index), start + r0, factor,
        model.deltas, model.sample_losses[r0:r1],
    )  # fmt: skip
    if not losses.takes_z(model.loss):
        n_vectors = vectors_for(n_out, model.deltas)
        activations.multiply_by_derivative(
            code, stores, model.outputs, model.slopes, at, model.deltas, at, ldz, r1 - r0, n_vectors
        )
    if data.weights.size > 0:
        for r in range(r0, r1):
            weight = np.float64(data.weights[data.y_index[start + r]])
            factor = like(weight * scale if weights_first else weight, model.w[0])
            model.sample_losses[r] = weight * model.sample_losses[r] if weight > 0 else 0
            d = model.deltas[z + r * ldz : z + r * ldz + n_out]
            for j in range(n_out):
                d[j] = factor * d[j] if weight > 0 else 0


@kernel
def softmax(layer, worker, n_workers, model, data, start, n_rows, mode, step, scale):
    """Turn the worker's rows of the output layer's Z into softmax(Z)."""
    _, n_out, _, _, _, _, _, _, z, ldz = model.layers[layer]
    r0, r1 = split(n_rows, n_workers, worker)
    at, one = z + r0 * ldz, like(1, model.w[0])
    activations.softmax(
        model.outputs, at, ldz, r1 - r0, n_out, one, model.deltas, model.sample_losses[r0:r1]
    )
    n_vectors = vectors_for(n_out, model.deltas)
    rowwise.copy(model.outputs, at, ldz, model.deltas, at, ldz, r1 - r0, n_vectors, 0)


# By phase. All have one signature: a worker's part of a phase, for rows start .. start + n_rows of
# the order. They are called by address, each compiled once.
PHASES = {
    GATHER: gather,
    FORWARD: forward,
    SOFTMAX: softmax,
    LOSS: loss,
    BACKWARD: backward,
    WEIGHTS: weights,
}
