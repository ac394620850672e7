"""Objectives in use: counts, copies, interrupts, threads, SciPy's solvers, and bad arguments."""

from __future__ import annotations

import copy
import json
import os
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import check_grad, minimize

import fastmlp as fm
from cases import (
    DTYPES,
    PAIRS,
    check_same_results,
    run_child,
    same_bits,
    small_network,
)
from cases_curves import Case, case_of, every_result, mixed_case, sample_weight
from cases_interrupts import Lines, traced
from cases_runs import exit_code_of_a_fork
from fastmlp import workspace
from fastmlp.kernels import batch

every_dtype = pytest.mark.parametrize("dtype", DTYPES)
every_pair = pytest.mark.parametrize(("output", "loss"), PAIRS)

# What a call does, and what it leaves behind -------------------------------------------------


def counts(objective):
    return objective.nfev, objective.njev, objective.nhev


def test_counts(rng):
    case = mixed_case(rng)
    objective = case.objective()
    w = [case.w * np.float32(1 + k / 8) for k in range(5)]
    assert counts(objective) == (0, 0, 0)
    for call, expected in (
        (lambda: objective.value(w[0]), (1, 0, 0)),
        (lambda: objective(w[1]), (2, 0, 0)),
        (lambda: objective.gradient(w[2]), (2, 1, 0)),
        (lambda: objective.value_and_gradient(w[3]), (3, 2, 0)),
        (lambda: objective.hessian_vector(w[4], case.d), (3, 2, 1)),
        (lambda: objective.along(w[1], case.d)(0.5), (4, 2, 1)),
    ):
        call()
        assert counts(objective) == expected


def test_a_value_needs_no_backward_pass(rng, monkeypatch):
    case, phases = mixed_case(rng), []
    schedule = workspace.Workspace.schedule

    def recorded(self, *arguments):
        rows = schedule(self, *arguments)
        phases.extend(int(phase) for phase in rows[:, 0])
        return rows

    monkeypatch.setattr(workspace.Workspace, "schedule", recorded)
    objective = case.objective()
    objective.value(case.w)
    assert phases.count(batch.FORWARD) == 3
    assert not {batch.BACKWARD, batch.WEIGHTS} & {*phases}


def test_earlier_gradients_stay(rng):
    case = mixed_case(rng)
    objective = case.objective()
    results = [objective.gradient(case.w), objective.value_and_gradient(case.w)[1]]
    results += [objective.hessian_vector(case.w, case.d), objective.gradient(case.w)]
    before = copy.deepcopy(results)
    objective.value_and_gradient(case.d)
    objective.along(case.w, case.d).value_and_derivative(0.3)
    objective.hessian_vector(case.d, case.w)
    for i, result in enumerate(results):
        assert same_bits(result, before[i])
        result[:] = np.nan  # the caller's own
        assert not any(np.shares_memory(result, other) for other in results[:i])
    check_same_results(every_result(case, objective), every_result(case))


def test_copies(rng, tmp_path):
    case = mixed_case(rng)
    objective = case.objective()
    expected = every_result(case, objective)
    copies = [objective, copy.copy(objective), copy.deepcopy(objective)]
    copies.append(pickle.loads(pickle.dumps(objective)))
    for other in copies:
        assert (other.net, other.l2, other.reduction) == (case.net, 0.1, "mean")
        check_same_results(every_result(case, other), expected)
    curves = [other.along(case.w, case.d) for other in copies]
    for k, alpha in enumerate((0.3, 0.8, 0.1)):
        values = [curve.value_and_derivative(alpha) for curve in curves[k:] + curves[:k]]
        assert values == [values[0]] * 4
    (tmp_path / "objective").write_bytes(pickle.dumps((copies[1], case.w)))
    code = (
        "import json, pathlib, pickle, sys;"
        "objective, w = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes());"
        "print(json.dumps([objective.value(w), objective.gradient(w).tobytes().hex()]))"
    )
    value, gradient = run_child("-c", code, tmp_path / "objective")
    assert value == expected["value"]
    assert gradient == expected["gradient"].tobytes().hex()


