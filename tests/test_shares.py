"""How a phase is shared out: every column and row once, every bias once, whatever the workers."""

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import workspace
from fastmlp.kernels.batch import share
from fastmlp.kernels.jit import entry_kernel


@entry_kernel
def shares(n_vectors, n_rows, n_workers, out):
    for worker in range(n_workers):
        v0, v1, r0, r1 = share(n_vectors, n_rows, n_workers, worker)
        out[worker, 0] = v0
        out[worker, 1] = v1
        out[worker, 2] = r0
        out[worker, 3] = r1


def test_every_part_and_every_bias_is_one_workers():
    for n_workers in (1, 2, 3, 4, 6, 7, 16, 64):
        for n_vectors in (1, 2, 3, 5, 19):
            for n_rows in (1, 2, 8, 9, 16, 31, 100, 800):
                out = np.empty((n_workers, 4), np.int64)
                shares(n_vectors, n_rows, n_workers, out)
                done = np.zeros((n_vectors, n_rows), int)
                biases = np.zeros(n_vectors, int)
                for v0, v1, r0, r1 in out:
                    done[v0:v1, r0:r1] += 1
                    if r0 == 0 < r1:  # as the kernel asks
                        biases[v0:v1] += 1
                assert (done == 1).all()
                assert (biases == 1).all()


@pytest.mark.parametrize("n_workers", [3, 4, 16])
@pytest.mark.parametrize("n_in", [9, 20, 100])
def test_more_workers_than_blocks_of_rows(n_workers, n_in, rng, monkeypatch):
    """Bits do not depend on the workers, though some have nothing to do."""
    net = fm.Network([n_in, 10], output="softmax")
    deep = fm.Network([n_in, 13, 10], hidden="tanh", output="softmax")
    X, y = rng.standard_normal((4096, n_in), dtype="f4"), rng.integers(0, 10, 4096)
    w, at = net.init(rng=0), deep.init(rng=0)

    def train():
        result = fm.minibatch_sgd(net, X, y, w, batch_size=4096, step=0.1, epochs=3, rng=0)
        objective = fm.Objective(deep, X, y)
        slope = objective.along(at, at).derivative(0.1)
        product = objective.hessian_vector(at, at).tobytes()
        return result.x.tobytes(), net.gradient(w, X, y).tobytes(), slope, product

    expected = train()
    monkeypatch.setattr(workspace, "PARALLEL_FLOPS", 0)
    schedule = workspace.Workspace.schedule

    def crowded(self, n_rows, _, phases=None):
        rows = schedule(self, n_rows, 1, phases).copy()
        rows[:, 2] = n_workers
        return rows

    threads = max(n_workers, workspace.numba.config.NUMBA_NUM_THREADS)
    monkeypatch.setattr(workspace, "scratch_rows", lambda: threads)
    monkeypatch.setattr(workspace.Workspace, "schedule", crowded)
    assert train() == expected
