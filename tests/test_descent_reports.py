"""What full-batch solvers report, to callers, callbacks and terminals; what they refuse."""

from __future__ import annotations

import inspect
import io
import math
import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.optimize import OptimizeResult

import fastmlp as fm
from cases import same_bits
from cases_descent import METHODS, every_solver, logistic, solve
from fastmlp import progress as bars

# Results and callbacks -------------------------------------------------------------------------


@every_solver
def test_result(name):
    case = logistic("float32")
    w = case.w.astype(np.float64)  # of another dtype
    before, objective = w.copy(), case.objective()
    result = solve(name, objective, w, max_iter=3)
    extra = {"nhev"} if name in METHODS else set()
    assert type(result) is type(result.history) is OptimizeResult
    assert {*result} == extra | {
        "x", "fun", "jac", "nit", "nfev", "njev", "success", "status", "message", "history",
    }  # fmt: skip
    assert (result.x.dtype, result.x.shape) == (np.float32, w.shape)
    assert result.x.flags.writeable
    assert not np.shares_memory(result.x, case.w)
    assert same_bits(w, before)
    for count in (result.nit, result.nfev, result.njev, result.status):
        assert type(count) is int
    assert type(result.fun) is float
    assert type(result.message) is str
    assert result.success is False
    again = solve(name, objective, w, max_iter=3)  # counts from the call on
    assert same_bits(again.x, result.x)
    assert (again.nfev, again.njev) == (result.nfev, result.njev)
    assert (objective.nfev, objective.njev) == (2 * result.nfev, 2 * result.njev)


@every_solver
def test_callback_sees_each_iteration(name):
    case, seen = logistic(), []
    objective = case.objective()

    def callback(intermediate):
        assert {"x", "fun", "jac", "nit", "history"} <= {*intermediate}
        assert intermediate.nit == len(seen) + 1
        assert intermediate.fun == intermediate.history.value[-1]
        seen.append((intermediate, intermediate.x.copy()))
        intermediate.history.value[:] = -1
        intermediate.nit = 99

    result = solve(name, objective, case.w, callback=callback, max_iter=4, tol=0)
    assert len(seen) == result.nit == 4
    for k, (intermediate, x) in enumerate(seen, start=1):
        assert all(len(column) == k + 1 for column in intermediate.history.values())
        assert result.history.value[k] == intermediate.fun
        assert intermediate.fun == pytest.approx(objective.value(x), rel=1e-14)
        if name != "nesterov":  # which is ahead
            assert same_bits(intermediate.jac, objective.gradient(x)), k
    assert same_bits(seen[-1][1], result.x)


def test_callback_sees_the_last_step_too():
    """One that led as far as numbers go."""
    net, seen = fm.Network([2, 1], output="sigmoid", bias=False, dtype="float64"), []
    objective = fm.Objective(net, np.eye(2), np.array([0, 1]))
    result = fm.gradient_descent(objective, net.init(0), callback=lambda r: seen.append(r.nit))
    assert result.status == 0
    assert seen == list(range(1, result.nit + 1))


def stop_by_true(intermediate):
    return intermediate.nit == 2


def stop_by_numpy(intermediate):
    return np.bool_(intermediate.nit == 2)


def stop_by_exception(intermediate):
    if intermediate.nit == 2:
        raise StopIteration


STOPS = [stop_by_true, stop_by_numpy, stop_by_exception]


@every_solver
@pytest.mark.parametrize("callback", STOPS, ids=lambda callback: callback.__name__)
def test_callback_stops(callback, name):
    case = logistic()
    objective = case.objective()
    result = solve(name, objective, case.w, callback=callback)
    assert (result.status, result.success, result.nit) == (1, True, 2)
    assert result.message == "Stopped by the callback after iteration 2."
    assert len(result.history.value) == 3
    assert result.fun == result.history.value[-1]
    assert same_bits(result.x, solve(name, case.objective(), case.w, max_iter=2).x)
    assert same_bits(result.jac, objective.gradient(result.x))


@every_solver
@pytest.mark.parametrize("answer", [None, False, 0, 1, 2.5, "stop", [1], np.ones(2)], ids=str)
def test_other_answers_do_not_stop(answer, name):
    case = logistic()
    result = solve(name, case.objective(), case.w, callback=lambda _: answer, max_iter=3)
    assert (result.status, result.nit) == (4, 3)


@every_solver
def test_errors_of_a_callback_go_through(name):
    case, objective = logistic(), logistic().objective()
    expected = objective.value_and_gradient(case.w)

    def callback(intermediate):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        solve(name, objective, case.w, callback=callback)
    found = objective.value_and_gradient(case.w)
    assert found[0] == expected[0]
    assert same_bits(found[1], expected[1])
    assert same_bits(case.w, logistic().w)


@every_solver
def test_a_callback_may_be_an_object_that_is_falsy(name):
    class Values(list):
        def __call__(self, intermediate):
            self.append(intermediate.fun)

    case, values = logistic(), Values()
    result = solve(name, case.objective(), case.w, callback=values, max_iter=4)
    assert_array_equal(values, result.history.value[1:])


@every_solver
def test_a_solver_within_a_callback(name):
    """The same objective may serve both."""
    case, inner = logistic(), []
    objective = case.objective()
    alone = solve(name, objective, case.w, max_iter=4)
    outer = solve(
        name,
        objective,
        case.w,
        max_iter=4,
        callback=lambda _: inner.append(solve(name, objective, case.w, max_iter=4).x),
    )
    assert same_bits(outer.x, alone.x)
    assert len(inner) == 4
    assert all(same_bits(x, alone.x) for x in inner)


