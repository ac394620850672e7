"""The `fastmlp` command.

Its modules import what a command needs when it runs: `fastmlp --help` is quick.
"""

from __future__ import annotations

import importlib
import io
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

import fastmlp
from fastmlp.cli import convert, evaluate, inspect, predict
from fastmlp.cli.common import as_help
from fastmlp.cli.demo import demo

# Commands whose flags are made from settings, when one is asked for, as that takes a while: the
# modules whose `command` returns it.
_WITH_SETTINGS = {"train": "fastmlp.cli.train", "sweep": "fastmlp.cli.sweep"}


class _Group(TyperGroup):
    """The commands."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the name, the command that is to run, and the arguments left."""
        name, command, rest = super().resolve_command(ctx, args)
        if name in _WITH_SETTINGS:
            command = importlib.import_module(_WITH_SETTINGS[name]).command()
        return name, command, rest


app = typer.Typer(
    cls=_Group,
    help="Train multi-layer perceptrons on CPUs, as fast as the machine's arithmetic allows.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name that the terminal's encoding does not have shall not end hours of training.
        sys.stdout.reconfigure(errors="backslashreplace")
    app()


def _show_version(asked: bool) -> None:
    if asked:
        Console().print(f"fastmlp {fastmlp.__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


@app.command("train")
def _train() -> None:
    """Train a network as an experiment file says."""


@app.command("sweep")
def _sweep() -> None:
    """Run an experiment with many settings and seeds."""


for tool in (evaluate, predict, inspect, convert):
    name = tool.__name__.rpartition(".")[2]
    app.command(help=as_help(tool.HELP))(getattr(tool, name))
app.command()(demo)
