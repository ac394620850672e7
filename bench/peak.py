"""The most that this machine's arithmetic allows, as the library's own register tile finds it."""

from __future__ import annotations

import time

import numpy as np

from bench import kernel_loops
from fastmlp.kernels.tile import ROWS, VECTOR_BYTES, VECTORS

DEPTH = 4096
SECONDS = 0.02


def flops_of_one_core(repeats: int = 5, dtype: str = "float32") -> float:
    """Return the flops per second of one core's multiply-adds, the best of several."""
    width = VECTORS * VECTOR_BYTES // np.dtype(dtype).itemsize
    A = np.resize(np.array([1, -1], dtype), DEPTH)  # sums that do not grow
    B, C = np.ones(width, dtype), np.zeros(ROWS * width, dtype)
    flops = 2 * ROWS * width * DEPTH

    def seconds(n_times: int) -> float:
        began = time.perf_counter()
        # Strides of 0: every row of A, and of B, is the same one. It all stays in the first-level
        # cache, so that only the arithmetic counts.
        kernel_loops.multiply(A, 0, B, 0, C, width, ROWS, DEPTH, VECTORS, True, n_times)
        return time.perf_counter() - began

    seconds(1)  # compiles
    n_times = 1
    while seconds(n_times) < SECONDS:
        n_times *= 2
    return flops * n_times / min(seconds(n_times) for _ in range(repeats))
