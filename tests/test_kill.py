"""A training process that is killed, again and again, ends on the bits of one that was not."""

import os
from pathlib import Path

import numpy as np
import pytest

from cases import run_child, same_bits
from fastmlp import files


def check_killed(name, folder, n_kills, least_hits):
    """Fail unless a run killed so often, and so often while it wrote, comes to the same bits."""
    program = Path(__file__).with_name("cases_kill.py")
    told = run_child(program, name, folder, 0, n_kills, least_hits)
    n_done, n_kills = told["n_updates"][-1]["run"], len(told["n_updates"])
    print(f"{n_kills} kills in {n_done} updates, {told['n_hits']} of them hit a write")
    assert told["n_hits"] >= least_hits
    newest = [there.get("run", -1) for there in told["n_updates"]]
    assert newest == sorted(newest)
    assert len({*newest}) > 0.7 * n_kills
    for there in told["n_updates"]:
        assert there.keys() <= {"run", "run.1", "run.best"}
        assert max(there.values(), default=-1) == there.get("run", -1)
    assert told["names"] == ["run", "run.1", "run.best"]
    assert told["last"] == told["expected"]
    whole, killed = np.load(folder / "whole.npz"), np.load(folder / "killed.npz")
    assert {*whole} == {*killed}
    for key in {*whole} - {"history.seconds"}:
        assert same_bits(killed[key], whole[key]), key
    for one in ("run", "run.best"):
        there, here = (files.read(folder / run / one)[1] for run in ("whole", "killed"))
        assert same_bits(here["model"]["parameters"], there["model"]["parameters"])


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")


@needs_fork
def test_killed_while_it_trains(tmp_path):
    check_killed("minibatch_sgd", tmp_path, 50, 15)


@needs_fork
def test_killed_while_it_descends(tmp_path):
    check_killed("gradient_descent", tmp_path, 10, 2)
