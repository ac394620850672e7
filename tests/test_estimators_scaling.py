"""Estimators that scale X themselves: as after a scaler, and kept with the model."""

import copy
import inspect
import pickle
import warnings
from itertools import product

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import fastmlp as fm
from cases_cuts import in_blocks_on_poisoned_memory
from cases_estimators import (
    FULL_BATCH,
    STOCHASTIC,
    TARGETS,
    Y3,
    Y_MANY,
    Y_VAL,
    Y,
    classifier,
    regressor,
    same_bits,
    state,
)
from cases_estimators import X as ALIKE
from cases_runs import MEBIBYTE, peak_of
from cases_sources import Stored
from fastmlp.estimators.rules import DIRECTIONS
from fastmlp.sources import moments, scaling

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

KINDS = {"standard": StandardScaler, "minmax": MinMaxScaler}
every_kind = pytest.mark.parametrize("kind", KINDS)
# Of unlike sizes, whole numbers, and the last is constant.
X = (ALIKE * [3, 50, 700, 9, 0] + [5, -300, 1e4, 100, 7]).round()
X_VAL = X[:23] + 3


def in_pipeline(model, kind):
    return make_pipeline(KINDS[kind](), model)


def require_same_fits(ours, pipeline, samples=X, rtol=1e-7):
    """Raise AssertionError where a model differs from that of a pipeline by more than rounding."""
    theirs = pipeline[-1]
    np.testing.assert_allclose(ours.parameters_, theirs.parameters_, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=rtol)
    for name in ("predict_proba", "transform"):
        if hasattr(ours, name):
            mine, its = getattr(ours, name)(samples), getattr(pipeline, name)(samples)
            np.testing.assert_allclose(mine, its, rtol=10 * rtol, atol=10 * rtol)


# As after a scaler ---------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("solver", [*STOCHASTIC, *FULL_BATCH])
def test_as_after_a_scaler(solver, kind):
    for make, y in ((classifier, Y), (classifier, Y3), (classifier, Y_MANY), (regressor, TARGETS)):
        ours = make(solver=solver, scaling=kind).fit(X, y)
        theirs = in_pipeline(make(solver=solver), kind).fit(X, y)
        require_same_fits(ours, theirs)
        assert ours.score(X, y) == pytest.approx(theirs.score(X, y), rel=1e-9)


def test_what_is_kept():
    standard, minmax = (classifier(scaling=kind).fit(X, Y).scaling_ for kind in KINDS)
    np.testing.assert_allclose(standard.shift, X.mean(axis=0), rtol=1e-15)
    deviation = [*X[:, :-1].std(axis=0), 1]
    np.testing.assert_allclose(standard.factor, np.reciprocal(deviation), rtol=1e-14)
    np.testing.assert_array_equal(minmax.shift, X.min(axis=0))
    spread = [*np.ptp(X[:, :-1], axis=0), 1]
    np.testing.assert_allclose(minmax.factor, np.reciprocal(spread), rtol=1e-15)
    for found in (standard, minmax):
        for numbers in (found.shift, found.factor):
            assert (numbers.shape, numbers.dtype) == ((5,), np.float64)


@every_kind
def test_columns_that_hardly_vary_are_constant(kind):
    tiny = np.column_stack([X[:, 0], np.arange(len(X)) * 1e-42])
    ours = classifier(scaling=kind).fit(tiny.astype(np.float32), Y)
    assert ours.scaling_.factor[1] == 1
    assert np.isfinite(ours.predict_proba(tiny)).all()


def test_without_it_nothing_changes():
    model = classifier(scaling=None).fit(X, Y)
    assert model.scaling_ is None
    before = classifier().fit(X, Y)
    assert same_bits(model.parameters_, before.parameters_)
    array = np.ascontiguousarray(X)
    assert model._checked_features(array, model.network_) is array


def test_an_offset_beyond_all_noise(rng):
    noise = rng.normal(size=(200, 4)).round(3)
    y = (noise[:, 0] > 0).astype(int)
    how = {"solver": "lbfgs", "max_iter": 30, "scaling": "standard"}
    near, far = classifier(**how).fit(noise, y), classifier(**how).fit(1e9 + noise, y)
    assert far.score(1e9 + noise, y) > 0.95
    np.testing.assert_allclose(far.scaling_.factor, near.scaling_.factor, rtol=1e-6)


