"""Runs without the command line: data, metrics, signals at a given epoch."""

import json
import math
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

import fastmlp as fm
from cases_experiments import experiment, metrics, write_table
from fastmlp.experiments import data, models, reading, runs, training
from fastmlp.experiments.reading import Override, assignment
from fastmlp.experiments.training import Audience


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings_of(folder, *assignments, text=""):
    return reading.read(experiment(folder, text), map(assignment, assignments))


def begin(settings, *callbacks):
    return training.begin(settings, None, Audience(watch=lambda plan: [*callbacks]))


# Data ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("y", "task"),
    [
        (["a", "b"], "classification"),
        ([True, False], "classification"),
        ([0, 1, 2], "classification"),
        ([0.0, 1.0], "classification"),
        ([0.0, 1.5], "regression"),
        (np.arange(100), "classification"),
        (np.arange(101), "regression"),
        (np.zeros((3, 2)), "regression"),
    ],
)
def test_the_task(y, task):
    assert data.task_of(np.asarray(y)) == task


@pytest.mark.parametrize("most", [10, 2**20])
def test_the_rows_held_out(folder, most, monkeypatch):
    """At random, each row once, the same for the same seed; the rows keep their order."""
    monkeypatch.setattr(data, "MOST_STRATIFIED", most)
    whole = data.tables(settings_of(folder, "data.validation=train.csv"))
    found = data.tables(settings_of(folder, "data.validation=0.25"))
    n = len(found.validation)
    assert n == 50 if most > 200 else 30 < n < 70
    assert len(found.train) + n == 200
    rows = [whole.train.X[:].tolist().index(row) for row in found.validation.X[:].tolist()]
    assert rows == sorted(rows)
    assert rows != list(range(rows[0], rows[0] + n))
    assert (whole.train.y[rows] == found.validation.y).all()
    both = np.concatenate([found.train.X[:], found.validation.X[:]])
    assert (np.sort(both, axis=0) == np.sort(whole.train.X[:], axis=0)).all()
    again = data.tables(settings_of(folder, "data.validation=0.25"))
    assert (again.validation.X[:] == found.validation.X[:]).all()
    other = data.tables(settings_of(folder, "data.validation=0.25", "run.seed=1"))
    assert (
        other.validation.X.shape != found.validation.X.shape
        or (other.validation.X[:] != found.validation.X[:]).any()
    )


def test_files_of_other_widths_are_refused(folder):
    np.save("train.npy", np.zeros((9, 4)))
    np.save("other.npy", np.zeros((9, 2)))
    settings = reading.read(None, map(assignment, [
        "data.train=train.npy", "data.test=other.npy", "data.target=-1"
    ]))  # fmt: skip
    with pytest.raises(ValueError, match=r"data\.test has 1 columns of features, data\.train 3"):
        begin(settings)


@pytest.mark.parametrize("part", ["validation", "test"])
def test_a_label_never_seen_is_told_before_the_training(folder, part):
    write_table("other.csv", 20)
    lines = Path("other.csv").read_text().splitlines()
    lines[13] = lines[13].rpartition(",")[0] + ",perhaps"
    Path("other.csv").write_text("\n".join(lines))
    told = rf"other\.csv, line 14: the label 'perhaps' is none .*\(data\.{part}\): 'no', 'yes'"
    with pytest.raises(ValueError, match=told):
        begin(settings_of(folder, f"data.{part}=other.csv"))
    assert not Path("runs").exists()


def test_a_class_of_which_all_rows_are_held_out(folder, monkeypatch):
    settings = settings_of(folder, "data.validation=0.5")
    with Path("train.csv").open("a") as file:
        file.write("1,2,3,rare\n")
    told = r"data\.validation = 0\.5 cannot be held out of 201 rows with rows of each class"
    with pytest.raises(ValueError, match=told):
        data.tables(settings)
    monkeypatch.setattr(data, "MOST_STRATIFIED", 10)
    for seed in range(20):  # it is held out by chance
        changed = reading.changed(settings, [Override("run.seed", seed, "x")])
        if np.random.default_rng(seed).random(201, np.float32)[-1] < 0.5:
            with pytest.raises(ValueError, match=r"line 202: the label 'rare' is none"):
                data.tables(changed)
        else:
            assert data.tables(changed).validation is not None


def test_labels_that_are_numbers_in_one_file_and_texts_in_another(folder):
    settings = settings_of(folder, "data.test=test.csv", "data.validation=test.csv")
    Path("train.csv").write_text("a,b,c,label\n1,2,3,0\n4,5,6,1\n7,8,9,x\n")
    Path("test.csv").write_text("a,b,c,label\n1,2,3,1\n4,5,6,0\n")
    assert data.tables(settings).test.y.tolist() == ["1", "0"]


