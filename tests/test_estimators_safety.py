"""What a fit of an estimator leaves behind when it fails, is interrupted, or goes on."""

import copy
import pickle
from pathlib import Path

import joblib
import numba
import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

import fastmlp as fm
from cases_estimators import (
    FULL_BATCH,
    TARGETS,
    WEIGHTS,
    X_VAL,
    Y3,
    Y_VAL,
    X,
    Y,
    classifier,
    regressor,
    same_bits,
    state,
)
from fastmlp.estimators import base

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning", "ignore:Got `batch_size`:UserWarning"
)
SOLVERS = ["adam", "sgd", "lbfgs", "gd"]
VAL = {"X_val": X_VAL, "y_val": Y_VAL}


class Raising:
    """A callback that raises before the first epoch, or after some epoch."""

    def __init__(self, error, epoch):
        self.error, self.epoch = error, epoch

    def on_start(self, state):
        if self.epoch == 0:
            raise self.error

    def on_epoch_end(self, state):
        if state.n_epochs == self.epoch:
            raise self.error


def raising(error, epoch):
    return {"callbacks": Raising(error, epoch)}


def scorer_that_raises(model, X, y):
    raise RuntimeError("no score")


# Fits that fail ------------------------------------------------------------------------------

HUGE = np.full(X.shape, 1e308)
FAILURES = {
    "labels": ({}, (X, X[:, 0]), {}, ValueError),
    "lengths": ({}, (X, Y[:-1]), {}, ValueError),
    "NaN": ({}, (np.where(X > 1, np.nan, X), Y), {}, ValueError),
    "divergence": ({"activation": "identity"}, (HUGE, Y), {}, ValueError),
    "weights": ({}, (X, Y, -WEIGHTS), {}, ValueError),
    "no weights": ({}, (X, Y, 0 * WEIGHTS), {}, ValueError),
    "y_val": ({}, (X, Y), {"X_val": X_VAL, "y_val": Y3[:23]}, ValueError),
    "n_jobs": ({"n_jobs": 0}, (X, Y), {}, ValueError),
    "callback": (raising(RuntimeError("no"), 2), (X, Y), {}, RuntimeError),
    "callback at once": (raising(RuntimeError("no"), 0), (X, Y), {}, RuntimeError),
    "interrupt": (raising(KeyboardInterrupt(), 0), (X, Y), {}, KeyboardInterrupt),
    "memory": (raising(MemoryError(), 1), (X, Y), {}, MemoryError),
    "exit": (raising(SystemExit(), 1), (X, Y), {}, SystemExit),
    "scorer": ({"scoring": scorer_that_raises}, (X, Y), VAL, RuntimeError),
    "layers": ({"hidden_layer_sizes": (3, 0)}, (X, Y), {}, ValueError),
    "parameter": ({"alpha": -1}, (X, Y), {}, ValueError),
}


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("failure", FAILURES)
def test_a_fit_that_fails_leaves_the_earlier_one(solver, failure):
    parameters, samples, more, error = FAILURES[failure]
    model = classifier(solver=solver).fit(X, Y)
    fresh = classifier(solver=solver, **parameters)
    unfitted = state(fresh)
    with pytest.raises(error):
        fresh.fit(*samples, **more)
    assert state(fresh) == unfitted
    with pytest.raises(NotFittedError):
        fresh.predict(X)
    expected, before = model.predict_proba(X), model.get_params()
    model.set_params(**parameters)
    held = state(model)
    with pytest.raises(error):
        model.fit(*samples, **more)
    assert state(model) == held
    model.set_params(**before)
    assert same_bits(model.predict_proba(X), expected)


