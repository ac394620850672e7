"""Rows of a source, of which the next are read while the last are in use."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from fastmlp.sources.base import Rows, Source


class ReadAhead:
    """Two buffers of rows: of one the caller has a view, the other is filled by a thread.

    Parameters
    ----------
    source : Source
    dtype : numpy.dtype
        Of the buffers.
    n_rows : int
        The most rows at a time.
    """

    def __init__(self, source: Source, dtype: np.dtype[Any], n_rows: int) -> None:
        self._source = source
        self._buffers = [np.empty((n_rows, source.shape[1]), dtype) for _ in range(2)]
        self._free = 0  # the buffer that no one looks at
        self._expected: Rows | None = None
        self._reading: Future[None] | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._process = os.getpid()

    def rows(self, rows: Rows) -> np.ndarray:
        """Return a view of rows, in C order, good until rows are asked for again."""
        if self._process != os.getpid():  # a fork: the thread is not here
            self._process = os.getpid()
            self._thread = self._reading = self._expected = None
        reading, expected = self._reading, self._expected
        if reading is not None:
            error = reading.exception()  # waits
            self._reading = self._expected = None
            if _same(rows, expected):
                if error is not None:
                    raise error
                return self._take(rows)
        self._source.read(rows, self._buffers[self._free][: _length(rows)])
        return self._take(rows)

    def _take(self, rows: Rows) -> np.ndarray:
        """Return the rows in the free buffer, which is free no longer."""
        view = self._buffers[self._free][: _length(rows)]
        self._free = 1 - self._free
        return view

    def expect(self, rows: Rows) -> None:
        """Begin to read rows that will be asked for next."""
        if self._reading is not None or self._process != os.getpid():
            return
        out = self._buffers[self._free][: _length(rows)]
        try:
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, "fastmlp-reading")
            self._expected = rows
            self._reading = self._thread.submit(self._source.read, rows, out)
        except RuntimeError:  # no more threads, as when Python ends: read when it is asked for
            self._thread = None
        except BaseException:  # Ctrl-C, and a thread may have begun to write into the free buffer
            self._thread = self._reading = None
            self._buffers = [np.empty_like(buffer) for buffer in self._buffers]
            raise


def _length(rows: Rows) -> int:
    return rows.stop - rows.start if isinstance(rows, slice) else len(rows)


def _same(rows: Rows, others: Rows | None) -> bool:
    if isinstance(rows, np.ndarray) and isinstance(others, np.ndarray):
        return np.array_equal(rows, others)
    return isinstance(rows, slice) and isinstance(others, slice) and rows == others
