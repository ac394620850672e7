"""What a fit does not go on from, and what is left as it was then."""

import copy
import re

import numpy as np
import pytest

import fastmlp as fm
from cases_checkpoints import check_whatever_is_wrong, replaced
from cases_estimators import (
    TARGETS,
    WEIGHTS,
    WEIGHTS_VAL,
    X_VAL,
    Y3,
    Y_MANY,
    Y_VAL,
    X,
    Y,
    classifier,
    regressor,
    same_bits,
    state,
)
from cases_fits import VALIDATION, KillAt, Killed
from fastmlp import FormatError, files
from fastmlp.solvers.trainers import BatchTrainer

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
FULL = {**VALIDATION, "sample_weight_val": WEIGHTS_VAL, "sample_weight": WEIGHTS}
BASICS = {"dropout": 0.1, "class_weight": {"no": 1.5}, "batch_size": 16}


def make(kind=classifier, **parameters):
    return kind(**{**(BASICS if kind is classifier else {"batch_size": 16}), **parameters})


class NotTold(fm.callbacks.Callback):
    def on_start(self, state):
        raise AssertionError("a callback was told")


def check_refused(model, path, match, X=X, y=Y, **fit):
    """Fail unless a fit is refused before anything is done, naming what differs."""
    fitted = copy.deepcopy(model).set_params(max_iter=1, callbacks=None)
    fitted.fit(X, y)
    fitted.set_params(callbacks=NotTold(), max_iter=model.max_iter)
    if isinstance(model.random_state, np.random.RandomState):
        fitted.set_params(random_state=copy.deepcopy(model.random_state))
    before, content = state(fitted), path.read_bytes()
    with pytest.raises(ValueError, match=match) as caught:
        fitted.fit(X, y, checkpoint=path, resume=True, **fit)
    assert state(fitted) == before
    assert path.read_bytes() == content
    return str(caught.value)


# Other parameters ----------------------------------------------------------------------------

NOT_COMPARED = {"callbacks", "max_iter", "n_jobs", "random_state", "verbose", "warm_start"}
CHANGES = {
    "activation": "tanh", "alpha": 0.5, "batch_size": 17, "beta_1": 0.5, "beta_2": 0.5,
    "class_weight": {"no": 2.5}, "dropout": 0.25, "early_stopping": True, "epsilon": 0.001,
    "learning_rate": "adaptive", "learning_rate_init": 0.25, "max_fun": 10, "momentum": 0.5,
    "n_iter_no_change": 5, "nesterovs_momentum": False, "power_t": 0.25, "scaling": "standard",
    "scoring": "accuracy", "shuffle": False, "solver": "sgd", "tol": 0.25,
    "validation_fraction": 0.25,
}  # fmt: skip


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "fit.ckpt"
    make().fit(X, Y, checkpoint=path, **FULL)
    return path


def test_no_parameter_is_forgotten():
    parameters = {*classifier().get_params(), *regressor().get_params()}
    assert parameters == {*CHANGES, *NOT_COMPARED, "hidden_layer_sizes", "loss"}


@pytest.mark.parametrize("name", CHANGES)
def test_another_parameter(name, path):
    there, here = getattr(make(), name), CHANGES[name]
    message = rf"another run.*: {name} is {re.escape(f'{here!r} here, {there!r} there')}"
    check_refused(make(**{name: here}), path, message, **FULL)


def test_another_network(path):
    message = r"hidden_layer_sizes is \[7\] here, \[6\] there; network is .*5, 7, 1.*5, 6, 1"
    check_refused(make(hidden_layer_sizes=[7]), path, message, **FULL)
    loss = fm.losses.binary_cross_entropy(label_smoothing=0.125)
    check_refused(make(loss=loss), path, r"loss is .*0\.125.* here, 'log_loss' there", **FULL)


