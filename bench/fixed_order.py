"""What it costs that the same seed gives the same bits: python -m bench.fixed_order [--rounds 5]

For each work (bench/works.py), three contenders warm up, each in a process of its own:

- "fixed": fastmlp as it is;
- "free": the same kernels, compiled with leave to contract, reorder and approximate floating-point
  arithmetic (LLVM's flags contract, reassoc, arcp, nsz and afn). Multiply-adds and sums that are
  written out as vector code stay as written, elementary functions too;
- "by core": each core trains a network of its own on its share of the samples, with its share of
  the batch, and never waits. A gradient that is a sum of the cores' own, whose bits depend on their
  number, could be no faster than that, since it has to be added up as well. What it gains on
  "fixed" is the most that the order of sums over samples could cost, waiting included.

Then come rounds: in each, every contender trains for as many whole epochs as take about 0.4 s, on
all cores. Ratios are of the same round's speeds; all are medians over rounds, with lowest and
highest. "loss" is the relative difference between the losses of "free" and "fixed" after an epoch.

Not covered: other compilers and algorithms that the promise forbids (splitting long sums over
several registers by hand, faster elementary functions, atomic updates), float64, rules other than
plain SGD, full-batch solvers, and machines of many cores.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

from bench.contenders import fastmlp
from bench.machine import machine
from bench.tables import aligned, markdown, ratio, short
from bench.workers import Worker, measure_in_rounds
from bench.works import WORKS, Ours, Work, epochs_for, n_cores, timed

FIXED, FREE, BY_CORE = "fixed", "free", "by core"
# A dict, for numba takes a set or a dict, and kernels' stamps need the same text in each process.
FLAGS = dict.fromkeys(("contract", "reassoc", "arcp", "nsz", "afn"), True)


class Measured(NamedTuple):
    """Samples a second; of an epoch in order from the start, the loss and a hash of the result."""

    rate: float
    loss: float
    result: str


def free_the_order(cache: str) -> None:
    """Have the kernels compiled with FLAGS, into a cache of their own; to be called first."""
    early = [name for name in sys.modules if name == "numba" or name.startswith("fastmlp.kernels")]
    assert not early, early
    os.environ["NUMBA_CACHE_DIR"] = cache
    from fastmlp.kernels import jit

    stamp = jit.source_stamp()
    jit.source_stamp.cache_clear()
    jit.OPTIONS["fastmath"] = FLAGS
    assert jit.source_stamp() != stamp  # so neither takes the other's code for its own


class ByCore:
    """A network for each core, trained at the same time on a part of the samples."""

    def __init__(self, work: Work) -> None:
        n = n_cores()
        part = replace(work, batch_size=work.batch_size // n, n_samples=work.n_samples // n)
        self.trainings = [Ours(part) for _ in range(n)]
        self.pool = ThreadPoolExecutor(n, initializer=self._use_one_thread)

    @staticmethod
    def _use_one_thread() -> None:
        import numba

        numba.set_num_threads(1)  # this Python thread's

    def __call__(self, epochs: int) -> int:
        return sum(self.pool.map(lambda train: train(epochs), self.trainings))


def make(name: str, work: Work, cache: str) -> Callable[[], Measured]:
    """Return a function that measures a contender."""
    if name == FREE:
        free_the_order(cache)
    loss, result = 0.0, ""
    if name == BY_CORE:
        train = ByCore(work)
    else:
        train = fastmlp(work)
        train(1, "sequential")
        loss, result = train.loss(), hashlib.sha256(train.result.x.tobytes()).hexdigest()
    epochs = epochs_for(train)

    def measure() -> Measured:
        seconds, n_samples = timed(train, epochs)
        return Measured(n_samples / seconds, loss, result)

    return measure


def row(work: Work, rounds: int, cache: str) -> list[str]:
    """Measure a work; return a line of the table."""
    names = [FIXED, FREE] if work.batch_size < n_cores() else [FIXED, FREE, BY_CORE]
    workers = [Worker(name, make, (name, work, cache)) for name in names]
    measure_in_rounds(workers, rounds)
    for worker in workers:
        if worker.failure:
            raise SystemExit(f"{work.name}: {worker.name} failed: {worker.failure}")
    rates = {worker.name: [each.rate for each in worker.rates] for worker in workers}
    fixed, free = (worker.rates[0] for worker in workers[:2])
    line = [str(work)]
    line += [short(statistics.median(rates[n])) if n in rates else "" for n in HEADING[1:4]]
    line += [ratio(rates[n], rates[FIXED]) if n in rates else "" for n in (FREE, BY_CORE)]
    same = "the same bits" if fixed.result == free.result else f"{free.loss / fixed.loss - 1:+.0e}"
    return [*line, same]


HEADING = [
    "samples/s", FIXED, FREE, BY_CORE, f"{FREE} / {FIXED}", f"{BY_CORE} / {FIXED}", "loss",
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.fixed_order",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "works", nargs="*", metavar="work", help=f"of {', '.join(WORKS)}; default: all"
    )
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    args = parser.parse_args()
    if unknown := [name for name in args.works if name not in WORKS]:
        parser.error(f"no work is called {unknown[0]!r}; there are {', '.join(WORKS)}")
    if args.rounds < 1:
        parser.error("--rounds must be at least 1")
    print(machine(), flush=True)
    rows = []
    with tempfile.TemporaryDirectory() as cache:
        for name in args.works or WORKS:
            rows.append(row(WORKS[name], args.rounds, cache))
            print(f"{name}: done", file=sys.stderr, flush=True)
    print(f"\n{(markdown if args.markdown else aligned)([HEADING, *rows])}")


if __name__ == "__main__":
    main()
