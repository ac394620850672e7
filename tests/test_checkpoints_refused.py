"""Checkpoints that a run cannot go on from are refused before anything is done."""

from datetime import timedelta
from functools import partial

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, make_scorer, zero_one_loss

import fastmlp as fm
from cases import problem, same_bits
from cases_checkpoints import (
    BATCH_SIZE,
    EPOCHS,
    N,
    StopAt,
    Stopped,
    check_whatever_is_wrong,
    every_solver,
    train,
)
from fastmlp import files, rules, schedules


def problem_of(net, seed=7, n=N):
    return net, *problem(net, n, np.random.default_rng(seed))


NET = fm.Network([3, 9, 3], hidden="tanh", output="softmax")
DATA = problem_of(NET)
OTHERS = problem_of(NET, 8)[2:]
WEIGHTS = np.random.default_rng(8).choice([0.5, 1.0, 2.5], N)


def changed(array):
    """A copy of which one number is another."""
    array = array.copy()
    if array.dtype.kind == "i":
        array[5] = (array[5] + 1) % 3
    else:
        array.reshape(-1)[5] = np.nextafter(array.reshape(-1)[5], np.inf)
    return array


def stopped(name, data, path, **options):
    """Write the checkpoint of a run that ends early."""
    kept = fm.Checkpoints(path, every_n_steps=2)
    with pytest.raises(Stopped):
        train(name, data, checkpoint=kept, callback=StopAt(9), **options)
    return path


def check_refused(name, data, path, match, error=ValueError, **options):
    """Fail unless a checkpoint is refused, and nothing else is done: not a number is drawn."""
    rng = options.pop("rng", None)
    rng = np.random.default_rng(0 if rng is None else rng)
    w, content = data[1].copy(), path.read_bytes()
    state, called = rng.bit_generator.state, []
    for resume in ({"resume": path}, {"resume": True, "checkpoint": path}):
        with pytest.raises(error, match=match) as caught:
            train(name, data, rng=rng, callback=called.append, **{**resume, **options})
        assert error is fm.FormatError or type(caught.value) is error
        assert rng.bit_generator.state == state
        assert same_bits(data[1], w)
        assert not called
        assert path.read_bytes() == content
    return caught.value


# Other data and settings ----------------------------------------------------------------------

GIVEN = {
    "sample_weight": WEIGHTS, "validation": (*OTHERS, WEIGHTS), "scoring": "accuracy",
    "patience": 9,
}  # fmt: skip


@every_solver
@pytest.mark.parametrize("what", ["w", "X", "y"])
def test_other_data(name, what, tmp_path):
    path = stopped(name, DATA, tmp_path / "run")
    data = [changed(one) if what == given else one for given, one in zip("nwXy", DATA, strict=True)]
    digest = r"of shape \(.*\) and digest [0-9a-f]{16}"
    match = rf"^{path} is a checkpoint of another run, .*: {what} is {digest} here, {digest} there$"
    check_refused(name, data, path, match)


@every_solver
def test_fewer_samples(name, tmp_path):
    path = stopped(name, DATA, tmp_path / "run")
    data = *DATA[:2], DATA[2][:-1], DATA[3][:-1]
    check_refused(
        name, data, path, r"X is of shape \(22, 3\) .* here, of shape \(23, 3\) .*; y is "
    )


@every_solver
def test_other_weights_and_validation(name, tmp_path):
    path = stopped(name, DATA, tmp_path / "run", **GIVEN)
    weights = {**GIVEN, "sample_weight": changed(WEIGHTS.astype("f4"))}
    check_refused(name, DATA, path, r": sample_weight, class_weight is of .* there$", **weights)
    of_labels = {**GIVEN, "class_weight": {0: 2.0}}
    check_refused(name, DATA, path, r": sample_weight, class_weight is of", **of_labels)
    for i, part in enumerate(["X", "y", "sample_weight"]):
        other = [*OTHERS, WEIGHTS.astype("f4")]
        other[i] = changed(other[i])
        match = rf": validation is .*{part} of shape .* here, .* there$"
        check_refused(name, DATA, path, match, **{**GIVEN, "validation": tuple(other)})
    check_refused(name, DATA, path, ": validation is ", **{**GIVEN, "validation": OTHERS})
    check_refused(name, DATA, path, ": validation is ", **{**GIVEN, "validation": 0.2})


@every_solver
def test_validation_or_none(name, tmp_path):
    path = stopped(name, DATA, tmp_path / "run", validation=0.2)
    check_refused(name, DATA, path, ": validation is absent here, X of shape .* there$")
    check_refused(name, DATA, path, ": validation is X of shape ", validation=0.5)


def half(k):
    return 0.5


def power(k, c):
    return c**k


def score(model, X, y):
    return 0.0


