"""Reader: one file of rows, read in blocks of consecutive ones."""

from __future__ import annotations

import contextlib
import importlib
import os
import weakref
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

import numpy as np

from fastmlp.sources.tables import Unchanged

# X (n, width) of the rows of a block, and their targets (n,) where there are some.
Block: TypeAlias = tuple[np.ndarray, np.ndarray | None]
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

    _made_of: tuple[tuple[Any, ...], dict[str, Any]]
    names: list[str] | None = None
    width: int
    dtype: np.dtype[Any]
    has_target: bool
    ends: np.ndarray

    def __new__(cls, *arguments: Any, **options: Any) -> Self:
        """Return a reader, and have it know what it is made of."""
        self = super().__new__(cls)
        self._made_of = arguments, options
        return self

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._unchanged = Unchanged(self.path)
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
        if not self._closing.alive:
            raise ValueError(f"the reader of {self.path} is closed")
        self._unchanged.require()
        try:
            return self._read(block)
        except (OSError, ValueError):
            self._unchanged.require()  # else that is why
            raise

    @abstractmethod
    def _read(self, block: int) -> Block:
        """Return a block's X and targets, of a file that was there a moment ago."""

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

    def __reduce__(self) -> tuple[Any, ...]:
        """Have a copy, in whatever process, open the file anew."""
        return _opened_again, (type(self), *self._made_of, self._unchanged)

    def _rows_of(self, block: int) -> tuple[int, int]:
        """Return a block's first row, and the one after its last."""
        return int(self.ends[block - 1]) if block else 0, int(self.ends[block])


def _opened_again(
    kind: type[Reader], arguments: tuple[Any, ...], options: dict[str, Any], unchanged: Unchanged
) -> Reader:
    unchanged.require()
    return kind(*arguments, **options)


def dependency(module: str, what: str, extra: str) -> Any:
    """Return a module that only some formats need."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(
            f'reading {what} needs {package}: pip install "fastmlp[{extra}]"'
        ) from error
