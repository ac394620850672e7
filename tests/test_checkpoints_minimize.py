"""A run of SciPy's optimisers that was stopped goes on from its checkpoint to the same bits."""

import numpy as np
import pytest

import fastmlp as fm
from cases import problem
from cases_checkpoints import check_same, check_whatever_is_wrong, names, stop_after
from cases_interrupts import Lines, one_of_each, traced
from fastmlp import files
from fastmlp.solvers.minimize import METHODS, WITH_HESSIAN

MAX_ITER = 9
every_method = pytest.mark.parametrize("method", METHODS)


def data_of(dtype):
    net = fm.Network([3, 9, 3], hidden="tanh", output="softmax", dtype=dtype)
    return net, *problem(net, 23, np.random.default_rng(7))


DATA = {dtype: data_of(dtype) for dtype in ("float32", "float64")}


def objective_of(dtype="float64", l2=0.01):
    net, _, X, y = DATA[dtype]
    return fm.Objective(net, X, y, l2=l2)


def minimize(method="L-BFGS-B", dtype="float64", objective=None, **options):
    objective = objective_of(dtype) if objective is None else objective
    options = {"max_iter": MAX_ITER, "tol": 1e-4, **options}
    return fm.minimize(objective, DATA[dtype][1], method, **options)


def stop(path, at, **options):
    stop_after(lambda **more: minimize(**options, **more), path, at)


@every_method
@pytest.mark.parametrize("dtype", DATA)
def test_every_method(method, dtype, tmp_path):
    """What has been answered is not computed again, but counted."""
    expected = minimize(method, dtype)
    for at in (1, 2, 3, expected.nit):
        path = tmp_path / str(at)
        stop(path, at, method=method, dtype=dtype)
        if at > 1:
            tree = files.read(path)[1]
            assert tree["run"]["nit"] == at - 1
            objective = objective_of(dtype)
            check_same(minimize(method, dtype, objective, resume=path), expected)
            n_computed = objective.nhev + objective.njev
            n_known = len(tree["run"]["vectors"])
            assert n_computed == expected.nhev + expected.njev - n_known
            assert n_known >= at
    assert (expected.nhev > 0) == (method in WITH_HESSIAN)


def test_several_stops(tmp_path):
    for at in (2, 3, 6, 8):
        stop(tmp_path / "run", at)
    check_same(minimize(resume=tmp_path / "run"), minimize())


@every_method
def test_a_run_that_is_at_its_end(method, tmp_path):
    kept = fm.Checkpoints(tmp_path / "run", keep=2)
    expected = minimize(method, checkpoint=kept)
    before = [(tmp_path / name).read_bytes() for name in names(tmp_path)]
    objective = objective_of()
    check_same(minimize(method, objective=objective, checkpoint=kept, resume=True), expected)
    assert objective.njev == objective.nhev == 0
    assert [(tmp_path / name).read_bytes() for name in names(tmp_path)] == before


def test_more_iterations_and_another_tol(tmp_path):
    path = tmp_path / "run"
    minimize(checkpoint=path, max_iter=4, tol=1e-2)
    check_same(minimize(resume=path), minimize())
    with pytest.raises(ValueError, match=r"is of iteration 4, beyond max_iter=3$") as caught:
        minimize(resume=path, max_iter=3)
    assert not isinstance(caught.value, fm.FormatError)


def test_callbacks_are_told_again(tmp_path):
    seen, stopped = [], []
    minimize(checkpoint=tmp_path / "run", max_iter=4, callback=lambda s: stopped.append(s.fun))
    result = minimize(resume=tmp_path / "run", callback=lambda s: seen.append(s.fun))
    assert seen[:4] == stopped
    assert len(seen) == result.nit


def test_the_model_in_it(tmp_path):
    result = minimize(checkpoint=tmp_path / "run")
    net, w = fm.load(tmp_path / "run")
    assert net == DATA["float64"][0]
    assert w.tobytes() == result.x.tobytes()


# Refusals -------------------------------------------------------------------------------------


def test_other_data_and_settings(tmp_path):
    path = tmp_path / "run"
    minimize(checkpoint=path, max_iter=2)
    for name, other in {
        "method": {"method": "CG"},
        "options": {"options": {"maxcor": 3}},
        "l2": {"objective": objective_of(l2=0.02)},
        "net": {"dtype": "float32"},
    }.items():
        with pytest.raises(ValueError, match=f"another run, .*{name} is .* here, .* there"):
            minimize(resume=path, **other)


def test_another_course(tmp_path):
    """As by a SciPy of another version: told, and the checkpoint stays as it was."""
    path = tmp_path / "run"
    minimize(checkpoint=path, max_iter=3)
    kind, tree = files.read(path)
    tree["run"]["questions"][-1] = "0" * 16
    files.write(path, kind, tree)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"^SciPy has taken another course"):
        minimize(checkpoint=path, resume=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize("method", ["L-BFGS-B", "Newton-CG"])
def test_wrong_entries(method, tmp_path):
    path = tmp_path / "run"
    minimize(method, checkpoint=path, max_iter=2)
    # It may have begun: only SciPy can tell whether it asks the same questions.
    n_refused = check_whatever_is_wrong(
        path, lambda path: minimize(method, resume=path, max_iter=3), lambda: True
    )
    assert n_refused > 100


# Ctrl-C ---------------------------------------------------------------------------------------


# Of a file that Ctrl-C left open.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("method", ["L-BFGS-B", "trust-ncg"])
def test_interrupt_at_any_line(method, rng, tmp_path):
    def solve(path):
        return minimize(method, checkpoint=path, resume=True, max_iter=4)

    for folder in ("first", "later"):
        every = Lines()
        (tmp_path / folder).mkdir()
        expected = traced(every, lambda path=tmp_path / folder / "run": solve(path))
    interrupted, n_newest = one_of_each(every.seen, rng, 200), 0
    for at in interrupted:
        path = tmp_path / str(at) / "run"
        path.parent.mkdir()
        lines = Lines(at)
        result = traced(lines, lambda path=path: solve(path))
        try:
            if result is not None and path.exists():
                assert result.status == 2
                n_newest += 1
            check_same(solve(path), expected)
            assert names(path.parent) == ["run"]
        except AssertionError as error:
            error.add_note(f"{lines.seen[-1]}: {result and result.message}")
            raise
    assert len(interrupted) > 150
    assert n_newest > 60
