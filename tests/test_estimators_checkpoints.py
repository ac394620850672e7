"""A fit that was stopped goes on from its checkpoint to the same bits."""

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from scipy.sparse import csr_array, csr_matrix

import fastmlp as fm
from cases_estimators import (
    FULL_BATCH,
    STOCHASTIC,
    TARGETS,
    WEIGHTS,
    WEIGHTS_VAL,
    Y01,
    Y3,
    Y_MANY,
    X,
    Y,
    classifier,
    regressor,
    same_bits,
)
from cases_fits import VALIDATION, KillAt, check_resumes, fitted, kill, warned
from fastmlp import schedules

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
TWO_TARGETS = np.column_stack([TARGETS, X[:, 2]])
DATA = {
    "labels": (X, Y),
    "three": (X, Y3),
    "many": (X, Y_MANY),
    "sparse": (csr_array(np.where(X > 0.5, X, 0)), csr_matrix(Y_MANY)),
    "float32": (X.astype("float32"), Y3),
    "fortran": (np.asfortranarray(X), Y01.astype(bool)),
}
TARGET_DATA = {
    "one": (X, TARGETS),
    "two": (X, TWO_TARGETS),
    "float32": (X.astype("float32"), TWO_TARGETS.astype("float32")),
    "sparse": (csr_matrix(np.where(X > 0.5, X, 0)), TARGETS),
}
every_solver = pytest.mark.parametrize("solver", [*STOCHASTIC, *FULL_BATCH])
SOME_SOLVERS = ["adam", "sgd", "gd", "nesterov", "lbfgs"]
some_solvers = pytest.mark.parametrize("solver", SOME_SOLVERS)
BASICS = {"max_iter": 6, "tol": 0.0}


def maker(kind=classifier, **parameters):
    """Return what makes new estimators of these parameters; functions among them are called."""

    def make(**more):
        if "random_state" in parameters:
            more["random_state"] = parameters["random_state"]()
        batches = {} if parameters.get("solver") in [*FULL_BATCH, "rprop"] else {"batch_size": 16}
        return kind(**{**BASICS, **batches, **parameters, **more})

    return make


# Solvers, settings, data ---------------------------------------------------------------------


@every_solver
@pytest.mark.parametrize(
    ("kind", "data"), [(classifier, DATA["three"]), (regressor, TARGET_DATA["two"])]
)
def test_every_solver(solver, kind, data, tmp_path):
    check_resumes(maker(kind, solver=solver), data, tmp_path)


@some_solvers
@pytest.mark.parametrize("data", DATA)
def test_data_of_classifiers(solver, data, tmp_path):
    expected, resumed = check_resumes(maker(solver=solver), DATA[data], tmp_path, (2,))
    assert type(resumed.predict(DATA[data][0])) is type(expected.predict(DATA[data][0]))


@some_solvers
@pytest.mark.parametrize("data", TARGET_DATA)
def test_data_of_regressors(solver, data, tmp_path):
    check_resumes(maker(regressor, solver=solver), TARGET_DATA[data], tmp_path, (2,))


SETTINGS = {
    "early-stopping": {"early_stopping": True, "n_iter_no_change": 1, "max_iter": 30},
    "early-stopping-loss": {"early_stopping": True, "scoring": "loss", "dropout": 0.2},
    "no-shuffle": {"shuffle": False, "solver": "sgd", "nesterovs_momentum": False},
    "no-shuffle-dropout": {"shuffle": False, "dropout": [0.1, 0.4]},
    "dropout": {"dropout": 0.3, "solver": "rmsprop", "hidden_layer_sizes": (9, 5)},
    "adaptive": {
        "solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 1, "momentum": 0,
        "n_iter_no_change": 1, "tol": 1.0, "max_iter": 9,
    },
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 1},
    "schedule": {"learning_rate": schedules.cosine(0.01, 9, growth=2)},
    "plateau": {"learning_rate": schedules.reduce_on_plateau(0.1, patience=0, threshold=0.5)},
    "function": {"learning_rate": lambda k: 0.01 / (1 + k)},
    "class-weight": {"class_weight": {"no": 3.0, "yes": np.float32(0.5)}, "alpha": 0.1},
    "balanced": {"class_weight": "balanced", "solver": "gd", "hidden_layer_sizes": []},
    "rule": {"solver": fm.rules.Adam(beta2=0.9)},
    "loss": {"loss": fm.losses.binary_cross_entropy(label_smoothing=0.1), "n_jobs": 1},
    "scaling": {"scaling": "standard", "early_stopping": True},
    "scaling-lbfgs": {"scaling": "minmax", "solver": "lbfgs"},
    "one-batch": {"batch_size": 1, "max_iter": 5},
}  # fmt: skip


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("validates", [False, True], ids=["", "validation"])
def test_every_setting(setting, validates, tmp_path):
    given = {**VALIDATION, "sample_weight_val": WEIGHTS_VAL} if validates else {}
    make = maker(**SETTINGS[setting])
    check_resumes(make, (X, Y, WEIGHTS), tmp_path, (1, 3), every_n_steps=5, **given)


