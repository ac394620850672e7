"""Checkpoints that cannot be written cost no run; what is on disk stays good."""

import errno
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

import fastmlp as fm
from cases import problem
from cases_checkpoints import (
    EPOCHS,
    N,
    check_same,
    every_solver,
    names,
    place_of,
    resumed,
    train,
    updates_of_an_epoch,
)

NET = fm.Network([3, 9, 3], hidden="tanh", output="softmax")
RNG = np.random.default_rng(7)
DATA = NET, *problem(NET, N, RNG)


def fails_in_turn(real, nth, code):
    """Wrap a function: of its calls so many are fine, then three fail."""
    calls = []

    def call(*arguments, **more):
        calls.append(1)
        if nth < len(calls) <= nth + 3:
            raise OSError(code, os.strerror(code))
        return real(*arguments, **more)

    return call


class FullFile:
    """A file of which a part can be written."""

    def __init__(self, file):
        self.file = file

    def __enter__(self):
        self.file.__enter__()
        return self

    def __exit__(self, *error):
        return self.file.__exit__(*error)

    def write(self, content):
        self.file.write(bytes(content)[:5])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize(
    "where", ["open", "write", "os.fsync", "replace", "shutil.copymode", "os.link"]
)
def test_a_full_disk(where, code, tmp_path, monkeypatch):
    """A warning each time; the last checkpoint stays; the run ends on the same bits."""
    expected, path = train("minibatch_sgd", DATA), tmp_path / "run"
    kept = fm.Checkpoints(path, every_n_steps=2, keep=2)
    open_, n_failed = Path.open, []

    def open_full(self, *mode):
        file = open_(self, *mode)
        if mode != ("xb",):
            return file
        n_failed.append(1)
        return FullFile(file) if 4 < len(n_failed) <= 7 else file

    if where == "write":
        monkeypatch.setattr(Path, "open", open_full)
    elif where in ("open", "replace"):
        monkeypatch.setattr(Path, where, fails_in_turn(getattr(Path, where), 4, code))
    else:
        owner, name = where.split(".")
        owner = {"os": os, "shutil": shutil}[owner]
        monkeypatch.setattr(owner, name, fails_in_turn(getattr(owner, name), 4, code))
    seen = []

    def look(state):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "open", open_)
            seen.extend(place_of(tmp_path / name)[0] for name in names(tmp_path))
        assert not [name for name in names(tmp_path) if name.endswith(".tmp")]

    if where == "os.link":  # then it is copied
        result = train("minibatch_sgd", DATA, checkpoint=kept, callback=look)
    else:
        match = rf"^Checkpoint not written, and training goes on: {path}: [A-Z][a-z]"
        with pytest.warns(RuntimeWarning, match=match) as caught:
            result = train("minibatch_sgd", DATA, checkpoint=kept, callback=look)
        assert 1 <= len(caught) <= 3
    monkeypatch.undo()
    check_same(result, expected)
    assert len(seen) >= EPOCHS
    check_same(resumed(lambda **o: train("minibatch_sgd", DATA, **o), path, 24), expected)


@every_solver
def test_a_folder_that_vanishes(name, tmp_path):
    folder, away = tmp_path / "folder", tmp_path / "away"
    folder.mkdir()

    def callback(state):
        if state.n_epochs == 2:
            folder.rename(away)

    with pytest.warns(RuntimeWarning, match="Checkpoint not written") as caught:
        result = train(name, DATA, checkpoint=folder / "run", callback=callback)
    assert len(caught) == 4  # three epochs', and at the end
    check_same(result, train(name, DATA))
    assert names(tmp_path) == ["away"]
    assert place_of(away / "run")[1] == 1
    check_same(train(name, DATA, resume=away / "run"), result)


@every_solver
@pytest.mark.parametrize(("epoch", "step"), [(2, 1e25), (2, 3e38), (EPOCHS, 3e38)])
def test_divergence_leaves_the_last_good_one(name, epoch, step, tmp_path):
    """Whether it shows in the loss, or in the parameters after the last update."""
    net = fm.Network([3, 6, 2], output="identity", loss="squared_error")
    n, path, data = updates_of_an_epoch(name), tmp_path / "run", (net, *problem(net, N, RNG))
    at = n + 1 if epoch == 2 else EPOCHS * n - 1
    options = {"step": lambda k: step if k == at else 1e-3}
    with pytest.warns(RuntimeWarning, match="Diverged") as caught:
        result = train(name, data, checkpoint=path, **options)
    assert (result.status, len(caught)) == (3, 1)
    assert place_of(path) == (n * (epoch - 1), epoch - 1)
    with pytest.warns(RuntimeWarning, match="Diverged"):
        check_same(train(name, data, checkpoint=path, resume=True, **options), result)


def test_permissions_stay(tmp_path):
    path = tmp_path / "run"
    train("sgd", DATA, checkpoint=path, epochs=1)
    path.chmod(0o640)
    began = time.time_ns()
    train("sgd", DATA, checkpoint=path, resume=True)
    assert path.stat().st_mode & 0o777 == 0o640
    assert path.stat().st_mtime_ns >= began - 10**9
