"""One pass over the rows of a table: their targets, and what is missing or too large."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastmlp.sources.tables import Table


class Targets:
    """Collects targets, in the smallest dtype that holds all of them.

    Parameters
    ----------
    n_rows : int
        The most there may be.
    """

    def __init__(self, n_rows: int) -> None:
        self._room = n_rows
        self._values: np.ndarray | None = None
        self._n = 0

    def add(self, values: np.ndarray) -> None:
        """Take further ones: numbers without NaN, or strings."""
        values = _smallest(values)
        if self._values is None:
            self._values = np.empty(self._room, values.dtype)
        numbers = [one.dtype.kind != "U" for one in (self._values, values)]
        if self._n and numbers[0] != numbers[1]:
            raise ValueError("the targets are numbers in some rows, words in others")
        dtype = np.promote_types(self._values.dtype, values.dtype)
        if self._values.dtype != dtype:
            before, self._values = self._values, np.empty(self._room, dtype)
            self._values[: self._n] = before[: self._n]
        self._values[self._n : self._n + len(values)] = values
        self._n += len(values)

    def array(self) -> np.ndarray | None:
        """Return all targets; None where there were none to take."""
        if self._values is None or self._n == self._room:
            return self._values
        return self._values[: self._n].copy()


def _smallest(values: np.ndarray) -> np.ndarray:
    """Return values in the smallest dtype that holds them: integers where they are whole."""
    if values.dtype.kind == "b":
        return values.astype(np.uint8)
    if values.dtype.kind not in "iuf":
        return values.astype(str)
    if values.size == 0:
        return values.astype(np.uint8)
    least, most = values.min().item(), values.max().item()
    if values.dtype.kind == "f":
        is_whole = abs(least) < 2**31 and abs(most) < 2**31 and (values == np.floor(values)).all()
        if not is_whole or np.signbit(values[values == 0]).any():
            with np.errstate(over="ignore"):
                single = values.astype(np.float32)
            return single if (single == values).all() else values
    # A signed integer holds as much below zero as up to -1 - n above.
    widest = min(int(least), -1 - int(most)) if least < 0 else int(most)
    return values.astype(np.min_scalar_type(widest))


def scan(
    table: Table, on_missing: str, dtype: np.dtype[Any], kept: np.ndarray | None = None
) -> tuple[np.ndarray | None, np.ndarray, float]:
    """Return the targets, which rows are to be left out, and the largest magnitude in X.

    Parameters
    ----------
    table : Table
    on_missing : {"error", "drop"}
    dtype : numpy.dtype
        What X is to be given on in.
    kept : ndarray of shape (n_rows, width) and of the dtype, optional
        Where X is to be kept, but for rows that are left out.

    Raises
    ------
    ValueError
        For what is missing, unless it is to be dropped, for infinity, and for what the dtype cannot
        hold; naming file and row.
    """
    targets, dropped, greatest, start = Targets(table.n_rows), [], 0.0, 0
    n_kept = 0
    for X, y in table.chunks():
        missing = _missing(X, y)
        if missing is not None:
            if on_missing == "error":
                _raise_missing(table, X, y, start, int(missing.argmax()))
            dropped.append(start + np.flatnonzero(missing))
            X, y = X[~missing], None if y is None else y[~missing]
        if X.size and X.dtype.kind == "f":
            largest = float(max(X.max(), -X.min()))
            if not np.isfinite(largest):
                row, column = np.argwhere(np.isinf(X))[0]
                row = _row_before(row, missing)
                raise ValueError(
                    f"{table.where(start + row)}: {_column(table, column)} is infinite"
                )
            greatest = max(greatest, largest)
        held = X
        if X.dtype != dtype:
            with np.errstate(over="ignore", invalid="ignore"):
                held = X.astype(dtype)
            fits = np.isfinite(held) if dtype.kind == "f" else held == X
            if not fits.all():
                row, column = np.argwhere(~fits)[0]
                place = table.where(start + _row_before(row, missing))
                raise ValueError(
                    f"{place}: {_column(table, column)} is {X[row, column]}, which {dtype} cannot "
                    "hold"
                )
        if kept is not None:
            kept[n_kept : n_kept + len(X)] = held
            n_kept += len(X)
        if y is not None:
            try:
                targets.add(y)
            except ValueError as error:
                raise ValueError(f"{table.where(start)} and after it: {error}") from None
        start += len(X) if missing is None else len(missing)
    none = np.empty(0, np.int64)
    return targets.array(), np.concatenate([none, *dropped]), greatest


def _missing(X: np.ndarray, y: np.ndarray | None) -> np.ndarray | None:
    """Return in which rows something is missing (n,) bool; None for none."""
    missing: Any = False
    if X.dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isnan(X.sum()):  # infinities of both signs too
                missing = np.isnan(X).any(axis=1)
    if y is not None:
        missing = missing | _is_missing(y)
    return missing if np.any(missing) else None


def _is_missing(y: np.ndarray) -> Any:
    if y.dtype.kind == "f":
        return np.isnan(y)
    return y == "" if y.dtype.kind == "U" else False


def _raise_missing(table: Table, X: np.ndarray, y: np.ndarray | None, start: int, row: int) -> None:
    what = "the target"
    if X.dtype.kind == "f" and np.isnan(X[row]).any():
        what = _column(table, int(np.isnan(X[row]).argmax()))
    raise ValueError(
        f'{table.where(start + row)}: {what} is missing (NaN); on_missing="drop" leaves such rows '
        "out"
    )


def _column(table: Table, column: int) -> str:
    return f"column {column}" if table.names is None else f"column {table.names[column]!r}"


def _row_before(row: int, missing: np.ndarray | None) -> int:
    """Return the row that had this number before those that are missing were left out."""
    return int(row if missing is None else np.flatnonzero(~missing)[row])