@every_kind
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_every_form_of_x_is_one(solver, kind, monkeypatch):
    """Bit for bit: whole numbers are the same numbers in float32."""
    monkeypatch.setattr(moments, "BLOCK_NUMBERS", 35)
    X64 = X.astype(np.float64)
    expected = classifier(solver=solver, scaling=kind).fit(X64, Y)
    wide = np.full((120, 10), np.nan)
    wide[::2, ::2] = X
    forms = [np.asfortranarray(X), wide[::2, ::2], X.astype(np.int32), X.tolist(), pd.DataFrame(X)]
    for form in [*forms, sp.csr_matrix(X), sp.csc_array(X)]:
        found = classifier(solver=solver, scaling=kind).fit(form, Y)
        assert same_bits(found.parameters_, expected.parameters_)
        assert state(found.scaling_) == state(expected.scaling_)
        assert same_bits(found.predict_proba(form), expected.predict_proba(X64))
    found = classifier(solver=solver, scaling=kind).fit(X.astype(np.float32), Y)
    assert state(found.scaling_) == state(expected.scaling_)
    assert found.parameters_.dtype == np.float32


# What it is learnt from ----------------------------------------------------------------------


def test_held_out_samples_are_not_learnt_from():
    model = classifier(scaling="standard", early_stopping=True).fit(X, Y)
    rows, held_out = train_test_split(
        np.arange(len(X)), random_state=_after_the_initial_values(), test_size=0.1, stratify=Y
    )
    found = fm.sources.statistics(X[np.sort(rows)])
    assert same_bits(model.scaling_.shift, found.mean)
    assert len(held_out) == 6
    assert (fm.sources.statistics(X).mean != found.mean)[:4].all()


def _after_the_initial_values():
    random_state = np.random.RandomState(0)
    for n_in, n_out in ((5, 6), (6, 1)):
        random_state.uniform(size=(n_in, n_out))
        random_state.uniform(size=n_out)
    return random_state


def test_samples_given_to_validate_on_are_not_learnt_from():
    given = {"X_val": 5 * X_VAL, "y_val": Y_VAL}
    model = classifier(scaling="standard", early_stopping=True).fit(X, Y, **given)
    plain = classifier(scaling="standard").fit(X, Y)
    assert state(model.scaling_) == state(plain.scaling_)


@every_kind
def test_weights_count_as_repetitions(kind):
    weights = np.arange(len(X)) % 4
    rows = np.repeat(np.arange(len(X)), weights)
    weighted = classifier(scaling=kind).fit(X, Y, sample_weight=weights)
    repeated = classifier(scaling=kind).fit(X[rows], Y[rows])
    left_out = classifier(scaling=kind).fit(X[weights > 0], Y[weights > 0], weights[weights > 0])
    for name in ("shift", "factor"):
        of_weighted, of_repeated = (getattr(one.scaling_, name) for one in (weighted, repeated))
        np.testing.assert_allclose(of_weighted, of_repeated, rtol=1e-14)
    assert state(weighted.scaling_) == state(left_out.scaling_)
    by_class = classifier(scaling=kind, class_weight={"no": 3.0}).fit(X, Y)
    by_sample = classifier(scaling=kind).fit(X, Y, sample_weight=np.where(Y == "no", 3.0, 1.0))
    assert state(by_class.scaling_) == state(by_sample.scaling_)


@pytest.mark.parametrize("scoring", [None, "loss", "accuracy", "neg_log_loss"])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@every_kind
def test_scores_of_validation_samples(scoring, solver, kind):
    """They are scaled as those to train on."""
    scaler = KINDS[kind]().fit(X)
    seen = {"X_val": scaler.transform(X_VAL), "y_val": Y_VAL}
    how = {"solver": solver, "scoring": scoring}
    ours = classifier(scaling=kind, **how).fit(X, Y, X_val=X_VAL, y_val=Y_VAL)
    theirs = classifier(**how).fit(scaler.transform(X), Y, **seen)
    np.testing.assert_allclose(ours.validation_scores_, theirs.validation_scores_, rtol=1e-9)
    curves = ours.validation_loss_curve_, theirs.validation_loss_curve_
    np.testing.assert_allclose(*curves, rtol=1e-9)
    if scoring in (None, "accuracy"):
        assert ours.validation_scores_[-1] == ours.score(X_VAL, Y_VAL)


@pytest.mark.parametrize("scoring", [None, "loss", "accuracy"])
def test_early_stopping(scoring):
    how = {"early_stopping": True, "max_iter": 40, "scoring": scoring, "n_iter_no_change": 2}
    model = classifier(scaling="standard", **how).fit(X, Y)
    found = model.scaling_
    theirs = classifier(**how).fit((X - found.shift) * found.factor, Y)
    assert same_bits(model.parameters_, theirs.parameters_)
    assert model.validation_scores_ == theirs.validation_scores_
    assert model.n_iter_ == theirs.n_iter_


