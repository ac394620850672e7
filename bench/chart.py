"""The picture of a comparison: every contender's speed as a multiple of the best peer's."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from bench.contenders import CONTENDERS
from bench.groups import GROUPS
from bench.outcomes import FIRST, Outcome, ordered

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GREY = "#7a7a7a"  # readable on white and on black, for the picture has no background
COLOURS = ("#e8590c", "#3b82c4", "#2a9d8f", "#8ab17d", "#9467bd", "#c2a83e")  # of CONTENDERS
PALER = (1.0, 0.6, 0.35)  # a contender's first, second and third form in a row
WIDTH, ROW_HEIGHT, LINE_HEIGHT, LEGEND_HEIGHT, DPI = 9.0, 2.14, 0.16, 1.1, 200
PER_ROW = 6  # works beside each other
NAME_WIDTH = 18  # of a line of a work's name
FILL = 0.86  # of the room for a work
TICKS = [m * 10.0**e for e in range(-6, 7) for m in (1, 2, 5)]


def relative(outcome: Outcome) -> dict[str, float]:
    """Return each contender's speed over the best peer's, median of rounds; of those who ended."""
    best = outcome.best_peer()
    if best is None:
        return {}
    found = {}
    for name in outcome.values:
        pairs = zip(outcome.speeds(name), outcome.speeds(best), strict=True)
        ratio = median(its / top if top else math.inf for its, top in pairs)
        if 0 < ratio < math.inf:
            found[name] = ratio
    return found


def rows(outcomes: list[Outcome]) -> Iterator[list[Outcome]]:
    """Yield the works of each row of bars: of one group, and no more than fit."""
    drawn = [outcome for outcome in outcomes if relative(outcome)]
    for _, members in groupby(drawn, key=lambda outcome: outcome.group):
        its = list(members)
        size = -(-len(its) // -(-len(its) // PER_ROW))
        yield from (its[start : start + size] for start in range(0, len(its), size))


def family(name: str) -> str:
    """Return the contender that a name is a form of: "torch DataLoader" of "torch eager"."""
    name = name.removesuffix(FIRST)
    if name in CONTENDERS:
        return name
    first = re.split("[ ,]", name)[0]
    return next(known for known in CONTENDERS if known.split()[0] == first)


def colours(names: list[str]) -> dict[str, tuple[str, float]]:
    """Return colour and opacity of each contender of a row."""
    palette = dict(zip(CONTENDERS, COLOURS, strict=True))
    found: dict[str, tuple[str, float]] = {}
    for name in names:
        seen = sum(family(other) == family(name) for other in found)
        found[name] = palette[family(name)], PALER[min(seen, len(PALER) - 1)]
    return found


def draw_row(axes: Axes, outcomes: list[Outcome]) -> None:
    """Draw the works of a row; above our first bar is its number."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    speeds = [relative(outcome) for outcome in outcomes]
    colour = colours(ordered(name for its in speeds for name in its))
    values = [speed for its in speeds for speed in its.values()]
    low, high = min(0.5, *values) / 1.6, max(2.0, *values) * 2
    for place, (outcome, its) in enumerate(zip(outcomes, speeds, strict=True)):
        width = FILL / len(its)
        for number, name in enumerate(n for n in colour if n in its):
            x = place - FILL / 2 + (number + 0.5) * width
            axes.bar(x, its[name] - low, 0.9 * width, bottom=low, color=colour[name], linewidth=0)
            if name == outcome.ours:
                above = its[name] if its[name] < 0.7 else max(its[name], 1)  # not on the line
                text = f"{its[name]:.2f}" if its[name] < 10 else f"{its[name]:.0f}"
                axes.annotate(
                    f"{text}×", (x, above), (0, 2), textcoords="offset points",
                    ha="center", va="bottom", fontsize=9, weight="bold", color=colour[name][0],
                )  # fmt: skip
    axes.axhline(1, color=GREY, linewidth=1, linestyle=(0, (4, 2)), zorder=0)
    axes.set(yscale="log", ylim=(low, high), xlim=(-0.55, len(outcomes) - 0.45))
    ticks = [tick for tick in TICKS if low <= tick <= high]
    if len(ticks) > 7:
        ticks = [tick for tick in ticks if math.isclose(math.log10(tick) % 1, 0, abs_tol=1e-9)]
    axes.yaxis.set(
        major_locator=FixedLocator(ticks), minor_locator=NullLocator(),
        major_formatter=FuncFormatter(lambda value, _: f"{value:g}"),
    )  # fmt: skip
    names = [textwrap.fill(outcome.work, NAME_WIDTH) for outcome in outcomes]
    axes.set_xticks(range(len(outcomes)), names)
    group = outcomes[0].group
    axes.set_title(
        f"{group}: {GROUPS[group].about}", loc="left", fontsize=10, weight="bold", color=GREY
    )
    axes.tick_params(colors=GREY, labelsize=9, length=0)
    axes.patch.set_alpha(0)
    for side, spine in axes.spines.items():
        spine.set(visible=side in ("left", "bottom"), color=GREY)


def draw(outcomes: list[Outcome], environment: dict[str, str], path: Path) -> None:
    """Write the picture, unless there is no peer to compare with."""
    from matplotlib.figure import Figure  # not there where asv imports this
    from matplotlib.patches import Patch

    drawn = list(rows(outcomes))
    if not drawn:
        return
    names = [name for row in drawn for outcome in row for name in relative(outcome)]
    families = ordered(map(family, names))
    handles = [Patch(color=colour, label=name) for name, colour in colours(families).items()]
    if set(names) - set(families):
        handles.append(Patch(color=GREY, alpha=PALER[1], label="other form (see the tables)"))
    top = LEGEND_HEIGHT
    lines = max(len(textwrap.wrap(each.work, NAME_WIDTH)) for row in drawn for each in row)
    below = LINE_HEIGHT * lines
    height = (ROW_HEIGHT + below) * len(drawn) + top
    figure = Figure((WIDTH, height), layout="none")
    figure.patch.set_alpha(0)
    grid = figure.subplots(len(drawn), squeeze=False)[:, 0]
    for axes, row in zip(grid, drawn, strict=True):
        draw_row(axes, row)
    figure.subplots_adjust(
        left=0.07,
        right=0.99,
        top=1 - (top + 0.05) / height,
        bottom=(0.14 + below) / height,
        hspace=0.36 + 0.06 * lines,
    )
    figure.text(
        0.07, 1 - 0.2 / height, "Speed as a multiple of the fastest peer's in float32 (log scale; "
        "above the dashed line: faster)", fontsize=10.5, weight="bold", color=GREY, va="center",
    )  # fmt: skip
    figure.text(
        0.07, 1 - 0.42 / height,
        f"{environment['CPU']}, {environment['cores']} cores; medians of interleaved rounds",
        fontsize=9, color=GREY, va="center",
    )  # fmt: skip
    figure.legend(
        handles=handles, ncols=len(handles),
        loc="upper left", bbox_to_anchor=(0.06, 1 - 0.52 / height), frameon=False,
        fontsize=9, labelcolor=GREY, handlelength=1.0, columnspacing=1.2,
    )  # fmt: skip
    figure.savefig(path, dpi=DPI)
