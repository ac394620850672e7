"""Dropout: its masks, recovered from what an update tells, and training with them."""

from functools import cache

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastmlp as fm
import naive
import naive_rules
from cases import problem, same_bits
from cases_cuts import in_blocks_of
from cases_rules import TOLERANCE, check_same_path, sequential, step_size

N_LAYERS = 3  # whose inputs can be dropped: A_0, A_1, A_2
DEVIATIONS = 5


def masks_of(layer, n_units, n, batch_size, p, seed):
    """What A_layer is multiplied by (n, n_units), at each sample of an epoch in sequence.

    The units of that layer are all 1 and W_{layer + 1} is 0, so that with Y = -I and identities
    behind, the i-th sample's update moves column i of W_{layer + 1} by -step times its mask. A tiny
    step leaves everything else as it is.
    """
    widths = [1] * layer + [n_units] + [n] * (N_LAYERS - layer)
    net = fm.Network(widths, hidden="identity", loss="half_squared_error", dtype="float64")
    w = np.zeros(net.n_params)
    if layer > 0:
        net.biases(w)[layer - 1][:] = 1
    for W in net.weights(w)[layer + 1 :]:
        W[:] = np.eye(n)
    step = 2.0**-40
    result = fm.minibatch_sgd(
        net, np.ones((n, widths[0])), -np.eye(n), w, batch_size=batch_size, step=step, rng=seed,
        order="sequential", reduction="sum", dropout=[p * (i == layer) for i in range(N_LAYERS)],
    )  # fmt: skip
    mask = -net.weights(result.x)[layer].T / step
    kept = mask > 0.5
    assert_allclose(mask, kept / (1 - p), rtol=0, atol=1e-5)
    return kept / (1 - p)


N_UNITS, N_STEPS, N_ROWS = 257, 24, 16


@cache
def kept(layer=1, seed=0, p=0.5):
    """Which units were kept (n_steps, n_rows, n_units)."""
    mask = masks_of(layer, N_UNITS, N_STEPS * N_ROWS, N_ROWS, p, seed)
    return (mask > 0).reshape(N_STEPS, N_ROWS, N_UNITS)


def standardised(units, p=0.5):
    return (units - (1 - p)) / np.sqrt(p * (1 - p))


def check_independent(first, second):
    """Fail where two arrays of standardised numbers are correlated."""
    assert abs(np.mean(first * second)) * np.sqrt(first.size) < DEVIATIONS


@pytest.mark.parametrize("p", [0.02, 0.25, 0.5, 0.8, 0.97])
@pytest.mark.parametrize("layer", range(N_LAYERS))
def test_as_many_are_dropped_as_asked(layer, p):
    units = kept(layer, p=p)
    z = standardised(units, p)
    assert abs(z.mean()) * np.sqrt(z.size) < DEVIATIONS
    assert abs((units / (1 - p)).mean() - 1) < DEVIATIONS * np.sqrt(p / (1 - p) / z.size)
    for axis in range(3):  # of every step, row and unit
        sums = np.moveaxis(z, axis, 0).reshape(z.shape[axis], -1)
        deviations = sums.mean(axis=1) * np.sqrt(sums.shape[1])
        assert abs(deviations).max() < DEVIATIONS
        assert abs((deviations**2).sum() - len(sums)) < DEVIATIONS * np.sqrt(2 * len(sums)) + 2


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_neighbours_are_independent(p):
    z = standardised(kept(p=p), p)
    for axis, lags in [
        (0, (1, 2, 3, 8)),
        (1, (1, 2, 4, 8)),
        (2, (1, 2, 3, 4, 7, 8, 16, 32, 64, 128)),
    ]:
        along = np.moveaxis(z, axis, 0)
        for lag in lags:
            check_independent(along[lag:], along[:-lag])
    check_independent(z[:, 1:, 1:], z[:, :-1, :-1])
    check_independent(z[:, 1:, :-1], z[:, :-1, 1:])
    check_independent(z[1:, :-1], z[:-1, 1:])
    check_independent(z[:-1, :-1], z[1:, 1:])
    check_independent(z[:, :, 2:] * z[:, :, 1:-1], z[:, :, :-2])  # three at a time
    check_independent(z[2:] * z[1:-1], z[:-2])


def test_layers_and_seeds_are_independent():
    masks = [standardised(kept(layer, seed)) for layer in range(N_LAYERS) for seed in (0, 1, 2**40)]
    for i, first in enumerate(masks):
        for second in masks[:i]:
            check_independent(first, second)


def test_no_two_rows_and_no_two_units_are_alike():
    rows = np.concatenate([standardised(kept(layer)) for layer in range(N_LAYERS)])
    rows = rows.reshape(-1, N_UNITS)
    for matrix in (rows, rows.T):
        for lag in (0, 1, 2, 8):  # moved along, too
            one, other = matrix[:, lag:], matrix[:, : matrix.shape[1] - lag]
            products = one @ other.T / np.sqrt(one.shape[1])
            np.fill_diagonal(products, 0)
            assert abs(products).max() < 7.5  # of 10^6 normal numbers the largest is about 5


