"""`fastmlp convert`: rows of files of any format as a table that is quick to read."""

from __future__ import annotations

import glob
import json
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastmlp.cli import data
from fastmlp.cli.common import EXIT_CODES, ended_by_signals, errors_in_one_line

if TYPE_CHECKING:
    import numpy as np

    from fastmlp.cli.tables import Part
    from fastmlp.sources import FileSource

HELP = f"""
Convert files of rows to a format that is quick to read: .npy, .parquet or .arrow.

Training on an .npy table larger than memory reads any row at once, so that each epoch takes the
rows in an order of its own; other formats are shuffled block by block. --output names a file, or a
folder for shards of --rows-per-shard rows. Targets become the last column. An .npy table holds
numbers alone: where targets are words, a folder has them beside it, in labels.npy. What is written
appears when it is whole, and the lines that open it are printed.

\b
    fastmlp convert train.csv --target label --output train.npy
    fastmlp convert "day-*.csv" --output days --rows-per-shard 1000000
{EXIT_CODES}"""
LABELS = "labels.npy"


def convert(
    files: data.Files,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="A file (.npy, .parquet, .arrow, .csv) or a new folder.",
            show_default=False,
        ),
    ],
    to: Annotated[
        str, typer.Option(help="The format of a folder's shards: npy, parquet, arrow or csv.")
    ] = "npy",
    rows_per_shard: Annotated[
        int | None,
        typer.Option(min=1, help="Of a folder; by default one shard.", show_default=False),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="Of the numbers, such as float32; by default as they are read.",
            show_default=False,
        ),
    ] = None,
    target: data.Target = None,
    columns: data.Columns = None,
    file_format: data.Format = None,
    format_option: data.FormatOptions = None,
    on_missing: data.OnMissing = "error",
    memory_limit: data.MemoryLimit = "1 GB",
) -> None:  # fmt: skip
    """See HELP."""
    with errors_in_one_line(), ended_by_signals():
        from fastmlp import files as writing
        from fastmlp.cli.tables import SUFFIXES

        is_file = output.suffix in SUFFIXES
        if is_file and rows_per_shard is not None:
            raise ValueError(f"--rows-per-shard is for a folder; {output} is a file")
        suffix = output.suffix if is_file else f".{to}"
        if suffix not in SUFFIXES:
            known = ", ".join(one[1:] for one in SUFFIXES)
            raise ValueError(f"--to must be one of {known}; got {to!r}")
        if is_file:
            writing.require_place(output, "--output")
            data.require_apart(output, files)
        elif output.exists():
            raise FileExistsError(f"--output must be a new folder; {output} exists")
        elif not output.absolute().parent.is_dir():
            raise FileNotFoundError(f"--output must be in a folder that exists; got {output}")
        source = data.open_source(
            files, target=target, columns=columns, file_format=file_format, options=format_option,
            on_missing=on_missing, memory_limit=memory_limit,
        )  # fmt: skip
        table = _Table(source, _target_name(target), suffix, dtype)
        if table.labels_apart and is_file:
            raise ValueError(
                "the targets are words, which an .npy table cannot hold: give a folder as "
                "--output, which has them in a file of their own, or a .parquet or .arrow file"
            )
        n_rows = len(source)
        folder = nullcontext(output.parent) if is_file else _new_folder(output)
        with folder as place:
            shards = _shards(place, output, suffix, n_rows, rows_per_shard, is_file)
            table.write(shards)
            if table.labels_apart:
                with writing.replacing(place / LABELS) as file:
                    _save(file, source.y)
        _tell(source, table, output, suffix, len(shards), is_file)


class _Table:
    """The rows of a source as they are written.

    Attributes
    ----------
    parts : list of Part
    labels_apart : bool
        Whether targets are words beside a table of numbers.
    """

    def __init__(
        self, source: FileSource, target_name: str, suffix: str, dtype: str | None
    ) -> None:
        import numpy as np

        from fastmlp.cli.tables import Part

        self.source, self.is_matrix = source, suffix == ".npy"
        y, names = source.y, data.names_of(source)
        numbers = source.dtype if dtype is None else _dtype(dtype)
        self.labels_apart = self.is_matrix and y is not None and y.dtype.kind == "U"
        self.with_y = y is not None and not self.labels_apart
        if not self.is_matrix or not self.with_y or y is None:
            self.parts: list[Part] = [Part(names, numbers)]
            if self.with_y and y is not None:
                name = target_name if target_name not in names else f"{target_name}_target"
                self.parts.append(Part([name], y.dtype, is_vector=True))
            return
        may_round = dtype is not None and numbers.kind == y.dtype.kind == "f"
        if not _holds(numbers, y, may_round):
            if dtype is not None:
                raise ValueError(
                    f"--dtype {dtype} cannot hold all targets as they are: give another, or a "
                    ".parquet or .arrow file, where targets are a column of their own type"
                )
            numbers = np.promote_types(numbers, y.dtype)
        self.parts = [Part([*names, target_name], numbers)]

    def write(self, shards: Sequence[tuple[Path, int]]) -> None:
        """Write all rows to shards, given with their numbers of rows."""
        from fastmlp.cli.tables import writing

        blocks = self._blocks()
        left = next(blocks)
        for path, n_rows in shards:
            with writing(path, self.parts, n_rows) as write:
                while n_rows:
                    if len(left[0]) == 0:
                        left = next(blocks)
                    now = [block[:n_rows] for block in left]
                    left = [block[n_rows:] for block in left]
                    write(*now)
                    n_rows -= len(now[0])
        for _ in blocks:  # none: its progress ends
            pass

    def _blocks(self) -> Iterator[list[np.ndarray]]:
        """Yield the parts of consecutive blocks."""
        import numpy as np

        y = self.source.y
        for start, X in data.blocks(self.source, "converting"):
            numbers = self.parts[0].dtype
            _require_range(self.source, start, X, numbers)
            if not self.with_y or y is None:
                yield [X]
            elif self.is_matrix:
                rows = np.empty((len(X), X.shape[1] + 1), numbers)
                rows[:, :-1], rows[:, -1] = X, y[start : start + len(X)]
                yield [rows]
            else:
                yield [X, y[start : start + len(X)]]


