"""FileSource: the rows of a table from which what is missing has been left out."""

from __future__ import annotations

import os
import threading
from typing import Any, Self

import numpy as np

from fastmlp.sources.arrays import ArrayTable
from fastmlp.sources.base import BUFFER_RUNS, RUN_NUMBERS, Rows, Source
from fastmlp.sources.blocks import BlockTable
from fastmlp.sources.scan import scan
from fastmlp.sources.tables import Table

# What those who read take at most for buffers, roughly.
BUFFER_BYTES = 2**25
# Of a block that is read for a run of rows at its border; larger ones are read for several.
BORDER_BYTES = 2**21


def shuffle_bytes(table: Table) -> int:
    """Return what the blocks take that runs of rows are in which are shuffled together."""
    if not isinstance(table, BlockTable):
        return 0
    of_a_run = RUN_NUMBERS * table.dtype.itemsize
    at_borders = 2 * min(table.most_rows * table.width * table.dtype.itemsize, BORDER_BYTES)
    all_rows = table.n_rows * table.width * table.dtype.itemsize
    return min(BUFFER_RUNS * (of_a_run + at_borders), all_rows)


class FileSource(Source):
    """Rows of files: what `open` returns."""

    def __init__(
        self,
        table: Table,
        name: str,
        on_missing: str,
        memory_limit: int,
        dtype: np.dtype[Any] | None = None,
    ) -> None:
        self._table, self._name, self.memory_limit = table, name, memory_limit
        self._lock, self._process = threading.Lock(), os.getpid()
        self.dtype, self.names = table.dtype if dtype is None else dtype, table.names
        kept = None
        all_bytes = table.n_rows * table.width * self.dtype.itemsize
        if not table.has_random_access and all_bytes <= memory_limit // 2:
            kept = np.empty((table.n_rows, table.width), self.dtype)
        self.y, self._dropped, self.greatest = scan(table, on_missing, self.dtype, kept)
        self.n_dropped = len(self._dropped)
        self.shape = table.n_rows - self.n_dropped, table.width
        if self.shape[0] == 0:
            raise ValueError(f"{name} has no rows" + (" without NaN" if self.n_dropped else ""))
        self.in_memory: np.ndarray | None = None
        if kept is not None:
            self.in_memory = kept[: self.shape[0]]
        self.has_random_access = table.has_random_access or kept is not None
        taken = (0 if self.y is None else self.y.nbytes) + self._dropped.nbytes
        buffers = BUFFER_BYTES + shuffle_bytes(self._table)
        if kept is None and taken + buffers > memory_limit:
            raise ValueError(
                f"memory_limit={memory_limit} is too low for {name}: its {self.shape[0]} targets "
                f"take {taken} bytes and buffers {buffers}"
            )
        if isinstance(self._table, BlockTable):
            self._table.kept_bytes = memory_limit - taken - BUFFER_BYTES
        # The number of rows dropped before each that is there: see `_stored`.
        self._shifts = self._dropped - np.arange(len(self._dropped))

    def __repr__(self) -> str:
        parts = [self._name, f"{self.shape[0]} rows", f"{self.shape[1]} columns", str(self.dtype)]
        if self.n_dropped:
            parts.append(f"{self.n_dropped} rows dropped")
        return f"<{', '.join(parts)}{'' if self.in_memory is None else ', in memory'}>"

    def read(self, rows: Rows, out: np.ndarray) -> None:
        """Write rows into a buffer, converted to its dtype."""
        if self.in_memory is not None:
            out[...] = self.in_memory[rows]
            return
        with self._served():
            if self.dtype in (out.dtype, self._table.dtype):
                self._table.read(self._stored(rows), out)
            else:  # rounded as they are where they are kept
                rounded = np.empty(out.shape, self.dtype)
                self._table.read(self._stored(rows), rounded)
                out[...] = rounded

    def _served(self) -> threading.Lock:
        """Return what to hold while the files are in use."""
        if self._process != os.getpid():  # a fork: whoever held the lock is not here
            self._lock, self._process = threading.Lock(), os.getpid()
        return self._lock

    def _stored(self, rows: Rows) -> Rows:
        """Return which rows of the table they are."""
        if not len(self._shifts):
            return rows
        if isinstance(rows, slice):
            first, last = np.searchsorted(self._shifts, (rows.start, rows.stop - 1), side="right")
            if first == last or rows.start >= rows.stop:
                return slice(rows.start + int(first), rows.stop + int(first))
            rows = np.arange(rows.start, rows.stop)
        return rows + np.searchsorted(self._shifts, rows, side="right")

    def where(self, row: int) -> str:
        """Return the file of a row and its place there, in words."""
        stored = self._stored(np.array([row]))
        assert isinstance(stored, np.ndarray)
        with self._served():  # it may look into the file
            return self._table.where(int(stored[0]))

    def close(self) -> None:
        """Let go of the files."""
        with self._served():
            self._table.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in vars(self).items() if name != "_lock"}
        if self.in_memory is not None:  # the files may not be there
            columns = np.arange(self.shape[1])
            state["_table"] = ArrayTable(self.in_memory, self._name, columns)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._lock, self._process = threading.Lock(), os.getpid()
