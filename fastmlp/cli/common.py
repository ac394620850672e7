"""What the commands share: exit codes, and errors told in one line."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

DONE, FAILED, USAGE = 0, 1, 2
INTERRUPTED, TERMINATED = 130, 143  # 128 and the signal's number, as shells have it

EXIT_CODES = """
[bold]Exit codes:[/bold] 0 done; 1 failed while running (data, divergence); 2 wrong usage or
settings; 130 interrupted (Ctrl-C); 143 terminated (SIGTERM).
"""


@contextmanager
def errors_in_one_line(show_traceback: bool = False) -> Iterator[None]:
    """End the command with exit code 1 and one line on stderr on an error that users cause.

    Those are: bad values, missing and damaged files, optional packages not installed, memory.
    Other errors are bugs, and show where they come from.
    """
    try:
        yield
    except (ValueError, TypeError, OSError, ImportError, MemoryError) as error:
        if show_traceback:
            traceback.print_exc()
        else:
            tell_error(str(error) or type(error).__name__)
        raise typer.Exit(FAILED) from error


def tell_error(message: str) -> None:
    """Write one line on stderr, in red on a terminal."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    line = " ".join(message.split())
    console.print("error:", style="bold red", end=" ")
    console.print(line, markup=False)
