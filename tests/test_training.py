"""Edges of stochastic training: what is refused, what overflows, and what is left as it was."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastmlp as fm
from cases import same_bits
from cases_cuts import in_blocks_of
from fastmlp.solvers import rules

RPROP = {"rule": "rprop", "batch_size": None}


@pytest.fixture
def data(rng):
    net = fm.Network([3, 5, 2], output="softmax")
    X = rng.standard_normal((20, 3)).astype(net.dtype)
    return net, X, rng.integers(2, size=20), net.init(rng=0)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1; got 0"),
        ({"dropout": 1.5}, ValueError, "dropout must be a probability below 1; got 1.5"),
        ({"rule": "rprop"}, ValueError, "needs all samples in a batch .*; got batches of 8"),
    ],
)
def test_a_refused_call_draws_nothing(options, error, message, data):
    generator = np.random.default_rng(1)
    with pytest.raises(error, match=message):
        fm.minibatch_sgd(*data, **{"batch_size": 8, **options}, validation=0.2, rng=generator)
    assert generator.bit_generator.state == np.random.default_rng(1).bit_generator.state


@pytest.mark.parametrize("options", [{"order": "replacement"}, {"dropout": 0.5}])
def test_rprop_needs_the_same_function_in_each_update(options, data):
    with pytest.raises(ValueError, match=r"Rprop.* needs the same samples and units"):
        fm.minibatch_sgd(*data, **RPROP, **options)


def test_dropout_of_hidden_layers_needs_one(rng):
    net = fm.Network([3, 1])
    arguments = net, rng.standard_normal((4, 3)), np.ones(4), net.init(rng=0)
    with pytest.raises(ValueError, match=r"dropout=0.9 is for hidden layers.*\[0.9\]"):
        fm.minibatch_sgd(*arguments, dropout=0.9)
    plain = fm.minibatch_sgd(*arguments, rng=0).x
    assert same_bits(fm.minibatch_sgd(*arguments, dropout=0.0, rng=0).x, plain)
    assert not same_bits(fm.minibatch_sgd(*arguments, dropout=[0.5], rng=0).x, plain)


@pytest.mark.parametrize(
    "options", [{"l1": 1e39}, {"l2": 1e39}, {"clip_norm": 1e-46}, {"max_norm": 1e-46}], ids=str
)
def test_numbers_beyond_the_range_of_the_dtype(options, data):
    (name,) = options
    with pytest.raises(ValueError, match=f"{name} is .*, beyond the range of float32"):
        fm.minibatch_sgd(*data, **options)


@pytest.mark.parametrize("progress", ["no", 1, 0.0])
def test_progress_is_a_truth_value(progress, data):
    with pytest.raises(TypeError, match="progress must be True, False or None"):
        fm.minibatch_sgd(*data, progress=progress)


def test_min_improvement_needs_patience(data):
    with pytest.raises(ValueError, match=r"min_improvement=0\.1 needs patience"):
        fm.minibatch_sgd(*data, min_improvement=0.1)


def test_a_column_whose_norm_overflows_is_not_hidden():
    net = fm.Network([2, 1], bias=False)
    X = np.full((1, 2), 1e-19)
    w = np.full(2, 3e19)
    with pytest.warns(RuntimeWarning, match="Diverged"):
        result = fm.minibatch_sgd(net, X, [1.0], w, max_norm=3.0)
    assert result.status == 3


@pytest.mark.parametrize("tiny", [1e-40, 1e-36, 1e-30])
def test_a_batch_of_small_weights_is_as_any_other(tiny, rng):
    """The mean over a batch of one sample does not depend on its weight."""
    net = fm.Network([2, 3, 1], hidden="tanh")
    X, y = 100 * rng.standard_normal((3, 2)), rng.standard_normal(3)
    w = net.init(rng=0)
    options = {"batch_size": 1, "order": "sequential", "step": 1e-3}
    weighted = fm.minibatch_sgd(net, X, y, w, sample_weight=[tiny, 1, 1], **options)
    assert weighted.success
    assert_allclose(weighted.x, fm.minibatch_sgd(net, X, y, w, **options).x, rtol=1e-5)


@pytest.mark.parametrize(
    "options", [{"rule": "adam"}, {"rule": "momentum"}, {"rule": "adamw"}, {"l2": 0.1}, {}], ids=str
)
@pytest.mark.parametrize("solver", [fm.sgd, fm.minibatch_sgd])
def test_a_batch_without_weight_changes_nothing(solver, options, data):
    net, X, y, w = data
    more = {} if solver is fm.sgd else {"batch_size": 5}
    weights = np.repeat([1.0, 0.0], 10)
    run = {"order": "sequential", "step": 0.1, **options, **more}
    result = solver(net, X, y, w, sample_weight=weights, **run)
    alone = solver(net, X[:10], y[:10], w, **run)
    assert_array_equal(result.x, alone.x)
    assert result.nit == 2 * alone.nit
    assert_allclose(result.fun, alone.fun, rtol=1e-12)


@pytest.mark.parametrize("cut", [None, in_blocks_of(3)])
def test_a_batch_without_weight_counts_in_the_mean_of_iterates(cut, data, monkeypatch):
    if cut:
        cut(monkeypatch)
    net, X, y, w = data
    run = {"batch_size": 5, "order": "sequential", "rule": "adam", "step": 0.1}
    weights = np.repeat([1.0, 0.0, 1.0, 0.0], 5)
    after = [w]
    for n in range(1, 5):  # adam's state depends on the number of updates: run each anew
        part = slice(5 * n)
        result = fm.minibatch_sgd(net, X[part], y[part], w, sample_weight=weights[part], **run)
        after.append(result.x)
    assert_array_equal(after[1], after[2])
    mean = fm.minibatch_sgd(net, X, y, w, sample_weight=weights, average=True, **run).x
    assert_allclose(mean, np.mean(after[1:], axis=0, dtype=np.float64), rtol=1e-5, atol=1e-7)


def test_the_mean_of_many_iterates_keeps_its_digits():
    """In float32, shares of a millionth would be lost one by one."""
    X, y, n = np.array([[1.0], [1.0]]), np.array([0.0, 1.0]), 150_000
    means = {}
    for dtype in ("float32", "float64"):
        net = fm.Network([1, 1], bias=False, dtype=dtype)
        result = fm.sgd(
            net, X, y, [0.9], step=1e-6, order="sequential", epochs=n, average=True
        )  # fmt: skip
        means[dtype] = float(result.x[0])
    assert_allclose(means["float32"], means["float64"], rtol=2e-4)


def test_an_epoch_without_weight_has_no_loss(data):
    net, X, y, w = data
    result = fm.sgd(net, X, y, w, sample_weight=[0.0] * 19 + [1.0], order="replacement", rng=1)
    drawn = np.random.default_rng(1).integers(20, size=20)
    assert (19 in drawn) == np.isfinite(result.fun)


def test_the_best_epoch_of_the_training_loss(data):
    result = fm.minibatch_sgd(*data, epochs=50, patience=3, min_improvement=10.0)
    assert result.n_epochs == 4
    assert result.best_epoch == np.argmin(result.history.loss) + 1
    assert result.best_value == result.history.loss.min()


def test_reasons_to_stop_reach_the_message_of_every_solver(data):
    net, X, y, w = data
    objective = fm.Objective(net, X, y)

    def stop(state):
        raise StopIteration("Enough.")

    for result in (
        fm.sgd(*data, callback=stop),
        fm.gradient_descent(objective, w, callback=stop),
        fm.minimize(objective, w, callback=stop),
    ):
        assert (result.status, result.message) == (1, "Enough.")


def test_rules_are_values():
    assert rules.resolve("adam") == rules.Adam()
    with pytest.raises(TypeError, match=r"rules.Adam\(\); got the class"):
        rules.resolve(rules.Adam)
