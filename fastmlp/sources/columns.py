"""Which columns of a file are X's, and which one holds the targets."""

from __future__ import annotations

import difflib
import numbers
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

Column: TypeAlias = str | int


def resolve(
    path: Path,
    names: Sequence[str] | None,
    width: int,
    target: Column | None,
    columns: Sequence[Column] | None,
) -> tuple[list[int], int | None]:
    """Return the numbers of X's columns, in order, and of the column of targets.

    Parameters
    ----------
    path : Path
        The file, for messages.
    names : sequence of str or None
        Of all its columns.
    width : int
        How many they are.
    target : str or int or None
        The column of targets: its name, or its number, negative from the end.
    columns : sequence of str or int, or None
        X's columns, likewise. None: all but the target.

    Raises
    ------
    TypeError
        If one of them is neither a name nor a number.
    ValueError
        If there is no such column, or it is named twice, or no column is left for X.
    """
    known = None if names is None else _places(names)
    target_at = None if target is None else _column(path, known, width, "target", target)
    if columns is None:
        chosen = [j for j in range(width) if j != target_at]
        if not chosen:
            beside = "" if target_at is None else f" beside the target, {_called(names, target_at)}"
            raise ValueError(f"{path} has no columns{beside}")
        return chosen, target_at
    if isinstance(columns, str) or not isinstance(columns, Sequence):
        raise TypeError(f"columns must be a list of names or numbers; got {columns!r}")
    chosen = [_column(path, known, width, f"columns[{i}]", c) for i, c in enumerate(columns)]
    if not chosen:
        raise ValueError("columns must name at least one column; got none")
    before: set[int] = set()
    for i, j in enumerate(chosen):
        if j in before:
            raise ValueError(f"columns[{i}] names column {_called(names, j)} a second time")
        before.add(j)
        if j == target_at:
            raise ValueError(f"columns[{i}] names the target, {_called(names, j)}")
    return chosen, target_at


def _places(names: Sequence[str]) -> dict[str, list[int]]:
    """Return the numbers of the columns of each name."""
    places: dict[str, list[int]] = {}
    for j, name in enumerate(names):
        places.setdefault(name, []).append(j)
    return places


def _column(
    path: Path, known: dict[str, list[int]] | None, width: int, argument: str, value: Column
) -> int:
    """Return the number of a column of `width`, from its name or number."""
    if isinstance(value, str):
        return _named(path, known, argument, value)
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{argument} must be a column's name or number; got {value!r}")
    if not -width <= value < width:
        raise ValueError(
            f"{argument} must be a column of {path}, from {-width} to {width - 1}; got {value}"
        )
    return int(value) % width


def _named(path: Path, known: dict[str, list[int]] | None, argument: str, value: str) -> int:
    if known is None:
        raise ValueError(f"{argument} must be a number, as {path} has no names; got {value!r}")
    if value not in known:
        raise ValueError(f"{argument}: {unknown(path, value, list(known), 'column')}")
    first, *others = known[value]
    if others:
        n = 1 + len(others)
        raise ValueError(f"{argument}: {path} has {n} columns {value!r}; pass a number")
    return first


def unknown(path: Path, value: str, known: Sequence[str], kind: str) -> str:
    """Return the end of a message: there is no such name, and which there are."""
    close = difflib.get_close_matches(value, known, 1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    shown = ", ".join(map(repr, known[:30])) + (", ..." if len(known) > 30 else "")
    return f"{path} has no {kind} {value!r}{hint} It has {shown or 'none'}"


def _called(names: Sequence[str] | None, j: int) -> str:
    return str(j) if names is None else repr(names[j])
