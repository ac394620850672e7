"""How fast numbers come and go, from memory and from a core's own cache."""

from __future__ import annotations

import time

import numba
import numpy as np

from fastmlp.kernels.jit import parallel_kernel

NUMBERS = 2**26  # of an array: two of 256 MiB, more than a last-level cache holds
CACHED = 2**14  # of each thread's part of an array: two of 64 KiB, in its second-level cache
SECONDS = 0.05


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


class Stream:
    """Two arrays of so many numbers for each of so many threads."""

    def __init__(self, numbers: int, n_threads: int) -> None:
        self.n_threads = n_threads
        self.x, self.y = (np.ones(numbers * n_threads, np.float32) for _ in range(2))
        self.n_times = 1
        self._seconds()  # compiles
        while self._seconds() < SECONDS:
            self.n_times *= 2

    def _seconds(self) -> float:
        began = time.perf_counter()
        add_and_subtract(self.x, self.y, self.n_times, self.n_threads)
        return time.perf_counter() - began

    def bytes_per_second(self, repeats: int = 3) -> float:
        """Return the best of several, of numbers read (two each time) and written (one)."""
        n_bytes = self.n_times * (2 * self.x.nbytes + self.y.nbytes)
        return n_bytes / min(self._seconds() for _ in range(repeats))
