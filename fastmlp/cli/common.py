"""What the commands share: exit codes, and errors told in one line."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from fastmlp.cli import show

DONE, FAILED, USAGE = 0, 1, 2
INTERRUPTED, TERMINATED = 130, 143  # 128 and the signal's number, as shells have it

EXIT_CODES = """
[bold]Exit codes[/bold]

\b
    0    done
    1    failed while running: data that do not fit, divergence, a full disk
    2    wrong usage or settings
    130  interrupted (SIGINT, Ctrl-C)
    143  terminated (SIGTERM)
"""


def as_help(text: str) -> str:
    """Return a help text with each paragraph in a line, but for those marked to be left alone."""
    paragraphs = text.strip().split("\n\n")
    return "\n\n".join(one if one.startswith("\b") else " ".join(one.split()) for one in paragraphs)


@contextmanager
def errors_in_one_line(show_traceback: bool = False) -> Iterator[None]:
    """End the command with exit code 1 and one line on stderr on an error that users cause.

    Those are: bad values, missing and damaged files, optional packages not installed, memory.
    Other errors are bugs, and show where they come from.
    """
    from fastmlp.experiments.reading import SettingsError

    try:
        yield
    except SettingsError:  # of wrong usage, with another exit code
        raise
    except BrokenPipeError:  # who was reading has read enough: click ends the command silently
        raise
    except (ValueError, TypeError, OSError, ImportError, MemoryError) as error:
        if show_traceback:
            traceback.print_exc()
        else:
            tell_error(str(error) or type(error).__name__)
        raise typer.Exit(FAILED) from error


@contextmanager
def settings_errors() -> Iterator[None]:
    """End the command with exit code 2 where settings cannot be used, a line for each reason."""
    from fastmlp.experiments.reading import SettingsError

    try:
        yield
    except SettingsError as error:
        for problem in error.problems:
            tell_error(problem)
        raise typer.Exit(USAGE) from error


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """End the command on SIGINT and SIGTERM as on an error: half written files are removed."""
    from fastmlp.experiments.signals import Signals

    signals = Signals()
    try:
        with signals.caught():
            yield
    except (KeyboardInterrupt, Exception):
        # After a signal any error may come of it: an import cut short is an ImportError.
        if signals.received is None:
            raise
        raise typer.Exit(code_of_signal(signals.received)) from None


def code_of_signal(number: int | None) -> int:
    """Return the exit code of a command that a signal, or Ctrl-C, has ended."""
    return TERMINATED if number == signal.SIGTERM else INTERRUPTED


def tell_error(message: str) -> None:
    """Write one line on stderr, marked in red on a terminal."""
    _tell("error:", "bold red", message)


def tell_warning(message: str) -> None:
    """Write one line on stderr, marked in yellow on a terminal."""
    _tell("warning:", "bold yellow", message)


def _tell(what: str, style: str, message: str) -> None:
    console = show.console(stderr=True)
    console.print(what, style=style, end=" ")
    console.print(" ".join(message.split()))
