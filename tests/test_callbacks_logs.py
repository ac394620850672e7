"""Callbacks that tell: a progress bar, logs, TensorBoard; and the places that all refuse."""

import errno
import json
import math
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from numpy.testing import assert_array_equal

from cases_callbacks import N_STEPS, Interrupting, drive
from fastmlp.callbacks import (
    CSVLog,
    JSONLinesLog,
    ProgressBar,
    TensorBoard,
)

NAN, INF = math.nan, math.inf
MAKERS = {
    "ProgressBar": ProgressBar,
    "CSVLog": lambda **options: CSVLog("log", **options),
    "JSONLinesLog": lambda **options: JSONLinesLog("log", **options),
    "TensorBoard": lambda **options: TensorBoard("runs", **options),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_refused_intervals(make):
    for bad in (0, -1):
        with pytest.raises(ValueError, match=f"every_n_steps must be at least 1; got {bad}"):
            make(every_n_steps=bad)
    for bad in (1.0, "1", False):
        with pytest.raises(TypeError, match="every_n_steps must be an integer"):
            make(every_n_steps=bad)


@pytest.mark.parametrize("make", [CSVLog, JSONLinesLog, TensorBoard])
def test_refused_paths(make):
    for bad in (3, None, b"log", ["log"]):
        with pytest.raises(TypeError, match=r"^(path|folder) must be a str or os\.PathLike; got"):
            make(bad)


@pytest.mark.parametrize("make", [CSVLog, JSONLinesLog])
def test_places_for_no_file_are_refused_before_training(make, tmp_path):
    def update(nit):
        raise AssertionError("an update was made")

    with pytest.raises(FileNotFoundError, match=r"^path must be in a folder.*missing"):
        drive(make(tmp_path / "missing" / "file"), update=update)
    with pytest.raises(IsADirectoryError, match=r"^path must be a file; got the folder"):
        drive(make(tmp_path), update=update)
    assert not [*tmp_path.iterdir()]


# The progress bar ----------------------------------------------------------------------------


def test_bar_of_epochs(capsys):
    drive([ProgressBar()])
    out, err = capsys.readouterr()
    assert out == ""
    assert err.split("\r")[1].startswith("  0%|")
    assert "100%" in err
    assert "3.00/3.00" in err
    assert "epochs/s" in err
    assert "loss=0.3333" in err


def test_bar_of_updates_and_validation(capsys):
    drive(ProgressBar(every_n_steps=3), validation_loss=[0.7, 0.6, 0.5])
    err = capsys.readouterr().err
    assert "12.0/12.0" in err
    assert "updates/s" in err
    assert "loss=0.3333, validation_loss=0.5" in err


def test_bar_of_an_unknown_total_and_two_runs(capsys):
    bar = ProgressBar()
    for _ in range(2):
        bar.on_start({})
        bar._move(2, loss=0.5)
        bar.on_end(None)
        err = capsys.readouterr().err
        assert "2.00 epochs" in err
        assert "loss=0.5" in err
        assert "%" not in err


def test_a_bar_stays_where_the_run_stops(capsys):
    drive(ProgressBar(every_n_steps=2), update=Interrupting(7))
    last = capsys.readouterr().err.split("\r")[-1]
    assert "6.00/12.0" in last
    assert last.endswith("\n")


# Logs ----------------------------------------------------------------------------------------

LOGS = {"csv": CSVLog, "json": JSONLinesLog}
every_log = pytest.mark.parametrize("kind", LOGS)


def rows(path, kind):
    """Return the names, and rows as lists; None for nothing, NaN or null."""
    lines = path.read_text(encoding="utf-8").splitlines()
    if kind == "csv":
        names, *lines = [line.split(",") for line in lines]
        return names, [[None if v in ("", "nan") else float(v) for v in line] for line in lines]
    objects = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    assert all([*one] == [*objects[0]] for one in objects)
    return [*objects[0]], [[*one.values()] for one in objects]


COLUMNS = ["n_epochs", "nit", "loss", "step", "seconds"]
OF_EPOCHS = [[1, 4, 1.0, 0.5, 1.0], [2, 8, 0.5, 0.5, 2.0], [3, 12, 1 / 3, 0.5, 3.0]]


@every_log
def test_log_of_epochs(kind, tmp_path):
    path = tmp_path / "log"
    drive(LOGS[kind](path))
    assert rows(path, kind) == (COLUMNS, OF_EPOCHS)
    drive(LOGS[kind](str(path)), epochs=1)  # anew
    assert rows(path, kind) == (COLUMNS, OF_EPOCHS[:1])


def test_counts_are_written_as_such(tmp_path):
    drive(CSVLog(tmp_path / "a"), epochs=1)
    assert (tmp_path / "a").read_bytes() == (b"n_epochs,nit,loss,step,seconds\n1,4,1.0,0.5,1.0\n")
    drive(JSONLinesLog(tmp_path / "b"), epochs=1, validation_loss=[0.1])
    assert (tmp_path / "b").read_bytes() == (
        b'{"n_epochs": 1, "nit": 4, "loss": 1.0, "step": 0.5, "seconds": 1.0, '
        b'"validation_loss": 0.1}\n'
    )


@every_log
def test_log_of_steps_and_validation(kind, tmp_path):
    path = tmp_path / "log"
    drive(LOGS[kind](path, every_n_steps=2), 2, validation_loss=[3, 2], validation_score=[0.1, 0.2])
    assert rows(path, kind) == (
        [*COLUMNS, "validation_loss", "validation_score"],
        [
            [0, 2, 1.0, 0.5, 0.5, None, None],
            [0, 4, 1.0, 0.5, 1.0, None, None],
            [1, 4, 1.0, 0.5, 1.0, 3.0, 0.1],
            [1, 6, 0.5, 0.5, 1.5, None, None],
            [1, 8, 0.5, 0.5, 2.0, None, None],
            [2, 8, 0.5, 0.5, 2.0, 2.0, 0.2],
        ],
    )


def test_numbers_that_are_not_finite(tmp_path):
    values = [NAN, INF, -INF]
    drive([log(tmp_path / kind) for kind, log in LOGS.items()], loss=values)
    assert [row[2] for row in rows(tmp_path / "json", "json")[1]] == [None] * 3
    assert [row[2] for row in rows(tmp_path / "csv", "csv")[1]] == [None, INF, -INF]


@every_log
def test_each_row_is_there_at_once(kind, tmp_path):
    path, lengths = tmp_path / "log", []
    log = LOGS[kind](path, every_n_steps=1)
    header = kind == "csv"
    drive([log, lambda state: lengths.append(len(path.read_text().splitlines()) - header)])
    assert lengths == [N_STEPS + 1, 2 * N_STEPS + 2, 3 * N_STEPS + 3]


KILLED = """
import os, sys
from cases_callbacks import drive
from fastmlp import callbacks

def update(nit):
    if nit == 9:
        os._exit(7)

drive(getattr(callbacks, sys.argv[1])(sys.argv[2]), update=update)
"""


@every_log
def test_a_killed_run_loses_nothing(kind, tmp_path):
    command = [sys.executable, "-c", KILLED, LOGS[kind].__name__, tmp_path / "log"]
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[1]), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
    assert subprocess.run(command, env=environment, check=False).returncode == 7
    assert rows(tmp_path / "log", kind)[1] == OF_EPOCHS[:2]


