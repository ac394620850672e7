"""Kernels are compiled once, allocate nothing, and never run stale from the on-disk cache."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tracemalloc
from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core import event
from numba.core.caching import FunctionCache
from numba.core.dispatcher import Dispatcher
from numba.core.runtime import _nrt_python, rtsys

import fastmlp as fm
from cases import every_result, problem, run_child
from fastmlp import workspace
from fastmlp.kernels import batch, jit, sample, updates
from fastmlp.kernels import steps as batches
from fastmlp.kernels.jit import source_stamp
from fastmlp.solvers import trainers

# Compiled once, allocated once ------------------------------------------------------------------


def dispatchers():
    """All compiled functions of the kernels."""
    modules = [module for name, module in sys.modules.items() if name.startswith("fastmlp.kernels")]
    found = {id(value): value for module in modules for value in vars(module).values()}
    return [value for value in found.values() if isinstance(value, Dispatcher)]


def compilations():
    """Print how many compilations, from source or from the cache, each piece of work takes."""
    trainers.LONGEST_SECONDS = np.inf  # however slow the machine, batches are done as a whole
    rng = np.random.default_rng(0)
    counts = {}

    def count(name, work, *cases):
        before = sum(len(kernel.overloads) for kernel in dispatchers())
        with event.install_recorder("numba:compile") as recorder:
            for case in cases:
                work(*case)
        after = sum(len(kernel.overloads) for kernel in dispatchers())
        counts[name] = [after - before, len(recorder.buffer)]

    def train(net, n, batch_size):
        w, X, y = problem(net, n, rng)
        fm.sgd(net, X, y, w, step=1e-5)
        fm.minibatch_sgd(net, X, y, w, step=1e-5, batch_size=batch_size)

    def evaluate(net, n, _):
        every_result(net, *problem(net, n, rng))

    def read_only(net, n, _):
        arrays = problem(net, n, rng)
        for array in arrays:
            array.flags.writeable = False
        every_result(net, *arrays)

    def converted(net, n, _):
        w, X, y = problem(net, n, rng)
        every_result(net, w.astype(float), np.asfortranarray(X), y.astype(float))

    first = fm.Network([5, 9, 3], output="softmax", loss="squared_error"), 20, 8
    others = [
        (fm.Network([3, 2]), 7, 7),
        (fm.Network([300, 200, 7, 30], hidden="tanh", loss="cross_entropy"), 300, 128),
        (fm.Network([4] * 7, hidden="sigmoid", loss="binary_cross_entropy", bias=False), 64, 1),
    ]
    count("first trained", train, first)
    count("others trained", train, *others)
    count("first evaluated", evaluate, first)
    for work in (evaluate, read_only, converted):
        count(work.__name__, work, first, *others)
    count("first large batch", train, (first[0], 5000, 5000))
    count("large batch", train, *((net, 5000, 5000) for net, *_ in others))
    print(json.dumps(counts))


@pytest.fixture(scope="module")
def counts():
    return run_child(__file__, "compilations")


@pytest.mark.parametrize(
    "work", ["others trained", "evaluate", "read_only", "converted", "large batch"]
)
def test_compiled_once(work, counts):
    assert min(counts[f"first {done}"][0] for done in ("trained", "evaluated")) > 0
    assert counts[work] == [0, 0]


def test_kernels_cannot_allocate():
    assert jit.OPTIONS["_nrt"] is False
    kernels = dispatchers()
    assert len(kernels) > 15
    assert all(kernel.targetoptions["_nrt"] is False for kernel in kernels)


@pytest.fixture
def allocations():
    """Return a function that counts a call's allocations, Numba's and Python's."""

    def count(function):
        before = rtsys.get_allocation_stats()
        tracemalloc.start()
        function()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        after = rtsys.get_allocation_stats()
        assert after.alloc - after.free == before.alloc - before.free
        return after.alloc - before.alloc, after.mi_alloc - before.mi_alloc, peak

    enabled = _nrt_python.memsys_stats_enabled()
    _nrt_python.memsys_enable_stats()
    yield count
    if not enabled:
        _nrt_python.memsys_disable_stats()


