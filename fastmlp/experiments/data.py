"""The rows of an experiment: opened, split, in the network's numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fastmlp import labels, sources
from fastmlp.experiments.settings import Settings
from fastmlp.sources.base import Source
from fastmlp.sources.formats import has_names
from fastmlp.sources.subset import Subset

# The most different whole numbers that are taken for labels.
MOST_LABELS = 100
# Among more rows than these, chance alone gives each class its share of those held out.
MOST_STRATIFIED = 2**20


@dataclass(frozen=True)
class Table:
    """Rows with their targets."""

    X: Source
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


def opened(
    paths: str | list[str], settings: Settings, columns: list[str | int] | None = None
) -> Source:
    """Return the source that the settings describe, of other columns where such are given."""
    data = settings.data
    return sources.open(
        paths,
        target=data.target,
        columns=data.columns if columns is None else columns,
        format=data.format,
        on_missing=data.on_missing,
        memory_limit=data.memory_limit,
        dtype=settings.network.dtype,
        **data.format_options,
    )


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
    test = None if data.test is None else _beside(train, data.test, settings)
    validation = None
    task: str = settings.network.task
    if task == "auto":
        task = task_of(train.y)
    if isinstance(data.validation, float):
        train, validation = _split(train, data.validation, settings.run.seed, task)
    elif data.validation is not None:
        validation = _beside(train, data.validation, settings)
    validation = _alike("validation", validation, train, task)
    test = _alike("test", test, train, task)
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


def _beside(train: Table, paths: str | list[str], settings: Settings) -> Table:
    """Return a table of the columns that train has: by their names, where both have names."""
    names, given = train.X.names, settings.data
    if names is None or len({*names}) < len(names) or given.columns is not None:
        return _table(paths, settings)
    first = paths if isinstance(paths, str) else paths[0]
    return _table(paths, settings, list(names) if has_names(first, given.format) else None)


def _alike(name: str, other: Table | None, train: Table, task: str) -> Table | None:
    """Return a table with labels as train has them; raise where they, or its columns, do not fit.

    In the end, when training has taken long, would be too late.
    """
    if other is None:
        return None
    n, n_train = other.X.shape[1], train.X.shape[1]
    if n != n_train:
        raise ValueError(f"data.{name} has {n} columns of features, data.train {n_train}")
    if task != "classification" or train.y.ndim > 1 or other.y.ndim > 1:
        return other
    known = np.unique(train.y)
    whose = f"the rows to train on have (data.{name})"
    places = labels.known_places(other.y, known, other.X.where, whose)
    return other if other.y.dtype.kind == known.dtype.kind else replace(other, y=known[places])


def _table(
    paths: str | list[str], settings: Settings, columns: list[str | int] | None = None
) -> Table:
    source = opened(paths, settings, columns)
    if source.y is None:
        what = ", ".join(paths) if isinstance(paths, list) else paths
        raise ValueError(f"data.target is missing: which column of {what} holds the targets")
    return Table(source, source.y, int(source.n_dropped))


def _split(table: Table, share: float, seed: int, task: str) -> tuple[Table, Table]:
    """Return the rows to train on, and those held out: at random, by classes where there are."""
    n = len(table)
    if n > MOST_STRATIFIED:
        is_held_out = np.random.default_rng(seed).random(n, np.float32) < share
        rows, held_out = np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)
    else:
        from sklearn.model_selection import train_test_split

        classes = table.y if task == "classification" and table.y.ndim == 1 else None
        try:
            parts = train_test_split(
                np.arange(n), test_size=share, random_state=seed, stratify=classes
            )
        except ValueError as error:  # a class of one row, or fewer held out than there are classes
            by_classes = "" if classes is None else " with rows of each class on both sides"
            raise ValueError(
                f"data.validation = {share:g} cannot be held out of {n} rows{by_classes}: {error}"
            ) from None
        rows, held_out = map(np.sort, parts)
    train, validation = (Table(_some(table.X, part), table.y[part]) for part in (rows, held_out))
    return replace(train, n_dropped=table.n_dropped), validation


def _some(source: Source, rows: np.ndarray) -> Subset:
    """Return some rows; in memory, where they are there already: to read them is slower."""
    part = Subset(source, rows)
    if source.in_memory is not None:
        part.in_memory = source.in_memory[rows]
    return part


def _with_numbers(table: Table) -> Table:
    """Return a table whose targets are numbers."""
    if table.y.dtype.kind not in "fiub":
        raise ValueError(
            f"network.task is regression, which needs numbers as targets; got {table.y[0].item()!r}"
        )
    return table if table.y.dtype.kind == "f" else replace(table, y=table.y.astype(np.float64))
