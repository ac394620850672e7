"""Predictors: the bits of `Network.predict`, whatever else they predict, before or meanwhile."""

from __future__ import annotations

import json
import os
import sys
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest

import fastmlp as fm
from cases import DTYPES, parameters, run_child, same_bits
from cases_runs import MEBIBYTE, exit_code_of_a_fork
from fastmlp import predictor, workspace

every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def features(net, n, rng):
    return rng.standard_normal((n, net.widths[0])).astype(net.dtype)


def is_as_network(net, w, X):
    """Whether a prediction's bits are those of the network, of rows of its dtype in C order."""
    plain = np.array(X, net.dtype, order="C")
    return same_bits(predictor.predict(net, w, X), net.predict(w, plain))


# Bits ----------------------------------------------------------------------------------------


@every_dtype
@pytest.mark.parametrize("width", [1, 7, 8, 9, 15, 16, 17, 32, 47, 48, 49, 300])
@pytest.mark.parametrize("output", ["softmax", "tanh"])
def test_any_number_of_rows_after_any_other(width, output, dtype, rng, monkeypatch):
    monkeypatch.setattr(workspace, "FEWEST_ROWS", 64)
    monkeypatch.setattr(workspace, "MOST_ROWS", 64)
    net = fm.Network([width, 9, width, 5], hidden=["relu", "gelu"], output=output, dtype=dtype)
    w = parameters(net, rng)
    X = features(net, 131, rng)
    alone = np.concatenate([net.predict(w, x[None]) for x in X])
    for n in (1, 131, 2, 4, 64, 3, 8, 65, 7, 5, 13, 101, 1, 128):
        predictor.predict(net, w, np.full((n, width), np.nan, dtype))
        assert same_bits(predictor.predict(net, w, X[:n]), alone[:n])


@every_dtype
def test_wide_layers_and_parameters_read_where_they_are(dtype, rng):
    """Layers deeper than a packed panel; weights that end where the parameters do."""
    net = fm.Network([2100, 47, 3], output="sigmoid", bias=False, dtype=dtype)
    w = parameters(net, rng)
    padded = np.full(net.n_params + 64, np.nan, dtype)
    padded[: net.n_params] = w
    X = features(net, 67, rng)
    expected = net.predict(w, X)
    for n in (1, 2, 3, 4, 6, 8, 9):
        assert same_bits(predictor.predict(net, w, X[:n]), expected[:n])
        assert same_bits(predictor.predict(net, padded[: net.n_params], X[:n]), expected[:n])


@every_dtype
@pytest.mark.parametrize("n_features", [5, 32, 33])  # rows of an even number of lines are gathered
@pytest.mark.parametrize("n", [1, 11, 300])
def test_dtypes_and_layouts_in_turn(n_features, n, dtype, rng, tmp_path):
    net = fm.Network([n_features, 20, 3], output="softmax", dtype=dtype)
    w = parameters(net, rng)
    X = features(net, n, rng)
    stored = np.memmap(tmp_path / "X", dtype, "w+", shape=X.shape)
    stored[:] = X
    stored.flush()
    frozen = X.copy()
    frozen.flags.writeable = False
    for given in (
        X,
        np.asfortranarray(X),
        np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3],
        X[::-1, ::-1],
        (10 * X).astype(np.int64),
        X > 0,
        X.astype(">f8"),
        X.astype(np.float32),
        X.astype(np.float64),
        np.memmap(tmp_path / "X", dtype, "r", shape=X.shape),
        frozen,
        X,
    ):
        before = given.copy()
        assert is_as_network(net, w, given)
        assert same_bits(given, before)


def test_results_and_parameters_belong_to_the_caller(rng):
    net = fm.Network([4, 8, 3])
    v, w = parameters(net, rng), parameters(net, rng)
    w.flags.writeable = False
    X = features(net, 7, rng)
    first = predictor.predict(net, w, X)
    kept = first.copy()
    assert is_as_network(net, v, X)
    assert same_bits(first, kept)
    assert first.flags.owndata
    assert is_as_network(net, w, X)


# Threads, forks, copies -----------------------------------------------------------------------


