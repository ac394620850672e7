"""Which reader reads a file."""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fastmlp.sources.columnar import ArrowReader, ParquetReader
from fastmlp.sources.columns import Column
from fastmlp.sources.csv import CsvReader
from fastmlp.sources.hdf5 import Hdf5Reader
from fastmlp.sources.npz import NpzReader
from fastmlp.sources.reader import Reader
from fastmlp.sources.svmlight import SvmlightReader
from fastmlp.validation import one_of


class _Format(NamedTuple):
    extensions: tuple[str, ...]
    reader: Callable[..., Reader]
    defaults: Mapping[str, Any] = {}
    may_be_zipped: bool = False


_FORMATS = {
    "csv": _Format((".csv",), CsvReader, may_be_zipped=True),
    "tsv": _Format((".tsv",), CsvReader, {"delimiter": "\t"}, may_be_zipped=True),
    "txt": _Format((".txt",), CsvReader, {"delimiter": None}, may_be_zipped=True),
    "svmlight": _Format((".svm", ".svmlight", ".libsvm"), SvmlightReader, may_be_zipped=True),
    "parquet": _Format((".parquet", ".pq"), ParquetReader),
    "arrow": _Format((".arrow", ".feather"), ArrowReader),
    "hdf5": _Format((".h5", ".hdf5"), Hdf5Reader),
    "npz": _Format((".npz",), NpzReader),
}
FORMATS = tuple(_FORMATS)
# Of which columns have names, in most files.
_NAMED = ("csv", "tsv", "parquet", "arrow")
EXTENSIONS = tuple(extension for known in _FORMATS.values() for extension in known.extensions)


def reader(
    path: str | os.PathLike[str],
    target: Column | None = None,
    columns: Sequence[Column] | None = None,
    format: str | None = None,  # noqa: A002
    **options: Any,
) -> Reader:
    """Open a file, to be read in blocks of rows.

    Parameters
    ----------
    path : path-like
        The file.
    target : str or int, optional
        Where the targets are: the name of a column, or its number, negative from the end.
    columns : list of str or int, optional
        X's columns. Default: all but the target.
    format : str, optional
        One of `FORMATS`. Default: what the extension says.
    **options
        Of the format: the keyword arguments of its reader.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TypeError
        If the format has no such option.
    ValueError
        If the format is not known, the file is not of that format, or there are no such columns.
    ImportError
        If the format needs a package that is not installed.
    """
    name = _by_extension(Path(path)) if format is None else one_of("format", format, FORMATS)
    known = _FORMATS[name]
    parameters = inspect.signature(known.reader).parameters.values()
    names = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    for option in options:
        if option not in names:
            close = difflib.get_close_matches(option, names, 1)
            hint = f"; did you mean {close[0]!r}?" if close else "."
            listed = ", ".join(map(repr, names)) or "none"
            raise TypeError(f"{name} files have no option {option!r}{hint} They have {listed}")
    return known.reader(path, target, columns, **{**known.defaults, **options})


def has_names(path: str, format: str | None = None) -> bool:  # noqa: A002
    """Return whether the columns of a file, or of files of a pattern, have names by its format."""
    ending = "." + path.lower().removesuffix(".gz").rpartition(".")[2]
    return format in _NAMED if format else any(ending in _FORMATS[n].extensions for n in _NAMED)


def _by_extension(path: Path) -> str:
    """Return the format that the extension of a file says."""
    last = path.suffix.lower()
    inner = Path(path.stem).suffix.lower() if last == ".gz" else last
    for name, known in _FORMATS.items():
        if inner in known.extensions and (last != ".gz" or known.may_be_zipped):
            return name
    zipped = [e for known in _FORMATS.values() if known.may_be_zipped for e in known.extensions]
    raise ValueError(
        f"{path}: files called {path.suffix or 'so'!r} are of no known format. Known are "
        f"{', '.join(EXTENSIONS)}, and with .gz behind it {', '.join(zipped)}; or pass format="
    )
