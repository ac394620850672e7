"""HDF5: datasets of numbers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastmlp.sources.columns import Column
from fastmlp.sources.named_arrays import Array, ArraysReader
from fastmlp.sources.reader import BLOCK_BYTES, MAX_BLOCK_BYTES, dependency


class Hdf5Reader(ArraysReader):
    """An HDF5 file, one dataset of which is a table of numbers.

    Parameters
    ----------
    path : path-like
        The file.
    target : str or int, optional
        Another dataset, of numbers or strings, by its name, or a column of the table by its
        number, negative from the end.
    columns : list of int, optional
        X's columns in the table. Default: all but the target.
    dataset : str, optional
        The table. Default: the only one of shape (n, width), or "X".
    block_bytes : int
        About what a block takes in memory: as many whole chunks, if not much more.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        target: Column | None = None,
        columns: Sequence[Column] | None = None,
        *,
        dataset: str | None = None,
        block_bytes: int = BLOCK_BYTES,
    ) -> None:
        self._h5py = dependency("h5py", "HDF5", "hdf5")
        super().__init__(path, "dataset")
        try:
            self._file = self._resources.enter_context(self._h5py.File(self.path, "r"))
            arrays = self._arrays()
        except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(f"{self.path} cannot be read as HDF5: {error}") from error
        self._choose(arrays, dataset, target, columns)
        self._dataset = self._file[self._name]

        n_rows = max(1, block_bytes // max(1, self._row_bytes()))
        chunk = self._dataset.chunks[0] if self._dataset.chunks else 1
        if chunk <= n_rows:
            n_rows -= n_rows % chunk
        elif chunk * self._row_bytes() <= max(block_bytes, MAX_BLOCK_BYTES):
            n_rows = chunk
        self._set_blocks(n_rows)
        self._unchanged.require()

    def _arrays(self) -> dict[str, Array]:
        arrays = {}

        def note(name: str, item: Any) -> None:
            if isinstance(item, self._h5py.Dataset) and item.shape is not None:
                strings = self._h5py.check_string_dtype(item.dtype)
                arrays[name] = Array(item.shape, None if strings else item.dtype)

        self._file.visititems(note)
        return arrays

    def _table(self, start: int, stop: int, columns: list[int]) -> np.ndarray:
        rows: np.ndarray = self._rows(self._dataset, start, stop)
        return rows if columns == list(range(self._shape[1])) else rows[:, columns]

    def _others(self, start: int, stop: int, name: str) -> np.ndarray:
        dataset = self._file[name]
        if self._h5py.check_string_dtype(dataset.dtype):
            dataset = dataset.asstr("utf-8")
        values = self._rows(dataset, start, stop)
        return values.astype(np.str_) if values.dtype.kind == "O" else values

    def _rows(self, dataset: Any, start: int, stop: int) -> np.ndarray:
        try:
            rows: np.ndarray = dataset[start:stop]
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{self.path}, rows {start} to {stop - 1}: cannot be read: {error}"
            ) from error
        return rows
