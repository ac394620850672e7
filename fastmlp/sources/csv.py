"""CSV: a row in each line, its fields separated by commas, tabs or blanks."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from fastmlp.sources.columns import Column, resolve
from fastmlp.sources.reader import BLOCK_BYTES, Block
from fastmlp.sources.text import TextReader
from fastmlp.validation import one_of

MISSING = ("", "NA", "nan", "NaN", "?")
WHITESPACE = "whitespace"
QUOTE = '"'


class _Run(NamedTuple):
    """Neighbouring columns of the file that are neighbours in X, or are of no use."""

    name: str
    role: str  # "X", "target" or "unused"
    place: int  # of the first of them in X
    n_columns: int


class CsvReader(TextReader):
    """A file of lines of numbers, one column of which may hold labels.

    Parameters
    ----------
    path : path-like
        A file in UTF-8, plain or compressed by gzip.
    target : str or int, optional
        The column of targets: its name in the first line, or its number, negative from the end.
    columns : list of str or int, optional
        X's columns. Default: all but the target.
    delimiter : str, optional
        One character, or "whitespace" for any blanks. None: a comma, a tab or else whitespace,
        whichever the first line has.
    header : bool, optional
        Whether the first line holds names. Default: it does if columns are called by names, or
        none of its fields that are to be numbers is one.
    missing : sequence of str
        What stands for a missing number or label.
    dtype : {"float64", "float32"}
        Of X.
    target_dtype : {"float64", "str"}, optional
        Of the targets. Default: numbers, if those of the first block are.
    block_bytes : int
        About what a block takes in the file.

    Notes
    -----
    Fields may be quoted by '"'; a line break is none within quotes, either. Blanks around fields
    do not count, nor do empty lines. Numbers are read as `numpy.loadtxt` reads them.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        target: Column | None = None,
        columns: Sequence[Column] | None = None,
        *,
        delimiter: str | None = ",",
        header: bool | None = None,
        missing: Sequence[str] = MISSING,
        dtype: str = "float64",
        target_dtype: str | None = None,
        block_bytes: int = BLOCK_BYTES,
    ) -> None:
        if isinstance(missing, str):
            raise TypeError(f"missing must be a list of strings; got {missing!r}")
        self._missing = frozenset(missing)
        self.dtype = np.dtype(one_of("dtype", dtype, ("float64", "float32")))
        if target_dtype is not None:
            one_of("target_dtype", target_dtype, ("float64", "str"))
        # Whether NumPy would take for a number what stands for none.
        self._must_convert = any(map(_is_number, self._missing - set(MISSING)))

        super().__init__(path)
        self._delimiter = None if delimiter in (None, WHITESPACE) else delimiter
        line, number, offset = self._first_line()
        try:
            first = line.decode()
        except UnicodeDecodeError:
            raise ValueError(f"{self._line(number)}: is not text in UTF-8") from None
        if "\r" in first:
            raise ValueError(f"{self._line(number)}: has a carriage return in it")
        self._delimiter = _delimiter(delimiter, first)
        fields = [field.strip() for field in self._fields(first)]
        if header is None:
            header = self._is_header(fields, target, columns, self._line(number))
        self._names = fields if header else None
        self._n_columns = len(fields)
        self._chosen, self._target = resolve(self.path, self._names, len(fields), target, columns)
        self.width = len(self._chosen)
        self.names = [fields[j] for j in self._chosen] if header else None
        self.has_target = self._target is not None
        if header:
            self._scan(offset, number + 1, block_bytes)
        else:
            self._scan(self._beginning, 1, block_bytes)
        self._runs = self._plan()
        self._labels = target_dtype != "float64"
        if target_dtype is None and self.has_target and len(self.ends):
            labels = self._targets_of(self._table(0, "target"))
            self._labels = labels is not None and not all(
                label == "" or _is_number(label) for label in labels.tolist()
            )
        self._unchanged.require()

    def _read(self, block: int) -> Block:
        table = self._table(block, "X")
        X = np.empty((len(table), self.width), self.dtype)
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite
            for run in self._runs:
                if run.role == "X":
                    X[:, run.place : run.place + run.n_columns] = table[run.name]
        return X, self._targets_of(table)

    def _targets_of(self, table: np.ndarray) -> np.ndarray | None:
        """Return the targets of a table of rows."""
        if self._target is None:
            return None
        targets: np.ndarray = table["target"][:, 0]
        if not self._labels:
            return np.ascontiguousarray(targets)
        labels = [label.strip() for label in targets.tolist()]
        return np.array(["" if label in self._missing else label for label in labels], np.str_)

    def _is_row(self, line: bytes) -> bool:
        return bool(line.strip()) if self._delimiter is None else super()._is_row(line)

    def _n_rows(self, content: bytes) -> int:
        if self._delimiter is None:
            return sum(map(self._is_row, content.split(b"\n")))
        return super()._n_rows(content)

    def _is_header(
        self,
        fields: list[str],
        target: Column | None,
        columns: Sequence[Column] | None,
        where: str,
    ) -> bool:
        """Return whether the first line's fields are names."""
        if any(isinstance(called, str) for called in (target, *(columns or ()))):
            return True
        chosen, _ = resolve(self.path, None, len(fields), target, columns)
        words = [j for j in chosen if not self._is_missing_or_number(fields[j])]
        figures = [j for j in chosen if _is_number(fields[j])]
        if words and figures:
            raise ValueError(
                f"{where}: neither names nor numbers: has {_shown(fields[figures[0]])} in column "
                f"{figures[0]}, {_shown(fields[words[0]])} in column {words[0]}; if it holds "
                "names, pass header=True"
            )
        return bool(words)

    def _is_missing_or_number(self, field: str) -> bool:
        return field in self._missing or _is_number(field)

    def _plan(self) -> list[_Run]:
        """Return how to read the file's columns, in order."""
        places = {j: place for place, j in enumerate(self._chosen)}

        def role(j: int) -> tuple[str, int]:
            if j == self._target:
                return "target", 0
            return ("X", places[j] - j) if j in places else ("unused", 0)

        runs = []
        for (kind, offset), group in groupby(range(self._n_columns), role):
            first, *others = group
            name = "target" if kind == "target" else str(first)
            runs.append(_Run(name, kind, first + offset, 1 + len(others)))
        return runs

    def _table(self, block: int, role: str) -> np.ndarray:
        """Return a block's rows as a structured array.

        The targets are read, and X where that is the `role`, one field for each run.
        """
        first, end = self._rows_of(block)
        content = self._content(block)
        try:
            lines = content.decode().split("\n")
        except UnicodeDecodeError as error:
            number = self._lines[block] + content.count(b"\n", 0, error.start)
            raise ValueError(f"{self._line(number)}: is not text in UTF-8") from None
        for convert in (True,) if self._must_convert else (False, True):
            with contextlib.suppress(ValueError):  # said better below
                table = self._parse(lines, role, convert)
                if len(table) == end - first:
                    return table
        for number, line in enumerate(lines, self._lines[block]):
            if self._is_row(line.encode()) and (complaint := self._complaint(line, role)):
                raise ValueError(f"{self._line(number)}: {complaint}")
        raise AssertionError(f"{self.path}, block {block}: each line can be read, but not all")

    def _parse(self, lines: list[str], role: str, convert: bool) -> np.ndarray:
        dtypes = {"X": "f8" if role == "X" else "U1", "unused": "U1"}
        dtypes["target"] = "O" if self._labels else "f8"
        layout = [(run.name, dtypes[run.role], (run.n_columns,)) for run in self._runs]
        numeric = self._numeric(role)
        return np.loadtxt(
            lines,
            np.dtype(layout),
            comments=None,
            delimiter=self._delimiter,
            converters=dict.fromkeys(numeric, self._number) if convert else None,
            ndmin=1,
            quotechar=QUOTE,
        )

    def _numeric(self, role: str) -> list[int]:
        """Return which columns must hold numbers."""
        target = [] if self._target is None or self._labels else [self._target]
        return target + (self._chosen if role == "X" else [])

    def _number(self, field: str) -> float:
        """Return the number in a field, or NaN where it is missing."""
        field = field.strip()
        if field in self._missing:
            return np.nan
        if not _is_number(field):
            raise ValueError(field)
        return float(field)

    def _fields(self, line: str) -> list[str]:
        fields: list[str] = np.loadtxt(
            [line], object, comments=None, delimiter=self._delimiter, ndmin=2, quotechar=QUOTE
        )[0].tolist()
        return fields

    def _complaint(self, line: str, role: str) -> str:
        """Return what is wrong with a line; nothing if that is nothing."""
        if "\r" in line.removesuffix("\r"):
            return "has a carriage return in it"
        fields = self._fields(line)
        if len(fields) != self._n_columns:
            return f"has {len(fields)} fields, not {self._n_columns}"
        for j in self._numeric(role):
            if not self._is_missing_or_number(fields[j].strip()):
                name = repr(self._names[j]) if self._names else str(j)
                hint = "; for labels, pass target_dtype='str'" if j == self._target else ""
                return f"{_shown(fields[j])} in column {name} is not a number{hint}"
        with contextlib.suppress(ValueError):
            if len(self._parse([line, line], role, True)) == 2:
                return ""
        return "has an unclosed quote"  # it goes on in the line after


def _delimiter(delimiter: str | None, line: str) -> str | None:
    """Return the delimiter to pass to NumPy: None for whitespace."""
    if delimiter is None:
        return next((d for d in ",\t" if d in line), None)
    if delimiter == WHITESPACE:
        return None
    if len(delimiter) != 1 or delimiter in '\r\n"':
        raise ValueError(
            f"delimiter must be one character, {WHITESPACE!r} or None; got {delimiter!r}"
        )
    return delimiter


def _is_number(field: str) -> bool:
    """Return whether NumPy reads a number in a field; Python reads some more."""
    if "_" in field or not field.isascii():
        return False
    try:
        float(field)
    except ValueError:
        return False
    return True


def _shown(field: str) -> str:
    return repr(field if len(field) <= 40 else field[:40] + "...")