# Of each argument: a value, another one, and how they are told.
ARGUMENTS = {
    "rule": [("momentum", "nesterov"), (rules.Adam(), rules.Adam(beta2=0.99))],
    "step": [
        (0.1, 0.2), (half, score), (None, 0.02),
        (schedules.inverse(0.5), schedules.inverse_power(0.5)),
        (partial(power, c=0.5), partial(power, c=0.25)),
        (schedules.warm_up(0.1, 5), schedules.warm_up(0.1, 6)),
    ],
    "order": [("shuffled", "replacement"), ("shuffled", "sequential")],
    "l1": [(0.0, 0.1)],
    "l2": [(0.1, 0.2)],
    "dropout": [(0.0, 0.1), (0.2, [0.2, 0.2])],
    "clip_value": [(None, 0.5), (0.5, 1.0)],
    "clip_norm": [(None, 0.5), (0.5, 1.0)],
    "max_norm": [(None, 0.5), (0.5, 1.0)],
    "average": [(False, True), (3, 4)],
    "scoring": [
        (None, "accuracy"), (score, half),
        (make_scorer(accuracy_score), make_scorer(zero_one_loss)),
    ],
    "patience": [(None, 3), (3, 4)],
    "min_improvement": [(0.0, 0.5), (0.1, 0.5)],
    "rng": [(0, 1)],
    "batch_size": [(BATCH_SIZE, 5), (BATCH_SIZE, None)],
    "reduction": [("mean", "sum")],
}  # fmt: skip
CASES = [(name, *values) for name, pairs in ARGUMENTS.items() for values in pairs]


def score_or_none(name, value):
    options = {name: value}
    if name == "scoring":
        options["validation"] = OTHERS
    if name == "min_improvement":
        options["patience"] = 5
    return options


@every_solver
@pytest.mark.parametrize(("argument", "there", "here"), CASES)
def test_other_settings(name, argument, there, here, tmp_path):
    """Each by itself is told, by its name and both values."""
    if name == "sgd" and argument in ("batch_size", "reduction"):
        pytest.skip("no argument of sgd")
    path = stopped(name, DATA, tmp_path / "run", **score_or_none(argument, there))
    match = rf"another run, [^:;]*: {argument} is [^;]* here, [^;]* there$"
    error = check_refused(name, DATA, path, match, **score_or_none(argument, here))
    _, told = str(error).split(f": {argument} is ")
    here, there = told.removesuffix(" there").split(" here, ")
    assert here != there


@every_solver
def test_every_argument_is_compared(name):
    """Or may change, or stays as it is by what it means."""
    may_change = {"epochs", "callback", "progress", "checkpoint", "every", "resume"}
    data = {"sample_weight", "class_weight", "validation"}
    arguments = {*getattr(fm, name).__kwdefaults__}
    if name == "sgd":
        arguments |= {"batch_size", "reduction"}
    assert arguments - may_change - data == {*ARGUMENTS}


@every_solver
def test_equal_settings_in_other_types(name, tmp_path):
    there = {"patience": 3, "min_improvement": 0.0, "dropout": [0.0, 0.25], "l2": 1, "average": 0}
    here = {
        "patience": np.int64(3), "min_improvement": 0, "dropout": (0, np.float32(0.25)), "l2": 1.0,
        "average": True, "rule": rules.SGD(),
    }  # fmt: skip
    path = stopped(name, DATA, tmp_path / "run", **there)
    assert train(name, DATA, resume=path, **here).n_epochs == EPOCHS


@every_solver
def test_equal_validation_samples_in_other_types(name, tmp_path):
    X, y = OTHERS
    X, y = X.astype(np.float32), y.astype(np.int32)
    path = stopped(name, DATA, tmp_path / "run", validation=(X, y))
    there = np.asfortranarray(X, np.float64), y.astype(np.int64)
    data = NET, DATA[1].tolist(), *DATA[2:]
    assert train(name, data, resume=path, validation=there).n_epochs == EPOCHS


def test_another_solver(tmp_path):
    path = stopped("sgd", DATA, tmp_path / "run")
    match = ": solver is minibatch_sgd here, sgd there$"
    check_refused("minibatch_sgd", DATA, path, match)
    objective = fm.Objective(NET, *DATA[2:])
    with pytest.raises(ValueError, match=r": solver is gradient_descent here, sgd there$"):
        fm.gradient_descent(objective, DATA[1], resume=path)
    fm.gradient_descent(objective, DATA[1], max_iter=1, checkpoint=path)
    check_refused("sgd", DATA, path, "solver|no checkpoint of this kind of run", fm.FormatError)


@every_solver
@pytest.mark.parametrize(
    "other",
    [
        {"hidden": "relu"}, {"widths": [3, 8, 3]}, {"dtype": "float64"}, {"bias": False},
        {"loss": fm.losses.cross_entropy(label_smoothing=0.1)},
    ],
    ids=str,
)  # fmt: skip
def test_another_network(name, other, tmp_path):
    path = stopped(name, DATA, tmp_path / "run")
    net = fm.Network(**{"widths": [3, 9, 3], "hidden": "tanh", "output": "softmax", **other})
    data = net, net.init(0), *DATA[2:]
    check_refused(name, data, path, r": net is Network\(.*\) here, Network\(.*\) there; ")


# Files that are none --------------------------------------------------------------------------