@every_dtype
def test_python_threads(dtype, rng):
    net = fm.Network([40, 300, 10], output="softmax", dtype=dtype)
    sizes = (1, 700, 3, 64, 1, 257, 8, 2000) * 4
    work = [(parameters(net, rng), features(net, n, rng)) for n in sizes]
    expected = [net.predict(w, X) for w, X in work]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            for _ in range(5):
                found = pool.map(lambda wX: predictor.predict(net, *wX), work)
                assert all(map(same_bits, found, expected))
    finally:
        sys.setswitchinterval(before)


def forks():
    """Print the exit codes of children that are forked while another thread predicts."""
    rng, done = np.random.default_rng(0), threading.Event()
    net = fm.Network([40, 300, 10], output="softmax")
    w, X = parameters(net, rng), features(net, 3000, rng)
    expected = predictor.predict(net, w, X)

    def compute():
        while not done.is_set():
            predictor.predict(net, w, X)

    thread = threading.Thread(target=compute)
    thread.start()
    codes = [
        exit_code_of_a_fork(lambda: same_bits(predictor.predict(net, w, X), expected), True)
        for _ in range(3)
    ]
    done.set()
    thread.join()
    print(json.dumps(codes))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_forked_while_another_thread_predicts():
    assert run_child("-W", "ignore::DeprecationWarning", __file__, "forks") == [0, 0, 0]


def test_networks_in_turn_and_at_once(rng):
    nets = [fm.Network([30, k, 3], output=out) for k in (5, 100) for out in ("softmax", "tanh")] * 3
    work = [(net, parameters(net, rng), features(net, 100 + k, rng)) for k, net in enumerate(nets)]
    expected = [predictor.predict(*each) for each in work]
    with ThreadPoolExecutor(6) as pool:
        for _ in range(10):
            found = pool.map(lambda each: predictor.predict(*each), work)
            assert all(map(same_bits, found, expected))


def test_shapes_that_do_not_fit(rng):
    net = fm.Network([3, 2])
    w = parameters(net, rng)
    with pytest.raises(ValueError, match="X has 2 features, the network expects 3"):
        predictor.predict(net, w, np.zeros((1, 2), np.float32))
    with pytest.raises(ValueError, match=r"w has shape \(7,\), the network expects \(8,\)"):
        predictor.predict(net, w[:-1], np.zeros((1, 3), np.float32))


# Memory --------------------------------------------------------------------------------------


@pytest.fixture
def traced():
    """Give the bytes that are in use now; NumPy reports what it allocates."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()


def scratch(net):
    """Bytes of every worker's packed panels."""
    wide = workspace.VECTORS * workspace.VECTOR_BYTES
    return numba.config.NUMBA_NUM_THREADS * (max(net.widths) + 100) * wide


def test_few_rows_take_little_and_many_a_block(rng, traced):
    net = fm.Network([100, 200, 10], output="softmax", dtype="float64")
    w, X = parameters(net, rng), features(net, 20_000, rng)
    net.predict(w, X)  # compiled
    predictor._idle.clear()
    before = traced()
    predictor.predict(net, w, X[:1])
    row = 2 * sum(workspace.row_stride(n, net.dtype) for n in net.widths) * 8
    assert traced() - before < 2 * row + scratch(net) + 50_000
    predictor.predict(net, w, X)
    assert 8 * MEBIBYTE < traced() - before < 20 * MEBIBYTE + scratch(net)
    predictor.predict(net, w, X[:1])
    most = traced()
    for n in range(1, 1500):
        predictor.predict(net, w, X[:n])
    assert traced() - most < 100_000


def test_many_threads_leave_few_buffers(rng, traced):
    net = fm.Network([100, 200, 10], output="softmax")
    w, X = parameters(net, rng), features(net, 1024, rng)
    net.predict(w, X)  # compiled
    predictor._idle.clear()
    before = traced()
    predictor.predict(net, w, X)
    most = predictor._idle.maxlen * (traced() - before) + MEBIBYTE
    predictor._idle.clear()
    before = traced()
    n_threads = 4 * predictor._idle.maxlen
    together = threading.Barrier(n_threads)

    class Rows(np.ndarray):
        """Rows of which a block is taken only when every thread has begun."""

        def __getitem__(self, key):
            together.wait(60)
            return np.asarray(self)[key]

    rows = X.astype(np.float64).view(Rows)
    with ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(lambda _: predictor.predict(net, w, rows), range(n_threads)))
    assert traced() - before < most


if __name__ == "__main__":
    forks()
