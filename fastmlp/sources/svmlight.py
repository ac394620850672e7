"""SVMlight and LIBSVM: the target, then pairs of a column's number and what is in it."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastmlp.sources.columns import Column, resolve
from fastmlp.sources.reader import BLOCK_BYTES, Block
from fastmlp.sources.text import TextReader
from fastmlp.validation import count, one_of

# A block of few bytes of text may have many columns: what it takes in memory, per byte of text.
_DENSE_BYTES = 16


class SvmlightReader(TextReader):
    """A file of lines such as '+1 1:0.5 7:2  # a comment', read as dense rows.

    Parameters
    ----------
    path : path-like
        The file, plain or compressed by gzip.
    target : None
        The first field of each line is the target, always.
    columns : list of int, optional
        X's columns, from 0 or negative from the end. Default: all.
    n_features : int, optional
        How many columns there are. Default: as many as the file has entries for.
    zero_based : bool or "auto"
        Whether columns are numbered from 0 in the file. "auto": if it has a column 0.
    dtype : {"float64", "float32"}
        Of X.
    block_bytes : int
        About what a block takes in the file; in memory it takes at most 16 times that, or a row.

    Notes
    -----
    Lines are read by `sklearn.datasets.load_svmlight_file`. Comments and qid are passed over.
    """

    has_target = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        target: Column | None = None,
        columns: Sequence[Column] | None = None,
        *,
        n_features: int | None = None,
        zero_based: bool | str = False,
        dtype: str = "float64",
        block_bytes: int = BLOCK_BYTES,
    ) -> None:
        if target is not None:
            raise ValueError(
                "target must be None for SVMlight files: it is the first field of each line; "
                f"got {target!r}"
            )
        if n_features is not None:
            count("n_features", n_features)
        if not isinstance(zero_based, bool) and zero_based != "auto":
            raise ValueError(f"zero_based must be True, False or 'auto'; got {zero_based!r}")
        self.dtype = np.dtype(one_of("dtype", dtype, ("float64", "float32")))

        super().__init__(path)
        self._must_look = n_features is None or zero_based == "auto"
        self._least, self._most = 1, -1  # numbers of columns in the file
        self._scan(self._beginning, 1, block_bytes)
        self._zero_based = self._least == 0 if zero_based == "auto" else bool(zero_based)
        if n_features is None:
            n_features = self._most + self._zero_based
            if n_features < 1:
                raise ValueError(f"{self.path} has no column with an entry; pass n_features")
        self._n_features = n_features
        self._chosen: list[int] | None = None
        self.width = n_features
        if columns is not None:
            self._chosen, _ = resolve(self.path, None, n_features, None, columns)
            self.width = len(self._chosen)
        n_rows = max(1, _DENSE_BYTES * block_bytes // (8 * self.width))
        if np.diff(self.ends, prepend=0).max(initial=0) > n_rows:
            self._must_look = False
            self._scan(self._beginning, 1, block_bytes, n_rows)
        self._unchanged.require()

    def _read(self, block: int) -> Block:
        X, targets = self._rows(block)
        if self._chosen is not None:
            X = X[:, self._chosen]
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite
            return X.toarray().astype(self.dtype, order="C", copy=False), targets

    def _rows(self, block: int) -> tuple[Any, np.ndarray]:
        """Return a block's rows as a sparse matrix, and their targets."""
        content = self._content(block)
        try:
            return self._parse(content)
        except (ValueError, OverflowError) as error:
            problem = str(error)
        for number, line in enumerate(content.split(b"\n"), self._lines[block]):
            try:
                self._parse(line)
            except (ValueError, OverflowError) as error:
                problem = str(error)
                if "Invalid index 0" in problem:
                    problem = "a column has number 0; pass zero_based=True, or 'auto'"
                raise ValueError(f"{self._line(number)}: {problem}") from None
        raise AssertionError(f"{self.path}, block {block}: each line can be read: {problem}")

    def _parse(self, content: bytes) -> tuple[Any, np.ndarray]:
        from sklearn.datasets import load_svmlight_file

        X, targets = load_svmlight_file(
            io.BytesIO(content), n_features=self._n_features, zero_based=self._zero_based
        )
        return X, targets

    def _is_row(self, line: bytes) -> bool:
        return bool(line.partition(b"#")[0].strip())

    def _n_rows(self, content: bytes) -> int:
        """Return how many lines are rows, and note which columns they have."""
        rows = [
            fields for line in content.split(b"\n") if (fields := line.partition(b"#")[0].split())
        ]
        if self._must_look:
            for _, *pairs in rows:
                # They are in order, or cannot be read.
                for pair in pairs[:2] + pairs[-1:]:
                    number, _, _ = pair.partition(b":")
                    if number.isdigit():  # and not qid
                        self._least = min(self._least, int(number))
                        self._most = max(self._most, int(number))
        return len(rows)