@pytest.mark.parametrize("kept_bytes", [0, 2**20])
@pytest.mark.parametrize("name", ["value", "value_and_gradient", "hessian_vector", "curve"])
def test_interrupt_at_any_line(name, kept_bytes, rng, monkeypatch):
    monkeypatch.setattr(workspace, "FEWEST_ROWS", 8)
    monkeypatch.setattr(workspace, "MOST_ROWS", 8)
    case = mixed_case(rng, n=13)
    objective = case.objective(kept_bytes=kept_bytes)
    calls = {
        "value": lambda: objective.value(case.d),
        "value_and_gradient": lambda: objective.value_and_gradient(case.d),
        "hessian_vector": lambda: objective.hessian_vector(case.d, case.w),
        "curve": lambda: objective.along(case.d, case.w).value_and_derivative(0.5),
    }
    expected, at, done = every_result(case), 0, False
    while not done:
        for check_first in ("the curve begun before", "a new curve"):
            curve = objective.along(case.w, case.d)
            curve(0.25)
            done = traced(Lines(at), calls[name]) is not None
            if check_first == "a new curve":
                curve = objective.along(case.w, case.d)
            assert curve(0.5) == expected["phi"][1], (at, check_first)
        check_same_results(every_result(case, objective), expected)
        at += 1
    assert at > 20


def test_python_threads(rng):
    """Whoever comes second waits, or has buffers of its own."""
    case = mixed_case(rng, n=1000)
    others = [case_of(case.net, 1, rng) for _ in range(4)]
    cases = [Case(case.net, case.X, case.y, o.w, o.d, case.options) for o in others]
    expected = [every_result(case) for case in cases]
    objective = case.objective()
    curves = [objective.along(case.w, case.d) for case in cases]
    slopes = [curve.value_and_derivative(0.3) for curve in curves]
    shared = objective.along(case.w, case.d)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            for _ in range(5):
                found = list(pool.map(lambda case: every_result(case, objective), cases))
                for results, wanted in zip(found, expected, strict=True):
                    check_same_results(results, wanted)
            curves = [objective.along(case.w, case.d) for case in cases]
            found = list(pool.map(lambda curve: curve.value_and_derivative(0.3), curves))
            assert found == slopes
            alphas = np.linspace(0, 1, 40)
            found = list(pool.map(shared, alphas))
            assert found == [case.curve()(alpha) for alpha in alphas]
    finally:
        sys.setswitchinterval(before)


def forks():
    """Print the exit codes of children that are forked while another thread computes."""
    case = mixed_case(np.random.default_rng(0), n=10_000)
    objective, done = case.objective(), threading.Event()
    expected = objective.value(case.w)

    def compute():
        while not done.is_set():
            objective.value_and_gradient(case.w)

    thread = threading.Thread(target=compute)
    thread.start()
    codes = [exit_code_of_a_fork(lambda: objective.value(case.w), expected) for _ in range(2)]
    done.set()
    thread.join()
    print(json.dumps(codes))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_forked_while_another_thread_computes():
    assert run_child(__file__, "forks") == [0, 0]


# SciPy ---------------------------------------------------------------------------------------


@every_pair
def test_check_grad(output, loss, rng):
    net = small_network(output, loss)
    case = case_of(net, 20, rng, sample_weight=sample_weight(20, rng), l2=0.1)
    objective = case.objective()
    error = check_grad(objective.value, objective.gradient, case.w)
    assert error < 1e-6 * max(1, np.linalg.norm(objective.gradient(case.w)))


# SciPy compares steps with 1e100, in the dtype of values and slopes.
@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
@every_dtype
@pytest.mark.parametrize("method", ["CG", "BFGS", "L-BFGS-B"])
def test_minimize_least_squares(method, dtype, rng):
    """One layer of identities: the normal equations, weighted, with a ridge."""
    net = fm.Network([6, 2], loss="half_squared_error", dtype=dtype)
    case = case_of(net, 50, rng, sample_weight=sample_weight(50, rng), l2=0.01)
    objective = case.objective()
    result = minimize(objective.value_and_gradient, case.w, jac=True, method=method, tol=1e-9)
    inputs, S = np.column_stack([case.X, np.ones(50)]), case.twin.factors()[:, None]
    ridge = np.diag([0.01] * 6 + [0])
    solution = np.linalg.solve(inputs.T @ (S * inputs) + ridge, inputs.T @ (S * case.y))
    atol = 1e-3 if dtype == "float32" else 1e-5
    assert_allclose(result.x, solution.ravel(), rtol=0, atol=atol)
    assert objective.nfev == objective.njev >= 3


# Arguments -----------------------------------------------------------------------------------


def layouts(array):
    """The array's numbers, in other types and layouts."""
    read_only = array.copy()
    read_only.flags.writeable = False
    strided = np.zeros([2 * n for n in array.shape], array.dtype)
    strided[(slice(None, None, 2),) * array.ndim] = array
    yield from (read_only, np.asfortranarray(array), strided[(slice(None, None, 2),) * array.ndim])
    yield from (array.astype(name) for name in ("float16", "float32", "float64", ">f4", "uint8"))
    yield array.tolist()


