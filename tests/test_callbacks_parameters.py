"""Callbacks that keep parameters: early stopping and checkpoints."""

import errno
import math
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from cases_callbacks import N_STEPS, Interrupting, drive
from fastmlp.callbacks import Checkpoint, EarlyStopping

NAN, INF = math.nan, math.inf

# Early stopping ------------------------------------------------------------------------------


def test_stops_after_patience():
    stop = EarlyStopping(patience=2)
    result = drive(stop, 8, validation_loss=[5, 4, 6, 3, 4, 3, 1, 1])
    assert (result.status, result.n_epochs) == (1, 6)
    assert result.message == "No improvement of the validation loss in 2 epochs."
    assert (result.best_epoch, result.best_value) == (stop.best_epoch, stop.best_value) == (4, 3)
    assert_array_equal(result.x, 4 * N_STEPS)
    assert result.fun == 1 / 6  # the last epoch's


def test_patience_of_one_epoch():
    result = drive(EarlyStopping(1), loss=[3, 3, 2])
    assert result.message == "No improvement of the training loss in 1 epoch."


BOTH = {"validation_loss": [5, 4, 3, 2], "validation_score": [0.1, 0.3, 0.2, 0.2]}


@pytest.mark.parametrize(
    ("monitor", "further", "epoch"),
    [
        (None, BOTH, 2),
        ("validation_score", BOTH, 2),
        ("validation_loss", BOTH, 4),
        ("loss", BOTH, 3),
        (None, {"validation_loss": BOTH["validation_loss"]}, 4),
        (None, {}, 3),
    ],
)
def test_what_is_monitored(monitor, further, epoch):
    stop = EarlyStopping(monitor=monitor)
    result = drive(stop, 4, loss=[4, 3, 1, 2], **further)
    assert stop.best_epoch == epoch
    assert result.best_epoch == epoch
    if monitor == "loss" or not further:  # no parameters belong to it
        assert_array_equal(result.x, 4 * N_STEPS)
    else:
        assert_array_equal(result.x, epoch * N_STEPS)


@pytest.mark.parametrize(
    ("least", "n_epochs", "best_epoch"), [(0.5, 3, 2), (0.25, 6, 6), (0.125, 7, 7)]
)
@pytest.mark.parametrize(("name", "sign"), [("validation_score", 1), ("validation_loss", -1)])
def test_least_improvement(name, sign, least, n_epochs, best_epoch):
    """Over the best so far, which counts as such however small its gain."""
    values = [sign * v for v in (1, 1.5, 1.25, 2.25, 2.5, 2.75, 9)]
    result = drive(EarlyStopping(2, least), 7, **{name: values})
    assert (result.n_epochs, result.best_epoch) == (n_epochs, best_epoch)
    assert result.best_value == values[best_epoch - 1]


def test_nan_is_no_improvement():
    stop = EarlyStopping(2)
    result = drive(stop, 9, validation_loss=[NAN, 3, NAN, 2, NAN, NAN, 1, 1, 1])
    assert (result.n_epochs, result.best_epoch) == (6, 4)
    result = drive(stop, 9, validation_loss=[NAN] * 9)
    assert (result.n_epochs, result.best_epoch) == (2, 0)
    assert math.isnan(result.best_value)
    assert_array_equal(result.x, 2 * N_STEPS)


def test_infinities():
    result = drive(EarlyStopping(2), 6, validation_loss=[INF, INF, 1, -INF, -INF, -INF])
    assert (result.n_epochs, result.best_epoch) == (6, 4)


def test_restores_whatever_ends_the_run():
    values = {"validation_loss": [2, 1, 3]}
    assert_array_equal(drive(EarlyStopping(), **values).x, 2 * N_STEPS)
    result = drive(EarlyStopping(), update=Interrupting(11), **values)
    assert_array_equal(result.x, 2 * N_STEPS)
    assert (result.status, result.best_epoch) == (2, 2)
    result = drive(EarlyStopping(), update=Interrupting(3), **values)
    assert_array_equal(result.x, 3)
    assert (result.status, result.best_epoch) == (2, 0)


def test_without_restoring():
    result = drive(EarlyStopping(1, restore_best=False), 3, validation_loss=[1, 2, 3])
    assert_array_equal(result.x, 2 * N_STEPS)
    assert (result.best_epoch, result.best_value) == (1, 1)


