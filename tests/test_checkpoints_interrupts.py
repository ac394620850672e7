"""Ctrl-C, wherever it comes: what is on disk goes on to the same bits."""

import numpy as np
import pytest

import fastmlp as fm
from cases import problem, same_bits
from cases_checkpoints import N, check_same, every_solver, names, train
from cases_interrupts import Lines, one_of_each, traced
from fastmlp import files, schedules
from fastmlp.solvers import trainers

NET = fm.Network([3, 9, 3], hidden="tanh", output="softmax")
DATA = NET, *problem(NET, N, np.random.default_rng(7))
CASES = {
    "sgd": {"order": "replacement", "step": 0.2},
    "minibatch_sgd": {
        "rule": "adam", "dropout": 0.2, "average": 3, "validation": 0.3, "patience": 3,
        "step": schedules.warm_up(schedules.reduce_on_plateau(0.1, patience=0), 4),
    },
}  # fmt: skip


class Shrink:
    """Changes the parameters after every third update, and counts."""

    every_n_steps = 3

    def on_start(self, state):
        self.n = 0

    def on_steps(self, state):
        self.n += 1
        state.x *= 0.9

    def on_end(self, result):
        result.n_shrunk = self.n

    def state_dict(self):
        return {"n": self.n}

    def load_state_dict(self, state):
        self.n = state["n"]


# Of a file that Ctrl-C left open.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("in_blocks", [False, True])
@every_solver
def test_interrupt_at_any_line(name, in_blocks, rng, tmp_path, monkeypatch):
    if in_blocks:
        if name == "sgd":
            pytest.skip("has no blocks")
        monkeypatch.setattr(trainers, "LONGEST_SECONDS", -1.0)
        monkeypatch.setattr(trainers, "RUN_SECONDS", 0.0)
        monkeypatch.setattr(trainers, "LEAST_ROWS", 8)
    options = {"batch_size": 9} if name == "minibatch_sgd" else {"epochs": 2}
    options |= {"epochs": 3, **CASES[name]}

    def solve(path):
        kept = fm.Checkpoints(path, every_n_steps=5, keep=2, keep_best=True)
        return train(name, DATA, callback=Shrink(), checkpoint=kept, resume=True, **options)

    for folder in ("first", "later"):  # what is imported and compiled at first is not any more
        every = Lines()
        (tmp_path / folder).mkdir()
        expected = traced(every, lambda path=tmp_path / folder / "run": solve(path))
    best = tree_of(tmp_path / "later" / "run.best")
    n_written = n_newest = 0
    interrupted = one_of_each(every.seen, rng)
    for at in interrupted:
        path = tmp_path / str(at) / "run"
        path.parent.mkdir()
        lines = Lines(at)
        result = traced(lines, lambda path=path: solve(path))
        written = [one for one in names(path.parent) if not one.endswith(".tmp")]
        trees = {one: tree_of(path.parent / one) for one in written}
        try:
            if result is not None and trees:
                n_before = result.nit - trees["run"]["run"]["n_updates"]
                assert 0 <= n_before <= 5
                n_written, n_newest = n_written + 1, n_newest + (n_before == 0)
            check_same(solve(path), expected)
            assert set(names(path.parent)) - {"run.1"} == {"run", "run.best"}
            again = tree_of(path.parent / "run.best")
            assert same_bits(again["model"]["parameters"], best["model"]["parameters"])
            assert again["best"] == best["best"]
        except AssertionError as error:
            error.add_note(f"{lines.seen[-1]}: {result and result.message}")
            raise
    assert len(interrupted) == 300
    assert n_newest > 0.8 * n_written > 80


def tree_of(path):
    return files.read(path)[1]
