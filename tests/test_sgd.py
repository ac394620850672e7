"""sgd and minibatch_sgd against the naive twin, and what may not change a bit of their results."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastmlp as fm
import naive
from cases import parameters, problem, same_bits
from cases_cuts import (
    BLOCKWISE,
    CUTS,
    at_random,
    count_blockwise_steps,
    cut_to_single_batches,
    in_blocks,
    in_blocks_of,
    needs_two_threads,
    on_threads,
)
from fastmlp import workspace
from fastmlp.solvers import orders, samples

ORDERS = ("sequential", "shuffled", "replacement")
BATCH_SIZES = (1, 3, 7, 23, 40)  # of 23 samples
TOLERANCE = {"float64": 1e-12, "float32": 5e-5}
NETWORKS = {
    "linear": {"widths": [4, 2], "loss": "half_squared_error"},
    "one-in-one-out": {"widths": [1, 1]},
    "tanh": {"widths": [5, 17, 3], "hidden": "tanh"},
    "no-bias": {"widths": [5, 8, 8, 2], "hidden": ["sigmoid", "tanh"], "bias": False},
    "relu-softmax": {"widths": [6, 19, 11, 4], "output": "softmax"},
    "sigmoid": {"widths": [3, 7, 1], "hidden": "tanh", "loss": "binary_cross_entropy"},
    "sigmoids": {"widths": [3, 7, 5], "hidden": "relu", "loss": "binary_cross_entropy"},
    "sigmoid-squared": {"widths": [9, 4, 2], "output": "sigmoid", "loss": "squared_error"},
    "softmax-squared": {"widths": [4, 5, 3], "output": "softmax", "loss": "half_squared_error"},
    "relu-tanh": {"widths": [18, 33, 50], "output": "tanh"},
}


@pytest.fixture
def taken(monkeypatch):
    """The indices that the solvers take, in order."""
    pieces = []
    take = orders.Order.take

    def record(self, start, stop):
        indices = take(self, start, stop)
        assert len(indices) == stop - start
        pieces.append(np.copy(indices))
        return indices

    monkeypatch.setattr(orders.Order, "take", record)
    return pieces


def check_against_twin(net, w, X, y, taken, solve, batch_size, step, reduction="mean"):
    """Compare parameters and losses of three epochs with the twin's, epoch by epoch."""
    before, after = w.copy(), []
    result = solve(callback=lambda r: after.append(r.x.copy()))
    n, epochs = len(X), result.n_epochs
    order = np.concatenate(taken).reshape(epochs, n)
    tolerance = TOLERANCE[net.dtype.name]
    expected, k, n_batches = w, 0, -(-n // batch_size)
    for epoch, indices in enumerate(order):
        steps = dict(zip(range(n_batches), map(step, range(k, k + n_batches)), strict=True))
        expected, losses = naive.minibatch_sgd(
            naive.twin(net), X, y, expected, indices, steps, batch_size, reduction
        )
        k += n_batches
        assert_allclose(after[epoch], expected, rtol=tolerance, atol=tolerance)
        assert_allclose(result.history.loss[epoch], losses.mean(), rtol=tolerance, atol=tolerance)
        assert result.history.step[epoch] == step(k - 1)
    assert result.nit == k
    assert result.fun == result.history.loss[-1]
    assert same_bits(result.x, after[-1])
    assert same_bits(w, before)
    assert not np.shares_memory(result.x, w)
    return order


def step_size(k):
    return 0.02 / (1 + 0.05 * k)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", NETWORKS)
def test_sgd_follows_the_twin(name, order, dtype, taken, rng):
    net = fm.Network(**NETWORKS[name], dtype=dtype)
    w, X, y = problem(net, 23, rng, labels=order != "shuffled")

    def solve(**given):
        return fm.sgd(net, X, y, w, step=step_size, epochs=3, order=order, rng=5, **given)

    check_against_twin(net, w, X, y, taken, solve, 1, step_size)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("batch_size", BATCH_SIZES)
@pytest.mark.parametrize("name", NETWORKS)
def test_minibatch_sgd_follows_the_twin(name, batch_size, dtype, taken, rng):
    net = fm.Network(**NETWORKS[name], dtype=dtype)
    labels, reduction = batch_size in (1, 7, 40), ("mean", "sum")[batch_size in (3, 40)]
    order = ORDERS[batch_size % 3]
    w, X, y = problem(net, 23, rng, labels)

    def solve(**given):
        return fm.minibatch_sgd(
            net, X, y, w, batch_size=batch_size, step=step_size, epochs=3, order=order,
            reduction=reduction, rng=5, **given,
        )  # fmt: skip

    check_against_twin(net, w, X, y, taken, solve, batch_size, step_size, reduction)


def test_batches_beyond_the_workspace_follow_the_twin(taken, rng):
    net = fm.Network([3, 5, 2], dtype="float64")
    w, X, y = problem(net, workspace.MOST_ROWS * 2 + 77, rng)
    batch_size = workspace.MOST_ROWS + 9

    def solve(**given):
        return fm.minibatch_sgd(
            net, X, y, w, batch_size=batch_size, step=0.1, epochs=2, rng=0, **given
        )

    order = check_against_twin(net, w, X, y, taken, solve, batch_size, lambda k: 0.1)
    assert_array_equal(np.sort(order), np.tile(np.arange(len(X)), (2, 1)))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", NETWORKS)
def test_batches_of_one_follow_sgd(name, dtype, rng):
    net, options = fm.Network(**NETWORKS[name], dtype=dtype), {"step": 0.005, "epochs": 2, "rng": 3}
    w, X, y = problem(net, 23, rng)
    one = fm.sgd(net, X, y, w, **options)
    batches = fm.minibatch_sgd(net, X, y, w, batch_size=1, **options)
    assert one.nit == batches.nit == 46
    tolerance = TOLERANCE[dtype] / 10
    assert_allclose(batches.x, one.x, rtol=tolerance, atol=tolerance)
    assert_allclose(batches.history.loss, one.history.loss, rtol=tolerance, atol=tolerance)


# Orders ---------------------------------------------------------------------------------------

SOLVERS = {"sgd": fm.sgd, "minibatch_sgd": fm.minibatch_sgd}


@pytest.fixture(params=SOLVERS)
def solver(request):
    return SOLVERS[request.param]


def small(rng, n=23):
    net = fm.Network([6, 19, 11, 4], output="softmax")
    return net, *problem(net, n, rng)


def train(solver, net, w, X, y, **options):
    if solver is fm.minibatch_sgd:
        options.setdefault("batch_size", 5)
    return solver(net, X, y, w, **{"step": 0.02, "epochs": 2, **options})


def test_sequential_and_shuffled_take_every_sample_once(solver, taken, rng):
    net, *data = small(rng)
    train(solver, net, *data, order="sequential")
    assert_array_equal(np.concatenate(taken), np.tile(np.arange(23), 2))
    taken.clear()
    train(solver, net, *data, order="shuffled", rng=0)
    first, second = np.concatenate(taken).reshape(2, 23)
    assert_array_equal(np.sort([first, second]), np.tile(np.arange(23), (2, 1)))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, np.arange(23))