@pytest.mark.parametrize("first", ["adam", "gd", "nesterov", "lbfgs", "rprop"])
def test_another_solver(first, tmp_path):
    path = tmp_path / "a"
    for second in ("sgd", "cg", "lbfgs", "rprop"):
        path.unlink(missing_ok=True)
        classifier(solver=first, max_iter=2).fit(X, Y, checkpoint=path)
        if second != first:
            message = f"another run.*: solver is '{second}' here, '{first}' there"
            check_refused(classifier(solver=second), path, message)


def test_equal_numbers_are_no_other_parameters(path):
    """Searches give NumPy's numbers, and files Python's."""
    more = {"alpha": np.float64(0.0001), "hidden_layer_sizes": [np.int64(6)]}
    more |= {"batch_size": np.int64(16), "tol": np.float64(1e-4), "dropout": np.float64(0.1)}
    resumed = make(**more).fit(X, Y, resume=path, **FULL)
    assert same_bits(resumed.parameters_, make().fit(X, Y, **FULL).parameters_)


# Other data ----------------------------------------------------------------------------------


def changed(array, value):
    array = array.copy()
    array.flat[7] = value
    return array


OTHERS = {
    "X": ({"X": changed(X, 0.0)}, "X is of shape"),
    "fewer": (
        {"X": X[:50], "y": Y[:50], "sample_weight": WEIGHTS[:50]},
        r"X is of shape \(50, 5\) .* here, of shape \(60, 5\)",
    ),
    "float32": ({"X": X.astype("float32")}, "network is .*float32.*float64|network is .*float64"),
    "y": ({"y": changed(Y, "yes" if Y[7] == "no" else "no")}, "y is of shape"),
    "weights": ({"sample_weight": changed(WEIGHTS, 1.5)}, "sample_weight, class_weight is of"),
    "doubled": ({"sample_weight": 2 * WEIGHTS}, "sample_weight, class_weight is .* times"),
    "X_val": ({"X_val": changed(X_VAL, 0.0)}, "X_val is of"),
    "y_val": ({"y_val": changed(Y_VAL, "yes" if Y_VAL[7] == "no" else "no")}, "y_val is of"),
    "weights_val": ({"sample_weight_val": changed(WEIGHTS_VAL, 0.5)}, "sample_weight_val is of"),
    "none_val": ({"sample_weight_val": None}, "sample_weight_val is None here, of shape"),
    "no_val": (
        {"X_val": None, "y_val": None, "sample_weight_val": None},
        "X_val is absent here, .* there; y_val is absent here",
    ),
}  # fmt: skip


@pytest.mark.parametrize("other", OTHERS)
def test_other_data(other, path):
    more, message = OTHERS[other]
    text = check_refused(make(), path, f"another run.*{message}", **{**FULL, **more})
    assert " here, " in text
    assert " there" in text


@pytest.mark.parametrize("solver", ["adam", "gd"])
@pytest.mark.parametrize(
    ("y", "other"),
    [(Y, Y == "yes"), (Y, np.where(Y == "yes", 2, 1)), (Y3, np.char.upper(Y3))],
)  # fmt: skip
def test_other_labels(solver, y, other, tmp_path):
    classifier(solver=solver).fit(X, y, checkpoint=tmp_path / "a")
    message = r"another run.*: classes of y is \[.* here, \['.* there$"
    check_refused(classifier(solver=solver), tmp_path / "a", message, y=other)


def test_very_many_labels(tmp_path):
    y, rows = np.arange(2000), np.random.default_rng(0).normal(size=(2000, 2))
    make = lambda: classifier(hidden_layer_sizes=(1,), solver="adam", max_iter=1)  # noqa: E731
    make().fit(rows, y, checkpoint=tmp_path / "a")
    text = check_refused(make(), tmp_path / "a", "classes of y", X=rows, y=y + 1)
    assert len(text) < 2000


@pytest.mark.parametrize("solver", ["adam", "cg", "lbfgs"])
def test_another_random_state(solver, tmp_path):
    path = tmp_path / "a"
    classifier(solver=solver, random_state=np.random.RandomState(5)).fit(X, Y, checkpoint=path)
    for seed in (6, np.random.RandomState(6)):
        model = classifier(solver=solver, random_state=seed)
        check_refused(model, path, "random_state is in state .* here, in state .* there; w is of")


