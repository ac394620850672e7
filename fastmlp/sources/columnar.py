"""Parquet and Arrow IPC (Feather): files of columns, in groups of rows."""

from __future__ import annotations

import os
import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fastmlp.sources.columns import Column, resolve
from fastmlp.sources.reader import Block, Reader, dependency

# What pandas calls the columns of an index without a name, which are not part of the table.
_INDEX = re.compile(r"__index_level_\d+__")
_BATCH_ROWS = 2**16
# Row groups have 10^6 rows as a rule: in such parts, what a shuffle needs of many can be kept.
_BLOCK_BYTES = 2**21
# Of each column: else a whole row group is read before its first rows are there.
_BUFFER_BYTES = 2**16


class ColumnarReader(Reader):
    """A file of columns, whose types are known."""

    def __init__(self, path: str | os.PathLike[str], what: str) -> None:
        self._pa = dependency("pyarrow", what, "arrow")
        super().__init__(path)

    def _choose(self, schema: Any, target: Column | None, columns: Sequence[Column] | None) -> None:
        """Find the columns to read, by their numbers in the schema."""
        # Lists: pyarrow makes one anew each time.
        try:
            self._names, self._types = list(schema.names), list(schema.types)
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.path} has a column whose name is no text: {error}") from error
        table = [i for i, name in enumerate(self._names) if not _INDEX.fullmatch(name)]
        names = [self._names[i] for i in table]
        chosen, target_at = resolve(self.path, names, len(names), target, columns)
        self._chosen = [table[j] for j in chosen]
        self._target = None if target_at is None else table[target_at]
        self.names = [names[j] for j in chosen]
        self.width = len(chosen)
        self.has_target = target_at is not None
        for i in self._chosen:
            if not self._is_number(self._types[i]):
                raise ValueError(
                    f"{self.path}: column {self._names[i]!r} is of type {self._types[i]}; "
                    "columns of X must be numbers"
                )
        if self._target is not None:
            kind = self._value_type(self._types[self._target])
            if not self._is_number(kind) and not self._is_string(kind):
                raise ValueError(
                    f"{self.path}: column {self._names[self._target]!r} is of type {kind}; "
                    "targets must be numbers or strings"
                )

    def _common_dtype(self, may_miss: Sequence[bool]) -> np.dtype[Any]:
        """Return a dtype for all columns of X, of which some may have missing numbers."""
        types = self._pa.types
        dtypes = []
        for i, missing in zip(self._chosen, may_miss, strict=True):
            kind = self._value_type(self._types[i])
            dtype: np.dtype[Any]
            if types.is_boolean(kind):
                dtype = np.dtype(np.uint8)
            elif types.is_decimal(kind):
                dtype = np.dtype(np.float64)
            else:
                dtype = np.dtype(kind.to_pandas_dtype())
            # Of integers, float32 holds those of 16 bits.
            dtypes.append(
                np.result_type(dtype, np.float32) if missing and dtype.kind != "f" else dtype
            )
        return np.result_type(*dtypes)

    def _set_blocks(self, n_rows: Sequence[int], block_bytes: int) -> None:
        """Cut groups of `n_rows` rows each where they take more than `block_bytes`."""
        self._most_rows = max(1, block_bytes // (self.width * self.dtype.itemsize))
        self._blocks: list[tuple[int, int, int]] = []  # group, and rows in it: from, to
        for group, n in enumerate(n_rows):
            for start in range(0, n, self._most_rows):
                self._blocks.append((group, start, min(start + self._most_rows, n)))
        self.ends = np.cumsum([stop - start for _, start, stop in self._blocks], dtype=np.int64)

    def _value_type(self, kind: Any) -> Any:
        return kind.value_type if self._pa.types.is_dictionary(kind) else kind

    def _is_number(self, kind: Any) -> bool:
        types, kind = self._pa.types, self._value_type(kind)
        tests = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal)
        return any(test(kind) for test in tests)

    def _is_string(self, kind: Any) -> bool:
        return str(kind) in ("string", "large_string", "string_view")

    @abstractmethod
    def _columns(self, block: int, wanted: list[int]) -> list[Any]:
        """Return columns of a block's rows, as arrays of pyarrow."""

    def _arrays(self, block: int, wanted: list[int]) -> list[Any]:
        try:
            arrays = self._columns(block, wanted)
            for array in arrays:
                array.validate(full=not self._pa.types.is_primitive(array.type))
            return arrays
        except (OSError, self._pa.ArrowException) as error:
            first, end = self._rows_of(block)
            raise ValueError(
                f"{self.path}, rows {first} to {end - 1}: cannot be read: {error}"
            ) from error

    def _read(self, block: int) -> Block:
        target = [] if self._target is None else [self._target]
        arrays = self._arrays(block, self._chosen + target)
        first, end = self._rows_of(block)
        X = np.empty((end - first, self.width), self.dtype)
        for j in range(self.width):
            X[:, j] = self._numbers(arrays[j])
        return X, self._values(arrays[-1]) if target else None

    def _numbers(self, array: Any) -> np.ndarray:
        """Return a column of numbers, NaN where one is missing."""
        types = self._pa.types
        if types.is_dictionary(array.type):
            array = array.cast(array.type.value_type)
        if types.is_boolean(array.type):
            array = array.cast(self._pa.uint8())
        elif types.is_decimal(array.type):
            array = array.cast(self._pa.float64())
        numbers: np.ndarray = array.to_numpy(zero_copy_only=False)
        return numbers

    def _values(self, array: Any) -> np.ndarray:
        """Return a column of targets: numbers, or labels."""
        kind = self._value_type(array.type)
        if self._is_string(kind):
            labels = array.cast(kind).to_pylist()
            return np.array(["" if label is None else label for label in labels], np.str_)
        if self._pa.types.is_boolean(kind) and not array.null_count:
            return np.array(array.cast(kind).to_numpy(zero_copy_only=False))
        return np.array(self._numbers(array))  # not pyarrow's memory

    def where(self, row: int) -> str:
        """Return where a row is, as in 'train.parquet, row 16'; the first one is row 0."""
        return f"{self.path}, row {row}"