def test_replacement_draws_independently(solver, taken, rng):
    net, *data = small(rng, n=10)
    train(solver, net, *data, order="replacement", rng=0, epochs=2000)
    drawn = np.concatenate(taken)
    assert drawn.shape == (20_000,)
    assert (drawn.min(), drawn.max()) == (0, 9)
    pairs = np.bincount(drawn[:-1] * 10 + drawn[1:], minlength=100)
    assert 100 < pairs.min() < 200 < pairs.max() < 300  # seven deviations to either side
    assert any(len(np.unique(epoch)) < 10 for epoch in drawn.reshape(-1, 10))


# What may not change a bit -------------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: cut.__qualname__)
def test_bits_do_not_depend_on_the_runs(cut, order, solver, rng, monkeypatch):
    for name in ("relu-softmax", "sigmoids", "softmax-squared", "no-bias"):
        net = fm.Network(**NETWORKS[name], dtype="float32" if order == "shuffled" else "float64")
        w, X, y = problem(net, 101, rng)
        for options in [{}] if solver is fm.sgd else [
            {"batch_size": 1}, {"batch_size": 37}, {"batch_size": 100, "reduction": "sum"},
        ]:  # fmt: skip
            options = {"order": order, "rng": 1, "step": step_size, **options}
            whole = train(solver, net, w, X, y, **options)
            with monkeypatch.context() as patch:
                cut(patch)
                steps_in_blocks = count_blockwise_steps(patch)
                pieces = train(solver, net, w, X, y, **options)
            if cut in BLOCKWISE and options.get("batch_size", 0) > 16:
                assert len(steps_in_blocks) == pieces.nit
            assert same_bits(pieces.x, whole.x)
            assert same_bits(pieces.history.loss, whole.history.loss)
            assert same_bits(pieces.history.step, whole.history.step)
            assert pieces.nit == whole.nit