@pytest.mark.parametrize(
    "failure", [name for name in FAILURES if name not in ("layers", "parameter", "callback")]
)
def test_a_partial_fit_that_fails_changes_nothing(failure):
    parameters, samples, more, error = FAILURES[failure]
    if failure == "divergence":
        parameters = {"activation": "identity", "solver": "sgd", "learning_rate_init": 1e9}
    model = classifier()
    unfitted, twin = state(model), classifier().partial_fit(X, Y, classes=["no", "yes"])
    model.set_params(**parameters)
    with pytest.raises(error):
        model.partial_fit(*samples, classes=["no", "yes"], **more)
    model.set_params(**classifier().get_params())
    assert state(model) == unfitted
    model.partial_fit(X, Y, classes=["no", "yes"])
    held = state(model)
    model.set_params(**parameters)
    with pytest.raises(error):
        model.partial_fit(*samples, **more)
    model.set_params(**classifier().get_params())
    assert state(model) == held
    for each in (model, twin):  # the optimiser's state is what it was
        each.partial_fit(X, Y)
    assert same_bits(model.parameters_, twin.parameters_)


@pytest.mark.parametrize("place", ["architecture", "initial", "Problem", "Course", "all_finite"])
@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_errors_at_any_place_of_a_fit(monkeypatch, place, error):
    model = classifier(n_jobs=1).fit(X, Y)
    held, n_threads = state(model), numba.get_num_threads()

    def fail(*args, **kwargs):
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(base, place, fail)
        with pytest.raises(error):
            model.fit(X[:, :3], Y3)
    assert state(model) == held
    assert numba.get_num_threads() == n_threads
    assert model.predict(X).shape == (60,)


# Fits that are interrupted -------------------------------------------------------------------


@pytest.mark.parametrize("solver", SOLVERS)
def test_what_was_learnt_before_an_interrupt_is_kept(solver):
    model = classifier(solver=solver, max_iter=9, **raising(KeyboardInterrupt(), 3))
    with pytest.warns(UserWarning, match=r"^Training interrupted by user\.$") as caught:
        model.fit(X, Y)
    assert Path(caught[0].filename).parent.name == "sklearn"  # as its own are
    assert model.n_iter_ == len(model.loss_curve_) == 3
    expected = classifier(solver=solver, max_iter=3).fit(X, Y)
    assert same_bits(model.parameters_, expected.parameters_)
    assert model.loss_curve_ == expected.loss_curve_


def test_the_best_epoch_before_an_interrupt_is_kept():
    scores = iter([1.0, 3.0, 2.0])
    kept = []
    model = classifier(
        early_stopping=True, scoring=lambda model, X, y: next(scores), max_iter=9,
        callbacks=[lambda state: kept.append(state.x.copy()), Raising(KeyboardInterrupt(), 3)],
    )  # fmt: skip
    with pytest.warns(UserWarning, match="interrupted by user"):
        model.fit(X, Y)
    assert same_bits(model.parameters_, kept[1])


# Random states -------------------------------------------------------------------------------


@pytest.mark.parametrize("parameters", [{}, {"dropout": 0.3}, {"early_stopping": True}], ids=str)
def test_an_instance_of_random_state_goes_on(parameters):
    random_state = np.random.RandomState(0)
    model = classifier(random_state=random_state, batch_size=16, **parameters)
    first = model.fit(X, Y).parameters_
    assert same_bits(first, classifier(batch_size=16, **parameters).fit(X, Y).parameters_)
    assert not same_bits(model.fit(X, Y).parameters_, first)
    assert model.random_state is random_state


@pytest.mark.parametrize("seed", [np.int32(7), np.uint64(7), 2**32 - 1, None])
def test_kinds_of_random_states(seed):
    a, b = (classifier(random_state=seed).fit(X, Y) for _ in range(2))
    assert same_bits(a.parameters_, b.parameters_) == (seed is not None)


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, "a", [1], np.random.default_rng(0)])
def test_random_states_that_are_none(seed):
    with pytest.raises(ValueError, match="'random_state' parameter"):
        classifier(random_state=seed).fit(X, Y)


