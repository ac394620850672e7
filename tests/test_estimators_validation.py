"""Validation samples, scores, early stopping, schedules and warm starts of the estimators."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csc_array, csr_matrix
from sklearn.metrics import accuracy_score, log_loss, r2_score, roc_auc_score

import fastmlp as fm
from cases_estimators import (
    FULL_BATCH,
    STOCHASTIC,
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
)

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning", "ignore:Got `batch_size`:UserWarning"
)
VAL = {"X_val": X_VAL, "y_val": Y_VAL}


class Parameters:
    """A callback that keeps a copy of each epoch's parameters."""

    def __init__(self):
        self.kept = []

    def on_epoch_end(self, state):
        self.kept.append(state.x.copy())


# Samples given -------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [None, WEIGHTS_VAL], ids=["", "weights"])
@pytest.mark.parametrize("solver", [*FULL_BATCH, *STOCHASTIC])
def test_curves_on_samples_given(solver, weights):
    seen = Parameters()
    model = classifier(solver=solver, callbacks=seen)
    model.fit(X, Y, X_val=X_VAL, y_val=Y_VAL, sample_weight_val=weights)
    assert len(seen.kept) == len(model.validation_scores_) == len(model.validation_loss_curve_) == 4
    truth = (Y_VAL == "yes").astype(int)
    for k, w in enumerate(seen.kept):
        loss = model.network_.loss(w, X_VAL, truth, sample_weight=weights)
        predicted = model.network_.predict(w, X_VAL)[:, 0] > 0.5
        score = accuracy_score(truth, predicted, sample_weight=weights)
        assert model.validation_loss_curve_[k] == pytest.approx(loss, rel=1e-12)
        assert model.validation_scores_[k] == pytest.approx(score, rel=1e-12)
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert model.best_loss_ == min(model.loss_curve_)
    assert same_bits(model.parameters_, classifier(solver=solver).fit(X, Y).parameters_)


@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
def test_curves_of_the_regressor(solver):
    model = regressor(solver=solver).fit(X, TARGETS, X_val=X_VAL, y_val=TARGETS[:23])
    predicted = model.predict(X_VAL)
    assert model.validation_scores_[-1] == pytest.approx(r2_score(TARGETS[:23], predicted))
    half = 0.5 * np.mean((predicted - TARGETS[:23]) ** 2)
    assert model.validation_loss_curve_[-1] == pytest.approx(half)


def test_curves_in_partial_fit():
    model = classifier()
    for k in range(1, 4):
        model.partial_fit(X, Y, classes=["no", "yes"], **VAL)
        assert len(model.validation_scores_) == len(model.loss_curve_) == k
        assert model.validation_scores_[-1] == model.score(X_VAL, Y_VAL)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize(
    "kind", [csr_matrix, csc_array, np.asfortranarray, lambda a: a.tolist()],
    ids=["csr", "csc", "Fortran", "list"],
)  # fmt: skip
@pytest.mark.parametrize("scoring", [None, "roc_auc"])
def test_kinds_of_validation_samples(solver, kind, scoring):
    model = classifier(solver=solver, scoring=scoring)
    a = model.fit(X, Y, **VAL).validation_scores_
    b = model.fit(X, Y, X_val=kind(X_VAL), y_val=list(Y_VAL)).validation_scores_
    assert a == b


@pytest.mark.parametrize("scoring", [None, "roc_auc", "loss"])
def test_frames_of_validation_samples(scoring):
    names = [f"column {i}" for i in range(5)]
    frame, frame_val = pd.DataFrame(X, columns=names), pd.DataFrame(X_VAL, columns=names)
    model = classifier(scoring=scoring).fit(frame, Y, X_val=frame_val, y_val=pd.Series(Y_VAL))
    expected = classifier(scoring=scoring).fit(X, Y, **VAL).validation_scores_
    assert model.validation_scores_ == expected
    with pytest.raises(ValueError, match="feature names should match"):
        model.fit(frame, Y, X_val=frame_val[names[::-1]], y_val=Y_VAL)