@every_log
def test_append(kind, tmp_path):
    path = tmp_path / "log"
    log = LOGS[kind](path, append=True)
    drive(log)
    drive(log, epochs=1)
    with path.open("a") as file:
        file.write("1,")  # what a killed run leaves
    drive(log, epochs=1)
    lines = path.read_text().splitlines()
    half = lines.pop(-2)
    assert half == "1,"
    path.write_text("\n".join(lines))
    assert rows(path, kind) == (COLUMNS, [*OF_EPOCHS, OF_EPOCHS[0], OF_EPOCHS[0]])


def test_append_to_an_empty_file(tmp_path):
    path = tmp_path / "log"
    path.touch()
    drive(CSVLog(path, append=True))
    assert rows(path, "csv") == (COLUMNS, OF_EPOCHS)


def test_append_to_other_columns(tmp_path):
    path = tmp_path / "log"
    for content in ("my notes", "n_epochs,nit,loss,step,seconds,validation_loss\n", "\xff\n"):
        path.write_text(content, encoding="latin-1")
        with pytest.raises(ValueError, match=r"path must be a log with the columns n_epochs,nit"):
            drive(CSVLog(path, append=True))
        assert path.read_text(encoding="latin-1") == content
        drive(JSONLinesLog(path, append=True))


@every_log
@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError, None])
def test_files_are_closed(kind, error, tmp_path):
    """Warnings of files left open are errors, but only where something sees them."""
    opened, log = [], LOGS[kind](tmp_path / "log")
    update = Interrupting(6, error) if error else None
    try:
        drive([log, lambda state: opened.append(log._file)], update=update)
    except ZeroDivisionError:
        assert error is ZeroDivisionError
    assert opened
    assert opened[0].closed


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a file that breaks while open")
@every_log
def test_a_row_that_cannot_be_written_does_not_end_the_training(kind, tmp_path):
    path, read = tmp_path / "pipe", []
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def update(nit):
        if nit == N_STEPS + 1:
            read.append(os.read(reader, 1000))
            os.close(reader)

    with pytest.warns(RuntimeWarning, match=rf"{LOGS[kind].__name__} ends here.*pipe") as caught:
        result = drive(LOGS[kind](path), update=update)
    assert len(caught) == 1
    assert (result.status, result.n_epochs) == (0, 3)
    assert read[0].endswith(b"\n")
    assert read[0].count(b"\n") == (2 if kind == "csv" else 1)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a disk that is full")
