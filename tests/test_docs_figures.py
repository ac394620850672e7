"""The figures that the documentation shows are those that were measured."""

import csv
from pathlib import Path
from statistics import median

import pytest

from bench.reports import PEAK
from bench.tables import duration, short

ROOT = Path(__file__).parents[1]
MEASURED = ROOT / "docs" / "comparison"
GROUPS = sorted(path.stem for path in MEASURED.glob("*.csv"))


def rows(path):
    """Return the lines of a page's tables, without headings."""
    return [line for line in path.read_text().splitlines() if line.startswith("| ")]


def test_rows_of_the_readme_are_rows_of_the_comparison():
    measured = {row for group in GROUPS for row in rows(MEASURED / f"{group}.md")}
    shown = rows(ROOT / "README.md")
    assert len(shown) >= 8
    assert [row for row in shown if row not in measured] == []


@pytest.mark.parametrize("group", GROUPS)
def test_tables_show_medians(group):
    values = {}
    with (MEASURED / f"{group}.csv").open(newline="") as file:
        for line in csv.DictReader(file):
            if line["contender"] != PEAK:
                key = line["work"], line["contender"], line["unit"]
                values.setdefault(key, []).append(float(line["value"]))
    text = (MEASURED / f"{group}.md").read_text()
    assert values
    for (_, contender, unit), its in values.items():
        middle = median(its)
        if middle != float("inf"):
            shown = duration(middle) if unit == "s" else short(middle)
            assert f"| {contender} | {shown} |" in text
