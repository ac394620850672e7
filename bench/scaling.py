"""How the cost of training grows: with threads, batch, width, depth and rows; and a roofline.

python -m bench.scaling [studies ...] [--rounds 3] [--output FOLDER]

Each point of a study has a process of its own. In each round, in turn, every point is measured
once, and with it the peak of a core's multiply-adds; figures are medians over rounds, with lowest
and highest. What the studies are and how to read them: docs/scaling.md. Nothing else may run.

--output writes the tables (scaling-tables.md), all values of all rounds (scaling.csv) and a chart
of each study (scaling-threads.png, ...) after each study.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from statistics import median

from bench import scaling_points
from bench.machine import environment, machine
from bench.scaling_chart import draw
from bench.scaling_points import Measured, Point, make
from bench.tables import aligned, markdown, ratio, short
from bench.workers import Worker, known, measure_in_rounds

TABLES, RAW = "scaling-tables.md", "scaling.csv"
COLUMNS = ("study", "line", "x", "threads", "round", *Measured._fields, "flops")


@dataclass(frozen=True)
class Study:
    """What it is about, what x is, and its points; whether all points do the same for a sample."""

    about: str
    x: str
    points: Callable[[], Iterator[Point]]
    has_memory: bool = False


STUDIES = {
    "threads": Study("the works on 1, 2, 4, ... and all cores", "threads", scaling_points.threads),
    "batch": Study("three works with other batches", "samples of a batch", scaling_points.batch),
    "width": Study("width-width-width-10", "width", scaling_points.width),
    "depth": Study("hidden layers of one width, batch 128", "hidden layers", scaling_points.depth),
    "rows": Study(
        "16-32-2, batch 256, on a table that is made as it is read", "rows", scaling_points.rows,
        has_memory=True,
    ),
}  # fmt: skip


@dataclass
class Result:
    """What a study has measured: for each point a value for each round, or why there is none."""

    study: str
    values: dict[Point, list[Measured]]
    left_out: dict[str, str] = field(default_factory=dict)

    def lines(self) -> Iterator[tuple[str, list[Point]]]:
        for line, points in groupby(self.values, key=lambda point: point.line):
            yield line, list(points)

    def rates(self, point: Point) -> list[float]:
        return [each.rate for each in self.values[point]]

    def shares(self, point: Point) -> list[float]:
        """Return in each round the part of the peak of the threads that there are."""
        flops = point.work.flops_per_sample
        return [flops * each.rate / (point.threads * each.peak) for each in self.values[point]]


def measure(name: str, rounds: int) -> Result:
    """Return what the points of a study do."""
    points = {point.name: point for point in STUDIES[name].points()}
    workers = [Worker(each, make, (point,)) for each, point in points.items()]
    measure_in_rounds(workers, rounds, alternate=True)
    found, failures = known(workers)
    return Result(name, {points[each]: values for each, values in found.items()}, failures)


def percentages(shares: list[float]) -> str:
    return f"{median(shares):.1%} ({min(shares):.1%} .. {max(shares):.1%})"


def table(result: Result) -> list[list[str]]:
    """Return a heading, and a line for each point."""
    study = STUDIES[result.study]
    heading = [
        "", study.x, "samples/s", "lowest", "highest", "time of a sample / first",
        "flops of a sample / first", "GFLOP/s", "of the peak",
    ]  # fmt: skip
    if study.has_memory:
        heading += ["rows streamed", "resident, MB"]
    rows = [heading]
    for line, points in result.lines():
        first = points[0]
        for point in points:
            values, rates = result.values[point], result.rates(point)
            flops = point.work.flops_per_sample
            row = [line, f"{point.x:,}", *map(short, (median(rates), min(rates), max(rates)))]
            row.append(ratio(result.rates(first), rates))
            row.append(f"{flops / first.work.flops_per_sample:.4g}")
            row += [f"{flops * median(rates) / 1e9:.3g}", percentages(result.shares(point))]
            if study.has_memory:
                row.append(f"{max(each.n_samples for each in values):,}")
                row.append(f"{max(each.resident for each in values) / 1e6:.0f}")
            rows.append(row)
    return rows


def notes(result: Result) -> list[str]:
    """Return what else is to be said of a study."""
    peaks = [each.peak / 1e9 for values in result.values.values() for each in values]
    lines = [f"FMA peak of a core: {min(peaks):.0f} .. {max(peaks):.0f} GFLOP/s"] if peaks else []
    return lines + [f"{name} left out: {reason}" for name, reason in result.left_out.items()]


def raw(results: list[Result]) -> str:
    """Return CSV: a line for each point and round."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for result in results:
        for point, values in result.values.items():
            for number, each in enumerate(values, start=1):
                writer.writerow([
                    result.study, point.line, point.x, point.threads, number, *each,
                    point.work.flops_per_sample,
                ])  # fmt: skip
    return text.getvalue()


def document(results: list[Result], known: dict[str, str], how: list[str]) -> str:
    """Return Markdown: the environment, how it was measured, and a table of each study."""
    parts = ["# Scaling: measured", *how]
    parts.append(markdown([["", ""], *([name, text] for name, text in known.items())]))
    for result in results:
        parts += [f"## {result.study}: {STUDIES[result.study].about}", markdown(table(result))]
        parts.append("\n".join(f"- {line}" for line in notes(result)))
    return "\n\n".join(parts) + "\n"


def write(folder: Path, results: list[Result], known: dict[str, str], how: list[str]) -> None:
    """Write what there is so far; charts where matplotlib is installed."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TABLES).write_text(document(results, known, how), encoding="utf-8")
    (folder / RAW).write_text(raw(results), encoding="utf-8")
    if importlib.util.find_spec("matplotlib") is not None:
        result = results[-1]
        study = STUDIES[result.study]
        draw(result, study.about, study.x, known, folder / f"scaling-{result.study}.png")


def parser() -> argparse.ArgumentParser:
    about = "\n".join(f"  {name:8} {study.about}" for name, study in STUDIES.items())
    made = argparse.ArgumentParser(
        prog="python -m bench.scaling",
        description=__doc__,
        epilog=f"studies:\n{about}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("studies", nargs="*", metavar="study", help="default: all")
    made.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    made.add_argument(
        "--output", type=Path, metavar="FOLDER", help="where to write tables, CSV and charts"
    )
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    made = parser()
    args = made.parse_intermixed_args(arguments)
    if args.rounds < 1:
        made.error("--rounds must be at least 1")
    if unknown := [name for name in args.studies if name not in STUDIES]:
        made.error(f"no study is called {unknown[0]!r}; there are {', '.join(STUDIES)}")
    how = [
        f"`python -m bench.scaling {' '.join(sys.argv[1:] if arguments is None else arguments)}`, "
        f"medians of {args.rounds} rounds, with lowest and highest."
    ]
    print(machine(), flush=True)
    results: list[Result] = []
    for name in STUDIES:
        if args.studies and name not in args.studies:
            continue
        results.append(measure(name, args.rounds))
        print(f"\n{name}: {STUDIES[name].about}\n")
        print(aligned(table(results[-1])))
        print("\n".join(f"  {line}" for line in notes(results[-1])), flush=True)
        if args.output is not None:
            write(args.output, results, environment(), how)
    return 0


if __name__ == "__main__":
    sys.exit(main())
