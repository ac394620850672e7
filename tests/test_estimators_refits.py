"""What fits of an estimator that has been fitted before leave of it, meanwhile and at their end."""

import sys
import threading

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from cases_estimators import X_VAL, Y3, Y_VAL, X, Y, classifier, same_bits

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning", "ignore:Got `batch_size`:UserWarning"
)
SOLVERS = ["adam", "sgd", "lbfgs", "gd"]
VAL = {"X_val": X_VAL, "y_val": Y_VAL}


def test_the_earlier_fit_serves_while_another_one_runs():
    def look(state):
        assert same_bits(model.predict_proba(X), expected)
        assert model.n_iter_ == 4
        assert list(model.classes_) == ["no", "yes"]
        assert state.estimator.predict(X[:, :2]).shape == Y.shape

    model = classifier().fit(X, Y)
    expected = model.predict_proba(X)
    model.set_params(callbacks=look, max_iter=3).fit(X[:, :2], Y3)
    assert list(model.classes_) == ["a", "b", "c"]
    assert model.n_features_in_ == 2
    assert model.predict(X[:, :2]).shape == Y.shape


def test_threads_see_one_fit_or_the_next():
    """The labels and the parameters of a prediction are of the same fit."""
    model, done, wrong = classifier(max_iter=1).fit(X, Y), threading.Event(), []
    known = {2: {"no", "yes"}, 3: {"a", "b", "c"}}

    def look():
        while not done.is_set():
            proba, labels = model.predict_proba(X), set(model.predict(X))
            if not np.allclose(proba.sum(axis=1), 1) or not any(
                labels <= k for k in known.values()
            ):
                wrong.append((proba.shape, labels))

    threads = [threading.Thread(target=look) for _ in range(3)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for k in range(40):
            model.fit(X, Y if k % 2 else Y3)
    finally:
        done.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(before)
    assert not wrong


def test_the_best_parameters_are_no_views_of_those_that_go_on():
    model = classifier(
        hidden_layer_sizes=(20,), early_stopping=True, n_iter_no_change=2, max_iter=50,
        learning_rate_init=0.01,
    ).fit(X, Y, **VAL)  # fmt: skip
    best = model.best_validation_score_
    assert best > 0.8
    model.set_params(learning_rate_init=10.0, n_iter_no_change=6)
    flipped = np.where(Y == "yes", "no", "yes")
    scores = [model.partial_fit(X, flipped, **VAL).score(X_VAL, Y_VAL) for _ in range(8)]
    assert min(scores) < best == model.best_validation_score_ == scores[-1]


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_warm_start_that_fails_at_its_end_keeps_the_earlier_parameters(solver):
    callback = pytest.importorskip("sklearn.callback")

    class Failing(callback.FitCallback):
        def setup(self, estimator, context):
            pass

        def teardown(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context):
            if context.parent is None:
                raise OSError("at the end")

    model = classifier(solver=solver, warm_start=True).fit(X, Y)
    parameters, expected = model.parameters_, model.parameters_.copy()
    with pytest.raises(OSError, match="at the end"):
        model.set_callbacks(Failing()).fit(X, Y)
    assert model.parameters_ is parameters
    assert same_bits(parameters, expected)


@pytest.mark.parametrize("seed", range(5))
def test_weights_that_leave_nothing(seed):
    # What is left after the initial parameters have been drawn.
    drawn = classifier(max_iter=1, random_state=seed, shuffle=False).fit(X, Y)._random_state
    _, held_out = train_test_split(np.arange(len(X)), test_size=0.1, stratify=Y, random_state=drawn)
    weights = np.ones(len(X))
    weights[held_out] = 0
    for given, use in ((weights, "validate"), (1 - weights, "train")):
        message = f"validation_fraction=0.1 leaves only samples of weight 0 to {use} on"
        with pytest.raises(ValueError, match=message):
            classifier(early_stopping=True, random_state=seed).fit(X, Y, given)