def test_numpys_own_generator_is_left_alone():
    np.random.seed(3)  # noqa: NPY002
    before = np.random.get_state()[1].tobytes()  # noqa: NPY002
    classifier(dropout=0.2, early_stopping=True).fit(X, Y)
    assert np.random.get_state()[1].tobytes() == before  # noqa: NPY002


# Parameters as views -------------------------------------------------------------------------


def test_elements_of_coefs_are_the_parameters():
    model = regressor().fit(X, TARGETS)
    before = model.predict(X)
    model.coefs_[1][:, 0] *= 2.0
    model.intercepts_[1][0] = 2.0 * model.intercepts_[1][0] + 1.0
    np.testing.assert_allclose(model.predict(X), 2 * before + 1, rtol=1e-9)
    for views in (model.coefs_, model.intercepts_):
        assert all(np.shares_memory(view, model.parameters_) for view in views)


def test_assigned_arrays_are_copied():
    model, other = (regressor(random_state=seed).fit(X, TARGETS) for seed in (0, 1))
    W = other.coefs_[0].copy()
    model.coefs_[0] = W
    assert np.array_equal(model.coefs_[0], W)
    assert not np.shares_memory(model.parameters_, W)
    model.coefs_, model.intercepts_ = other.coefs_, [b.tolist() for b in other.intercepts_]
    assert same_bits(model.parameters_, other.parameters_)
    assert same_bits(model.predict(X), other.predict(X))
    model.coefs_[1][:] = 0
    assert other.coefs_[1].any()


@pytest.mark.parametrize(
    "assign",
    [
        lambda m: m.coefs_.__setitem__(0, np.zeros((6, 5))),
        lambda m: m.coefs_.__setitem__(-1, np.zeros(6)),
        lambda m: m.intercepts_.__setitem__(0, 0.0),
        lambda m: setattr(m, "coefs_", m.coefs_[:1]),
        lambda m: setattr(m, "coefs_", [m.coefs_[0] * 0, np.zeros((5, 1))]),
        lambda m: setattr(m, "intercepts_", [np.zeros(6), np.zeros(2)]),
    ],
)
def test_assignments_of_other_shapes_change_nothing(assign):
    model = regressor().fit(X, TARGETS)
    before = model.parameters_.copy()
    with pytest.raises(ValueError, match=r"has shape|expected 2 arrays"):
        assign(model)
    assert same_bits(model.parameters_, before)


def test_coefs_before_a_fit():
    for name in ("coefs_", "intercepts_"):
        with pytest.raises(AttributeError, match=f"no attribute '{name}' before it is fitted"):
            getattr(classifier(), name)
        assert not hasattr(classifier(), name)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_views_of_copies(copied):
    model = regressor().fit(X, TARGETS)
    before, twin = model.parameters_.copy(), copied(model)
    twin.coefs_[0][:] = 0
    twin.intercepts_[0][:] = 0
    assert same_bits(model.parameters_, before)
    np.testing.assert_allclose(twin.predict(X), twin.predict(X[:1])[0])


def test_a_model_in_a_memory_map(tmp_path):
    model = classifier().fit(X, Y)
    joblib.dump(model, tmp_path / "model")
    mapped = joblib.load(tmp_path / "model", mmap_mode="r")
    assert not mapped.parameters_.flags.writeable
    assert same_bits(mapped.predict_proba(X), model.predict_proba(X))
    with pytest.raises(ValueError, match="read-only"):
        mapped.coefs_[0][0, 0] = 1.0
    for each in (model, mapped):
        each.partial_fit(X, Y)
    assert same_bits(mapped.predict_proba(X), model.predict_proba(X))


@pytest.mark.parametrize("solver", ["adam", "sgd", "rmsprop", fm.rules.RMSprop(centered=True)])
def test_training_goes_on_after_a_pickle(solver):
    model = classifier(solver=solver, batch_size=16).fit(X, Y)
    twin = pickle.loads(pickle.dumps(model))
    assert state(twin) == state(model)
    for each in (model, twin):
        each.partial_fit(X, Y)
    assert state(twin) == state(model)


