"""What commands print: aligned text, in bold on a terminal, or one JSON object."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import IO, Any

import typer
from rich.console import Console
from rich.text import Text


def console(stderr: bool = False) -> Console:
    """Return where results are printed: lines are never broken, nor anything in them coloured."""
    return Console(stderr=stderr, highlight=False, soft_wrap=True, markup=False, emoji=False)


def is_terminal(stream: IO[str] | None) -> bool:
    """Return whether a stream is one; a command may be started with none at all."""
    return stream is not None and stream.isatty()


def heading(text: str) -> None:
    """Print a line in bold."""
    console().print(Text(text, "bold"))


def pairs(items: Mapping[str, Any], indent: int = 2) -> None:
    """Print names and values, one line each, aligned; None is left out."""
    shown = {name: text(value) for name, value in items.items() if value is not None}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        label = (" " * indent + f"{name:{width}}", "cyan")
        console().print(Text.assemble(label, f"  {value}"))


def table(header: Sequence[str], rows: Sequence[Sequence[Any]], indent: int = 2) -> None:
    """Print rows below their header, the first column flush left, others flush right."""
    lines = [list(header), *([text(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for number, line in enumerate(lines):
        first, *others = (
            f"{value:<{width}}" if place == 0 else f"{value:>{width}}"
            for place, (value, width) in enumerate(zip(line, widths, strict=True))
        )
        joined = "  ".join([first, *others]).rstrip()
        console().print(Text(" " * indent + joined, "" if number else "cyan"))


def text(value: Any) -> str:
    """Return a value in words: numbers in as many digits as tell something."""
    value = _python(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)


def size(n_bytes: int) -> str:
    """Return a number of bytes in words."""
    amount, units = float(n_bytes), ["bytes", "kB", "MB", "GB", "TB"]
    while amount >= 1000 and len(units) > 1:
        amount, units = amount / 1000, units[1:]
    return f"{amount:.3g} {units[0]}" if units[0] != "bytes" else f"{n_bytes} bytes"


def as_json(value: Any) -> None:
    """Print an object as JSON."""
    text = json_text(value)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # escapes of the terminal's would be no JSON
        text = json.dumps(json.loads(text), indent=2)
    typer.echo(text)


def json_text(value: Any) -> str:
    """Return JSON that every reader takes: null for NaN and infinity, which it has no words for."""
    return json.dumps(_plain(value), indent=2, allow_nan=False, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    value = _python(value)
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def _python(value: Any) -> Any:
    """Return Python's own number or list for NumPy's, which `--help` does not import."""
    return value.tolist() if hasattr(value, "tolist") else value