@every_dtype
@pytest.mark.parametrize(("output", "loss"), [("softmax", "cross_entropy"), ("tanh", None)])
def test_layouts(output, loss, dtype, rng):
    case = mixed_case(rng, (output, loss), dtype, n=37)
    case.X[:], case.w[:], case.d[:] = (
        rng.integers(0, 3, a.shape) for a in (case.X, case.w, case.d)
    )
    s, y = rng.integers(0, 4, 37), rng.integers(0, 2, case.y.shape)

    def results(**other):
        given = {"X": case.X, "y": y, "w": case.w, "d": case.d, "s": s, **other}
        copies = copy.deepcopy(given)
        net, options = case.net, {**case.options, "sample_weight": given["s"]}
        other = Case(net, given["X"], given["y"], given["w"], given["d"], options)
        found = every_result(other)
        for name, array in given.items():
            assert_array_equal(array, copies[name])
            assert isinstance(array, list) or same_bits(array, copies[name])
        return found

    case.w[:], case.d[:] = case.w / 8, case.d / 8
    expected = results()
    for name, array in (("X", case.X), ("y", y), ("s", s), ("w", case.w), ("d", case.d)):
        for other in layouts(array):
            if np.array_equal(other, array):
                check_same_results(results(**{name: other}), expected)


def test_float64_inputs_of_a_float32_network(rng):
    """They are rounded to the network's type, wherever they come in."""
    case = mixed_case(rng)
    wide = [rng.standard_normal(array.shape) for array in (case.X, case.w, case.d)]
    narrow = [array.astype(np.float32) for array in wide]
    make = lambda X, w, d: Case(case.net, X, case.y, w, d, case.options)  # noqa: E731
    check_same_results(every_result(make(*wide)), every_result(make(*narrow)))


S, NAN, INF = np.ones(6), np.nan, np.inf
WRONG = (TypeError, ValueError)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sample_weight", np.ones(5)),
        ("sample_weight", np.ones((6, 1))),
        ("sample_weight", 1.0),
        ("sample_weight", np.where(np.arange(6) == 5, -1e-9, 1.0)),
        ("sample_weight", np.where(np.arange(6) == 5, NAN, 1.0)),
        ("sample_weight", np.where(np.arange(6) == 5, INF, 1.0)),
        ("sample_weight", np.zeros(6)),
        ("sample_weight", ["a"] * 6),
        ("sample_weight", np.ones(6, complex)),
        ("l2", -1e-9),
        ("l2", NAN),
        ("l2", INF),
        ("l2", "0.1"),
        ("l2", None),
        ("l2", [0.1, 0.2]),
        ("reduction", "none"),
        ("reduction", None),
        ("kept_bytes", -1),
        ("kept_bytes", "1 GB"),
        ("X", np.ones((6, 4))),
        ("X", np.full((6, 5), NAN)),
        ("X", np.ones((0, 5))),
        ("y", np.ones((5, 3))),
        ("y", np.full((6, 3), NAN)),
    ],
    ids=str,
)
def test_bad_arguments(name, value, rng):
    net = fm.Network([5, 3])
    given = {"X": np.ones((6, 5)), "y": np.ones((6, 3)), name: value}
    with pytest.raises(WRONG, match=rf"\b{name}\b"):
        fm.Objective(net, **given)


def test_options_are_keywords():
    with pytest.raises(TypeError):
        fm.Objective(fm.Network([5, 3]), np.ones((6, 5)), np.ones((6, 3)), np.ones(6))


@pytest.mark.parametrize("bad", ["long", "2-D", NAN, INF, 1e39, "text", None, "complex"], ids=str)
def test_bad_parameters(bad, rng):
    case = mixed_case(rng, n=20)
    objective = case.objective()
    good = case.w
    if isinstance(bad, float):
        wrong = good.astype(float)
        wrong[-1] = bad
    else:
        wrong = {
            "long": np.append(good, 1), "2-D": good[None], "text": ["a"] * good.size, None: None,
            "complex": good + 1j,
        }[bad]  # fmt: skip
    for name in ("value", "gradient", "value_and_gradient", "__call__"):
        with pytest.raises(WRONG, match=r"\bw\b"):
            getattr(objective, name)(wrong)
    for name, second in (("along", "d"), ("hessian_vector", "v")):
        with pytest.raises(WRONG, match=r"\bw\b"):
            getattr(objective, name)(wrong, good)
        with pytest.raises(WRONG, match=rf"\b{second}\b"):
            getattr(objective, name)(good, wrong)
    assert counts(objective) == (0, 0, 0)
    check_same_results(every_result(case, objective), every_result(case))


if __name__ == "__main__":
    globals()[sys.argv[1]]()
