"""The most that this machine's arithmetic allows, as the library's own register tile finds it."""

from __future__ import annotations

import time

import numpy as np

from fastmlp.kernels.jit import entry_kernel
from fastmlp.kernels.tile import ROWS, VECTOR_BYTES, VECTORS, multiply

DEPTH = 4096
SECONDS = 0.02


@entry_kernel
def _multiply_often(A, B, C, n_times):
    """Add A B to C so many times. A (DEPTH,) is every row of A, B (width,) every row of B."""
    for _ in range(n_times):
        # Strides of 0 keep it all in the first-level cache, so that only the arithmetic counts.
        multiply(A, 0, 0, B, 0, 0, C, 0, len(B), ROWS, len(A), VECTORS, True)


def flops_of_one_core(repeats: int = 5) -> float:
    """Return the float32 flops per second of one core's multiply-adds, the best of several."""
    width = VECTORS * VECTOR_BYTES // 4
    A = np.resize(np.array([1, -1], np.float32), DEPTH)  # sums that do not grow
    B, C = np.ones(width, np.float32), np.zeros(ROWS * width, np.float32)
    flops = 2 * ROWS * width * DEPTH

    def seconds(n_times: int) -> float:
        began = time.perf_counter()
        _multiply_often(A, B, C, n_times)
        return time.perf_counter() - began

    seconds(1)  # compiles
    n_times = 1
    while seconds(n_times) < SECONDS:
        n_times *= 2
    return flops * n_times / min(seconds(n_times) for _ in range(repeats))