@pytest.mark.parametrize("solver", ["adam", "gd"])
def test_a_random_state_serves_again_after_an_error(solver, tmp_path):
    """As far as a fit with checkpoints goes: the same call goes on."""
    make = lambda callback: classifier(  # noqa: E731
        solver=solver, random_state=random_state, early_stopping=solver == "adam",
        callbacks=callback,
    )  # fmt: skip
    random_state = np.random.RandomState(5)
    with pytest.raises(Killed):
        make(KillAt(3)).fit(X, Y, checkpoint=tmp_path / "a")
    resumed = make(None).fit(X, Y, checkpoint=tmp_path / "a", resume=True)
    after, random_state = random_state.get_state()[1], np.random.RandomState(5)
    assert same_bits(resumed.parameters_, make(None).fit(X, Y).parameters_)
    assert same_bits(after, random_state.get_state()[1])


@pytest.mark.parametrize("solver", ["adam", "nesterov"])
def test_another_earlier_fit(solver, tmp_path):
    parameters = {"solver": solver, "warm_start": True}
    classifier(**parameters).fit(X, Y).fit(X, Y, checkpoint=tmp_path / "a")
    message = r"another run.* w is of shape .* here, of shape .* there$"
    model = classifier(**parameters)
    with pytest.raises(ValueError, match=message):
        model.fit(X, Y, resume=tmp_path / "a")
    check_refused(classifier(solver=solver), tmp_path / "a", message)


# Other checkpoints ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["adam", "gd", "lbfgs"])
def test_checkpoints_of_solvers(kind, tmp_path):
    path, model = tmp_path / "a", classifier(solver=kind)
    net = model.fit(X, Y).network_
    y, w = (Y == "yes").astype(int), net.init(rng=0)
    objective = fm.Objective(net, X, y)
    solvers = {
        "adam": lambda **o: fm.minibatch_sgd(net, X, y, w, batch_size=60, rng=0, **o),
        "gd": lambda **o: fm.gradient_descent(objective, w, max_iter=3, **o),
        "lbfgs": lambda **o: fm.minimize(objective, w, max_iter=3, **o),
    }
    solvers[kind](checkpoint=path)
    check_refused(model, path, "is a checkpoint of [a-z_]*, and of no MLPClassifier")
    classifier(solver=kind).fit(X, Y, checkpoint=path)
    with pytest.raises(ValueError, match=r"another run.*: solver is .* here, '.*' there|MT19937"):
        solvers[kind](resume=path)


def test_files_that_are_no_checkpoints(tmp_path):
    path, model = tmp_path / "a", classifier()
    with pytest.raises(FileNotFoundError):
        model.fit(X, Y, resume=path)
    fm.save(path, model.fit(X, Y))
    check_refused(model, path, "resume must be a checkpoint; .* holds a estimator")
    path.write_bytes(b"something else")
    check_refused(model, path, "no safetensors file")
    with pytest.raises(FileNotFoundError, match="checkpoint must be in a folder that exists"):
        model.fit(X, Y, checkpoint=tmp_path / "missing" / "a")
    with pytest.raises(ValueError, match="resume=True needs a checkpoint"):
        model.fit(X, Y, resume=True)
    with pytest.raises(ValueError, match="every=2 goes with a path as checkpoint"):
        model.fit(X, Y, every=2)


def test_an_estimator_of_another_kind(tmp_path):
    regressor().fit(X, TARGETS, checkpoint=tmp_path / "a")
    message = "another run.*: estimator is MLPClassifier here, MLPRegressor there"
    check_refused(classifier(), tmp_path / "a", message)
    classifier().fit(X, Y_MANY, checkpoint=tmp_path / "b")
    check_refused(classifier(), tmp_path / "b", "classes of y|network is", y=Y3)


