"""What steers a training and what it reports: step sizes, seeds, progress, the result."""

import io
import math
import sys
from fractions import Fraction

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.optimize import OptimizeResult

import fastmlp as fm
import naive
from cases import problem, same_bits
from fastmlp import progress as bars
from fastmlp.solvers import orders, trainers

N = 10
SOLVERS = {"sgd": fm.sgd, "minibatch_sgd": fm.minibatch_sgd}
N_UPDATES = {"sgd": N, "minibatch_sgd": 4}  # of an epoch, in batches of 3


@pytest.fixture
def data(rng):
    net = fm.Network([3, 5, 2], hidden="tanh", dtype="float64")
    return net, *problem(net, N, rng)


@pytest.fixture(params=SOLVERS)
def name(request):
    return request.param


def train(name, data, step=0.05, **options):
    net, w, X, y = data
    if name == "minibatch_sgd":
        options["batch_size"] = 3
    return SOLVERS[name](net, X, y, w, step=step, **{"epochs": 3, "rng": 0, **options})


# Step sizes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [True, [0.1], 1j, np.array([0.1])], ids=repr)
def test_neither_number_nor_callable(name, step, data):
    with pytest.raises(TypeError, match="step must be"):
        train(name, data, step)


@pytest.mark.parametrize(
    ("step", "sizes"),
    [
        (0.05, lambda k: 0.05),
        (Fraction(1, 32), lambda k: 1 / 32),
        (np.float32(0.125), lambda k: 0.125),
        (fm.schedules.constant(0.05), lambda k: 0.05),
        (fm.schedules.inverse(0.3), lambda k: 0.3 / (k + 1)),
        (fm.schedules.cosine(0.05, 5), lambda k: 0.025 * (1 + math.cos(math.pi * (k % 5) / 5))),
        (fm.schedules.warm_up(0.05, 7), lambda k: 0.05 * min(k / 7, 1)),
        (lambda k: 0.05 if k % 2 else 0, lambda k: 0.05 if k % 2 else 0),
        (lambda k: np.float32(0.25) / (k + 1), lambda k: np.float32(0.25) / (k + 1)),
        (lambda k: Fraction(1, k + 20), lambda k: 1 / (k + 20)),
    ],
    ids=[
        "number",
        "fraction",
        "float32",
        "constant",
        "inverse",
        "cosine",
        "warm-up",
        "callable",
        "32",
        "fractions",
    ],
)
def test_steps_run_on_across_epochs(name, step, sizes, data):
    """The twin, given the sizes of k = 0, 1, ..., ends at the same place."""
    net, w, X, y = data
    result = train(name, data, step, order="sequential")
    n = N_UPDATES[name]
    size, expected, losses = -(-N // n), w, []
    for epoch in range(3):
        steps = [sizes(k) for k in range(epoch * n, epoch * n + n)]
        expected, of_epoch = naive.minibatch_sgd(
            naive.twin(net), X, y, expected, np.arange(N), steps, size
        )
        losses.append(of_epoch.mean())
    np.testing.assert_allclose(result.x, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(result.history.loss, losses, rtol=1e-12)
    assert result.nit == 3 * n
    last = [sizes(n - 1), sizes(2 * n - 1), sizes(3 * n - 1)]
    np.testing.assert_allclose(result.history.step, last, rtol=1e-15)


def test_schedules_and_callables_of_the_same_sizes_give_the_same_bits(name, data):
    constant, inverse = fm.schedules.constant(0.05), fm.schedules.inverse(0.3)
    for steps in ([0.05, constant, lambda k: 0.05], [inverse, lambda k: 0.3 / (k + 1)]):
        first, *others = (train(name, data, step) for step in steps)
        assert all(same_bits(first.x, other.x) for other in others)


@pytest.mark.parametrize("most_entries", [1, 7, 2**16])
def test_a_callable_is_asked_once_for_each_k(name, most_entries, data, monkeypatch):
    monkeypatch.setattr(trainers, "MOST_ENTRIES", most_entries)
    asked = []

    def step(k):
        asked.append(k)
        return 0.01

    result = train(name, data, step)
    assert asked == list(range(result.nit)) == list(range(3 * N_UPDATES[name]))
    assert all(type(k) is int for k in asked)


BAD = {
    "negative": -0.5,
    "nan": float("nan"),
    "inf": float("inf"),
    "text": "fast",
    "numeric-text": "0.1",
    "bytes": b"0.1",
    "None": None,
    "bool": True,
    "complex": 0.1 + 0j,
    "list": [0.1],
    "array": np.array([0.1]),
    "two": np.array([0.1, 0.2]),
    "object": object(),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
@pytest.mark.parametrize("at", [0, 2, 9])
def test_a_callable_that_returns_something_else(name, bad, at, data):
    w = data[1]
    before = w.copy()
    with pytest.raises(ValueError, match=rf"step\({at}\)"):
        train(name, data, lambda k: bad if k == at else 0.01)
    assert same_bits(w, before)


def test_the_message_shows_what_came(name, data):
    with pytest.raises(ValueError, match=r"step\(1\).*-0\.5"):
        train(name, data, lambda k: 0.1 - 0.6 * k)


def test_errors_of_the_callable_itself_go_through(name, data):
    def step(k):
        raise KeyError("rate")

    with pytest.raises(KeyError, match="rate"):
        train(name, data, step)


def test_zero_steps_change_nothing(name, data):
    net, w, X, y = data
    result = train(name, data, lambda k: 0)
    assert same_bits(result.x, w)
    np.testing.assert_allclose(result.history.loss, naive.loss(naive.twin(net), w, X, y))
    assert result.status == 0


def test_a_step_below_the_dtype_is_no_step(name, rng):
    net = fm.Network([3, 5, 2])
    data = net, *problem(net, N, rng)
    assert same_bits(train(name, data, 1e-60).x, data[1])


# Told the loss -------------------------------------------------------------------------------


def on_plateau(c, losses, patience=0, least=0.0):
    """Step sizes before the first epoch and after each, where a reduction is by a half."""
    sizes, best, waited = [c], math.inf, 0
    for loss in losses:
        waited = 0 if loss < best * (1 - 1e-4) else waited + 1
        best = min(best, loss) if waited == 0 else best
        if waited > patience:
            c, waited = max(c / 2, least), 0
        sizes.append(c)
    return sizes


@pytest.mark.parametrize("patience", [0, 1])
def test_reduce_on_plateau(name, patience, data):
    """Steps so large that the loss goes up and down."""
    schedule = fm.schedules.reduce_on_plateau(2.0, 0.5, patience, least=0.1)
    results = [train(name, data, schedule, epochs=30) for _ in range(2)]
    history = results[0].history
    assert_array_equal(history.step, on_plateau(2.0, history.loss, patience, least=0.1)[:-1])
    assert len({*history.step}) > 2
    assert same_bits(results[0].x, results[1].x)  # a run leaves no trace


@pytest.mark.parametrize("n_steps", [N_UPDATES["minibatch_sgd"], 9, 35])
def test_warm_up_before_a_plateau(name, n_steps, data):
    """It is told the losses of those epochs only that end after the warm-up."""
    plateau = fm.schedules.reduce_on_plateau(2.0, 0.5, patience=0)
    schedule = fm.schedules.warm_up(plateau, n_steps, first=0.5)
    history = train(name, data, schedule, epochs=30).history
    ends = np.arange(1, 31) * N_UPDATES[name]
    n_warm = int((ends <= n_steps).sum())
    warm = 2 * (0.5 + 0.5 * (ends[:n_warm] - 1) / n_steps)
    np.testing.assert_allclose(history.step[:n_warm], warm, rtol=1e-15)
    expected = on_plateau(2.0, history.loss[n_warm:])[:-1]
    assert_array_equal(history.step[n_warm:], expected)
    assert len({*expected}) > 2


def test_runs_of_one_schedule_are_apart():
    schedule = fm.schedules.warm_up(fm.schedules.reduce_on_plateau(1.0, patience=0), 2)
    first, second = (fm.schedules.resolve(schedule) for _ in range(2))
    first.steps(0, 5)
    for _ in range(2):
        first.observe(1.0)
    assert_array_equal(first.steps(1, 5), [0.05, 0.1, 0.1, 0.1])
    assert_array_equal(second.steps(1, 5), [0.5, 1, 1, 1])


# Seeds ---------------------------------------------------------------------------------------


def test_shuffled_is_the_default_and_default_rng_the_generator(name, data):
    named = train(name, data, order="shuffled", rng=np.random.default_rng(7))
    assert same_bits(train(name, data, rng=7).x, named.x)


@pytest.mark.parametrize("order", ["shuffled", "replacement"])
@pytest.mark.parametrize("n", [23, orders.LONGEST_PERMUTATION + 3])
def test_seeds(name, order, n, rng):
    net = fm.Network([2, 3, 1])
    data = net, *problem(net, n, rng)
    options = {"order": order, "step": 0.01, "epochs": 1 + (n < 100)}
    first, again = (train(name, data, rng=4, **options) for _ in range(2))
    assert same_bits(again.x, first.x)
    assert same_bits(again.history.loss, first.history.loss)
    assert not same_bits(train(name, data, rng=5, **options).x, first.x)
    unseeded = [train(name, data, **{**options, "rng": None}).x for _ in range(2)]
    assert not same_bits(*unseeded)


@pytest.mark.parametrize("order", ["shuffled", "replacement"])
def test_a_generator_goes_on(name, order, data):
    net, _, X, y = data
    generator = np.random.default_rng(4)
    first = train(name, data, epochs=1, rng=generator, order=order)
    second = train(name, (net, first.x, X, y), epochs=1, rng=generator, order=order)
    both = train(name, data, epochs=2, rng=4, order=order)
    assert same_bits(second.x, both.x)
    assert second.fun == both.fun


def test_sequential_leaves_the_generator_alone(name, data):
    generator = np.random.default_rng(4)
    train(name, data, order="sequential", rng=generator)
    assert generator.bit_generator.state == np.random.default_rng(4).bit_generator.state


def test_a_callback_that_cannot_be_called(name, data):
    with pytest.raises(TypeError, match=r"callback must be callable.*'print'"):
        train(name, data, callback="print")


def test_training_within_a_callback(name, data, rng):
    """Solvers share no state."""
    net = fm.Network([3, 9, 4], output="softmax")
    other, inner = (net, *problem(net, 31, rng)), []
    alone, other_alone = train(name, data), train(name, other)
    outer = train(name, data, callback=lambda _: inner.append(train(name, other).x))
    assert same_bits(outer.x, alone.x)
    assert len(inner) == 3
    assert all(same_bits(x, other_alone.x) for x in inner)


# Progress ------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_shown(name, data, capsys):
    result = train(name, data, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "100%" in err
    assert "samples" in err
    assert f"loss={result.fun:.4g}" in err


@pytest.mark.parametrize("progress", [False, None])
def test_no_progress_where_it_is_not_wanted(name, progress, data, capfd):
    train(name, data, progress=progress)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("delay", "shown"), [(None, False), (0, True)])
def test_progress_on_a_terminal_if_it_takes_long(name, delay, shown, data, monkeypatch):
    if delay is not None:
        monkeypatch.setattr(bars, "PROGRESS_DELAY", delay)
    monkeypatch.setattr(sys, "stderr", Terminal())
    train(name, data)
    assert bool(sys.stderr.getvalue()) == shown


def test_a_process_without_stderr(name, data, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)  # as under pythonw
    assert train(name, data).status == 0


# The result ----------------------------------------------------------------------------------


@pytest.mark.parametrize("epochs", [1, 3])
def test_result(name, epochs, data):
    net, w, *_ = data
    before = w.copy()
    result = train(name, data, epochs=epochs)
    assert type(result) is OptimizeResult
    assert {*result} == {
        "x", "fun", "nit", "n_epochs", "success", "status", "message", "history",
    }  # fmt: skip
    assert isinstance(result.x, np.ndarray)
    assert result.x.shape == (net.n_params,)
    assert result.x.dtype == net.dtype
    assert result.x.flags.c_contiguous
    assert result.x.flags.writeable
    assert type(result.fun) is float
    assert type(result.nit) is int
    assert type(result.n_epochs) is int
    assert result.success is True
    assert type(result.status) is int
    assert type(result.message) is str
    assert (result.nit, result.n_epochs) == (epochs * N_UPDATES[name], epochs)
    assert result.status == 0
    assert result.message == ("The epoch is done." if epochs == 1 else "All 3 epochs done.")
    assert {*result.history} == {"loss", "step", "seconds"}
    for values in result.history.values():
        assert values.shape == (epochs,)
        assert values.dtype == np.float64
    assert (np.diff(result.history.seconds, prepend=0) > 0).all()
    assert result.fun == result.history.loss[-1]
    assert same_bits(w, before)
    assert "seconds" in str(result)
