"""Passes over whole parameter vectors: updates that wait for the whole gradient, and what follows.

Phases of a batch, as those of batch.py, for updates that `batch.weights` does not do itself; and
steps and inner products of vectors.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from fastmlp.kernels import batch, rowwise, rules
from fastmlp.kernels.batch import columns, n_panels, n_params, share, split, update
from fastmlp.kernels.dot import dot_lines_in_float64, line_length
from fastmlp.kernels.jit import entry_kernel, fma, inlined, kernel, like, parallel_kernel
from fastmlp.kernels.tile import n_lanes, vectors_for

# Numbers whose squares are one sum: the sums' shape does not follow the workers.
SUMMED = 2**14


@inlined
def _dot(x, y):
    n_lines = x.size // line_length(x)
    total = dot_lines_in_float64(x, 0, y, 0, n_lines)
    for j in range(n_lines * line_length(x), x.size):
        total = fma(np.float64(x[j]), np.float64(y[j]), total)
    return total


@kernel
def squares(layer, worker, n_workers, model, data, start, n_rows, mode, step, scale):
    """Write the worker's sums of squares of the whole gradient behind the coefficients."""
    g = model.gradient
    sums = model.coefficients[rules.N_COEFFICIENTS :]
    first, last = split(len(sums), n_workers, worker)
    for k in range(first, last):
        stop = min((k + 1) * SUMMED, len(g))
        sums[k] = _dot(g[k * SUMMED : stop], g[k * SUMMED : stop])


@kernel
def apply(layer, worker, n_workers, model, data, start, n_rows, mode, step, scale):
    """Update the worker's part of a layer's parameters by the gradient that was written."""
    n_in, n_out, w0, b0 = model.layers[layer, :4]
    lanes = n_lanes(model.w)
    v0, v1, r0, r1 = share(vectors_for(n_out, model.w), n_in, n_workers, worker)
    j0, n_columns = v0 * lanes, min(v1 * lanes, n_out) - v0 * lanes
    at = w0 + r0 * n_out + j0
    update(model, at, n_out, model.gradient, at, n_out, r1 - r0, n_columns, True, step)
    if b0 >= 0 and r0 == 0 < r1:  # as `batch.weights` shares them
        at = b0 + j0
        update(model, at, 0, model.gradient, at, 0, 1, n_columns, False, step)


@kernel
def max_norm(layer, worker, n_workers, model, data, start, n_rows, mode, step, scale):
    """Shorten the worker's columns of W that are longer than the largest norm to that."""
    n_in, n_out, w0 = model.layers[layer, :3]
    w, factors = model.w, model.scratch[worker]
    most = like(model.coefficients[rules.MAX_NORM], w[0])
    lanes = n_lanes(w)
    v0, v1 = split(vectors_for(n_out, w), n_workers, worker)
    for panel in range(n_panels(v0, v1)):
        j0, n_columns, n_vectors = columns(v0, v1, panel, n_out, lanes)
        f = factors[: n_vectors * lanes]
        f[:] = 0
        for i in range(n_in):  # reads beyond the last row stay within the buffer
            rowwise.add_squares(factors, 0, 0, w, w0 + i * n_out + j0, 0, 1, n_vectors, most)
        any_longer = False
        for j in range(n_columns):
            norm = np.sqrt(f[j])
            any_longer |= not norm <= most
            # A norm that is not finite makes NaNs: the run ends as diverged, not with zeros.
            f[j] = 1 if norm <= most else most / norm if norm < np.inf else np.nan
        if any_longer:
            for i in range(n_in):
                at = w0 + i * n_out + j0
                row = w[at : at + n_columns]
                for j in range(n_columns):
                    row[j] *= f[j]


@kernel
def average(layer, worker, n_workers, model, data, start, n_rows, mode, step, scale):
    """Move the worker's part of the mean of iterates towards the newest one."""
    share = like(model.coefficients[rules.AVERAGE], model.w[0])
    if share == 0:
        return
    n = n_params(model.layers)
    first, last = split(n, n_workers, worker)
    at = len(model.states) - n
    mean = model.states[at + first : at + last]
    lost = model.states[at - n + first : at - n + last]
    w = model.w[first:last]
    for j in range(len(w)):  # Kahan's summation: late changes are small
        change = fma(share, w[j] - mean[j], lost[j])
        moved = mean[j] + change
        lost[j] = change - (moved - mean[j])
        mean[j] = moved


PHASES = {
    batch.SQUARES: squares,
    batch.APPLY: apply,
    batch.MAX_NORM: max_norm,
    batch.AVERAGE: average,
}


@kernel
def _descend(w, g, step, start, stop):
    n_vectors = (stop - start) // n_lanes(w)
    rowwise.multiply_add(w, start, 0, g, start, 0, 1, n_vectors, -step)
    for j in range(start + n_vectors * n_lanes(w), stop):
        w[j] = fma(-step, g[j], w[j])


@parallel_kernel
def _share_out(w, g, step, n_workers):
    for worker in prange(n_workers):
        start, stop = split(g.size, n_workers, np.int64(worker))
        _descend(w, g, step, start, stop)


@entry_kernel
def descend(w, g, step, n_workers):
    """Subtract step * g from w, shared out among workers."""
    if n_workers > 1:
        _share_out(w, g, like(step, w[0]), n_workers)
    else:  # no parallel region: threads may be unsafe here
        _descend(w, g, like(step, w[0]), 0, g.size)


@entry_kernel
def dot(x, y):
    """Return the inner product of two vectors, summed in float64 in a fixed order."""
    return _dot(x, y)


@entry_kernel
def sum_of(weights, index):
    """Return the sum of the weights at these indices, in float64 and in order."""
    total = 0.0
    for i in index:
        total += np.float64(weights[i])
    return total
