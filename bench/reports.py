"""The files of a comparison: Markdown, CSV, a chart."""

from __future__ import annotations

import csv
import importlib.util
import io
from itertools import groupby
from pathlib import Path

from bench.chart import draw
from bench.groups import GROUPS
from bench.outcomes import DIFFERS, Outcome, details, overview, verdict
from bench.tables import markdown
from bench.works import n_cores

PEAK = "FMA peak of a core"
COLUMNS = ("group", "work", "contender", "round", "unit", "value", "check", "checked", DIFFERS)
TABLES, RAW, CHART = "comparison-tables.md", "comparison.csv", "comparison.png"


def raw(outcomes: list[Outcome]) -> str:
    """Return CSV: a line for each contender, work and round."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for outcome in outcomes:
        for name, values in outcome.values.items():
            checked = outcome.checks.get(name, "")
            for number, value in enumerate(values, start=1):
                writer.writerow([
                    outcome.group, outcome.work, name, number, outcome.unit, value,
                    outcome.check, checked, int(name in outcome.differ),
                ])  # fmt: skip
        for number, value in enumerate(outcome.peaks, start=1):
            writer.writerow([outcome.group, outcome.work, PEAK, number, "flop/s", value, "", "", 0])
    return text.getvalue()


def notes(outcome: Outcome) -> list[str]:
    """Return what else is to be said of a work."""
    lines = [verdict(outcome)]
    if outcome.peaks:
        low, high = min(outcome.peaks) / 1e9, max(outcome.peaks) / 1e9
        lines.append(f"FMA peak: {n_cores()} x {low:.0f} .. {high:.0f} GFLOP/s")
    lines += [f"{name} left out: {reason}" for name, reason in outcome.left_out.items()]
    return lines


def document(outcomes: list[Outcome], environment: dict[str, str], how: list[str]) -> str:
    """Return Markdown: the environment, how it was measured, and the tables of each group."""
    parts = ["# Comparison with peers: measured", *how]
    parts.append(markdown([["", ""], *([name, text] for name, text in environment.items())]))
    for group, members in groupby(outcomes, key=lambda outcome: outcome.group):
        its = list(members)
        parts += [f"## {group}: {GROUPS[group].about}", markdown(overview(its))]
        for outcome in its:
            parts += [f"### {group}, {outcome.title}", markdown(details(outcome))]
            parts.append("\n".join(f"- {line}" for line in notes(outcome)))
    return "\n\n".join(parts) + "\n"


def write(
    folder: Path, outcomes: list[Outcome], environment: dict[str, str], how: list[str]
) -> None:
    """Write what there is so far; the chart where matplotlib is installed."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TABLES).write_text(document(outcomes, environment, how), encoding="utf-8")
    (folder / RAW).write_text(raw(outcomes), encoding="utf-8")
    if importlib.util.find_spec("matplotlib") is not None:
        draw(outcomes, environment, folder / CHART)