@pytest.mark.parametrize("solver", ["adam", "gd"])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"X_val": X_VAL}, "y_val was not provided"),
        ({"y_val": Y_VAL}, "X_val was not provided"),
        ({"sample_weight_val": WEIGHTS_VAL}, "X_val and y_val were not provided"),
        ({"X_val": X_VAL, "y_val": Y3[:23]}, "`y_val` has classes not in"),
        ({"X_val": X_VAL[:, :3], "y_val": Y_VAL}, "3 features, but MLPClassifier is expecting 5"),
        ({"X_val": X_VAL, "y_val": Y}, r"inconsistent numbers of samples: \[23, 60\]"),
        ({"X_val": X_VAL * np.nan, "y_val": Y_VAL}, "contains NaN"),
        ({**VAL, "sample_weight_val": WEIGHTS}, "sample_weight.shape"),
        ({**VAL, "sample_weight_val": -WEIGHTS_VAL}, "sample_weight must be 0 or more"),
        ({**VAL, "sample_weight_val": 0 * WEIGHTS_VAL}, "at least one non-zero"),
    ],
)
def test_validation_samples_that_do_not_fit(solver, given, message):
    model = classifier(solver=solver)
    with pytest.raises(ValueError, match=message):
        model.fit(X, Y, **given)
    assert not hasattr(model, "classes_")


def test_validation_targets_that_do_not_fit():
    many = classifier()
    with pytest.raises(ValueError, match=r"y_val has shape \(23, 2\), expected \(n_samples, 3\)"):
        many.fit(X, Y_MANY, X_val=X_VAL, y_val=Y_MANY[:23, :2])
    with pytest.raises(ValueError, match=r"y_val has shape \(23,\), expected"):
        many.fit(X, Y_MANY, X_val=X_VAL, y_val=Y_MANY[:23, 0])
    with pytest.raises(ValueError, match=r"X_val, y_val.*3 columns, the network has 1"):
        regressor().fit(X, TARGETS, X_val=X_VAL, y_val=X_VAL[:, :3])
    with pytest.raises(ValueError, match="y_val contains NaN"):
        regressor().fit(X, TARGETS, X_val=X_VAL, y_val=TARGETS[:23] * np.nan)


# Scores --------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize(
    ("scoring", "expected"),
    [
        ("roc_auc", lambda m: roc_auc_score(Y_VAL, m.predict_proba(X_VAL)[:, 1])),
        ("neg_log_loss", lambda m: -log_loss(Y_VAL, m.predict_proba(X_VAL))),
        ("accuracy", lambda m: m.score(X_VAL, Y_VAL)),
        (lambda m, X, y: float(m.coefs_[0][0, 0]), lambda m: m.coefs_[0][0, 0]),
        ("loss", lambda m: -log_loss(Y_VAL, m.predict_proba(X_VAL))),
    ],
    ids=["roc_auc", "neg_log_loss", "accuracy", "function", "loss"],
)
def test_scores(solver, scoring, expected):
    model = classifier(solver=solver, scoring=scoring).fit(X, Y, **VAL)
    assert model.validation_scores_[-1] == pytest.approx(expected(model), rel=1e-9)
    model.set_params(hidden_layer_sizes=(9, 3)).fit(X, Y, **VAL)  # not with the network before
    assert model.validation_scores_[-1] == pytest.approx(expected(model), rel=1e-9)


def test_f1_of_several_classes():
    from sklearn.metrics import f1_score

    model = classifier(scoring="f1_macro").fit(X, Y3, X_val=X_VAL, y_val=Y3[:23])
    predicted = model.predict(X_VAL)
    assert model.validation_scores_[-1] == f1_score(Y3[:23], predicted, average="macro")


def test_a_scorer_gets_the_estimator_as_fitted_so_far():
    met = []

    def scoring(model, X, y):
        met.append((type(model), list(model.classes_), X.shape, list(y) == list(Y_VAL)))
        return 1.0

    classifier(scoring=scoring).fit(X, Y, **VAL)
    assert met == [(fm.MLPClassifier, ["no", "yes"], (23, 5), True)] * 4


def test_weights_go_to_scorers_that_take_them():
    weighted = classifier(scoring="accuracy").fit(X, Y, **VAL, sample_weight_val=WEIGHTS_VAL)
    default = classifier().fit(X, Y, **VAL, sample_weight_val=WEIGHTS_VAL)
    np.testing.assert_allclose(weighted.validation_scores_, default.validation_scores_)
    plain = classifier(scoring=lambda model, X, y: len(y), early_stopping=True)
    assert set(plain.fit(X, Y, WEIGHTS).validation_scores_) == {6}


