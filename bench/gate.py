"""Has a commit made the library slower? Exit code 1 where it has: python -m bench.gate BASE [HEAD]

Compares two commits, HEAD being the work tree as it is unless named, by ratios of times. Each is
checked out into a temporary folder; each work of each runs in a process of its own, warm before the
first round. In each round both sides are measured one after the other, in turns of order: the
fastest of four measurements of about 0.1 s, or of one call. The benchmarks are those of the asv
suite as they are in the work tree, for both sides, so that a changed benchmark does not count as a
changed library. What BASE cannot run is left out; what HEAD cannot run fails.

A work is slower where the median of the rounds' ratios is past --factor, and in so many rounds HEAD
took longer that chance would do it less than once in 100 times (a sign test: 10 of 11 rounds; fewer
than 7 cannot show that: all of them must be slower). Such a work is measured again, in new
processes, and fails only if the same is seen there. Exit code 0: no work is slower; 1: some are, or
HEAD cannot run them; 2: wrong usage, or nothing could be compared.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import signal
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from bench.checkouts import Checkout, checkouts
from bench.tables import aligned, ratio
from bench.workers import Worker, measure_in_rounds
from bench.works import SECONDS, WORKS, epochs_for, timed


class Call(NamedTuple):
    """A `time_` benchmark of the asv suite, with values of its parameters."""

    module: str
    suite: str
    method: str
    params: tuple[Any, ...] = ()


CALLS = {
    **{name: Call("bench_train", "Training", "time_epoch", (name,)) for name in WORKS},
    "one by one": Call("bench_train", "OneByOne", "time_sgd", ("54-64-32-7",)),
    "predict": Call("bench_train", "Evaluation", "time_predict"),
    "gradient": Call("bench_train", "Evaluation", "time_gradient"),
    "descent": Call(
        "bench_descent", "Iterations", "time_iterations", ("784-256-128-10", "conjugate")
    ),
    "fit": Call("bench_estimators", "Fit", "time_fit_small", ("adam",)),
    "predict row": Call("bench_estimators", "Predict", "time_predict", ("4-100-3", 1)),
}
# The fastest of so many: what else runs on the machine only ever adds time.
MEASUREMENTS = 4
# How likely chance may be to make so many rounds slower.
LEVEL = 0.01
LOOKS = 2
FINE, SLOWER, BROKEN, LEFT_OUT = "", "SLOWER", "BROKEN", "left out"
HEADING = ["", "HEAD / BASE", "rounds slower", "again", "rounds slower", ""]


def make(call: Call, library: str) -> Callable[[], float]:
    """Return a function that measures the seconds of a call; runs in the worker."""
    from numba.core.caching import _CacheLocator

    import fastmlp

    # Else the cache's entries bear the name of the temporary folder, and are never found again.
    _CacheLocator.get_suitable_cache_subpath = classmethod(lambda cls, path: Path(path).parent.name)
    if not Path(fastmlp.__file__).is_relative_to(library):
        raise RuntimeError(f"imported {fastmlp.__file__}, not that of {library}")
    suite = getattr(importlib.import_module(f"bench.{call.module}"), call.suite)()
    suite.setup(*call.params)
    benchmark = getattr(suite, call.method)

    def repeat(n_calls: int) -> int:
        for _ in range(n_calls):
            benchmark(*call.params)
        return n_calls

    n_calls = epochs_for(repeat, SECONDS / MEASUREMENTS, warm=True)

    def measure() -> float:
        return min(timed(repeat, n_calls)[0] for _ in range(MEASUREMENTS)) / n_calls

    return measure


def least_slower(rounds: int) -> int:
    """Return how many rounds must be slower: by tosses of a coin, so many are too rare."""
    ways, n_slower = 1, rounds  # to have at least n_slower of them slower
    while ways + math.comb(rounds, n_slower - 1) <= LEVEL * 2**rounds:
        n_slower -= 1
        ways += math.comb(rounds, n_slower)
    return n_slower


class Look(NamedTuple):
    """Seconds of a call of each side, by round."""

    base: list[float]
    head: list[float]

    @property
    def ratios(self) -> list[float]:
        return [head / base for base, head in zip(self.base, self.head, strict=True)]

    @property
    def n_slower(self) -> int:
        return sum(ratio > 1 for ratio in self.ratios)

    def is_slower(self, factor: float) -> bool:
        enough = self.n_slower >= least_slower(len(self.base))
        return enough and statistics.median(self.ratios) > factor

    def cells(self) -> list[str]:
        return [ratio(self.head, self.base), f"{self.n_slower} of {len(self.base)}"]


class Outcome(NamedTuple):
    """What was seen of a work, and what that makes of it."""

    verdict: str
    looks: list[Look]
    failure: str = ""

    def row(self, name: str) -> list[str]:
        """Return a line of the table."""
        cells = [cell for look in self.looks for cell in look.cells()]
        cells += [""] * (2 * LOOKS - len(cells))
        return [name, *cells, f"{self.verdict}: {self.failure}" if self.failure else self.verdict]


def compare(call: Call, sides: list[Checkout], rounds: int, factor: float) -> Outcome:
    """Measure a work on both sides; again where it seems slower."""
    looks: list[Look] = []
    for _ in range(LOOKS):
        base, head = workers = [
            Worker(side.name, make, (call, side.library), path=side.path) for side in sides
        ]
        measure_in_rounds(workers, rounds)
        if base.failure and not looks:
            return Outcome(LEFT_OUT, looks, f"BASE: {base.failure}")
        if base.failure:
            return Outcome(BROKEN, looks, f"BASE, at the second look: {base.failure}")
        if head.failure:
            return Outcome(BROKEN, looks, f"HEAD: {head.failure}")
        looks.append(Look(base.rates, head.rates))
        if not looks[-1].is_slower(factor):
            return Outcome(FINE, looks)
    return Outcome(SLOWER, looks)


def report(sides: list[Checkout], outcomes: dict[str, Outcome], args: argparse.Namespace) -> int:
    """Print the table, write the file that was asked for, and return the exit code."""
    base, head = sides
    settings = {"base": base.name, "head": head.name, "factor": args.factor, "rounds": args.rounds}
    print(f"\nBASE: {base.name}\nHEAD: {head.name}\n")
    print(aligned([HEADING, *(outcome.row(name) for name, outcome in outcomes.items())]))
    if args.json is not None:
        works = {
            name: {
                "verdict": outcome.verdict or "fine",
                "failure": outcome.failure,
                "seconds": [look._asdict() for look in outcome.looks],
            }
            for name, outcome in outcomes.items()
        }
        args.json.write_text(json.dumps({**settings, "works": works}, indent=1) + "\n")
    verdicts = {outcome.verdict for outcome in outcomes.values()}
    if verdicts == {LEFT_OUT}:
        print("\nNothing could be compared.")
        return 2
    failed = [name for name, each in outcomes.items() if each.verdict in (SLOWER, BROKEN)]
    left_out = [name for name, each in outcomes.items() if each.verdict == LEFT_OUT]
    if left_out:
        print(f"\nNot compared: {', '.join(left_out)}")
    print(f"\nFailed: {', '.join(failed)}" if failed else f"\nNothing is slower by {args.factor}.")
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.gate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("base", metavar="BASE", help="the older commit: any revision of git's")
    parser.add_argument("head", metavar="HEAD", nargs="?", help="default: the work tree as it is")
    parser.add_argument("--factor", type=float, default=1.1, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=11, help="at least 3; default: %(default)s")
    parser.add_argument(
        "--works", nargs="+", choices=CALLS, default=list(CALLS), metavar="WORK",
        help=f"of {', '.join(map(repr, CALLS))}; default: all",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="for all times")
    args = parser.parse_args()
    if args.rounds < 3:
        parser.error("--rounds must be at least 3")
    if not args.factor >= 1:
        parser.error("--factor must be at least 1")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that checkouts are removed
    outcomes = {}
    try:
        with checkouts((args.base, args.head)) as sides:
            for name in args.works:
                outcomes[name] = compare(CALLS[name], sides, args.rounds, args.factor)
                print("  ".join(outcomes[name].row(name)), file=sys.stderr, flush=True)
    except ValueError as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        return 130
    return report(sides, outcomes, args)


if __name__ == "__main__":
    sys.exit(main())
