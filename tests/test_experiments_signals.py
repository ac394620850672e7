"""SIGINT and SIGTERM: when they interrupt, and that what comes of them is no failure."""

import os
import signal
import threading
from pathlib import Path

import pytest
from numba.core import event
from numba.core.compiler_lock import global_compiler_lock

from cases_commands import run
from cases_experiments import experiment, fastmlp, metrics
from fastmlp import models
from fastmlp.experiments import data, training
from fastmlp.experiments.signals import Signals

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs signals")
NUMBERS = pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_they_wait_while_kernels_are_compiled(number):
    """What is raised in one of LLVM's callbacks is lost, and the kernel with it."""
    before, signals, done = signal.getsignal(number), Signals(), []

    def elsewhere():  # another thread's kernel ends, which is not to be interrupted
        with event.trigger_event("numba:compiler_lock"):
            pass
        done.append("elsewhere")

    def compile_kernels():
        with global_compiler_lock:
            with global_compiler_lock:
                os.kill(os.getpid(), number)
                done.append("inner")
            thread = threading.Thread(target=elsewhere)
            thread.start()
            thread.join()
            done.append("outer")
        done.append("beyond")

    with signals.caught(), pytest.raises(KeyboardInterrupt):
        compile_kernels()
    assert done == ["inner", "elsewhere", "outer"]
    assert signals.received == number
    with global_compiler_lock:  # nothing is left that interrupts
        pass
    assert signal.getsignal(number) == before


def interrupted_as(error, number):
    """Return a function during which a signal comes, and is taken for an error."""

    def function(*_, **__):
        try:
            os.kill(os.getpid(), number)
        except KeyboardInterrupt:
            raise error from None

    return function


@NUMBERS
@pytest.mark.parametrize("error", [KeyboardInterrupt(), ImportError("half a module")])
def test_a_run_is_interrupted_whatever_becomes_of_the_signal(
    folder, monkeypatch, number, code, error
):
    path = experiment(folder)
    monkeypatch.setattr(models, "save", interrupted_as(error, number))
    done = fastmlp("train", path, "--solver.epochs", 2)
    assert done.exit_code == code
    assert "Interrupted after 2 epochs. Go on with: fastmlp train --resume runs/small-001" in (
        done.stderr
    )
    assert metrics("runs/small-001")["status"] == "interrupted"
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    assert fastmlp("train", "--resume", "runs/small-001").exit_code == 0


@NUMBERS
def test_a_run_that_is_interrupted_before_it_has_begun(folder, monkeypatch, number, code):
    path = experiment(folder)
    interrupt = interrupted_as(KeyboardInterrupt(), number)
    monkeypatch.setattr(training._Attempt, "_translate_warnings", interrupt)
    done = fastmlp("train", path)
    assert (done.exit_code, done.stdout) == (code, "")
    assert done.stderr == "Interrupted.\n"
    assert not Path("runs").exists()


@NUMBERS
def test_a_sweep_ends_whatever_becomes_of_the_signal(folder, monkeypatch, number, code):
    path = experiment(folder, '[solver]\nepochs = 1\n[sweep.parameters]\n"solver.l2" = [0, 1, 2]')
    monkeypatch.setattr(training.curves, "draw", interrupted_as(ImportError("half"), number))
    done = fastmlp("sweep", path, "--run.plots", "true")
    assert done.exit_code == code
    assert "Interrupted after 1 of 3 runs." in done.stderr


@NUMBERS
def test_a_command_is_interrupted_whatever_becomes_of_the_signal(folder, monkeypatch, number, code):
    from fastmlp.cli import saved

    monkeypatch.setattr(saved, "SavedModel", interrupted_as(ImportError("half"), number))
    assert run("predict", "model", "rows.npy", code=code).output == ""


def test_errors_of_others_stay_errors(folder, monkeypatch):
    def fails(settings):
        raise ValueError("no rows")

    monkeypatch.setattr(data, "tables", fails)
    done = fastmlp("train", experiment(folder))
    assert (done.exit_code, done.stderr) == (1, "error: no rows\n")
