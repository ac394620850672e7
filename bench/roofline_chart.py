"""The picture of a roofline: each kernel a dot, each kind a colour and a shape."""

from __future__ import annotations

from itertools import product
from math import atan2, degrees
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.chart import COLOURS, DPI, GREY, WIDTH
from bench.scaling_chart import LEFT, MARKERS, head, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

    from bench.roofline import Dot, Roofline

HEIGHT, FONT, SIZE = 7.0, 8, 6.0
KINDS = tuple(zip((*COLOURS, "#c2478f", "#8c6d46"), MARKERS + "*X", strict=True))
# From its dot to a label: points, and directions that are tried in turn.
DISTANCES = (5, 12, 20, 30, 42, 56)
DIRECTIONS = (
    (1, 0), (-1, 0), (0, 1), (0, -1), (0.8, 0.7), (0.8, -0.7), (-0.8, 0.7), (-0.8, -0.7)
)  # fmt: skip
LINE = (0, (4, 2))


class Box(NamedTuple):
    """A rectangle of the picture, in pixels."""

    x0: float
    y0: float
    x1: float
    y1: float

    def shared(self, other: Box) -> float:
        """Return the area that is in both."""
        width = min(self.x1, other.x1) - max(self.x0, other.x0)
        height = min(self.y1, other.y1) - max(self.y0, other.y0)
        return max(width, 0) * max(height, 0)

    def outside(self, other: Box) -> float:
        """Return the area that is not in the other."""
        return (self.x1 - self.x0) * (self.y1 - self.y0) - self.shared(other)


def placed(
    anchors: list[list[tuple[float, float]]],
    sizes: list[tuple[float, float]],
    taken: list[Box],
    frame: Box,
    unit: float,
) -> list[tuple[tuple[float, float], Box]]:
    """Return for each label which of its anchors it belongs to, and its place: on no other thing.

    Parameters
    ----------
    anchors : the dots of each label, in pixels.
    sizes : width and height of each label.
    taken : what labels shall not cover.
    frame : what they shall stay in.
    unit : pixels of a point.
    """
    taken, found = list(taken), []
    for dots, (width, height) in zip(anchors, sizes, strict=True):
        best, least = None, float("inf")
        for distance, (dx, dy), (x, y) in product(DISTANCES, DIRECTIONS, dots):
            at_x = x + dx * distance * unit - (dx < 0) * width - (dx == 0) * width / 2
            at_y = y + dy * distance * unit - (dy < 0) * height - (dy == 0) * height / 2
            box = Box(at_x, at_y, at_x + width, at_y + height)
            covered = sum(box.shared(other) for other in taken) + 10 * box.outside(frame)
            cost = covered + 1e-3 * distance
            if cost < least:
                best, least = ((x, y), box), cost
        found.append(best)
        taken.append(best[1])
    return found


def draw_roofs(axes: Axes, roofline: Roofline, threads: list[int]) -> None:
    """Draw what arithmetic, memory and caches allow, and write on the lines what they are."""
    (left, right), (low, _) = axes.get_xlim(), axes.get_ylim()
    memory, cache = roofline.memory / 1e9, roofline.cache / 1e9
    top = max(threads) * roofline.peak / 1e9
    for n in {max(threads), min(threads)}:
        height = n * roofline.peak / 1e9
        axes.plot([max(left, height / cache), right], [height] * 2, color=GREY, linewidth=1.4)
        axes.annotate(
            f"multiply-adds of {n} core{'s' * (n > 1)}: {height:.0f} GFLOP/s", (right, height),
            (-4, 3), textcoords="offset points", ha="right", fontsize=FONT, color=GREY,
        )  # fmt: skip
    for name, speed, line in (("memory", memory, "-"), ("second-level caches", cache, LINE)):
        first = max(left, low / speed)
        axes.plot([first, top / speed], [first * speed, top], color=GREY, lw=1.4, linestyle=line)
        (x0, y0), (x1, y1) = axes.transData.transform([(first, first * speed), (top / speed, top)])
        axes.annotate(
            f"{name}: {speed:.0f} GB/s", (1.2 * first, 1.2 * first * speed), (-3, 4),
            textcoords="offset points", ha="left", va="bottom", fontsize=FONT, color=GREY,
            rotation=degrees(atan2(y1 - y0, x1 - x0)), rotation_mode="anchor",
        )  # fmt: skip


def boxes_of(line: Line2D, text: float) -> list[Box]:
    """Return small boxes along a line, in pixels; with room for a text where it slopes."""
    (x0, y0), (x1, y1) = line.get_transform().transform(line.get_xydata())
    n = int(max(abs(x1 - x0), abs(y1 - y0)) / 4) + 1
    places = [(x0 + k / n * (x1 - x0), y0 + k / n * (y1 - y0)) for k in range(n + 1)]
    above = text if y1 > y0 else 3
    return [Box(x - above, y - 3, x + 3, y + above) for x, y in places]


