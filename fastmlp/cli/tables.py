"""Tables written block by block, as a whole or not at all: .npy, .csv, .parquet, .arrow."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np

from fastmlp import files

SUFFIXES = (".npy", ".csv", ".parquet", ".arrow")
# Writes a block: one array for each part of the table.
Write: TypeAlias = Callable[..., None]


@dataclass(frozen=True)
class Part:
    """Neighbouring columns of a table.

    Attributes
    ----------
    names : sequence of str
    dtype : numpy.dtype
        Of numbers, or of str.
    is_vector : bool
        Whether its blocks are of shape (n,), else (n, len(names)).
    """

    names: Sequence[str]
    dtype: np.dtype[Any]
    is_vector: bool = False


def require_suffix(path: Path) -> None:
    """Raise where a file's name does not tell a format that can be written."""
    if path.suffix not in SUFFIXES:
        raise ValueError(f"--output must end in one of {', '.join(SUFFIXES)}; got {str(path)!r}")


@contextmanager
def writing(path: Path, parts: Sequence[Part], n_rows: int) -> Iterator[Write]:
    """Open a file that takes the place of `path` in the end, if all goes well.

    Parameters
    ----------
    path : Path
        Of one of `SUFFIXES`.
    parts : sequence of Part
        Of an .npy file one.
    n_rows : int
        How many will be written.
    """
    files.require_place(path, "--output")
    with files.replacing(path) as file, _OPENERS[path.suffix](file, parts, n_rows) as write:
        yield write


@contextmanager
def _npy(file: IO[bytes], parts: Sequence[Part], n_rows: int) -> Iterator[Write]:
    (part,) = parts
    shape = (n_rows,) if part.is_vector else (n_rows, len(part.names))
    header = {"descr": part.dtype.str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)

    def write(block: np.ndarray) -> None:
        contiguous = np.ascontiguousarray(block, part.dtype)
        file.write(contiguous.reshape(-1).view(np.uint8).data)

    yield write


@contextmanager
def csv_text(file: IO[bytes], parts: Sequence[Part], n_rows: int = 0) -> Iterator[Write]:
    """Write CSV: UTF-8, a header, numbers in the fewest digits that tell them from others."""
    text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
    writer = csv.writer(text, lineterminator="\n")
    try:
        writer.writerow([name for part in parts for name in part.names])
        yield lambda *blocks: writer.writerows(
            zip(*(_words(column) for column in _columns(parts, blocks)), strict=True)
        )
        text.flush()
    finally:
        text.detach()  # the file is closed by who has opened it


def _words(column: np.ndarray) -> list[Any]:
    words: list[Any] = (column.astype(str) if column.dtype.kind == "f" else column).tolist()
    return words


@contextmanager
def _parquet(file: IO[bytes], parts: Sequence[Part], n_rows: int) -> Iterator[Write]:
    pa, schema = _arrow(parts)
    from pyarrow import parquet

    with parquet.ParquetWriter(file, schema) as writer:
        yield lambda *blocks: writer.write_batch(_batch(pa, schema, parts, blocks))


@contextmanager
def _ipc(file: IO[bytes], parts: Sequence[Part], n_rows: int) -> Iterator[Write]:
    pa, schema = _arrow(parts)
    with pa.ipc.new_file(file, schema) as writer:
        yield lambda *blocks: writer.write_batch(_batch(pa, schema, parts, blocks))


def _arrow(parts: Sequence[Part]) -> tuple[Any, Any]:
    """Return pyarrow, and the schema of a table."""
    try:
        import pyarrow as pa
    except ImportError as error:
        what = "writing .parquet and .arrow files needs pyarrow"
        raise ImportError(f'{what}: pip install "fastmlp[arrow]"') from error
    fields = [
        (name, pa.string() if part.dtype.kind == "U" else pa.from_numpy_dtype(part.dtype))
        for part in parts
        for name in part.names
    ]
    return pa, pa.schema(fields)


def _batch(pa: Any, schema: Any, parts: Sequence[Part], blocks: Sequence[np.ndarray]) -> Any:
    columns = _columns(parts, blocks)
    arrays = [pa.array(column, one.type) for column, one in zip(columns, schema, strict=True)]
    return pa.record_batch(arrays, schema=schema)


def _columns(parts: Sequence[Part], blocks: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield each column of a block (n,), contiguous and of its dtype."""
    for part, block in zip(parts, blocks, strict=True):
        matrix = block.reshape(len(block), len(part.names))
        for column in matrix.T:
            yield np.ascontiguousarray(column, part.dtype)


_OPENERS: dict[str, Callable[[IO[bytes], Sequence[Part], int], Any]] = {
    ".npy": _npy, ".csv": csv_text, ".parquet": _parquet, ".arrow": _ipc,
}  # fmt: skip
