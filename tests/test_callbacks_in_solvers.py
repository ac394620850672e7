"""Callbacks in the stochastic solvers; the protocol itself is tested without them."""

import csv
import doctest
import importlib
import json
import math

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import fastmlp as fm
from cases import problem, same_bits
from fastmlp.callbacks import (
    Callback,
    CSVLog,
    EarlyStopping,
    JSONLinesLog,
    ProgressBar,
    TensorBoard,
)

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


def train(name, data, callback, **options):
    net, w, X, y = data
    if name == "minibatch_sgd":
        options = {"batch_size": BATCH_SIZE, **options}
    options = {"epochs": 3, "rng": 0, "progress": False, **options}
    return SOLVERS[name](net, X, y, w, callback=callback, **options)


class Recorder(Callback):
    def __init__(self, every_n_steps=None):
        self.every_n_steps = every_n_steps

    def on_start(self, state):
        self.states, self.xs = [state], [state.x.copy()]

    def on_steps(self, state):
        self.states.append(state)
        self.xs.append(state.x.copy())

    def on_epoch_end(self, state):
        self.on_steps(state)

    def on_end(self, result):
        self.result = result


def test_states_of_epochs(name, data):
    recorder = Recorder()
    result = train(name, data, [recorder])
    start, *epochs = recorder.states
    assert (start.nit, start.n_epochs, start.seconds) == (0, 0, pytest.approx(0, abs=60))
    assert (start.epochs, start.n_steps) == (3, 3 * N_UPDATES[name])
    assert math.isnan(start.fun)
    assert {*start.history} == {"loss", "step", "seconds"}
    assert all(len(values) == 0 for values in start.history.values())
    assert same_bits(recorder.xs[0], data[1])
    assert recorder.result is result
    for n, state in enumerate(epochs, start=1):
        assert (state.n_epochs, state.nit) == (n, n * N_UPDATES[name])
        assert_array_equal(state.history.loss, result.history.loss[:n])
        assert (state.fun, state.step) == (result.history.loss[n - 1], result.history.step[n - 1])
        assert state.seconds >= result.history.seconds[n - 1]
    assert same_bits(recorder.xs[-1], result.x)


@pytest.mark.parametrize("every", [1, 4, 7, 100])
def test_states_of_steps(name, every, data):
    """They neither change the result, nor come at other updates, nor see other parameters."""
    recorder = Recorder(every)
    result = train(name, data, recorder, step=lambda k: 0.1 / (k + 1))
    alone = train(name, data, None, step=lambda k: 0.1 / (k + 1))
    assert same_bits(result.x, alone.x)
    assert_array_equal(result.history.loss, alone.history.loss)
    n = N_UPDATES[name]
    seen = [state for state in recorder.states if state.nit and state.nit % every == 0]
    expected = [k for k in range(1, 3 * n + 1) if k % every == 0]
    ends = [k for k in expected if k % n == 0]  # seen twice
    assert [state.nit for state in seen] == sorted(expected + ends)
    for state in seen:
        assert state.step == pytest.approx(0.1 / state.nit, rel=1e-15)
        assert np.isfinite(state.fun)
        assert state.seconds > 0


def test_the_loss_of_the_epoch_so_far(data):
    net, w, X, y = data
    recorder = Recorder(1)
    train("sgd", data, recorder, epochs=1, step=1e-30, order="sequential")
    for k, state in enumerate(recorder.states[1 : N + 1], start=1):
        assert state.fun == pytest.approx(net.loss(w, X[:k], y[:k]), rel=1e-5)


class StopAt(Callback):
    every_n_steps = 1

    def __init__(self, nit, answer):
        self.nit, self.answer = nit, answer

    def on_steps(self, state):
        if state.nit == self.nit and isinstance(self.answer, BaseException):
            raise self.answer
        return state.nit == self.nit

    def on_end(self, result):
        self.status = result.status


