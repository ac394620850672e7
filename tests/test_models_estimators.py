"""Files of estimators and pipelines: those loaded predict, and learn on, to the same bits."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    RobustScaler,
    StandardScaler,
)

import fastmlp as fm
from cases_estimators import (
    FULL_BATCH,
    STOCHASTIC,
    TARGETS,
    X_VAL,
    Y01,
    Y3,
    Y_MANY,
    Y_VAL,
    X,
    Y,
    classifier,
    regressor,
    same_bits,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

LABELS = {
    "ints": Y01,
    "int8": Y01.astype(np.int8) * 3 - 2,
    "uint64": Y01.astype(np.uint64) + np.uint64(2**63),
    "bools": Y01.astype(bool),
    "floats": Y01 * 2.0,
    "float32, three": np.digitize(TARGETS, [-1, 1]).astype(np.float32),
    "strings": Y,
    "objects": Y.astype(object),
    "three strings": Y3,
    "three objects": Y3.astype(object),
    "odd strings": np.array(["", "ü ✓ \U0001f600", 'a"\\\n'])[np.digitize(TARGETS, [-1, 1])],
    "surrogates": np.array(["\ud800", "\udfff"], object)[Y01],
    "one": np.full(len(X), "all"),
    "multilabel": Y_MANY,
    "sparse multilabel": csr_matrix(Y_MANY),
}
PARAMETERS = [
    *({"solver": name} for name in (*STOCHASTIC, *FULL_BATCH)),
    {"solver": "sgd", "momentum": 0.0},
    {"solver": "sgd", "nesterovs_momentum": False},
    *({"solver": rule()} for rule in fm.rules.RULES.values()),
    {"solver": fm.rules.RMSprop(momentum=0.5, centered=True)},
    {"solver": "sgd", "learning_rate": "invscaling"},
    {"solver": "sgd", "learning_rate": "adaptive", "tol": 10.0, "n_iter_no_change": 1},
    *(
        {"learning_rate": schedule}
        for schedule in (
            fm.schedules.constant(0.01),
            fm.schedules.inverse(0.1),
            fm.schedules.inverse_power(0.1, power=0.6, scale=3.0),
            fm.schedules.exponential(0.1, decay=0.9, every=2.0),
            fm.schedules.step_decay(0.1, every=2),
            fm.schedules.step_decay(0.1, factor=0.3, milestones=(2, 5)),
            fm.schedules.linear(0.1, n_steps=7, least=0.01),
            fm.schedules.cosine(0.1, period=3, growth=2),
            fm.schedules.one_cycle(0.1, n_steps=9, anneal="linear", three_phase=True),
            fm.schedules.reduce_on_plateau(0.1, patience=0, threshold=0.9),
            fm.schedules.warm_up(fm.schedules.reduce_on_plateau(0.1, patience=0), n_steps=2),
        )
    ),
    {"hidden_layer_sizes": ()},
    {"hidden_layer_sizes": 3},
    {"hidden_layer_sizes": [4, np.int64(3)], "activation": ["tanh", "logistic"]},
    {"hidden_layer_sizes": np.array([4, 3]), "dropout": [0.1, 0.2, 0.0]},
    {"early_stopping": True, "validation_fraction": 0.3},
    {"early_stopping": True, "n_iter_no_change": 1, "tol": 100.0},
    {"alpha": np.float32(0.1), "batch_size": np.int64(7), "shuffle": np.bool_(False)},
    {"beta_1": np.float32(0.7), "beta_2": np.float32(0.9), "epsilon": np.float32(1e-3)},
    {
        "solver": "sgd",
        "learning_rate": "adaptive",
        "learning_rate_init": np.float32(0.1),
        "tol": np.float32(10),
        "n_iter_no_change": np.int8(1),
        "momentum": np.float32(0.8),
    },
    {"solver": "sgd", "learning_rate": "invscaling", "power_t": np.float32(0.3)},
    {"n_iter_no_change": np.inf, "n_jobs": 1, "dropout": 0.2, "scoring": "accuracy"},
    {"class_weight": "balanced"},
    {"class_weight": {0: 1.0, 1: 2.5}},
    {"class_weight": {np.int64(1): np.float64(0.5)}},
    {"loss": fm.losses.binary_cross_entropy(0.1)},
    {"warm_start": "optimizer"},
    {"random_state": np.random.RandomState(5)},
    {"scaling": "standard"},
    {"scaling": "minmax", "solver": "lbfgs"},
]
REGRESSORS = [
    {"loss": fm.losses.huber(0.3)},
    {"loss": "poisson"},
    {"scaling": "standard"},
    {"loss": "squared_error", "early_stopping": True, "scoring": "r2"},
]


def _round_trip(tmp_path, model, **how):
    fm.save(tmp_path / "model.safetensors", model, **how)
    return fm.load(tmp_path / "model.safetensors")


def _require_same(loaded, model, samples=X):
    """Raise AssertionError where they differ in what a user can see, or learn on differently."""
    for name in ("predict", "predict_proba", "transform"):
        if hasattr(model, name) and (name != "transform" or model.n_layers_ > 2):
            mine, its = getattr(loaded, name)(samples), getattr(model, name)(samples)
            if hasattr(its, "toarray"):
                assert type(mine) is type(its)
                mine, its = mine.toarray(), its.toarray()
            if its.dtype == object:
                assert mine.dtype == object
                assert mine.tolist() == its.tolist()
            else:
                assert same_bits(mine, its)
    mine, its = (_shown(vars(one)) for one in (loaded, model))
    its.pop("_random_state", None)  # of the last fit; the next has its own
    assert mine == its


def _shown(value):
    """Return a value as what can be compared bit for bit, whatever its numbers' Python types."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, [repr(one) for one in value.ravel().tolist()]
    if isinstance(value, np.generic):
        return repr(value.item())
    if isinstance(value, np.random.RandomState):
        return _shown(value.get_state(legacy=False))
    if isinstance(value, (list, tuple)):
        return type(value), [_shown(one) for one in value]
    if isinstance(value, dict):
        return {str(name): _shown(one) for name, one in value.items() if name != "_predictor"}
    return _shown(vars(value)) if hasattr(value, "__dict__") else repr(value)


