"""Checkpoints of fits within scikit-learn: pipelines, searches, metadata, its callbacks."""

import pickle

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

import fastmlp as fm
from cases_estimators import TARGETS, X, Y, classifier, regressor, same_bits
from cases_fits import VALIDATION, KillAt, Killed, fitted
from fastmlp import files
from test_estimators_callbacks import Told, needs_sklearn, sklearn_callback

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
some_solvers = pytest.mark.parametrize("solver", ["adam", "gd", "lbfgs"])


@some_solvers
def test_in_a_pipeline(solver, tmp_path):
    def make(callback=None):
        model = classifier(solver=solver, max_iter=6, callbacks=callback)
        return Pipeline([("scale", StandardScaler()), ("mlp", model)])

    kept = {"mlp__checkpoint": tmp_path / "a", "mlp__resume": True, "mlp__every": 2}
    with pytest.raises(Killed):
        make(KillAt(5)).fit(X, Y, **kept)
    assert fm.load(tmp_path / "a").n_iter_ == 4
    resumed, expected = make().fit(X, Y, **kept), make().fit(X, Y)
    assert fitted(resumed[-1]) == fitted(expected[-1])
    with pytest.raises(ValueError, match=r"X is of shape"):
        make().fit(X + X**2, Y, **kept)


@pytest.mark.parametrize("kind", [classifier, regressor])
@some_solvers
def test_clones_and_pickles(kind, solver, tmp_path):
    """Nothing of the checkpoints stays with the estimator."""
    y = Y if kind is classifier else TARGETS
    kept = fm.Checkpoints(tmp_path / "a", keep=2)
    model = kind(solver=solver).fit(X, y, checkpoint=kept)
    assert fitted(pickle.loads(pickle.dumps(model))) == fitted(model)
    assert model.get_params().keys() == type(model)().get_params().keys()
    again = clone(model).fit(X, y, checkpoint=kept, resume=True)
    assert fitted(again) == fitted(model)
    assert fitted(clone(again).fit(X, y)) == fitted(model)


# Metadata ------------------------------------------------------------------------------------


def test_requests(tmp_path):
    with sklearn.config_context(enable_metadata_routing=True):
        model = classifier().set_fit_request(checkpoint=True, every=True, resume=True)
        pipeline = make_pipeline(StandardScaler(), model)
        pipeline.fit(X, Y, checkpoint=tmp_path / "a", every=3, resume=True)
        unasked = make_pipeline(StandardScaler(), classifier())
        with pytest.raises(ValueError, match=r"\[checkpoint\] are passed but are not explicitly"):
            unasked.fit(X, Y, checkpoint=tmp_path / "b")
        scores = cross_val_score(model, X, Y, cv=2, params={"checkpoint": tmp_path / "c"})
    assert same_bits(fm.load(tmp_path / "a").parameters_, pipeline[-1].parameters_)
    assert not (tmp_path / "b").exists()
    expected = cross_val_score(classifier(), X, Y, cv=2)
    assert np.array_equal(scores, expected)


@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
def test_a_search_leaves_the_checkpoint_of_its_last_fit(tmp_path):
    """One file serves one fit: with resume=True the others are refused."""
    grid, path = {"alpha": [1e-4, 1e-2]}, tmp_path / "a"
    search = GridSearchCV(classifier(), grid, cv=2).fit(X, Y, checkpoint=path)
    assert fitted(fm.load(path), "_optimizer", "_random_state", "n_features_in_") == fitted(
        search.best_estimator_, "_optimizer", "_random_state", "n_features_in_"
    )
    plain = GridSearchCV(classifier(), grid, cv=2).fit(X, Y)
    assert search.best_params_ == plain.best_params_
    assert same_bits(search.best_estimator_.parameters_, plain.best_estimator_.parameters_)
    path.unlink()
    with pytest.warns(FitFailedWarning, match="checkpoint of another run"):
        scores = (
            GridSearchCV(classifier(), grid, cv=2, refit=False)
            .fit(X, Y, checkpoint=path, resume=True)
            .cv_results_
        )
    n_failed = sum(np.isnan(scores[f"split{k}_test_score"]).sum() for k in range(2))
    assert n_failed == 3


# scikit-learn's callbacks --------------------------------------------------------------------


@needs_sklearn
@pytest.mark.parametrize("solver", ["adam", "gd", "nesterov"])
def test_tasks_of_a_fit_that_goes_on(solver, tmp_path):
    def make(told):
        return classifier(solver=solver, max_iter=6, batch_size=60).set_callbacks(told)

    expected = Told()
    make(expected).fit(X, Y)
    for error, kept in ((Killed(), 2), (None, 3)):  # where it only asks, the epoch is complete
        path, first, told = tmp_path / f"{kept}", Told(stop_after=3, error=error), Told()
        try:
            make(first).fit(X, Y, checkpoint=path)
        except Killed:
            assert error is not None
        assert first.calls[-1] == "teardown"
        model = make(told).fit(X, Y, checkpoint=path, resume=True)
        assert told.scores == expected.scores[kept:]
        epochs = ["begin epoch", "end epoch"] * (6 - kept)
        assert told.calls == ["setup", "begin fit", *epochs, "end fit", "teardown"]
        plain = classifier(solver=solver, max_iter=6, batch_size=60).fit(X, Y)
        assert same_bits(model.parameters_, plain.parameters_)


@needs_sklearn
@pytest.mark.parametrize("solver", ["adam", "gd", "lbfgs"])
def test_its_own_callbacks_where_a_fit_goes_on(solver, tmp_path):
    classifier(solver=solver, max_iter=2).fit(X, Y, checkpoint=tmp_path / "a")
    monitor = sklearn_callback.ScoringMonitor(scoring="accuracy")
    for n in (4, 4):  # after its end as well
        model = classifier(solver=solver, max_iter=n).set_callbacks(monitor)
        model.fit(X, Y, checkpoint=tmp_path / "a", resume=True)
        rows = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
        assert len(rows) in (0, 2, 4)
        assert not rows or rows[-1]["accuracy"] == model.score(X, Y)
    assert same_bits(model.parameters_, classifier(solver=solver).fit(X, Y).parameters_)


# The best epoch ------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["adam", "sgd", "gd", "nesterov", "lbfgs"])
@pytest.mark.parametrize("best", [1, 3, 6])
def test_the_best_epoch_is_kept(solver, best, tmp_path):
    """By the validation score, whatever the solver minimises; also across a break."""
    path = tmp_path / "a"

    def scoring(model, X, y):
        n = next((n for n, w in enumerate(known, 1) if same_bits(w, model.parameters_)), 0)
        return -abs(n - best)

    known = []
    classifier(solver=solver, max_iter=6, callbacks=lambda s: known.append(s.x.copy())).fit(X, Y)
    kept = fm.Checkpoints(path, every=4, keep_best=True)
    make = lambda **more: classifier(  # noqa: E731
        solver=solver, max_iter=6, scoring=scoring, **more
    )
    with pytest.raises(Killed):
        make(callbacks=[KillAt(5)]).fit(X, Y, checkpoint=kept, **VALIDATION)
    make().fit(X, Y, checkpoint=kept, resume=True, **VALIDATION)
    kind, tree = files.read(tmp_path / "a.best")
    assert kind == "checkpoint"
    assert same_bits(fm.load(tmp_path / "a.best").parameters_, known[best - 1])
    assert tree["model"]["course"]["n_iter"] == best
