"""Logs and progress bars of runs that were killed, and go on from a checkpoint."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import fastmlp as fm
from cases import problem
from cases_estimators import X_VAL, Y_VAL, X, Y, classifier
from fastmlp.callbacks import CSVLog, JSONLinesLog, ProgressBar

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
LOGS = {"csv": CSVLog, "json": JSONLinesLog}
every_log = pytest.mark.parametrize("kind", LOGS)
NET = fm.Network([3, 4, 2])
W, INPUTS, OUTPUTS = problem(NET, 23, np.random.default_rng(0))


def sgd(callback, **options):
    return fm.sgd(NET, INPUTS, OUTPUTS, W, epochs=4, rng=0, callback=callback, **options)


def minibatch_sgd(callback, **options):
    return fm.minibatch_sgd(
        NET, INPUTS, OUTPUTS, W, batch_size=4, epochs=4, rng=0, rule="adam", validation=0.3,
        scoring=lambda model, X, y: float(model.predict(X).sum()), callback=callback, **options,
    )  # fmt: skip


def fit(**parameters):
    def run(callback, **options):
        model = classifier(callbacks=callback, batch_size=16, max_iter=4, **parameters)
        return model.fit(X, Y, X_val=X_VAL, y_val=Y_VAL, **options)

    return run


def full_batch_fit(solver):
    return lambda callback, **options: classifier(
        callbacks=callback, solver=solver, max_iter=6
    ).fit(X, Y, **options)


RUNS = {
    "sgd": sgd,
    "minibatch_sgd": minibatch_sgd,
    "adam": fit(),
    "stopping": fit(early_stopping=True, n_iter_no_change=1, tol=0.5),
    **{solver: full_batch_fit(solver) for solver in ("gd", "nesterov", "lbfgs")},
}
every_run = pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)


class Killed(Exception):
    """What ends a run."""


class KillAt:
    """Raises once the log has so many rows."""

    def __init__(self, n_rows, log, every_n_steps=None):
        self.n_rows, self.log, self.every_n_steps = n_rows, log, every_n_steps

    def on_steps(self, state):
        if len(rows(self.log.path)) >= self.n_rows:
            raise Killed

    def on_epoch_end(self, state):
        self.on_steps(state)


def rows(path):
    """Return the rows of a log but for seconds; a header as well."""
    lines = path.read_text().splitlines()
    if path.suffix == ".json":
        read = [json.loads(line) for line in lines]
        return [[value for name, value in row.items() if name != "seconds"] for row in read]
    return [[value for k, value in enumerate(line.split(",")) if k != 4] for line in lines]


def half_a_row(path):
    """Leave what a process leaves that is killed while it writes."""
    content = path.read_bytes()
    last = content.splitlines(keepends=True)[-1]
    path.write_bytes(content + last[: len(last) // 2])


def checkpoints(path, name):
    often = {
        "each": {}, "seldom": {"every": 3}, "steps": {"every": None, "every_n_steps": 3},
        "update": {"every_n_steps": 1},
    }  # fmt: skip
    return fm.Checkpoints(path, **often[name])


@every_run
@every_log
@pytest.mark.parametrize("every_n_steps", [None, 2])
@pytest.mark.parametrize("often", ["each", "seldom", "steps", "update"])
def test_a_killed_run_has_the_rows_of_one_that_was_not(run, kind, every_n_steps, often, tmp_path):
    make = lambda name: LOGS[kind](tmp_path / f"{name}.{kind}", every_n_steps)  # noqa: E731
    expected = make("expected")
    run(expected)
    whole, header = rows(expected.path), kind == "csv"
    for n_rows in {1, 2, len(whole) // 2, len(whole) - header}:
        log, kept = make(n_rows), checkpoints(tmp_path / f"{n_rows}.ckpt", often)
        with pytest.raises(Killed):
            run([log, KillAt(n_rows + header, log, every_n_steps)], checkpoint=kept)
        half_a_row(log.path)
        run(log, checkpoint=kept, resume=True)
        assert rows(log.path) == whole
        run(log, checkpoint=kept, resume=True)  # after its end
        assert rows(log.path) == whole


@every_run
@every_log
@pytest.mark.parametrize("every_n_steps", [None, 3])
@pytest.mark.parametrize("often", ["each", "steps"])
def test_rows_of_an_earlier_run_stay(run, kind, every_n_steps, often, tmp_path):
    log = LOGS[kind](tmp_path / f"log.{kind}", every_n_steps, append=True)
    run(log)
    first, header = rows(log.path), kind == "csv"
    for n_rows in (1, 2, 3):
        before, kept = rows(log.path), checkpoints(tmp_path / f"{n_rows}.ckpt", often)
        with pytest.raises(Killed):
            run([log, KillAt(len(before) + n_rows, log, every_n_steps)], checkpoint=kept)
        if not kept.path.exists():  # nothing to go on from: the next one is a run of its own
            continue
        half_a_row(log.path)
        run(log, checkpoint=kept, resume=True)
        assert rows(log.path) == before + first[header:]


@every_log
def test_a_run_that_was_killed_again_and_again(kind, tmp_path):
    log, expected = (LOGS[kind](tmp_path / f"{n}.{kind}", 1) for n in ("log", "expected"))
    sgd(expected)
    whole = rows(expected.path)
    for n_rows in range(2, len(whole) + 1, 3):
        kept = fm.Checkpoints(tmp_path / "a", every_n_steps=5)
        with pytest.raises(Killed):
            sgd([log, KillAt(n_rows, log, 1)], checkpoint=kept, resume=True)
        assert rows(log.path) == whole[:n_rows]
    sgd(log, checkpoint=kept, resume=True)
    assert rows(log.path) == whole


IN_A_NEW_PROCESS = """
import os, pathlib, sys
from test_callbacks_resume import LOGS, RUNS, checkpoints

