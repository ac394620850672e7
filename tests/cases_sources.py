"""Sources made of arrays, for tests."""

import threading

import numpy as np

from fastmlp.sources import Source


class Stored(Source):
    """The rows of an array, as a file's would be: copied when read, and by one reader at a time."""

    n_dropped, memory_limit = 3, 12345

    def __init__(self, array, has_random_access=False):
        self.array, self.has_random_access = array, has_random_access
        self.shape, self.dtype, self.y = array.shape, array.dtype, np.arange(len(array))
        self.names, self.n_read = [f"x{i}" for i in range(array.shape[1])], 0

    def read(self, rows, out):
        assert out.shape == (len(np.r_[rows]), self.shape[1])
        self.n_read += len(out)
        out[...] = self.array[rows]


class Rows(Source):
    """The rows of an array, read by a class of a user's own, which can fail."""

    def __init__(self, X, has_random_access=True):
        self.X, self.has_random_access = X, has_random_access
        self.shape, self.dtype = X.shape, X.dtype
        self.threads, self.n_read, self.fails_at = set(), 0, None

    def read(self, rows, out):
        self.n_read += 1
        if self.n_read == self.fails_at:
            raise OSError("the disk is gone")
        self.threads.add(threading.current_thread().name)
        out[...] = self.X[rows]