def test_masks_are_those_of_the_seed():
    for layer in range(N_LAYERS):
        again = masks_of(layer, N_UNITS, N_STEPS * N_ROWS, N_ROWS, 0.5, 0) != 0
        assert_array_equal(again.reshape(N_STEPS, N_ROWS, N_UNITS), kept(layer))


# Training ------------------------------------------------------------------------------------


# Probabilities are rounded to 32 bits: those that have no more digits are exact.
@pytest.mark.parametrize("blocks", [False, True])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("n", [21, 20])
@pytest.mark.parametrize(
    ("widths", "hidden", "dropout"),
    [
        ([5, 17, 9, 3], ["tanh", "sigmoid"], [0.25, 0.5, 0.375]),
        ([9, 1, 48, 2], ["relu", "tanh"], 0.375),
        ([16, 15, 7, 1], ["sigmoid", "identity"], [0.0, 0.0, 0.875]),
        ([49, 8, 47, 8], ["tanh", "relu"], [0.5, 0, 0]),
    ],
    ids=str,
)
def test_training_follows_the_twin(widths, hidden, dropout, n, dtype, blocks, rng, monkeypatch):
    net = fm.Network(widths, hidden=hidden, dtype=dtype)
    w, X, y = problem(net, n, rng)
    epochs = 2 if n == 21 else 1  # batches of 7; a smaller one only at the very end
    each = [0, dropout, dropout] if isinstance(dropout, float) else dropout
    masks = [
        masks_of(layer, widths[layer], n * epochs, 7, p, 3) if p else np.ones((n * epochs, 1))
        for layer, p in enumerate(each)
    ]
    if blocks:
        in_blocks_of(2)(monkeypatch)
    for rule, its_twin in [
        (fm.rules.SGD(), naive_rules.SGD()), (fm.rules.Adam(eps=0.05), naive_rules.Adam(eps=0.05)),
    ]:  # fmt: skip
        result = fm.minibatch_sgd(
            net, X, y, w, batch_size=7, rule=rule, step=step_size, epochs=epochs, l2=0.1,
            order="sequential", rng=3, dropout=dropout,
        )  # fmt: skip
        trained = naive_rules.train(
            naive.twin(net), X, y, w, sequential(epochs, n),
            [step_size(k) for k in range(6)], 7, its_twin, l2=0.1,
            masks=lambda k, layer, n_rows, n_units: masks[layer][7 * k : 7 * k + n_rows],
        )  # fmt: skip
        check_same_path(result, trained, w)
        assert_allclose(
            net.predict(result.x, X), naive.predict(naive.twin(net), result.x, X),
            rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype],
        )  # fmt: skip


def test_validation_drops_nothing(rng):
    net = fm.Network([5, 17, 9, 3], dtype="float64")
    w, X, y = problem(net, 23, rng)
    seen = []
    result = fm.minibatch_sgd(
        net, X, y, w, epochs=3, batch_size=7, dropout=[0.25, 0.5, 0.5], validation=(X, y), rng=0,
        callback=lambda r: seen.append(net.loss(r.x, X, y)),
    )  # fmt: skip
    assert_allclose(result.history.validation_loss, seen, rtol=1e-13)
    assert (abs(result.history.loss / seen - 1) > 0.01).all()


@pytest.mark.parametrize("order", ["sequential", "shuffled", "replacement"])
def test_seeds_decide(order, rng):
    net = fm.Network([5, 17, 9, 3])
    w, X, y = problem(net, 23, rng)
    options = {"order": order, "epochs": 2, "batch_size": 5, "dropout": 0.5}
    first, again, other = (
        fm.minibatch_sgd(net, X, y, w, rng=seed, **options)
        for seed in (1, np.random.default_rng(1), 2)
    )
    assert same_bits(again.x, first.x)
    assert same_bits(again.history.loss, first.history.loss)
    assert not same_bits(other.x, first.x)


@pytest.mark.parametrize("solver", [fm.sgd, fm.minibatch_sgd])
def test_errors(solver, rng):
    net = fm.Network([5, 17, 9, 3])
    w, X, y = problem(net, 23, rng)

    def refused(error, match, dropout):
        before = w.copy()
        with pytest.raises(error, match=match):
            solver(net, X, y, w, dropout=dropout, callback=lambda r: pytest.fail("began"))
        assert same_bits(w, before)

    for bad in (-0.1, 1.0, 1, 1.5, float("nan"), float("inf")):
        refused(ValueError, f"dropout must be.*{bad!r}", bad)
        refused(ValueError, f"dropout must be.*{bad!r}", [0, bad, 0.5])
    for bad in ("0.5", None, True, 1j):
        refused(TypeError, "dropout must be", bad)
        refused(TypeError, "dropout must be", [0, 0.5, bad])
    for wrong in ([], [0.5], [0.5, 0.5], [0.5] * 4):
        refused(ValueError, f"dropout has {len(wrong)}.*3", wrong)
