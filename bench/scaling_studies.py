"""The studies of how the cost of training grows, and the tables of what was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from statistics import median

from bench import scaling_points
from bench.scaling_chart import draw
from bench.scaling_points import Measured, Point, make
from bench.tables import ratio, short
from bench.workers import Worker, known, measure_in_rounds

COLUMNS = ("line", "x", "threads", "round", *Measured._fields, "flops")


@dataclass(frozen=True)
class Study:
    """What it is about, what x is, its points, and whether rows and memory are worth telling."""

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

    name: str
    values: dict[Point, list[Measured]]
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def study(self) -> Study:
        return STUDIES[self.name]

    @property
    def title(self) -> str:
        return f"{self.name}: {self.study.about}"

    def lines(self) -> Iterator[tuple[str, list[Point]]]:
        for line, points in groupby(self.values, key=lambda point: point.line):
            yield line, list(points)

    def rates(self, point: Point) -> list[float]:
        return [each.rate for each in self.values[point]]

    def shares(self, point: Point) -> list[float]:
        """Return in each round the part of the peak of the threads that there are."""
        flops = point.work.flops_per_sample
        return [flops * each.rate / (point.threads * each.peak) for each in self.values[point]]

    def table(self) -> list[list[str]]:
        """Return a heading, and a line for each point."""
        heading = [
            "", self.study.x, "samples/s", "lowest", "highest", "time of a sample / first",
            "flops of a sample / first", "GFLOP/s", "of the peak",
        ]  # fmt: skip
        if self.study.has_memory:
            heading += ["rows streamed", "resident, MB"]
        rows = [heading]
        for line, points in self.lines():
            first = points[0]
            for point in points:
                values, rates = self.values[point], self.rates(point)
                flops = point.work.flops_per_sample
                row = [line, f"{point.x:,}", *map(short, (median(rates), min(rates), max(rates)))]
                row.append(ratio(self.rates(first), rates))
                row.append(f"{flops / first.work.flops_per_sample:.4g}")
                row += [f"{flops * median(rates) / 1e9:.3g}", percentages(self.shares(point))]
                if self.study.has_memory:
                    row.append(f"{max(each.n_samples for each in values):,}")
                    row.append(f"{max(each.resident for each in values) / 1e6:.0f}")
                rows.append(row)
        return rows

    def notes(self) -> list[str]:
        """Return what else is to be said."""
        lines = [f"{name} left out: {why}" for name, why in self.left_out.items()]
        if peaks := [each.peak / 1e9 for values in self.values.values() for each in values]:
            lines.append(f"FMA peak of a core: {min(peaks):.0f} .. {max(peaks):.0f} GFLOP/s")
        return lines

    def raw(self) -> list[tuple]:
        """Return a heading, and a line for each point and round."""
        return [
            COLUMNS,
            *(
                (point.line, point.x, point.threads, number, *each, point.work.flops_per_sample)
                for point, values in self.values.items()
                for number, each in enumerate(values, start=1)
            ),
        ]

    def draw(self, environment: dict[str, str], path: Path) -> None:
        if self.values:
            draw(self, environment, path)


def percentages(shares: list[float]) -> str:
    return f"{median(shares):.1%} ({min(shares):.1%} .. {max(shares):.1%})"


def measure(name: str, rounds: int) -> Result:
    """Return what the points of a study do."""
    points = {point.name: point for point in STUDIES[name].points()}
    workers = [Worker(each, make, (point,)) for each, point in points.items()]
    measure_in_rounds(workers, rounds)
    found, failures = known(workers)
    return Result(name, {points[each]: values for each, values in found.items()}, failures)
