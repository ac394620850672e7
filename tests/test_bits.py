"""The same bits whatever the threads, the CPU's vectors, the block of rows or the row's place."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastmlp as fm
from cases import (
    AVX2_ONLY,
    COMMON_PAIRS,
    DIFFERENTIABLE,
    DTYPES,
    JUMPS,
    PAIRS,
    SQUARED,
    STORED_PAIRS,
    needs_x86_with_fma,
    problem,
    run_child,
    same_bits,
)
from cases_runs import exit_code_of_a_fork
from fastmlp import workspace
from fastmlp.kernels import batch
from fastmlp.solvers import trainers

NAMES = {value: name for name, value in vars(batch).items() if name in (
    "GATHER", "FORWARD", "SOFTMAX", "LOSS", "BACKWARD", "WEIGHTS"
)}  # fmt: skip

# Threads and vector widths: in processes of their own -----------------------------------------

N = 263
# Every phase of these is worth several threads; see `parallel_phases`.
SHAPES = [(205, 97, 131), (200, 49, 300, 130)]
# And of these some: columns fewer than workers, rows of weights fewer than tiles.
NARROW = [((1200, 1), N), ((1200, 9, 130), N), ((3, 300, 7), 700), ((700, 700), 5)]


def big_networks():
    """Networks and batch sizes that run in parallel, every activation and pair among them."""
    for dtype in DTYPES:
        for number, (output, loss) in enumerate([*STORED_PAIRS[::2], *COMMON_PAIRS]):
            widths = SHAPES[number % len(SHAPES)]
            hidden = [
                DIFFERENTIABLE[(number + k) % len(DIFFERENTIABLE)] for k in range(len(widths) - 2)
            ]
            yield fm.Network(widths, hidden=hidden, output=output, loss=loss, dtype=dtype), N
        for number, (widths, n) in enumerate(NARROW):
            output, loss = PAIRS[-1 - number % 2]
            yield fm.Network(widths, hidden="tanh", output=output, loss=loss, dtype=dtype), n
        for jump, other in (JUMPS, JUMPS[::-1]):
            yield fm.Network(SHAPES[0], hidden=jump, output=other, dtype=dtype), N
    yield fm.Network(SHAPES[0], hidden="relu", output="softmax", bias=False), N


def small(net):
    """A network of the same kind for results of many numbers."""
    hidden, output = net.activations[:-1], net.activations[-1]
    widths = [33, *range(47, 47 + len(hidden)), 10]
    return fm.Network(
        widths, hidden=hidden, output=output, loss=net.loss_function, bias=net.bias, dtype=net.dtype
    )


def parallel_phases(net, n, n_threads):
    """Return [phase, whether several threads do it] of a prediction and a gradient."""
    phases = []
    for kind in ("predict", "gradient"):
        if kind == "predict" or not set(net.activations) & set(JUMPS):
            space = workspace.Workspace(net, n, np.zeros(net.n_params, net.dtype), kind)
            for phase, _, n_workers in space.schedule(n, n_threads):
                assert n_workers in (1, n_threads)
                phases.append([NAMES[int(phase)], bool(n_workers > 1)])
    return phases


def every_result(net, n):
    """Yield (name, array) of everything a network computes."""
    rng = np.random.default_rng(n)
    w, X, y = problem(net, n, rng)
    yield "predict", net.predict(w, X)
    yield "loss", np.float64(net.loss(w, X, y))
    if set(net.activations) & set(JUMPS):
        return
    yield "gradient", net.gradient(w, X, y)
    yield "sum", net.gradient(w, X, y, reduction="sum")
    options = {"step": 1e-4, "rng": 0, "epochs": 2}
    trained = fm.minibatch_sgd(net, X, y, w, batch_size=128, **options)
    yield "minibatch_sgd", trained.x
    yield "minibatch_sgd's losses", trained.history.loss
    net = small(net)
    w, X, y = problem(net, n, rng)
    trained = fm.sgd(net, X, y, w, **options)
    yield "sgd", trained.x
    yield "sgd's losses", trained.history.loss
    yield "sample_gradients", net.sample_gradients(w, X[:9], y[:9])
    yield "jacobian", net.jacobian(w, X[:9])


def report():
    """Print hashes of all results' bits, and which phases were shared out."""
    n_threads = numba.get_num_threads()
    hashes, shared = {}, {}
    for net, n in big_networks():
        shared[f"{net!r} {n}"] = parallel_phases(net, n, n_threads)
        for name, values in every_result(net, n):
            assert np.isfinite(values).all(), (net, name)
            key = f"{net!r} {n}: {name}"
            hashes[key] = hashlib.sha256(np.asarray(values).tobytes()).hexdigest()
    print(json.dumps({"threads": n_threads, "hashes": hashes, "shared": shared}))


@cache
def report_with(n_threads, avx2_only=False):
    environment = AVX2_ONLY if avx2_only else {}
    return run_child(__file__, "report", NUMBA_NUM_THREADS=str(n_threads), **environment)