def _dtype(given: str) -> np.dtype[Any]:
    import numpy as np

    try:
        dtype = np.dtype(given)
    except TypeError:
        dtype = np.dtype("O")
    if dtype.kind not in "iuf":
        raise ValueError(f"--dtype must be of numbers, such as float32 or uint8; got {given!r}")
    return dtype


def _holds(dtype: np.dtype[Any], y: np.ndarray, may_round: bool) -> bool:
    """Return whether a dtype has all these numbers, as they are or up to rounding."""
    import numpy as np

    with np.errstate(over="ignore", invalid="ignore"):
        there = y.astype(dtype)
        return bool(np.isfinite(there).all() if may_round else (there.astype(y.dtype) == y).all())


def _require_range(source: FileSource, start: int, X: np.ndarray, dtype: np.dtype[Any]) -> None:
    """Raise where a dtype cannot hold numbers: whole ones exactly, others up to rounding."""
    import numpy as np

    if X.size == 0 or np.can_cast(X.dtype, dtype, "safe"):
        return
    with np.errstate(over="ignore", invalid="ignore"):
        there = X.astype(dtype)
    wrong = ~np.isfinite(there) if dtype.kind == "f" else there.astype(X.dtype) != X
    if wrong.any():
        row, column = np.argwhere(wrong)[0].tolist()
        value, name = X[row, column].item(), data.names_of(source)[column]
        raise ValueError(
            f"{source.where(start + row)}: --dtype {dtype} cannot hold {value!r} of column {name}"
        )


def _target_name(target: str | None) -> str:
    is_number = target is None or target.lstrip("-").isdigit()
    return "target" if is_number or target is None else target


def _shards(
    place: Path, output: Path, suffix: str, n_rows: int, most: int | None, is_file: bool
) -> list[tuple[Path, int]]:
    """Return the files to write, and how many rows each has."""
    if is_file:
        return [(output, n_rows)]
    most = n_rows if most is None else most
    starts = range(0, n_rows, most)
    return [
        (place / f"part-{number:05}{suffix}", min(most, n_rows - start))
        for number, start in enumerate(starts)
    ]


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """Make a folder that has its name when all goes well; else there is none."""
    temporary = path.with_name(f".{path.name[:32]}.{uuid.uuid4().hex}.tmp")
    temporary.mkdir()
    try:
        yield temporary
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _save(file: Any, array: Any) -> None:
    import numpy as np

    np.save(file, array, allow_pickle=False)


def _tell(
    source: FileSource, table: _Table, output: Path, suffix: str, n_shards: int, is_file: bool
) -> None:
    """Print what has been written, and how to open it."""
    dropped = f", {source.n_dropped} with something missing left out" if source.n_dropped else ""
    with_target = " and the target" if source.y is not None else ""
    typer.echo(
        f"{output}: {len(source)} rows{dropped}, {source.shape[1]} columns{with_target}, "
        f"{table.parts[0].dtype}" + ("" if is_file else f", in {n_shards} shards")
    )
    shown = str(output) if is_file else f"{glob.escape(str(output))}/part-*{suffix}"
    pattern = _quoted(shown)
    target: Any = None
    if table.with_y:
        target = -1 if table.is_matrix else table.parts[-1].names[0]
    given = "" if target is None else f", target={_quoted(target)}"
    opened = f"rows = fastmlp.sources.open({pattern}{given})"
    if table.labels_apart:
        typer.echo(f"Python:      {opened}; y = numpy.load({_quoted(str(output / LABELS))})")
        typer.echo("Experiment:  convert to .parquet, whose targets may be words")
        return
    typer.echo(f"Python:      {opened}")
    in_toml = "" if target is None else f"; target = {_quoted(target)}"
    typer.echo(f"Experiment:  train = {pattern}{in_toml}")


def _quoted(target: Any) -> str:
    """Return a text or a number as Python and TOML have it."""
    return json.dumps(target, ensure_ascii=False)
