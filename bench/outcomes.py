"""What rounds of measurements gave: medians, ratios, marks, tables."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median

from bench.contenders import BF16, CONTENDERS, OURS
from bench.tables import duration, short
from bench.works import n_cores

SLOWER = "slower"
DIFFERS = "differs"
NOT_REACHED = "not reached"
FIRST = ", first run"  # after a contender's name: with nothing compiled before
# Their ratios have a column of their own: they do not compute in float32 as the others do.
LOWER_PRECISION = (BF16,)


def is_ours(name: str) -> bool:
    return name.startswith(OURS)


@dataclass
class Outcome:
    """What was measured of a work: for each contender, a value for each round.

    The values are rates (`unit` "samples/s"), or seconds (`unit` "s"), infinite where there was no
    end. `flops` are those of a sample, or of what takes the seconds; `peaks` those per second of a
    core. `checks` show whether all did the same, and `differ` names those who did not.
    """

    group: str
    work: str
    title: str
    unit: str
    values: dict[str, list[float]]
    left_out: dict[str, str] = field(default_factory=dict)
    flops: float | None = None
    peaks: list[float] = field(default_factory=list)
    check: str = ""
    checks: dict[str, float] = field(default_factory=dict)
    differ: frozenset[str] = frozenset()

    @property
    def ours(self) -> str | None:
        """The contender that peers are compared with: the first of fastmlp's."""
        return next((name for name in self.values if is_ours(name)), None)

    def speeds(self, name: str) -> list[float]:
        """Return rates, whatever was measured; 0 where there was no end."""
        values = self.values[name]
        return [1 / value for value in values] if self.unit == "s" else values

    def speed(self, name: str) -> float:
        """Return the median rate, or one over the median of seconds."""
        middle = median(self.values[name])
        return 1 / middle if self.unit == "s" else middle

    def peers(self) -> list[str]:
        """Return who computes in the same precision and is not ours."""
        return [n for n in self.values if not is_ours(n) and n not in LOWER_PRECISION]

    def best_peer(self, first: bool = False) -> str | None:
        """Return the fastest by medians, or of first and only runs; who never ended is none."""
        ended = [name for name in self.peers() if self.speed(name) > 0]
        if first:
            ended = [name for name in ended if name + FIRST not in self.values]
        return max(ended, key=self.speed, default=None)

    def ratios(self, name: str) -> list[float]:
        """Return our speed over that of another, in each round that has both; first runs over
        first runs."""
        ours = self.ours
        if name.endswith(FIRST) and not is_ours(name) and f"{ours}{FIRST}" in self.values:
            ours = f"{ours}{FIRST}"
        if ours is None or name not in self.values:
            return []
        return self.speed_ratios(ours, name)

    def speed_ratios(self, above: str, below: str) -> list[float]:
        """Return one's speed over another's, in each round in which either has ended."""
        pairs = zip(self.speeds(above), self.speeds(below), strict=True)
        return [one / other if other else math.inf for one, other in pairs if one or other]

    def gigaflops(self, name: str) -> float | None:
        return None if self.flops is None else self.flops * self.speed(name) / 1e9

    def share(self, name: str) -> float | None:
        """Return the part of all cores' peak."""
        if self.flops is None or not self.peaks:
            return None
        return self.flops * self.speed(name) / (n_cores() * median(self.peaks))

    def shown(self, value: float) -> str:
        if not math.isfinite(value):
            return NOT_REACHED
        return duration(value) if self.unit == "s" else short(value)


def compared(ratios: list[float], spread: bool = True, mark: bool = True) -> str:
    """Return the median of ratios, with lowest and highest; marked where it is below 1."""
    if not ratios:
        return ""
    middle = median(ratios)
    if not math.isfinite(middle):
        return "it never ended"
    text = f"{middle:.2f}"
    if spread:
        text += f" ({min(ratios):.2f} .. {max(ratios):.2f})"
    return f"{text}, {SLOWER}" if mark and middle < 1 else text


def details(outcome: Outcome) -> list[list[str]]:
    """Return the table of a work: a heading, and a line for each contender."""
    heading = ["", outcome.unit, "lowest", "highest"]
    if outcome.flops is not None:
        heading.append("GFLOP/s")
    if outcome.peaks:
        heading.append("of peak")
    heading.append(f"{outcome.ours or OURS} / it")
    if outcome.check:
        heading.append(outcome.check)
    table = [heading]
    for name, values in outcome.values.items():
        row = [name, *(outcome.shown(each) for each in (median(values), min(values), max(values)))]
        if outcome.flops is not None:
            row.append(f"{outcome.gigaflops(name):.3g}")
        if outcome.peaks:
            row.append(f"{outcome.share(name):.1%}")
        ratio = compared(outcome.ratios(name), mark=not is_ours(name))
        row.append("" if name == outcome.ours else ratio)
        if outcome.check:
            known = f"{outcome.checks[name]:.5g}" if name in outcome.checks else ""
            row.append(f"{known}, {DIFFERS}" if name in outcome.differ else known)
        table.append(row)
    return table


def verdict(outcome: Outcome) -> str:
    """Return a sentence about the fastest peer."""
    best = outcome.best_peer()
    if outcome.ours is None or best is None:
        return "no peer to compare with"
    return f"{outcome.ours} / best peer ({best}): {compared(outcome.ratios(best))}"


def first_runs(outcome: Outcome) -> str:
    """Return a sentence about our first run, and the fastest of peers' first or only runs."""
    ours = f"{outcome.ours}{FIRST}"
    if ours not in outcome.values:
        return ""
    best = outcome.best_peer(first=True)
    if best is None:
        return ""
    return f"{ours} / best peer ({best}): {compared(outcome.speed_ratios(ours, best))}"


def overview(outcomes: list[Outcome]) -> list[list[str]]:
    """Return the table of a group: a line for each work, medians (percentage of peak)."""
    names = ordered(name for outcome in outcomes for name in outcome.values)
    lower = [name for name in names if name in LOWER_PRECISION]
    heading = ["", *names, "ours / best peer", *(f"ours / {name}" for name in lower)]
    table = [heading]
    for outcome in outcomes:
        row = [outcome.title]
        for name in names:
            cell = ""
            if name in outcome.values:
                cell = outcome.shown(median(outcome.values[name]))
                share = outcome.share(name)
                cell += "" if share is None else f" ({share:.0%})"
                cell += f", {DIFFERS}" if name in outcome.differ else ""
            row.append(cell)
        best = outcome.best_peer()
        against = f"{compared(outcome.ratios(best), spread=False)} ({best})" if best else ""
        row += [against, *(compared(outcome.ratios(name), spread=False) for name in lower)]
        table.append(row)
    return table


def ordered(names: Iterable[str]) -> list[str]:
    """Return names once each: ours first, then as the contenders are listed, then others."""
    known = list(CONTENDERS)
    found = list(dict.fromkeys(names))
    return sorted(
        found,
        key=lambda n: (not is_ours(n), known.index(n) if n in known else len(known)),
    )
