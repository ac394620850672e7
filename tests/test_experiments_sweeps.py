"""Sweeps: which trials there are, their tables, and going on."""

import csv
import math
import os
import statistics
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cases_experiments import experiment, fastmlp, metrics
from fastmlp.experiments import reading, runs, sweeps, training
from fastmlp.experiments.reading import SettingsError

GRID = """
[solver]
epochs = 2
[sweep]
seeds = 2
[sweep.parameters]
"solver.step" = [0.01, 0.1, 1e305]
"network.hidden" = [[3], [4, 2]]
"""
FINE = GRID.replace(", 1e305", "")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(path):
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def trials(folder, text):
    return sweeps.trials(reading.read(experiment(folder, text)))


# Which trials --------------------------------------------------------------------------------


def test_a_grid_is_all_combinations_with_all_seeds(folder):
    found = trials(folder, FINE)
    assert [(t.setting, t.seed) for t in found] == [(s, k) for s in (1, 2, 3, 4) for k in (0, 1)]
    expected = [(step, hidden) for step in (0.01, 0.1) for hidden in ([3], [4, 2])]
    assert [(t.settings.solver.step, t.settings.network.hidden) for t in found[::2]] == expected
    assert [t.settings.run.seed for t in found] == [0, 1] * 4
    assert [t.name for t in found[:2]] == ["trial-001", "trial-002"]


DRAWN = """
[sweep]
method = "random"
n = 40
[sweep.parameters]
"solver.step" = {low = 1e-4, high = 0.1, log = true}
"solver.batch_size" = {low = 4, high = 7}
"solver.l2" = {low = 1, high = 2.0}
"solver.name" = ["adam", "sgd"]
"""


def test_drawn_settings_are_within_their_ranges_and_the_same_for_the_same_seed(folder):
    found = trials(folder, DRAWN)
    assert len(found) == 40
    steps = [t.settings.solver.step for t in found]
    assert all(1e-4 <= step <= 0.1 for step in steps)
    assert 10 < sum(step < math.sqrt(1e-4 * 0.1) for step in steps) < 30  # by their logarithms
    assert {t.settings.solver.batch_size for t in found} == {4, 5, 6, 7}
    assert all(1 <= t.settings.solver.l2 <= 2 for t in found)
    assert {t.settings.solver.name for t in found} == {"adam", "sgd"}
    assert found == trials(folder, DRAWN)
    assert found != trials(folder, DRAWN.replace("n = 40", "n = 40\nseed = 1"))


def test_seeds_may_be_listed(folder):
    found = trials(folder, FINE.replace("seeds = 2", "seeds = [7, 3]"))
    assert [t.seed for t in found[:3]] == [7, 3, 7]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "sweep.parameters is empty"),
        ('[sweep.parameters]\n"solver.step" = [0.1, -1]', "solver.step must be a number above 0"),
        ('[sweep.parameters]\n"run.seed" = [0, 1]', "for seeds: sweep.seeds"),
        ('[sweep.parameters]\n"solver.step" = []', "sweep.parameters must be a table"),
        (
            '[sweep]\nmethod = "random"\n'
            '[sweep.parameters]\n"solver.step" = {low = 0, high = 1, log = true}',
            "low must be below high, and above 0 with log; got 0 and 1",
        ),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_done(folder, text, told):
    done = fastmlp("sweep", experiment(folder, text))
    assert done.exit_code == 2
    assert told in done.stderr
    assert not Path("runs").exists()


# Tables --------------------------------------------------------------------------------------


def test_the_tables_are_those_of_the_runs(folder):
    done = fastmlp("sweep", experiment(folder, GRID))
    assert done.exit_code == 1  # some have failed
    assert "4 of 12 runs have failed" in done.stdout
    assert done.stderr == ""
    sweep = Path("runs/small-sweep-001")
    rows = table(sweep / "results.csv")
    assert [row["status"] for row in rows] == ["done"] * 8 + ["failed"] * 4
    for row in rows[:8]:
        found = metrics(sweep / f"trial-{int(row['trial']):03d}")
        assert float(row["validation_score"]) == found["validation"]["score"]
        assert float(row["train_loss"]) == found["train"]["loss"]
        assert row["error"] == row["test_loss"] == ""
    assert "non-finite" in rows[-1]["error"]
    summary = table(sweep / "summary.csv")
    assert len(summary) == 6
    for line in summary[:4]:
        losses = [float(r["validation_loss"]) for r in rows if r["setting"] == line["setting"]]
        assert float(line["validation_loss_mean"]) == pytest.approx(statistics.mean(losses))
        assert float(line["validation_loss_std"]) == pytest.approx(statistics.stdev(losses))
        assert line["runs"] == "2"
    assert (summary[-1]["runs"], summary[-1]["failed"]) == ("0", "2")
    best = max(summary[:4], key=lambda line: float(line["validation_score_mean"]))
    assert f"Best: solver.step = {best['solver.step']}, network.hidden = " in done.stdout
    columns = pq.read_table(sweep / "results.parquet").to_pydict()
    assert columns["solver.step"] == [float(row["solver.step"]) for row in rows]


