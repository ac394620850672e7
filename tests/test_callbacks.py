"""The protocol of callbacks: who is called when, what stops a run, what is refused."""

from types import SimpleNamespace

import numpy as np
import pytest

import fastmlp as fm
from cases_callbacks import N_STEPS, Interrupting, drive
from fastmlp.callbacks import Callback, EarlyStopping
from fastmlp.solvers.reports import Callbacks


class Recorder(Callback):
    """Tell what is called, in order; answer, or raise, what is given for it."""

    def __init__(self, name="", calls=None, every_n_steps=None, **answers):
        self.name, self.calls = name, [] if calls is None else calls
        self.every_n_steps, self.answers = every_n_steps, answers

    def _called(self, method, n):
        self.calls.append(f"{self.name}{method}{n}")
        answer = self.answers.get(f"{method}{n}")
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def on_start(self, state):
        assert (state.nit, state.n_epochs) == (0, 0)
        self._called("start", "")

    def on_steps(self, state):
        return self._called("step", state.nit)

    def on_epoch_end(self, state):
        return self._called("epoch", state.n_epochs)

    def on_end(self, result):
        self.result = result
        self._called("end", "")


# The protocol --------------------------------------------------------------------------------


def test_order_of_calls():
    recorder = Recorder(every_n_steps=3)
    result = drive(recorder)
    assert recorder.calls == [
        "start", "step3", "epoch1", "step6", "epoch2", "step9", "step12", "epoch3", "end",
    ]  # fmt: skip
    assert recorder.result is result


@pytest.mark.parametrize("kind", [list, tuple])
def test_several_are_called_in_order(kind):
    calls = []
    a, b = Recorder("a", calls, 2), Recorder("b", calls)
    drive(kind([a, lambda state: calls.append("function"), b]), epochs=1)
    assert calls == [
        "astart", "bstart", "astep2", "astep4", "aepoch1", "function", "bepoch1", "aend", "bend",
    ]  # fmt: skip


def test_none_and_no_callbacks():
    for nothing in (None, [], ()):
        assert not Callbacks(nothing)
        assert drive(nothing).status == 0
    assert Callbacks(Recorder())


def test_the_base_does_nothing():
    assert drive([Callback(), Callback()]).status == 0
    assert Callbacks(Callback()).next_stop(0) is None