def test_a_disk_that_is_full_from_the_start():
    with pytest.raises(OSError, match="No space left"):
        drive(CSVLog("/dev/full"))


# TensorBoard ---------------------------------------------------------------------------------


def scalars(folder):
    """Return (tag, nit, value) of every scalar in a folder's event files."""
    from tensorboardX.proto import event_pb2

    events = []
    for path in sorted(folder.iterdir()):
        assert path.name.startswith("events.out.tfevents.")
        content = path.read_bytes()
        while content:  # length, its checksum, the event, its checksum
            (length,) = struct.unpack("<Q", content[:8])
            events.append(event_pb2.Event.FromString(content[12 : 12 + length]))
            content = content[16 + length :]
    assert events[0].file_version == "brain.Event:2"
    return [(v.tag, e.step, v.simple_value) for e in events for v in e.summary.value]


def test_tensorboard(tmp_path):
    folder = tmp_path / "runs" / "first"
    drive(TensorBoard(folder, every_n_steps=3), epochs=1, validation_loss=[0.25])
    assert scalars(folder) == [
        ("loss", 3, 1.0), ("step", 3, 0.5),
        ("loss", 4, 1.0), ("step", 4, 0.5), ("validation_loss", 4, 0.25),
    ]  # fmt: skip


def test_tensorboard_in_two_runs_loses_neither(tmp_path):
    board = TensorBoard(str(tmp_path))
    for _ in range(2):
        drive(board, epochs=2)
    assert len([*tmp_path.iterdir()]) == 2
    assert [nit for tag, nit, _ in scalars(tmp_path) if tag == "loss"] == [4, 8, 4, 8]


def test_tensorboard_has_each_row_at_once(tmp_path):
    lengths = []
    drive([TensorBoard(tmp_path), lambda state: lengths.append(len(scalars(tmp_path)))])
    assert lengths == [2, 4, 6]


def test_tensorboard_shows_what_is_not_finite(tmp_path):
    drive(TensorBoard(tmp_path), loss=[NAN, INF, 1.0])
    assert_array_equal([v for tag, _, v in scalars(tmp_path) if tag == "loss"], [NAN, INF, 1.0])


def test_tensorboard_on_a_full_disk(tmp_path, monkeypatch):
    def fsync(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    def update(nit):
        if nit == N_STEPS + 1:
            monkeypatch.setattr(os, "fsync", fsync)

    with pytest.warns(RuntimeWarning, match=r"TensorBoard ends here.*No space left") as caught:
        assert drive(TensorBoard(tmp_path), update=update).status == 0
    assert len(caught) == 1
    with pytest.raises(OSError, match="No space left"):
        drive(TensorBoard(tmp_path))


def test_tensorboard_without_its_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r'pip install "fastmlp\[tensorboard\]"'):
        TensorBoard("runs")


def test_tensorboard_in_a_place_for_no_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        drive(TensorBoard(tmp_path / "file"))