@pytest.mark.parametrize("make_state", [lambda: np.random.RandomState(5), lambda: 7])
@pytest.mark.parametrize("parameters", [{}, {"dropout": 0.2}, {"early_stopping": True}])
def test_random_states_go_on(make_state, parameters, tmp_path):
    make = maker(random_state=make_state, **parameters)
    expected, resumed = check_resumes(make, (X, Y), tmp_path)
    assert fitted(expected.fit(X, Y)) == fitted(resumed.fit(X, Y))


def test_without_a_random_state_the_checkpoint_has_it(tmp_path):
    states = []

    def make(**more):
        model = maker(random_state=lambda: None, early_stopping=True, dropout=0.2)(**more)
        np.random.seed(3 if not states else 4)  # noqa: NPY002
        return model

    expected = make().fit(X, Y)
    states.append(np.random.get_state()[1].tobytes())  # noqa: NPY002
    states.clear()
    kill(make, (X, Y), tmp_path / "a", 3, every_n_steps=2)
    states.append("another process has another state")
    resumed = make().fit(X, Y, resume=tmp_path / "a")
    assert fitted(resumed, "_random_state") == fitted(expected, "_random_state")
    after = resumed._random_state
    assert after is not np.random.mtrand._rand
    same = expected._random_state.get_state(legacy=False), after.get_state(legacy=False)
    assert not np.array_equal(same[0]["state"]["key"], same[1]["state"]["key"])


# Warm starts ---------------------------------------------------------------------------------


@some_solvers
@pytest.mark.parametrize("warm_start", [True, "optimizer"])
@pytest.mark.parametrize("kind", [classifier, regressor])
def test_warm_starts(solver, warm_start, kind, tmp_path):
    data = (X, Y) if kind is classifier else (X, TARGETS)
    first = maker(kind, solver=solver, warm_start=warm_start, learning_rate="adaptive")
    fm.save(tmp_path / "first", first().fit(*data))

    def make(**more):
        return fm.load(tmp_path / "first").set_params(**more)

    expected, _ = check_resumes(make, (data[0] + 0.1, data[1]), tmp_path)
    assert len(expected.loss_curve_) == 12


IN_A_NEW_PROCESS = """
import os, sys
import fastmlp as fm
from cases_estimators import X, Y

def end(state):
    if state.n_epochs == int(sys.argv[1]):
        os._exit(7)

model = fm.load("first").set_params(callbacks=end)
kept = fm.Checkpoints("second.ckpt", every_n_steps=3)
fm.save("second", model.fit(-X, Y, checkpoint=kept, resume=True).set_params(callbacks=None))
"""