@pytest.mark.parametrize("solver", ["adam", "gd"])
def test_other_callbacks_with_a_state(solver, tmp_path):
    model = classifier(solver=solver, callbacks=fm.callbacks.EarlyStopping())
    model.fit(X, Y, checkpoint=tmp_path / "a")
    with pytest.raises(ValueError, match=r"callbacks with a state were .*EarlyStopping"):
        classifier(solver=solver).fit(X, Y, resume=tmp_path / "a")


class Junk:
    """A callback of which no file can hold the state."""

    def on_epoch_end(self, state):
        raise AssertionError("an epoch was done")

    def state_dict(self):
        return {"object": object()}

    def load_state_dict(self, state):
        """Do nothing."""


@pytest.mark.parametrize("solver", ["adam", "gd", "nesterov"])
def test_states_that_no_file_holds_are_refused_at_the_start(solver, tmp_path):
    model = classifier(solver=solver, callbacks=Junk())
    with pytest.raises(TypeError, match="of a type that files cannot hold"):
        model.fit(X, Y, checkpoint=fm.Checkpoints(tmp_path / "a", every=None))


# Checkpoints that are wrong ------------------------------------------------------------------


def is_unfitted(model):
    return vars(model).keys() == model.get_params().keys()


@pytest.mark.parametrize(
    ("solver", "parameters"),
    [
        ("adam", {"early_stopping": True, "dropout": 0.1}),
        ("sgd", {"learning_rate": "adaptive", "shuffle": False}),
        ("cg", {}), ("nesterov", {}), ("lbfgs", {}),
    ],
)  # fmt: skip
def test_wrong_entries(solver, parameters, tmp_path):
    """Only ValueErrors come of them, and the estimator is as before; or nothing does."""
    path = tmp_path / "a"

    def make(**more):
        stop = fm.callbacks.EarlyStopping(monitor="validation_score")
        defaults = {"max_iter": 3, "batch_size": 20, "callbacks": stop}
        return classifier(solver=solver, **{**defaults, **parameters, **more})

    kept = fm.Checkpoints(path, every=None if solver in ("adam", "sgd") else 2, every_n_steps=2)
    with pytest.raises(Killed):
        make(callbacks=[make().callbacks, KillAt(3)]).fit(X, Y, checkpoint=kept, **VALIDATION)
    tried = []

    def resume(path):
        tried[:] = [make()]
        tried[0].fit(X, Y, resume=path, **VALIDATION)

    n_refused = check_whatever_is_wrong(path, resume, lambda: is_unfitted(tried[0]), one_of=5)
    assert n_refused > 100


@pytest.mark.parametrize("wrong", ["beyond", "negative", "twice", "short", "int32"])
def test_an_order_that_is_no_permutation_reaches_no_kernel(wrong, tmp_path, monkeypatch):
    path = tmp_path / "a"
    with pytest.raises(Killed):
        classifier(callbacks=KillAt(3)).fit(X, Y, checkpoint=path)
    kind, tree = files.read(path)
    index = tree["run"]["order"]["index"].copy()
    if wrong in ("short", "int32"):
        index = index[:-1] if wrong == "short" else index.astype(np.int32)
    else:
        index[3] = {"beyond": 2**40, "negative": -1, "twice": index[4]}[wrong]
    files.write(path, kind, replaced(tree, ("run", "order", "index"), index))
    monkeypatch.setattr(BatchTrainer, "advance", lambda *args: pytest.fail("it is trained on"))
    with pytest.raises(FormatError, match=r"no permutation|array of|int32"):
        classifier().fit(X, Y, resume=path)


@pytest.mark.parametrize("place", [("start",), ("run", "order", "random_state")])
@pytest.mark.parametrize("wrong", [-1, 625, 2**40, 1.5, None])
def test_a_random_state_that_would_read_elsewhere(place, wrong, tmp_path):
    path = tmp_path / "a"
    classifier(max_iter=2).fit(X, Y, checkpoint=path)
    kind, tree = files.read(path)
    files.write(path, kind, replaced(tree, (*place, "state", "pos"), wrong))
    check_refused(classifier(), path, "random generator has a wrong pos")