def test_values_of_several_kinds_and_no_pyarrow(folder, monkeypatch):
    text = '[solver]\nepochs = 1\n[sweep.parameters]\n"solver.batch_size" = ["auto", 32]'
    path = experiment(folder, text)
    assert fastmlp("sweep", path, "-q").exit_code == 0
    columns = pq.read_table("runs/small-sweep-001/results.parquet").to_pydict()
    assert columns["solver.batch_size"] == ["auto", "32"]
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    done = fastmlp("sweep", path, "--folder", "x", "-q")
    assert (done.exit_code, done.output, done.exception) == (0, "", None)
    assert table("x/results.csv")[1]["solver.batch_size"] == "32"
    assert not Path("x/results.parquet").exists()


# Going on ------------------------------------------------------------------------------------


def numbers(path):
    """Return a sweep's results without times."""
    return [{k: v for k, v in row.items() if k != "seconds"} for row in table(path)]


def test_a_sweep_that_was_stopped_goes_on_to_the_same_results(folder, monkeypatch):
    path = experiment(folder, FINE.replace("epochs = 2", "epochs = 6"))
    whole = fastmlp("sweep", path)
    assert whole.exit_code == 0
    stop = 20  # epochs in all: within the fourth run

    class Stops:
        def on_epoch_end(self, state):
            nonlocal stop
            stop -= 1
            if stop == 0:
                os.kill(os.getpid(), 2)

    plain = training.Audience
    monkeypatch.setattr(
        training, "Audience", lambda watch=None, warn=None: plain(lambda plan: [Stops()], warn)
    )
    done = fastmlp("sweep", path)
    assert done.exit_code == 130
    assert "Interrupted after 3 of 8 runs. Go on with: fastmlp sweep --resume runs/small-sw" in (
        done.stderr
    )
    half = Path("runs/small-sweep-002")
    assert len(table(half / "results.csv")) == 3
    assert metrics(half / "trial-004")["epochs"] == 2
    models = {p: p.stat().st_mtime_ns for p in half.glob("*/model.safetensors")}
    (half / "trial-005").mkdir()  # as if killed before anything was written there
    assert fastmlp("sweep", "--resume", half).exit_code == 0
    assert numbers(half / "results.csv") == numbers("runs/small-sweep-001/results.csv")
    assert {p: p.stat().st_mtime_ns for p in models} == models
    again = fastmlp("sweep", "--resume", half)
    assert again.exit_code == 0
    assert numbers(half / "results.csv") == numbers("runs/small-sweep-001/results.csv")


@pytest.mark.parametrize(
    "text", [
        DRAWN,
        FINE + '"solver.class_weight" = [{no = 1.0, "y \\"s" = 2.0}]\n"solver.l2" = [0]',
    ],
)  # fmt: skip
def test_the_file_of_a_sweep_has_the_same_trials(folder, text):
    settings = reading.read(experiment(folder, text))
    again = sweeps.read_settings(sweeps.prepared(settings, None))
    assert sweeps.trials(again) == sweeps.trials(settings)
    assert list(again.sweep.parameters) == list(settings.sweep.parameters)


def test_a_sweep_that_is_another_one_now_is_not_mixed_up(folder):
    fastmlp("sweep", experiment(folder, FINE), "-q")
    sweep = Path("runs/small-sweep-001")
    text = (sweep / "sweep.toml").read_text()
    (sweep / "sweep.toml").write_text(text.replace("[0.01, 0.1]", "[0.02, 0.1]"))
    assert fastmlp("sweep", "--resume", sweep, "-q").exit_code == 1
    rows = table(sweep / "results.csv")
    assert [row["status"] for row in rows] == ["failed"] * 4 + ["done"] * 4
    assert "is of solver.step = 0.01, sweep.toml has 0.02 for it" in rows[0]["error"]


@pytest.mark.skipif(os.name != "posix", reason="needs locks")
def test_a_sweep_is_of_one_process_at_a_time(folder):
    assert fastmlp("sweep", experiment(folder, FINE), "-q").exit_code == 0
    with runs.locked(Path("runs/small-sweep-001")):
        done = fastmlp("sweep", "--resume", "runs/small-sweep-001", "-q")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "error: runs/small-sweep-001 is in use by another process\n"


def test_resume_needs_a_sweep_and_nothing_else(folder):
    path = experiment(folder)
    assert "holds no sweep" in fastmlp("sweep", "--resume", "x").stderr
    assert fastmlp("sweep", path, "--resume", "x").exit_code == 2


def test_the_best_is_by_what_there_is():
    line = {"train_loss_mean": 1.0, "validation_loss_mean": None, "validation_score_mean": None}
    outcome = sweeps.SweepOutcome(Path(), 2, summary=[line, {**line, "train_loss_mean": 0.5}])
    assert outcome.best()["train_loss_mean"] == 0.5
    assert sweeps.SweepOutcome(Path(), 2).best() is None


def test_trials_are_checked_by_name(folder):
    with pytest.raises(SettingsError, match=r"did you mean solver\.step\?"):
        trials(folder, '[sweep.parameters]\n"solver.stepp" = [1]')