def check_same_hashes(found, expected):
    assert found.keys() == expected.keys()
    assert len(expected) > 200
    assert [name for name in expected if found[name] != expected[name]] == []


@pytest.mark.parametrize("n_threads", [2, 7])
def test_same_bits_with_several_threads(n_threads):
    found, expected = report_with(n_threads), report_with(1)
    assert (found["threads"], expected["threads"]) == (n_threads, 1)
    for name, phases in found["shared"].items():
        assert any(shared for _, shared in phases), name
        if any(str(list(shape)) in name for shape in SHAPES):
            assert all(shared for _, shared in phases), (name, phases)
    for phases in expected["shared"].values():
        assert not any(shared for _, shared in phases)
    check_same_hashes(found["hashes"], expected["hashes"])


@needs_x86_with_fma
def test_same_bits_with_avx2_only():
    check_same_hashes(report_with(2, avx2_only=True)["hashes"], report_with(1)["hashes"])


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="needs 2 threads")
@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_with_fewer_threads_in_one_process(dtype):
    before = numba.get_num_threads()
    try:
        results = []
        for n_threads in (1, 2, 1):
            numba.set_num_threads(n_threads)
            net = fm.Network(SHAPES[1], hidden=("tanh", "relu"), output="softmax", dtype=dtype)
            phases = parallel_phases(net, N, numba.get_num_threads())
            assert all(shared == (n_threads > 1) for _, shared in phases)
            results.append(list(every_result(net, N)))
    finally:
        numba.set_num_threads(before)
    for found in results[1:]:
        for (name, values), (_, expected) in zip(found, results[0], strict=True):
            assert same_bits(values, expected), name


# A row's place --------------------------------------------------------------------------------

every_dtype = pytest.mark.parametrize("dtype", DTYPES)
FORWARD_PAIRS = [*PAIRS, *((output, loss) for output in JUMPS for loss in SQUARED)]
every_pair = pytest.mark.parametrize(("output", "loss"), FORWARD_PAIRS)


@every_dtype
@every_pair
def test_a_row_alone_and_among_others(output, loss, dtype, rng):
    net = fm.Network(
        [17, 49, 25, 11], hidden=["tanh", "relu"], output=output, loss=loss, dtype=dtype
    )
    w, X, y = problem(net, 37, rng)
    alone = np.concatenate([net.predict(w, x[None]) for x in X])
    losses = [net.loss(w, x[None], t[None]) for x, t in zip(X, y, strict=True)]
    assert same_bits(net.predict(w, X), alone)
    for i, x in enumerate(X):
        for n in (2, 3, 4, 7, 8, 9, 16):
            place = int(rng.integers(n))
            rows, truth = rng.permutation(X)[:n], np.repeat(y[i : i + 1], n, axis=0)
            rows[place] = x
            assert same_bits(net.predict(w, rows)[place], alone[i])
            same = np.repeat(x[None], n, axis=0)
            total = net.loss(w, same, truth, reduction="sum")
            assert total == np.cumsum(np.full(n, losses[i]))[-1]
    assert net.loss(w, X, y, reduction="sum") == np.cumsum(losses)[-1]


@given(st.integers(1, 60), st.integers(0, 2**32), st.sampled_from(DTYPES), st.sampled_from(PAIRS))
def test_any_part_of_a_batch(n, seed, dtype, pair):
    rng = np.random.default_rng(seed)
    widths = rng.choice([1, 3, 8, 16, 17, 31, 48, 50], size=rng.integers(2, 5)).tolist()
    net = fm.Network(widths, hidden="sigmoid", output=pair[0], loss=pair[1], dtype=dtype)
    w, X, y = problem(net, n, rng)
    start, stop = sorted(rng.integers(0, n + 1, 2))
    if start == stop:
        start, stop = 0, n
    part = slice(start, stop)
    assert same_bits(net.predict(w, X[part]), net.predict(w, X)[part])
    assert same_bits(net.jacobian(w, X[part]), net.jacobian(w, X)[part])
    each = net.sample_gradients(w, X, y)
    assert same_bits(net.sample_gradients(w, X[part], y[part]), each[part])


# Blocks of rows -------------------------------------------------------------------------------

BLOCKS = (1, 2, 7, 8, 13, 64, 100, 101, 4096)


@every_dtype
@every_pair
def test_blocks_of_rows(output, loss, dtype, rng, monkeypatch):
    net = fm.Network(
        [17, 49, 9, 11], hidden=["tanh", "relu"], output=output, loss=loss, dtype=dtype
    )
    w, X, y = problem(net, 101, rng)

    def results():
        yield net.predict(w, X)
        yield np.float64(net.loss(w, X, y))
        if output not in JUMPS:
            yield net.gradient(w, X, y)
            yield net.gradient(w, X, y, reduction="sum")

    expected = list(results())
    for size in BLOCKS:
        monkeypatch.setattr(workspace, "FEWEST_ROWS", size)
        monkeypatch.setattr(workspace, "MOST_ROWS", size)
        assert workspace.block_rows(net) == size
        for found, values in zip(results(), expected, strict=True):
            assert same_bits(found, values), size


