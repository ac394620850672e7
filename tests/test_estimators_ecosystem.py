"""The estimators inside scikit-learn's tools, and what is around them."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import BaggingRegressor, StackingRegressor, VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from fastmlp import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, y = load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)
X_REAL, Y_REAL = load_diabetes(return_X_y=True)
X_REAL, Y_REAL = X_REAL[:150] * 20, (Y_REAL[:150] - 150) / 80


def classifier(**parameters: Any) -> MLPClassifier:
    settings = {
        "hidden_layer_sizes": 16, "max_iter": 60, "learning_rate_init": 0.02, "random_state": 0,
    }  # fmt: skip
    return MLPClassifier(**{**settings, **parameters})


def regressor(**parameters: Any) -> MLPRegressor:
    settings = {
        "hidden_layer_sizes": 16, "max_iter": 60, "learning_rate_init": 0.02, "random_state": 0,
    }  # fmt: skip
    return MLPRegressor(**{**settings, **parameters})


# Composition ---------------------------------------------------------------------------------


def test_pipeline_and_cross_validation() -> None:
    model = make_pipeline(StandardScaler(), classifier())
    scores = cross_val_score(model, X, y, cv=3)
    assert scores.min() > 0.9
    names = cross_val_predict(model, X, np.array(["a", "b", "c"])[y], cv=3)
    assert (names == np.array(["a", "b", "c"])[y]).mean() == pytest.approx(scores.mean())


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_grid_search(n_jobs: int) -> None:
    """In processes of their own the fits end on the same bits."""
    grid = {"hidden_layer_sizes": [(), (8,)], "solver": ["adam", "lbfgs"]}
    search = GridSearchCV(classifier(alpha=0.1), grid, cv=2, n_jobs=n_jobs).fit(X, y)
    alone = clone(search.best_estimator_).fit(X, y)
    assert_array_equal(alone.parameters_, search.best_estimator_.parameters_)
    again = GridSearchCV(classifier(alpha=0.1), grid, cv=2).fit(X, y)
    scores = "mean_test_score"
    assert_array_equal(search.cv_results_[scores], again.cv_results_[scores])


def test_meta_estimators_of_classifiers() -> None:
    voting = VotingClassifier(
        [("mlp", classifier()), ("near", KNeighborsClassifier())], voting="soft"
    ).fit(X, y)
    assert voting.score(X, y) > 0.95
    calibrated = CalibratedClassifierCV(classifier(), cv=2).fit(X, y, sample_weight=np.ones(150))
    assert calibrated.score(X, y) > 0.9
    assert_allclose(calibrated.predict_proba(X).sum(axis=1), 1.0, rtol=1e-12)
    several = MultiOutputClassifier(classifier()).fit(X, np.stack([y, y > 0], axis=1))
    assert_array_equal(several.predict(X)[:, 0], classifier().fit(X, y).predict(X))


def test_meta_estimators_of_regressors() -> None:
    stacked = StackingRegressor([("mlp", regressor())], RidgeCV(), cv=2).fit(X_REAL, Y_REAL)
    assert stacked.score(X_REAL, Y_REAL) > 0.4
    bagged = BaggingRegressor(regressor(), n_estimators=2, random_state=0).fit(X_REAL, Y_REAL)
    assert bagged.score(X_REAL, Y_REAL) > 0.4
    scaled = TransformedTargetRegressor(regressor(), transformer=StandardScaler())
    assert scaled.fit(X_REAL, 80 * Y_REAL + 150).score(X_REAL, 80 * Y_REAL + 150) > 0.4


def test_inspection() -> None:
    rng = np.random.default_rng(0)
    noisy = np.hstack([X, rng.standard_normal((150, 1))])
    model = classifier(alpha=1.0).fit(noisy, y)
    importance = permutation_importance(model, noisy, y, n_repeats=3, random_state=0)
    assert importance.importances_mean[2:4].min() > importance.importances_mean[4]
    (average,) = partial_dependence(model, X=noisy, features=[2], response_method="predict_proba")[
        "average"
    ][2:]
    assert average[-1] > average[0]


def test_clones() -> None:
    model = classifier(activation=["tanh"], dropout=0.1, class_weight={0: 2.0}).fit(X, y)
    copied = clone(model)
    assert copied.get_params() == model.get_params()
    with pytest.raises(NotFittedError):
        copied.predict(X)
    assert not hasattr(copied, "coefs_")
    assert_array_equal(copied.fit(X, y).parameters_, model.parameters_)


def test_hidden_units_as_features() -> None:
    fitted = make_pipeline(classifier(), KNeighborsClassifier()).fit(X, y)
    assert fitted.score(X, y) > 0.95
    assert fitted[:-1].transform(X).shape == (150, 16)
    names = fitted[:-1].get_feature_names_out()
    assert list(names[:2]) == ["mlpclassifier0", "mlpclassifier1"]


# Copies --------------------------------------------------------------------------------------

COPIES: dict[str, Callable[[Any, Path], Any]] = {
    "pickle": lambda model, _: pickle.loads(pickle.dumps(model)),
    "deepcopy": lambda model, _: copy.deepcopy(model),
    "joblib": lambda model, path: joblib.load(joblib.dump(model, path)[0]),
    "memory map": lambda model, path: joblib.load(joblib.dump(model, path)[0], mmap_mode="r"),
}


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_copies_go_on_alike(way: str, solver: str, tmp_path: Path) -> None:
    model = classifier(solver=solver, max_iter=3).fit(X, y)
    copied = COPIES[way](model, tmp_path / "model")
    assert_array_equal(copied.predict_proba(X), model.predict_proba(X))
    assert_array_equal(copied.transform(X), model.transform(X))
    before = model.parameters_.copy()
    for one in (copied, model):
        # A seed would draw the same order again; a state goes on.
        one.random_state = np.random.RandomState(1)
        one.partial_fit(X, y).partial_fit(X[:50], y[:50])
    assert_array_equal(copied.parameters_, model.parameters_)
    assert (before != model.parameters_).any()
    assert copied.loss_curve_ == model.loss_curve_
    for W, V in zip(copied.coefs_, model.coefs_, strict=True):
        assert W.base is not V.base
        assert_array_equal(W, V)


@pytest.mark.parametrize("way", COPIES)
def test_copies_are_apart(way: str, tmp_path: Path) -> None:
    model = regressor(max_iter=3).fit(X_REAL, Y_REAL)
    expected = model.predict(X_REAL)
    copied = COPIES[way](model, tmp_path / "model")
    model.coefs_[0][:] = 0.0
    assert_array_equal(copied.predict(X_REAL), expected)
    assert (model.predict(X_REAL) != expected).any()


def test_warm_start_from_a_memory_map(tmp_path: Path) -> None:
    model = regressor(max_iter=3, warm_start=True).fit(X_REAL, Y_REAL)
    copied = COPIES["memory map"](model, tmp_path / "model")
    assert not copied.parameters_.flags.writeable
    assert_array_equal(
        copied.fit(X_REAL, Y_REAL).parameters_, model.fit(X_REAL, Y_REAL).parameters_
    )


def test_memory_mapped_samples(tmp_path: Path) -> None:
    joblib.dump((X, y), tmp_path / "data")
    X_map, y_map = joblib.load(tmp_path / "data", mmap_mode="r")
    assert isinstance(X_map, np.memmap)
    for solver in ("adam", "lbfgs"):
        model = classifier(solver=solver, early_stopping=solver == "adam")
        expected = clone(model).fit(X, y)
        assert_array_equal(model.fit(X_map, y_map).parameters_, expected.parameters_)
        assert_array_equal(model.predict(X_map), expected.predict(X))


# Threads -------------------------------------------------------------------------------------


def test_fits_at_once() -> None:
    seeds = range(4)
    expected = [classifier(random_state=seed).fit(X, y).parameters_ for seed in seeds]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of convergence; filters belong to all threads
        fits = joblib.Parallel(n_jobs=2, backend="threading")(
            joblib.delayed(lambda seed: classifier(random_state=seed).fit(X, y).parameters_)(seed)
            for seed in seeds
        )
    for mine, other in zip(fits, expected, strict=True):
        assert_array_equal(mine, other)


def test_predictions_at_once() -> None:
    model = classifier().fit(X, y)
    many = np.tile(X, (20, 1))
    expected = model.predict_proba(many)
    found = joblib.Parallel(n_jobs=3, backend="threading")(
        joblib.delayed(model.predict_proba)(many[k::7]) for k in range(7) for _ in range(5)
    )
    for place, mine in enumerate(found):
        assert_array_equal(mine, expected[place // 5 :: 7])


# Metadata ------------------------------------------------------------------------------------


@pytest.fixture
def routing() -> Iterator[None]:
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.mark.usefixtures("routing")
def test_routed_sample_weights() -> None:
    weights = np.where(y == 2, 0.0, 1.0)
    model = classifier().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
    scaler = StandardScaler().set_fit_request(sample_weight=False)
    pipeline = Pipeline([("scale", scaler), ("mlp", model)])
    pipeline.fit(X, y, sample_weight=weights)
    scaled = StandardScaler().fit_transform(X)
    alone = classifier().fit(scaled, y, weights)
    assert_array_equal(pipeline[-1].parameters_, alone.parameters_)
    scores = cross_val_score(model, X, y, params={"sample_weight": weights}, cv=2)
    assert scores.min() == 1.0


@pytest.mark.usefixtures("routing")
def test_routed_validation_samples() -> None:
    model = classifier(early_stopping=True, n_iter_no_change=3, max_iter=200).set_fit_request(
        X_val=True, y_val=True
    )
    pipeline = Pipeline([("scale", StandardScaler()), ("mlp", model)], transform_input=["X_val"])
    pipeline.fit(X[::2], y[::2], X_val=X[1::2], y_val=y[1::2])
    scaler = StandardScaler().fit(X[::2])
    alone = clone(model).fit(
        scaler.transform(X[::2]), y[::2], X_val=scaler.transform(X[1::2]), y_val=y[1::2]
    )
    assert_array_equal(pipeline[-1].parameters_, alone.parameters_)
    assert pipeline[-1].validation_scores_ == alone.validation_scores_


def test_weights_without_routing() -> None:
    pipeline = make_pipeline(StandardScaler(), classifier())
    weights = np.where(y == 2, 0.0, 1.0)
    pipeline.fit(X, y, mlpclassifier__sample_weight=weights)
    assert (pipeline.predict(X) != 2).all()


# Frames --------------------------------------------------------------------------------------

NAMES = ["sepal length", "sepal width", "petal length", "petal width"]


def frame_of(library: str, array: np.ndarray = X) -> Any:
    """Return a data frame with names."""
    module = pytest.importorskip(library)
    return module.DataFrame(dict(zip(NAMES, array.T, strict=True)))


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_frames(library: str, early_stopping: bool) -> None:
    frame = frame_of(library)
    model = classifier(early_stopping=early_stopping).fit(frame, y)
    plain = classifier(early_stopping=early_stopping).fit(X, y)
    assert list(model.feature_names_in_) == NAMES
    assert not hasattr(plain, "feature_names_in_")
    assert_array_equal(model.parameters_, plain.parameters_)
    assert_array_equal(model.predict_proba(frame), plain.predict_proba(X))
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        model.predict(X)
    with pytest.warns(UserWarning, match="was fitted without feature names"):
        plain.predict(frame)
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame[NAMES[::-1]])


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_to_validate_on(library: str) -> None:
    train, held_out = frame_of(library, X[::2]), frame_of(library, X[1::2])
    model = classifier(scoring="accuracy").fit(train, y[::2], X_val=held_out, y_val=y[1::2])
    assert model.validation_scores_[-1] == model.score(held_out, y[1::2])
    with pytest.raises(ValueError, match="feature names should match"):
        model.fit(train, y[::2], X_val=held_out[NAMES[::-1]], y_val=y[1::2])


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_of_hidden_units(library: str) -> None:
    module = pytest.importorskip(library)
    model = classifier().set_output(transform=library).fit(frame_of(library), y)
    hidden = model.transform(frame_of(library))
    assert isinstance(hidden, module.DataFrame)
    assert list(hidden.columns) == [f"mlpclassifier{k}" for k in range(16)]
    assert_array_equal(hidden.to_numpy(), classifier().fit(X, y).transform(X))


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_columns_of_several_kinds(library: str) -> None:
    module = pytest.importorskip(library)
    colours = np.array(["red", "green", "blue"])[y]
    frame = module.DataFrame({"colour": colours, "width": X[:, 3]})
    columns = ColumnTransformer(
        [("one hot", OneHotEncoder(), ["colour"]), ("scaled", StandardScaler(), ["width"])]
    )
    model = make_pipeline(columns, classifier(max_iter=100)).fit(frame, y)
    assert model.score(frame, y) == 1.0


@pytest.mark.parametrize("dtype", ["Int64", "string", "category", "object", "boolean", "float64"])
def test_labels_in_a_series(dtype: str) -> None:
    pd = pytest.importorskip("pandas")
    labels = y > 0 if dtype == "boolean" else y if dtype in ("Int64", "float64") else None
    if labels is None:
        labels = np.array(["a", "b", "c"], dtype=object)[y]
    series = pd.Series(labels, dtype=dtype)
    model = classifier().fit(X, series)
    plain = classifier().fit(X, np.asarray(labels))
    assert_array_equal(model.parameters_, plain.parameters_)
    assert_array_equal(model.predict(X), plain.predict(X))
    assert model.score(X, series) > 0.95


def test_targets_in_frames() -> None:
    for library in ("pandas", "polars"):
        module = pytest.importorskip(library)
        two = module.DataFrame({"a": Y_REAL, "b": -Y_REAL})
        expected = regressor().fit(X_REAL, np.stack([Y_REAL, -Y_REAL], axis=1))
        assert_array_equal(regressor().fit(X_REAL, two).parameters_, expected.parameters_)
        labels = module.Series(np.array(["a", "b", "c"])[y])
        assert list(classifier().fit(X, labels).classes_) == ["a", "b", "c"]
