"""Forward and backpropagation of one sample at a time; the epoch of per-sample SGD.

Serial, in the core's own cache, with nothing packed or gathered: for one row that costs more than
it saves.
"""

from __future__ import annotations

import numpy as np

from fastmlp.kernels import activations, losses
from fastmlp.kernels.batch import (
    A_OFFSET,
    ACTIVATE,
    ACTIVATION,
    ELEMENTWISE,
    LOSSES,
    N_OUT,
    SAMPLE_WEIGHTS,
    STORES,
    Z_OFFSET,
)
from fastmlp.kernels.dot import dot_lines, line_length
from fastmlp.kernels.jit import entry_kernel, fma, inlined, like
from fastmlp.kernels.rowwise import load, multiply_add, scale, store
from fastmlp.kernels.tile import multiply_row, n_lanes, vectors_for

UPDATE, GRADIENT = range(2)


# These take arrays, not the tuples of arrays that hold them: at each access to a member of such a
# tuple Numba counts a reference, which costs as much as the arithmetic of a small layer.


@inlined
def _few_outputs(A, a, w, w0, n_out, Z, z, n_in):
    """Write A W into Z for the row at A[a:], output by output, each as four sums in turns.

    Vectors would be mostly empty, and wait for the single numbers just updated in w.
    """
    n_fours = n_in - n_in % 4
    zero = like(0, Z[z])
    for j in range(n_out):
        s0 = s1 = s2 = s3 = zero
        at = w0 + j
        for k in range(a, a + n_fours, 4):
            s0 = fma(load(A, k), load(w, at), s0)
            s1 = fma(load(A, k + 1), load(w, at + n_out), s1)
            s2 = fma(load(A, k + 2), load(w, at + 2 * n_out), s2)
            s3 = fma(load(A, k + 3), load(w, at + 3 * n_out), s3)
            at += 4 * n_out
        for k in range(a + n_fours, a + n_in):
            s0 = fma(load(A, k), load(w, at), s0)
            at += n_out
        store(Z, z + j, (s0 + s1) + (s2 + s3))


@inlined
def _layer(A, a, w, row, Z, S, no_bias, address):
    """Write phi(A W + b) into Z for the row at A[a:]; slopes into S, by `stored.activate`."""
    n_in, n_out, w0, b0, code, stores, _, _, z, _ = row
    n_vectors = vectors_for(n_out, Z)
    if 4 * n_out <= line_length(Z):
        _few_outputs(A, a, w, w0, n_out, Z, z, n_in)
        if b0 >= 0:
            for j in range(n_out):
                store(Z, z + j, load(Z, z + j) + load(w, b0 + j))
        if code != activations.IDENTITY:
            activations.activate(code, no_bias, 0, Z, z, 0, 1, n_vectors)
    else:
        multiply_row(A, a, w, w0, n_out, Z, z, n_in, n_vectors)
        if b0 >= 0:  # the workspace's w has room for whole vectors behind its end
            activations.activate(code, w, b0, Z, z, 0, 1, n_vectors)
        else:
            activations.activate(code, no_bias, 0, Z, z, 0, 1, n_vectors)
    activations.activate_stored(code, stores, address, Z, z, S, 0, 1, n_vectors)


@inlined
def _forward(layers, w, X, x, Z, S, no_bias, address):
    """Write A_1 .. A_L of the row at X[x:] into Z."""
    _layer(X, x, w, layers[0], Z, S, no_bias, address)
    for layer in range(1, len(layers)):
        _layer(Z, layers[layer, A_OFFSET], w, layers[layer], Z, S, no_bias, address)


@inlined
def _put(mode, D, d, n, s, step, w, at, G, g):
    """w[at:] -= step * s * D[d:], or G[g + at:] = s * D[d:]; n numbers each."""
    n_vectors = n // n_lanes(D)
    factor = -step * s
    if n_vectors > 0:
        if mode == UPDATE:
            multiply_add(w, at, 0, D, d, 0, 1, n_vectors, factor)
        else:
            scale(G, g + at, 0, D, d, 0, 1, n_vectors, s)
    for j in range(n_vectors * n_lanes(D), n):
        if mode == UPDATE:
            store(w, at + j, fma(factor, load(D, d + j), load(w, at + j)))
        else:
            store(G, g + at + j, s * load(D, d + j))


