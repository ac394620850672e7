"""A stochastic solver that was stopped goes on from its checkpoint to the same bits."""

import gc
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import MT19937, PCG64DXSM, SFC64, Generator, Philox

import fastmlp as fm
from cases import problem
from cases_checkpoints import (
    BATCH_SIZE,
    EPOCHS,
    N,
    Watch,
    check_resumes,
    check_same,
    every_solver,
    names,
    resumed,
    stop,
    stops_of,
    train,
    updates_of_an_epoch,
)
from cases_cuts import BLOCKWISE, CUTS, count_blockwise_steps, needs_two_threads, on_threads
from cases_rules import EVERY_RULE, IDS
from fastmlp import files, rules, schedules
from fastmlp.solvers import orders


def data_of(dtype="float32", n=N):
    net = fm.Network([3, 9, 3], hidden="tanh", output="softmax", dtype=dtype)
    return net, *problem(net, n, np.random.default_rng(7))


DATA = {dtype: data_of(dtype) for dtype in ("float32", "float64")}
OTHERS = {dtype: data_of(dtype, 11)[2:] for dtype in DATA}
WEIGHTS = np.random.default_rng(8).choice([0.0, 0.5, 1.0, 2.5], N)


def slope(model, X, y):
    return float(model.predict(X).sum() - (y == 0).sum() ** 0.5)


# Rules and settings --------------------------------------------------------------------------


@every_solver
@pytest.mark.parametrize(("rule", "options"), [case[:2] for case in EVERY_RULE], ids=IDS)
def test_every_rule(name, rule, options, tmp_path):
    rule, dtype = getattr(rules, rule)(**options), "float32"
    stops, further = stops_of(name)[1::2], {"step": 0.05}
    if rule.needs_all_samples:
        if name == "sgd":
            pytest.skip("needs all samples in a batch")
        stops, further = (2, 3, 7), {"batch_size": None, "epochs": 7, "step": 0.01}
    data = DATA[dtype]
    check_resumes(lambda **o: train(name, data, rule=rule, **further, **o), tmp_path, stops)


PLATEAU = schedules.reduce_on_plateau(0.5, factor=0.5, patience=0)
SETTINGS = {
    "nothing": {},
    "replacement": {"order": "replacement"},
    "sequential": {"order": "sequential"},
    "dropout": {"dropout": [0.2, 0.4], "order": "replacement"},
    "average": {"average": True},
    "average-late": {"average": 9, "rule": "nesterov", "dropout": 0.3},
    "clip_norm": {"clip_norm": 0.1},
    "bounds": {"clip_value": 0.01, "max_norm": 0.7, "l1": 0.01, "l2": 0.1, "rule": "adamw"},
    "class_weight": {"class_weight": {1: 3.0}, "sample_weight": WEIGHTS, "validation": 0.3},
    "inverse": {"step": schedules.inverse(0.5)},
    "warm-up": {"step": schedules.warm_up(schedules.cosine(0.3, 9, growth=2), 5)},
    "function": {"step": lambda k: 0.1 / (1 + k)},
    "plateau": {"step": PLATEAU},
    "warm-up-of-plateau": {"step": schedules.warm_up(PLATEAU, 7), "validation": 0.2},
    "share": {"validation": 0.2},
    "given": {"validation": OTHERS["float32"], "average": True},
    "weighed": {"validation": (*OTHERS["float32"], np.arange(11.0)), "scoring": "accuracy"},
    "scoring": {"validation": 0.3, "scoring": slope, "dropout": 0.2},
    "patience": {"validation": 0.3, "scoring": slope, "patience": 1},
    "patience-of-loss": {"patience": 2, "min_improvement": 0.5},
}


@every_solver
@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting(name, setting, tmp_path):
    options = SETTINGS[setting]
    expected = train(name, DATA["float32"], **options)
    assert (expected.n_epochs < EPOCHS) == ("patience" in options)
    stops = [at for at in stops_of(name) if at <= expected.nit]
    check_resumes(lambda **o: train(name, DATA["float32"], **options, **o), tmp_path, stops)


