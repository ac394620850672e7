"""A program that trains in processes of its own, and kills them at random moments.

It prints what it found, as JSON. What every process needs is imported before it is forked; no
kernel has run then, so there are no threads that a fork would lose.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import scipy.optimize  # noqa: F401

import fastmlp as fm
from fastmlp import files, schedules
from fastmlp.solvers import gradient_descent, stochastic  # noqa: F401

PATIENCE = 60.0  # seconds


def problem(n):
    rng = np.random.default_rng(0)
    net = fm.Network([32, 300, 200, 10], output="softmax")
    X = rng.standard_normal((n, 32), np.float32)
    return net, X, rng.integers(10, size=n), net.init(rng=1)


def minibatch_sgd(**checkpoints):
    net, X, y, w = problem(650)
    return fm.minibatch_sgd(
        net, X, y, w, batch_size=64, rule="adam", dropout=0.2, average=30, validation=0.2,
        patience=1000, order="shuffled", epochs=80, rng=5,
        step=schedules.reduce_on_plateau(0.003, patience=1), **checkpoints,
    )  # fmt: skip


def descent(**checkpoints):
    net, X, y, w = problem(400)
    objective = fm.Objective(net, X, y, l2=1e-3)
    return fm.gradient_descent(
        objective, w, direction="conjugate", tol=0.0, max_iter=90, **checkpoints
    )


RUNS = {"minibatch_sgd": minibatch_sgd, "gradient_descent": descent}


def begin(name, folder, result):
    """Fork a process that trains, going on from what there is; return its number."""
    if (child := os.fork()) > 0:
        return child
    try:
        kept = fm.Checkpoints(folder / "run", every_n_steps=1, keep=2, keep_best=True)
        found = RUNS[name](checkpoint=kept, resume=True)
        numbers = {key: found[key] for key in found.keys() - {"history"}}
        numbers |= {f"history.{key}": found.history[key] for key in found.history}
        np.savez(result, **numbers)
        os._exit(0)
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)


class Folder:
    """What of a run's files can be seen from outside."""

    def __init__(self, path):
        self.path = path

    def names(self):
        return sorted(os.listdir(self.path))

    def is_written(self):
        return any(name.endswith(".tmp") for name in self.names())

    def newest(self):
        """Return what tells one checkpoint from the next."""
        try:
            about = os.stat(self.path / "run")
            return about.st_ino, about.st_mtime_ns
        except FileNotFoundError:
            return None

    def n_updates(self):
        """Read all files; return how many updates are in each."""
        there = {}
        for name in self.names():
            if not name.endswith(".tmp"):
                kind, tree = files.read(self.path / name)
                assert kind == "checkpoint"
                run = tree["run"]
                there[name] = run["n_updates"] if "n_updates" in run else run["nit"]
        return there


class Ended(Exception):
    """A process has come to its end."""


def wait_for(child, condition):
    began = time.monotonic()
    while not condition():
        if os.waitpid(child, os.WNOHANG)[0]:
            raise Ended
        if time.monotonic() - began > PATIENCE:
            os.kill(child, signal.SIGKILL)
            sys.exit("nothing happens")
        time.sleep(1e-4)


def wait_for_moment(kind, child, folder, rng):
    """Wait until a random moment: while it begins, between checkpoints, or in their writing."""
    if kind == "begins":
        # At the latest when it has gone on: a fast one would come to its end in that time.
        before, end = folder.newest(), time.monotonic() + rng.uniform(0, 0.6)
        wait_for(child, lambda: folder.newest() != before or time.monotonic() > end)
        return
    for _ in range(rng.integers(1, 4)):
        before, began = folder.newest(), time.monotonic()
        wait_for(child, lambda before=before: folder.newest() != before)
        seconds = min(time.monotonic() - began, 0.1)
    if kind == "any":
        time.sleep(rng.uniform(0, seconds))
    else:
        wait_for(child, folder.is_written)
        time.sleep(rng.choice([0, 0, rng.uniform(0, 0.3 * seconds)]))


def main(name, place, seed, n_kills, least_hits):
    """Kill a run so often, and up to half as often again until enough were in its writing."""
    n_kills, least_hits = int(n_kills), int(least_hits)
    rng, place = np.random.default_rng(int(seed)), Path(place)
    whole, killed = Folder(place / "whole"), Folder(place / "killed")
    for folder in (whole, killed):
        folder.path.mkdir()
    _, status = os.waitpid(begin(name, whole.path, place / "whole.npz"), 0)
    assert status == 0
    told = {"n_updates": [], "n_hits": 0, "seconds": time.monotonic()}
    kinds = ["writes", "any", "writes", "any", "writes", "begins", "writes", "any", "writes", "any"]
    for i in range(n_kills + n_kills // 2):
        if i >= n_kills and told["n_hits"] >= least_hits:
            break
        child = begin(name, killed.path, place / "killed.npz")
        wait_for_moment(kinds[i % len(kinds)], child, killed, rng)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), "it was at its end"
        told["n_hits"] += killed.is_written()
        told["n_updates"].append(killed.n_updates())
    _, status = os.waitpid(begin(name, killed.path, place / "killed.npz"), 0)
    assert status == 0
    told["seconds"] = time.monotonic() - told["seconds"]
    told["names"], told["last"] = killed.names(), killed.n_updates()
    told["expected"] = whole.n_updates()
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