def test_early_stopping_in_two_runs():
    stop = EarlyStopping(2)
    for _ in range(2):
        assert drive(stop, 9, validation_loss=[1, 2, 3, 0, 0, 0, 0, 0, 0]).n_epochs == 3
    result = drive(stop, 3, validation_loss=[5, 4, 3])
    assert (result.status, result.best_epoch) == (0, 3)
    assert drive(stop, 3).status == 0


def test_early_stopping_refuses():
    for bad in (0, -1):
        with pytest.raises(ValueError, match=r"^patience must be at least 1"):
            EarlyStopping(bad)
    with pytest.raises(TypeError, match=r"^patience must be an integer"):
        EarlyStopping(2.5)
    for bad in (-1.0, NAN, INF):
        with pytest.raises(ValueError, match=r"^min_improvement must be finite, 0 or more"):
            EarlyStopping(min_improvement=bad)
    with pytest.raises(ValueError, match=r"^monitor must be one of 'validation_score', .*'loss'; "):
        EarlyStopping(monitor="val_loss")


def test_early_stopping_refuses_what_is_not_computed():
    for name in ("validation_score", "validation_loss"):
        with pytest.raises(ValueError, match=rf"^monitor must be one of 'loss'; got '{name}'"):
            drive(EarlyStopping(monitor=name))


# Checkpoints ---------------------------------------------------------------------------------


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_checkpoints(tmp_path):
    path, seen = tmp_path / "w.npy", []
    drive([Checkpoint(path), lambda state: seen.append(np.load(path))])
    assert_array_equal(seen, [[4] * 3, [8] * 3, [12] * 3])
    assert names(tmp_path) == ["w.npy"]


def test_checkpoints_that_are_kept(tmp_path):
    drive(Checkpoint(tmp_path / "w-{n_epochs:03d}.npy", every_n_epochs=2), 5)
    drive(Checkpoint(str(tmp_path / "{{v}}-{nit}"), every_n_epochs=None, every_n_steps=5))
    assert names(tmp_path) == ["w-002.npy", "w-004.npy", "{v}-10", "{v}-5"]
    assert_array_equal(np.load(tmp_path / "w-004.npy"), 4 * N_STEPS)
    assert_array_equal(np.load(tmp_path / "{v}-5"), 5)


def test_a_folder_may_have_braces(tmp_path):
    folder = tmp_path / "{run}"
    folder.mkdir()
    drive(Checkpoint(folder / "w.npy"))
    assert names(folder) == ["w.npy"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs Unix's permissions")
def test_checkpoints_have_the_permissions_of_other_files(tmp_path):
    (tmp_path / "other").touch()
    drive(Checkpoint(tmp_path / "w.npy"))
    assert (tmp_path / "w.npy").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("where", ["np.save", "os.fsync", "Path.replace"])
def test_a_checkpoint_that_cannot_be_written(where, tmp_path, monkeypatch):
    """The one before it stays, nothing else is left, and training goes on."""
    path, seen = tmp_path / "w.npy", []

    def full(*arguments):
        arguments[0].write(b"\x93NUM") if where == "np.save" else None
        raise OSError(errno.ENOSPC, "No space left on device")

    def update(nit):
        if nit == 5:
            owner, name = where.split(".")
            monkeypatch.setattr({"np": np, "os": os, "Path": Path}[owner], name, full)
        if nit == 9:
            monkeypatch.undo()

    def look(state):
        seen.append(np.load(path)[0])
        assert names(tmp_path) == ["w.npy"]

    with pytest.warns(RuntimeWarning, match=r"Checkpoint not written.*w\.npy.*No space") as caught:
        result = drive([Checkpoint(path), look], update=update)
    assert len(caught) == 1
    assert result.status == 0
    assert seen == [4, 4, 12]


def test_an_interrupted_checkpoint_leaves_the_one_before(tmp_path, monkeypatch):
    path = tmp_path / "w.npy"
    drive(Checkpoint(path), epochs=1)

    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    assert drive(Checkpoint(path)).status == 2
    assert names(tmp_path) == ["w.npy"]
    assert_array_equal(np.load(path), 4)


def test_checkpoints_refuse():
    for bad in ("{}", "{0}", "{epoch}", "{nit", "{nit:q}", "{nit.x}"):
        with pytest.raises(ValueError, match=r"^path may contain {n_epochs} and {nit}"):
            Checkpoint(bad)
    with pytest.raises(ValueError, match="every_n_epochs must be at least 1"):
        Checkpoint("w.npy", every_n_epochs=0)
    with pytest.raises(ValueError, match="every_n_epochs or every_n_steps must be given"):
        Checkpoint("w.npy", every_n_epochs=None)
