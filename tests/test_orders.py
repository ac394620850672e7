"""The orders of stochastic solvers: every sample once, every order alike likely, no memory."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fastmlp.kernels.shuffle import N_KEYS, permute, shuffle
from fastmlp.solvers import orders


def shuffled(n, seed, piece=None):
    """Return the whole order of n, made in pieces."""
    keys = np.random.default_rng(seed).integers(2**64, size=N_KEYS, dtype=np.uint64)
    place, done = 0, []
    while sum(map(len, done)) < n:
        out = np.empty(min(piece or n, n - sum(map(len, done))), np.int64)
        place = shuffle(keys, n, place, out)
        done.append(out)
    return np.concatenate(done)


@given(n=st.integers(1, 3000), seed=st.integers(0, 2**32), piece=st.integers(1, 500))
def test_a_permutation_whatever_the_pieces(n, seed, piece):
    order = shuffled(n, seed)
    assert sorted(order) == list(range(n))
    np.testing.assert_array_equal(shuffled(n, seed, piece), order)


@pytest.mark.parametrize("n", [3, 4])
def test_all_orders_of_a_few_are_alike_likely(n):
    """The hardest case, far below where it is used: few bits leave a Feistel network few orders."""
    kinds = {p: i for i, p in enumerate(permutations(range(n)))}
    drawn = [kinds[tuple(shuffled(n, seed))] for seed in range(200 * len(kinds))]
    assert stats.chisquare(np.bincount(drawn, minlength=len(kinds))).pvalue > 1e-6


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_drawn_permutations_are_alike_likely(n):
    kinds = {p: i for i, p in enumerate(permutations(range(n)))}
    rng, out = np.random.default_rng(n), np.empty(n, np.int64)
    counts = np.zeros(len(kinds))
    for _ in range(200 * len(kinds)):
        permute(rng.integers(2**64, size=N_KEYS, dtype=np.uint64), out)
        counts[kinds[tuple(out)]] += 1
    assert len(kinds) == 1 or stats.chisquare(counts).pvalue > 1e-6


def test_places_and_neighbours_of_many_are_uniform():
    n, bins = 100_003, 20
    first_places, differences = [], []
    for seed in range(20):
        order = shuffled(n, seed)
        places = np.argsort(order)
        first_places.append(np.histogram(places[: n // bins], bins, (0, n))[0])
        differences.append(np.histogram(np.diff(order) % n, bins, (0, n))[0])
    for counts in (np.sum(first_places, axis=0), np.sum(differences, axis=0)):
        assert stats.chisquare(counts, np.full(bins, counts.sum() / bins)).pvalue > 1e-6


@pytest.mark.parametrize("n", [10, orders.LONGEST_PERMUTATION, orders.LONGEST_PERMUTATION + 1])
def test_shuffled_epochs_differ_and_are_complete(n):
    order = orders.Order("shuffled", n, np.random.default_rng(0))
    epochs = []
    for _ in range(2):
        order.begin_epoch()
        middle = n // 3
        epochs.append(np.concatenate([order.take(0, middle), order.take(middle, n)]))
        np.testing.assert_array_equal(np.sort(epochs[-1]), np.arange(n))
    assert not np.array_equal(*epochs)


def test_replacement_and_sequential():
    order = orders.Order("replacement", 5, np.random.default_rng(0))
    order.begin_epoch()
    drawn = order.take(0, 10_000)
    assert stats.chisquare(np.bincount(drawn, minlength=5)).pvalue > 1e-6
    order = orders.Order("sequential", 5, np.random.default_rng(0))
    order.begin_epoch()
    np.testing.assert_array_equal(order.take(2, 5), [2, 3, 4])
