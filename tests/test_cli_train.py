"""`fastmlp train`: runs, their folders, and what is told."""

import io
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest

import fastmlp as fm
from cases import run_child
from cases_experiments import experiment, fastmlp, metrics, write_table
from fastmlp.cli import main, show
from fastmlp.experiments import reading, runs

FILES = {
    "settings.toml", "environment.json", "log.jsonl", "metrics.json", "model.safetensors",
    "checkpoint.safetensors", "checkpoint.safetensors.best",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def parameters(run):
    return fm.load(Path(run) / "model.safetensors").parameters_


# Runs ----------------------------------------------------------------------------------------


def test_a_run(folder):
    write_table("test.csv", 50, seed=1)
    done = fastmlp("train", experiment(folder), "--data.test", "test.csv", "--solver.epochs", 3)
    assert (done.exit_code, done.stderr) == (0, "")
    run = folder / "runs" / "small-001"
    assert {path.name for path in run.iterdir()} == FILES
    found = metrics(run)
    assert found["status"] == "done"
    assert (found["epochs"], found["task"]) == (3, "classification")
    assert found["rows"] == {"train": 160, "validation": 40, "test": 50}
    assert found["peak_memory_bytes"] > 10**7
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [row["n_epochs"] for row in log] == [1, 2, 3]
    assert log[-1]["validation_score"] == pytest.approx(found["validation"]["score"])
    assert log[-1]["validation_loss"] == pytest.approx(found["validation"]["loss"], rel=1e-5)
    told = done.stdout.splitlines()
    assert all(line[:2] == "20" for line in told)  # with the time
    assert "epoch 3/3" in done.stdout
    assert told[-1].endswith("Model: runs/small-001/model.safetensors")
    written = tomllib.loads((run / "settings.toml").read_text())
    assert written["solver"]["epochs"] == 3
    about = json.loads((run / "environment.json").read_text())
    assert about["versions"]["fastmlp"] == fm.__version__
    assert about["cpu"]["name"]


def test_the_loss_and_score_written_are_the_models(folder):
    from sklearn.metrics import log_loss

    write_table("test.csv", 50, seed=1)
    fastmlp("train", experiment(folder), "--data.test", "test.csv", "--solver.epochs", 3)
    model = fm.load("runs/small-001/model.safetensors")
    rows = fm.sources.open("test.csv", target="label")
    found = metrics("runs/small-001")["test"]
    assert found["score"] == pytest.approx(model.score(rows, rows.y))
    assert found["loss"] == pytest.approx(log_loss(rows.y, model.predict_proba(rows)), rel=1e-5)


def test_regression(folder):
    write_table("prices.csv", regression=True)
    done = fastmlp(
        "train", "--data.train", "prices.csv", "--data.target", "price", "--network.hidden", 5,
        "--solver.name", "lbfgs", "--run.plots", "false", "--network.dtype", "float64", "--quiet",
    )  # fmt: skip
    assert (done.exit_code, done.output) == (0, "")
    rows = fm.sources.open("prices.csv", target="price")
    model = fm.load("runs/run-001/model.safetensors")
    found = metrics("runs/run-001")["train"]
    assert found["score"] == pytest.approx(model.score(rows, rows.y))
    assert found["loss"] == pytest.approx(((model.predict(rows) - rows.y) ** 2).mean())


@pytest.mark.parametrize(
    "flags",
    [
        ["--solver.name", "sgd", "--solver.momentum", 0.5, "--solver.nesterov", "false"],
        ["--solver.name", "rprop"],
        ["--data.scaling", "standard"],
        ["--solver.name", "gd"],
        ["--schedule.kind", "one_cycle", "--schedule.warm_up", 2],
        ["--schedule.kind", "step_decay", "--schedule.every", 2],
        ["--solver.early_stopping", "true", "--solver.patience", 2, "--solver.epochs", 50],
        ["--solver.class_weight", "{no = 1.0, yes = 2.0}", "--network.loss_parameter", 0.1],
        ["--network.hidden", "5,4", "--network.activation", '["tanh", "relu"]'],
        ["--network.hidden", "[]", "--network.dropout", "[0.2]", "--solver.batch_size", 7],
    ],
    ids=str,
)
def test_settings_reach_the_solver(folder, flags):
    path = experiment(folder)
    done = fastmlp("train", path, "--solver.epochs", 4, *flags)
    assert done.exit_code == 0, done.output
    plain = fastmlp("train", path, "--solver.epochs", 4)
    assert plain.exit_code == 0
    first, second = parameters("runs/small-001"), parameters("runs/small-002")
    assert first.shape != second.shape or not np.array_equal(first, second)


def test_the_same_seed_the_same_bits_whatever_is_watched(folder):
    path = experiment(folder)
    fastmlp("train", path, "--solver.epochs", 3)
    fastmlp("train", path, "--solver.epochs", 3, "--quiet", "--run.threads", 1, "--run.keep", 2)
    fastmlp("train", path, "--solver.epochs", 3, "--verbose", "--run.seed", 1)
    first, second, third = (parameters(f"runs/small-00{i}") for i in (1, 2, 3))
    assert first.tobytes() == second.tobytes()
    assert first.tobytes() != third.tobytes()


def test_a_picture(folder):
    fastmlp("train", experiment(folder), "--solver.epochs", 2, "--run.plots", "true")
    assert Path("runs/small-001/curves.png").read_bytes()[:4] == b"\x89PNG"


def test_without_matplotlib_the_run_goes_on(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    done = fastmlp("train", experiment(folder), "--solver.epochs", 2, "--run.plots", "true")
    assert done.exit_code == 0
    assert 'pip install "fastmlp[plots]"' in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_names_that_the_terminal_cannot_show(folder, monkeypatch):
    stdout = io.TextIOWrapper(io.BytesIO(), "ascii")
    flags = ("--solver.epochs", "1", "--folder", "ü :smile:")
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setattr(sys, "argv", ["fastmlp", "train", str(experiment(folder)), *flags])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    stdout.flush()
    assert b"Model: \\xfc :smile:/model.safetensors" in stdout.buffer.getvalue()


def test_json_is_json_whatever_the_terminal(monkeypatch):
    stdout = io.TextIOWrapper(io.BytesIO(), "ascii", errors="backslashreplace")
    monkeypatch.setattr(sys, "stdout", stdout)
    show.as_json({"ü": "\x1f"})
    stdout.flush()
    assert json.loads(stdout.buffer.getvalue()) == {"ü": "\x1f"}


# Folders -------------------------------------------------------------------------------------


def test_folders_are_numbered(tmp_path):
    assert [runs.create_next(tmp_path / "r", "a").name for _ in range(3)] == [
        "a-001", "a-002", "a-003",
    ]  # fmt: skip
    (tmp_path / "r" / "a-017").mkdir()
    (tmp_path / "r" / "b-020").mkdir()
    assert runs.create_next(tmp_path / "r", "a").name == "a-018"


def test_a_folder_of_another_process_is_left_alone(tmp_path, monkeypatch):
    (tmp_path / "a-001").mkdir()
    monkeypatch.setattr(Path, "iterdir", lambda self: iter(()))  # it was not there a moment ago
    assert runs.create_next(tmp_path, "a").name == "a-002"


def test_a_folder_by_name(folder):
    path = experiment(folder)
    assert fastmlp("train", path, "--folder", "x/y", "--solver.epochs", 1, "-q").exit_code == 0
    assert {one.name for one in Path("x/y").iterdir()} == FILES
    again = fastmlp("train", path, "--folder", "x/y")
    assert again.exit_code == 2
    assert "x/y exists already" in again.stderr


# Errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "code", "told"),
    [
        (["--solver.stp", 1], 2, "--solver.stp"),
        (["--set", "solver.stp=1"], 2, "did you mean solver.step?"),
        (["--solver.step", 0], 2, "--solver.step: solver.step must be a number above 0; got 0"),
        (["--data.train", "none.csv"], 1, "none.csv"),
        (["--data.target", "nobody"], 1, "nobody"),
        (["--network.loss", "huber"], 1, "network.loss must be auto or log_loss"),
        (["--network.task", "regression"], 1, "needs numbers as targets; got"),
        (["--network.dtype", "float64", "--solver.step", 1e300], 1, "non-finite"),
        (["--quiet", "--verbose"], 2, "give one of them"),
        (["--resume", "runs/x"], 2, "--resume"),
    ],
)
def test_errors_take_a_line_and_have_an_exit_code(folder, flags, code, told):
    done = fastmlp("train", experiment(folder), *flags)
    assert done.exit_code == code
    assert told in " ".join(done.stderr.split())
    assert "Traceback" not in done.output
    if code == 1:
        assert len(done.stderr.splitlines()) == 1


def test_an_error_before_the_training_leaves_no_folder(folder):
    fastmlp("train", experiment(folder), "--data.target", "nobody")
    assert not Path("runs").exists()


def test_what_failed_is_on_file(folder):
    flags = ("--network.dtype", "float64", "--solver.step", 1e300)
    done = fastmlp("train", experiment(folder), *flags, "--traceback")
    assert "Traceback" in done.stderr
    assert metrics("runs/small-001")["status"] == "failed"
    assert not Path("runs/small-001/model.safetensors").exists()


# Help ----------------------------------------------------------------------------------------


def test_help_of_every_setting():
    text = fastmlp("train", "--help").output
    for name in reading.names():
        assert f"--{name}" in text
    for code in ("130  interrupted", "143  terminated"):
        assert code in text


def test_the_template(folder):
    write_table("train.csv")
    Path("x.toml").write_text(fastmlp("train", "--template").output)
    done = fastmlp("train", "x.toml", "--data.target", "label", "--solver.epochs", 1, "-q")
    assert done.exit_code == 0, done.output


def test_help_imports_next_to_nothing():
    heavy = ("numba", "numpy", "scipy", "sklearn", "matplotlib", "pydantic", "fastmlp.experiments")
    code = f"""
import contextlib, io, json, sys
from fastmlp.cli import app
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as told:
    app(["--help"])
assert "train" in told.getvalue()
print(json.dumps([name for name in {heavy} if name in sys.modules]))
"""
    assert run_child("-c", code) == []


# Going on ------------------------------------------------------------------------------------


def test_a_finished_run_has_nothing_to_go_on_with(folder):
    path = experiment(folder)
    fastmlp("train", path, "--solver.epochs", 2)
    before = Path("runs/small-001/model.safetensors").read_bytes()
    done = fastmlp("train", "--resume", "runs/small-001")
    assert done.exit_code == 0
    assert "is complete" in done.stdout
    assert Path("runs/small-001/model.safetensors").read_bytes() == before


def test_more_epochs_are_those_of_a_longer_run(folder):
    path = experiment(folder, "[solver]\nbatch_size = 16\n")
    fastmlp("train", path, "--solver.epochs", 6)
    fastmlp("train", path, "--solver.epochs", 2)
    done = fastmlp("train", "--resume", "runs/small-002", "--solver.epochs", 6)
    assert done.exit_code == 0, done.output
    assert parameters("runs/small-002").tobytes() == parameters("runs/small-001").tobytes()
    assert metrics("runs/small-002")["epochs"] == 6
    log = Path("runs/small-002/log.jsonl").read_text().splitlines()
    assert [json.loads(line)["n_epochs"] for line in log] == [1, 2, 3, 4, 5, 6]


def test_what_decides_numbers_cannot_change(folder):
    fastmlp("train", experiment(folder), "--solver.epochs", 1)
    done = fastmlp("train", "--resume", "runs/small-001", "--solver.step", 1)
    assert done.exit_code == 2
    assert "solver.step cannot change where a run goes on" in done.stderr


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_there_must_be_a_run(folder, name):
    done = fastmlp("train", "--resume", name)
    assert done.exit_code == 2
    assert "is no folder" in done.stderr or "holds no run" in done.stderr


def test_other_data_are_refused(folder):
    fastmlp("train", experiment(folder), "--solver.epochs", 1)
    write_table("train.csv", seed=5)
    done = fastmlp("train", "--resume", "runs/small-001", "--solver.epochs", 2)
    assert done.exit_code == 1
    assert "X" in done.stderr


def killed(folder, number, until, *flags):
    """Start a run in another process, send it a signal once a file is there; return its end."""
    path = os.pathsep.join(path for path in sys.path if path)
    process = subprocess.Popen(
        [sys.executable, "-c", "from fastmlp.cli import main; main()", "train", "small.toml",
         "--folder", "killed", *map(str, flags)],
        env={**os.environ, "PYTHONPATH": path}, cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    began = time.monotonic()
    while not (folder / "killed" / until).exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() - began < 300
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate(timeout=300)
    return process.returncode, errors


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)]
)
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(folder, number, code):
    flags = ("--solver.epochs", 1500, "--solver.patience", 9999, "--solver.batch_size", 8,
             "--network.dropout", 0.1, "--run.checkpoint_every", 3)  # fmt: skip
    path = experiment(folder)
    found, errors = killed(folder, number, "checkpoint.safetensors", *flags)
    assert found == code, errors
    n_done = 0
    if code > 0:
        assert errors.count("\n") == 1
        assert "Go on with: fastmlp train --resume killed" in errors
        assert metrics("killed")["status"] == "interrupted"
        n_done = metrics("killed")["epochs"]
        assert 0 < n_done < 1500
    assert not Path("killed/model.safetensors").exists()
    done = fastmlp("train", "--resume", "killed", "--solver.epochs", n_done + 100)
    assert done.exit_code == 0, done.output
    fastmlp("train", path, *flags, "--solver.epochs", metrics("killed")["epochs"])
    assert parameters("killed").tobytes() == parameters("runs/small-001").tobytes()


def test_a_run_killed_before_its_first_checkpoint_begins_anew(folder):
    path = experiment(folder)
    fastmlp("train", path, "--solver.epochs", 2)
    for name in FILES - {"settings.toml", "environment.json"}:
        Path("runs/small-001", name).rename(name)
    done = fastmlp("train", "--resume", "runs/small-001")
    assert done.exit_code == 0, done.output
    assert Path("runs/small-001/model.safetensors").read_bytes()
    assert parameters("runs/small-001").tobytes() == parameters(".").tobytes()
