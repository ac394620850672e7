"""Which checkpoint files there are, when; the states of callbacks; files that cannot be written."""

import math
import os
import uuid
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

import fastmlp as fm
from cases import problem, same_bits
from cases_checkpoints import (
    EPOCHS,
    N,
    StopAt,
    Stopped,
    check_same,
    every_solver,
    names,
    place_of,
    stop,
    train,
    updates_of_an_epoch,
)
from fastmlp import files
from fastmlp.solvers import checkpoints

NET = fm.Network([3, 9, 3], hidden="tanh", output="softmax")
DATA = NET, *problem(NET, N, np.random.default_rng(7))


class Look:
    """Notes which file there is after each update, before it is written anew."""

    every_n_steps = 1

    def __init__(self, path):
        self.path, self.seen = path, []

    def on_steps(self, state):
        self.seen.append(place_of(self.path)[0] if self.path.exists() else 0)


# When, and how many ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("every", "every_n_steps", "expected"),
    [
        (1, None, [0] * 6 + [6] * 6 + [12] * 6 + [18] * 6),
        (2, None, [0] * 12 + [12] * 12),
        (np.int64(2), None, [0] * 12 + [12] * 12),
        (None, None, [0] * 24),
        (None, 5, [0] * 5 + [5] * 5 + [10] * 5 + [15] * 5 + [20] * 4),
        (3, 4, [0] * 4 + [4] * 4 + [8] * 4 + [12] * 4 + [16] * 2 + [18] * 2 + [20] * 4),
        (10**6, None, [0] * 24),
        (timedelta(days=1), None, [0] * 24),
        (timedelta(microseconds=1), None, [0, *range(1, 24)]),
    ],
)
def test_when_checkpoints_are_written(every, every_n_steps, expected, tmp_path):
    look = Look(tmp_path / "run")
    kept = fm.Checkpoints(look.path, every, every_n_steps)
    result = train("minibatch_sgd", DATA, checkpoint=kept, callback=look)
    assert look.seen == expected
    assert place_of(look.path) == (24, 4) == (result.nit, result.n_epochs)
    assert names(tmp_path) == ["run"]


def test_when_it_is_time(tmp_path, monkeypatch):
    """Since the last one was written; and every=... of a path is that of Checkpoints."""
    clock = iter(range(10**6))
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: next(clock))
    seen = {}
    for form in ("path", "checkpoints"):
        look, every = Look(tmp_path / form), timedelta(seconds=5)
        given = {"checkpoint": look.path, "every": every}
        if form == "checkpoints":
            given = {"checkpoint": fm.Checkpoints(look.path, every)}
        train("minibatch_sgd", DATA, callback=look, **given)
        seen[form] = look.seen
    assert seen["path"] == seen["checkpoints"]
    assert 4 < len({*seen["path"]}) < 8  # the clock is asked about 28 times


