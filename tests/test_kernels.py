"""Batch and per-sample kernels against the twin; whatever the memory held, and however X lies."""

from __future__ import annotations

from itertools import cycle

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import fastmlp as fm
from cases import (
    BATCHES,
    DIFFERENTIABLE,
    DTYPES,
    JUMPS,
    PAIRS,
    SQUARED,
    WIDTHS,
    Expected,
    check,
    check_same_results,
    every_result,
    problem,
    same_bits,
)
from fastmlp import workspace

N_CASES = 144
# Rows of per-sample results that are compared: about so many numbers.
MOST_NUMBERS = 100_000


def random_networks(n_cases, seed, pairs, hidden):
    """Networks of 1 to 4 layers; every pair, batch size, number of layers and width comes up."""
    rng = np.random.default_rng(seed)
    batches, widths = cycle(rng.permutation(BATCHES)), cycle(rng.permutation(WIDTHS * 7))
    for case, (output, loss) in zip(range(n_cases), cycle(pairs), strict=False):
        n_layers = 1 + case % 4
        net = fm.Network(
            [int(next(widths)) for _ in range(n_layers + 1)],
            hidden=[str(name) for name in rng.choice(hidden, n_layers - 1)],
            output=output,
            loss=loss,
            bias=bool(rng.random() < 0.7),
            dtype=DTYPES[case // len(pairs) % 2],
        )
        yield net, int(next(batches))


def networks(*arguments):
    cases = list(random_networks(*arguments))
    return pytest.mark.parametrize(("net", "n"), cases, ids=str)


def check_batch(net, w, X, y, *, gradient=True):
    expected = Expected(net, w, X, y)
    check("predict", net.predict(w, X), expected.prediction, net.dtype)
    for reduction in ("mean", "sum"):
        loss = net.loss(w, X, y, reduction=reduction)
        assert type(loss) is float
        check(f"loss {reduction} ", loss, expected.loss(reduction), net.dtype)
        if gradient:
            found = net.gradient(w, X, y, reduction=reduction)
            assert found.dtype == net.dtype
            check(f"gradient {reduction} ", found, expected.gradient(reduction), net.dtype)


def check_samples(net, w, X, y):
    n = max(1, MOST_NUMBERS // net.n_params)
    expected = Expected(net, w, X[:n], y[:n])
    found = net.sample_gradients(w, X[:n], y[:n])
    check("sample_gradients", found, expected.sample_gradients(), net.dtype)
    n = n // net.widths[-1]
    if n > 0:
        expected = Expected(net, w, X[:n])
        check("jacobian", net.jacobian(w, X[:n]), expected.jacobian(), net.dtype)


# Against the twin ----------------------------------------------------------------------------


@networks(N_CASES, 0, PAIRS, DIFFERENTIABLE)
def test_random_network(net, n, rng):
    w, X, y = problem(net, n, rng)
    check_batch(net, w, X, y)
    check_samples(net, w, X, y)


@networks(24, 1, [("softmax", "cross_entropy")], DIFFERENTIABLE)
def test_rows_of_probabilities(net, n, rng):
    w, X, y = problem(net, n, rng, labels=False)
    check_batch(net, w, X, y)
    check_samples(net, w, X, y)


JUMP_PAIRS = [*((output, loss) for output in JUMPS for loss in SQUARED), *PAIRS]


@networks(48, 2, JUMP_PAIRS, JUMPS + DIFFERENTIABLE)
def test_jumps_forward(net, n, rng):
    w, X, y = problem(net, n, rng)
    check_batch(net, w, X, y, gradient=False)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 9, 65])
@pytest.mark.parametrize(
    "widths", [(2047, 9), (2048, 3), (2049, 17, 2), (9, 2055, 2), (3, 2, 2065), (4100, 1)], ids=str
)
def test_deeper_than_a_panel(widths, n, dtype, rng):
    """Products longer than a packed panel are done in parts that add up."""
    net = fm.Network(widths, hidden="tanh", dtype=dtype)
    w, X, y = problem(net, n, rng)
    check_batch(net, w, X, y)
    check_samples(net, w, X, y)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [*range(1, 27), 95, 96, 97])
def test_every_width_around_a_tile(width, dtype, rng):
    for widths in ([width, 5], [5, width], [3, width, 4], [width, width]):
        for output, loss in (("softmax", "cross_entropy"), ("tanh", "squared_error")):
            net = fm.Network(widths, hidden="sigmoid", output=output, loss=loss, dtype=dtype)
            w, X, y = problem(net, width, rng)
            check_batch(net, w, X, y)
            check_samples(net, w, X, y)


def test_more_rows_than_a_block(rng):
    net = fm.Network([3, 8, 2], output="softmax")
    n = 2 * workspace.block_rows(net) + 13
    check_batch(net, *problem(net, n, rng))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("hidden", "output", "loss"),
    [("relu", "softmax", "cross_entropy"), ("tanh", "sigmoid", "binary_cross_entropy")],
)
def test_zeros_everywhere(hidden, output, loss, dtype):
    """At w = 0 and X = 0 all is known: uniform probabilities, and relu'(0) = 0."""
    net = fm.Network([4, 9, 3], hidden=hidden, output=output, loss=loss, dtype=dtype)
    w, X = np.zeros(net.n_params, dtype), np.zeros((7, 4), dtype)
    p = {"softmax": 1 / 3, "sigmoid": 0.5}[output]
    y = np.tile(np.array([1, 0, 0], dtype), (7, 1))
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(net.predict(w, X), p, rtol=eps)
    n_logs = {"softmax": 1, "sigmoid": 3}[output]
    np.testing.assert_allclose(net.loss(w, X, y), n_logs * -np.log(p), rtol=2 * eps)
    gradient = net.gradient(w, X, y)
    np.testing.assert_allclose(gradient[-3:], [p - 1, p, p], rtol=8 * eps)
    assert_array_equal(gradient[:-3], 0)


