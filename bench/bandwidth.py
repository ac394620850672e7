"""How fast numbers come and go, from memory and from a core's own cache."""

from __future__ import annotations

import time

import numpy as np

from bench import kernel_loops

NUMBERS = 2**26  # of an array: two of 256 MiB, more than a last-level cache holds
CACHED = 2**14  # of each thread's part of an array: two of 64 KiB, in its second-level cache
SECONDS = 0.05


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
        kernel_loops.add_and_subtract(self.x, self.y, self.n_times, self.n_threads)
        return time.perf_counter() - began

    def bytes_per_second(self, repeats: int = 3) -> float:
        """Return the best of several, of numbers read (two each time) and written (one)."""
        n_bytes = self.n_times * (2 * self.x.nbytes + self.y.nbytes)
        return n_bytes / min(self._seconds() for _ in range(repeats))