@inlined
def _dot_and_put(mode, D, d, n, s, step, w, at, G, g):
    """Return the inner product of w[at:] and D[d:], n numbers each, and do `_put`, in one pass."""
    n_whole = n - n % line_length(D)
    factor = -step * s
    total = like(0, s)
    if n_whole > 0:
        total = dot_lines(w, at, D, d, n_whole // line_length(D))
        _put(mode, D, d, n_whole, s, step, w, at, G, g)
    for j in range(n_whole, n):
        w_j, d_j = load(w, at + j), load(D, d + j)
        total = fma(w_j, d_j, total)
        if mode == UPDATE:
            store(w, at + j, fma(factor, d_j, w_j))
        else:
            store(G, g + at + j, s * d_j)
    return total


@inlined
def _backward(layers, w, X, x, Z, S, D, mode, step, G, g):
    """From D_L on: update w in place, or write the gradient into G[g:], layer by layer."""
    one = like(1, step)
    for layer in range(len(layers) - 1, -1, -1):
        n_in, n_out, at, b0, _, _, a, _, d, _ = layers[layer]
        if b0 >= 0:
            _put(mode, D, d, n_out, one, step, w, b0, G, g)
        if layer == 0:
            for k in range(n_in):
                _put(mode, D, d, n_out, load(X, x + k), step, w, at, G, g)
                at += n_out
        else:
            for k in range(n_in):
                s = load(Z, a + k)
                store(D, a + k, _dot_and_put(mode, D, d, n_out, s, step, w, at, G, g))
                at += n_out
            code, stores = layers[layer - 1, ACTIVATION], layers[layer - 1, STORES]
            n_vectors = vectors_for(n_in, D)
            activations.multiply_by_derivative(code, stores, Z, S, a, D, a, 0, 1, n_vectors)


@inlined
def _loss(layers, loss, parameter, elementwise, Z, S, truth, entry, D, sample_losses):
    """Return the loss of the order's entry and write D_L, from what `_forward` left."""
    last = len(layers) - 1
    n_out, code, z = layers[last, N_OUT], layers[last, ACTIVATION], layers[last, Z_OFFSET]
    losses.losses_and_deltas(
        loss, parameter, elementwise, code, Z, z, 0, 1, n_out, truth, entry, like(1, Z[0]),
        D, sample_losses,
    )  # fmt: skip
    if not losses.takes_z(loss):
        stores, n_vectors = layers[last, STORES], vectors_for(n_out, D)
        activations.multiply_by_derivative(code, stores, Z, S, z, D, z, 0, 1, n_vectors)
    return sample_losses[0]


@entry_kernel
def sgd(model, data, steps, total, done):
    """Update w by one sample after the other, one for each of `steps`; count them in done[0].

    A sample's weight multiplies its loss and its step. Each weighted loss, as it was before its
    update, is added to total[LOSSES], the weights to total[SAMPLE_WEIGHTS]. Ends early where the
    total is not finite, that step not done.
    """
    layers, w, Z, D, no_bias = model.layers, model.w, model.outputs, model.deltas, model.no_bias
    S, address = model.slopes, model.addresses[ACTIVATE]
    X, index, sample_losses = data.X.reshape(-1), data.x_index, model.sample_losses
    truth = (data.labels, data.targets, data.y_index)
    loss, parameter, elementwise = model.loss, model.loss_parameter, model.addresses[ELEMENTWISE]
    n_features = data.X.shape[1]
    is_weighted = data.weights.size > 0
    for k in range(len(steps)):
        x = index[k] * n_features
        weight = like(1, w[0])
        if is_weighted:
            weight = data.weights[data.y_index[k]]
            total[SAMPLE_WEIGHTS] += np.float64(weight)
            if weight == 0:  # its loss may be infinite
                done[0] += 1
                continue
        _forward(layers, w, X, x, Z, S, no_bias, address)
        sample_loss = _loss(layers, loss, parameter, elementwise, Z, S, truth, k, D, sample_losses)
        total[LOSSES] += np.float64(weight) * sample_loss
        if not np.isfinite(total[LOSSES]):
            return
        _backward(layers, w, X, x, Z, S, D, UPDATE, weight * like(steps[k], w[0]), w, 0)
        done[0] += 1
    if not is_weighted:
        total[SAMPLE_WEIGHTS] += len(steps)


@entry_kernel
def gradients(model, data, G):
    """Write the gradient of each sample's loss into its row of G (n, n_params)."""
    layers, w, Z, D, no_bias = model.layers, model.w, model.outputs, model.deltas, model.no_bias
    S, address = model.slopes, model.addresses[ACTIVATE]
    X, flat = data.X.reshape(-1), G.reshape(-1)
    truth = (data.labels, data.targets, data.y_index)
    loss, parameter, elementwise = model.loss, model.loss_parameter, model.addresses[ELEMENTWISE]
    for i in range(len(G)):
        x = data.x_index[i] * data.X.shape[1]
        _forward(layers, w, X, x, Z, S, no_bias, address)
        _loss(layers, loss, parameter, elementwise, Z, S, truth, i, D, model.sample_losses)
        _backward(layers, w, X, x, Z, S, D, GRADIENT, like(0, w[0]), flat, i * G.shape[1])


@entry_kernel
def jacobians(model, data, J):
    """Write d prediction / d w of each sample into J (n, n_out, n_params)."""
    layers, w, Z, D, no_bias = model.layers, model.w, model.outputs, model.deltas, model.no_bias
    S, address = model.slopes, model.addresses[ACTIVATE]
    X, flat = data.X.reshape(-1), J.reshape(-1)
    last = len(layers) - 1
    code, stores, z = layers[last, ACTIVATION], layers[last, STORES], layers[last, Z_OFFSET]
    n_out = J.shape[1]
    zero, one = like(0, w[0]), like(1, w[0])
    for i in range(len(J)):
        x = data.x_index[i] * data.X.shape[1]
        _forward(layers, w, X, x, Z, S, no_bias, address)
        for o in range(n_out):
            if code == activations.SOFTMAX:  # its Jacobian is Diag(a) - a a^T
                activations.softmax(Z, z, 0, 1, n_out, one, D, model.sample_losses)
                a_o = D[z + o]
                for j in range(n_out):
                    D[z + j] = a_o * ((one if j == o else zero) - D[z + j])
            else:
                for j in range(n_out):
                    D[z + j] = one if j == o else zero
                n_vectors = vectors_for(n_out, D)
                activations.multiply_by_derivative(code, stores, Z, S, z, D, z, 0, 1, n_vectors)
            _backward(layers, w, X, x, Z, S, D, GRADIENT, zero, flat, (i * n_out + o) * J.shape[2])