class ParquetReader(ColumnarReader):
    """A Parquet file. A block is a row group, or a part of one.

    Parameters
    ----------
    path : path-like
        The file.
    target : str or int, optional
        The column of targets: its name, or its number, negative from the end. Strings are labels.
    columns : list of str or int, optional
        X's columns, of numbers or truth values. Default: all but the target.
    block_bytes : int
        What a block takes in memory, at most: of a row group that takes more, parts are read. To
        read one of them alone, those before it are read and thrown away.

    Notes
    -----
    X has a floating dtype where the file says that a number is missing, or does not say how many.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        target: Column | None = None,
        columns: Sequence[Column] | None = None,
        *,
        block_bytes: int = _BLOCK_BYTES,
    ) -> None:
        super().__init__(path, "Parquet")
        parquet = dependency("pyarrow.parquet", "Parquet", "arrow")
        source = self._resources.enter_context(self._pa.OSFile(os.fspath(self.path)))
        try:
            self._file = parquet.ParquetFile(source, buffer_size=_BUFFER_BYTES, pre_buffer=False)
        except (OSError, ValueError, self._pa.ArrowException) as error:
            raise ValueError(f"{self.path} is not a Parquet file: {error}") from error
        self._choose(self._file.schema_arrow, target, columns)
        occurrences = Counter(self._names)
        for name in self.names or ():
            if occurrences[name] > 1:
                raise ValueError(f"{self.path} has more than one column {name!r}")
        metadata = self._file.metadata
        self.dtype = self._common_dtype(self._may_miss())
        groups = range(metadata.num_row_groups)
        self._set_blocks([metadata.row_group(group).num_rows for group in groups], block_bytes)
        self._stream: _Stream | None = None
        self._unchanged.require()

    def _may_miss(self) -> list[bool]:
        """Return for each column of X whether integers may be missing, by the file's statistics."""
        metadata, schema = self._file.metadata, self._file.schema_arrow
        places = {metadata.schema.column(i).path: i for i in range(metadata.num_columns)}

        def may_miss(field: Any) -> bool:
            if not field.nullable or self._pa.types.is_floating(field.type):
                return False
            for group in range(metadata.num_row_groups):
                statistics = metadata.row_group(group).column(places[field.name]).statistics
                if statistics is None or not statistics.has_null_count or statistics.null_count:
                    return True
            return False

        return [may_miss(schema.field(i)) for i in self._chosen]

    def _columns(self, block: int, wanted: list[int]) -> list[Any]:
        group, start, stop = self._blocks[block]
        names = [self._names[i] for i in wanted]
        if stop - start == self._file.metadata.row_group(group).num_rows:
            table = self._file.read_row_group(group, columns=names, use_threads=False)
        else:
            # Not there meanwhile: after an error or Ctrl-C no one knows where it is.
            stream, self._stream = self._stream, None
            if stream is None or stream.key != (group, names) or stream.position > start:
                batches = self._file.iter_batches(
                    min(self._most_rows, _BATCH_ROWS),
                    row_groups=[group],
                    columns=names,
                    use_threads=False,  # no faster, and a fork would not have them
                )
                stream = _Stream((group, names), batches)
            for _ in stream.take(start - stream.position):
                pass
            table = self._pa.Table.from_batches(list(stream.take(stop - start)))
            self._stream = stream
        return [table.column(name) for name in names]


