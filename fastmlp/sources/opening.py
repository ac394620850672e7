"""`open`: a source from files of whatever format."""

from __future__ import annotations

import glob
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastmlp.sources import raw
from fastmlp.sources.arrays import ArrayTable
from fastmlp.sources.blocks import BlockTable
from fastmlp.sources.columns import resolve
from fastmlp.sources.file_source import FileSource
from fastmlp.sources.idx import load_idx
from fastmlp.sources.raw import Layout, RawTable
from fastmlp.sources.tables import Table
from fastmlp.validation import is_number

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
         "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}  # fmt: skip
RAW_FORMATS = {"npy": "npy", "idx": "idx", "ubyte": "idx"}


def open(
    path: Any,
    *,
    target: str | int | None = None,
    columns: Sequence[str | int] | None = None,
    format: str | None = None,
    dtype: Any = None,
    on_missing: str = "error",
    memory_limit: int | str = "1 GB",
    **options: Any,
) -> FileSource:
    """Open files of rows that may be larger than memory.

    All rows are read once: counted, looked through for what is missing, their targets kept. Then
    they are read as they are needed, a few at a time.

    Parameters
    ----------
    path : str, os.PathLike, or list of these
        A file, a pattern (``"part-*.npy"``, in the order of the names), or several of the same
        columns, one after the other.
    target : str or int, optional
        The column of targets, by name or number (negative: from the end). Of LIBSVM files it is
        the first, always; of HDF5 and .npz files it may be an array of its own.
    columns : sequence of str or int, optional
        Those of X, by default all but the target.
    format : str, optional
        "npy", "idx", "npz", "csv", "tsv", "txt", "svmlight", "parquet", "arrow" or "hdf5"; by
        default by the file's name.
    dtype : dtype, optional
        Of the rows as they are given on, an integer or floating one, which must hold all numbers;
        by default as stored, of text float64. An estimator computes in float32 where it is that,
        else in float64.
    on_missing : {"error", "drop"}, default="error"
        What to do about rows in which a number is NaN or absent.
    memory_limit : int or str, default="1 GB"
        The most memory for rows, targets and buffers, in bytes or as "300 MB".
    **options
        Of the format; see Notes.

    Returns
    -------
    FileSource
        With the targets as `y`. Where access to rows anywhere is costly but all of them fit into
        half the `memory_limit`, they are in memory.

    Raises
    ------
    ValueError
        For a row that cannot be parsed, or is not finite, or not in the dtype, naming file and row;
        columns that are not there; files of different columns.
    OSError
        For a file that cannot be read. Later, while it is read: for one that has changed since.
    ImportError
        Where a library is missing: ``pip install "fastmlp[arrow]"`` or ``"fastmlp[hdf5]"``.

    Examples
    --------
    >>> import fastmlp as fm
    >>> rows = fm.sources.open("higgs-*.npy", target=0, memory_limit="300 MB")  # doctest: +SKIP
    >>> net = fm.Network([28, 300, 300, 2], output="softmax")
    >>> w = net.init(rng=0)
    >>> result = fm.minibatch_sgd(net, rows, rows.y, w, batch_size=100)  # doctest: +SKIP
    """
    if on_missing not in ("error", "drop"):
        raise ValueError(f"on_missing must be 'error' or 'drop'; got {on_missing!r}")
    limit = n_bytes("memory_limit", memory_limit)
    if dtype is not None and (dtype := np.dtype(dtype)).kind not in "iuf":
        raise ValueError(f"dtype must be an integer or floating one; got {dtype}")
    paths = paths_of(path)
    table = _table(paths, target, columns, format, options)
    name = str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
    return FileSource(table, name, on_missing, limit, dtype)


def n_bytes(name: str, value: Any) -> int:
    """Return a number of bytes, given as such or with a unit: "300 MB", "1.5 GiB"."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([A-Za-z]*)\s*", value)
        if match is not None and match[2].upper() in UNITS:
            return max(1, int(float(match[1]) * UNITS[match[2].upper()]))
    elif is_number(value) and 1 <= value < math.inf:
        return int(value)
    raise ValueError(f'{name} must be a number of bytes, or as "300 MB"; got {value!r}')


def paths_of(path: Any) -> list[Path]:
    """Return the files that a path, a pattern, or a list of these names."""
    if isinstance(path, (list, tuple)):
        if not path:
            raise ValueError("path must name at least one file; got an empty list")
        return [one for given in path for one in paths_of(given)]
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be a path, a pattern, or a list of these; got {path!r}")
    text = os.fspath(path)
    if os.path.exists(text) or not glob.has_magic(text):
        return [Path(text)]
    found = sorted(glob.glob(text))
    if not found:
        raise FileNotFoundError(f"no file matches {text!r}")
    return [Path(one) for one in found]


def _table(
    paths: list[Path],
    target: str | int | None,
    columns: Sequence[str | int] | None,
    format: str | None,
    options: dict[str, Any],
) -> Table:
    from fastmlp.sources.formats import FORMATS, reader

    if format is not None and format not in (*RAW_FORMATS, *FORMATS):
        known = ", ".join(map(repr, ("npy", "idx", *FORMATS)))
        raise ValueError(f"format must be one of {known}; got {format!r}")
    kinds = {RAW_FORMATS.get(format or _extension(path)) for path in paths}
    if kinds == {None}:
        return BlockTable([reader(path, target, columns, format, **options) for path in paths])
    if None in kinds:
        raise ValueError("files of one table must be all raw (.npy, IDX), or none of them")
    if options:
        raise TypeError(f".npy and IDX files have no options; got {', '.join(options)}")
    layouts: list[Layout] = []
    for path in paths:
        is_npy = RAW_FORMATS[format or _extension(path)] == "npy"
        layout = raw.npy(path) if is_npy else raw.idx(path)
        if layout is None:
            return _decompressed(paths, target, columns)
        layouts.append(layout)
    numbers, place = resolve(paths[0], None, layouts[0].n_columns, target, columns)
    return RawTable(layouts, np.array(numbers), place)


def _decompressed(
    paths: list[Path], target: str | int | None, columns: Sequence[str | int] | None
) -> Table:
    """Return the rows of compressed IDX files, in memory."""
    array = np.concatenate([load_idx(path) for path in paths])
    array = array.reshape(len(array), -1)
    numbers, place = resolve(paths[0], None, array.shape[1], target, columns)
    return ArrayTable(array, str(paths[0]), np.array(numbers), place)


def _extension(path: Path) -> str:
    """Return what a file's name ends with, without ".gz"; of MNIST's, "ubyte"."""
    name = path.name.removesuffix(".gz").lower()
    extension = name.rpartition(".")[2]
    return "ubyte" if extension.endswith("ubyte") else extension
