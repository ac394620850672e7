"""Files of rows of one size each, the numbers as in memory: .npy, IDX."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastmlp.sources.base import Rows
from fastmlp.sources.idx import header
from fastmlp.sources.places import fill
from fastmlp.sources.tables import READ_BYTES, Table, Unchanged


@dataclass(frozen=True)
class Layout:
    """Where the rows of a file are.

    Attributes
    ----------
    path : pathlib.Path
    offset : int
        Of the first row, in bytes.
    n_rows, n_columns : int
    dtype : numpy.dtype
    """

    path: Path
    offset: int
    n_rows: int
    n_columns: int
    dtype: np.dtype[Any]


class RawTable(Table):
    """Rows read from wherever they are, by the operating system: none stays mapped into memory.

    Parameters
    ----------
    layouts : sequence of Layout
        Of the same columns and dtype.
    columns : ndarray of int
        Those of X, in their order.
    target : int or None
    """

    has_random_access = True

    def __init__(
        self, layouts: Sequence[Layout], columns: np.ndarray, target: int | None = None
    ) -> None:
        first = layouts[0]
        for layout in layouts[1:]:
            here, there = (layout.n_columns, layout.dtype), (first.n_columns, first.dtype)
            if here != there:
                raise ValueError(
                    f"{layout.path} has {here[0]} columns of {here[1]}, {first.path} {there[0]} "
                    f"of {there[1]}: files of one table have the same"
                )
        self._layouts, self._columns, self._target = layouts, columns, target
        self._starts = np.cumsum([0, *(layout.n_rows for layout in layouts)])
        self.n_rows, self.width = int(self._starts[-1]), len(columns)
        self.stored_dtype, self.dtype = first.dtype, first.dtype.newbyteorder("=")
        self._row_bytes = first.n_columns * first.dtype.itemsize
        self._is_whole = np.array_equal(columns, np.arange(first.n_columns))
        self._files = [_File(layout) for layout in layouts]

    def read(self, rows: Rows, out: np.ndarray) -> None:
        """Write rows into out (n, width), converted to its dtype."""
        for places, k, within in self._by_file(rows):
            if isinstance(places, slice) and self._is_as_stored(out):
                self._files[k].read(within, out[places])
            else:
                out[places] = self._chosen(self._stored(k, within))

    def _is_as_stored(self, out: np.ndarray) -> bool:
        return self._is_whole and out.dtype == self.stored_dtype and out.flags.c_contiguous

    def _stored(self, k: int, rows: Rows) -> np.ndarray:
        """Return rows of a file as they are in it (n, columns of the file)."""
        n = rows.stop - rows.start if isinstance(rows, slice) else len(rows)
        stored = np.empty((n, self._layouts[k].n_columns), self.stored_dtype)
        self._files[k].read(rows, stored)
        return stored

    def _chosen(self, stored: np.ndarray) -> np.ndarray:
        return stored if self._is_whole else stored[:, self._columns]

    def chunks(self) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Yield X and the targets of all rows in sequence."""
        n_chunk = max(1, READ_BYTES // self._row_bytes)
        for k, layout in enumerate(self._layouts):
            for start in range(0, layout.n_rows, n_chunk):
                rows = slice(start, min(start + n_chunk, layout.n_rows))
                stored = self._stored(k, rows)
                y = None if self._target is None else stored[:, self._target]
                yield self._chosen(stored), y

    def where(self, row: int) -> str:
        """Return the file of a row and its place there, in words."""
        k = int(np.searchsorted(self._starts, row, side="right")) - 1
        return f"{self._layouts[k].path}, row {row - self._starts[k]}"

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files:
            file.close()

    def _by_file(self, rows: Rows) -> Iterator[tuple[Rows, int, Rows]]:
        """Yield (places in the result, file, rows of it)."""
        starts = self._starts
        if isinstance(rows, slice):
            first = int(np.searchsorted(starts, rows.start, side="right")) - 1
            for k in range(first, len(self._files)):
                start, stop = max(rows.start, starts[k]), min(rows.stop, starts[k + 1])
                if starts[k] >= rows.stop:
                    return
                if start >= stop:  # a file without rows
                    continue
                places = slice(start - rows.start, stop - rows.start)
                yield places, k, slice(int(start - starts[k]), int(stop - starts[k]))
        elif len(self._files) == 1:
            yield slice(0, len(rows)), 0, rows
        else:
            of_file = np.searchsorted(starts, rows, side="right") - 1
            for k in np.unique(of_file):
                there = np.flatnonzero(of_file == k)
                yield there, int(k), rows[there] - starts[k]


class _File:
    """A file that is opened when it is read first."""

    def __init__(self, layout: Layout) -> None:
        self._file: Any = None
        self._layout, self._unchanged = layout, Unchanged(layout.path)
        self._row_bytes = layout.n_columns * layout.dtype.itemsize

    def read(self, rows: Rows, out: np.ndarray) -> None:
        """Write rows, as they are in the file, into out: contiguous."""
        self._unchanged.require()
        if self._file is None:
            self._file = self._layout.path.open("rb", buffering=0)
        if out.size == 0:
            return
        if isinstance(rows, slice):
            n_read = self._read_run(rows.start, out)
        elif hasattr(os, "pread"):
            from fastmlp.kernels.reading import read_rows

            n_read = read_rows(
                np.int32(self._file.fileno()), self._layout.offset, self._row_bytes,
                np.ascontiguousarray(rows, np.int64), np.uint64(out.ctypes.data),
            )  # fmt: skip
        else:
            n_read = sum(self._read_run(int(row), out[i : i + 1]) for i, row in enumerate(rows))
        if n_read != len(out):
            self._unchanged.require()  # else it is the disk
            row = rows.start + n_read if isinstance(rows, slice) else rows[n_read]
            raise OSError(f"{self._layout.path}, row {row}: cannot be read")

    def _read_run(self, row: int, out: np.ndarray) -> int:
        """Fill `out` from a row on; return how many rows there were."""
        offset = self._layout.offset + row * self._row_bytes
        return fill(self._file, offset, out.reshape(-1).view(np.uint8).data) // self._row_bytes

    def close(self) -> None:
        """Close the file; the next reading opens it anew."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def __del__(self) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_file": None}


def npy(path: Path) -> Layout:
    """Return where the rows of an .npy file are.

    Raises
    ------
    ValueError
        For what is no array of numbers of two dimensions in C order, or truncated.
    """
    with path.open("rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            header_of = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, in_columns, dtype = header_of(file)
        except (KeyError, ValueError) as error:
            raise ValueError(f"{path} is no .npy file that can be read: {error}") from None
        offset = file.tell()
    if in_columns and sum(size != 1 for size in shape) > 1:
        raise ValueError(f"{path} is in Fortran order: its rows are not together")
    return _checked(path, offset, shape, dtype)


def idx(path: Path) -> Layout | None:
    """Return where the rows of an IDX file are, images being rows of pixels; None if compressed."""
    found = header(path)
    if found is None:
        return None
    offset, shape, dtype = found
    return _checked(path, offset, shape, dtype)


def _checked(path: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Layout:
    if dtype.kind not in "biuf":
        raise ValueError(f"{path} must hold real numbers; got dtype {dtype}")
    if len(shape) == 0:
        raise ValueError(f"{path} holds one number, not rows")
    n_columns = int(np.prod(shape[1:], dtype=np.int64))
    promised = offset + shape[0] * n_columns * dtype.itemsize
    if (n_bytes := path.stat().st_size) < promised:
        raise ValueError(
            f"{path} is truncated: shape {shape} of {dtype} takes {promised} bytes, not {n_bytes}"
        )
    return Layout(path, offset, shape[0], n_columns, dtype)
