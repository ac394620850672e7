"""fastmlp side by side with its peers, on the same work, the same machine, in the same minutes.

python -m bench.compare [groups or works ...] [--rounds 5] [--data FOLDER] [--output FOLDER]

Each contender runs in a process of its own, on all cores. In each round, in turn, every contender
does the work once; figures are medians over rounds, and ratios are of the same round. A ratio
below 1 says that a peer was faster, and is marked; so is a contender whose loss shows that it has
not done the same work. Peers that are not installed are left out. What each peer is and why that
is its best: docs/comparison.md. Nothing else may run: threads that wait for one another lose far
more than their share of a core to another process.

A work is named as "mnist-1000" or, where several groups have one of that name, "sgd/mnist"; a bare
name means it in all groups. --output writes for each group its tables (GROUP.md), all values of all
rounds (GROUP.csv) and a chart (GROUP.png), after each work.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench import mnist, out_of_core, reports
from bench.contenders import CONTENDERS, missing
from bench.groups import GROUPS, Options, chosen
from bench.machine import environment, machine
from bench.outcomes import Outcome, details
from bench.tables import aligned


def parser() -> argparse.ArgumentParser:
    about = "\n".join(
        f"  {name:12} {group.about}: {', '.join(group.works)}"
        for name, group in GROUPS.items()
        if name != "estimators"
    )
    made = argparse.ArgumentParser(
        prog="python -m bench.compare",
        description=__doc__,
        epilog=f"groups and their works:\n{about}\n"
        f"  {'estimators':12} {GROUPS['estimators'].about}: those of bench.estimators",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add("works", nargs="*", metavar="group or work", help="default: all")
    add("--rounds", type=int, default=5, help="default: %(default)s")
    add("--epochs", type=int, help="of each measurement of training; default: about 0.4 s")
    add(
        "--contenders", nargs="+", metavar="NAME", choices=CONTENDERS, default=list(CONTENDERS),
        help=f"of {', '.join(CONTENDERS)}; default: all",
    )  # fmt: skip
    add("--data", type=Path, metavar="FOLDER", help="of MNIST's IDX files; or FASTMLP_MNIST")
    add(
        "--rows", type=int, default=out_of_core.ROWS,
        help="of the table larger than memory; default: %(default)s",
    )  # fmt: skip
    add(
        "--scratch", type=Path, metavar="FOLDER", default=Path(tempfile.gettempdir()),
        help="where that table is kept; default: %(default)s",
    )  # fmt: skip
    add("--output", type=Path, metavar="FOLDER", help="where to write tables, CSV and chart")
    return made


def show(outcome: Outcome) -> None:
    print(f"\n{outcome.group}, {outcome.title}\n")
    print(aligned(details(outcome)))
    print("\n".join(f"  {line}" for line in reports.notes(outcome)), flush=True)


def command(group: str, args: argparse.Namespace) -> str:
    """Return how a group is measured again."""
    text = f"python -m bench.compare {group} --rounds {args.rounds}"
    if args.epochs is not None:
        text += f" --epochs {args.epochs}"
    if group == "out-of-core" and args.rows != out_of_core.ROWS:
        text += f" --rows {args.rows}"
    return text + (" --data FOLDER" if GROUPS[group].takes_data else "")


def main(arguments: Sequence[str] | None = None) -> int:
    made = parser()
    args = made.parse_intermixed_args(arguments)
    if args.rounds < 1 or (args.epochs is not None and args.epochs < 1):
        made.error("--rounds and --epochs must be at least 1")
    try:
        works = chosen(args.works)
    except ValueError as error:
        made.error(str(error))
    data = args.data or os.environ.get("FASTMLP_MNIST")
    if data is not None and any(GROUPS[name].takes_data for name in works):
        try:
            mnist.load(Path(data), "t10k")
        except (OSError, ValueError) as error:
            made.error(f"--data: {error}")
    reasons = {name: missing(name) for name in CONTENDERS if name in args.contenders}
    names = [name for name, reason in reasons.items() if not reason]
    left_out = [f"{name} left out: {reason}" for name, reason in reasons.items() if reason]
    options = Options(
        names, args.rounds, args.epochs, Path(data) if data else None, args.rows, args.scratch
    )
    print(machine(), *left_out, sep="\n", flush=True)
    for name, members in works.items():
        if GROUPS[name].needs_data and options.data is None:
            print(f"{name} left out: it needs --data, the folder of MNIST's files", file=sys.stderr)
            continue
        how = [f"`{command(name, args)}`, medians of {args.rounds} rounds.", *left_out]
        outcomes: list[Outcome] = []
        for outcome in GROUPS[name].measure(members, options):
            outcomes.append(outcome)
            show(outcome)
            if args.output is not None:
                reports.write(args.output, outcomes, environment(), how)
    return 0


if __name__ == "__main__":
    sys.exit(main())
