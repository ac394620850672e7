"""Ways to cut a stochastic solver's work into pieces, none of which may change a bit."""

from __future__ import annotations

from contextlib import contextmanager

import numba
import numpy as np
import pytest

from fastmlp import workspace
from fastmlp.solvers import trainers

needs_two_threads = pytest.mark.skipif(
    numba.config.NUMBA_NUM_THREADS < 2, reason="needs two threads"
)


@contextmanager
def on_threads(n_threads):
    """Let Numba use so many threads."""
    numba.set_num_threads(n_threads)
    try:
        yield
    finally:
        numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)


def cut_to_single_batches(patch):
    patch.setattr(trainers, "MOST_ENTRIES", 1)


def cut_by_a_slow_clock(patch):
    patch.setattr(trainers, "RUN_SECONDS", 0.0)


def in_blocks(patch):
    """All batches by accumulation, one tile of rows at a time."""
    patch.setattr(trainers, "LONGEST_SECONDS", -1.0)
    patch.setattr(trainers, "RUN_SECONDS", 0.0)


def in_blocks_of(rows):
    def cut(patch):
        in_blocks(patch)
        patch.setattr(trainers, "LEAST_ROWS", rows)

    return cut


def in_a_small_workspace(patch):
    patch.setattr(trainers, "block_rows", lambda net: 16)


def at_random(patch):
    """Whole batches and blocks of all sizes, by turns, as if the clock were mad."""
    speeds = np.random.default_rng(0)

    def timed(self, n_samples, began):
        self.seconds_per_sample = 10.0 ** speeds.uniform(-5, -1)

    patch.setattr(trainers.Trainer, "_timed", timed)


def on_poisoned_memory(patch):
    """What is read before it is written is NaN."""
    allocate, empty = workspace.allocate, np.empty

    def poisoned(size, dtype):
        buffer = allocate(size, dtype)
        buffer[:] = np.nan
        return buffer

    def poisoned_empty(shape, dtype=float, **given):
        array = empty(shape, dtype, **given)
        if array.dtype.kind == "f":
            array[...] = np.nan
        return array

    patch.setattr(workspace, "allocate", poisoned)
    patch.setattr(np, "empty", poisoned_empty)


def in_blocks_on_poisoned_memory(patch):
    in_blocks(patch)
    on_poisoned_memory(patch)


CUTS = [
    cut_to_single_batches, cut_by_a_slow_clock, in_blocks, in_blocks_of(1), in_blocks_of(13),
    in_a_small_workspace, at_random, on_poisoned_memory, in_blocks_on_poisoned_memory,
]  # fmt: skip
BLOCKWISE = {*CUTS[2:6], in_blocks_on_poisoned_memory}


def count_blockwise_steps(patch):
    calls, real = [], trainers.BatchTrainer._step_in_blocks

    def step(self, *given):
        calls.append(1)
        return real(self, *given)

    patch.setattr(trainers.BatchTrainer, "_step_in_blocks", step)
    return calls
