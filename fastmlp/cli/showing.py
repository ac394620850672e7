"""What `fastmlp train` shows of a run."""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
from rich.table import Table

from fastmlp.callbacks import Callback, ProgressBar
from fastmlp.cli import show
from fastmlp.cli.common import DONE, code_of_signal, tell_warning
from fastmlp.experiments import describing, runs, training
from fastmlp.experiments.settings import FULL_BATCH

# At most one line about epochs in so many seconds, where there is no terminal.
SECONDS = 5.0
# The bar moves this often in an epoch, but not after fewer updates than that.
MOVES, FEWEST_UPDATES = 20, 100


class Showing:
    """Shows runs, on a terminal with a bar, elsewhere in plain lines.

    Parameters
    ----------
    quiet, verbose : bool
    """

    def __init__(self, quiet: bool, verbose: bool) -> None:
        self.quiet, self.verbose = quiet, verbose
        self.console = show.console()

    def audience(self) -> training.Audience:
        """Return who is told of a run."""
        return training.Audience(watch=self._watch, warn=self._warn)

    def _warn(self, message: str) -> None:
        if not self.quiet:
            tell_warning(message)

    def _watch(self, plan: training.Plan) -> list[Any]:
        if self.quiet:
            return []
        self._show_plan(plan)
        if self.verbose or not all(map(show.is_terminal, (sys.stdout, sys.stderr))):
            return [_Lines(self.say, plan, 0.0 if self.verbose else SECONDS)]
        if plan.settings.solver.name in FULL_BATCH:
            return [ProgressBar()]
        return [ProgressBar(max(plan.n_updates // MOVES, FEWEST_UPDATES))]

    def say(self, text: str) -> None:
        """Write a line, with the time where there is no terminal; nothing if that is wanted."""
        if self.quiet:
            return
        if not show.is_terminal(sys.stdout):
            text = f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text}"
        self.console.print(text)

    def _show_plan(self, plan: training.Plan) -> None:
        settings, train = plan.settings, plan.tables.train
        if self.verbose:
            shown = runs.as_tree(settings)
            for section, values in shown.items():
                for name, value in values.items():
                    self.say(f"{section}.{name} = {describing.toml_value(value)}")
        n_inputs = train.X.shape[1]
        what = plan.tables.task
        if what == "classification" and train.y.ndim == 1:
            what += f" of {len(np.unique(train.y))} classes"
        widths = ", ".join(map(str, settings.network.hidden)) or "none"
        self.say(
            f"{'Going on in' if plan.goes_on else 'Run'} {plan.folder}: {what}, {len(train):,} "
            f"rows of {n_inputs} features, hidden widths {widths}, {settings.solver.name}"
        )

    def show(self, outcome: training.Outcome) -> None:
        """Show how a run has ended."""
        folder = outcome.folder
        if outcome.status == training.INTERRUPTED:
            told = outcome.message
            if folder is not None:
                told += f" Go on with: fastmlp train --resume {folder}"
            show.console(stderr=True).print(told)
            return
        if self.quiet:
            return
        if outcome.was_complete:
            self.say(f"{folder} is complete: {outcome.message}")
            return
        self.say(outcome.message)
        metrics = outcome.metrics
        scored = [name for name in ("train", "validation", "test") if name in metrics]
        if show.is_terminal(sys.stdout):
            table = Table()
            for column in ("", "rows", "loss", "score"):
                table.add_column(column, justify="left" if not column else "right")
            for name in scored:
                table.add_row(name, f"{metrics['rows'][name]:,}", *_numbers(metrics[name]))
            self.console.print(table)
        else:
            for name in scored:
                loss, score = _numbers(metrics[name])
                self.say(f"{name}: loss {loss}, score {score}")
        speed = metrics.get("samples_per_second")
        told = f"{metrics['epochs']} epochs in {metrics['seconds']:.1f} s"
        self.say(told if speed is None else f"{told}, {speed:,.0f} rows/s")
        self.say(f"Model: {folder / runs.MODEL if folder else None}")


class _Lines(Callback):
    """A line about epochs now and then, and about the last one."""

    def __init__(self, say: Any, plan: training.Plan, seconds: float) -> None:
        self.say, self.n, self.seconds = say, plan.settings.solver.epochs, seconds
        self.told, self.line = -np.inf, ""

    def on_epoch_end(self, state: Any) -> None:
        """Tell of the epoch, if it is time."""
        history = state.history
        values = {"loss": state.fun}
        for name in ("validation_loss", "validation_score"):
            if name in history:
                values[name.replace("_", " ")] = history[name][-1]
        shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        self.line = f"epoch {state.n_epochs}/{self.n}: {shown}"
        if time.monotonic() - self.told >= self.seconds:
            self._tell()

    def on_end(self, result: Any) -> None:
        """Tell of the last epoch."""
        if self.line:
            self._tell()

    def _tell(self) -> None:
        self.say(self.line)
        self.told, self.line = time.monotonic(), ""


def _numbers(part: dict[str, float | None]) -> list[str]:
    return ["-" if part[name] is None else f"{part[name]:.4f}" for name in ("loss", "score")]


def exit_code(outcome: training.Outcome) -> int:
    """Return the exit code for how a run has ended."""
    interrupted = outcome.status == training.INTERRUPTED
    return code_of_signal(outcome.signal) if interrupted else DONE
