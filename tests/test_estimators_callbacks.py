"""The estimators' callbacks: this library's, and scikit-learn's where it has them."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastmlp as fm
from cases_estimators import X_VAL, Y_VAL, X, Y, classifier, same_bits, state
from fastmlp import callbacks

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
SOLVERS = ["adam", "rprop", "lbfgs", "gd", "nesterov"]
all_solvers = pytest.mark.parametrize("solver", SOLVERS)


class Recorder(callbacks.Callback):
    """Keep what is called; raise what is given for it."""

    every_n_steps = None

    def __init__(self, **errors):
        self.calls, self.errors = [], errors

    def _called(self, call):
        self.calls.append(call)
        if call in self.errors:
            raise self.errors[call]

    def on_start(self, state):
        self._called("start")

    def on_epoch_end(self, state):
        self._called(f"epoch{state.n_epochs}")

    def on_end(self, result):
        self.result = result
        self._called("end")


# This library's ------------------------------------------------------------------------------


@all_solvers
@pytest.mark.parametrize("several", [False, True])
def test_a_function_is_called_after_each_epoch(solver, several):
    seen = []

    def look(state):
        seen.append((state.n_epochs, state.x.copy(), sorted(state.history)))

    model = classifier(solver=solver, callbacks=[look, lambda state: False] if several else look)
    model.fit(X, Y, X_val=X_VAL, y_val=Y_VAL)
    assert [n for n, _, _ in seen] == [1, 2, 3, 4]
    assert same_bits(seen[-1][1], model.parameters_)
    assert {"loss", "seconds", "step", "validation_loss", "validation_score"} == set(seen[0][2])
    assert same_bits(classifier(solver=solver).fit(X, Y).parameters_, model.parameters_)


@all_solvers
@pytest.mark.parametrize("answer", [True, StopIteration("enough")])
def test_a_callback_that_stops(solver, answer):
    def stop(state):
        if state.n_epochs < 2:
            return False
        if isinstance(answer, Exception):
            raise answer
        return answer

    recorder = Recorder()
    model = classifier(solver=solver, callbacks=[stop, recorder], max_iter=50).fit(X, Y)
    assert model.n_iter_ == len(model.loss_curve_) == 2
    assert recorder.calls == ["start", "epoch1", "epoch2", "end"]
    expected = "enough" if isinstance(answer, Exception) else "Stopped by the callback"
    assert expected in recorder.result.message


@all_solvers
def test_the_estimator_as_fitted_so_far(solver):
    scores, parameters = [], []

    def look(state):
        assert same_bits(state.estimator.parameters_, state.x)
        scores.append(state.estimator.score(X, Y))
        parameters.append(state.x.copy())

    model = classifier(solver=solver, callbacks=look, max_iter=3).fit(X, Y)
    assert scores[-1] == model.score(X, Y)
    for n, w in enumerate(parameters, start=1):
        assert same_bits(w, classifier(solver=solver, max_iter=n).fit(X, Y).parameters_)


def test_the_estimator_itself_is_not_fitted_meanwhile():
    model = classifier()
    model.set_params(callbacks=lambda state: model.predict(X))
    with pytest.raises(NotFittedError):
        model.fit(X, Y)


@all_solvers
@pytest.mark.parametrize("when", ["start", "epoch2", "end"])
def test_a_callback_that_raises(solver, when):
    model = classifier(solver=solver).fit(X, Y)
    before = state(model)
    first = Recorder()
    failing = Recorder(**{when: RuntimeError("the disk is full")})
    model.set_params(callbacks=[first, failing])
    with pytest.raises(RuntimeError, match="the disk is full"):
        model.fit(-X, Y)
    assert (first.calls[0], first.calls[-1]) == ("start", "end")
    if when != "end":
        assert first.result.message == "Ended by RuntimeError."
        assert not first.result.success
    assert state(model.set_params(callbacks=None)) == before


@all_solvers
def test_ready_callbacks(solver, tmp_path, capsys):
    csv, lines = (
        callbacks.CSVLog(tmp_path / "log.csv"),
        callbacks.JSONLinesLog(tmp_path / "log.jsonl"),
    )
    model = classifier(solver=solver, callbacks=[csv, lines, callbacks.ProgressBar()])
    model.fit(X, Y, X_val=X_VAL, y_val=Y_VAL)
    rows = np.genfromtxt(tmp_path / "log.csv", delimiter=",", names=True)
    np.testing.assert_allclose(rows["n_epochs"], [1, 2, 3, 4])
    np.testing.assert_allclose(rows["validation_loss"], model.validation_loss_curve_)
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 4
    assert "4.00/4.00" in capsys.readouterr().err


@all_solvers
def test_early_stopping_as_a_callback_goes_back_to_the_best(solver):
    seen = []
    stop = callbacks.EarlyStopping(patience=2, monitor="validation_score")
    model = classifier(
        solver=solver, max_iter=30, callbacks=[stop, lambda state: seen.append(state.x.copy())],
        scoring=lambda model, X, y: -abs(len(seen) - 2.0),
    )  # fmt: skip
    model.fit(X, Y, X_val=X_VAL, y_val=Y_VAL)
    assert model.n_iter_ == 5
    assert stop.best_epoch == 3
    assert same_bits(model.parameters_, seen[2])


@all_solvers
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (3, "callbacks must be callable"), ([lambda s: None, 3], r"callbacks\[1\] must be"),
        (callbacks.ProgressBar, "got the class ProgressBar"),
        (callbacks.CSVLog("/nowhere/at/all.csv"), "folder that exists"),
    ],
)  # fmt: skip
def test_callbacks_that_are_none(solver, wrong, message):
    with pytest.raises((TypeError, FileNotFoundError), match=message):
        classifier(solver=solver, callbacks=wrong).fit(X, Y)


def test_one_on_start_and_one_on_end_for_each_partial_fit():
    recorder = Recorder()
    model = classifier(callbacks=recorder)
    for _ in range(2):
        model.partial_fit(X, Y, classes=["no", "yes"])
    assert recorder.calls == ["start", "epoch1", "end"] * 2


# scikit-learn's ------------------------------------------------------------------------------

try:
    from sklearn import callback as sklearn_callback
except ImportError:
    sklearn_callback = None
needs_sklearn = pytest.mark.skipif(sklearn_callback is None, reason="scikit-learn before 1.9")


class Told:
    """Follow scikit-learn's protocol; keep what is told, ask to stop, or raise."""

    def __init__(self, stop_after=None, error=None):
        self.calls, self.scores, self.stop_after, self.error = [], [], stop_after, error

    def setup(self, estimator, context):
        self.calls.append("setup")

    def teardown(self, estimator, context):
        self.calls.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.calls.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, fitted_estimator=None):
        self.calls.append(f"end {context.task_name}")
        self.scores.append(fitted_estimator.score(X, y))
        if len(self.scores) == self.stop_after:
            if self.error is not None:
                raise self.error
            return True
        return None


