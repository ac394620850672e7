"""Compiled loops of the benchmarks' own.

Most are around kernels that Python cannot call: so many times over, nothing else in between.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from fastmlp.kernels import elementary, pack, tile
from fastmlp.kernels.jit import entry_kernel, inlined, parallel_kernel


@entry_kernel
def multiply(A, lda, B, ldb, C, ldc, n_rows, n, n_vectors, accumulate, n_times):
    for _ in range(n_times):
        tile.multiply(A, 0, lda, B, 0, ldb, C, 0, ldc, n_rows, n, n_vectors, accumulate)


@entry_kernel
def multiply_transposed(A, lda, B, ldb, C, ldc, n_rows, n, n_vectors, accumulate, n_times):
    for _ in range(n_times):
        tile.multiply_transposed(A, 0, lda, B, 0, ldb, C, 0, ldc, n_rows, n, n_vectors, accumulate)


@entry_kernel
def multiply_row(A, B, ldb, C, n, n_vectors, n_times):
    for _ in range(n_times):
        tile.multiply_row(A, 0, B, 0, ldb, C, 0, n, n_vectors)


@entry_kernel
def pack_panel(w, offset, stride, n, width, P, n_times):
    for _ in range(n_times):
        pack.pack(w, offset, stride, n, width, P)


@entry_kernel
def pack_transposed_panel(w, offset, stride, n, width, P, n_times):
    for _ in range(n_times):
        pack.pack_transposed(w, offset, stride, n, width, P)


def _loop(function: Callable[..., Any]) -> Any:
    @inlined
    def loop(x, y):
        for j in range(x.size):
            y[j] = function(x[j])

    return loop


@inlined
def _exp_and_expm1(x, y):
    for j in range(x.size):
        both = elementary.exp_and_expm1(-abs(x[j]))
        y[j] = both[0] - both[1]


_exp = _loop(elementary.exp)
_log = _loop(elementary.log)
_sigmoid = _loop(elementary.sigmoid)
_tanh = _loop(elementary.tanh)
_softplus = _loop(elementary.softplus)
_log_cosh = _loop(elementary.log_cosh)
ELEMENTARY = ("exp", "exp_and_expm1", "log", "sigmoid", "tanh", "softplus", "log_cosh")


@entry_kernel
def apply(code, x, y, n_times):
    """Write into y the function ELEMENTARY[code] of x; of exp_and_expm1 the difference."""
    for _ in range(n_times):
        if code == 0:
            _exp(x, y)
        elif code == 1:
            _exp_and_expm1(x, y)
        elif code == 2:
            _log(x, y)
        elif code == 3:
            _sigmoid(x, y)
        elif code == 4:
            _tanh(x, y)
        elif code == 5:
            _softplus(x, y)
        else:
            _log_cosh(x, y)


@parallel_kernel
def add_and_subtract(x, y, n_times, n_threads):
    """Add y to x, subtract it, ... so many times; each thread has a part of both of its own.

    In place, as STREAM's kernels are not: those fetch what they write before, uncounted.
    """
    for thread in numba.prange(n_threads):
        first, last = thread * len(x) // n_threads, (thread + 1) * len(x) // n_threads
        to, of = x[first:last], y[first:last]
        for k in range(n_times):
            sign = np.float32(1 - 2 * (k % 2))
            for i in range(len(to)):
                to[i] += sign * of[i]
