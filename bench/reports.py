"""The files of a comparison: for each group, Markdown, CSV, a chart."""

from __future__ import annotations

import csv
import importlib.util
import io
from pathlib import Path

from bench.chart import draw
from bench.groups import GROUPS
from bench.outcomes import DIFFERS, Outcome, details, first_runs, overview, verdict
from bench.tables import markdown
from bench.works import n_cores

PEAK = "FMA peak of a core"
COLUMNS = ("group", "work", "contender", "round", "unit", "value", "check", "checked", DIFFERS)


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
    lines = [line for line in (verdict(outcome), first_runs(outcome)) if line]
    if outcome.peaks:
        low, high = min(outcome.peaks) / 1e9, max(outcome.peaks) / 1e9
        lines.append(f"FMA peak: {n_cores()} x {low:.0f} .. {high:.0f} GFLOP/s")
    lines += [f"{name} left out: {reason}" for name, reason in outcome.left_out.items()]
    return lines


def document(outcomes: list[Outcome], environment: dict[str, str], how: list[str]) -> str:
    """Return Markdown of a group: how it was measured, on what, and its tables."""
    group = outcomes[0].group
    parts = [f"# {group}: {GROUPS[group].about}", *how, markdown(overview(outcomes))]
    for outcome in outcomes:
        parts += [f"## {outcome.title}", markdown(details(outcome))]
        parts.append("\n".join(f"- {line}" for line in notes(outcome)))
    parts.append("## Measured on")
    parts.append(markdown([["", ""], *([name, text] for name, text in environment.items())]))
    return "\n\n".join(parts) + "\n"


def write(
    folder: Path, outcomes: list[Outcome], environment: dict[str, str], how: list[str]
) -> None:
    """Write a group's files, named after it; the chart where matplotlib is installed."""
    folder.mkdir(parents=True, exist_ok=True)
    group = outcomes[0].group
    (folder / f"{group}.md").write_text(document(outcomes, environment, how), encoding="utf-8")
    (folder / f"{group}.csv").write_text(raw(outcomes), encoding="utf-8")
    if importlib.util.find_spec("matplotlib") is not None:
        draw(outcomes, environment, folder / f"{group}.png")