@every_solver
def test_earlier_ones_are_kept(name, tmp_path):
    expected, n = train(name, DATA), updates_of_an_epoch(name)
    kept = fm.Checkpoints(tmp_path / "run", every_n_steps=n // 2, keep=4)
    solve = lambda **o: train(name, DATA, **{"checkpoint": kept, **o})  # noqa: E731
    with pytest.raises(Stopped):
        solve(callback=StopAt(2))
    assert not names(tmp_path)
    with pytest.raises(Stopped):
        solve(callback=StopAt(2 * n - 1))
    check_same(solve(resume=True), expected)
    assert names(tmp_path) == ["run", "run.1", "run.2", "run.3"]
    places = [place_of(tmp_path / one) for one in names(tmp_path)]
    assert places == sorted(places, reverse=True)
    assert len({*places}) == 4
    assert places[0] == (expected.nit, EPOCHS)
    for one in names(tmp_path):
        check_same(train(name, DATA, resume=tmp_path / one), expected)


@every_solver
def test_resumed_from_another_file(name, tmp_path):
    """Which stays as it is; at its end the run is written to its own."""
    solve = lambda **o: train(name, DATA, **o)  # noqa: E731
    stop(solve, tmp_path / "old", 5)
    content = (tmp_path / "old").read_bytes()
    result = solve(resume=tmp_path / "old", checkpoint=tmp_path / "new")
    check_same(result, solve())
    assert (tmp_path / "old").read_bytes() == content
    check_same(solve(resume=str(tmp_path / "new"), checkpoint=tmp_path / "newer"), result)
    assert place_of(tmp_path / "newer") == place_of(tmp_path / "new") == (result.nit, EPOCHS)


def test_leftovers_are_removed(tmp_path):
    """Those of this file only, whatever their names have in common."""
    name = "a-very-long-name-of-one-of-many-runs."
    ours, other = tmp_path / f"{name}1", tmp_path / f"{name}2"
    train("sgd", DATA, checkpoint=fm.Checkpoints(ours, keep=2, keep_best=True))
    kept, left = names(tmp_path), []
    for path in (ours, other):
        left.append(files._temporary(path))
        left[-1].write_bytes(b"half")
    strangers = [tmp_path / f".{ours.name}.tmp", tmp_path / f".{uuid.uuid4().hex}.tmp"]
    for path in strangers:
        path.touch()
    train("sgd", DATA, checkpoint=ours, resume=True)
    assert names(tmp_path) == sorted([*kept, *(path.name for path in (left[1], *strangers))])


def test_killed_while_an_earlier_one_is_kept(tmp_path, monkeypatch):
    """No part of a copy is left for good either."""

    class Killed(BaseException):
        pass

    def killed_at(suffix, replace):
        def call(self, target):
            if target.suffix == suffix:
                raise Killed
            replace(self, target)

        return call

    for target in (".1", ".best"):
        folder = tmp_path / target
        folder.mkdir()
        path = folder / "run"
        kept = fm.Checkpoints(path, keep=2, keep_best=True)
        train("sgd", DATA, checkpoint=kept, epochs=1)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", killed_at(target, Path.replace))
            patch.setattr(Path, "unlink", lambda self, missing_ok: None)
            with pytest.raises(Killed):
                train("sgd", DATA, checkpoint=kept, epochs=2, resume=True)
        assert any(name.endswith(".tmp") for name in names(folder))
        train("sgd", DATA, checkpoint=kept, epochs=2, resume=True)
        assert names(folder) == ["run", "run.1", "run.best"]
        assert place_of(folder / "run.best") == place_of(path) == (2 * N, 2)


# The best -------------------------------------------------------------------------------------

SCORES = {"improving": [1, 2, 3, 4], "worse": [4, 3, 2, 1], "nan": [math.nan, 3, 2, math.nan]}


class Score:
    def __init__(self, values):
        self.values = iter(values)

    def __call__(self, model, X, y):
        return next(self.values)


@pytest.mark.parametrize(("scores", "best"), [("improving", 4), ("worse", 1), ("nan", 2)])
@every_solver
def test_the_best_score_is_kept(name, scores, best, tmp_path):
    path = tmp_path / "run"
    kept = fm.Checkpoints(path, every=None, keep_best=True)
    iterates = []
    result = train(
        name, DATA, checkpoint=kept, validation=0.3, scoring=Score(SCORES[scores]),
        callback=lambda state: iterates.append(state.x.copy()),
    )  # fmt: skip
    assert place_of(path) == (result.nit, 4)
    kind, tree = files.read(tmp_path / "run.best")
    assert (kind, tree["run"]["history"].shape[1]) == ("checkpoint", best)
    assert same_bits(tree["model"]["parameters"], iterates[best - 1])
    assert tree["best"] == -SCORES[scores][best - 1]
    assert names(tmp_path) == ["run", "run.best"]


@every_solver
@pytest.mark.parametrize("validation", [None, 0.4])
def test_the_least_loss_is_kept(name, validation, tmp_path):
    """Also where the run is stopped, and whatever has been before; it resumes as well."""
    solve = lambda **o: train(name, DATA, step=1.5, validation=validation, **o)  # noqa: E731
    expected = solve(epochs=9)
    losses = expected.history.loss if validation is None else expected.history.validation_loss
    kept = fm.Checkpoints(tmp_path / "run", keep_best=True)
    n = expected.nit // 9
    for at in (2 * n + 2, 5 * n + 1, 8 * n):
        with pytest.raises(Stopped):
            solve(epochs=9, checkpoint=kept, resume=True, callback=StopAt(at))
        done = losses[: (at - 1) // n]
        assert place_of(tmp_path / "run.best")[1] == np.argmin(done) + 1
        assert files.read(tmp_path / "run.best")[1]["best"] == done.min()
    check_same(solve(epochs=9, checkpoint=kept, resume=True), expected)
    assert place_of(tmp_path / "run.best")[1] == np.argmin(losses) + 1
    check_same(solve(epochs=9, resume=tmp_path / "run.best"), expected)


def test_the_best_of_a_linked_file(tmp_path):
    """All files are where the link leads to, even if the working folder changes."""
    (tmp_path / "there").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "run").symlink_to(tmp_path / "there" / "run")
    before = Path.cwd()
    try:
        os.chdir(tmp_path / "here")
        kept = fm.Checkpoints("run", keep=2, keep_best=True)
        score = Score([1, 4, 3, 2])
        train(
            "sgd", DATA, checkpoint=kept, validation=0.3, scoring=score,
            callback=lambda state: os.chdir(tmp_path),
        )  # fmt: skip
    finally:
        os.chdir(before)
    assert names(tmp_path / "there") == ["run", "run.1", "run.best"]
    assert names(tmp_path / "here") == ["run"]
    assert [place_of(tmp_path / "there" / one)[1] for one in names(tmp_path / "there")] == [4, 3, 2]


# The states of callbacks ----------------------------------------------------------------------


class Counter:
    """Counts its calls; shrinks the parameters as it does."""

    def __init__(self, every_n_steps=2):
        self.every_n_steps = every_n_steps

    def on_start(self, state):
        self.calls = 0

    def on_steps(self, state):
        self.calls += 1
        state.x *= 1 - 0.01 * self.calls

    def on_epoch_end(self, state):
        self.on_steps(state)

    def on_end(self, result):
        result.calls = self.calls


class Remembering(Counter):
    def state_dict(self):
        return {"calls": self.calls, "more": [np.arange(3), {"a": None}]}

    def load_state_dict(self, state):
        assert same_bits(state["more"][0], np.arange(3))
        self.calls = state["calls"]


@every_solver
@pytest.mark.parametrize("at", [2, 5, 6, 7, 12, 13, 20])
def test_callbacks_with_a_state(name, at, tmp_path):
    kept = fm.Checkpoints(tmp_path / "run", every_n_steps=1)
    expected = train(name, DATA, callback=Remembering())
    with pytest.raises(Stopped):
        train(name, DATA, callback=[Remembering(), StopAt(at)], checkpoint=kept)
    watch, result = Remembering(), None
    result = train(name, DATA, callback=[lambda state: None, watch], checkpoint=kept, resume=True)
    check_same(result, expected)
    assert result.calls == EPOCHS * (1 + updates_of_an_epoch(name) // 2) or name == "sgd"


def test_other_callbacks(tmp_path):
    """Those without a state may come and go; of those with one, neither kind nor number changes."""
    kept, rng = fm.Checkpoints(tmp_path / "run"), np.random.default_rng(0)
    train("sgd", DATA, callback=[Remembering(), Counter(), lambda state: None], checkpoint=kept)
    state = rng.bit_generator.state
    started = []

    class Other(Remembering):
        def on_start(self, state):
            started.append(self)

    for callbacks in (None, [Counter()], [Remembering()] * 2, [Other()], [Other(), Remembering()]):
        with pytest.raises(ValueError, match=r"the callbacks with a state were \['Remembering'\]"):
            train("sgd", DATA, callback=callbacks, resume=kept.path, rng=rng)
    assert rng.bit_generator.state == state
    assert not started
    assert train("sgd", DATA, callback=[Remembering()], resume=kept.path).nit == EPOCHS * N


def test_a_state_that_cannot_be_written(tmp_path):
    """Is told before the first update."""

    class Bad(Remembering):
        def state_dict(self):
            return {"calls": {1: 2}}

        def on_steps(self, state):
            pytest.fail("has begun")

    rng = np.random.default_rng(3)
    with pytest.raises(TypeError, match="key that files cannot hold: 1"):
        train("sgd", DATA, callback=Bad(), checkpoint=tmp_path / "run", rng=rng)
    assert rng.bit_generator.state == np.random.default_rng(3).bit_generator.state
    assert not names(tmp_path)


def test_keeping_all(tmp_path):
    """However many are to be kept, only those that are there are looked at."""
    kept = fm.Checkpoints(tmp_path / "run", keep=10**15)
    train("sgd", DATA, epochs=4, checkpoint=kept)
    assert names(tmp_path) == ["run", "run.1", "run.2", "run.3"]
