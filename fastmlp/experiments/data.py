"""The rows of an experiment: opened, split, in the network's numbers."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastmlp.experiments.settings import Data, Settings
from fastmlp.sources.base import Rows, Source

# The most different whole numbers that are taken for labels.
MOST_LABELS = 100


@dataclass(frozen=True)
class Table:
    """Rows with their targets."""

    X: Any  # an array or a Source
    y: np.ndarray
    n_dropped: int = 0

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Tables:
    """What a run trains on, validates on and is tested on."""

    train: Table
    validation: Table | None
    test: Table | None
    task: str  # "classification" or "regression"


class View(Source):
    """Some rows of a source, in numbers of another dtype.

    Parameters
    ----------
    source : Source
    dtype : numpy.dtype
    rows : ndarray of shape (n,), optional
        Ascending; None: all.
    """

    def __init__(self, source: Source, dtype: Any, rows: np.ndarray | None = None) -> None:
        self.source, self.dtype, self.rows = source, np.dtype(dtype), rows
        self.shape = (len(source) if rows is None else len(rows), source.shape[1])
        self.has_random_access, self.names = source.has_random_access, source.names
        self.memory_limit = source.memory_limit

    def read(self, rows: Rows, out: np.ndarray) -> None:
        """Write rows into a buffer."""
        if self.rows is not None:
            rows = self.rows[rows]
            if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
                rows = slice(int(rows[0]), int(rows[-1]) + 1)
        self.source.read(rows, out)


def opened(paths: str | list[str], data: Data) -> Any:
    """Return the source that the settings describe."""
    path = paths[0] if isinstance(paths, list) else paths
    target = -1 if data.target is None else data.target
    if path.endswith(".npy"):
        table = np.load(path)
        names = [str(i) for i in range(table.shape[1])]
    else:
        with open(path, newline="") as file:
            names, *rows = list(csv.reader(file))
        table = np.array(rows)
    at = names.index(target) if isinstance(target, str) else range(len(names))[target]
    y = table[:, at]
    try:
        y = y.astype("f8")
        y = y.astype("i8") if (y % 1 == 0).all() else y
    except ValueError:
        pass
    return _Stand(np.delete(table, at, 1).astype("f8"), y, names)


class _Stand(Source):
    """Rows in memory."""

    has_random_access = True

    def __init__(self, X: np.ndarray, y: np.ndarray, names: list[str]) -> None:
        self.X, self.y, self.shape, self.dtype, self.names = X, y, X.shape, X.dtype, names

    def read(self, rows: Rows, out: np.ndarray) -> None:
        """Write rows into a buffer."""
        out[:] = self.X[rows]


def _rows(source: Any, dtype: Any, rows: np.ndarray | None = None) -> Any:
    if isinstance(source, np.ndarray):
        return source[rows]
    return View(source, dtype, rows)[0 : len(source) if rows is None else len(rows)]


def tables(settings: Settings) -> Tables:
    """Return the rows of an experiment.

    Raises
    ------
    ValueError, OSError, ImportError
        For files that cannot be read or do not hold what is expected.
    """
    data = settings.data
    assert data.train is not None
    train = _table(data.train, settings)
    test = None if data.test is None else _table(data.test, settings)
    validation = None
    task: str = settings.network.task
    if task == "auto":
        task = task_of(train.y)
    if isinstance(data.validation, float):
        train, validation = _split(train, data.validation, settings.run.seed, task)
    elif data.validation is not None:
        validation = _table(data.validation, settings)
    for name, other in (("validation", validation), ("test", test)):
        if other is not None and other.X.shape[1] != train.X.shape[1]:
            raise ValueError(
                f"data.{name} has {other.X.shape[1]} columns of features, data.train "
                f"{train.X.shape[1]}"
            )
    if task == "regression":
        train = _with_numbers(train)
        validation = None if validation is None else _with_numbers(validation)
        test = None if test is None else _with_numbers(test)
    return Tables(train, validation, test, task)


def task_of(y: np.ndarray) -> str:
    """Return what targets are for: labels, or few whole numbers, are classes."""
    if y.ndim == 1 and y.dtype.kind not in "fiu":
        return "classification"
    if y.ndim > 1 or (y.dtype.kind == "f" and not (np.floor(y) == y).all()):
        return "regression"
    return "classification" if len(np.unique(y)) <= MOST_LABELS else "regression"


def _table(paths: str | list[str], settings: Settings) -> Table:
    source = opened(paths, settings.data)
    if source.y is None:
        what = ", ".join(paths) if isinstance(paths, list) else paths
        raise ValueError(f"data.target is missing: which column of {what} holds the targets")
    if len(source) == 0:
        raise ValueError(f"{paths} has no rows")
    return Table(_rows(source, settings.network.dtype), source.y, int(source.n_dropped))


def _split(table: Table, share: float, seed: int, task: str) -> tuple[Table, Table]:
    """Return the rows to train on, and those held out: at random, by classes where there are."""
    from sklearn.model_selection import train_test_split

    rows, held_out = train_test_split(
        np.arange(len(table)),
        test_size=share,
        random_state=seed,
        stratify=table.y if task == "classification" and table.y.ndim == 1 else None,
    )
    train, validation = (
        Table(_rows(table.X, table.X.dtype, np.sort(part)), table.y[np.sort(part)])
        for part in (rows, held_out)
    )
    return replace(train, n_dropped=table.n_dropped), validation


def _with_numbers(table: Table) -> Table:
    """Return a table whose targets are numbers."""
    if table.y.dtype.kind not in "fiub":
        raise ValueError(
            f"network.task is regression, which needs numbers as targets; got {table.y[0].item()!r}"
        )
    return replace(table, y=table.y.astype(np.float64))
