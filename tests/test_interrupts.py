"""What a training tells callbacks, and what ends it early: they, divergence, Ctrl-C."""

import json
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import fastmlp as fm
from cases import STORED, problem, same_bits
from cases_interrupts import Lines, traced
from fastmlp.solvers import trainers, training

N, BATCH_SIZE = 23, 4
SOLVERS = {"sgd": fm.sgd, "minibatch_sgd": fm.minibatch_sgd}
N_UPDATES = {"sgd": N, "minibatch_sgd": 6}  # of an epoch


@pytest.fixture(params=SOLVERS)
def name(request):
    return request.param


@pytest.fixture
def data(rng):
    net = fm.Network([3, 5, 2], hidden="tanh")
    return net, *problem(net, N, rng)


def train(name, data, **options):
    net, w, X, y = data
    if name == "minibatch_sgd":
        options = {"batch_size": BATCH_SIZE, **options}
    return SOLVERS[name](net, X, y, w, **{"epochs": 3, "rng": 0, **options})


def replay(name, data, n_updates, **options):
    """Return the parameters after so many updates in sequential order, of a constant step."""
    net, w, X, y = data
    size = options.get("batch_size", BATCH_SIZE) if name == "minibatch_sgd" else 1
    epochs, left = divmod(n_updates, -(-len(X) // size))
    options["order"] = "sequential"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if epochs:
            w = train(name, (net, w, X, y), **{**options, "epochs": epochs}).x
        if left:
            X, y = X[: left * size], y[: left * size]
            w = train(name, (net, w, X, y), **{**options, "epochs": 1}).x
    return w


def check_history(result, epochs):
    assert {*result.history} == {"loss", "step", "seconds"}
    for values in result.history.values():
        assert values.shape == (epochs,)
        assert values.dtype == np.float64
        assert np.isfinite(values).all()
    assert (np.diff(result.history.seconds, prepend=0) > 0).all()
    assert result.n_epochs == epochs


# Callbacks -----------------------------------------------------------------------------------


def test_callback_sees_each_epoch(name, data):
    seen = []

    def callback(intermediate):
        told = {"x", "fun", "nit", "n_epochs", "step", "seconds", "history"}
        assert {*intermediate} == told
        check_history(intermediate, len(seen) + 1)
        assert intermediate.fun == intermediate.history.loss[-1]
        assert intermediate.nit == N_UPDATES[name] * intermediate.n_epochs
        seen.append((intermediate, intermediate.x.copy()))

    result = train(name, data, callback=callback, order="sequential")
    assert len(seen) == 3
    for epoch, (intermediate, x) in enumerate(seen, start=1):
        assert same_bits(x, replay(name, data, epoch * N_UPDATES[name]))
        assert np.shares_memory(intermediate.x, result.x)  # the live parameters
        assert intermediate.n_epochs == epoch
        assert_array_equal(intermediate.history.loss, result.history.loss[:epoch])


def test_what_a_callback_writes_into_x_counts(name, data):
    def clear(intermediate):
        intermediate.x[:] = 0
        intermediate.history.loss[:] = -1
        intermediate.nit = 0

    result = train(name, data, callback=clear)
    assert not result.x.any()
    assert (result.history.loss > 0).all()
    assert result.nit == 3 * N_UPDATES[name]


def stop_by_true(intermediate):
    return intermediate.n_epochs == 2


def stop_by_numpy(intermediate):
    return intermediate.history.step.sum() > 0.015  # a numpy.bool


def stop_by_exception(intermediate):
    if intermediate.n_epochs == 2:
        raise StopIteration


STOPS = [stop_by_true, stop_by_numpy, stop_by_exception]


@pytest.mark.parametrize("callback", STOPS, ids=lambda callback: callback.__name__)
def test_callback_stops(name, callback, data):
    result = train(name, data, callback=callback, epochs=5, order="sequential")
    assert (result.status, result.success, result.n_epochs) == (1, True, 2)
    assert result.nit == 2 * N_UPDATES[name]
    assert result.message == "Stopped by the callback after epoch 2."
    check_history(result, 2)
    assert same_bits(result.x, replay(name, data, result.nit))


@pytest.mark.parametrize("answer", [None, False, 0, 1, 2.5, "stop", [1], np.array([1, 2])], ids=str)
def test_other_answers_do_not_stop(name, answer, data):
    result = train(name, data, callback=lambda _: answer)
    assert (result.status, result.n_epochs) == (0, 3)


def test_errors_of_a_callback_go_through(name, data):
    before = data[1].copy()

    def callback(intermediate):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        train(name, data, callback=callback)
    assert same_bits(data[1], before)


def test_a_callback_may_be_an_object_that_is_falsy(name, data):
    class Losses(list):
        def __call__(self, intermediate):
            self.append(intermediate.fun)

    losses = Losses()
    result = train(name, data, callback=losses)
    assert_array_equal(losses, result.history.loss)


# Divergence ----------------------------------------------------------------------------------

DIVERGING = [
    ("identity", "squared_error"),
    ("identity", "half_squared_error"),
    ("relu", "squared_error"),
    ("sigmoid", "binary_cross_entropy"),
    ("softmax", "cross_entropy"),
]


def diverging(name, data, **options):
    before = data[1].copy()
    with pytest.warns(RuntimeWarning, match="[Dd]iverged") as caught:
        result = train(name, data, **options)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert str(caught[0].message) == result.message
    assert same_bits(data[1], before)
    return result


@pytest.mark.parametrize("in_blocks", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("output", "loss"), DIVERGING)
def test_divergence(name, output, loss, dtype, in_blocks, rng, monkeypatch):
    if in_blocks:
        monkeypatch.setattr(trainers, "LONGEST_SECONDS", -1)
        monkeypatch.setattr(trainers, "RUN_SECONDS", 0)
        monkeypatch.setattr(trainers, "LEAST_ROWS", 8)
    net = fm.Network([3, 6, 6, 2], output=output, loss=loss, dtype=dtype)
    data = net, *problem(net, N, rng)
    options = {"step": 1e-6 * float(np.finfo(dtype).max), "order": "sequential"}
    result = diverging(name, data, epochs=50, **options)
    assert (result.status, result.success) == (3, False)
    assert 0 < result.nit < 50 * N_UPDATES[name]
    assert f"after {result.nit} updates" in result.message
    check_history(result, result.nit // N_UPDATES[name])
    x = replay(name, data, result.nit, **options)
    assert_array_equal(result.x, x)


def test_divergence_in_a_later_epoch(name, data):
    k = 2 * N_UPDATES[name] + 1
    result = diverging(name, data, epochs=5, step=lambda i: 1e30 if i == k else 0.01)
    assert (result.status, result.n_epochs) == (3, 2)
    check_history(result, 2)
    assert result.fun == result.history.loss[-1]
    assert k < result.nit <= k + 3
    assert str(result.nit) in result.message


def last_update_overflows(name, **options):
    net = fm.Network([1, 1])
    data = net, np.array([1, 0], "f4"), np.array([[10.0]]), np.zeros(1)
    result = diverging(name, data, epochs=1, step=1e38, **options)
    assert (result.status, result.success, result.nit) == (3, False, 1)
    assert not np.isfinite(result.x).all()


def test_parameters_that_overflow_in_the_last_update(name):
    last_update_overflows(name)


def test_parameters_that_overflow_before_the_callback_stops(name):
    last_update_overflows(name, callback=lambda _: True)


@pytest.mark.parametrize("hidden", ["identity", "relu", "sigmoid", "tanh", *STORED, "exp"])
@pytest.mark.parametrize("loss", ["squared_error", "binary_cross_entropy", "cross_entropy"])
def test_success_means_finite(name, hidden, loss, rng):
    """Whatever hides infinities (saturated units, relu of NaN) hides them from no one."""
    net = fm.Network([3, 6, 6, 2], hidden=hidden, loss=loss)
    data = net, *problem(net, N, rng)
    for step in 10.0 ** np.arange(0, 39, 2):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = train(name, data, step=step, epochs=2)
        assert result.status in (0, 3)
        if result.success:
            assert np.isfinite(result.x).all()
            assert np.isfinite(result.fun)
        check_history(result, result.n_epochs)


# Ctrl-C --------------------------------------------------------------------------------------


def interrupted(name, data, **options):
    with pytest.warns(RuntimeWarning, match="[Ii]nterrupted") as caught:
        result = train(name, data, **options)
    assert caught[0].filename == __file__
    assert (result.status, result.success) == (2, False)
    assert result.message == str(caught[0].message)
    assert f"after {result.nit} updates" in result.message
    check_history(result, result.n_epochs)
    return result


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_interrupt_in_a_callback(name, epoch, data):
    def callback(intermediate):
        if intermediate.n_epochs == epoch:
            raise KeyboardInterrupt

    result = interrupted(name, data, callback=callback, order="sequential")
    assert (result.nit, result.n_epochs) == (epoch * N_UPDATES[name], epoch)
    assert "epoch 4" not in result.message  # there are three
    assert same_bits(result.x, replay(name, data, result.nit))


def test_interrupt_before_the_first_update(name, data):
    def step(k):
        raise KeyboardInterrupt

    result = interrupted(name, data, step=step)
    assert (result.nit, result.n_epochs) == (0, 0)
    assert np.isnan(result.fun)
    assert same_bits(result.x, data[1])


@pytest.mark.parametrize("in_blocks", [False, True])
def test_interrupt_at_any_line(name, in_blocks, data, monkeypatch):
    """Updates are neither lost nor counted wrong, wherever the signal comes."""
    monkeypatch.setattr(trainers, "MOST_ENTRIES", 6)
    if in_blocks:
        monkeypatch.setattr(trainers, "LONGEST_SECONDS", -1)
    options = {"order": "sequential", "epochs": 2}
    net, w, X, y = data
    data = net, w, X[: 2 * BATCH_SIZE], y[: 2 * BATCH_SIZE]
    n_updates = train(name, data, **options).nit
    expected = [replay(name, data, n, **options) for n in range(n_updates + 1)]
    at, wrong = 0, []
    while True:
        lines = Lines(at, os.path.dirname(training.__file__), (training.Run._epoch.__code__,))
        result = traced(lines, lambda: train(name, data, **options))
        if result.status == 0:
            break
        assert result.status == 2
        check_history(result, result.n_epochs)
        assert 0 <= result.nit - n_updates // 2 * result.n_epochs <= n_updates // 2
        if not same_bits(result.x, expected[result.nit]):
            wrong.append((at, result.nit))
        at += 1
    assert at > 50
    assert not wrong


CHILD = """
import json, os, signal, sys, threading, time, warnings
import numpy as np
import fastmlp as fm
from fastmlp.solvers import trainers

widths, n, batch_size, nth, delay = json.loads(sys.argv[1])
rng = np.random.default_rng(0)
net = fm.Network(widths, output="softmax")
X = rng.standard_normal((n, widths[0]), np.float32)
y = rng.integers(widths[-1], size=n)
w = net.init(rng=0)
solve = fm.minibatch_sgd if batch_size else fm.sgd
size = {"batch_size": batch_size} if batch_size else {}
for longest in (-1, trainers.LONGEST_SECONDS):  # compile what will run
    trainers.LONGEST_SECONDS = longest
    solve(net, X[:64], y[:64], w, **({"batch_size": 32} if size else {}))

sent = []
def interrupt():
    sent.append(time.perf_counter())
    os.kill(os.getpid(), signal.SIGINT)
def step(k):
    if k == nth:
        threading.Timer(delay, interrupt).start()
    return 1e-3

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    result = solve(net, X, y, w, step=step, epochs=10**6, order="sequential", **size)
latency = time.perf_counter() - sent[0]
epochs, left = divmod(result.nit, -(-n // (batch_size or 1)))
x = w
if epochs:
    x = solve(net, X, y, x, step=1e-3, epochs=epochs, order="sequential", **size).x
if left:
    left *= batch_size or 1
    x = solve(net, X[:left], y[:left], x, step=1e-3, order="sequential", **size).x
print(json.dumps({
    "latency": latency, "status": result.status, "nit": result.nit, "success": result.success,
    "warnings": [type(w.message).__name__ for w in caught], "message": result.message,
    "finite": bool(np.isfinite(result.x).all()), "same": bool((x == result.x).all()),
}))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a signal that is Ctrl-C's")
@pytest.mark.parametrize(
    ("widths", "n", "batch_size", "nth", "delay"),
    [
        ([784, 512, 512, 10], 5000, None, 1, 0.3),
        ([64, 128, 10], 5000, 32, 1, 0.3),
        ([784, 1024, 1024, 10], 6000, 6000, 1, 0.2),
        ([784, 1024, 1024, 10], 24000, 24000, 0, 0.5),
    ],
    ids=["sgd", "batches", "second-huge-batch", "first-huge-batch"],
)
def test_ctrl_c(widths, n, batch_size, nth, delay):
    run = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps([widths, n, batch_size, nth, delay])],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    answer = json.loads(run.stdout)
    print(f"answered after {answer['latency']:.3f} s, {answer['nit']} updates made")
    assert answer["status"] == 2
    assert answer["success"] is False
    assert answer["warnings"] == ["RuntimeWarning"]
    assert f"after {answer['nit']} updates" in answer["message"]
    assert answer["finite"]
    assert answer["same"], answer