@every_dtype
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("bias", [True, False])
def test_blocks_of_a_mini_batch(bias, reduction, dtype, rng, monkeypatch):
    """A batch done in parts, its gradient summed first, and one whose update is fused."""
    net = fm.Network([17, 49, 11], hidden="tanh", output="softmax", bias=bias, dtype=dtype)
    w, X, y = problem(net, 101, rng)

    def results():
        options = {"batch_size": 40, "step": 1e-3, "epochs": 3, "rng": 0, "reduction": reduction}
        trained = fm.minibatch_sgd(net, X, y, w, **options)
        return trained.x.copy(), trained.history.loss, np.int64(trained.nit)

    expected = results()
    for size in (1, 3, 8, 13):
        with monkeypatch.context() as patch:
            patch.setattr(workspace, "FEWEST_ROWS", size)
            patch.setattr(workspace, "MOST_ROWS", size)
            for found, values in zip(results(), expected, strict=True):
                assert same_bits(found, values), size
    monkeypatch.setattr(trainers, "LONGEST_SECONDS", 0)
    for seconds in (0, 1):
        monkeypatch.setattr(trainers, "RUN_SECONDS", seconds)
        monkeypatch.setattr(trainers, "LEAST_ROWS", 8)
        for found, values in zip(results(), expected, strict=True):
            assert same_bits(found, values), seconds


# Python's threads and forked children ----------------------------------------------------------

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
LAYERS = ["omp", "workqueue"]


def shared_out():
    """Return a function of the bits of a few results that several threads work on."""
    net = fm.Network(SHAPES[0], hidden="tanh", output="softmax")
    assert all(shared for _, shared in parallel_phases(net, N, 2))
    w, X, y = problem(net, N, np.random.default_rng(0))

    def results():
        values = [net.predict(w, X), net.gradient(w, X, y)]
        for seconds in (1e9, 0):  # a batch as a whole, and in parts
            trainers.LONGEST_SECONDS = seconds
            values.append(fm.minibatch_sgd(net, X, y, w, batch_size=128, step=1e-3, rng=0).x)
        return hashlib.sha256(b"".join(array.tobytes() for array in values)).hexdigest()

    return results


def two_threads():
    """Print whether calls from two Python threads at once return the right bits."""
    results = shared_out()
    expected = results()
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: results(), range(20)))
    print(json.dumps({"layer": numba.threading_layer(), "right": found.count(expected)}))


def forks():
    """Print the exit codes of children that are forked after parallel work, and during it."""
    results = shared_out()
    expected = results()
    codes = [exit_code_of_a_fork(results, expected, 120)]
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(lambda: [results() for _ in range(20)])
        codes += [exit_code_of_a_fork(results, expected, 120) for _ in range(3)]
        found = future.result()
    nested = exit_code_of_a_fork(lambda: exit_code_of_a_fork(results, expected, 120), 0, 120)
    codes.append(nested)
    right = found.count(expected) + (results() == expected)
    print(json.dumps({"layer": numba.threading_layer(), "right": right, "codes": codes}))


def forks_after_others():
    """Print the exit code of a child whose parent has used Numba's threads, but not through us."""
    results = shared_out()
    how = sys.argv[2]
    if how == "set_num_threads":
        numba.set_num_threads(2)
    elif how == "one thread":
        numba.set_num_threads(1)
        results()
        numba.set_num_threads(2)
    elif how == "another kernel":

        @numba.njit(parallel=True)
        def fill(x):
            for i in numba.prange(x.size):
                x[i] = i

        fill(np.zeros(1000))
    # Only the children know the result: two must agree, whatever the parent has done.
    reader, writer = multiprocessing.Pipe(duplex=False)
    codes = [exit_code_of_a_fork(lambda: writer.send(results()), None, 120) for _ in range(2)]
    found = [reader.recv() for _ in codes if reader.poll(0)]
    print(json.dumps({"codes": codes, "right": found.count(results())}))


def run_with_layer(layer, *arguments):
    return run_child(__file__, *arguments, NUMBA_THREADING_LAYER=layer, NUMBA_NUM_THREADS="2")


@pytest.mark.parametrize("layer", LAYERS)
def test_two_python_threads_at_once(layer):
    assert run_with_layer(layer, "two_threads") == {"layer": layer, "right": 20}


@needs_fork
@pytest.mark.parametrize("layer", LAYERS)
def test_forked_children(layer):
    expected = {"layer": layer, "right": 21, "codes": [0] * 5}
    assert run_with_layer(layer, "forks") == expected


@needs_fork
@pytest.mark.parametrize(
    ("layer", "how"),
    [
        ("omp", "nothing"),
        ("omp", "set_num_threads"),
        ("omp", "one thread"),
        ("omp", "another kernel"),
        ("workqueue", "another kernel"),
    ],
)
def test_forked_children_of_others(layer, how):
    found = run_with_layer(layer, "forks_after_others", how)
    assert found == {"codes": [0, 0], "right": 2}


if __name__ == "__main__":
    globals()[sys.argv[1]]()