@pytest.mark.parametrize("labels", LABELS)
def test_labels_of_every_kind_come_back(tmp_path, labels):
    fitted = classifier().fit(X, LABELS[labels])
    loaded = _round_trip(tmp_path, fitted)
    assert loaded.classes_.dtype == fitted.classes_.dtype
    assert loaded.classes_.tolist() == fitted.classes_.tolist()
    _require_same(loaded, fitted)
    for one in (loaded, fitted):
        one.partial_fit(X, LABELS[labels])
    assert same_bits(loaded.parameters_, fitted.parameters_)


@pytest.mark.parametrize("parameters", PARAMETERS, ids=str)
def test_classifiers_come_back_and_learn_on(tmp_path, parameters):
    _require_learning_on(tmp_path, classifier(**parameters).fit(X, Y01), Y01)


@pytest.mark.parametrize("parameters", [*PARAMETERS[:35:4], *REGRESSORS], ids=str)
def test_regressors_come_back_and_learn_on(tmp_path, parameters):
    names = ("class_weight", "scoring") if parameters not in REGRESSORS else ()
    given = {name: value for name, value in parameters.items() if name not in names}
    _require_learning_on(tmp_path, regressor(**given).fit(X, np.abs(TARGETS)), np.abs(TARGETS))
    several = np.abs(X[:, :3])
    _require_learning_on(tmp_path, regressor(**given).fit(X, several), several)