@pytest.mark.parametrize("n_workers", [1, numba.config.NUMBA_NUM_THREADS])
@pytest.mark.parametrize("widths", [(5, 9, 3), (205, 97, 131)], ids=str)
def test_no_allocation_per_step(widths, n_workers, allocations, rng):
    net = fm.Network(widths, hidden="tanh", output="softmax")
    n_rows, n_steps = 263, 200
    w, X, y = problem(net, n_rows, rng)
    buffer = workspace.parameter_buffer(w, net.dtype)
    space = workspace.Workspace(net, n_rows, buffer, "gradient")
    schedule = space.schedule(n_rows, n_workers)
    index = np.tile(rng.permutation(n_rows), n_steps)
    data = workspace.samples(net, X, y, index)
    steps, total, done = (
        np.full((n_steps, 1), 1e-5),
        np.zeros(batch.N_TOTALS),
        np.zeros(1, np.int64),
    )

    def run(n):
        batches.run(
            space.model, data, schedule, 0, n * n_rows, n_rows, batch.UPDATE, 0.0, steps[:n],
            total, done,
        )  # fmt: skip

    def run_samples(n):
        sample.sgd(space.model, data, steps[:n, 0], total, done)

    for function in (run, run_samples):
        function(1)
        done[0] = 0
        once = allocations(lambda function=function: function(1))
        often = allocations(lambda function=function: function(n_steps))
        assert done[0] == n_steps + 1
        assert once[:2] == often[:2]
        assert abs(once[2] - often[2]) < 1000


# The on-disk cache ------------------------------------------------------------------------------

# w + s g becomes w - s g, by an edit in another file than the kernel's own.
EDITED, BEFORE, AFTER = (
    "rowwise.py", "emit_fma(builder, s, y, x)", "emit_fma(builder, builder.fneg(s), y, x)",
)  # fmt: skip


def descend():
    """Print 1 - 0.5 * 2 as a kernel computes it, the stamp, and whether it came from the cache."""
    w, g = np.ones(64, np.float32), np.full(64, 2, np.float32)
    updates.descend(w, g, 0.5, 1)
    hits = sum(updates.descend.stats.cache_hits.values())
    answer = {"file": fm.__file__, "w": sorted(set(w.tolist())), "stamp": source_stamp()}
    print(json.dumps({**answer, "hits": hits}))


def copy_of_the_package(folder):
    source = Path(fm.__file__).parent
    shutil.copytree(source, folder / "fastmlp", ignore=shutil.ignore_patterns("__pycache__"))
    return folder / "fastmlp" / "kernels"


def test_an_edit_is_seen_by_kernels_that_call_into_it(tmp_path):
    path = copy_of_the_package(tmp_path) / EDITED
    original = path.read_text()
    assert original.count(BEFORE) == 1

    def run():
        search_path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
        environment = {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": search_path}
        found = run_child(__file__, "descend", **environment)
        assert Path(found.pop("file")).is_relative_to(tmp_path)
        return found

    cold, warm = run(), run()
    assert (cold["w"], cold["hits"]) == ([0], 0)
    assert warm == {**cold, "hits": 1}
    path.write_text(original.replace(BEFORE, AFTER))
    changed = run()
    assert (changed["w"], changed["hits"]) == ([2], 0)
    assert changed["stamp"] != cold["stamp"]


def test_stamp(tmp_path, monkeypatch):
    stamp = source_stamp.__wrapped__
    original = stamp()
    folder = copy_of_the_package(tmp_path)
    monkeypatch.setattr(jit, "__file__", str(folder / "jit.py"))
    seen = {stamp()}
    assert seen == {original}
    paths = sorted(folder.glob("*.py"))
    assert len(paths) > 10
    for path in paths:
        text = path.read_text()
        path.write_text(text + "#")
        seen.add(stamp())
        path.write_text(text)
    assert stamp() == original
    (folder / "another.py").write_text("pass")
    seen.add(stamp())
    (folder / "another.py").unlink()
    for name in jit.OPTIONS:
        with monkeypatch.context() as patch:
            patch.setitem(jit.OPTIONS, name, "other")
            seen.add(stamp())
    assert len(seen) == 1 + len(paths) + 1 + len(jit.OPTIONS)


def test_every_cache_carries_the_stamp():
    caches = [kernel._cache for kernel in dispatchers() if isinstance(kernel._cache, FunctionCache)]
    assert len(caches) > 10
    assert all(cache._cache_file._source_stamp == source_stamp() for cache in caches)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
