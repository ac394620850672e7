"""Sweeps: many runs of one experiment, with other settings and seeds, and a table of them."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import shutil
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tomli_w

from fastmlp.experiments import describing, reading, runs, training
from fastmlp.experiments.reading import Override, SettingsError
from fastmlp.experiments.settings import Range, Settings
from fastmlp.experiments.signals import Signals

SWEEP = "sweep.toml"
RESULTS, PARQUET, SUMMARY = "results.csv", "results.parquet", "summary.csv"
_PARTS, _NUMBERS = ("train", "validation", "test"), ("loss", "score")
MEASURES = tuple(f"{part}_{number}" for part in _PARTS for number in _NUMBERS)
# What the best setting is chosen by: the first of these that there is, and whether more is better.
_GOALS = (
    ("validation_score", True), ("validation_loss", False), ("train_loss", False),
)  # fmt: skip


class Trial(NamedTuple):
    """One run of a sweep."""

    number: int  # from 1
    setting: int  # from 1, of those with the same parameters
    parameters: dict[str, Any]
    seed: int
    settings: Settings

    @property
    def name(self) -> str:
        """Return the name of its folder."""
        return f"trial-{self.number:03d}"


@dataclass
class SweepOutcome:
    """How a sweep has ended.

    Attributes
    ----------
    rows : list of dict
        Of the trials done, as in results.csv.
    summary : list of dict
        Of the settings, as in summary.csv.
    """

    folder: Path
    n_trials: int
    rows: list[dict[str, Any]] = field(default_factory=list)
    summary: list[dict[str, Any]] = field(default_factory=list)
    is_interrupted: bool = False
    signal: int | None = None

    @property
    def n_failed(self) -> int:
        """Return how many trials have failed."""
        return sum(row["status"] == training.FAILED for row in self.rows)

    def best(self) -> dict[str, Any] | None:
        """Return the row of the summary with the best mean; None where none has one."""
        for measure, more in _GOALS:
            key = f"{measure}_mean"
            found = [row for row in self.summary if row.get(key) is not None]
            if found:
                return (max if more else min)(found, key=lambda row: float(row[key]))
        return None


def trials(settings: Settings) -> list[Trial]:
    """Return all trials of a sweep, the seeds of each setting one after the other.

    Raises
    ------
    SettingsError
        Where there is nothing to try, and for values that do not fit.
    """
    sweep = settings.sweep
    if isinstance(sweep.seeds, int):
        seeds = [settings.run.seed + i for i in range(sweep.seeds)]
    else:
        seeds = sweep.seeds
    if not sweep.parameters and len(seeds) == 1:
        raise SettingsError(["sweep.parameters is empty: which settings to try"])
    found: list[Trial] = []
    problems: list[str] = []
    for setting, parameters in enumerate(_drawn(settings), 1):
        changes = [Override(name, value, "sweep.parameters") for name, value in parameters.items()]
        for seed in seeds:
            try:
                changed = reading.changed(settings, [*changes, Override("run.seed", seed, "seeds")])
            except SettingsError as error:
                problems += error.problems
                break
            found.append(Trial(len(found) + 1, setting, parameters, seed, changed))
    if problems:
        raise SettingsError(problems)
    return found


def _drawn(settings: Settings) -> Iterator[dict[str, Any]]:
    """Yield the parameters of each setting."""
    sweep = settings.sweep
    names = list(sweep.parameters)
    if sweep.method == "grid":
        for values in itertools.product(*(sweep.parameters[name] for name in names)):
            yield dict(zip(names, values, strict=True))
        return
    rng = np.random.default_rng(sweep.seed)
    for _ in range(sweep.n if names else 1):
        yield {name: _one(rng, sweep.parameters[name]) for name in names}


def _one(rng: np.random.Generator, choices: list[Any] | Range) -> Any:
    if isinstance(choices, list):
        return choices[int(rng.integers(len(choices)))]
    low, high = choices.low, choices.high
    if isinstance(low, int) and isinstance(high, int) and not choices.log:
        return int(rng.integers(low, high, endpoint=True))
    if not choices.log:
        return float(rng.uniform(low, high))
    number = math.exp(rng.uniform(math.log(low), math.log(high)))
    number = min(max(number, low), high)
    return round(number) if isinstance(low, int) and isinstance(high, int) else float(number)


def prepared(settings: Settings, folder: Path | None) -> Path:
    """Return the folder of a new sweep, with its settings in it."""
    if folder is not None:
        runs.create(folder)
    else:
        name = f"{settings.run.name or 'run'}-sweep"
        folder = runs.create_next(Path(settings.run.folder), name)
    tree = settings.model_dump(exclude_none=True)
    parameters = tree["sweep"].pop("parameters")
    # In their order, by which they are drawn: `tomli_w` has tables behind all else.
    lines = [
        f"{describing.toml_value({name: value})[1:-1]}\n" for name, value in parameters.items()
    ]
    text = f"{tomli_w.dumps(tree)}\n[sweep.parameters]\n{''.join(lines)}"
    runs.write_bytes(folder / SWEEP, text.encode())
    return folder


def read_settings(folder: Path) -> Settings:
    """Return the settings of the sweep in a folder."""
    if not (folder / SWEEP).is_file():
        raise SettingsError([f"--resume: {folder} holds no sweep: it has no {SWEEP}"])
    return reading.read(folder / SWEEP)


def run(
    settings: Settings,
    folder: Path,
    audience: training.Audience,
    tell: Callable[[Trial, dict[str, Any]], None],
) -> SweepOutcome:
    """Do the trials that are not done, one after the other; a failed one does not end the sweep.

    Parameters
    ----------
    settings : Settings
    folder : Path
        As `prepared` returns it; one that was stopped goes on.
    audience : training.Audience
    tell : callable
        Takes each trial once it has ended, and its row.
    """
    every = trials(settings)
    outcome, signals = SweepOutcome(folder, len(every)), Signals()
    with runs.locked(folder), signals.caught():
        try:
            for trial in every:
                row, signal = _row(trial, folder, audience)
                outcome.signal = signals.received if signal is None else signal
                if row["status"] == training.INTERRUPTED:
                    outcome.is_interrupted = True
                    break
                outcome.rows.append(row)
                _write(outcome, list(settings.sweep.parameters))
                tell(trial, row)
                if outcome.signal is not None and len(outcome.rows) < len(every):
                    outcome.is_interrupted = True  # an error that it came as was taken for another
                    break
        except KeyboardInterrupt:
            outcome.is_interrupted, outcome.signal = True, signals.received
    return outcome


def _row(
    trial: Trial, folder: Path, audience: training.Audience
) -> tuple[dict[str, Any], int | None]:
    """Do a trial; return its row, and the signal that has come meanwhile."""
    place = folder / trial.name
    error, signal, metrics = None, None, {}
    try:
        if (place / runs.SETTINGS).is_file():
            before = runs.read_settings(place)
            _require_same(before, trial, place)
            done = training.go_on(place, before, audience)
        else:  # one that was killed at once has left nothing but an empty folder
            shutil.rmtree(place, ignore_errors=True)
            done = training.begin(trial.settings, place, audience)
        metrics, signal = done.metrics, done.signal
        status = done.status
    except (ValueError, TypeError, OSError, ImportError, MemoryError) as problem:
        status, error = training.FAILED, " ".join(str(problem).split())
    row = {
        "trial": trial.number, "setting": trial.setting, "seed": trial.seed,
        **{name: _cell(value) for name, value in trial.parameters.items()},
        "status": status, "epochs": metrics.get("epochs"), "seconds": metrics.get("seconds"),
    }  # fmt: skip
    for part in _PARTS:
        row |= {f"{part}_{number}": metrics.get(part, {}).get(number) for number in _NUMBERS}
    return {**row, "error": error}, signal


def _require_same(before: Settings, trial: Trial, place: Path) -> None:
    """Raise where a folder is of another trial than the sweep's file has by its number."""
    for name in (*trial.parameters, "run.seed"):
        section, setting = name.split(".")
        was, now = (getattr(getattr(one, section), setting) for one in (before, trial.settings))
        if was != now and now != "auto":
            raise ValueError(
                f"{place} is of {name} = {_cell(was)}, {SWEEP} has {_cell(now)} for it: "
                f"{SWEEP} has been changed since"
            )


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, (list, dict)) else value