@needs_sklearn
@all_solvers
def test_tasks_of_a_fit(solver):
    told = Told()
    model = classifier(solver=solver).set_callbacks(told).fit(X, Y)
    epochs = ["begin epoch", "end epoch"] * 4
    assert told.calls == ["setup", "begin fit", *epochs, "end fit", "teardown"]
    assert told.scores[-1] == model.score(X, Y)
    plain = classifier(solver=solver).fit(X, Y)
    assert same_bits(plain.parameters_, model.parameters_)
    model.set_params(hidden_layer_sizes=(9, 3)).fit(X, Y)  # copies of another network
    assert told.scores[-1] == model.score(X, Y)


@needs_sklearn
@all_solvers
def test_a_task_that_asks_to_stop(solver):
    told = Told(stop_after=2)
    model = classifier(solver=solver, max_iter=30).set_callbacks(told).fit(X, Y)
    assert model.n_iter_ == 2
    assert told.calls[-4:] == ["begin epoch", "end epoch", "end fit", "teardown"]


@needs_sklearn
@all_solvers
@pytest.mark.parametrize("stop_after", [2, 5], ids=["epoch", "fit"])
def test_teardown_after_an_error(solver, stop_after):
    model = classifier(solver=solver).fit(X, Y)
    before = state(model)
    told = Told(stop_after=stop_after, error=RuntimeError("no more"))
    with pytest.raises(RuntimeError, match="no more"):
        model.set_callbacks(told).fit(-X, Y)
    assert told.calls.count("teardown") == 1
    assert told.calls[-1] == "teardown"
    assert state(model.set_callbacks()) == before
    told.calls.clear()
    with pytest.raises(ValueError, match="contains NaN"):
        model.set_callbacks(told).fit(X * np.nan, Y)
    assert told.calls == ["setup", "begin fit", "teardown"]


@needs_sklearn
def test_scoring_monitor():
    monitor = sklearn_callback.ScoringMonitor(scoring="accuracy")
    model = classifier().set_callbacks(monitor).fit(X, Y)
    rows = monitor.get_logs().data
    scores = [row["accuracy"] for row in rows if row["task_name"] == "epoch"]
    assert len(scores) == 4
    assert scores[-1] == model.score(X, Y)


@needs_sklearn
@all_solvers
def test_progress_bar_in_a_search_of_a_pipeline(solver, capsys):
    pytest.importorskip("rich")
    bar = sklearn_callback.ProgressBar()
    pipeline = make_pipeline(StandardScaler(), classifier(solver=solver))
    grid = {"mlpclassifier__alpha": [1e-4, 1e-2]}
    search = GridSearchCV(pipeline, grid, cv=2).set_callbacks(bar).fit(X, Y)
    assert search.best_score_ > 0
    alone = classifier(solver=solver).set_callbacks(sklearn_callback.ProgressBar()).fit(X, Y)
    assert alone.n_iter_ == 4
    assert "MLPClassifier" in capsys.readouterr().out


@needs_sklearn
def test_monitor_in_a_search():
    monitor = sklearn_callback.ScoringMonitor(scoring="accuracy")
    model = classifier().set_callbacks(monitor)
    GridSearchCV(model, {"alpha": [1e-4, 1e-2]}, cv=2, refit=False).fit(X, Y)
    runs = monitor.get_logs(select="all")
    epochs = [row for run in runs for row in run.data if row["task_name"] == "epoch"]
    assert len(epochs) == 2 * 2 * 4


@needs_sklearn
def test_scikit_learns_callbacks_have_a_place_of_their_own():
    with pytest.raises(TypeError, match="scikit-learn's callbacks go to set_callbacks"):
        classifier(callbacks=[sklearn_callback.ProgressBar()]).fit(X, Y)


@needs_sklearn
def test_clone_keeps_callbacks():
    told, own = Told(), Recorder()
    copied = clone(classifier(callbacks=[own]).set_callbacks(told))
    assert copied._skl_callbacks == [told]
    copied.fit(X, Y)
    assert (told.calls[0], told.calls[-1]) == ("setup", "teardown")
    assert copied.callbacks[0].calls[-1] == "end"
    assert own.calls == []  # a parameter is copied


@needs_sklearn
def test_without_callbacks_no_context_is_made(monkeypatch):
    def made(*args, **kwargs):
        raise AssertionError("a context is made")

    monkeypatch.setattr(fm.MLPClassifier, "_init_callback_context", made)
    classifier().fit(X, Y)
    with pytest.raises(AssertionError, match="a context is made"):
        classifier().set_callbacks(Told()).fit(X, Y)
