"""One run of an experiment, from its settings to the files in its folder."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from fastmlp.callbacks import Callback, JSONLinesLog
from fastmlp.experiments import curves, data, models, runs
from fastmlp.experiments.environment import environment, now, peak_memory
from fastmlp.experiments.settings import Settings, in_seconds
from fastmlp.experiments.signals import Signals

DONE, STOPPED, INTERRUPTED, FAILED = "done", "stopped", "interrupted", "failed"


@dataclass(frozen=True)
class Plan:
    """What a run is about to do, for who looks on."""

    settings: Settings
    folder: Path
    tables: data.Tables
    n_updates: int  # in an epoch
    goes_on: bool


def _nothing(_: Any) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Audience:
    """Who is told of a run.

    Attributes
    ----------
    watch : callable
        Returns callbacks of the solver for a `Plan`.
    warn : callable
        Takes a sentence.
    """

    watch: Callable[[Plan], list[Any]] = lambda plan: []
    warn: Callable[[str], None] = _nothing


@dataclass
class Outcome:
    """How a run has ended."""

    folder: Path | None  # None: it was interrupted before it had one
    status: str
    message: str
    metrics: dict[str, Any] = field(default_factory=dict)
    signal: int | None = None  # that has interrupted it
    was_complete: bool = False  # before anything was done


class _First(Callback):
    """Comes before other callbacks."""

    def __init__(self, signals: Signals) -> None:
        self.signals = signals

    def on_epoch_end(self, state: Any) -> None:
        """Have signals wait."""
        self.signals.waits = True


class _Last(Callback):
    """Comes after other callbacks; remembers how the solver has ended."""

    result: Any = None

    def __init__(self, signals: Signals) -> None:
        self.signals = signals

    def on_epoch_end(self, state: Any) -> None:
        """Stop where a signal has come meanwhile."""
        self.signals.waits = False
        if self.signals.received is not None:
            raise StopIteration

    def on_end(self, result: Any) -> None:
        """Take note."""
        self.signals.waits, self.result = False, result


def begin(settings: Settings, folder: Path | None, audience: Audience) -> Outcome:
    """Do a new run.

    Parameters
    ----------
    settings : Settings
    folder : Path, optional
        Where, not to exist yet; by default the next of the name in ``run.folder``.
    audience : Audience

    Raises
    ------
    ValueError, OSError, ImportError, MemoryError
        For data and settings that do not fit, and where training diverges.
    """
    with contextlib.ExitStack() as held:
        return _Attempt(settings, folder, audience, held, goes_on=False).outcome()


def go_on(folder: Path, settings: Settings, audience: Audience) -> Outcome:
    """Go on with the run in a folder; it ends on the same bits as one that was never stopped."""
    with contextlib.ExitStack() as held:
        held.enter_context(runs.locked(folder))
        metrics = runs.read_json(folder / runs.METRICS)
        status, message = metrics.get("status"), str(metrics.get("message"))
        is_same = settings == runs.read_settings(folder) and (folder / runs.MODEL).is_file()
        if status in (DONE, STOPPED) and is_same:
            return Outcome(folder, status, message, metrics, was_complete=True)
        return _Attempt(settings, folder, audience, held, goes_on=True).outcome()


class _Attempt:
    """The work on a run from the start of the process to its end."""

    def __init__(
        self,
        settings: Settings,
        folder: Path | None,
        audience: Audience,
        held: contextlib.ExitStack,
        goes_on: bool,
    ) -> None:
        self.settings, self.folder, self.audience, self.held = settings, folder, audience, held
        self.goes_on, self.signals = goes_on, Signals()
        self.has_begun = goes_on  # and has a folder
        self.metrics: dict[str, Any] = {}

    def outcome(self) -> Outcome:
        """Do what is to be done."""
        try:
            with self.signals.caught(), warnings.catch_warnings():
                self._translate_warnings()
                status, message = self._train()
        except (KeyboardInterrupt, Exception) as error:
            # After a signal any error may come of it: an import cut short is an ImportError.
            if not isinstance(error, KeyboardInterrupt) and self.signals.received is None:
                if self.has_begun:
                    self._write_metrics(FAILED, str(error) or type(error).__name__)
                raise
            status, message = INTERRUPTED, self._interrupted()
        if self.has_begun:
            self._write_metrics(status, message)
        folder = self.folder if self.has_begun else None
        return Outcome(folder, status, message, self.metrics, self.signals.received)

    def _translate_warnings(self) -> None:
        from sklearn.exceptions import ConvergenceWarning

        warnings.simplefilter("default")
        warnings.filterwarnings("ignore", category=ConvergenceWarning)  # the message says so
        warnings.filterwarnings("ignore", message="Training interrupted by user")
        warnings.showwarning = lambda message, *_, **__: self.audience.warn(str(message))

    def _train(self) -> tuple[str, str]:
        from fastmlp.models import save

        tables = data.tables(self.settings)
        settings = models.resolved(self.settings, tables)
        first, last = _First(self.signals), _Last(self.signals)
        model = models.estimator(settings, tables, [])
        folder = self.folder = self._prepared_folder(settings)
        n_updates = models.n_updates(settings, len(tables.train))
        plan = Plan(settings, folder, tables, n_updates, self.goes_on)
        log = JSONLinesLog(folder / runs.LOG)
        model.callbacks = [first, log, *self.audience.watch(plan), last]
        parts = {"train": tables.train, "validation": tables.validation, "test": tables.test}
        given = {name: table for name, table in parts.items() if table is not None}
        self.metrics |= {
            "task": tables.task,
            "rows": {name: len(table) for name, table in given.items()},
            "rows_dropped": {name: table.n_dropped for name, table in given.items()},
        }
        began = time.perf_counter()
        try:
            self._fit(model, tables)
        finally:
            self._record(last.result, time.perf_counter() - began)
        if self.signals.received is not None:
            return INTERRUPTED, self._interrupted()
        model.callbacks = None  # they are of this process
        save(folder / runs.MODEL, model)
        self.metrics |= {name: models.evaluate(model, table) for name, table in given.items()}
        self.metrics["objective"] = float(model.loss_)
        if settings.run.plots:
            try:
                curves.draw(folder / runs.LOG, folder / runs.CURVES)
            except ImportError as error:
                self.audience.warn(str(error))
        return (STOPPED if last.result.status == 1 else DONE), str(last.result.message)

    def _prepared_folder(self, settings: Settings) -> Path:
        """Return the folder, with what is written before the training."""
        about = environment()
        if self.goes_on:
            assert self.folder is not None
            if before := runs.read_json(self.folder / runs.ENVIRONMENT):
                again = before.get("resumed", [])
                about = {**before, "resumed": [*again, about]}
            folder = self.folder
        elif self.folder is not None:
            folder = runs.create(self.folder)
        else:
            folder = runs.create_next(Path(settings.run.folder), settings.run.name or "run")
        if not self.goes_on:
            self.held.enter_context(runs.locked(folder))
        self.has_begun = True
        runs.write_settings(folder, settings)
        runs.write_json(folder / runs.ENVIRONMENT, about)
        return folder

    def _fit(self, model: Any, tables: data.Tables) -> None:
        from fastmlp.solvers.checkpoints import Checkpoints

        assert self.folder is not None
        run = self.settings.run
        checkpoints = Checkpoints(
            self.folder / runs.CHECKPOINT,
            every=_interval(run.checkpoint_every),
            keep=run.keep,
            keep_best=True,
        )
        held_out = tables.validation
        more = {} if held_out is None else {"X_val": held_out.X, "y_val": held_out.y}
        train = tables.train
        model.fit(train.X, train.y, **more, checkpoint=checkpoints, resume=self.goes_on)

    def _record(self, result: Any, seconds: float) -> None:
        """Take note of how far the training has come."""
        if result is None:
            return
        history = result.history.get("seconds", np.empty(0))
        n = len(history)
        self.metrics |= {
            "epochs": int(result.get("n_epochs", result.nit)),
            "updates": int(result.nit),
            "seconds": float(history[-1]) if n else seconds,
        }
        if n > 1 and history[-1] > history[0]:  # in the first one, kernels are compiled
            rows = (n - 1) * self.metrics["rows"]["train"]
            self.metrics["samples_per_second"] = rows / float(history[-1] - history[0])

    def _interrupted(self) -> str:
        epochs = self.metrics.get("epochs")
        return "Interrupted." if epochs is None else f"Interrupted after {epochs} epochs."

    def _write_metrics(self, status: str, message: str) -> None:
        assert self.folder is not None
        head = {"status": status, "message": message}
        self.metrics = {
            **head, **self.metrics, "peak_memory_bytes": peak_memory(), "ended": now(),
        }  # fmt: skip
        runs.write_json(self.folder / runs.METRICS, self.metrics)


def _interval(text: int | str) -> int | timedelta:
    """Return the number of epochs, or the time, that `checkpoint_every` means."""
    return text if isinstance(text, int) else timedelta(seconds=in_seconds(text))
