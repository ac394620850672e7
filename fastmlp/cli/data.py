"""Rows of files for commands: opened by the same options everywhere, read block by block."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

if TYPE_CHECKING:
    import numpy as np

    from fastmlp.cli.saved import SavedModel
    from fastmlp.sources import FileSource

# What a block of rows takes at most, unless one row takes more; and its rows at most.
BLOCK_BYTES, BLOCK_ROWS = 2**24, 2**16

Files: TypeAlias = Annotated[
    list[str],
    typer.Argument(
        metavar="DATA...",
        help='Files of rows, one after the other, or quoted patterns such as "part-*.npy".',
        show_default=False,
    ),
]
Target: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="The column of targets: its name, or its number, negative from the end.",
        show_default=False,
    ),
]
Columns: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="The columns of features, by names or numbers, as in age,income; by default all but "
        "the target.",
        show_default=False,
    ),
]
Format: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="Of the files, where their names do not tell: npy, npz, idx, csv, svmlight, parquet, "
        "arrow or hdf5.",
        show_default=False,
    ),
]
FormatOptions: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--format-option",
        help="What the format's reader takes besides, as in delimiter=';'. May be repeated.",
        show_default=False,
    ),
]
OnMissing: TypeAlias = Annotated[
    str,
    typer.Option(
        help="What to do about rows in which something is missing: error, or drop, which leaves "
        "them out and tells how many."
    ),
]
MemoryLimit: TypeAlias = Annotated[
    str, typer.Option(help="The most memory for rows, as in 300MB; larger files are streamed.")
]


def open_source(
    files: Sequence[str],
    *,
    target: str | None = None,
    columns: str | Sequence[str | int] | None = None,
    file_format: str | None = None,
    options: Sequence[str] | None = None,
    on_missing: str = "error",
    memory_limit: str = "1 GB",
) -> FileSource:
    """Return the rows of files, for what a command's options say."""
    from fastmlp import sources

    if isinstance(columns, str):
        columns = [_place(one.strip()) for one in columns.split(",")]
    return sources.open(
        list(files),
        target=None if target is None else _place(target),
        columns=columns,
        format=file_format,
        on_missing=on_missing,
        memory_limit=memory_limit,
        **dict(_option(one) for one in options or ()),
    )


def open_for(model: SavedModel, files: Sequence[str], **options: Any) -> FileSource:
    """Return the rows of files that a model takes: by names of columns, where both have them."""
    from fastmlp.sources.formats import has_names

    names = model.feature_names
    if options["columns"] is None and names and has_names(files[0], options["file_format"]):
        options["columns"] = names
    source = open_source(files, **options)
    if source.shape[1] != model.n_features:
        hint = (
            "" if options["target"] else "; --target names the column of targets, if there is one"
        )
        raise ValueError(
            f"{model.path} takes {model.n_features} features, {files[0]} has {source.shape[1]} "
            f"columns{hint}"
        )
    return source


def require_apart(output: Path, files: Sequence[str | Path]) -> None:
    """Raise where a file to write is one that is read: it would be lost, or be read in turn."""
    from fastmlp.sources.opening import paths_of

    for one in paths_of(list(files)):
        if output.exists() and one.exists() and output.samefile(one):
            raise ValueError(f"--output must be another file than those that are read; got {one}")


def _place(given: str) -> str | int:
    """Return the number of a column, where it is one, or its name."""
    return int(given) if re.fullmatch(r"-?\d+", given) else given


def _option(given: str) -> tuple[str, Any]:
    name, equals, value = given.partition("=")
    if not (equals and name):
        raise typer.BadParameter(f"it must be name=value; got {given!r}", param_hint=_HINT)
    try:
        return name, json.loads(value)
    except ValueError:  # a text without quotes
        return name, value


_HINT = "--format-option"


def blocks(source: FileSource, what: str) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the first row's number and X of consecutive blocks, showing progress on a terminal."""
    from tqdm import tqdm

    n_rows, width = source.shape
    row_bytes = max(1, width * source.dtype.itemsize)
    n_block = max(1, min(BLOCK_ROWS, BLOCK_BYTES // row_bytes))
    with tqdm(total=n_rows, desc=what, unit=" rows", unit_scale=True, disable=None) as progress:
        for start in range(0, n_rows, n_block):
            X = source[start : start + n_block]
            yield start, X
            progress.update(len(X))


def names_of(source: FileSource) -> list[str]:
    """Return the names of the columns of X: x0, x1 ... where they have none."""
    return list(source.names or (f"x{number}" for number in range(source.shape[1])))
