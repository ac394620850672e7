"""Reader: one file of rows, read in blocks of consecutive ones."""

from __future__ import annotations

import contextlib
import importlib
import os
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar

import numpy as np

# X (n, width) of the rows of a block, and their targets (n,) where there are some.
Block: TypeAlias = tuple[np.ndarray, np.ndarray | None]
_Read = TypeVar("_Read")
# About what a block takes, in the file.
BLOCK_BYTES = 2**20
# What a block may take in memory at most, where rows can be read at all in less.
MAX_BLOCK_BYTES = 2**26


class Reader(ABC):
    """One file of rows, read in blocks of consecutive ones, by one thread at a time.

    Attributes
    ----------
    path : Path
        The file.
    names : list of str or None
        Of X's columns.
    width : int
        How many columns X has.
    dtype : numpy.dtype
        Of X's numbers: a floating one wherever a number may be missing.
    has_target : bool
        Whether there are targets.
    ends : ndarray of shape (n_blocks,) and dtype int64
        How many rows there are in the blocks up to and with each.
    """

    names: list[str] | None = None
    width: int
    dtype: np.dtype[Any]
    has_target: bool
    ends: np.ndarray

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._identity = self._stat()
        self._resources = contextlib.ExitStack()
        self._closing = weakref.finalize(self, self._resources.close)

    def read(self, block: int) -> Block:
        """Return a block's X and targets.

        Returns
        -------
        X : ndarray of shape (n, width)
            New, in C order; NaN where a number is missing.
        targets : ndarray of shape (n,) or None
            Numbers, NaN where one is missing, or an array of str, "" where a label is missing.

        Raises
        ------
        ValueError
            If a row cannot be read: names the file and the line or row, and what is wrong.
        OSError
            If the file has changed or vanished since it was opened, or cannot be read.
        """
        return self._guarded(self._read, block)

    def read_targets(self, block: int) -> np.ndarray | None:
        """Return a block's targets alone, which may take less time than `read`."""
        return self._guarded(self._read_targets, block)

    @abstractmethod
    def _read(self, block: int) -> Block:
        """Return a block's X and targets, of a file that was there a moment ago."""

    @abstractmethod
    def _read_targets(self, block: int) -> np.ndarray | None:
        """Return a block's targets, likewise."""

    @abstractmethod
    def where(self, row: int) -> str:
        """Return where a row is, as in 'train.csv, line 17'."""

    def close(self) -> None:
        """Let go of the file; there is no reading after that."""
        self._closing()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _rows_of(self, block: int) -> tuple[int, int]:
        """Return a block's first row, and the one after its last."""
        return int(self.ends[block - 1]) if block else 0, int(self.ends[block])

    def _guarded(self, read: Callable[[int], _Read], block: int) -> _Read:
        """Return what `read` makes of a block of a file that must be as it was."""
        if not self._closing.alive:
            raise ValueError(f"the reader of {self.path} is closed")
        self._check_unchanged()
        try:
            return read(block)
        except (OSError, ValueError):
            self._check_unchanged()  # then that is why
            raise

    def _check_unchanged(self) -> None:
        """See that the file is the one that was opened, as it was then."""
        try:
            identity = self._stat()
        except FileNotFoundError:
            raise OSError(f"{self.path} has vanished since it was opened") from None
        if identity != self._identity:
            raise OSError(f"{self.path} has changed since it was opened")

    def _stat(self) -> tuple[int, int, int]:
        status = os.stat(self.path)
        return status.st_size, status.st_mtime_ns, status.st_ino


def dependency(module: str, what: str, extra: str) -> Any:
    """Return a module that only some formats need."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(
            f'reading {what} needs {package}: pip install "fastmlp[{extra}]"'
        ) from error