def test_in_new_processes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parameters = {"early_stopping": True, "dropout": 0.1, "warm_start": "optimizer"}
    model = maker(random_state=lambda: np.random.RandomState(1), **parameters)().fit(X, Y)
    fm.save("first", model)
    model.fit(-X, Y)
    for at, code in ((2, 7), (4, 7), (99, 0)):
        command = [sys.executable, "-W", "ignore", "-c", IN_A_NEW_PROCESS, str(at)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        assert subprocess.run(command, env=environment, check=False).returncode == code
    loaded = fm.load("second")
    assert same_bits(loaded.parameters_, model.parameters_)
    assert loaded.loss_curve_ == model.loss_curve_
    assert loaded.validation_scores_ == model.validation_scores_
    assert fitted(loaded.fit(X, Y)) == fitted(model.fit(X, Y))


# The end, and after it -----------------------------------------------------------------------

ENDS = {
    "max-iter": {},
    "no-improvement": {"n_iter_no_change": 1, "tol": 1.0},
    "early": {"early_stopping": True, "n_iter_no_change": 2, "tol": 0.5, "max_iter": 50},
    "too-slow": {
        "solver": "sgd", "learning_rate": "adaptive", "n_iter_no_change": 1, "tol": 9.0,
        "learning_rate_init": 1e-5,
    },
    "gd": {"solver": "gd"},
    "nesterov": {"solver": "nesterov"},
    "cg-converged": {"solver": "cg", "tol": 0.2, "max_iter": 90, "alpha": 1.0},
    "nesterov-converged": {"solver": "nesterov", "tol": 0.1, "max_iter": 90, "alpha": 9.0},
    "lbfgs": {"solver": "lbfgs"},
    "lbfgs-converged": {"solver": "lbfgs", "tol": 0.1, "max_iter": 90, "alpha": 9.0},
}  # fmt: skip


@pytest.mark.parametrize("end", ENDS)
def test_resumed_after_the_end(end, tmp_path):
    make = maker(**{"hidden_layer_sizes": (9,), **ENDS[end]})
    expected, before = warned(lambda: make().fit(X, Y))
    for every in (1, None):
        kept = fm.Checkpoints(tmp_path / f"{every}", every=every)
        complete, _ = warned(lambda kept=kept: make().fit(X, Y, checkpoint=kept, resume=True))
        assert fitted(complete) == fitted(expected)
        for _ in range(2):
            watch = KillAt()
            again, now = warned(
                lambda kept=kept, watch=watch: make(callbacks=watch).fit(
                    X, Y, checkpoint=kept, resume=True
                )
            )
            assert fitted(again) == fitted(expected)
            assert now == before
            assert watch.told == [] or expected.solver == "lbfgs"


@pytest.mark.parametrize("solver", ["adam", "rprop", "gd", "nesterov", "lbfgs"])
@pytest.mark.parametrize("monitor", ["loss", "validation_score"])
def test_early_stopping_as_a_callback(solver, monitor, tmp_path):
    def stopping(*more):
        stop = fm.callbacks.EarlyStopping(patience=2, min_improvement=0.3, monitor=monitor)
        return {"callbacks": [stop, *more], "solver": solver, "max_iter": 20}

    expected = maker(**stopping())().fit(X, Y, **VALIDATION)
    assert expected.n_iter_ < 20
    path = tmp_path / "a"
    killed = maker(**stopping(KillAt(2, ZeroDivisionError)))()
    with pytest.raises(ZeroDivisionError):
        killed.fit(X, Y, checkpoint=path, **VALIDATION)
    for _ in range(2):  # after the end as well
        options = stopping()
        resumed = maker(**options)().fit(X, Y, checkpoint=path, resume=True, **VALIDATION)
        assert fitted(resumed) == fitted(expected)
        assert options["callbacks"][0].best_epoch == expected.callbacks[0].best_epoch


class StopOnce:
    """Stops after an epoch, and says so when the fit goes on."""

    def __init__(self, epoch):
        self.epoch, self.has_stopped = epoch, False

    def on_epoch_end(self, state):
        self.has_stopped = state.n_epochs == self.epoch
        if self.has_stopped:
            raise StopIteration("enough")

    def state_dict(self):
        return {"has_stopped": self.has_stopped}

    def load_state_dict(self, state):
        if state["has_stopped"]:
            raise StopIteration("it had been enough")


@every_solver
@pytest.mark.parametrize("epoch", [1, 6, 10, 11])
def test_a_stop_by_a_callback_with_a_state(solver, epoch, tmp_path):
    make = maker(solver=solver, max_iter=20)
    expected = make(callbacks=StopOnce(epoch)).fit(X, Y, checkpoint=tmp_path / "a")
    assert expected.n_iter_ == epoch
    resumed = make(callbacks=StopOnce(epoch)).fit(X, Y, resume=tmp_path / "a")
    assert fitted(resumed) == fitted(expected)


@every_solver
def test_more_epochs_than_before(solver, tmp_path):
    make, path = maker(solver=solver), tmp_path / "a"
    make(max_iter=2).fit(X, Y, checkpoint=path)
    for n in (2, 3, 6):
        resumed = make(max_iter=n).fit(X, Y, checkpoint=path, resume=True)
        assert fitted(resumed) == fitted(make(max_iter=n).fit(X, Y))
    with pytest.raises(ValueError, match=r"is of (epoch|iteration) 6, beyond .*5"):
        make(max_iter=5).fit(X, Y, resume=path)


@pytest.mark.parametrize("setting", ["adaptive", "plateau", "early-stopping", "dropout"])
def test_partial_fit_goes_on_after_it(setting, tmp_path):
    make = maker(**SETTINGS[setting])
    expected, resumed = check_resumes(make, (X, Y), tmp_path, (3,), **VALIDATION)
    for sign in (1, -1):
        for model in (expected, resumed):
            model.partial_fit(sign * X, Y, **VALIDATION)
        assert fitted(resumed) == fitted(expected)


# Interrupts, and what is told ----------------------------------------------------------------


@some_solvers
def test_an_interrupt(solver, tmp_path):
    make, path = maker(solver=solver), tmp_path / "a"
    watch = KillAt(3, KeyboardInterrupt)
    with pytest.warns(UserWarning, match="interrupted by user"):
        model = make(callbacks=watch).fit(X, Y, checkpoint=path)
    assert len(model.loss_curve_) == 3
    assert fm.load(path).n_iter_ in (2, 3)
    for _ in range(2):
        resumed = make(n_jobs=1).fit(X, Y, checkpoint=path, resume=True)
        assert fitted(resumed, "n_jobs") == fitted(make().fit(X, Y), "n_jobs")


@pytest.mark.parametrize("solver", SOME_SOLVERS[:-1])
def test_what_is_printed(solver, tmp_path, capsys):
    parameters = {"learning_rate": "adaptive", "n_iter_no_change": 1, "solver": solver}
    parameters["tol"] = 1.0 if solver == "sgd" else 0.0
    make = maker(verbose=True, **parameters)
    make().fit(X, Y, **VALIDATION)
    lines = capsys.readouterr().out
    kill(make, (X, Y), tmp_path / "a", 3, **VALIDATION)
    printed = capsys.readouterr().out
    make().fit(X, Y, resume=tmp_path / "a", **VALIDATION)
    further = capsys.readouterr().out
    assert further.startswith("Iteration 3, loss = ")
    assert lines.endswith(further)
    assert lines.startswith(printed)
    maker(**parameters)().fit(X, Y, resume=tmp_path / "a", **VALIDATION)
    assert capsys.readouterr().out == ""


@some_solvers
@pytest.mark.parametrize("kind", [classifier, regressor])
def test_the_model_in_a_checkpoint(solver, kind, tmp_path):
    """It is the estimator that callbacks see after the same epoch."""
    path, kept = tmp_path / "a", []
    y = Y if kind is classifier else TARGETS

    def held(model):
        names = ("_course", "_labels", "_parameters")
        kept = fitted(model).items()
        kept = {name: value for name, value in kept if name.endswith("_") or name in names}
        return {**kept, "predicted": model.predict(X).tobytes()}

    def look(state):
        if kept:
            assert held(fm.load(path)) == kept[-1]
        kept.append(held(state.estimator))

    stops = solver in STOCHASTIC
    maker(kind, solver=solver, callbacks=look, early_stopping=stops)().fit(X, y, checkpoint=path)
    assert len(kept) == 6
    assert held(fm.load(path)) == kept[-1]


@pytest.mark.parametrize("solver", SOME_SOLVERS[:-1])
def test_the_estimator_itself_is_untouched_by_checkpoints(solver, tmp_path):
    make = maker(solver=solver)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain, kept = make().fit(X, Y), make().fit(X, Y, checkpoint=tmp_path / "a", every=3)
    assert fitted(plain) == fitted(kept)