# Kept ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [X, sp.csr_array(X)], ids=["dense", "sparse"])
def test_partial_fit_keeps_the_first(first):
    model = classifier(scaling="standard").partial_fit(first[:30], Y[:30], classes=["no", "yes"])
    kept = model.scaling_
    assert same_bits(kept.shift, fm.sources.statistics(X[:30]).mean)
    plain = classifier()
    for part in (slice(30), slice(30, 60)):
        plain.partial_fit((X[part] - kept.shift) * kept.factor, Y[part], classes=["no", "yes"])
    model.partial_fit(first[30:], Y[30:])
    assert model.scaling_ is kept
    assert same_bits(model.parameters_, plain.parameters_)


@pytest.mark.parametrize("warm_start", [True, "optimizer"])
def test_warm_starts_keep_the_first(warm_start):
    model = classifier(scaling="minmax", warm_start=warm_start).fit(X, Y)
    kept = model.scaling_
    assert model.fit(2 * X, Y).scaling_ is kept
    assert model.set_params(scaling=None).fit(2 * X, Y).scaling_ is kept
    assert model.set_params(warm_start=False).fit(2 * X, Y).scaling_ is None
    model.set_params(scaling="minmax", warm_start=warm_start).fit(X, Y)
    assert model.scaling_ is None  # the network has learnt without
    assert clone(model).fit(2 * X, Y).scaling_.shift.tolist() == (2 * X.min(axis=0)).tolist()


def test_a_fit_that_fails_leaves_the_earlier_one():
    model = classifier(scaling="standard").fit(X, Y)
    before = state(model)
    with pytest.raises(ValueError, match="beyond the range of float64"):
        model.fit(X * 1e200, Y)
    with pytest.raises(ValueError, match="learning_rate_init"):
        model.set_params(learning_rate_init=-1.0).fit(2 * X, Y)
    assert state(model.set_params(learning_rate_init=0.001)) == before


@pytest.mark.parametrize("value", ["robust", True, 1.0, StandardScaler()], ids=str)
def test_unknown_kinds(value):
    with pytest.raises(ValueError, match="'scaling' parameter of MLPClassifier must be"):
        classifier(scaling=value).fit(X, Y)


def test_its_place_among_the_parameters():
    for make in (fm.MLPClassifier, fm.MLPRegressor):
        assert [*inspect.signature(make).parameters][-4:] == [
            "scoring", "scaling", "callbacks", "n_jobs",
        ]  # fmt: skip


@every_kind
def test_copies_pickles_and_files(tmp_path, kind):
    model = classifier(scaling=kind).fit(X, Y)
    fm.save(tmp_path / "model", model)
    others = copy.deepcopy(model), pickle.loads(pickle.dumps(model)), fm.load(tmp_path / "model")
    for other in others:
        assert state(other.scaling_) == state(model.scaling_)
        assert same_bits(other.predict_proba(X), model.predict_proba(X))
        other.partial_fit(X + 1, Y)
    model.partial_fit(X + 1, Y)
    assert [same_bits(other.parameters_, model.parameters_) for other in others] == [True] * 3


def test_checkpoints_hold_it(tmp_path):
    model = classifier(scaling="standard").fit(X, Y, checkpoint=tmp_path / "a")
    assert state(fm.load(tmp_path / "a").scaling_) == state(model.scaling_)
    # Twice the numbers are scaled to the same ones.
    with pytest.raises(ValueError, match=r"another run.*: scaling of X is .* here, .* there"):
        classifier(scaling="standard").fit(2 * X, Y, resume=tmp_path / "a")


# What is asked of it -------------------------------------------------------------------------


@every_kind
def test_gradients_of_samples_and_hidden_layers(kind):
    model = classifier(scaling=kind, hidden_layer_sizes=(6, 4)).fit(X, Y)
    found = model.scaling_
    seen = (X - found.shift) * found.factor
    plain = copy.deepcopy(model)
    plain.scaling_ = None
    for form in (X, sp.csr_array(X)):
        assert same_bits(model.sample_gradients(form, Y), plain.sample_gradients(seen, Y))
        for layer in (0, 1):
            ours, theirs = (
                model.hidden_activations(form, layer),
                plain.hidden_activations(seen, layer),
            )
            assert same_bits(ours, theirs)
    assert same_bits(model.predict_log_proba(X[:1]), plain.predict_log_proba(seen[:1]))


def as_many_rows(monkeypatch):
    """Have few rows scaled as many are: block by block, as they are read."""
    monkeypatch.setattr("fastmlp.estimators.scaling.FEW_NUMBERS", -1)
    monkeypatch.setattr(scaling, "BLOCK_NUMBERS", 20)


