"""Files of named arrays: which of them is X, and which one holds the targets."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastmlp.sources.columns import Column, resolve, unknown
from fastmlp.sources.reader import Block, Reader


class Array(NamedTuple):
    """What a file says of an array."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any] | None  # None: strings


class ArraysReader(Reader):
    """A file of arrays that have names, one of them X (n, width)."""

    def __init__(self, path: str | os.PathLike[str], kind: str) -> None:
        super().__init__(path)
        self._kind = kind  # what an array is called in this format; also the option that names X

    def _choose(
        self,
        arrays: Mapping[str, Array],
        name: str | None,
        target: Column | None,
        columns: Sequence[Column] | None,
    ) -> None:
        """Find X, and the targets: a column of the same array, or another one."""
        self._name = self._find(arrays, name, target)
        self._shape, stored = arrays[self._name]
        if len(self._shape) != 2 or stored is None or not _is_real(stored):
            raise ValueError(
                f"{self.path}: {self._kind} {self._name!r} must be a table of real numbers; got "
                f"shape {self._shape} of {'strings' if stored is None else stored}"
            )
        self.dtype = np.dtype(np.uint8) if stored.kind == "b" else stored.newbyteorder("=")
        own = None if isinstance(target, str) else target
        self._chosen, self._target = resolve(self.path, None, self._shape[1], own, columns)
        self.width = len(self._chosen)
        self.has_target = target is not None
        self._target_name = target if isinstance(target, str) else None
        if self._target_name is not None:
            self._see_targets(arrays, self._target_name)

    def _find(self, arrays: Mapping[str, Array], name: str | None, target: Column | None) -> str:
        if name is not None:
            if name not in arrays:
                raise ValueError(unknown(self.path, name, list(arrays), self._kind))
            return name
        tables = [
            key
            for key, (shape, dtype) in arrays.items()
            if len(shape) == 2 and dtype is not None and _is_real(dtype) and key != target
        ]
        if len(tables) == 1:
            return tables[0]
        if "X" in tables:
            return "X"
        if tables:
            listed = ", ".join(map(repr, tables))
            raise ValueError(f"{self._kind} must name one of the tables of {self.path}: {listed}")
        raise ValueError(f"{self.path} has no {self._kind} of shape (n, width) of real numbers")

    def _see_targets(self, arrays: Mapping[str, Array], name: str) -> None:
        if name not in arrays:
            message = unknown(self.path, name, list(arrays), self._kind)
            raise ValueError(f"target: {message}")
        shape, dtype = arrays[name]
        n = self._shape[0]
        if shape not in ((n,), (n, 1)) or (dtype is not None and not _is_real(dtype)):
            raise ValueError(
                f"{self.path}: {self._kind} {name!r}, the target, must hold {n} numbers or "
                f"strings, as {self._name!r} has rows; got shape {shape} of {dtype or 'strings'}"
            )

    def _set_blocks(self, n_rows: int) -> None:
        """Have blocks of `n_rows` rows each."""
        n = self._shape[0]
        self.ends = np.array([*range(n_rows, n, n_rows), n] if n else [], np.int64)

    def _row_bytes(self) -> int:
        return self._shape[1] * self.dtype.itemsize

    @abstractmethod
    def _table(self, start: int, stop: int, columns: list[int]) -> np.ndarray:
        """Return some columns of rows of the table, of any dtype and order."""

    @abstractmethod
    def _others(self, start: int, stop: int, name: str) -> np.ndarray:
        """Return values of another array, strings as str."""

    def _read(self, block: int) -> Block:
        start, stop = self._rows_of(block)
        own = [] if self._target is None else [self._target]
        table = self._table(start, stop, self._chosen + own)
        X = np.ascontiguousarray(table[:, : self.width], self.dtype)
        if own:
            return X, np.ascontiguousarray(table[:, -1], self.dtype)
        return X, self._values(start, stop)

    def _values(self, start: int, stop: int) -> np.ndarray | None:
        if self._target_name is None:
            return None
        values = self._others(start, stop, self._target_name).reshape(-1)
        return values.astype(values.dtype.newbyteorder("="), copy=False)

    def where(self, row: int) -> str:
        """Return where a row is, as in 'train.h5, row 16'; the first one is row 0."""
        return f"{self.path}, row {row}"


def _is_real(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "iufb" and dtype.itemsize <= 8
