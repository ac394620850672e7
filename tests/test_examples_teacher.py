"""The large table of examples/teacher.py: reproducible shard by shard, and as hard as it says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import fastmlp as fm
from cases_experiments import fastmlp
from examples_loader import load_example

example = load_example("teacher")
SIZES = ["--rows", "2000", "--test-rows", "500", "--shard-rows", "600"]


def run(folder, *arguments):
    example.main(["--out", str(folder), *SIZES, *arguments])


def tables(folder):
    return {path.name: np.load(path) for path in folder.glob("*.npy")}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher")
    run(folder)
    return tables(folder)


def test_sizes_and_types(written):
    shapes = {name: table.shape for name, table in written.items()}
    parts = {f"part-0000{k}.npy": (600 if k < 3 else 200, 29) for k in range(4)}
    assert shapes == {"test.npy": (500, 29), **parts}
    assert {table.dtype for table in written.values()} == {np.dtype("float32")}


def test_rows_differ_from_shard_to_shard(written):
    rows = np.concatenate(list(written.values()))
    assert len(np.unique(rows, axis=0)) == len(rows) == 2500


def test_shards_do_not_depend_on_each_other(written, tmp_path):
    example.main(["--out", str(tmp_path), "--rows", "1300", "--shard-rows", "600"])
    fewer = tables(tmp_path)
    for name in ("part-00000.npy", "part-00001.npy"):
        assert_array_equal(fewer[name], written[name])
    assert_array_equal(fewer["part-00002.npy"], written["part-00002.npy"][:100])


def test_labels_are_the_teachers_but_for_the_noise():
    settings = example.Settings(noise=0.1)
    teacher = example.Teacher(settings)
    table = teacher.table(20_000, 1, 0)
    X, y = table[:, :-1] / teacher.units, table[:, -1]
    right = (teacher.net.predict(teacher.w, X)[:, 0] > 0) == y
    assert right.mean() == pytest.approx(settings.best_accuracy, abs=4 * np.sqrt(0.09 / 20_000))
    assert y.mean() == pytest.approx(0.5, abs=4 * np.sqrt(0.25 / 20_000))
    assert settings.least_log_loss == pytest.approx(-0.1 * np.log(0.1) - 0.9 * np.log(0.9))
    assert example.Settings(noise=0).least_log_loss == 0


@pytest.mark.filterwarnings("ignore:.*Maximum iterations")
def test_a_network_nearly_learns_the_teacher():
    """A linear model does not: it is not that easy."""
    teacher = example.Teacher(example.Settings(n_features=4))
    table, test = teacher.table(20_000, 1, 0), teacher.table(5_000, 2)
    scores = []
    for hidden in [(64, 64), ()]:
        model = fm.MLPClassifier(hidden, max_iter=20, random_state=0, learning_rate_init=3e-3)
        model.fit(table[:, :-1] / teacher.units, table[:, -1])
        scores.append(model.score(test[:, :-1] / teacher.units, test[:, -1]))
    assert scores[0] > 0.93
    assert scores[1] < 0.92


def test_what_is_there_is_not_written_again(written, tmp_path, capsys):
    run(tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.npy")}
    (tmp_path / "part-00001.npy").unlink()
    (tmp_path / "part-00002.npy").write_bytes(b"\x93NUMPY")
    run(tmp_path)
    after = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.npy")}
    assert {name for name in before if before[name] == after[name]} == {
        "test.npy", "part-00000.npy", "part-00003.npy",
    }  # fmt: skip
    for name, table in tables(tmp_path).items():
        assert_array_equal(table, written[name])
    assert "accuracy 0.9500, log loss 0.1985" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seed", "1"], "holds tables of"),
        (["--rows", "1000"], "has shards beyond 1000 rows"),
        (["--noise", "0.6"], r"--noise must be in \[0, 0.5\]; got 0.6"),
        (["--features", "0"], "--features must be at least 1; got 0"),
        (["--rows", "0"], "--rows must be at least 1; got 0"),
    ],
)
def test_errors_leave_the_folder_as_it_was(tmp_path, arguments, message):
    run(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(SystemExit, match=message):
        run(tmp_path, *arguments)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_experiment_trains_on_it_and_is_evaluated(tmp_path, monkeypatch):
    """The two commands that the example begins with, on few rows."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(Path(example.__file__).with_suffix(".toml"), "teacher.toml")
    run(tmp_path / "teacher")
    small = ["--network.hidden", "16", "--solver.epochs", "2", "--run.plots", "false"]
    done = fastmlp("train", "teacher.toml", *small)
    assert done.exit_code == 0, done.output
    trained = json.loads(Path("runs/teacher-001/metrics.json").read_text())
    assert trained["rows"] == {"train": 2000, "test": 500}
    done = fastmlp("evaluate", "runs/teacher-001", "teacher/test.npy", "--target", "-1", "--json")
    assert done.exit_code == 0, done.output
    evaluated = json.loads(done.stdout)
    assert evaluated["accuracy"] == trained["test"]["score"] > 0.5
    assert evaluated["log_loss"] == pytest.approx(trained["test"]["loss"], rel=1e-6)