@every_solver
def test_files_that_are_no_checkpoints(name, tmp_path):
    path = tmp_path / "run"
    good = stopped(name, DATA, tmp_path / "good").read_bytes()
    middle = len(good) // 2
    flipped = good[:middle] + bytes([good[middle] ^ 16]) + good[middle + 1 :]
    for content in (b"", b"\0" * 99, good[:8], good[:-1], good + b"\0", flipped, good[::-1]):
        path.write_bytes(content)
        check_refused(name, DATA, path, f"^{path} ", fm.FormatError)
    for kind in ("network", "Checkpoint", ""):
        files.write(path, kind, files.read(tmp_path / "good")[1])
        check_refused(name, DATA, path, "^resume must be a checkpoint; ", fm.FormatError)


def test_places_that_are_none(tmp_path):
    """Neither is anything drawn nor done."""
    before, rng = DATA[1].copy(), np.random.default_rng(3)
    state = rng.bit_generator.state
    objective = fm.Objective(NET, *DATA[2:])
    for solve in (
        lambda **o: fm.sgd(*DATA_FIRST, rng=rng, **o),
        lambda **o: fm.minibatch_sgd(*DATA_FIRST, rng=rng, validation=0.2, **o),
        lambda **o: fm.gradient_descent(objective, DATA[1], max_iter=1, **o),
    ):
        for bad in (tmp_path / "missing" / "run", fm.Checkpoints(tmp_path / "missing" / "run")):
            with pytest.raises(FileNotFoundError, match=r"^checkpoint must be in a folder"):
                solve(checkpoint=bad)
        with pytest.raises(IsADirectoryError, match=r"^checkpoint must be a file"):
            solve(checkpoint=tmp_path)
        with pytest.raises(FileNotFoundError):
            solve(resume=tmp_path / "missing")
        with pytest.raises(TypeError, match=r"^checkpoint must be a str or os.PathLike; got 3"):
            solve(checkpoint=3)
        with pytest.raises(TypeError, match=r"^resume must be a str or os.PathLike; got None"):
            solve(resume=None)
        with pytest.raises(ValueError, match=r"^resume=True needs a checkpoint; got checkpoint=No"):
            solve(resume=True)
        with pytest.raises(ValueError, match=r"^every=2 goes with a path as checkpoint; got check"):
            solve(every=2)
        with pytest.raises(ValueError, match=r"^every=1 goes with a path.*; got fastmlp.Checkpoin"):
            solve(every=1, checkpoint=fm.Checkpoints(tmp_path / "run"))
        with pytest.raises((TypeError, ValueError), match=r"^every must be "):
            solve(every=0.5, checkpoint=tmp_path / "run")
    assert rng.bit_generator.state == state
    assert same_bits(DATA[1], before)
    assert not [*tmp_path.iterdir()]


DATA_FIRST = DATA[0], *DATA[2:], DATA[1]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"path": 3}, r"^path must be a str or os.PathLike; got 3$"),
        ({"path": None}, r"^path must be a str or os.PathLike; got None$"),
        ({"every": 0}, r"^every must be at least 1"),
        ({"every": 1.5}, r"^every must be an integer"),
        ({"every": timedelta(0)}, r"^every must be positive; got datetime.timedelta\(0\)$"),
        ({"every_n_steps": 0}, r"^every_n_steps must be at least 1"),
        ({"keep": 0}, r"^keep must be at least 1"),
        ({"keep": True}, r"^keep must be an integer"),
        ({"keep_best": 1}, r"^keep_best must be True or False; got 1$"),
    ],
)
def test_checkpoints_refuse(options, match):
    with pytest.raises((TypeError, ValueError), match=match):
        fm.Checkpoints(**{"path": "run", **options})


# Files that someone has made by hand ----------------------------------------------------------


class Counting:
    """Counts epochs, in its state."""

    def on_start(self, state):
        self.n = 0

    def on_epoch_end(self, state):
        self.n += 1

    def state_dict(self):
        return {"n": self.n}

    def load_state_dict(self, state):
        self.n = int(state["n"])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("sgd", {}),
        ("sgd", {"order": "replacement", "step": schedules.reduce_on_plateau(0.1)}),
        (
            "minibatch_sgd",
            {
                "rule": "adam", "average": True, "validation": OTHERS, "patience": 2,
                "step": schedules.warm_up(schedules.reduce_on_plateau(0.1), 3), "dropout": 0.2,
            },
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", [np.random.PCG64, np.random.MT19937])
def test_wrong_entries(name, options, kind, tmp_path):
    """Each is refused before a number is drawn, or makes for other numbers and nothing worse."""

    def train_on(rng, callback, **more):
        train(name, DATA, rng=rng, callback=callback, **options, **more)

    def resume(path):
        rngs.append(np.random.Generator(kind(0)))
        train_on(rngs[-1], Counting(), resume=path)

    def is_untouched():
        return rngs[-1].integers(2**60) == np.random.Generator(kind(0)).integers(2**60)

    kept, rngs = fm.Checkpoints(tmp_path / "run", every_n_steps=2), []
    with pytest.raises(Stopped):
        train_on(np.random.Generator(kind(0)), [StopAt(9), Counting()], checkpoint=kept)
    assert check_whatever_is_wrong(kept.path, resume, is_untouched) > 300