@needs_two_threads
@pytest.mark.parametrize("cut", [None, in_blocks, in_blocks_of(3), at_random])
@pytest.mark.parametrize("always_parallel", [False, True])
def test_bits_do_not_depend_on_threads(cut, always_parallel, rng, monkeypatch):
    if always_parallel:
        monkeypatch.setattr(workspace, "PARALLEL_FLOPS", 0)
        monkeypatch.setattr(workspace, "PARALLEL_BYTES", 0)
    cases = [([150, 130, 70], "softmax", 64), ([20, 9, 1], "sigmoid", 33), ([3, 300], None, 7)]
    for widths, output, batch_size in cases:
        net = fm.Network(widths, output=output)
        w, X, y = problem(net, 150, rng)
        results = []
        for n_threads in (1, 2):
            with monkeypatch.context() as patch:
                if cut:
                    cut(patch)
                with on_threads(n_threads):
                    results.append(
                        fm.minibatch_sgd(net, X, y, w, batch_size=batch_size, epochs=2, rng=0)
                    )
        assert same_bits(results[0].x, results[1].x)
        assert same_bits(results[0].history.loss, results[1].history.loss)


# Data of all kinds ---------------------------------------------------------------------------


def strided(array):
    wide = np.zeros((2 * len(array), *(n + 3 for n in array.shape[1:])), array.dtype)
    view = wide[::2, 1:-2] if array.ndim == 2 else wide[::2]
    view[...] = array
    return view


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def unaligned(array):
    buffer = np.empty(array.nbytes + 1, np.uint8)
    view = buffer[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def mapped(array, folder):
    path = folder / f"{len(list(folder.iterdir()))}.npy"
    np.save(path, array)
    return np.load(path, mmap_mode="r")


def kinds(array, folder, dtypes):
    """The same numbers in other dtypes and layouts."""
    array = np.asarray(array)
    return [
        *(array.astype(dtype) for dtype in dtypes), array.tolist(), np.asfortranarray(array),
        strided(array), array[::-1].copy()[::-1], unaligned(array), read_only(array),
        mapped(array, folder), mapped(array.astype("f8"), folder),
        array.astype(array.dtype.newbyteorder()), strided(read_only(array).astype("f8")),
    ]  # fmt: skip


def results_of(net, w, X, y):
    for solver in SOLVERS.values():
        result = train(solver, net, w, X, y, rng=0)
        yield from (result.x, result.history.loss)
    yield net.predict(w, X)
    yield net.gradient(w, X, y)
    yield np.array(net.loss(w, X, y))


@pytest.mark.parametrize("cut", [None, in_blocks, cut_to_single_batches])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", ["squared_error", "cross_entropy"])
def test_data_of_all_kinds(loss, dtype, cut, rng, tmp_path, monkeypatch):
    net = fm.Network([6, 9, 3], hidden="tanh", loss=loss, dtype=dtype)
    w = parameters(net, rng)
    X = rng.integers(4, size=(23, 6)).astype(dtype)
    y = rng.integers(3, size=(23, 3)).astype(dtype) if loss == "squared_error" else (
        rng.integers(3, size=23)
    )  # fmt: skip
    expected = list(results_of(net, w, X, y))
    if cut:
        cut(monkeypatch)
        monkeypatch.setattr(samples, "CONVERTED_BYTES", 1)
    numbers = ["f2", "f4", "f8", "i1", "u1", "i4", "i8", "u8", ">i2"]
    W = [w.tolist(), w.astype("f8"), strided(w), read_only(w), mapped(w, tmp_path), unaligned(w)]
    all_kinds = [
        *((w, X_kind, y) for X_kind in kinds(X, tmp_path, numbers)),
        *((w, X, y_kind) for y_kind in kinds(y, tmp_path, numbers)),
        *((w_kind, X, y) for w_kind in W),
        (w, X.astype("u1"), y.astype("i1")), (w, strided(X), strided(y)),
    ]  # fmt: skip
    for given in all_kinds:
        assert all(map(same_bits, results_of(net, *given), expected)), given


@pytest.mark.parametrize("loss", ["half_squared_error", "binary_cross_entropy"])
def test_a_column_and_a_vector_of_targets(loss, rng):
    net = fm.Network([6, 9, 1], loss=loss)
    w, X, y = problem(net, 23, rng)
    expected = list(results_of(net, w, X, y))
    assert all(map(same_bits, results_of(net, w, X, y[:, 0]), expected))
    assert all(map(same_bits, results_of(net, w, X, strided(y)[:, 0]), expected))
    y = y > 0.5
    expected = list(results_of(net, w, X, y.astype("f4")))
    assert all(map(same_bits, results_of(net, w, X, y), expected))


def test_float64_data_are_rounded_once(rng):
    net = fm.Network([6, 9, 3], hidden="tanh")
    w, X, y = (array + rng.normal(size=array.shape) for array in problem(net, 23, rng))
    expected = results_of(net, w.astype("f4"), X.astype("f4"), y.astype("f4"))
    assert all(map(same_bits, results_of(net, w, X, y), expected))
