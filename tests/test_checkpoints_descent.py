"""A gradient descent that was stopped goes on from its checkpoint to the same bits."""

import errno
import os

import numpy as np
import pytest

import fastmlp as fm
from cases import problem
from cases_checkpoints import (
    check_same,
    check_whatever_is_wrong,
    names,
    stop_after,
)
from cases_cuts import needs_two_threads, on_threads
from cases_descent import every_direction, every_dtype
from cases_interrupts import Lines, one_of_each, traced
from fastmlp import files, line_search

SEARCHES = ("exact", "armijo", "wolfe", 0.1, line_search.Armijo(c1=0.2))
every_search = pytest.mark.parametrize("search", SEARCHES, ids=str)
MAX_ITER = 19


def data_of(dtype):
    net = fm.Network([3, 9, 3], hidden="tanh", output="softmax", dtype=dtype)
    return net, *problem(net, 23, np.random.default_rng(7))


DATA = {dtype: data_of(dtype) for dtype in ("float32", "float64")}


def descend(dtype="float64", data=None, l2=0.01, **options):
    net, w, X, y = DATA[dtype] if data is None else data
    objective = fm.Objective(net, X, y, l2=l2)
    return fm.gradient_descent(objective, w, **{"max_iter": MAX_ITER, "tol": 1e-4, **options})


def stop(path, at, **options):
    stop_after(lambda **more: descend(**options, **more), path, at)


def resumed(path, n_iterations=None, **options):
    """Return the result of going on after so many iterations."""
    if n_iterations is not None:
        assert files.read(path)[1]["run"]["nit"] == n_iterations
    return descend(resume=path, **options)


