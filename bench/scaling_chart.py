"""The pictures of scaling: a figure of each study, two panels beside each other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from bench.chart import COLOURS, DPI, GREY, WIDTH
from bench.tables import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bench.scaling_points import Point
    from bench.scaling_studies import Result

HEIGHT, LEFT = 3.6, 0.065
LABEL_HEIGHT = 0.058  # of the panel's: labels are no nearer to each other
MOST_TICKS = 7
MARKERS = "osD^vP"  # beside colours, for those who do not see them


class Panel(NamedTuple):
    """A title with the unit, and values(result, point, first point of the line) of each round."""

    title: str
    values: Callable[[Result, Point, Point], list[float]]
    log: bool = True
    expected: Callable[[Point, Point], float] | None = None  # drawn dashed
    expected_label: str = ""


def cost(result: Result, point: Point, first: Point) -> list[float]:
    pairs = zip(result.rates(first), result.rates(point), strict=True)
    return [its / mine for its, mine in pairs]


def speed_up(result: Result, point: Point, first: Point) -> list[float]:
    return [1 / value for value in cost(result, point, first)]


def percentages(result: Result, point: Point, first: Point) -> list[float]:
    return [100 * share for share in result.shares(point)]


def flops(point: Point, first: Point) -> float:
    return point.work.flops_per_sample / first.work.flops_per_sample


SHARE = Panel("GFLOP/s, % of the FMA peak of the threads", percentages, log=False)
GROWTH = Panel("time of a sample (first = 1)", cost, expected=flops, expected_label="flops")
PANELS = {
    "threads": (
        Panel(
            "samples/s (1 thread = 1)", speed_up, log=False,
            expected=lambda point, first: point.threads / first.threads, expected_label="threads",
        ),
        SHARE,
    ),
    "batch": (Panel("time of a sample (batch of 1 = 1)", cost), SHARE),
    "width": (GROWTH, SHARE),
    "depth": (GROWTH, SHARE),
    "rows": (
        Panel("million rows/s", lambda r, point, _: [x / 1e6 for x in r.rates(point)], log=False),
        Panel(
            "resident memory at most, MB",
            lambda r, point, _: [each.resident / 1e6 for each in r.values[point]], log=False,
        ),
    ),
}  # fmt: skip


def spread(heights: list[float], least: float, low: float = 0, high: float = 1) -> list[float]:
    """Return heights, each at least so far from the others, near where they were; in their order.

    There is no more room than from low to high, unless it is too little for all.
    """
    order = sorted(range(len(heights)), key=heights.__getitem__)
    placed: list[float] = []
    for number in order:
        placed.append(max(heights[number], placed[-1] + least if placed else low))
    ceiling = max(high, low + least * (len(heights) - 1))
    for k in range(len(placed) - 1, -1, -1):
        placed[k] = min(placed[k], ceiling)
        ceiling = placed[k] - least
    found = [0.0] * len(heights)
    for number, height in zip(order, placed, strict=True):
        found[number] = height
    return found


def ticks(values: list[int]) -> list[int]:
    """Return as many of the sorted values as have room, at equal distances, the last one too."""
    step = -(-len(values) // MOST_TICKS)
    return values[::-step][::-1]


def style(axes: Axes) -> None:
    """Let axes be readable on white and on black."""
    axes.tick_params(which="both", colors=GREY, labelsize=9, length=3)
    axes.patch.set_alpha(0)
    axes.xaxis.label.set(color=GREY, fontsize=9.5)
    for side, spine in axes.spines.items():
        spine.set(visible=side in ("left", "bottom"), color=GREY)
    axes.grid(color=GREY, alpha=0.2, linewidth=0.6)


def draw_panel(axes: Axes, panel: Panel, result: Result) -> None:
    """Draw lines, ranges of the rounds, and a name at the end of each line."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

    plain = FuncFormatter(lambda value, _: f"{value:g}" if value < 10**4 else short(value))
    lines = dict(result.lines())
    ends = []
    for number, (name, points) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        xs = [point.x for point in points]
        values = [panel.values(result, point, points[0]) for point in points]
        axes.fill_between(
            xs, [min(v) for v in values], [max(v) for v in values], color=colour, alpha=0.2,
            linewidth=0,
        )  # fmt: skip
        middles = [median(v) for v in values]
        marker = MARKERS[number % len(MARKERS)]
        axes.plot(xs, middles, color=colour, marker=marker, markersize=4, linewidth=1.6)
        ends.append((name, colour, xs[-1], middles[-1]))
        if panel.expected is not None:
            expected = [panel.expected(point, points[0]) for point in points]
            axes.plot(xs, expected, color=colour, linestyle=(0, (3, 2)), linewidth=1, zorder=1)
    xs = sorted({point.x for point in result.values})
    axes.set_xscale("log", base=2 if xs[-1] < 10**5 else 10)
    axes.xaxis.set(
        major_locator=FixedLocator(ticks(xs)), minor_locator=NullLocator(),
        major_formatter=plain,
    )  # fmt: skip
    axes.set_xlabel(result.study.x)
    if panel.log:
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        subs = (1.0, 2.0, 5.0) if high < 200 * low else (1.0,)
        axes.yaxis.set(
            major_locator=LogLocator(subs=subs), minor_locator=NullLocator(), major_formatter=plain
        )
    else:
        axes.set_ylim(0, 1.08 * axes.get_ylim()[1])
    title = panel.title
    if panel.expected is not None:
        title += f"; dashed: as {panel.expected_label}"
    axes.set_title(title, loc="left", fontsize=10, weight="bold", color=GREY)
    style(axes)
    if len(ends) > 1:
        label_ends(axes, ends)


def label_ends(axes: Axes, ends: list[tuple[str, str, float, float]]) -> None:
    """Write names to the right of where lines end, none on another."""
    places = [axes.transData.transform((x, y)) for _, _, x, y in ends]
    heights = [float(axes.transAxes.inverted().transform(place)[1]) for place in places]
    for (name, colour, _, _), height in zip(ends, spread(heights, LABEL_HEIGHT), strict=True):
        axes.annotate(
            name, (1, height), (3, 0), xycoords="axes fraction", textcoords="offset points",
            va="center", ha="left", fontsize=9, weight="bold", color=colour, annotation_clip=False,
        )  # fmt: skip


def draw(result: Result, environment: dict[str, str], path: Path) -> None:
    """Write the picture of a study."""
    from matplotlib.figure import Figure  # not there where asv imports this

    figure = Figure((WIDTH, HEIGHT), layout="none")
    figure.patch.set_alpha(0)
    panels = figure.subplots(1, 2)
    figure.subplots_adjust(left=LEFT, right=0.895, top=0.75, bottom=0.14, wspace=0.36)
    for axes, panel in zip(panels, PANELS[result.name], strict=True):
        draw_panel(axes, panel, result)
    how = "medians of interleaved rounds, shaded: lowest to highest"
    head(figure, result.title, environment, how)
    figure.savefig(path, dpi=DPI)


def head(figure: Figure, title: str, environment: dict[str, str], how: str) -> None:
    """Write above the panels what there is to see, and where and how it was measured."""
    height = figure.get_figheight()
    figure.text(LEFT, 1 - 0.22 / height, title, fontsize=11, weight="bold", color=GREY)
    figure.text(
        LEFT, 1 - 0.45 / height, f"{environment['CPU']}, {environment['cores']} cores; {how}",
        fontsize=9, color=GREY,
    )  # fmt: skip