def _require_learning_on(tmp_path, fitted, y):
    loaded = _round_trip(tmp_path, fitted)
    _require_same(loaded, fitted)
    if hasattr(fitted, "partial_fit"):
        mine, its = _round_trip(tmp_path, fitted), _round_trip(tmp_path, fitted)
        assert mine._optimizer is not None
    for _ in range(2):
        for one in (loaded, fitted):
            one.set_params(warm_start="optimizer").fit(X, y)
        assert same_bits(loaded.parameters_, fitted.parameters_)
        assert loaded.loss_curve_ == fitted.loss_curve_
    if hasattr(fitted, "partial_fit") and fitted.get_params().get("class_weight") != "balanced":
        validation = {"X_val": X_VAL, "y_val": y[:23]} if fitted.early_stopping else {}
        for one in (mine, its):
            one.partial_fit(X, y, **validation)
        again = _round_trip(tmp_path, mine).partial_fit(X, y, **validation)
        its.partial_fit(X, y, **validation)
        assert same_bits(again.parameters_, its.parameters_)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_partial_fits_go_on_as_if_not_saved(tmp_path, dtype):
    data = X.astype(dtype)
    straight, saved = classifier(), classifier()
    for i in range(4):
        straight.partial_fit(data, Y, classes=["maybe", "no", "yes"])
        saved.partial_fit(data, Y, classes=["maybe", "no", "yes"])
        saved = _round_trip(tmp_path, saved)
        assert same_bits(saved.parameters_, straight.parameters_), i
        assert saved.parameters_.dtype == dtype
    _require_same(saved, straight, data)


def test_partial_fit_with_early_stopping_goes_on_to_its_end(tmp_path):
    how = {"early_stopping": True, "n_iter_no_change": 2, "tol": 1.0}
    straight, saved = classifier(**how), classifier(**how)
    for _ in range(8):
        for one in (straight, saved):
            one.partial_fit(X, Y, classes=["no", "yes"], X_val=X_VAL, y_val=Y_VAL)
        saved = _round_trip(tmp_path, saved)
    assert saved._optimizer.has_stopped
    assert same_bits(saved.parameters_, straight.parameters_)
    assert saved.validation_scores_ == straight.validation_scores_


def test_a_random_state_goes_on_from_where_it_was(tmp_path):
    fitted = classifier(random_state=np.random.RandomState(3))
    fitted.random_state.normal()  # leaves another behind
    fitted.fit(X, Y)
    loaded = _round_trip(tmp_path, fitted)
    assert loaded.random_state is not fitted.random_state
    assert same_bits(loaded.fit(X, Y).parameters_, fitted.fit(X, Y).parameters_)
    assert loaded.random_state.normal() == fitted.random_state.normal()


def test_names_of_features_come_back(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["a", "ü", "$tensor", "", "object"])
    fitted = classifier().fit(frame, Y)
    loaded = _round_trip(tmp_path, fitted)
    _require_same(loaded, fitted, frame)
    assert loaded.feature_names_in_.dtype == object
    with pytest.raises(ValueError, match="feature names should match"):
        loaded.predict(frame.rename(columns={"a": "b"}))


def test_a_clone_of_a_loaded_one_is_that_of_the_saved_one(tmp_path):
    fitted = classifier(solver=fm.rules.Adam(beta1=0.8), class_weight={"no": 2.0}).fit(X, Y)
    loaded = _round_trip(tmp_path, fitted)
    assert not hasattr(clone(loaded), "network_")
    assert clone(loaded).get_params() == fitted.get_params()
    assert same_bits(clone(loaded).fit(X, Y).parameters_, clone(fitted).fit(X, Y).parameters_)


# What a file cannot hold ----------------------------------------------------------------------


class _Own(fm.rules.Adam):
    pass


