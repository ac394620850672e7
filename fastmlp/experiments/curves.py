"""A picture of a run: losses, scores and step sizes by epochs."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastmlp.experiments.runs import write_bytes

# The log's columns, in panels of their own; each panel by what its axis is called.
PANELS = {
    "loss": ("loss", "validation_loss"),
    "score": ("validation_score",),
    "step": ("step",),
}


def draw(log: Path, picture: Path) -> None:
    """Draw the rows of a log of JSON lines.

    Raises
    ------
    ImportError
        Where matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        hint = 'pip install "fastmlp[plots]"'
        raise ImportError(f"{picture.name} needs matplotlib: {hint}") from error
    rows = list(_rows(log))
    panels = {
        label: [name for name in names if any(row.get(name) is not None for row in rows)]
        for label, names in PANELS.items()
    }
    panels = {label: names for label, names in panels.items() if names}
    figure = Figure(figsize=(7, 2.5 * max(len(panels), 1)), layout="constrained")
    FigureCanvasAgg(figure)
    all_axes = figure.subplots(max(len(panels), 1), sharex=True, squeeze=False)[:, 0]
    for axes, (label, names) in zip(all_axes, panels.items(), strict=False):
        for name in names:
            points = [(row["n_epochs"], row[name]) for row in rows if row.get(name) is not None]
            axes.plot(*zip(*points, strict=True), label=name.replace("_", " "))
        if label != "score" and all((row.get(name) or 1) > 0 for row in rows for name in names):
            axes.set_yscale("log")
        axes.set_ylabel(label)
        if len(names) > 1:
            axes.legend()
    all_axes[-1].set_xlabel("epoch")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    write_bytes(picture, buffer.getvalue())


def _rows(log: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a log; a line that a crash of the system has damaged is left out."""
    for line in log.read_bytes().splitlines():
        with contextlib.suppress(ValueError):
            row = json.loads(line)
            if isinstance(row, dict) and "n_epochs" in row:
                yield row
