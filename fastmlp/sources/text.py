"""Files of lines: where blocks of them begin, and how many rows each holds."""

from __future__ import annotations

import bisect
import gzip
import os
import shutil
import tempfile
import zlib
from typing import BinaryIO

import numpy as np

from fastmlp.sources.places import fill
from fastmlp.sources.reader import MAX_BLOCK_BYTES, Reader

_BOM = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_GZIP_MAGIC = b"\x1f\x8b"


class TextReader(Reader):
    """A file of lines, of which each is a row, or none.

    One fast scan, when it is opened, finds where blocks of lines begin. A file compressed by gzip,
    which is seen from its content, is decompressed into a temporary file without a name, as
    blocks are read in any order: it is gone when the reader is closed, or the process ends in
    whatever way. `tempfile.gettempdir` says where it is; TMPDIR sets that.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self._file: BinaryIO = self._resources.enter_context(self.path.open("rb"))
        if self._file.read(2) == _GZIP_MAGIC:
            self._file = self._decompressed()
        self._file.seek(0)
        beginning = self._file.read(3)
        if beginning.startswith(_UTF_16):
            raise ValueError(f"{self.path} is text in UTF-16; only UTF-8 can be read")
        self._beginning = len(_BOM) if beginning == _BOM else 0
        # Of each block, and one more: where it begins, and the number of its first line, from 1.
        self._offsets: list[int] = []
        self._lines: list[int] = []

    def where(self, row: int) -> str:
        """Return where a row is, as in 'train.csv, line 17'."""
        block = bisect.bisect_right(self.ends, row)
        first, end = self._rows_of(block)
        line, next_line = self._lines[block : block + 2]
        if next_line - line == end - first:
            return self._line(line + row - first)
        content = self._content(block)
        numbers = [i for i, text in enumerate(content.split(b"\n"), line) if self._is_row(text)]
        return self._line(numbers[row - first])

    def _line(self, number: int) -> str:
        return f"{self.path}, line {number}"

    def _content(self, block: int) -> bytes:
        """Return a block's bytes."""
        offset, end = self._offsets[block : block + 2]
        content = bytearray(end - offset)
        if fill(self._file, offset, memoryview(content)) < end - offset:
            raise OSError(f"{self.path} has shrunk since it was opened")
        return bytes(content)

    def _first_line(self) -> tuple[bytes, int, int]:
        """Return the first line that is a row; its number, from 1; and the offset behind it."""
        number = 0
        self._file.seek(self._beginning)
        while line := self._file.readline(MAX_BLOCK_BYTES):
            number += 1
            if len(line) == MAX_BLOCK_BYTES:
                raise ValueError(self._too_long(number))
            if self._is_row(line.removesuffix(b"\n")):
                return line.rstrip(b"\r\n"), number, self._file.tell()
        raise ValueError(f"{self.path} is empty: it holds neither names nor rows")

    def _scan(
        self, offset: int, line: int, block_bytes: int, max_rows: int = MAX_BLOCK_BYTES
    ) -> None:
        """Find the blocks from `offset` on, where line number `line` begins."""
        self._offsets, self._lines = [offset], [line]
        ends = [0]
        self._file.seek(offset)
        rest = b""
        while chunk := self._file.read(block_bytes):
            content = rest + chunk
            is_last = len(chunk) < block_bytes
            cut = len(content) if is_last else content.rfind(b"\n") + 1
            rest = content[cut:]
            if cut:
                self._add(content[:cut], ends, max_rows)
            if len(rest) > MAX_BLOCK_BYTES:
                raise ValueError(self._too_long(self._lines[-1]))
        if rest:
            self._add(rest, ends, max_rows)
        self.ends = np.array(ends[1:], np.int64)

    def _add(self, content: bytes, ends: list[int], max_rows: int) -> None:
        """Note a block of whole lines, in parts of at most `max_rows` rows."""
        n_rows = self._n_rows(content)
        if n_rows > max_rows:
            breaks = np.flatnonzero(np.frombuffer(content, np.uint8) == ord("\n")) + 1
            start = 0
            for stop in [*breaks[max_rows - 1 : -1 : max_rows].tolist(), len(content)]:
                self._add(content[start:stop], ends, max_rows)
                start = stop
            return
        n_lines = content.count(b"\n") + (not content.endswith(b"\n"))
        if n_rows == 0:  # they become part of the block before, or of none
            self._offsets[-1] += len(content)
            self._lines[-1] += n_lines
            return
        self._offsets.append(self._offsets[-1] + len(content))
        self._lines.append(self._lines[-1] + n_lines)
        ends.append(ends[-1] + n_rows)

    def _n_rows(self, content: bytes) -> int:
        """Return how many of some whole lines are rows."""
        if content[0] in b"\r\n" or b"\n\n" in content or b"\n\r" in content:
            return sum(map(self._is_row, content.split(b"\n")))
        return content.count(b"\n") + (not content.endswith(b"\n"))

    def _is_row(self, line: bytes) -> bool:
        """Return whether a line, without its line feed, is a row."""
        return line not in (b"", b"\r")

    def _too_long(self, number: int) -> str:
        return f"{self._line(number)}: is longer than {MAX_BLOCK_BYTES >> 20} MiB"

    def _decompressed(self) -> BinaryIO:
        """Return a temporary file of what the file holds."""
        self._file.seek(0)
        copy: BinaryIO = self._resources.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        try:
            with gzip.GzipFile(fileobj=self._file) as unzipped:
                shutil.copyfileobj(unzipped, copy, 2**20)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{self.path} is truncated or damaged gzip: {error}") from error
        copy.flush()
        return copy
