"""`fastmlp train`: one run of an experiment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.main import get_command

from fastmlp.cli.common import EXIT_CODES, as_help, errors_in_one_line, settings_errors
from fastmlp.cli.flags import with_settings
from fastmlp.experiments import describing, reading, runs
from fastmlp.experiments.reading import Override

HELP = """
Train a network as an experiment file says, or flags, or both.

An [bold]experiment file[/bold] is a TOML file of settings; what it leaves out has a default. This
one works:

\b
    \\[data]
    train = "train.csv"
    target = "label"

It trains a classifier on all columns of train.csv but the one named "label", and writes to the
folder runs/experiment-001 its model (model.safetensors), checkpoints, a log of epochs (log.jsonl),
losses and scores (metrics.json), all settings (settings.toml), versions and the machine
(environment.json), and a picture (curves.png).

[bold]Flags[/bold] win against the file. There is one for each setting, and --set name=value means
the same; values are written as in TOML, where words need no quotes, nor lists brackets.

\b
    fastmlp train experiment.toml
    fastmlp train experiment.toml --solver.step 0.01 --network.hidden 256,128
    fastmlp train --data.train "parts/*.parquet" --data.target price --data.validation 0.1
    fastmlp train --template > experiment.toml
    fastmlp train --resume runs/experiment-001

[bold]Going on:[/bold] a run that has ended too early, by Ctrl-C or a crash, goes on from its last
checkpoint with --resume, and ends on the same bits as one never stopped. Only solver.epochs,
run.threads, run.checkpoint_every, run.keep and run.plots may be others then.
"""


def train(
    experiment: Annotated[
        Path | None, typer.Argument(help="The file of settings.", show_default=False)
    ] = None,
    *,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Go on with the run in this folder.", exists=False),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(help="The run's folder, by default the next in run.folder of run.name."),
    ] = None,
    template: Annotated[
        bool,
        typer.Option("--template", help="Print an experiment file with every setting, and end."),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Tell nothing but errors.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Tell of each epoch, and all settings.")
    ] = False,
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where in the code an error comes from.")
    ] = False,
    overrides: Callable[[], list[Override]] = list,
) -> None:
    """Train a network as an experiment file says."""
    if template:
        typer.echo(describing.template(), nl=False)
        return
    with settings_errors():
        changes = overrides()
        if quiet and verbose:
            raise reading.SettingsError(["--quiet and --verbose: give one of them"])
        if resume is None:
            settings = reading.read(experiment, changes)
            if folder is not None and folder.exists():
                runs.create(folder)
        elif experiment is not None or folder is not None:
            what = "an experiment file" if experiment is not None else "--folder"
            raise reading.SettingsError([f"--resume: has its own settings; got {what} as well"])
        else:
            settings = runs.read_settings(resume, changes)

    # Not above: these take as long to import as a quick run takes.
    from fastmlp.cli.showing import Showing, exit_code
    from fastmlp.experiments import training

    showing = Showing(quiet, verbose)
    with settings_errors(), errors_in_one_line(traceback):
        if resume is None:
            outcome = training.begin(settings, folder, showing.audience())
        else:
            outcome = training.go_on(resume, settings, showing.audience())
    showing.show(outcome)
    if code := exit_code(outcome):
        raise typer.Exit(code)


def command() -> Any:
    """Return the command with a flag for each setting, which take a while to make."""
    app = typer.Typer(add_completion=False, rich_markup_mode="rich")
    app.command("train", help=as_help(HELP + EXIT_CODES))(with_settings(train))
    return get_command(app)
