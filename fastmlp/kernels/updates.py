"""Update rules and inner products over flat vectors."""

from __future__ import annotations

import numpy as np
from numba import prange

from fastmlp.kernels import rowwise
from fastmlp.kernels.batch import split
from fastmlp.kernels.dot import dot_lines_in_float64, line_length
from fastmlp.kernels.jit import entry_kernel, fma, kernel, like, parallel_kernel
from fastmlp.kernels.tile import n_lanes


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
def descend(w, g, step, n_workers, done):
    """Subtract step * g from w, shared out among workers, and count the update in done[0]."""
    if n_workers > 1:
        _share_out(w, g, like(step, w[0]), n_workers)
    else:  # no parallel region: threads may be unsafe here
        _descend(w, g, like(step, w[0]), 0, g.size)
    done[0] += 1


@entry_kernel
def dot(x, y):
    """Return the inner product of two vectors, summed in float64 in a fixed order."""
    n_lines = x.size // line_length(x)
    total = dot_lines_in_float64(x, 0, y, 0, n_lines)
    for j in range(n_lines * line_length(x), x.size):
        total = fma(np.float64(x[j]), np.float64(y[j]), total)
    return total