# Memory that was never written ---------------------------------------------------------------


@pytest.fixture
def poison(monkeypatch):
    """Fill all fresh memory with ones, bit for bit: NaN, and -1 as an integer."""
    allocate, empty = workspace.allocate, np.empty
    counts = []

    def filled(array):
        array.view(np.uint8)[...] = 255
        counts.append(array.size)
        return array

    def apply():
        monkeypatch.setattr(workspace, "allocate", lambda *args: filled(allocate(*args)))
        monkeypatch.setattr(np, "empty", lambda *args, **kws: filled(empty(*args, **kws)))
        assert np.isnan(workspace.allocate(3, np.float32)).all()
        assert np.isnan(np.empty((2, 3))).all()
        counts.clear()
        return counts

    return apply


POISONED = [
    (fm.Network([5, 3], output="softmax"), 40),
    (fm.Network([5, 9, 1], hidden="relu", bias=False), 17),
    (fm.Network([17, 47, 9, 10], hidden=["tanh", "sigmoid"], output="softmax"), 31),
    (fm.Network([8, 49, 7], hidden="tanh", output="sigmoid", dtype="float64"), 65),
    (fm.Network([7, 9, 5], output="softmax", loss="squared_error"), 33),
    (fm.Network([7, 9, 5], output="softmax", loss="half_squared_error", dtype="float64"), 33),
    (fm.Network([7, 9, 5], output="tanh", loss=fm.losses.huber(0.4)), 33),
    (fm.Network([7, 9, 5], hidden="tanh", loss="poisson", dtype="float64"), 33),
    (fm.Network([7, 9, 5], loss=fm.losses.cross_entropy(0.2)), 33),
    (fm.Network([9, 15, 6], hidden="step", output="sign"), 20),
    (fm.Network([9, 15, 6], hidden="sign", output="softmax", dtype="float64"), 20),
    (fm.Network([2060, 3, 2060], hidden="identity", output="relu"), 14),
    (fm.Network([300, 300, 30], output="softmax"), 257),
    (fm.Network([17, 47, 9, 5], hidden=["gelu", "tanh"], output="silu"), 31),
    (fm.Network([5, 9, 49, 2], hidden=["elu", "hard_tanh"], output="exp", dtype="float64"), 65),
]


@pytest.mark.parametrize(("net", "n"), POISONED, ids=str)
def test_poisoned_workspace(net, n, poison, rng):
    w, X, y = problem(net, n, rng)
    expected = every_result(net, w, X, y)
    assert all(np.isfinite(values).all() for values in expected.values())
    counts = poison()
    found = every_result(net, w, X, y)
    assert len(counts) > 10
    check_same_results(found, expected)


# However X lies in memory --------------------------------------------------------------------


def layouts(X, folder):
    """The numbers of X, small integers, in many types and layouts."""
    path = folder / f"{len(list(folder.iterdir()))}.npy"
    np.save(path, X)
    read_only = X.copy()
    read_only.flags.writeable = False
    strided = np.full((2 * len(X), 3 * X.shape[1]), 255, X.dtype)
    strided[::2, 1::3] = X
    unaligned = np.frombuffer(b"x" + X.tobytes(), X.dtype, offset=1).reshape(X.shape)
    return {
        "read-only": read_only,
        "memory map": np.load(path, mmap_mode="r"),
        "memory map, own writes": np.load(path, mmap_mode="c"),
        "Fortran order": np.asfortranarray(X),
        "strided": strided[::2, 1::3],
        "backwards": X[::-1, ::-1].copy()[::-1, ::-1],
        "unaligned": unaligned,
        "other byte order": X.astype(X.dtype.newbyteorder()),
        **{name: X.astype(name) for name in ("float16", "float32", "float64", "int64", "uint8")},
        "lists": X.tolist(),
    }


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("output", "loss"), [("softmax", "cross_entropy"), ("tanh", None)])
def test_layouts_of_X(output, loss, dtype, rng, tmp_path):
    net = fm.Network([9, 17, 4], output=output, loss=loss, dtype=dtype)
    w, _, y = problem(net, 37, rng)
    X = rng.integers(0, 200, (37, 9)).astype(dtype)
    w *= w.dtype.type(0.01)
    expected = every_result(net, w, X, y)
    for name, other in layouts(X, tmp_path).items():
        assert_array_equal(other, X, err_msg=name)
        check_same_results(every_result(net, w, np.asanyarray(other), y), expected)


@pytest.mark.parametrize("output", ["softmax", "tanh"])
def test_layouts_of_w_and_y(output, rng, tmp_path):
    net = fm.Network([9, 17, 4], output=output)
    _, X, y = problem(net, 37, rng)
    X *= np.float32(0.05)
    w, y = rng.integers(0, 2, net.n_params), rng.integers(0, 4, y.shape)
    expected = every_result(net, w, X, y)
    rows_of_w, rows_of_y = (layouts(a.reshape(len(a), -1), tmp_path) for a in (w, y))
    for name, other in rows_of_w.items():
        check_same_results(every_result(net, np.asanyarray(other)[:, 0], X, y), expected)
        other = np.asanyarray(rows_of_y[name])
        other = other[:, 0] if y.ndim == 1 else other
        check_same_results(every_result(net, w, X, other), expected)


def test_inputs_are_not_written(rng):
    net = fm.Network([9, 17, 4], output="softmax", loss="squared_error")
    w, X, y = problem(net, 37, rng)
    copies = w.copy(), X.copy(), y.copy()
    every_result(net, w, X, y)
    for array, copy in zip((w, X, y), copies, strict=True):
        assert same_bits(array, copy)