def _rate(k):
    return 0.01 / (k + 1)


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"callbacks": [fm.callbacks.Callback()]}, ["callbacks"]),
        ({"learning_rate": _rate}, ["learning_rate", "the optimizer's state"]),
        (
            {"learning_rate": fm.schedules.warm_up(_rate, n_steps=2)},
            ["learning_rate", "the optimizer's state"],
        ),
        ({"solver": _Own()}, ["solver", "the optimizer's state"]),
        ({"scoring": lambda *_: 0.5, "early_stopping": True}, ["scoring"]),
        ({"random_state": np.random.RandomState(np.random.PCG64(1))}, ["random_state"]),
    ],
    ids=["callbacks", "rate", "warm-up", "rule", "scoring", "random_state"],
)
def test_what_is_left_out_is_named_and_has_its_default(tmp_path, parameters, named):
    fitted = classifier(**parameters).fit(X, Y)
    with pytest.warns(UserWarning, match="does not hold") as caught:
        loaded = _round_trip(tmp_path, fitted)
    assert len(caught) == 1
    assert all(name in str(caught[0].message) for name in named)
    assert same_bits(loaded.predict_proba(X), fitted.predict_proba(X))
    defaults = fm.MLPClassifier().get_params()
    for name, value in loaded.get_params().items():
        expected = defaults if name in parameters and name in named else fitted.get_params()
        assert value == expected[name], name
    assert (loaded._optimizer is None) == ("the optimizer's state" in named)
    loaded.partial_fit(X, Y, X_val=X_VAL, y_val=Y_VAL)


def test_parameters_that_no_fit_would_take_are_refused(tmp_path):
    fitted = classifier().fit(X, Y).set_params(max_iter=-1)
    with pytest.raises(ValueError, match="'max_iter' parameter"):
        fm.save(tmp_path / "model", fitted)
    assert list(tmp_path.iterdir()) == []


# Pipelines ------------------------------------------------------------------------------------

SCALERS = [
    StandardScaler(),
    StandardScaler(with_mean=False, with_std=False, copy=False),
    MinMaxScaler((-1, 2), clip=True),
    MaxAbsScaler(),
    RobustScaler(quantile_range=(10.0, 80.0), unit_variance=True),
    RobustScaler(with_centering=False, with_scaling=False),
    Normalizer("l1"),
    "passthrough",
    None,
]


@pytest.mark.parametrize("scaler", SCALERS, ids=str)
@pytest.mark.parametrize("names", [None, list("abcde")], ids=["arrays", "frames"])
def test_pipelines_come_back(tmp_path, scaler, names):
    data = X
    if names:
        data = pytest.importorskip("pandas").DataFrame(X, columns=names)
    fitted = Pipeline([("first", scaler), ("last", classifier())], verbose=False).fit(data, Y)
    loaded = _round_trip(tmp_path, fitted)
    assert same_bits(loaded.predict_proba(data), fitted.predict_proba(data))
    assert repr(loaded) == repr(fitted)
    assert loaded.get_params().keys() == fitted.get_params().keys()
    assert _shown(loaded[0]) == _shown(fitted[0])
    _require_same(loaded[-1], fitted[-1], fitted[:-1].transform(data))
    assert same_bits(loaded.fit(data, Y).predict_proba(data), fitted.predict_proba(data))


def test_pipelines_of_several_scalers_and_missing_numbers_come_back(tmp_path):
    data = X.astype(np.float32)
    gaps = data.copy()
    gaps[::7, 2] = np.nan
    fitted = make_pipeline(StandardScaler(), MinMaxScaler(), Normalizer(), regressor())
    fitted.fit(data, TARGETS)
    fitted[0].fit(gaps)  # counts samples by feature
    loaded = _round_trip(tmp_path, fitted, optimizer=False)
    assert same_bits(loaded[0].n_samples_seen_, fitted[0].n_samples_seen_)
    assert same_bits(loaded.predict(data), fitted.predict(data))


def test_scalers_go_on_to_give_frames(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcde"))
    fitted = make_pipeline(StandardScaler(), classifier())
    fitted[0].set_output(transform="pandas")
    fitted.fit(frame, Y)
    loaded = _round_trip(tmp_path, fitted)
    pandas.testing.assert_frame_equal(loaded[:-1].transform(frame), fitted[:-1].transform(frame))
    assert same_bits(loaded.predict_proba(frame), fitted.predict_proba(frame))