@pytest.mark.parametrize("part", ["validation", "test"])
def test_columns_are_found_by_their_names(folder, part):
    settings = settings_of(folder, f"data.{part}=other.csv")
    Path("other.csv").write_text("label,c,more,a,b\nyes,3,9,1,2\n")
    assert getattr(data.tables(settings), part).X[:].tolist() == [[1, 2, 3]]
    settings = settings_of(folder, f"data.{part}=other.csv", "data.columns=[1, 2]")
    assert getattr(data.tables(settings), part).X[:].tolist() == [[3, 9]]
    Path("other.csv").write_text("label,c,a,d\nyes,3,1,2\n")
    with pytest.raises(ValueError, match=r"other\.csv has no column 'b'"):
        data.tables(settings_of(folder, f"data.{part}=other.csv"))


def test_targets_are_needed(folder):
    np.save("x.npy", np.zeros((3, 2)))
    settings = reading.read(None, [assignment("data.train=x.npy")])
    with pytest.raises(ValueError, match=r"data\.target is missing: which column of .*x\.npy"):
        begin(settings)


def test_a_file_larger_than_memory_gives_the_same_bits(folder):
    """A share held out, scaling, and blocks of rows; the names of columns are remembered."""
    settings = settings_of(folder, "solver.epochs=3", "data.scaling=standard")
    begin(settings)
    rows = fm.sources.open("train.csv", target="label")
    np.save("train.npy", np.column_stack([rows[:], rows.y == "yes"]))
    names = ["data.train=train.npy", "data.target=-1", "data.memory_limit=110 MB"]
    begin(reading.changed(settings, map(assignment, names)))
    first, second = (fm.load(f"runs/small-00{i}/model.safetensors") for i in (1, 2))
    assert first.parameters_.tobytes() == second.parameters_.tobytes()
    assert first.feature_names_in_.tolist() == ["a", "b", "c"]
    assert metrics("runs/small-001")["validation"] == metrics("runs/small-002")["validation"]


# Metrics -------------------------------------------------------------------------------------


@pytest.mark.parametrize("regression", [False, True])
def test_metrics_do_not_depend_on_blocks(folder, regression, monkeypatch):
    write_table("train.csv", 50, regression=regression)
    target = "price" if regression else "label"
    names = ("data.train=train.csv", f"data.target={target}", "solver.epochs=2")
    settings = reading.read(None, map(assignment, names))
    tables = data.tables(settings)
    model = models.estimator(settings, tables, []).set_params(solver="lbfgs")
    with pytest.warns(ConvergenceWarning):
        model.fit(tables.train.X, tables.train.y)
    whole = models.evaluate(model, tables.train)
    monkeypatch.setattr(models, "BLOCK", 7)
    assert models.evaluate(model, tables.train) == pytest.approx(whole)
    assert whole["score"] == pytest.approx(model.score(tables.train.X, tables.train.y))


def test_what_is_not_finite_is_null(folder):
    write_table("train.csv", 50, regression=True)
    Path("test.csv").write_text("a,b,c,price\n1e38,1e38,-1e38,0\n1,2,3,4\n")
    names = ("data.train=train.csv", "data.target=price", "data.test=test.csv", "solver.epochs=2")
    with np.errstate(over="ignore", invalid="ignore"):
        done = begin(reading.read(None, map(assignment, [*names, "solver.step=0.9"])))
    assert done.status == "done"
    found = metrics("runs/run-001")
    assert found["train"]["loss"] > 0
    assert None in found["test"].values()


# Folders -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["metrics.json", "environment.json", "log.jsonl"])
@pytest.mark.parametrize("content", [b"", b'{"status": "do', b"\xff\n", b"[1]\n", b"{}\n"])
def test_a_damaged_folder_goes_on(folder, name, content):
    begin(settings_of(folder, "solver.epochs=2"))
    run = Path("runs/small-001")
    (run / name).write_bytes(content)
    changes = [Override("solver.epochs", 3, "x"), Override("run.plots", True, "x")]
    done = training.go_on(run, runs.read_settings(run, changes), Audience())
    assert done.status == "done"
    assert metrics(run)["epochs"] == 3
    assert (run / "curves.png").exists()
    assert json.loads((run / "environment.json").read_text())["versions"]


def test_a_run_that_has_lost_its_model_makes_it_again(folder):
    done = begin(settings_of(folder, "solver.epochs=2"))
    before = (done.folder / "model.safetensors").read_bytes()
    (done.folder / "model.safetensors").unlink()
    again = training.go_on(done.folder, runs.read_settings(done.folder), Audience())
    assert not again.was_complete
    assert (done.folder / "model.safetensors").read_bytes() == before