@pytest.mark.parametrize("batch_size", [1, 5, None])
def test_sums_in_float64(batch_size, tmp_path):
    options = {
        "batch_size": batch_size, "reduction": "sum", "sample_weight": WEIGHTS, "rule": "adam",
        "average": 2, "dropout": 0.2, "epochs": 5, "step": 0.01, "clip_norm": 3.0, "l2": 0.1,
    }  # fmt: skip
    data = DATA["float64"]
    check_resumes(lambda **o: train("minibatch_sgd", data, **options, **o), tmp_path, (1, 3, 5))


@every_solver
@pytest.mark.parametrize("pieces", [2, 100])
def test_orders_of_many_samples(name, pieces, tmp_path, monkeypatch):
    """Orders that are computed piece by piece, and passed over by pieces."""
    monkeypatch.setattr(orders, "LONGEST_PERMUTATION", 5)
    monkeypatch.setattr(orders, "SKIPPED_AT_ONCE", pieces)
    for order in orders.KINDS:
        (folder := tmp_path / order).mkdir()
        solve = lambda order=order, **o: train(name, DATA["float32"], order=order, **o)  # noqa: E731
        check_resumes(solve, folder, stops_of(name))


@every_solver
def test_checkpoints_that_come_seldom(name, tmp_path):
    solve = lambda **o: train(name, DATA["float32"], average=True, **o)  # noqa: E731
    check_resumes(solve, tmp_path, (3, 6, 11), every_n_steps=4)
    n = updates_of_an_epoch(name)
    stop(solve, tmp_path / "by-epochs", 3 * n + 2, every_n_steps=10**6)
    check_same(resumed(solve, tmp_path / "by-epochs", 3 * n), solve())


# How the work is cut up -----------------------------------------------------------------------


@pytest.mark.parametrize("cut", CUTS, ids=lambda cut: cut.__qualname__.split(".")[0])
def test_resumed_in_other_pieces(cut, tmp_path, monkeypatch):
    options = {
        "batch_size": 19, "rule": "adam", "dropout": 0.3, "average": 3, "sample_weight": WEIGHTS,
        "step": 0.05,
    }  # fmt: skip
    data = DATA["float32"]
    expected = train("minibatch_sgd", data, **options)
    for at in (2, 3, 6):
        path, other = tmp_path / f"{at}", tmp_path / f"{at}-other"
        stop(lambda **o: train("minibatch_sgd", data, **options, **o), path, at)
        with monkeypatch.context() as patch:
            cut(patch)
            steps = count_blockwise_steps(patch)
            result = train("minibatch_sgd", data, checkpoint=path, resume=True, **options)
            assert bool(steps) == (cut in BLOCKWISE) or cut.__name__ == "at_random"
            check_same(result, expected)
            stop(lambda **o: train("minibatch_sgd", data, **options, **o), other, at)
        check_same(train("minibatch_sgd", data, resume=other, **options), expected)


@needs_two_threads
@every_solver
@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_resumed_on_other_threads(name, before, after, tmp_path):
    net = fm.Network([11, 200, 90, 3], output="softmax")
    data = net, *problem(net, 120, np.random.default_rng(1))
    options = {"batch_size": 64} if name == "minibatch_sgd" else {}
    options |= {"rule": "momentum", "epochs": 2, "dropout": 0.2}
    solve = lambda **o: train(name, data, **options, **o)  # noqa: E731
    with on_threads(before):
        expected = solve()
        stop(solve, tmp_path / "run", 3, every_n_steps=2)
    with on_threads(after):
        check_same(resumed(solve, tmp_path / "run", 2), expected)


