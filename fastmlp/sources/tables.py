"""Table: the rows of files as they are stored, the column of targets among them."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastmlp.sources.base import Rows

# About so much is read at once.
READ_BYTES = 2**20


class Table(ABC):
    """Rows of one file or several, numbered one after the other.

    Attributes
    ----------
    n_rows : int
    width : int
        Columns, without the one of targets.
    dtype : numpy.dtype
    names : sequence of str or None
    has_random_access : bool
    """

    n_rows: int
    width: int
    dtype: np.dtype[Any]
    names: Sequence[str] | None = None
    has_random_access = False

    @abstractmethod
    def read(self, rows: Rows, out: np.ndarray) -> None:
        """Write rows into out (n, width), converted to its dtype."""

    @abstractmethod
    def chunks(self) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Yield X (n, width) and the targets (n,), or None, of all rows in sequence."""

    @abstractmethod
    def where(self, row: int) -> str:
        """Return the file of a row and its place there, in words."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the files."""


class Unchanged:
    """A file that is to be what it was when it was opened.

    Parameters
    ----------
    path : pathlib.Path
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen = _state(os.stat(path))

    def require(self) -> None:
        """Raise OSError where the file is not what it was."""
        try:
            now = os.stat(self.path)
        except FileNotFoundError:
            raise FileNotFoundError(f"{self.path} has vanished since it was opened") from None
        if _state(now) != self._seen:
            raise OSError(f"{self.path} has changed since it was opened")


def _state(stat: os.stat_result) -> tuple[int, ...]:
    return stat.st_size, stat.st_mtime_ns, stat.st_ino
