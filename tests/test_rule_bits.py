"""What may not change a bit of training by a rule: threads, blocks, memory, earlier runs."""

import numpy as np
import pytest

import fastmlp as fm
from cases import problem, same_bits
from cases_cuts import (
    BLOCKWISE,
    CUTS,
    at_random,
    count_blockwise_steps,
    in_blocks,
    in_blocks_of,
    needs_two_threads,
    on_threads,
)
from cases_rules import TRAININGS, N, options_of
from fastmlp import workspace


def networks():
    yield fm.Network([6, 19, 11, 4], output="softmax")
    yield fm.Network([5, 8, 8, 2], hidden=["sigmoid", "tanh"], bias=False, dtype="float64")


def train(net, data, training, **more):
    options = {"step": lambda k: 0.02 / (1 + k), "epochs": 3, "rng": 1, **options_of(training)}
    return fm.minibatch_sgd(net, *data, **options, **more)


def check_same_runs(found, expected):
    assert same_bits(found.x, expected.x)
    assert same_bits(found.history.loss, expected.history.loss)
    assert same_bits(found.history.step, expected.history.step)
    assert found.nit == expected.nit
    if "iterate" in expected:
        assert same_bits(found.iterate, expected.iterate)


def data_of(net, rng):
    w, X, y = problem(net, N, rng)
    return X, y, w


@pytest.mark.parametrize("training", TRAININGS)
def test_bits_do_not_depend_on_the_runs(training, rng, monkeypatch):
    for net in networks():
        data = data_of(net, rng)
        whole = train(net, data, training)
        assert whole.success
        for cut in CUTS:
            with monkeypatch.context() as patch:
                cut(patch)
                steps_in_blocks = count_blockwise_steps(patch)
                pieces = train(net, data, training)
            if cut in BLOCKWISE:
                assert len(steps_in_blocks) == pieces.nit, cut
            check_same_runs(pieces, whole)


@needs_two_threads
@pytest.mark.parametrize("training", TRAININGS)
def test_bits_do_not_depend_on_threads(training, rng, monkeypatch):
    monkeypatch.setattr(workspace, "PARALLEL_FLOPS", 0)
    monkeypatch.setattr(workspace, "PARALLEL_BYTES", 0)
    for widths in ([150, 130, 70], [3, 300, 1]):
        net = fm.Network(widths, hidden="tanh")
        data = data_of(net, rng)
        for cut in (None, in_blocks, in_blocks_of(3), at_random):
            results = []
            for n_threads in (1, 2):
                with monkeypatch.context() as patch:
                    if cut:
                        cut(patch)
                    with on_threads(n_threads):
                        results.append(train(net, data, training))
            check_same_runs(*results)


@pytest.mark.parametrize("training", TRAININGS)
def test_rules_keep_nothing_from_run_to_run(training, rng):
    net = next(networks())
    data = data_of(net, rng)
    options = {"step": 0.01, "epochs": 2, "rng": 1, **options_of(training)}
    first, second = (fm.minibatch_sgd(net, *data, **options) for _ in range(2))
    check_same_runs(second, first)


@pytest.mark.parametrize("solver", [fm.sgd, fm.minibatch_sgd])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_off_changes_no_bit(dtype, solver, rng):
    net = fm.Network([6, 19, 11, 4], output="softmax", dtype=dtype)
    data = data_of(net, rng)
    plain = solver(net, *data, step=0.02, epochs=2, rng=0)
    for off in [
        {"rule": "sgd"}, {"rule": fm.rules.SGD()}, {"l1": 0, "l2": 0.0}, {"dropout": 0},
        {"dropout": [0, 0.0, 0]}, {"average": False}, {"sample_weight": None},
        {"clip_value": None, "clip_norm": None, "max_norm": None},
    ]:  # fmt: skip
        check_same_runs(solver(net, *data, step=0.02, epochs=2, rng=0, **off), plain)


@pytest.mark.parametrize("rule", ["sgd", "adam"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_limits_never_met_change_no_bit(dtype, rule, rng):
    net = fm.Network([6, 19, 11, 4], output="softmax", dtype=dtype)
    data, options = data_of(net, rng), {"step": 0.02, "epochs": 2, "rng": 0, "batch_size": 37}
    plain = fm.minibatch_sgd(net, *data, rule=rule, **options)
    for off in ({"clip_value": 1e9}, {"clip_norm": 1e9}, {"max_norm": 1e9}):
        check_same_runs(fm.minibatch_sgd(net, *data, rule=rule, **options, **off), plain)


@pytest.mark.parametrize("training", [t for t in TRAININGS if not t.startswith("Rprop")])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_single_samples_are_batches_of_one(dtype, training, rng):
    net = fm.Network([6, 19, 11, 4], hidden="tanh", output="softmax", dtype=dtype)
    data = data_of(net, rng)
    options = {"step": 0.01, "epochs": 2, "rng": 1, **options_of(training), "batch_size": 1}
    batches = fm.minibatch_sgd(net, *data, reduction="sum", **options)
    del options["batch_size"]
    one = fm.sgd(net, *data, **options)
    if training == "SGD":  # the kernel for single samples, with sums in another order
        np.testing.assert_allclose(one.x, batches.x, rtol=1e-5, atol=1e-6)
    else:
        check_same_runs(one, batches)
