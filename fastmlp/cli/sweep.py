"""`fastmlp sweep`: an experiment with many settings and seeds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.main import get_command

from fastmlp.cli import show
from fastmlp.cli.common import (
    DONE,
    EXIT_CODES,
    FAILED,
    as_help,
    code_of_signal,
    errors_in_one_line,
    settings_errors,
)
from fastmlp.cli.flags import with_settings
from fastmlp.experiments import reading, runs
from fastmlp.experiments.reading import Override

HELP = """
Run an experiment with many settings and seeds, and table the results.

The section \\[sweep] of the experiment file says what to try: all combinations of lists, or
settings drawn at random.

\b
    \\[sweep]
    method = "random"
    n = 30
    seeds = 3
    \\[sweep.parameters]
    "solver.step" = {low = 1e-4, high = 0.1, log = true}
    "network.hidden" = \\[\\[64], \\[64, 64]]

Each trial is a run in a folder of its own, runs/experiment-sweep-001/trial-001 and so on. The
table results.csv (and results.parquet, with pyarrow) has the settings and metrics of each;
summary.csv the mean and standard deviation over the seeds of each setting.

A trial that fails does not end the sweep; it is in the table with its error. A sweep that was
stopped goes on with --resume: what is done stays, and a half-done trial goes on from its
checkpoint.
"""


def sweep(
    experiment: Annotated[
        Path | None, typer.Argument(help="The file of settings.", show_default=False)
    ] = None,
    *,
    resume: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Go on with the sweep in this folder.")
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(help="The sweep's folder, by default the next in run.folder of run.name."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Tell nothing but errors.")] = False,
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where in the code an error comes from.")
    ] = False,
    overrides: Callable[[], list[Override]] = list,
) -> None:
    """Run an experiment with many settings and seeds."""
    with settings_errors():
        changes = overrides()
        if resume is not None and (experiment is not None or folder is not None or changes):
            raise reading.SettingsError(["--resume: a sweep goes on with its own settings alone"])
        if resume is None:
            settings = reading.read(experiment, changes)
            if folder is not None and folder.exists():
                runs.create(folder)

    # Not above: these take as long to import as a quick run takes.
    from fastmlp.cli.showing import Showing
    from fastmlp.experiments import sweeps, training

    showing = Showing(quiet, verbose=False)
    audience = training.Audience(warn=showing.audience().warn)
    with settings_errors(), errors_in_one_line(traceback):
        if resume is not None:
            settings = sweeps.read_settings(resume)
        n = len(sweeps.trials(settings))
        place = sweeps.prepared(settings, folder) if resume is None else resume

        def tell(trial: sweeps.Trial, row: dict[str, Any]) -> None:
            values = [f"{name} = {row[name]}" for name in trial.parameters]
            told = ", ".join([*values, f"seed {trial.seed}"])
            showing.say(f"{trial.number}/{n}: {told}: {_result(row)}")

        showing.say(f"Sweep {place}: {n} runs")
        outcome = sweeps.run(settings, place, audience, tell)
    if outcome.is_interrupted:
        told = f"Interrupted after {len(outcome.rows)} of {n} runs."
        go_on = f"Go on with: fastmlp sweep --resume {place}"
        show.console(stderr=True).print(f"{told} {go_on}")
        raise typer.Exit(code_of_signal(outcome.signal))
    best = outcome.best()
    if best is not None and settings.sweep.parameters:
        values = ", ".join(f"{name} = {best[name]}" for name in settings.sweep.parameters)
        showing.say(f"Best: {values}")
    if outcome.n_failed:
        showing.say(f"{outcome.n_failed} of {n} runs have failed.")
    showing.say(f"Results: {place / sweeps.RESULTS}, {place / sweeps.SUMMARY}")
    raise typer.Exit(FAILED if outcome.n_failed else DONE)


def _result(row: dict[str, Any]) -> str:
    """Return how a run has ended."""
    if row["error"] is not None:
        return f"failed: {row['error']}"
    part = "validation" if row["validation_loss"] is not None else "train"
    numbers = [
        f"{part} {name} {row[f'{part}_{name}']:.4f}"
        for name in ("loss", "score")
        if row[f"{part}_{name}"] is not None
    ]
    return ", ".join([*numbers, f"{row['epochs']} epochs"])


def command() -> Any:
    """Return the command with a flag for each setting, which take a while to make."""
    app = typer.Typer(add_completion=False, rich_markup_mode="rich")
    app.command("sweep", help=as_help(HELP + EXIT_CODES))(with_settings(sweep))
    return get_command(app)