@pytest.mark.parametrize(
    ("scoring", "message"),
    [
        ("nope", "'nope' is not a valid scoring value"), (accuracy_score, "metric"),
        (lambda model, X, y: "a", "must return a number.*'a'"),
        (lambda model, X, y: np.inf, "must return a finite number"),
        (3, "'scoring' parameter"), ("r2_", "'r2_' is not a valid scoring value"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_scoring_that_does_not_fit(solver, scoring, message):
    with pytest.raises((ValueError, TypeError), match=message):
        classifier(solver=solver, scoring=scoring).fit(X, Y, **VAL)


def test_errors_of_scorers_tell_what_was_asked_for():
    given = {"X_val": X_VAL, "y_val": TARGETS[:23], "sample_weight_val": WEIGHTS_VAL}
    with pytest.raises(TypeError, match=r"scoring='neg_max_error': .*sample_weight"):
        regressor(scoring="neg_max_error").fit(X, TARGETS, **given)


def test_scores_that_are_nan_are_no_improvement():
    model = classifier(
        scoring=lambda model, X, y: np.nan, early_stopping=True, n_iter_no_change=2, max_iter=20
    ).fit(X, Y)
    assert model.n_iter_ == 3
    assert np.isnan(model.validation_scores_).all()
    last = classifier(scoring=falling(9), early_stopping=True, max_iter=3).fit(X, Y)
    assert same_bits(model.parameters_, last.parameters_)


# Early stopping ------------------------------------------------------------------------------


def falling(best):
    """Return a score that is best in one epoch."""
    calls = []

    def scoring(model, X, y):
        calls.append(None)
        return -abs(len(calls) - best)

    return scoring


@pytest.mark.parametrize("given", [{}, VAL], ids=["held out", "given"])
def test_early_stopping_keeps_the_best_epoch(given):
    seen = Parameters()
    model = classifier(
        early_stopping=True, scoring=falling(5), n_iter_no_change=3, max_iter=50, callbacks=seen
    ).fit(X, Y, **given)
    assert model.n_iter_ == 9 == len(model.validation_scores_)
    assert same_bits(model.parameters_, seen.kept[4])
    assert model.best_loss_ is None
    assert model.best_validation_score_ == 0


def test_early_stopping_in_partial_fit():
    seen = Parameters()
    model = classifier(early_stopping=True, scoring=falling(2), n_iter_no_change=2, callbacks=seen)
    with pytest.raises(ValueError, match="early_stopping=True without X_val and y_val"):
        model.partial_fit(X, Y, classes=["no", "yes"])
    for _ in range(10):
        model.partial_fit(X, Y, classes=["no", "yes"], **VAL)
    assert len(seen.kept) == len(model.loss_curve_) == 5
    assert same_bits(model.parameters_, seen.kept[1])
    model.set_params(early_stopping=False).partial_fit(X, Y)
    assert len(model.loss_curve_) == 6  # who does not want it any more goes on
    model.set_params(early_stopping=True, scoring=None).fit(X, Y)
    fresh = classifier(early_stopping=True).fit(X, Y)
    assert same_bits(model.parameters_, fresh.parameters_)
    assert model.loss_curve_ == fresh.loss_curve_


def test_a_warm_start_without_early_stopping_keeps_the_last():
    model = classifier(early_stopping=True, warm_start=True).fit(X, Y)
    before = model.parameters_.copy()
    model.set_params(early_stopping=False).fit(X, Y)
    assert not np.allclose(model.parameters_, before, rtol=1e-6)
    assert model.best_loss_ == min(model.loss_curve_[-4:])


# Learning rates ------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize(
    "schedule",
    [fm.schedules.inverse_power(0.1, 0.5), fm.schedules.warm_up(0.1, n_steps=7),
     lambda k: 0.1 / (k + 1)],
    ids=["inverse_power", "warm_up", "function"],
)  # fmt: skip
def test_schedules_go_on_over_calls(solver, schedule):
    common = {"solver": solver, "learning_rate": schedule, "batch_size": 16, "shuffle": False}
    whole = classifier(max_iter=3, **common).fit(X, Y)
    steps, parts = [], classifier(callbacks=lambda state: steps.append(state.step), **common)
    for _ in range(3):
        parts.partial_fit(X, Y, classes=["no", "yes"])
    assert same_bits(whole.parameters_, parts.parameters_)
    expected = [schedule(k) for k in (3, 7, 11)]  # the last of 4 updates
    np.testing.assert_allclose(steps, expected)


def test_plateaus_are_seen_over_calls():
    schedule = fm.schedules.reduce_on_plateau(1e-300, factor=0.5, patience=2)
    steps = []
    model = classifier(learning_rate=schedule, callbacks=lambda state: steps.append(state.step))
    for _ in range(7):
        model.partial_fit(X, Y, classes=["no", "yes"])
    assert steps == [1e-300] * 4 + [0.5e-300] * 3
    with pytest.raises(ValueError, match="NaN"):
        model.partial_fit(X * np.nan, Y)
    model.fit(X, Y)
    assert steps[7:] == [1e-300] * 4


def test_learning_rates_that_do_not_fit():
    for wrong in ("cosine", 0.1, fm.schedules.constant):
        with pytest.raises((ValueError, TypeError), match=r"learning_rate|must be a schedule"):
            classifier(learning_rate=wrong).fit(X, Y)
    with pytest.raises(ValueError, match=r"step\(0\) must be finite, 0 or more; got -1"):
        classifier(learning_rate=lambda k: -1.0).fit(X, Y)


def test_a_new_learning_rate_holds_from_the_next_call():
    model = classifier(solver="sgd", momentum=0.0, alpha=0.0).partial_fit(
        X, Y, classes=["no", "yes"]
    )
    w = model.parameters_.copy()
    move = model.set_params(learning_rate_init=0.01).partial_fit(X, Y).parameters_ - w
    truth = (Y == "yes").astype(int)
    np.testing.assert_allclose(move, -0.01 * model.network_.gradient(w, X, truth), rtol=1e-6)


# Warm starts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("through_pickle", [False, True])
@pytest.mark.parametrize("solver", ["adam", "sgd", "rmsprop", fm.rules.RMSprop(momentum=0.9)])
def test_warm_start_of_the_optimizer(solver, through_pickle):
    common = {"solver": solver, "shuffle": False, "batch_size": 16, "tol": 0.0}
    steps = classifier(**common)
    for _ in range(20):
        steps.partial_fit(X, Y, classes=["no", "yes"])
    ends = {}
    for warm_start in ("optimizer", True):
        model = classifier(warm_start=warm_start, max_iter=10, **common).fit(X, Y)
        if through_pickle:
            model = pickle.loads(pickle.dumps(model))
        ends[warm_start] = model.fit(X, Y)
    assert same_bits(ends["optimizer"].parameters_, steps.parameters_)
    assert ends["optimizer"].loss_curve_ == steps.loss_curve_
    assert not same_bits(ends[True].parameters_, steps.parameters_)
    assert ends["optimizer"].n_iter_ == 10
    assert ends["optimizer"].t_ == steps.t_ == 20 * 60


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_layer_sizes": (7,)}, r"\[5, 7, 1\] units, but was fitted with \[5, 6, 1\]"),
        ({"hidden_layer_sizes": (6, 6)}, r"\[5, 6, 6, 1\] units, but was fitted"),
    ],
)
def test_warm_starts_of_another_architecture(change, message):
    model = classifier(warm_start=True).fit(X, Y)
    before = model.parameters_.copy()
    with pytest.raises(ValueError, match=message):
        model.set_params(**change).fit(X, Y)
    assert same_bits(model.parameters_, before)


def test_warm_starts_with_other_solvers():
    model = classifier(warm_start="optimizer", solver=fm.rules.RMSprop()).fit(X, Y)
    for solver in (fm.rules.RMSprop(momentum=0.9), "adam", "lbfgs", "sgd", "gd", "adamw"):
        before = model.loss_
        model.set_params(solver=solver).fit(X, Y)
        assert model.loss_ < before
    assert len(model.loss_curve_) == 7 * 4


def test_warm_start_keeps_the_dtype():
    model = classifier(warm_start=True).fit(X.astype("float32"), Y)
    model.fit(X, Y)
    assert model.parameters_.dtype == np.float32