# Threads -------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["adam", *FULL_BATCH])
def test_results_do_not_depend_on_threads(solver):
    n_threads = numba.get_num_threads()
    models = [classifier(solver=solver, n_jobs=n).fit(X, Y) for n in (1, 2, -1, None, 99)]
    assert len({model.parameters_.tobytes() for model in models}) == 1
    assert len({model.predict_proba(X).tobytes() for model in models}) == 1
    assert numba.get_num_threads() == n_threads


def test_the_number_of_threads_is_as_asked_and_put_back():
    n_threads, met = numba.get_num_threads(), []

    def look(state):
        met.append(numba.get_num_threads())
        if len(met) == 3:
            raise RuntimeError("no")

    model = classifier(n_jobs=1, max_iter=1, callbacks=look).fit(X, Y)
    model.set_params(n_jobs=-1).fit(X, Y)
    with pytest.raises(RuntimeError):
        model.set_params(n_jobs=1).fit(X, Y)
    assert met == [1, numba.config.NUMBA_NUM_THREADS, 1]
    assert numba.get_num_threads() == n_threads


@pytest.mark.parametrize("call", ["fit", "predict", "transform"])
def test_no_threads(call):
    model = classifier().fit(X, Y).set_params(n_jobs=0)
    with pytest.raises(ValueError, match=r"n_jobs must be positive.*got 0"):
        getattr(model, call)(*((X, Y) if call == "fit" else (X,)))


# Changes between calls -----------------------------------------------------------------------


def test_a_fit_after_partial_fit_begins_anew():
    model = classifier().partial_fit(X, Y3, classes=["a", "b", "c", "d"])
    model.fit(X[:, :3].astype("float32"), Y)
    assert state(model) == state(classifier().fit(X[:, :3].astype("float32"), Y))


def test_a_partial_fit_after_a_fit():
    model = classifier().fit(X.astype("float32"), Y)
    assert model.partial_fit(X, Y).parameters_.dtype == np.float32
    with pytest.raises(ValueError, match="3 features, but MLPClassifier is expecting 5"):
        model.partial_fit(X[:, :3], Y)
    with pytest.raises(ValueError, match="classes not in"):
        model.partial_fit(X, Y3)
    with pytest.raises(ValueError, match="is not the same as on last call"):
        model.partial_fit(X, Y, classes=["a", "b"])
    model.set_params(warm_start=True).partial_fit(X[:1], Y[:1])  # need not have all classes


def test_parameters_that_change_between_partial_fits():
    model = classifier(learning_rate_init=0.01)
    losses = []
    for change in ({}, {"solver": "sgd"}, {"batch_size": 7}, {"solver": fm.rules.RMSprop()},
                   {"solver": fm.rules.RMSprop(momentum=0.5)}, {"solver": "adamw"},
                   {"alpha": 0.5}, {"dropout": 0.0}, {"beta_1": 0.5}):  # fmt: skip
        model.set_params(**change).partial_fit(X, Y, classes=["no", "yes"])
        losses.append(model.network_.loss(model.parameters_, X, (Y == "yes").astype(int)))
    assert np.all(np.diff(losses) < 0)
    with pytest.raises(AttributeError, match="no attribute 'partial_fit'"):
        _ = model.set_params(solver="lbfgs").partial_fit


def test_a_subclass():
    class Small(fm.MLPClassifier):
        def __init__(self, width=3):
            self.width = width
            super().__init__(hidden_layer_sizes=(width,), random_state=0, max_iter=4)

        def predict(self, X):
            return super().predict(X)

    model = Small(width=6).fit(X, Y)
    assert same_bits(model.parameters_, classifier().fit(X, Y).parameters_)
    assert model.get_params() == {"width": 6}
    assert model.predict(X).tolist() == classifier().fit(X, Y).predict(X).tolist()