@pytest.mark.parametrize(
    ("intervals", "expected"),
    [
        ([], []),
        ([None], []),
        ([1], [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ([4], [4, 8]),
        ([3, None, 5], [3, 5, 6, 9]),
        ([2, 4], [2, 4, 6, 8]),
    ],
)
def test_next_stop(intervals, expected):
    callbacks = Callbacks([Recorder(every_n_steps=n) for n in intervals])
    stops, at = [], 0
    while (at := callbacks.next_stop(at)) is not None and at < 10:
        stops.append(at)
    assert stops == expected


def test_steps_calls_those_that_are_due():
    calls = []
    callbacks = [Recorder(f"{n}:", calls, n) for n in (2, 3)]
    drive([*callbacks, Recorder("-", calls)], epochs=2)
    steps = [call for call in calls if "step" in call]
    assert steps == ["2:step2", "3:step3", "2:step4", "2:step6", "3:step6", "2:step8"]


class OnlyEnd:
    def on_end(self, result):
        self.message = result.message


class OnlySteps:
    every_n_steps = 5

    def on_steps(self, state):
        return state.nit == 10


def test_objects_with_some_of_the_methods():
    end, steps = OnlyEnd(), OnlySteps()
    result = drive([end, steps])
    assert (result.status, result.nit) == (1, 10)
    assert result.message == end.message == "Stopped by the callback after update 10."


def test_an_interval_without_on_steps_stops_nothing():
    assert Callbacks(SimpleNamespace(every_n_steps=3, on_end=print)).next_stop(0) is None


def test_a_list_that_can_be_called_is_one():
    class Losses(list):
        def __call__(self, state):
            self.append(state.fun)

    losses = Losses()
    drive(losses)
    assert losses == [1, 1 / 2, 1 / 3]


ANSWERS = [True, np.True_, StopIteration(), StopIteration(3)]


@pytest.mark.parametrize("answer", ANSWERS, ids=repr)
def test_stops(answer):
    recorder = Recorder(epoch2=answer)
    result = drive(recorder)
    assert recorder.calls == ["start", "epoch1", "epoch2", "end"]
    assert (result.status, result.success, result.nit) == (1, True, 2 * N_STEPS)
    assert result.message == "Stopped by the callback after epoch 2."
    recorder = Recorder(every_n_steps=3, step6=answer)
    assert drive(recorder).message == "Stopped by the callback after update 6."
    assert recorder.calls == ["start", "step3", "epoch1", "step6", "end"]


@pytest.mark.parametrize("answer", [None, False, np.False_, 0, 1, "stop", [1], np.ones(2)], ids=str)
def test_other_answers_do_not_stop(answer):
    assert drive(Recorder(every_n_steps=3, epoch2=answer, step6=answer)).status == 0


def test_reasons_become_the_message():
    result = drive(Recorder(epoch2=StopIteration("Enough of it.")))
    assert (result.status, result.message) == (1, "Enough of it.")
    result = drive(Recorder(every_n_steps=3, step9=StopIteration("Enough of it.")))
    assert (result.nit, result.message) == (9, "Enough of it.")


def test_all_are_called_even_if_one_asks_to_stop():
    calls = []
    a = Recorder("a", calls, epoch1=True)
    b = Recorder("b", calls, epoch1=StopIteration("B says so."))
    c = Recorder("c", calls)
    d = Recorder("d", calls, epoch1=StopIteration("So does D."))
    result = drive([a, b, c, d])
    assert [call for call in calls if "epoch" in call] == [
        "aepoch1",
        "bepoch1",
        "cepoch1",
        "depoch1",
    ]
    assert result.message == "B says so. So does D."


def test_what_one_writes_into_the_count_does_not_keep_the_next_from_its_steps():
    class Vandal(Callback):
        every_n_steps = 2

        def on_steps(self, state):
            state.nit = 1

    recorder = Recorder(every_n_steps=2)
    drive([Vandal(), recorder], epochs=1)
    assert [call for call in recorder.calls if "step" in call] == ["step1", "step1"]


@pytest.mark.parametrize("where", ["step3", "epoch1"])
@pytest.mark.parametrize("error", [ZeroDivisionError("mine"), KeyboardInterrupt(), SystemExit(2)])
def test_errors_go_through_after_the_ends(where, error):
    a = Recorder("a", every_n_steps=3, **{where: error})
    b = Recorder("b", a.calls, 3)
    if isinstance(error, KeyboardInterrupt):
        assert drive([a, b]).status == 2
    else:
        with pytest.raises(type(error)):
            drive([a, b])
        assert a.result.status == b.result.status == 6
        assert a.result.success is False
    assert a.calls[-3:] == [f"a{where}", "aend", "bend"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_the_end_is_told_of_what_happens_in_the_run(error):
    recorder = Recorder()
    if error is KeyboardInterrupt:
        assert drive(recorder, update=Interrupting(6)).message == "Interrupted."
    else:
        with pytest.raises(MemoryError):
            drive(recorder, update=Interrupting(6, error))
        assert recorder.result.message == "Failed: MemoryError()"
    assert recorder.calls == ["start", "epoch1", "end"]


def test_only_those_started_are_ended():
    calls = []
    a, c = Recorder("a", calls), Recorder("c", calls)
    b = Recorder("b", calls, start=OSError("no such disk"))
    with pytest.raises(OSError, match="no such disk"):
        drive([a, b, c])
    assert calls == ["astart", "bstart", "aend"]


@pytest.mark.parametrize("error", [OSError("first"), KeyboardInterrupt()], ids=repr)
def test_errors_at_the_end_keep_no_other_from_its_own(error):
    calls = []
    a, b = Recorder("a", calls, end=error), Recorder("b", calls, end=OSError("second"))
    with pytest.raises(OSError, match="second") as caught:
        drive([a, b, Recorder("c", calls)])
    assert caught.value.__context__ is error
    assert [call for call in calls if "end" in call] == ["aend", "bend", "cend"]


def test_the_end_comes_before_the_warning():
    """Which is an error, here and elsewhere."""
    recorder, net = Recorder(), fm.Network([1, 1], output="exp", loss="squared_error")
    with pytest.raises(RuntimeWarning, match=r"^Diverged after 0 updates"):
        fm.sgd(net, [[1e3]], [0.0], [1.0, 1.0], callback=recorder)
    assert recorder.result.status == 3


def test_two_runs():
    recorder = Recorder(every_n_steps=3)
    callbacks = [recorder]
    drive(callbacks, epochs=1)
    first, recorder.calls[:] = [*recorder.calls], []
    drive(callbacks, epochs=1)
    assert recorder.calls == first == ["start", "step3", "epoch1", "end"]


REFUSED = [
    ("print", TypeError, r"^callback must be callable.*or a list of these; got 'print'"),
    (3, TypeError, r"^callback must be callable.*got 3"),
    ({}, TypeError, r"^callback must be callable"),
    (object(), TypeError, r"^callback must be callable"),
    (SimpleNamespace(every_n_steps=3), TypeError, r"^callback must be callable"),
    (SimpleNamespace(on_end=3), TypeError, r"^callback must be callable"),
    (EarlyStopping, TypeError, r"got the class EarlyStopping: write EarlyStopping\(\.\.\.\)"),
    ([print, None], TypeError, r"^callback\[1\] must be callable.*got None"),
    ([[print]], TypeError, r"^callback\[0\] must be callable"),
    ([Callback], TypeError, r"^callback\[0\] must be an object; got the class Callback"),
    (iter([print]), TypeError, r"^callback must be callable"),
    (Recorder(every_n_steps=0), ValueError, r"^callback\.every_n_steps must be at least 1; got 0"),
    (Recorder(every_n_steps=2.5), TypeError, r"^callback\.every_n_steps must be an integer"),
    ([Recorder(every_n_steps=True)], TypeError, r"^callback\[0\]\.every_n_steps must be"),
]


@pytest.mark.parametrize(("callback", "error", "message"), REFUSED, ids=repr)
def test_refused(callback, error, message):
    with pytest.raises(error, match=message):
        Callbacks(callback)
