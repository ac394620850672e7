"""How the cost of training grows: with threads, batch, width, depth and rows; and a roofline.

python -m bench.scaling [studies ...] [--rounds 3] [--output FOLDER]

In each round, in turn, every point of a study is measured once, in a process of its own, and with
it the peak of a core's multiply-adds; figures are medians over rounds, with lowest and highest.
What the studies are and how to read them: docs/scaling.md. Nothing else may run.

--output writes for each study its table (STUDY.md), all values of all rounds (STUDY.csv) and a
chart (STUDY.png).
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from bench import roofline, scaling_studies
from bench.machine import environment, machine
from bench.tables import aligned, markdown


class Section(Protocol):
    """What a study has measured, and how it is shown."""

    name: str

    @property
    def title(self) -> str: ...

    def table(self) -> list[list[str]]: ...

    def notes(self) -> list[str]: ...

    def raw(self) -> list[tuple]: ...

    def draw(self, environment: dict[str, str], path: Path) -> None: ...


ABOUT = {name: study.about for name, study in scaling_studies.STUDIES.items()}
ABOUT[roofline.NAME] = roofline.ABOUT


def measure(name: str, rounds: int) -> Section:
    """Return what a study has measured."""
    if name == roofline.NAME:
        return roofline.measure(rounds)
    return scaling_studies.measure(name, rounds)


def document(section: Section, known: dict[str, str], rounds: int) -> str:
    """Return Markdown: how it was measured, the table, and the machine."""
    parts = [
        f"# Scaling: {section.title}",
        f"`python -m bench.scaling {section.name} --rounds {rounds}`, medians of {rounds} rounds, "
        "with lowest and highest.",
        markdown(section.table()),
        "\n".join(f"- {line}" for line in section.notes()),
        "## Measured on",
        markdown([["", ""], *([name, text] for name, text in known.items())]),
    ]
    return "\n\n".join(parts) + "\n"


def write(folder: Path, section: Section, known: dict[str, str], rounds: int) -> None:
    """Write a study's table, all values of all rounds and, with matplotlib, its chart."""
    folder.mkdir(parents=True, exist_ok=True)
    text = document(section, known, rounds)
    (folder / f"{section.name}.md").write_text(text, encoding="utf-8")
    with (folder / f"{section.name}.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(section.raw())
    if importlib.util.find_spec("matplotlib") is not None:
        section.draw(known, folder / f"{section.name}.png")


def parser() -> argparse.ArgumentParser:
    about = "\n".join(f"  {name:8} {text}" for name, text in ABOUT.items())
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
    if unknown := [name for name in args.studies if name not in ABOUT]:
        made.error(f"no study is called {unknown[0]!r}; there are {', '.join(ABOUT)}")
    print(machine(), flush=True)
    for name in ABOUT:
        if args.studies and name not in args.studies:
            continue
        section = measure(name, args.rounds)
        print(f"\n{section.title}\n\n{aligned(section.table())}")
        print("\n".join(f"  {line}" for line in section.notes()), flush=True)
        if args.output is not None:
            write(args.output, section, environment(), args.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