class Looks:
    """Tries to go on with the run that is under way."""

    def __init__(self, folder):
        self.folder, self.errors = Path(folder), []

    def on_epoch_end(self, state):
        try:
            training.go_on(self.folder, runs.read_settings(self.folder), Audience())
        except OSError as error:
            self.errors.append(str(error))


@pytest.mark.skipif(os.name != "posix", reason="needs locks")
def test_a_folder_is_of_one_process_at_a_time(folder):
    looks = Looks("runs/small-001")
    done = begin(settings_of(folder, "solver.epochs=2"), looks)
    assert looks.errors == ["runs/small-001 is in use by another process"] * 2
    more = runs.read_settings(done.folder, [Override("solver.epochs", 3, "x")])
    training.go_on(done.folder, more, Audience(watch=lambda plan: [looks]))
    assert len(looks.errors) == 3
    assert metrics(done.folder)["status"] == "done"
    with runs.locked(done.folder):  # it has been let go
        pass


# Schedules -----------------------------------------------------------------------------------


def test_schedules_are_as_long_as_the_run_and_stay_so(folder):
    settings = settings_of(
        folder, "schedule.kind=linear", "schedule.warm_up=3", "solver.batch_size=16",
        "solver.epochs=4",
    )  # fmt: skip
    begin(settings)
    written = runs.read_settings(Path("runs/small-001"))
    assert written.schedule.n_steps == 4 * 10 - 3
    log = [json.loads(line) for line in Path("runs/small-001/log.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == pytest.approx(0.001 / 37)
    longer = runs.read_settings(Path("runs/small-001"), [Override("solver.epochs", 6, "--x")])
    training.go_on(Path("runs/small-001"), longer, Audience())
    assert metrics("runs/small-001")["epochs"] == 6
    assert runs.read_settings(Path("runs/small-001")).schedule.n_steps == 37


# Signals -------------------------------------------------------------------------------------


class Kills:
    """Sends this process a signal at the end of an epoch."""

    def __init__(self, epoch, number=signal.SIGTERM):
        self.epoch, self.number = epoch, number

    def on_epoch_end(self, state):
        if state.n_epochs == self.epoch:
            os.kill(os.getpid(), self.number)


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
@pytest.mark.parametrize("solver", ["adam", "sgd", "rprop", "lbfgs", "gd", "cg", "nesterov"])
def test_a_signal_ends_the_epoch_with_a_checkpoint_to_go_on_from(folder, solver):
    settings = settings_of(
        folder, f"solver.name={solver}", "solver.epochs=6", "run.checkpoint_every=1 h"
    )
    begin(settings)
    before = signal.getsignal(signal.SIGTERM)
    done = begin(settings, Kills(3))
    assert signal.getsignal(signal.SIGTERM) == before
    assert (done.status, done.signal) == ("interrupted", signal.SIGTERM)
    run = Path("runs/small-002")
    assert metrics(run)["epochs"] == 3
    assert (run / "checkpoint.safetensors").exists()
    assert not (run / "model.safetensors").exists()
    assert training.go_on(run, runs.read_settings(run), Audience()).status == "done"
    first, second = (fm.load(f"runs/small-00{i}/model.safetensors") for i in (1, 2))
    assert first.parameters_.tobytes() == second.parameters_.tobytes()
    assert [float(x) for x in first.loss_curve_] == [float(x) for x in second.loss_curve_]
    logs = [
        [json.loads(line) for line in Path(f"runs/small-00{i}/log.jsonl").read_text().splitlines()]
        for i in (1, 2)
    ]
    for rows in logs:
        for row in rows:
            row.pop("seconds")
    assert logs[0] == logs[1]


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_a_second_signal_does_what_it_did_before(folder, monkeypatch):
    received = []
    monkeypatch.setattr(signal, "default_int_handler", None)
    before = signal.signal(signal.SIGINT, lambda number, frame: received.append(number))
    try:
        done = begin(settings_of(folder, "solver.epochs=9"), Kills(2, 2), Kills(2, 2))
    finally:
        signal.signal(signal.SIGINT, before)
    assert received == [2]
    assert done.status == "interrupted"


def test_a_callback_that_stops_the_run_makes_it_a_complete_one(folder):
    def stop(state):
        return len(state.history.loss) == 2

    done = begin(settings_of(folder, "solver.epochs=9"), stop)
    assert (done.status, done.metrics["epochs"]) == ("stopped", 2)
    assert math.isfinite(done.metrics["train"]["loss"])
