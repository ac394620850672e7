"""How fast numbers come and go, from memory and from a core's own cache: STREAM's triad."""

from __future__ import annotations

import time

import numba
import numpy as np

from fastmlp.kernels.jit import parallel_kernel

NUMBERS = 2**26  # of an array: three of 256 MiB, more than a last-level cache holds
CACHED = 2**14  # of each thread's part of an array: three of 64 KiB, in its second-level cache
SECONDS = 0.05


@parallel_kernel
def _triad(a, b, c, n_times, n_threads):
    """Write b + k c into a for k = 0, 1, ...; each thread has a part of the arrays of its own."""
    for thread in numba.prange(n_threads):
        first, last = thread * len(a) // n_threads, (thread + 1) * len(a) // n_threads
        to, x, y = a[first:last], b[first:last], c[first:last]
        for k in range(n_times):
            scale = np.float32(k)
            for i in range(len(to)):
                to[i] = x[i] + scale * y[i]


class Triad:
    """Arrays of so many numbers for each of so many threads."""

    def __init__(self, numbers: int, n_threads: int) -> None:
        self.n_threads = n_threads
        self.arrays = [np.ones(numbers * n_threads, np.float32) for _ in range(3)]
        self.n_times = 1
        self._seconds()  # compiles
        while self._seconds() < SECONDS:
            self.n_times *= 2

    def _seconds(self) -> float:
        began = time.perf_counter()
        _triad(*self.arrays, self.n_times, self.n_threads)
        return time.perf_counter() - began

    def bytes_per_second(self, repeats: int = 3) -> float:
        """Return the best of several; what a write fetches before is not counted."""
        n_bytes = self.n_times * sum(array.nbytes for array in self.arrays)
        return n_bytes / min(self._seconds() for _ in range(repeats))