@pytest.mark.parametrize("nit", [1, 4, 8])
def test_stops_between_epochs(name, nit, data):
    stop, recorder = StopAt(nit, True), Recorder(1)
    result = train(name, data, [stop, recorder])
    assert (result.status, result.success, result.nit) == (1, True, nit)
    assert result.n_epochs == nit // N_UPDATES[name]
    assert result.message == f"Stopped by the callback after update {nit}."
    assert same_bits(result.x, recorder.xs[-1])
    result = train(name, data, StopAt(nit, StopIteration("Enough.")))
    assert (result.status, result.nit, result.message) == (1, nit, "Enough.")


def test_errors_and_interrupts_reach_the_end(name, data):
    stop, recorder = StopAt(5, ZeroDivisionError("mine")), Recorder()
    with pytest.raises(ZeroDivisionError, match="mine"):
        train(name, data, [stop, recorder])
    assert recorder.result.status == stop.status == 6
    stop = StopAt(5, KeyboardInterrupt())
    with pytest.warns(RuntimeWarning, match="Interrupted after 5 updates"):
        assert train(name, data, [stop, recorder]).status == 2
    assert recorder.result.status == stop.status == 2
    with pytest.warns(RuntimeWarning, match="Diverged"):
        train(name, data, recorder, step=1e38)
    assert recorder.result.status == 3

    def step(k):
        raise ZeroDivisionError("of the schedule")

    with pytest.raises(ZeroDivisionError, match="of the schedule"):
        train(name, data, recorder, step=step)
    assert recorder.result.status == 6


def test_what_is_no_callback(name, data):
    for bad in (EarlyStopping, [print, 3], "print"):
        with pytest.raises(TypeError, match=r"^callback(\[1\])? must be"):
            train(name, data, bad)


def test_the_ready_ones_together(name, data, tmp_path, capsys):
    callbacks = [
        ProgressBar(), CSVLog(tmp_path / "log.csv"), JSONLinesLog(tmp_path / "log.jsonl"),
        TensorBoard(tmp_path / "runs"), EarlyStopping(1),
    ]  # fmt: skip
    for _ in range(2):
        result = train(name, data, callbacks)
        assert result.message == "All 3 epochs done."
        assert "3.00/3.00" in capsys.readouterr().err
        with (tmp_path / "log.csv").open() as file:
            losses = [float(row["loss"]) for row in csv.DictReader(file)]
        assert_array_equal(losses, result.history.loss)
        lines = (tmp_path / "log.jsonl").read_text().splitlines()
        assert_array_equal([json.loads(line)["loss"] for line in lines], result.history.loss)


def test_early_stopping_of_the_training_loss(name, data):
    stop = EarlyStopping(2)
    result = train(name, data, stop, step=1e-30, order="sequential", epochs=9)
    assert result.message == "No improvement of the training loss in 2 epochs."
    assert (result.status, result.n_epochs) == (1, 3)


def test_early_stopping_of_the_validation_loss(data):
    """Where the labels are noise: the best epoch's parameters are those returned."""
    net, w, X, y = data
    recorder = Recorder()
    result = fm.minibatch_sgd(
        net, X[:12], y[:12], w, batch_size=4, step=0.2, epochs=200, rng=0, progress=False,
        validation=(X[12:], y[12:]), callback=[EarlyStopping(3), recorder],
    )  # fmt: skip
    assert result.message == "No improvement of the validation loss in 3 epochs."
    losses = result.history.validation_loss
    assert result.best_epoch == losses.argmin() + 1 == result.n_epochs - 3
    assert result.best_value == losses.min()
    assert same_bits(result.x, recorder.xs[result.best_epoch])
    assert net.loss(result.x, X[12:], y[12:]) == pytest.approx(result.best_value, rel=1e-5)


@pytest.mark.parametrize("module", ["base", "early_stopping", "logs"])
def test_examples_in_docstrings(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(f"fastmlp.callbacks.{module}")
    results = doctest.testmod(module)
    assert results.attempted >= 5
    assert results.failed == 0