class _Stream:
    """Batches of a row group, of which rows are taken in order."""

    def __init__(self, key: object, batches: Iterator[Any]) -> None:
        self.key = key
        self.position = 0
        self._batches = batches
        self._batch: Any = None

    def take(self, n_rows: int) -> Iterator[Any]:
        """Yield the next rows, in batches."""
        end = self.position + n_rows
        while self.position < end:
            if self._batch is None or self._batch.num_rows == 0:
                self._batch = next(self._batches)
            batch = self._batch.slice(0, end - self.position)
            self._batch = self._batch.slice(batch.num_rows)
            self.position += batch.num_rows
            yield batch


class ArrowReader(ColumnarReader):
    """An Arrow IPC file (not a stream), or Feather, version 2.

    A block is a record batch, or a part of one.

    Parameters
    ----------
    path : path-like
        The file.
    target : str or int, optional
        The column of targets: its name, or its number, negative from the end. Strings are labels.
    columns : list of str or int, optional
        X's columns, of numbers or truth values. Default: all but the target.
    block_bytes : int
        What X takes in a block, at most; a batch is in memory as a whole, while a part of it is
        read.

    Notes
    -----
    The file is not mapped into memory: a process dies of reading a map of a file that has shrunk.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        target: Column | None = None,
        columns: Sequence[Column] | None = None,
        *,
        block_bytes: int = _BLOCK_BYTES,
    ) -> None:
        super().__init__(path, "Arrow")
        self._ipc = dependency("pyarrow.ipc", "Arrow", "arrow")
        self._file = self._resources.enter_context(self._pa.OSFile(os.fspath(self.path)))
        try:
            schema = self._ipc.open_file(self._file).schema
        except (OSError, ValueError, self._pa.ArrowException) as error:
            raise ValueError(f"{self.path} is not an Arrow IPC file: {error}") from error
        self._choose(schema, target, columns)
        self._readers: dict[tuple[int, ...], Any] = {}
        self._last: tuple[object, Any] = None, None  # which batch was read last, and it
        self._set_blocks(self._scan(), block_bytes)
        self._unchanged.require()

    def _scan(self) -> list[int]:
        """Return how many rows batches have; find the dtype, which hangs on what integers miss."""
        types = self._pa.types
        whole = [i for i in self._chosen if not types.is_floating(self._types[i])]
        wanted = whole or self._chosen[:1]
        missing = dict.fromkeys(self._chosen, False)
        n_rows: list[int] = []
        for number in range(self._reader(wanted).num_record_batches):
            try:
                batch = self._reader(wanted).get_batch(number)
            except (OSError, ValueError, self._pa.ArrowException) as error:
                raise ValueError(
                    f"{self.path}, rows from {sum(n_rows)} on: cannot be read: {error}"
                ) from error
            for i, array in zip(sorted(wanted), batch.columns, strict=True):
                missing[i] = missing[i] or array.null_count > 0
            n_rows.append(batch.num_rows)
        self.dtype = self._common_dtype(list(missing.values()))
        return n_rows

    def _reader(self, wanted: list[int]) -> Any:
        """Return a reader of some columns, in the file's order."""
        key = tuple(sorted(wanted))
        if key not in self._readers:
            options = self._ipc.IpcReadOptions(included_fields=list(key))
            self._readers[key] = self._ipc.open_file(self._file, options=options)
        return self._readers[key]

    def _columns(self, block: int, wanted: list[int]) -> list[Any]:
        number, start, stop = self._blocks[block]
        key = number, tuple(wanted)
        if self._last[0] != key:
            self._last = None, None  # lets go of one batch before the next
            self._last = key, self._reader(wanted).get_batch(number)
        batch = self._last[1].slice(start, stop - start)
        places = {i: place for place, i in enumerate(sorted(wanted))}
        return [batch.column(places[i]) for i in wanted]
