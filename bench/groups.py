"""The groups of works that `bench.compare` has, each a table of outcomes.

Descent, out-of-core and estimators are programs of their own as well, whose tables tell more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import estimators, inference, line_search, out_of_core, speeds, to_accuracy
from bench.contenders import EAGER, OURS
from bench.outcomes import Outcome


@dataclass(frozen=True)
class Options:
    """What the command was told; `names` are the contenders that can take part."""

    names: list[str]
    rounds: int = 5
    epochs: int | None = None
    data: Path | None = None  # of MNIST's files
    rows: int = out_of_core.ROWS
    scratch: Path = Path()  # for the table that is larger than memory


@dataclass(frozen=True)
class Group:
    """What it is, the names of its works, and measure(works, options), one outcome at a time.

    Some can do without MNIST's files, and measure less or something else.
    """

    about: str
    works: tuple[str, ...]
    measure: Callable[[list[str], Options], Iterator[Outcome]]
    takes_data: bool = False
    needs_data: bool = False


def training(group: str, works: list[str], options: Options) -> Iterator[Outcome]:
    for name in works:
        work = speeds.GROUPS[group][name]
        yield speeds.measure(group, work, options.names, options.rounds, options.epochs)


def reaching(levels: list[str], options: Options) -> Iterator[Outcome]:
    yield from to_accuracy.measure(options.data, levels, options.names, options.rounds)


def descent(directions: list[str], options: Options) -> Iterator[Outcome]:
    """Both directions are measured in the same processes."""
    of = {OURS: OURS, line_search.TORCH: EAGER, line_search.KEEPS: EAGER}
    names = [name for name, contender in of.items() if contender in options.names]
    settings = line_search.Settings(options.data, iterations=10, tol=0.01)
    figures, failures = line_search.measure(settings, names, options.rounds)
    samples = "random" if options.data is None else "MNIST's"
    widths = "-".join(map(str, line_search.WIDTHS))
    for direction in directions:
        losses = {name: its.loss(direction) for name, its in figures.items()}
        ours = losses.get(OURS, min(losses.values(), default=0.0))
        yield Outcome(
            "descent", direction,
            f"{direction}: {widths}, an iteration on {samples} {line_search.N_SAMPLES:,} samples",
            "s", {name: its.times(direction) for name, its in figures.items()}, failures,
            check=f"loss after {settings.iterations} iterations", checks=losses,
            differ=frozenset(
                name for name, loss in losses.items() if abs(loss / ours - 1) > line_search.SAME
            ),
        )  # fmt: skip


def larger_than_memory(works: list[str], options: Options) -> Iterator[Outcome]:
    def of(name: str) -> str:
        return EAGER if name.startswith("torch") else name.replace(",", " ").split()[0]

    names = [name for name in out_of_core.CONTENDERS if of(name) in options.names]
    workers = out_of_core.measure(options.scratch, options.rows, options.rounds, names)
    rates = {worker.name: worker.rates for worker in workers if not worker.failure}
    widths = "-".join(map(str, out_of_core.WIDTHS))
    for name in works:
        yield Outcome(
            "out-of-core", name,
            f"{widths}, batch {out_of_core.BATCH_SIZE}, {options.rows:,} rows in a file",
            "samples/s", {name: [speed for speed, _ in its] for name, its in rates.items()},
            {worker.name: worker.failure for worker in workers if worker.failure},
            check="resident, MB",
            checks={name: max(peak for _, peak in its) / 1e6 for name, its in rates.items()},
        )  # fmt: skip


def predicting(works: list[str], options: Options) -> Iterator[Outcome]:
    for name in works:
        yield inference.measure(name, options.names, options.rounds)


def whole_calls(tasks: list[str], options: Options) -> Iterator[Outcome]:
    if not {estimators.OURS, estimators.PEER} <= set(options.names):
        return
    folder = None if options.data is None else str(options.data)
    for task in tasks:
        found, failures = estimators.measure(task, folder, options.rounds)
        yield Outcome(
            "estimators", task, task, "s",
            {name: [seconds for seconds, _ in its] for name, its in found.items()}, failures,
            check="result", checks={name: its[0][1] for name, its in found.items()},
        )  # fmt: skip


GROUPS = {
    "sgd": Group(
        "training by plain SGD", tuple(speeds.GROUPS["sgd"]), partial(training, "sgd")
    ),
    "tanh": Group(
        "the same with tanh in place of relu", tuple(speeds.GROUPS["tanh"]),
        partial(training, "tanh"),
    ),
    "adam": Group("training by Adam", tuple(speeds.GROUPS["adam"]), partial(training, "adam")),
    "mnist": Group(
        "time from process start to a test accuracy", to_accuracy.WORK_NAMES, reaching,
        takes_data=True, needs_data=True,
    ),
    "descent": Group(
        "gradient descent with exact line search", line_search.DIRECTIONS, descent,
        takes_data=True,
    ),
    "out-of-core": Group("a table larger than memory", ("table",), larger_than_memory),
    "inference": Group("predicted probabilities", inference.WORK_NAMES, predicting),
    "estimators": Group(
        "whole calls of MLPClassifier and MLPRegressor", tuple(estimators.TASKS), whole_calls,
        takes_data=True,
    ),
}  # fmt: skip


def chosen(texts: list[str]) -> dict[str, list[str]]:
    """Return works by group, of names of groups, works, or "group/work"; all if there are none.

    A work's bare name means that work in all groups that have it, unless a group is called so.
    """
    if not texts:
        return {name: list(group.works) for name, group in GROUPS.items()}
    wanted: set[tuple[str, str]] = set()
    for text in texts:
        pairs = {
            (name, work)
            for name, group in GROUPS.items()
            for work in group.works
            if text == name or (text not in GROUPS and text in (work, f"{name}/{work}"))
        }
        if not pairs:
            raise ValueError(f"no group or work is called {text!r}; groups: {', '.join(GROUPS)}")
        wanted |= pairs
    picked = {
        name: [work for work in group.works if (name, work) in wanted]
        for name, group in GROUPS.items()
    }
    return {name: works for name, works in picked.items() if works}
