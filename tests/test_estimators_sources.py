"""Estimators on sources: the same models as on arrays."""

import numpy as np
import pytest

import cases_tables
import fastmlp as fm
from cases import same_bits
from cases_sources import Rows
from fastmlp.estimators import held_out, labels, stochastic
from fastmlp.sources import file_source

N = 150
rng = np.random.default_rng(0)
X = rng.standard_normal((N, 4))
WORDS = np.array(["ant", "bee", "cat"])[(X[:, 0] > 0.4).astype(int) + (X[:, 1] > 0)]
TARGETS = X[:, 0] - 2 * X[:, 1] ** 2


def classifier(**options):
    settings = {"hidden_layer_sizes": (7,), "max_iter": 3, "random_state": 0, "tol": 0}
    return fm.MLPClassifier(**{**settings, **options})


def regressor(**options):
    settings = {"hidden_layer_sizes": (7,), "max_iter": 3, "random_state": 0, "tol": 0}
    return fm.MLPRegressor(**{**settings, **options})


every_way = pytest.mark.parametrize(
    "options",
    [
        {},
        {"solver": "sgd", "batch_size": 9, "early_stopping": True},
        {"solver": "lbfgs"},
        {"solver": "gd"},
        {"scaling": "standard", "dropout": 0.2},
        {"scaling": "minmax", "solver": "cg"},
        {"scaling": "standard", "early_stopping": True, "class_weight": "balanced"},
    ],
    ids=str,
)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@every_way
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_classifiers(options, dtype):
    data = X.astype(dtype)
    expected = classifier(**options).fit(data, WORDS)
    source = Rows(data)
    found = classifier(**options).fit(source, WORDS)
    assert same_bits(found.parameters_, expected.parameters_)
    assert found.n_features_in_ == 4
    assert list(found.predict(source)) == list(expected.predict(data))
    assert same_bits(found.predict_proba(data), expected.predict_proba(source))
    assert found.score(source, WORDS) == expected.score(data, WORDS)
    assert same_bits(found.transform(source), expected.transform(data))
    assert same_bits(found.sample_gradients(source, WORDS), expected.sample_gradients(data, WORDS))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@every_way
def test_regressors(options):
    options = {name: value for name, value in options.items() if name != "class_weight"}
    expected = regressor(**options).fit(X, TARGETS)
    found = regressor(**options).fit(Rows(X), TARGETS)
    assert same_bits(found.parameters_, expected.parameters_)
    assert same_bits(found.predict(Rows(X)), expected.predict(X))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("extension", ["csv", "parquet", "npz", "h5"])