kind, run, n_updates = sys.argv[1], RUNS[sys.argv[2]], int(sys.argv[3])
log = LOGS[kind](f"log.{kind}", 2)

class Kill:
    every_n_steps = 1
    def on_steps(self, state):
        if state.nit == n_updates:
            os._exit(7)

run([log, Kill()], checkpoint=checkpoints("a", "steps"), resume=True)
"""


@every_log
def test_a_killed_process(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for n, code in ((9, 7), (10**6, 0)):
        command = [sys.executable, "-W", "ignore", "-c", IN_A_NEW_PROCESS, kind, "adam", str(n)]
        assert subprocess.run(command, env=environment, check=False).returncode == code
    RUNS["adam"](LOGS[kind](f"expected.{kind}", 2))
    assert rows(tmp_path / f"log.{kind}") == rows(tmp_path / f"expected.{kind}")


# What is not there, or something else --------------------------------------------------------


@every_run
@every_log
def test_a_log_that_is_new_where_a_run_goes_on(run, kind, tmp_path):
    log, kept = LOGS[kind](tmp_path / f"log.{kind}"), checkpoints(tmp_path / "a", "each")
    expected = LOGS[kind](tmp_path / f"expected.{kind}")
    run(expected)
    with pytest.raises(Killed):
        run([expected, KillAt(3, expected)], checkpoint=kept)
    run(log, resume=kept.path)
    whole, header = rows(log.path), kind == "csv"
    counts = [int(row[0]) for row in whole[header:]]
    assert counts == [*range(counts[0], counts[-1] + 1)]
    assert counts[0] == (1 if run is RUNS["lbfgs"] else 2 + (not header))


def test_half_a_header(tmp_path):
    log, kept = CSVLog(tmp_path / "log.csv"), tmp_path / "a"
    sgd(log, checkpoint=kept)
    header = log.path.read_text().splitlines(keepends=True)[0]
    log.path.write_text(header[:10])
    sgd(log, checkpoint=kept, resume=True)
    assert log.path.read_text() == header


@pytest.mark.parametrize("run", ["sgd", "gd"])
def test_a_file_that_is_no_log_is_left_alone(run, tmp_path):
    log, kept = CSVLog(tmp_path / "log.csv"), tmp_path / "a"
    RUNS[run](None, checkpoint=kept)
    for content in (b"my notes\n9,9,9\nand half a lin", b"\xff\n"):
        log.path.write_bytes(content)
        with pytest.raises(ValueError, match="path must be a log with the columns n_epochs,nit"):
            RUNS[run](log, resume=kept)
        assert log.path.read_bytes() == content


@pytest.mark.parametrize("solver", ["adam", "nesterov", "lbfgs"])
def test_a_checkpoint_that_is_refused_leaves_the_log(solver, tmp_path):
    log, kept = CSVLog(tmp_path / "log.csv"), tmp_path / "a"
    full_batch_fit(solver)(log, checkpoint=kept)
    content = log.path.read_bytes()
    for more in ({"alpha": 0.5}, {"max_iter": 2}):
        model = classifier(**{"callbacks": log, "solver": solver, "max_iter": 6, **more})
        with pytest.raises(ValueError, match=r"alpha is 0\.5|beyond"):
            model.fit(X, Y, resume=kept)
        assert log.path.read_bytes() == content


@every_log
@pytest.mark.parametrize("append", [False, True])
def test_warm_starts_do_not_go_on(kind, append, tmp_path):
    """Though updates are counted on: rows of the first fit are no rows of the second."""
    log = LOGS[kind](tmp_path / f"log.{kind}", 1, append=append)
    model = classifier(warm_start="optimizer", callbacks=log, batch_size=16, max_iter=2)
    first = rows((model.fit(X, Y), log.path)[1])
    both = rows((model.fit(X, Y), log.path)[1])
    header, n = kind == "csv", len(first)
    second = both[n:] if append else both[header:]
    assert both[: n if append else header] == (first if append else first[:header])
    assert [int(row[1]) for row in second] == [9, 10, 11, 12, 12, 13, 14, 15, 16, 16]
    model.partial_fit(X, Y)
    assert len(rows(log.path)) == (len(both) + 5 if append else header + 5)


# Progress bars -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("every_n_steps", "begin", "end"), [(None, "2.00/4.00", "4.00/4.00"), (5, "46.0/92.0", "92.0")]
)
def test_a_bar_begins_where_the_run_goes_on(every_n_steps, begin, end, tmp_path, capsys):
    fm.sgd(NET, INPUTS, OUTPUTS, W, epochs=2, rng=0, checkpoint=tmp_path / "a")
    sgd(ProgressBar(every_n_steps), resume=tmp_path / "a", progress=False)
    shown = capsys.readouterr().err.split("\r")
    assert begin in shown[1]
    assert end in shown[-1]
    sgd(ProgressBar(every_n_steps), progress=False)
    assert " 0.00/" in capsys.readouterr().err.split("\r")[1]


@pytest.mark.parametrize("solver", ["adam", "gd"])
def test_a_bar_of_a_fit(solver, tmp_path, capsys):
    classifier(solver=solver, max_iter=2).fit(X, Y, checkpoint=tmp_path / "a")
    model = classifier(solver=solver, max_iter=4, callbacks=ProgressBar())
    model.fit(X, Y, resume=tmp_path / "a")
    shown = capsys.readouterr().err.split("\r")
    assert "2.00/4.00" in shown[1]
    assert "4.00/4.00" in shown[-1]
    model.set_params(warm_start="optimizer").fit(X, Y)
    assert " 0.00/4.00" in capsys.readouterr().err.split("\r")[1]