@every_solver
def test_resumed_on_a_memory_map(name, tmp_path):
    net, w, X, y = DATA["float32"]
    expected = train(name, (net, w, X, y))
    np.save(tmp_path / "X.npy", X)
    stored = np.load(tmp_path / "X.npy", mmap_mode="r")
    for there, here in ((X, stored), (stored, X), (X, np.asfortranarray(X, np.float64))):
        path = tmp_path / "run"
        path.unlink(missing_ok=True)
        stop(lambda X=there, **o: train(name, (net, w, X, y), **o), path, 9)
        check_same(resumed(lambda X=here, **o: train(name, (net, w, X, y), **o), path, 8), expected)


# Ends -----------------------------------------------------------------------------------------


@every_solver
@pytest.mark.parametrize("options", [{}, SETTINGS["patience"]], ids=["all", "patience"])
def test_a_run_that_is_at_its_end(name, options, tmp_path):
    solve = lambda **o: train(name, DATA["float32"], **options, **o)  # noqa: E731
    expected = solve()
    check_same(solve(checkpoint=tmp_path / "run"), expected)
    for _ in range(2):
        check_same(resumed(solve, tmp_path / "run", expected.nit), expected)
    assert names(tmp_path) == ["run"]


@every_solver
@pytest.mark.parametrize("epochs", [1, 3])
def test_more_epochs(name, epochs, tmp_path):
    options = {"order": "replacement", "average": True, "step": PLATEAU, "validation": 0.2}
    solve = lambda **o: train(name, DATA["float32"], **{**options, **o})  # noqa: E731
    solve(epochs=epochs, checkpoint=tmp_path / "run")
    expected = solve(epochs=5)
    n = expected.nit // 5
    check_same(resumed(solve, tmp_path / "run", epochs * n, epochs=5), expected)


@pytest.mark.parametrize("solver", ["minibatch_sgd", "gradient_descent"])
def test_what_was_read_is_not_held(solver, tmp_path):
    """While a run goes on, it takes no more memory than one that was never stopped."""
    net = fm.Network([50, 2000, 3])
    w, X, y = problem(net, 16, np.random.default_rng(0))
    path, live = tmp_path / "run", []

    def look(state):
        gc.collect()
        live.append(tracemalloc.get_traced_memory()[0])

    def run(n, **options):
        options = {"checkpoint": path, "callback": look, **options}
        if solver == "minibatch_sgd":
            fm.minibatch_sgd(net, X, y, w, rule="adam", epochs=n, rng=0, **options)
        else:
            objective = fm.Objective(net, X, y)
            fm.gradient_descent(objective, w, direction="conjugate", max_iter=n, **options)

    run(1)  # all is compiled
    tracemalloc.start()
    try:
        run(4)
        straight = live[-1]
        run(2)
        run(4, resume=True)
    finally:
        tracemalloc.stop()
    assert abs(live[-1] - straight) < w.nbytes / 2


def test_fewer_epochs(tmp_path):
    """As many as are done are enough; fewer are not."""
    solve = lambda **o: train("minibatch_sgd", DATA["float32"], **{"epochs": 2, **o})  # noqa: E731
    stop(solve, tmp_path / "run", 9)
    with pytest.raises(ValueError, match=r"is of epoch 2, beyond the 1 to do$") as caught:
        solve(resume=tmp_path / "run", epochs=1)
    assert not isinstance(caught.value, fm.FormatError)
    check_same(solve(resume=tmp_path / "run"), solve())


@every_solver
def test_stopped_by_a_callback_without_a_state(name, tmp_path):
    """Asked again, it may say something else: the run goes on."""
    solve = lambda **o: train(name, DATA["float32"], **o)  # noqa: E731
    result = solve(checkpoint=tmp_path / "run", callback=lambda state: state.n_epochs == 2)
    assert (result.status, result.n_epochs) == (1, 2)
    check_same(resumed(solve, tmp_path / "run", result.nit), solve())


# Random generators ----------------------------------------------------------------------------