def check_resumes(folder, **options):
    expected = descend(**options)
    for at in (1, 2, 3, expected.nit // 2 + 1, expected.nit):
        path = folder / str(at)
        stop(path, at, **options)
        if at > 1:
            check_same(resumed(path, at - 1, **options), expected)
    return expected


@every_dtype
@every_search
@every_direction
def test_every_direction_and_search(direction, search, dtype, tmp_path):
    options = {"direction": direction, "line_search": search, "dtype": dtype}
    check_resumes(tmp_path, **options)


@every_direction
@pytest.mark.parametrize("tol", [0.05, 0.0])
def test_a_run_that_is_at_its_end(direction, tol, tmp_path):
    """Converged, or without progress; then nothing is done or written any more."""
    options = {"direction": direction, "tol": tol, "max_iter": 2000, "l2": 1.0, "dtype": "float32"}
    expected = descend(**options)
    assert expected.status == (0 if tol else 5)
    kept = fm.Checkpoints(tmp_path / "run", keep=2)
    check_same(descend(checkpoint=kept, **options), expected)
    before = [(tmp_path / name).read_bytes() for name in names(tmp_path)]
    for _ in range(2):
        result = descend(checkpoint=kept, resume=True, **options)
        check_same(result, expected)
    assert [(tmp_path / name).read_bytes() for name in names(tmp_path)] == before


@every_direction
@every_search
def test_more_iterations(direction, search, tmp_path):
    """And another tol, which may change as well."""
    options = {"direction": direction, "line_search": search}
    descend(checkpoint=tmp_path / "run", max_iter=6, tol=1e-3, **options)
    check_same(resumed(tmp_path / "run", 6, **options), descend(**options))
    with pytest.raises(ValueError, match=r"is of iteration 6, beyond max_iter=5$") as caught:
        resumed(tmp_path / "run", max_iter=5, **options)
    assert not isinstance(caught.value, fm.FormatError)


@every_direction
def test_stopped_by_a_callback(direction, tmp_path):
    options = {"direction": direction}
    for at in (1, 2, 7):
        path = tmp_path / str(at)
        result = descend(checkpoint=path, callback=lambda state, at=at: state.nit == at, **options)
        assert (result.status, result.nit) == (1, at)
        check_same(resumed(path, at, **options), descend(**options))


def test_several_stops(tmp_path):
    options = {"direction": "conjugate", "line_search": "wolfe"}
    for at in (2, 3, 9, 10, 17):
        stop(tmp_path / "run", at, **options)
    check_same(resumed(tmp_path / "run", 16, **options), descend(**options))


@needs_two_threads
def test_resumed_on_other_threads(tmp_path):
    net = fm.Network([11, 200, 90, 3], output="softmax")
    data = net, *problem(net, 120, np.random.default_rng(1))
    options = {"data": data, "direction": "nesterov", "max_iter": 4}
    with on_threads(1):
        expected = descend(**options)
        stop(tmp_path / "run", 3, **options)
    with on_threads(2):
        check_same(resumed(tmp_path / "run", 2, **options), expected)


# Directions of the user's own -----------------------------------------------------------------


class HeavyBall:
    """Has no words of its own: what it is called in a checkpoint must not be its address."""

    looks_ahead = False

    def __init__(self):
        self.d = None

    def direction(self, gradient):
        self.d = -gradient if self.d is None else 0.5 * self.d - gradient
        return self.d if self.d @ gradient < 0 else -gradient

    def learn(self, step):
        self.n_steps = getattr(self, "n_steps", 0) + 1

    def restart(self):
        had_past, self.d = self.d is not None, None
        return had_past

    def state_dict(self):
        return {"d": self.d, "n_steps": getattr(self, "n_steps", 0)}

    def load_state_dict(self, state):
        self.d, self.n_steps = state["d"], state["n_steps"]


def test_own_direction(tmp_path):
    expected = descend(direction=HeavyBall())
    for at in (2, 8):
        path, rule = tmp_path / str(at), HeavyBall()
        stop(path, at, direction=HeavyBall())
        check_same(resumed(path, at - 1, direction=rule), expected)
        assert rule.n_steps == expected.nit


def test_own_direction_without_a_state(tmp_path):
    class Stateless(HeavyBall):
        state_dict = property()

    with pytest.raises(ValueError, match=r"^a checkpoint needs a direction with the methods"):
        descend(direction=Stateless(), checkpoint=tmp_path / "run")
    assert descend(direction=Stateless()).nit > 1


def test_own_direction_of_which_a_file_cannot_hold_the_state(tmp_path):
    class Unwritable(HeavyBall):
        def state_dict(self):
            return {"d": object()}

    def callback(state):
        pytest.fail("has begun")

    with pytest.raises(TypeError, match="of a type that files cannot hold"):
        descend(direction=Unwritable(), checkpoint=tmp_path / "run", callback=callback)
    assert not names(tmp_path)


# Files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("every", "every_n_steps"), [(3, None), (None, 3), (10**6, 3)])
def test_when_checkpoints_are_written(every, every_n_steps, tmp_path):
    """At the third iteration of each three, and the last."""
    seen = []

    def look(state):
        if path.exists():
            seen.append(files.read(path)[1]["run"]["nit"])
        else:
            seen.append(0)

    path = tmp_path / "run"
    kept = fm.Checkpoints(path, every, every_n_steps)
    descend(checkpoint=kept, callback=look, max_iter=8)
    assert seen == [0, 0, 0, 3, 3, 3, 6, 6]
    assert files.read(path)[1]["run"]["nit"] == 8
    assert names(tmp_path) == ["run"]


@every_direction
def test_checkpoints_kept(direction, tmp_path):
    kept = fm.Checkpoints(tmp_path / "run", keep=3, keep_best=True)
    expected = descend(checkpoint=kept, direction=direction)
    there = {name: files.read(tmp_path / name)[1] for name in names(tmp_path)}
    assert {*there} == {"run", "run.1", "run.2", "run.best"}
    assert [there[name]["run"]["nit"] for name in sorted(there)][:3] == [19, 18, 17]
    assert there["run.best"]["run"]["nit"] == np.argmin(expected.history.value[1:]) + 1
    for name in there:
        check_same(resumed(tmp_path / name, direction=direction), expected)


def test_a_full_disk(tmp_path, monkeypatch):
    expected, path, fsync = descend(), tmp_path / "run", os.fsync
    calls = []

    def full(descriptor):
        calls.append(descriptor)
        if 10 < len(calls) < 13:  # one is of the file, one of its folder
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.warns(RuntimeWarning, match=rf"^Checkpoint not written.*{path}.*No space") as got:
        result = descend(checkpoint=path)
    assert len(got) == 2
    check_same(result, expected)
    assert names(tmp_path) == ["run"]


# Refusals -------------------------------------------------------------------------------------


def changed(array):
    array = array.copy()
    array.flat[4] = (array.flat[4] + 1) % 3
    return array


def test_other_data_and_settings(tmp_path):
    net, w, X, y = DATA["float64"]
    path = tmp_path / "run"
    descend(checkpoint=path, max_iter=2, l2=0.1)
    weights = np.ones(len(X))
    others = {
        "w": {"w": changed(w)},
        "X": {"X": changed(X)},
        "y": {"y": changed(y)},
        "sample_weight, class_weight": {"sample_weight": changed(weights)},
        "l2": {"l2": 0.2},
        "reduction": {"reduction": "sum"},
        "direction": {"direction": "conjugate"},
        "line_search": {"line_search": line_search.Armijo()},
        "net": {"net": fm.Network([3, 9, 3], hidden="relu", output="softmax", dtype="float64")},
    }
    kinds = {"X", "y", "net", "l2", "sample_weight", "reduction"}
    content = path.read_bytes()
    for name, other in others.items():
        of_problem = {"net": net, "X": X, "y": y, "l2": 0.1, **other}
        objective = fm.Objective(**{key: of_problem[key] for key in kinds & of_problem.keys()})
        options = {key: value for key, value in other.items() if key not in kinds}
        options = {"w": w, **options}
        with pytest.raises(ValueError, match=f"another run, .*: {name} is .* here, .* there$"):
            fm.gradient_descent(objective, checkpoint=path, resume=True, **options)
        assert objective.nfev == objective.njev == 0
    assert path.read_bytes() == content


def test_of_another_solver(tmp_path):
    net, w, X, y = DATA["float64"]
    fm.sgd(net, X, y, w, checkpoint=tmp_path / "run")
    with pytest.raises(ValueError, match=r": solver is gradient_descent here, sgd there$"):
        descend(resume=tmp_path / "run")


@every_direction
@pytest.mark.parametrize("search", ["exact", "armijo", "wolfe", 0.1])
def test_wrong_entries(direction, search, tmp_path):
    """Each is refused before anything is done, or makes for other numbers and nothing worse."""
    net, w, X, y = DATA["float64"]
    objective = fm.Objective(net, X, y)
    options = {"direction": direction, "line_search": search}

    def resume(path):
        counts.append((objective.nfev, objective.njev))
        fm.gradient_descent(objective, w, resume=path, max_iter=6, **options)

    counts, path = [], tmp_path / "run"
    fm.gradient_descent(objective, w, checkpoint=path, max_iter=4, **options)
    n_refused = check_whatever_is_wrong(
        path, resume, lambda: counts[-1] == (objective.nfev, objective.njev)
    )
    assert n_refused > 100


# Ctrl-C ---------------------------------------------------------------------------------------


# Of a file that Ctrl-C left open.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@every_direction
def test_interrupt_at_any_line(direction, rng, tmp_path):
    def solve(path):
        kept = fm.Checkpoints(path, 2, keep=2)
        options = {"direction": direction, "line_search": "armijo", "max_iter": 5}
        return descend(checkpoint=kept, resume=True, **options)

    for folder in ("first", "later"):
        every = Lines()
        (tmp_path / folder).mkdir()
        expected = traced(every, lambda path=tmp_path / folder / "run": solve(path))
    n_newest = 0
    interrupted = one_of_each(every.seen, rng)
    for at in interrupted:
        path = tmp_path / str(at) / "run"
        path.parent.mkdir()
        lines = Lines(at)
        result = traced(lines, lambda path=path: solve(path))
        try:
            if result is not None and path.exists():
                assert result.status == 2
                assert 0 <= result.nit - files.read(path)[1]["run"]["nit"] <= 1
                n_newest += 1
            check_same(solve(path), expected)
            assert set(names(path.parent)) - {"run.1"} == {"run"}
        except AssertionError as error:
            error.add_note(f"{lines.seen[-1]}: {result and result.message}")
            raise
    assert len(interrupted) > 200
    assert n_newest > 100