@pytest.mark.parametrize("limit", ["1 GB", 4000])
def test_files(extension, limit, tmp_path, monkeypatch):
    monkeypatch.setattr(file_source, "BUFFER_BYTES", 1000)
    monkeypatch.setattr(file_source, "shuffle_bytes", lambda table: 0)
    path, options = cases_tables.write(tmp_path, extension, X, WORDS)
    source = fm.sources.open(path, memory_limit=limit, **options)
    assert (source.in_memory is not None) == (limit == "1 GB")
    expected = classifier(shuffle=False).fit(X, WORDS)
    found = classifier(shuffle=False).fit(source, source.y)
    assert same_bits(found.parameters_, expected.parameters_)
    assert found.predict(source).tolist() == expected.predict(X).tolist()
    found = classifier(scaling="standard").fit(source, source.y)  # in runs, if it is not in memory
    assert np.isfinite(found.parameters_).all()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_names_of_columns(tmp_path):
    path, options = cases_tables.write(tmp_path, "csv", X, WORDS)
    source = fm.sources.open(path, **options)
    found = classifier().fit(source, source.y)
    assert found.feature_names_in_.tolist() == ["x0", "x1", "x2", "x3"]
    found.predict(X)
    swapped = fm.sources.open(path, columns=["x1", "x0", "x2", "x3"], **options)
    with pytest.raises(ValueError, match=r"X has the columns \['x1', 'x0', 'x2', 'x3'\], MLPCl"):
        found.predict(swapped)
    fewer = fm.sources.open(path, columns=["x1", "x0"], **options)
    with pytest.raises(ValueError, match="X has 2 features, but MLPClassifier is expecting 4"):
        found.predict(fewer)
    again = found.fit(X, WORDS)
    assert not hasattr(again, "feature_names_in_")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_pixels():
    """Integers are computed with in float64, unless the source says otherwise."""
    pixels = (abs(X) * 60).astype(np.uint8)
    expected = classifier().fit(pixels, WORDS)
    found = classifier().fit(Rows(pixels), WORDS)
    assert same_bits(found.parameters_, expected.parameters_)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_validation_on_a_source():
    given = {"X_val": X[:40], "y_val": WORDS[:40]}
    expected = classifier(scaling="standard").fit(X, WORDS, **given)
    given["X_val"] = Rows(X[:40])
    found = classifier(scaling="standard").fit(Rows(X), WORDS, **given)
    assert found.validation_scores_ == expected.validation_scores_
    assert found.validation_loss_curve_ == expected.validation_loss_curve_
    given["y_val"] = np.where(WORDS[:40] == "bee", "wasp", "ant")
    with pytest.raises(ValueError, match="wasp"):
        classifier().fit(Rows(X), WORDS, **given)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_checkpoints(tmp_path):
    expected = classifier(max_iter=5, scaling="standard").fit(X, WORDS)
    path = tmp_path / "fit.ckpt"
    classifier(max_iter=2, scaling="standard").fit(Rows(X), WORDS, checkpoint=path)
    found = classifier(max_iter=5, scaling="standard").fit(
        Rows(X), WORDS, checkpoint=path, resume=True
    )
    assert same_bits(found.parameters_, expected.parameters_)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("words", [WORDS, WORDS == "bee"])
def test_many_samples(words, monkeypatch):
    """Labels in few bytes, and an order of no memory: no less a permutation."""
    few = classifier(batch_size=20, shuffle=False).fit(X, words)
    monkeypatch.setattr(labels, "MANY", 10)
    monkeypatch.setattr(labels, "ENCODED", 7)
    monkeypatch.setattr(stochastic, "MOST_PERMUTED", 10)
    many = classifier(batch_size=20, shuffle=False).fit(X, words)
    assert same_bits(many.parameters_, few.parameters_)
    shuffled, again = (classifier(batch_size=20).fit(data, words) for data in (X, Rows(X)))
    assert same_bits(shuffled.parameters_, again.parameters_)
    assert not same_bits(shuffled.parameters_, few.parameters_)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("words", [WORDS, WORDS == "bee"])
def test_many_samples_of_which_some_are_held_out(words, monkeypatch):
    """By classes, in proportion, and not by scikit-learn."""
    monkeypatch.setattr(held_out, "MANY", 10)
    monkeypatch.setattr(held_out, "train_test_split", None)
    scored = []

    def score(estimator, X, y):
        scored[:] = [np.asarray(y)]
        return 1.0

    settings = {"early_stopping": True, "validation_fraction": 0.25, "scoring": score}
    fits = [classifier(**settings).fit(data, words) for data in (X, Rows(X))]
    assert same_bits(fits[0].parameters_, fits[1].parameters_)
    for label in np.unique(words):
        assert abs((scored[0] == label).sum() - 0.25 * (words == label).sum()) <= 1


def test_what_does_not_fit():
    with pytest.raises(ValueError, match=r"y is None; a source's own are X\.y"):
        classifier().fit(Rows(X), None)
    unlike = Rows(X)
    unlike.names = ["a", "b"]
    with pytest.raises(ValueError, match=r"X has 4 columns and 2 names: \['a', 'b'\]"):
        classifier().fit(unlike, WORDS)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        classifier().fit(Rows(X), WORDS[:-1])
    bad = X.copy()
    bad[7, 2] = np.inf
    with pytest.raises(ValueError, match=r"row 7, column 2 is inf \(NaN or infinity\)"):
        classifier().fit(Rows(bad), WORDS)
