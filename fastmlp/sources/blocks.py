"""Files that are read in blocks of rows, of which those used last are kept in memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp.sources.base import Rows
from fastmlp.sources.tables import Table

if TYPE_CHECKING:
    from fastmlp.sources.reader import Reader


class BlockTable(Table):
    """Rows that a format's library decodes, a block at a time.

    Parameters
    ----------
    readers : sequence of Reader
        Of files of the same columns.

    Attributes
    ----------
    most_rows : int
        Of a block.
    kept_bytes : int
        The most memory for blocks that are kept; the one in use is there besides.
    """

    def __init__(self, readers: Sequence[Reader]) -> None:
        first = readers[0]
        for reader in readers[1:]:
            if reader.width != first.width:
                raise ValueError(
                    f"{reader.path} has {reader.width} columns, {first.path} {first.width}"
                )
            if reader.names != first.names and None not in (reader.names, first.names):
                raise ValueError(
                    f"{reader.path} has the columns {reader.names}, {first.path} {first.names}"
                )
        self._readers = readers
        self.names, self.width = first.names, first.width
        self.dtype = np.result_type(*(reader.dtype for reader in readers))
        sizes = [np.diff(reader.ends, prepend=0) for reader in readers]
        self._of = [(reader, i) for reader, ends in zip(readers, sizes, strict=True)
                    for i in range(len(ends))]  # fmt: skip
        self._starts = np.cumsum([0, *np.concatenate(sizes)])
        self._first_rows = np.cumsum([0, *(int(size.sum()) for size in sizes)])
        self.n_rows = int(self._starts[-1])
        self.most_rows = int(np.diff(self._starts).max(initial=0))
        self.kept_bytes = 0
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()
        self._n_bytes = 0  # of them

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_kept": OrderedDict(), "_n_bytes": 0}

    def read(self, rows: Rows, out: np.ndarray) -> None:
        """Write rows into out (n, width), converted to its dtype."""
        if isinstance(rows, slice):
            for block in self._blocks_of(rows):
                start, stop = self._starts[block : block + 2]
                first, last = max(rows.start, start), min(rows.stop, stop)
                X = self._block(block)[first - start : last - start]
                out[first - rows.start : last - rows.start] = X
            return
        if not len(rows):
            return
        of_block = np.searchsorted(self._starts, rows, side="right") - 1
        order = np.argsort(of_block, kind="stable")
        blocks, begins = np.unique(of_block[order], return_index=True)
        for block, places in zip(blocks, np.split(order, begins[1:]), strict=True):
            out[places] = self._block(int(block))[rows[places] - self._starts[block]]

    def _blocks_of(self, rows: slice) -> range:
        if rows.start >= rows.stop:
            return range(0)
        first, last = np.searchsorted(self._starts, (rows.start, rows.stop - 1), side="right")
        return range(int(first) - 1, int(last))

    def _block(self, block: int) -> np.ndarray:
        """Return the rows of a block, kept or read."""
        if block in self._kept:
            self._kept.move_to_end(block)
            return self._kept[block]
        X, _ = self._read(block)
        self._n_bytes += X.nbytes
        self._kept[block] = X
        while self._kept and self._n_bytes > self.kept_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._n_bytes -= oldest.nbytes
        return X

    def _read(self, block: int) -> tuple[np.ndarray, np.ndarray | None]:
        reader, i = self._of[block]
        X, y = reader.read(i)
        return X.astype(self.dtype, copy=False), y

    def chunks(self) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Yield X and the targets of all rows in sequence."""
        for block in range(len(self._of)):
            yield self._read(block)

    def where(self, row: int) -> str:
        """Return the file of a row and its place there, in words."""
        k = int(np.searchsorted(self._first_rows, row, side="right")) - 1
        return self._readers[k].where(row - int(self._first_rows[k]))

    def close(self) -> None:
        """Let go of the files, and of what is kept."""
        self._kept.clear()
        self._n_bytes = 0
        for reader in self._readers:
            reader.close()
