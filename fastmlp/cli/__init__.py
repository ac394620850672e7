"""The `fastmlp` command.

Its modules import what a command needs when it runs: `fastmlp --help` is quick.
"""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

import fastmlp
from fastmlp.cli.demo import demo

app = typer.Typer(
    help="Train multi-layer perceptrons on CPUs, as fast as the machine's arithmetic allows.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
)


def main() -> None:
    """Run the command."""
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


app.command()(demo)