@every_solver
@pytest.mark.parametrize("kind", [np.random.PCG64, MT19937, PCG64DXSM, Philox, SFC64])
def test_generators_of_the_caller(name, kind, tmp_path):
    """Which end in the same state, too."""

    def solve(**options):
        rng = Generator(kind(5))
        rng.integers(10, dtype=np.uint32)  # half of what it has at once is left
        try:
            return train(
                name, DATA["float32"], rng=rng, order="replacement", validation=0.2, dropout=0.2,
                **options,
            )  # fmt: skip
        finally:
            states.append(rng.integers(2**63, size=5).tolist())

    states = []
    expected = solve()
    for at in (1, 5, 17):
        path = tmp_path / str(at)
        stop(solve, path, at)
        check_same(resumed(solve, path, at - 1), expected)
        assert states[-1] == states[0]
    check_same(resumed(solve, path), expected)
    assert states[-1] == states[0]


@every_solver
def test_without_a_seed(name, tmp_path):
    """The seed is the checkpoint's, and so is the beginning."""
    net, w, *samples = DATA["float32"]

    class Copy:
        every_n_steps = 1

        def on_steps(self, state):
            if state.nit == 5:
                self.rng = np.random.default_rng()
                raise ZeroDivisionError

    options = {"rng": None, "dropout": 0.3, "validation": 0.2}
    kept = fm.Checkpoints(tmp_path / "run", every_n_steps=2)
    with pytest.raises(ZeroDivisionError):
        train(name, (net, w, *samples), checkpoint=kept, callback=Copy(), **options)
    kind, tree = files.read(tmp_path / "run")
    assert (kind, tree["run"]["n_updates"]) == ("checkpoint", 4)
    rng = np.random.default_rng()
    rng.bit_generator.state = tree["start"]
    expected = train(name, (net, w, *samples), **{**options, "rng": rng})
    result = train(name, (net, np.zeros_like(w), *samples), resume=tmp_path / "run", **options)
    check_same(result, expected)
    check_same(train(name, (net, w, *samples), resume=tmp_path / "run", **options), expected)


# All at once ----------------------------------------------------------------------------------

CHOICES = {
    "rule": ["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "amsgrad", "adamw"],
    "order": orders.KINDS,
    "dropout": [0.0, 0.3, [0.2, 0.0]],
    "average": [False, True, 7],
    "clip_norm": [None, 0.2],
    "max_norm": [None, 0.9],
    "l1": [0.0, 0.01],
    "sample_weight": [None, WEIGHTS],
    "validation": [None, 0.3, OTHERS["float32"]],
    "patience": [None, 1, 3],
    "step": [0.3, PLATEAU, schedules.warm_up(PLATEAU, 3), schedules.one_cycle(0.5, 20)],
    "rng": [0, 1],
}


@settings(max_examples=60)
@given(
    name=st.sampled_from(["sgd", "minibatch_sgd"]),
    options=st.fixed_dictionaries({name: st.sampled_from(v) for name, v in CHOICES.items()}),
    batch_size=st.sampled_from([1, 3, BATCH_SIZE, 8, 64, None]),
    every_n_steps=st.integers(1, 9),
    data=st.data(),
)
def test_any_settings(name, options, batch_size, every_n_steps, data, tmp_path_factory):
    """Several stops, at any updates."""
    path = tmp_path_factory.mktemp("any") / "run"
    if name == "minibatch_sgd":
        options["batch_size"] = batch_size
    solve = lambda **o: train(name, DATA["float32"], **options, **o)  # noqa: E731
    expected = solve()
    stops = st.lists(st.integers(1, expected.nit), max_size=4, unique=True)
    for at in sorted(data.draw(stops, "stops")):
        stop(solve, path, at, every_n_steps)
    watch = Watch()
    check_same(solve(resume=True, checkpoint=path, callback=watch), expected)
    assert watch.ended == expected.nit
    assert names(path.parent) == [path.name]
