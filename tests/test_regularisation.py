"""Penalties, clipping, limits on columns and averages, against the twin and by their laws."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastmlp as fm
import naive
import naive_rules
from cases import DTYPES, problem, same_bits
from cases_cuts import in_blocks_of
from cases_rules import check_same_path, naive_rule, sequential

N = 23
# Whose columns are longer or shorter than a vector, and of all lengths about the limits below.
NETWORKS = [
    {"widths": [1, 1]},
    {"widths": [7, 9, 8, 2], "hidden": "tanh"},
    {"widths": [5, 16, 3], "hidden": "sigmoid", "bias": False, "loss": "half_squared_error"},
    {"widths": [15, 49, 17], "hidden": "tanh", "output": "softmax"},
]
OPTIONS = [
    {"l1": 0.05}, {"l2": 0.3}, {"l1": 0.02, "l2": 0.1},
    {"clip_value": 0.02}, {"clip_norm": 0.1}, {"clip_norm": 0.7},
    {"max_norm": 0.9}, {"max_norm": 0.01},
    {"l1": 0.01, "l2": 0.1, "clip_value": 0.05, "max_norm": 1.0},
    {"l1": 0.01, "l2": 0.1, "clip_norm": 0.3, "max_norm": 1.0},
]  # fmt: skip
RULES = {
    "SGD": {},
    "Nesterov": {"momentum": 0.5},
    "AdamW": {"eps": 0.05, "weight_decay": 0.3},  # eps above the errors of small gradients
}
dtypes = pytest.mark.parametrize("dtype", DTYPES)
blocks = pytest.mark.parametrize("blocks", [False, True])


def cut(monkeypatch, blocks):
    if blocks:
        in_blocks_of(2)(monkeypatch)


def train(net, data, **given):
    options = {"step": 0.02, "epochs": 3, "batch_size": 7, "order": "sequential", **given}
    return fm.minibatch_sgd(net, *data, **options)


def prefixes(net, data, n_updates, **options):
    """The parameters after 0, 1, ... updates by one sample each."""
    X, y, w = data
    yield w
    for k in range(1, n_updates + 1):
        yield train(net, (X[:k], y[:k], w), batch_size=1, epochs=1, **options).x


def make(made, dtype, rng, n=N):
    net = fm.Network(**made, dtype=dtype)
    w, X, y = problem(net, n, rng)
    return net, (X, y, w)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", RULES)
@blocks
@dtypes
def test_training_follows_the_twin(dtype, blocks, name, options, rng, monkeypatch):
    cut(monkeypatch, blocks)
    # The sign of a weight that turns an update later would be no rounding error.
    keeps_signs = dtype == "float32" and "l1" in options
    step, margin = (0.002, 0.4) if keeps_signs else (0.02, 0.0)
    for made in NETWORKS:
        net, (X, y, w) = make(made, dtype, rng)
        w = w + margin * np.sign(w)
        twin = naive.twin(net)
        for batch_size in (1, 7, N):
            rule = getattr(fm.rules, name)(**RULES[name])
            result = train(net, (X, y, w), batch_size=batch_size, rule=rule, step=step, **options)
            trained = naive_rules.train(
                twin, X, y, w, sequential(3, N), [step] * 3 * N, batch_size,
                naive_rule(name, RULES[name], twin), **options,
            )  # fmt: skip
            assert not keeps_signs or (trained.iterates * w > 0).all()
            check_same_path(result, trained, w)


# Penalties -----------------------------------------------------------------------------------


@blocks
@dtypes
def test_l2_is_the_objectives(dtype, blocks, rng, monkeypatch):
    net, (X, y, w) = make(NETWORKS[1], dtype, rng)
    expected = fm.Objective(net, X, y, l2=0.7).gradient(w)
    cut(monkeypatch, blocks)
    one = train(net, (X, y, w), batch_size=None, epochs=1, step=0.5, l2=0.7)
    assert_allclose((w - one.x) / 0.5, expected, rtol=0, atol=10 * np.finfo(dtype).eps)


@pytest.mark.parametrize(("option", "expected"), [("l1", np.sign), ("l2", lambda w: w)])
@dtypes
def test_penalties_spare_biases_and_zeros(option, expected, dtype, rng):
    net = fm.Network([9, 17], dtype=dtype)
    w = rng.standard_normal(net.n_params).astype(dtype)
    w[::5] = 0
    X, y = np.zeros((7, 9)), np.tile(net.biases(w)[0], (7, 1))  # no gradient but the penalty's
    result = train(net, (X, y, w), batch_size=7, epochs=1, step=0.25, **{option: 0.125})
    moved = w - 0.25 * 0.125 * expected(w)
    assert_array_equal(result.x[:-17], moved[:-17].astype(dtype))
    assert same_bits(result.x[-17:], w[-17:])


def test_losses_leave_penalties_out(rng):
    net, (X, y, w) = make(NETWORKS[1], "float64", rng)
    result = train(net, (X, y, w), batch_size=None, epochs=1, l1=10.0, l2=10.0, max_norm=0.1)
    assert_allclose(result.fun, net.loss(w, X, y), rtol=1e-13)


# Clipping ------------------------------------------------------------------------------------


@blocks
@dtypes
def test_no_step_is_longer_than_clip_norm(dtype, blocks, rng, monkeypatch):
    cut(monkeypatch, blocks)
    net, data = make(NETWORKS[1], dtype, rng, n=12)
    error = 100 * float(np.finfo(dtype).eps)  # of differences of w beside steps about 0.02 long
    free = np.array([*prefixes(net, data, 1)], "f8")
    length = np.linalg.norm(free[1] - free[0]) / 0.02
    for c in (0.01, length / 2, length * 0.99, length * 1.01, length * 10):
        iterates = np.array([*prefixes(net, data, 12, clip_norm=c)], "f8")
        lengths = np.linalg.norm(np.diff(iterates, axis=0), axis=1) / 0.02
        assert (lengths <= c + error).all()
        if c < length:
            assert lengths[0] == pytest.approx(c, abs=error)
            assert (free[1] - free[0]) @ (iterates[1] - iterates[0]) > 0
        else:
            assert_array_equal(iterates[1], free[1])


@pytest.mark.parametrize("scale", [1e-30, 1e-18, 1e18, 1e30])
@dtypes
def test_the_norm_neither_overflows_nor_vanishes(dtype, scale, rng):
    """Squares of these gradients are beyond the range of float32."""
    net = fm.Network([3, 4], loss="half_squared_error", dtype=dtype)
    w, X = np.zeros(net.n_params, dtype), rng.standard_normal((5, 3)).astype(dtype)
    y = (scale * rng.standard_normal((5, 4))).astype(dtype)
    g = net.gradient(w, X, y).astype("f8")
    clipped = train(net, (X, y, w), batch_size=5, epochs=1, step=1.0, clip_norm=1e-3 * scale)
    expected = -1e-3 * scale * g / np.linalg.norm(g)
    assert_allclose(clipped.x, expected, rtol=1e-4)


@dtypes
def test_no_entry_is_larger_than_clip_value(dtype, rng):
    net, (X, y, w) = make(NETWORKS[1], dtype, rng)
    g = net.gradient(w, X, y).astype("f8")
    result = train(net, (X, y, w), batch_size=None, epochs=1, step=1.0, clip_value=0.1)
    eps = 10 * np.finfo(dtype).eps
    assert_allclose(w - result.x.astype("f8"), np.clip(g, -0.1, 0.1), rtol=0, atol=eps)
    assert 0.1 < np.mean(abs(g) > 0.1) < 0.9


# Columns -------------------------------------------------------------------------------------


@pytest.mark.parametrize("made", NETWORKS, ids=lambda made: str(made["widths"]))
@blocks
@dtypes
def test_no_column_is_longer_than_max_norm(dtype, blocks, made, rng, monkeypatch):
    cut(monkeypatch, blocks)
    net, data = make(made, dtype, rng, n=9)
    eps = np.finfo(dtype).eps
    for c in (0.3, 1.0):
        for k, w in enumerate(prefixes(net, data, 9, max_norm=c)):
            norms = [np.linalg.norm(W.astype("f8"), axis=0) for W in net.weights(w)]
            assert k == 0 or max(map(np.max, norms)) <= c * (1 + 8 * eps)
        free, limited = (
            train(net, data, batch_size=None, epochs=1, **given) for given in ({}, {"max_norm": c})
        )
        for W, V in zip(net.weights(free.x), net.weights(limited.x), strict=True):
            norms = np.linalg.norm(W.astype("f8"), axis=0)
            within = norms < c * (1 - 1e-5)
            assert same_bits(V[:, within], W[:, within])
            longer = norms > c * (1 + 1e-5)
            expected = c * W[:, longer].astype("f8") / norms[longer]
            assert_allclose(V[:, longer], expected, rtol=8 * eps)
        for b, limited_b in zip(net.biases(free.x), net.biases(limited.x), strict=True):
            assert same_bits(limited_b, b)


# Averages ------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["sgd", "adam"])
@blocks
@dtypes
def test_averages_are_means_of_iterates(dtype, blocks, rule, rng, monkeypatch):
    cut(monkeypatch, blocks)
    net, data = make(NETWORKS[3], dtype, rng, n=12)
    iterates = np.array([*prefixes(net, data, 12, rule=rule)]).astype("f8")
    options = {"batch_size": 1, "epochs": 1, "rule": rule}
    plain = train(net, data, **options)
    for average, first in [(True, 0), (1, 1), (5, 5), (11, 11)]:
        result = train(net, data, average=average, **options)
        assert_allclose(
            result.x, iterates[1 + first :].mean(axis=0), rtol=0, atol=8 * np.finfo(dtype).eps
        )
        assert same_bits(result.iterate, plain.x)
        assert same_bits(result.history.loss, plain.history.loss)
        assert not same_bits(result.x, plain.x) or first == 11
    assert "iterate" not in plain
    for late in (12, 1000):  # not begun
        result = train(net, data, average=late, **options)
        assert same_bits(result.x, plain.x)
        assert same_bits(result.iterate, plain.x)


def test_averages_go_on_from_epoch_to_epoch(rng):
    net, data = make(NETWORKS[1], "float64", rng)
    iterates, seen = [], []
    options = {"batch_size": None, "epochs": 6, "step": 0.1}
    train(net, data, callback=lambda r: iterates.append(r.x.copy()), **options)
    result = train(net, data, average=2, callback=lambda r: seen.append(r.x.copy()), **options)
    for k in range(3, 7):
        assert_allclose(seen[k - 1], np.mean(iterates[2:k], axis=0), rtol=1e-13, atol=1e-13)
    assert same_bits(seen[-1], result.x)
    assert same_bits(result.iterate, iterates[-1])


def test_averages_of_noisy_steps_are_nearer(rng):
    """Polyak and Juditsky: the mean forgets the noise that constant steps keep alive."""
    net = fm.Network([4, 1], dtype="float64", loss="half_squared_error")
    X, truth = rng.standard_normal((2000, 4)), rng.standard_normal(5)
    y = X @ truth[:4] + truth[4] + rng.standard_normal(2000)
    solution, *_ = np.linalg.lstsq(np.column_stack([X, np.ones(2000)]), y, rcond=None)
    result = train(
        net, (X, y, np.zeros(5)), batch_size=1, epochs=10, step=0.05, average=2000,
        order="shuffled", rng=0,
    )  # fmt: skip
    last, mean = (np.linalg.norm(w - solution) for w in (result.iterate, result.x))
    assert last > 0.1
    assert mean < last / 5
