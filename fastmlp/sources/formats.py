"""The readers of formats, by the names of files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastmlp.sources.csv import CsvReader
from fastmlp.sources.reader import Reader
from fastmlp.sources.svmlight import SvmlightReader

READERS: dict[str, Any] = {"csv": CsvReader, "svm": SvmlightReader}


def reader(path: Path, target: Any, columns: Any, format: str | None, **options: Any) -> Reader:  # noqa: A002
    """Return the reader of a file."""
    name = format or path.name.removesuffix(".gz").rpartition(".")[2]
    made: Reader = READERS[name](path, target, columns, **options)
    return made