@pytest.mark.parametrize("name", ["steepest", "L-BFGS-B"])
def test_warnings_point_to_the_call(name):
    """That of the solver, here within `solve`."""
    net = fm.Network([3, 2], dtype="float64")
    objective = fm.Objective(net, np.full((4, 3), 1e200), np.ones((4, 2)))
    lines, first = inspect.getsourcelines(solve)
    with pytest.warns(RuntimeWarning, match="Diverged") as caught:
        solve(name, objective, np.ones(8))
    assert caught[0].filename == inspect.getsourcefile(solve)
    assert first <= caught[0].lineno < first + len(lines)


# Progress ------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


@every_solver
def test_progress_is_shown(name, capsys):
    case = logistic()
    result = solve(name, case.objective(), case.w, progress=True, max_iter=3)
    out, err = capsys.readouterr()
    assert out == ""
    assert "100%" in err
    assert "3.00/3.00" in err
    assert "iterations" in err
    assert f"value={result.fun:.6g}" in err


@every_solver
@pytest.mark.parametrize("progress", [False, None])
def test_no_progress_where_it_is_not_wanted(progress, name, capfd):
    case = logistic()
    solve(name, case.objective(), case.w, progress=progress)
    assert capfd.readouterr() == ("", "")


@every_solver
@pytest.mark.parametrize(("delay", "shown"), [(None, False), (0, True)])
def test_progress_on_a_terminal_if_it_takes_long(name, delay, shown, monkeypatch):
    if delay is not None:
        monkeypatch.setattr(bars, "PROGRESS_DELAY", delay)
    monkeypatch.setattr(sys, "stderr", Terminal())
    case = logistic()
    solve(name, case.objective(), case.w)
    assert bool(sys.stderr.getvalue()) == shown


# What is refused -----------------------------------------------------------------------------

REFUSED = [
    ({"tol": -1}, ValueError, "tol must be"),
    ({"tol": math.nan}, ValueError, "tol must be"),
    ({"tol": "1"}, TypeError, "tol must be"),
    ({"tol": None}, TypeError, "tol must be"),
    ({"max_iter": 0}, ValueError, "max_iter must be"),
    ({"max_iter": -3}, ValueError, "max_iter must be"),
    ({"max_iter": 1.5}, TypeError, "max_iter must be"),
    ({"max_iter": True}, TypeError, "max_iter must be"),
    ({"max_iter": None}, TypeError, "max_iter must be"),
    ({"callback": "print"}, TypeError, "callback must be callable.*'print'"),
]


@pytest.mark.parametrize("name", ["steepest", "L-BFGS-B"])
@pytest.mark.parametrize(("options", "error", "message"), REFUSED, ids=str)
def test_refused(name, options, error, message):
    case = logistic()
    objective = case.objective()
    with pytest.raises(error, match=message):
        solve(name, objective, case.w, **options)
    assert objective.nfev == objective.njev == 0


@pytest.mark.parametrize("name", ["steepest", "L-BFGS-B"])
@pytest.mark.parametrize("bad", [np.ones(11), np.ones((12, 1)), 3.0, np.full(12, np.nan)], ids=str)
def test_refused_starts(name, bad):
    with pytest.raises(ValueError, match=r"^w "):
        solve(name, logistic().objective(), bad)


@pytest.mark.parametrize("name", ["steepest", "L-BFGS-B"])
@pytest.mark.parametrize("activation", ["step", "sign"])
def test_networks_without_derivatives(name, activation):
    for widths, options in (([2, 1], {"output": activation}), ([2, 3, 1], {"hidden": activation})):
        net = fm.Network(widths, **options)
        objective = fm.Objective(net, np.ones((4, 2)), np.ones(4))
        with pytest.raises(ValueError, match=activation):
            solve(name, objective, net.init(0))


SEARCHES = [
    ("newton", ValueError, "'exact', 'armijo', 'wolfe'.*'newton'"),
    ("Exact", ValueError, "'exact', 'armijo', 'wolfe'"),
    (0, ValueError, "positive"),
    (-0.1, ValueError, "positive.*-0.1"),
    (math.inf, ValueError, "finite"),
    (math.nan, ValueError, "positive"),
    (None, TypeError, "line_search must be.*None"),
    (True, TypeError, "line_search must be"),
    (1j, TypeError, "line_search must be"),
    ([0.1], TypeError, "line_search must be"),
    (fm.line_search.Exact, TypeError, "line_search must be"),
]


@pytest.mark.parametrize(("search", "error", "message"), SEARCHES, ids=str)
def test_refused_searches(search, error, message):
    case = logistic()
    with pytest.raises(error, match=message):
        fm.gradient_descent(case.objective(), case.w, line_search=search)


def test_refused_methods():
    case = logistic()
    listed = "method must be one of 'L-BFGS-B', 'CG', 'BFGS', 'Newton-CG', 'trust-ncg', 'trust-kry"
    for bad in ("Powell", "l-bfgs-b", None, 3, b"CG"):
        with pytest.raises(ValueError, match=listed):
            fm.minimize(case.objective(), case.w, bad)
    for bad in ("ftol", [1], 3):
        with pytest.raises(TypeError, match="options must be a dict"):
            fm.minimize(case.objective(), case.w, options=bad)
