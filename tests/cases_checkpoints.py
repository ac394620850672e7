"""Runs that stop and go on from a checkpoint, and what they have to come to."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import fastmlp as fm
from cases import same_bits
from fastmlp import files

N, BATCH_SIZE, EPOCHS = 23, 4, 4
SOLVERS = {"sgd": fm.sgd, "minibatch_sgd": fm.minibatch_sgd}
every_solver = pytest.mark.parametrize("name", SOLVERS)


class Stopped(Exception):
    """What ends a run."""


class StopAt:
    """Ends a run once so many updates are made, before their checkpoint is written."""

    every_n_steps = 1

    def __init__(self, update, error=Stopped):
        self.update, self.error = update, error

    def on_steps(self, state):
        if state.nit >= self.update:
            raise self.error


class Watch:
    """Takes note of what a run has to do: how many updates are made when it begins, and ends."""

    def on_start(self, state):
        self.began = state.nit

    def on_end(self, result):
        self.ended = result.nit


def train(name, data, **options):
    net, w, X, y = data
    options = {"epochs": EPOCHS, "rng": 0, **options}
    if name == "minibatch_sgd":
        options = {"batch_size": BATCH_SIZE, **options}
    return SOLVERS[name](net, X, y, w, **options)


def updates_of_an_epoch(name):
    return N if name == "sgd" else -(-N // BATCH_SIZE)


def stops_of(name):
    """Updates after which to stop: at the first, within an epoch, at its end, at the very end."""
    n = updates_of_an_epoch(name)
    return 1, 2, n // 2 + 1, n, n + 1, n + 2, 2 * n + 3, EPOCHS * n


def check_same(result, expected):
    """Fail unless two results are equal in all bits but those that tell the time."""
    assert result.keys() == expected.keys()
    for name in expected.keys() - {"history"}:
        assert same_bits(result[name], expected[name]), (name, result[name], expected[name])
    assert result.history.keys() == expected.history.keys()
    for name in expected.history.keys() - {"seconds"}:
        assert same_bits(result.history[name], expected.history[name]), name
    assert (np.diff(result.history.seconds, prepend=0) > 0).all()


def stop(solve, path, at, every_n_steps=1):
    """Have a run end in an error after so many updates; go on first where there is a checkpoint."""
    kept = fm.Checkpoints(path, every_n_steps=every_n_steps)
    with pytest.raises(Stopped):
        solve(checkpoint=kept, resume=True, callback=StopAt(at))


def stop_after(solve, path, iteration):
    """Have a full-batch run end in an error after an iteration, as `stop` does."""

    def callback(state):
        if state.nit == iteration:
            raise Stopped

    with pytest.raises(Stopped):
        solve(checkpoint=path, resume=True, callback=callback)


def resumed(solve, path, n_updates=None, **more):
    """Return the result of going on, from so many updates."""
    watch = Watch()
    result = solve(checkpoint=path, resume=True, callback=watch, **more)
    if n_updates is not None:
        assert watch.began == n_updates
    return result


def check_resumes(solve, folder, stops, every_n_steps=1):
    """Fail unless a run that stops after each of these updates goes on to the same bits."""
    expected = solve()
    for at in stops:
        path = folder / f"{at}.ckpt"
        stop(solve, path, at, every_n_steps)
        result = resumed(solve, path, (at - 1) // every_n_steps * every_n_steps)
        check_same(result, expected)
    return expected


def place_of(path):
    """(updates, complete epochs) of a checkpoint."""
    kind, tree = files.read(path)
    assert kind == "checkpoint"
    return tree["run"]["n_updates"], tree["run"]["history"].shape[1]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


WRONG = [
    None, True, -1, 2**80, 1.5, np.nan, "x", [], {}, [1, {}], {"a": None}, np.zeros(3),
    np.zeros((2, 2), np.int64), np.zeros((0, 4)), np.zeros(()),
]  # fmt: skip


def places(tree, place=()):
    """Yield the keys that lead to each entry of a tree, those of dicts and lists too."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        yield (*place, key)
        if isinstance(value, (dict, list, tuple)):
            yield from places(value, (*place, key))


def without(tree, place):
    """Return a tree without one entry."""
    return _changed(tree, place, lambda parent, key: parent.pop(key))


def replaced(tree, place, value):
    """Return a tree with another value at a place."""
    return _changed(tree, place, lambda parent, key: parent.__setitem__(key, value))


def _changed(tree, place, change):
    tree = dict(tree) if isinstance(tree, dict) else list(tree)
    if len(place) == 1:
        change(tree, place[0])
    else:
        tree[place[0]] = _changed(tree[place[0]], place[1:], change)
    return tree


def check_whatever_is_wrong(path, resume, is_untouched, one_of=1):
    """Fail unless each checkpoint of which an entry is wrong is refused, or harmless.

    Only one of so many is tried. Returns how many were refused.
    """
    kind, tree = files.read(path)
    n_refused = 0
    for k, place in enumerate(places(tree)):
        trees = [without(tree, place), *(replaced(tree, place, value) for value in WRONG)]
        for number, wrong in [*enumerate(trees)][k % one_of :: one_of]:
            files.write(path, kind, wrong)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", RuntimeWarning)  # numbers that diverge
                    resume(path)
            except ValueError:
                n_refused += 1
                assert is_untouched(), (place, number)
            except Exception as error:
                error.add_note(f"{place} {number}")
                raise
    return n_refused
