"""NPZ: arrays of NumPy in a zip archive."""

from __future__ import annotations

import math
import os
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from fastmlp.sources.columns import Column
from fastmlp.sources.named_arrays import Array, ArraysReader
from fastmlp.sources.places import fill
from fastmlp.sources.reader import BLOCK_BYTES

_DAMAGES = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError)
_LOCAL_HEADER = struct.Struct("<26xHH")


class NpzReader(ArraysReader):
    """An .npz file, as `numpy.savez` and `numpy.savez_compressed` write it.

    Parameters
    ----------
    path : path-like
        The file.
    target : str or int, optional
        Another member, of numbers or strings, by its name, or a column of the table by its
        number, negative from the end.
    columns : list of int, optional
        X's columns in the table. Default: all but the target.
    member : str, optional
        The table. Default: the only one of shape (n, width), or "X".
    block_bytes : int
        About what a block takes in memory.

    Notes
    -----
    A member that is stored as it is, is read in place. A compressed one is decompressed, once, into
    a temporary file without a name, as its rows cannot be found otherwise: it is gone when the
    reader is closed, or the process ends in whatever way. `tempfile.gettempdir` says where it is.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        target: Column | None = None,
        columns: Sequence[Column] | None = None,
        *,
        member: str | None = None,
        block_bytes: int = BLOCK_BYTES,
    ) -> None:
        super().__init__(path, "member")
        file = self._resources.enter_context(self.path.open("rb"))
        try:
            archive = self._resources.enter_context(zipfile.ZipFile(file))
        except (zipfile.BadZipFile, NotImplementedError, OSError) as error:
            raise ValueError(f"{self.path} is not an .npz file: {error}") from error
        self._members: dict[str, _Member] = {}
        for info in archive.infolist():
            if info.filename.endswith(".npy"):
                found = _Member(self.path, file, archive, info)
                self._members[info.filename.removesuffix(".npy")] = found
        arrays = {
            name: Array(m.shape, None if m.dtype.kind in "US" else m.dtype)
            for name, m in self._members.items()
        }
        self._choose(arrays, member, target, columns)
        for name in {self._name, self._target_name or self._name}:
            self._members[name].locate(self._resources)
        self._set_blocks(max(1, block_bytes // max(1, self._row_bytes())))
        self._unchanged.require()

    def _table(self, start: int, stop: int, columns: list[int]) -> np.ndarray:
        return self._members[self._name].rows(start, stop, columns)

    def _others(self, start: int, stop: int, name: str) -> np.ndarray:
        values = self._members[name].rows(start, stop, [0])
        return np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values


class _Member:
    """An array in an archive."""

    def __init__(
        self, path: Path, file: BinaryIO, archive: zipfile.ZipFile, info: zipfile.ZipInfo
    ) -> None:
        self._path, self._file, self._archive, self._info = path, file, archive, info
        try:
            with archive.open(info) as stream:
                version = np.lib.format.read_magic(stream)
                if version == (1, 0):
                    header = np.lib.format.read_array_header_1_0(stream)
                elif version == (2, 0):
                    header = np.lib.format.read_array_header_2_0(stream)
                else:
                    raise ValueError(f"is written in version {version} of .npy")
                self._offset = stream.tell()
        except _DAMAGES as error:
            raise ValueError(self._damaged(error)) from error
        self.shape: tuple[int, ...] = header[0]
        self._fortran: bool = header[1]
        self.dtype: np.dtype[Any] = header[2]

    def locate(self, resources: ExitStack) -> None:
        """Find the numbers in the file, or decompress them into a temporary one."""
        n_bytes = self._offset + math.prod(self.shape) * self.dtype.itemsize
        if self._info.file_size != n_bytes:
            raise ValueError(self._damaged(f"it takes {self._info.file_size} bytes, not {n_bytes}"))
        if self._info.compress_type == zipfile.ZIP_STORED:
            self._file.seek(self._info.header_offset)
            name_bytes, extra_bytes = _LOCAL_HEADER.unpack(self._file.read(_LOCAL_HEADER.size))
            self._offset += self._info.header_offset + _LOCAL_HEADER.size + name_bytes + extra_bytes
            return
        copy = cast(BinaryIO, resources.enter_context(tempfile.TemporaryFile()))  # noqa: SIM115
        try:
            with self._archive.open(self._info) as stream:
                shutil.copyfileobj(stream, copy, 2**20)
        except _DAMAGES as error:
            raise ValueError(self._damaged(error)) from error
        copy.flush()
        self._file = copy

    def rows(self, start: int, stop: int, columns: list[int]) -> np.ndarray:
        """Return some columns of some rows."""
        n_rows, width = self.shape if len(self.shape) == 2 else (*self.shape, 1)
        if self._fortran:
            out = np.empty((len(columns), stop - start), self.dtype)
            for place, j in enumerate(columns):
                self._fill(out[place], j * n_rows + start)
            return out.T
        rows = np.empty((stop - start, width), self.dtype)
        self._fill(rows, start * width)
        return rows if columns == list(range(width)) else rows[:, columns]

    def _fill(self, out: np.ndarray, position: int) -> None:
        """Read numbers from a position on into an array in C order."""
        offset = self._offset + position * self.dtype.itemsize
        if fill(self._file, offset, out.reshape(-1).view(np.uint8).data) < out.nbytes:
            raise OSError(f"{self._path} has shrunk since it was opened")

    def _damaged(self, problem: object) -> str:
        return f"{self._path}: member {self._info.filename!r} is damaged: {problem}"