@pytest.mark.parametrize(
    ("solver", "validates"),
    [
        *product(["adam", "sgd", "rprop"], ["", "X_val", "early stopping"]),
        *product(["lbfgs", "cg"], ["", "X_val"]),
    ],
)
def test_many_rows_are_scaled_as_they_are_read(solver, validates, monkeypatch):
    given = {"X_val": X_VAL, "y_val": Y_VAL} if validates == "X_val" else {}
    how = {"solver": solver, "scaling": "standard"}
    how["early_stopping"] = validates == "early stopping"
    expected = classifier(**how).fit(X, Y, **given)
    results = expected.predict_proba(X), expected.sample_gradients(X, Y)
    as_many_rows(monkeypatch)
    for form in (X, sp.csr_array(X)):
        found = classifier(**how).fit(form, Y, **given)
        assert same_bits(found.parameters_, expected.parameters_)
        assert found.validation_scores_ == expected.validation_scores_
        assert found.validation_loss_curve_ == expected.validation_loss_curve_
        assert same_bits(found.predict_proba(form), results[0])
        assert same_bits(found.sample_gradients(form, Y), results[1])


@every_kind
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("streams", [False, True])
def test_sources(solver, kind, streams, tmp_path, monkeypatch):
    """The bits of the array, from rows in memory and from those that are read each time."""
    how = {"solver": solver, "scaling": kind, "early_stopping": solver == "adam"}
    expected = classifier(**how).fit(X, Y)
    if streams:
        as_many_rows(monkeypatch)
    source = Stored(X, has_random_access=True)
    found = classifier(**how).fit(source, Y, checkpoint=tmp_path / "a")
    assert state(found.scaling_) == state(expected.scaling_)
    assert same_bits(found.parameters_, expected.parameters_)
    assert same_bits(found.predict_proba(source), expected.predict_proba(X))
    assert state(fm.load(tmp_path / "a").scaling_) == state(expected.scaling_)


def test_a_checkpoint_goes_on_with_many_rows(tmp_path, monkeypatch):
    expected = classifier(scaling="standard").fit(X, Y)
    as_many_rows(monkeypatch)
    classifier(scaling="standard", max_iter=2).fit(X, Y, checkpoint=tmp_path / "a")
    resumed = classifier(scaling="standard").fit(X, Y, resume=tmp_path / "a")
    assert same_bits(resumed.parameters_, expected.parameters_)


@pytest.mark.parametrize("solver", ["adam", "lbfgs", "cg"])
def test_poisoned_memory(solver, monkeypatch):
    expected = classifier(solver=solver, scaling="standard").fit(X, Y)
    in_blocks_on_poisoned_memory(monkeypatch)
    monkeypatch.setattr(moments, "BLOCK_NUMBERS", 35)
    as_many_rows(monkeypatch)
    found = classifier(solver=solver, scaling="standard").fit(X, Y)
    np.testing.assert_allclose(found.parameters_, expected.parameters_, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_x_is_not_copied(solver):
    big = np.zeros((100_000, 40))
    big[::3] = 1
    y = np.arange(len(big)) % 2
    model = classifier(solver=solver, scaling="standard", max_iter=1).fit(big[:500], y[:500])
    plain = clone(model).set_params(scaling=None).fit(big, y)
    for call in ("fit", "predict"):
        data = (big, y) if call == "fit" else (big,)
        with_it = peak_of(lambda call=call, data=data: getattr(model, call)(*data))
        without = peak_of(lambda call=call, data=data: getattr(plain, call)(*data))
        assert with_it < without + 16 * MEBIBYTE


def test_beyond_the_range_is_told():
    model = classifier(scaling="minmax").fit(X / 1e30, Y)
    with pytest.raises(ValueError, match=r"X\[2, 1\] is .* scaled is beyond the range of float64"):
        model.predict(np.where(np.arange(15).reshape(3, 5) == 11, 1e300, 0.0))


# Elsewhere -----------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs", "cg"])
@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_sklearns_checks(name, solver):
    fewer = {"max_iter": 20} if solver in DIRECTIONS else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # checks look for the warnings that they mean
        mlp = getattr(fm, name)(solver=solver, scaling="standard", **fewer)
        results = check_estimator(mlp, on_skip=None, on_fail="raise")
    assert len(results) > 50


def test_searches():
    model = classifier(solver="lbfgs", max_iter=20)
    search = GridSearchCV(model, {"scaling": [None, *KINDS]}, cv=2).fit(X, Y)
    assert search.best_params_["scaling"] in KINDS
    assert search.best_estimator_.scaling_ is not None