def draw_dots(axes: Axes, dots: list[Dot]) -> None:
    """Draw the kernels, hollow if on fewer threads than others, and write what is what."""
    from matplotlib.lines import Line2D

    unit = axes.figure.dpi / 72
    taken = [box for line in axes.lines for box in boxes_of(line, 1.4 * FONT * unit)]
    kinds = list(dict.fromkeys(dot.kernel.kind for dot in dots))
    looks = dict(zip(kinds, KINDS, strict=False))
    most = max(dot.kernel.threads for dot in dots)
    labels: dict[str, list[Dot]] = {}
    for dot in dots:
        labels.setdefault(dot.kernel.label, []).append(dot)
        colour, marker = looks[dot.kernel.kind]
        axes.plot(
            *dot.place, marker=marker, color=colour, markersize=SIZE, linestyle="none",
            markerfacecolor="none" if dot.kernel.threads < most else colour,
        )  # fmt: skip
    for its in labels.values():  # the three products of a shape
        axes.plot(*zip(*(dot.place for dot in its), strict=True), color=GREY, lw=0.8, alpha=0.4)
    colours = [
        GREY if len(its) > 1 else looks[its[0].kernel.kind][0] for its in labels.values()
    ]  # fmt: skip
    name_dots(axes, labels, colours, taken)
    handles = [
        Line2D([], [], color=colour, marker=marker, markersize=SIZE, linestyle="none", label=kind)
        for kind, (colour, marker) in looks.items()
    ]
    if any(dot.kernel.threads < most for dot in dots):
        handles.append(
            Line2D([], [], color=GREY, marker="o", markerfacecolor="none", linestyle="none",
                   markersize=SIZE, label="hollow: on one thread")
        )  # fmt: skip
    axes.legend(
        handles=handles, ncols=5, loc="lower left", bbox_to_anchor=(-0.01, 1), frameon=False,
        fontsize=9, labelcolor=GREY, handletextpad=0.2, columnspacing=1.2,
    )  # fmt: skip


def name_dots(
    axes: Axes, labels: dict[str, list[Dot]], colours: list[str], taken: list[Box]
) -> None:
    """Write each label beside one of its dots, with a line to it."""
    renderer = axes.figure.canvas.get_renderer()
    unit = axes.figure.dpi / 72
    half = SIZE / 2 * unit
    anchors = [
        [tuple(axes.transData.transform(dot.place)) for dot in its] for its in labels.values()
    ]
    taken = taken + [Box(x - half, y - half, x + half, y + half) for its in anchors for x, y in its]
    taken += [
        Box(*text.get_window_extent(renderer).extents)
        for text in axes.texts
        if not text.get_rotation()
    ]
    texts = [
        axes.text(0, 0, label, fontsize=FONT, color=colour, verticalalignment="bottom")
        for label, colour in zip(labels, colours, strict=True)
    ]
    extents = [text.get_window_extent(renderer) for text in texts]
    sizes = [(extent.width, extent.height) for extent in extents]
    frame = Box(*axes.get_window_extent(renderer).extents)
    back = axes.transData.inverted()
    for text, (anchor, box) in zip(texts, placed(anchors, sizes, taken, frame, unit), strict=True):
        text.set_position(back.transform((box.x0, box.y0)))
        nearest = min(max(anchor[0], box.x0), box.x1), min(max(anchor[1], box.y0), box.y1)
        ends = back.transform([anchor, nearest])
        axes.plot(ends[:, 0], ends[:, 1], color=GREY, linewidth=0.6, alpha=0.7, zorder=1)


def draw(roofline: Roofline, environment: dict[str, str], path: Path) -> None:
    """Write the picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # not there where asv imports this
    from matplotlib.ticker import FuncFormatter

    dots = roofline.dots()
    xs, ys = zip(*(dot.place for dot in dots), strict=True)
    threads = [dot.kernel.threads for dot in dots]
    top = max(*ys, max(threads) * roofline.peak / 1e9)
    figure = Figure((WIDTH, HEIGHT), layout="none", dpi=DPI)
    FigureCanvasAgg(figure)  # measures texts
    figure.patch.set_alpha(0)
    axes = figure.subplots()
    figure.subplots_adjust(left=LEFT + 0.01, right=0.99, top=0.85, bottom=0.075)
    axes.set(
        xscale="log", yscale="log", xlim=(min(xs) / 2, max(xs) * 2.5), ylim=(min(ys) / 3, top * 2)
    )
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_major_formatter(plain)
    axes.yaxis.set_major_formatter(plain)
    axes.set_xlabel("arithmetic intensity: flops for each byte of the arrays read and written")
    axes.set_ylabel("GFLOP/s", color=GREY, fontsize=9.5)
    style(axes)
    draw_roofs(axes, roofline, threads)
    draw_dots(axes, dots)
    head(figure, roofline.title, environment, "medians of interleaved rounds")
    figure.savefig(path, dpi=DPI)
