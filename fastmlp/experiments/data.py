"""The rows of an experiment: opened, split, in the network's numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastmlp import sources
from fastmlp.experiments.settings import Data, Settings
from fastmlp.sources.base import Rows, Source

# The most different whole numbers that are taken for labels.
MOST_LABELS = 100
# Among more rows than these, chance alone gives each class its share of those held out.
MOST_STRATIFIED = 2**20


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

    def where(self, row: int) -> str:
        """Return where a row comes from, in words."""
        return self.source.where(row if self.rows is None else int(self.rows[row]))

    def require_finite(self, dtype: Any) -> None:
        """Raise where a number is not finite in `dtype`."""
        self.source.require_finite(dtype)


def opened(paths: str | list[str], data: Data) -> Source:
    """Return the source that the settings describe."""
    return sources.open(
        paths,
        target=data.target,
        columns=data.columns,
        format=data.format,
        on_missing=data.on_missing,
        memory_limit=data.memory_limit,
        **data.format_options,
    )


def _rows(X: Any, dtype: Any, rows: np.ndarray | None = None) -> Any:
    """Return some rows of an array or a source, of which there is no copy where it is large."""
    if isinstance(X, Source) and X.array is not None:
        X = X.array
    if isinstance(X, np.ndarray):
        return (X if rows is None else X[rows]).astype(dtype, copy=False)
    return View(X, dtype, rows)


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
    return Table(_rows(source, settings.network.dtype), source.y, int(source.n_dropped))


def _split(table: Table, share: float, seed: int, task: str) -> tuple[Table, Table]:
    """Return the rows to train on, and those held out: at random, by classes where there are."""
    n = len(table)
    if n > MOST_STRATIFIED:
        is_held_out = np.random.default_rng(seed).random(n, np.float32) < share
        rows, held_out = np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)
    else:
        from sklearn.model_selection import train_test_split

        labels = table.y if task == "classification" and table.y.ndim == 1 else None
        rows, held_out = map(
            np.sort,
            train_test_split(np.arange(n), test_size=share, random_state=seed, stratify=labels),
        )
    train, validation = (
        Table(_rows(table.X, table.X.dtype, part), table.y[part]) for part in (rows, held_out)
    )
    return replace(train, n_dropped=table.n_dropped), validation


def _with_numbers(table: Table) -> Table:
    """Return a table whose targets are numbers."""
    if table.y.dtype.kind not in "fiub":
        raise ValueError(
            f"network.task is regression, which needs numbers as targets; got {table.y[0].item()!r}"
        )
    return table if table.y.dtype.kind == "f" else replace(table, y=table.y.astype(np.float64))
