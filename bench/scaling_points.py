"""What grows in each study of scaling, and how a point of it is measured.

A point is a network that is trained in batches, with so many threads. In each round it trains for
whole epochs that take about 0.4 s (at least one), in a process of its own, and next to it the
process measures the peak of a core's multiply-adds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

import fastmlp as fm
from bench.out_of_core import resident
from bench.works import WORKS, Ours, Work, epochs_for, n_cores, unless_small

BATCHES = 4  # of an epoch at least
CALIBRATED = 100_000  # samples at most on which to find out how long an epoch takes
BLOCK_ROWS = 2**16  # that a table repeats


class Repeated(fm.sources.Source):
    """A table of any number of rows that takes no more memory than a block of them.

    Its rows are those of the block, again and again; `n_read` counts those given out.
    """

    has_random_access = True
    dtype = np.dtype(np.float32)

    def __init__(self, n_rows: int, n_columns: int) -> None:
        self.shape = (n_rows, n_columns)
        rng = np.random.default_rng(0)
        n_block = min(n_rows, BLOCK_ROWS)
        self._block = rng.standard_normal((n_block, n_columns), dtype=np.float32)
        self.greatest = float(np.abs(self._block).max())  # else all rows were read to find out
        self.y = np.broadcast_to(np.int64(0), n_rows)  # labels of their own would take memory
        self.n_read = 0

    def read(self, rows: slice | np.ndarray, out: np.ndarray) -> None:
        numbers = np.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows
        out[...] = self._block[numbers % len(self._block)]
        self.n_read += len(numbers)


@dataclass(frozen=True)
class StreamedWork(Work):
    """A work whose samples are made as they are read."""

    @cached_property
    def table(self) -> Repeated:
        return Repeated(self.n_samples, self.widths[0])

    def data(self) -> tuple[Repeated, np.ndarray]:
        return self.table, self.table.y


class Measured(NamedTuple):
    """Samples a second, the peak flops of a core, bytes resident at most, samples trained on."""

    rate: float
    peak: float
    resident: float
    n_samples: int


@dataclass(frozen=True)
class Point:
    """A point of a study: its line, what has grown to x there, and what is trained."""

    line: str
    x: int
    work: Work
    threads: int

    @property
    def name(self) -> str:
        return f"{self.line}, {self.x}"


def make(point: Point) -> Callable[[], Measured]:
    """Return a function that measures a point."""
    import numba

    from bench.peak import flops_of_one_core  # only here: to import it compiles for good

    numba.set_num_threads(min(point.threads, numba.config.NUMBA_NUM_THREADS))
    work = point.work
    part = replace(work, n_samples=min(work.n_samples, CALIBRATED))
    epochs = max(1, round(epochs_for(Ours(part)) * part.n_samples / work.n_samples))
    train = Ours(work)

    def measure() -> Measured:
        before = work.table.n_read if isinstance(work, StreamedWork) else 0
        n_samples = train(epochs)
        if isinstance(work, StreamedWork):
            n_samples = work.table.n_read - before
        # From the first batch on: what a call checks and copies before would hide what grows.
        seconds = train.result.history["seconds"][-1]
        return Measured(n_samples / seconds, flops_of_one_core(), resident(), n_samples)

    return measure


def powers(first: int, last: int, base: int = 2) -> list[int]:
    """Return first, base * first, ... up to last."""
    found = [first]
    while base * found[-1] <= last:
        found.append(base * found[-1])
    return found


def threads() -> Iterator[Point]:
    """The works of bench.works that are trained in batches, on 1, 2, 4, ... and all cores."""
    counts = sorted({*powers(1, n_cores()), n_cores()})
    for work in WORKS.values():
        if work.batch_size > 1:
            yield from (Point(work.name, n, work.whole(), n) for n in counts)


def batch() -> Iterator[Point]:
    """Three of them with other batches, the first two with the same samples for all.

    With fewer for small batches, only those would find them in the last-level cache. The third has
    so much more to compute for each that this does not matter.
    """
    most = unless_small(4096, 4)
    for name, least in (("small", BATCHES * most), ("mnist", BATCHES * most), ("large", 512)):
        for size in powers(1, most):
            n_samples = max(BATCHES * size, unless_small(least, 8))
            work = replace(WORKS[name], batch_size=size, n_samples=n_samples)
            yield Point(name, size, work, n_cores())


def width() -> Iterator[Point]:
    """Two square layers, and ten outputs."""
    for size in (128, 1024):
        for n in powers(16, unless_small(8192, 32)):
            n_samples = max(BATCHES * size, unless_small(min(8192, 2**20 // n), 8))
            work = Work(f"width {n}", (n, n, n, 10), size, n_samples)
            yield Point(f"batch {size}", n, work, n_cores())


def depth() -> Iterator[Point]:
    """Hidden layers of one width, as many inputs, and ten outputs."""
    for n in (32, 256):
        for layers in powers(1, unless_small(32, 2)):
            widths = (n,) * (layers + 1) + (10,)
            work = Work(f"depth {layers}", widths, 128, unless_small(4096, 256))
            yield Point(f"{n} wide", layers, work, n_cores())


def rows() -> Iterator[Point]:
    """A narrow network, on tables that are made as they are read."""
    for n in powers(1000, unless_small(10**8, 10**4), 10):
        yield Point("16-32-2", n, StreamedWork(f"{n} rows", (16, 32, 2), 256, n), n_cores())