def _write(outcome: SweepOutcome, names: list[str]) -> None:
    """Write the tables of all trials so far."""
    outcome.summary = _summary(outcome.rows, names)
    _write_csv(outcome.folder / RESULTS, outcome.rows)
    _write_csv(outcome.folder / SUMMARY, outcome.summary)
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        return
    columns = {name: [row[name] for row in outcome.rows] for name in outcome.rows[0]}
    for name, values in columns.items():
        kinds = {type(value) for value in values if value is not None}
        if len(kinds) > 1 and kinds != {int, float}:
            columns[name] = [None if value is None else str(value) for value in values]
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    runs.write_bytes(outcome.folder / PARQUET, buffer.getvalue())


def _summary(rows: list[dict[str, Any]], names: list[str]) -> list[dict[str, Any]]:
    """Return means and (sample) standard deviations over the seeds of each setting."""
    found = []
    for setting in dict.fromkeys(row["setting"] for row in rows):
        same = [row for row in rows if row["setting"] == setting]
        done = [row for row in same if row["status"] != training.FAILED]
        line: dict[str, Any] = {"setting": setting, **{name: same[0][name] for name in names}}
        line |= {"runs": len(done), "failed": len(same) - len(done)}
        for measure in MEASURES:
            values = [row[measure] for row in done if row[measure] is not None]
            line[f"{measure}_mean"] = statistics.fmean(values) if values else None
            line[f"{measure}_std"] = statistics.stdev(values) if len(values) > 1 else None
        found.append(line)
    return found


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    runs.write_bytes(path, text.getvalue().encode())
