"""What data the estimators take, and that they neither change nor copy them."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from cases_estimators import (
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
)
from cases_runs import peak_of

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning", "ignore:Got `batch_size`:UserWarning"
)
SOLVERS = ["adam", "sgd", "lbfgs", "gd", "rprop"]
all_solvers = pytest.mark.parametrize("solver", SOLVERS)


# Data are left as they are -------------------------------------------------------------------


@all_solvers
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_nothing_given_is_modified(solver, order, dtype):
    given = [
        np.array(10 * X, dtype, order=order),
        Y.copy(),
        WEIGHTS.copy(),
        X_VAL.copy(),
        Y_VAL.copy(),
    ]
    copies = [array.copy() for array in given]
    for array in given:
        array.flags.writeable = False
    samples, labels, weights, X_val, y_val = given
    model = classifier(solver=solver, class_weight={"no": 2.0}, n_jobs=2)
    model.fit(samples, labels, weights, X_val=X_val, y_val=y_val, sample_weight_val=WEIGHTS[:23])
    if solver in ("adam", "sgd"):
        model.partial_fit(samples, labels, weights, X_val=X_val, y_val=y_val)
    model.predict(samples), model.transform(samples), model.sample_gradients(samples, labels)
    for array, copied in zip(given, copies, strict=True):
        assert array.tobytes() == copied.tobytes()


N_ROWS, N_COLUMNS = 40_000, 200
BIG = np.random.default_rng(0).standard_normal((N_ROWS, N_COLUMNS), np.float32)


def big(kind, folder):
    """Return the matrix in one of the kinds of memory that estimators shall not copy."""
    if kind == "C":
        return BIG
    if kind == "float64":
        return BIG.astype(np.float64)
    if kind == "Fortran":
        return np.asfortranarray(BIG)
    if kind == "read-only":
        view = BIG.view()
        view.flags.writeable = False
        return view
    np.save(folder / "big.npy", BIG)
    return np.load(folder / "big.npy", mmap_mode="r")


@pytest.mark.parametrize("kind", ["C", "float64", "Fortran", "read-only", "memory map"])
@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_samples_are_not_copied(solver, kind, tmp_path):
    samples, targets = big(kind, tmp_path), BIG[:, 0].astype(np.float64)
    model = regressor(solver=solver, max_iter=1).fit(samples[:50], targets[:50])  # compiles
    calls = {
        "fit": lambda: model.fit(samples, targets),
        "predict": lambda: model.predict(samples),
        "transform": lambda: model.transform(samples[:9000]),
        "validate": lambda: model.fit(samples[:50], targets[:50], X_val=samples, y_val=targets),
    }
    if solver != "lbfgs":
        calls["partial_fit"] = lambda: model.partial_fit(samples, targets)
    for name, call in calls.items():
        # Blocks of activations (16 MiB, if there are so many rows) are what is left.
        assert peak_of(call) < samples.nbytes / 2, name
        if name in ("fit", "partial_fit"):
            assert peak_of(call) < samples.nbytes / 3, name


@pytest.mark.parametrize("labels", [np.int8, np.int64, "U3", object])
def test_labels_take_bounded_memory(labels):
    y = np.where(BIG[:, 0] > 0, "1", "0").astype(labels)
    model = classifier(max_iter=1).fit(BIG[:50], y[:50])
    assert peak_of(lambda: model.fit(BIG, y)) < 100 * N_ROWS


@pytest.mark.parametrize("solver", ["adam", "lbfgs", "gd"])
@pytest.mark.parametrize("kind", ["Fortran", "read-only", "memory map"])
def test_bits_do_not_depend_on_where_samples_are(solver, kind, tmp_path):
    samples, y = big(kind, tmp_path)[:3000], BIG[:3000, 0] > 0
    fits = [
        classifier(solver=solver, n_jobs=n_jobs, max_iter=3).fit(array, y)
        for array, n_jobs in ((BIG[:3000], 1), (samples, 1), (samples, 2))
    ]
    assert len({fit.parameters_.tobytes() for fit in fits}) == 1
    assert len({fit.predict_proba(samples).tobytes() for fit in fits}) == 1
    assert len({str(fit.loss_curve_) for fit in fits}) == 1


# Unusual data --------------------------------------------------------------------------------


@all_solvers
@pytest.mark.parametrize(
    "kind",
    [
        lambda a: a.astype(object), lambda a: a.tolist(), lambda a: a.astype(">f8"),
        lambda a: a.astype(np.longdouble), np.asfortranarray, lambda a: a[::-1][::-1],
        lambda a: np.repeat(a, 2, axis=1)[:, ::2], np.ma.array,
    ],
    ids=["object", "list", "big-endian", "longdouble", "Fortran", "strides", "columns", "masked"],
)  # fmt: skip
def test_kinds_of_samples(solver, kind):
    expected = classifier(solver=solver).fit(X, Y)
    model = classifier(solver=solver).fit(kind(X), Y)
    assert same_bits(model.parameters_, expected.parameters_)
    assert same_bits(model.predict_proba(kind(X)), expected.predict_proba(X))


@all_solvers
@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "int64", "float16"])
def test_types_that_become_float64(solver, dtype):
    numbers = (np.abs(X) * 3).astype(dtype)
    model, wide = (classifier(solver=solver).fit(a, Y) for a in (numbers, numbers.astype(float)))
    assert same_bits(model.parameters_, wide.parameters_)
    assert same_bits(model.predict_proba(numbers), wide.predict_proba(numbers.astype(float)))


@all_solvers
@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (X + 1j, "Complex data not supported"), (X[:0], "0 sample"), (X[:, :0], "0 feature"),
        (X[0], "1D array"), (X[None], "dim 3"), (np.where(X > 2, np.inf, X), "infinity"),
        (np.full((60, 5), "a"), "could not convert string"),
    ],
    ids=["complex", "no samples", "no features", "1-D", "3-D", "infinity", "strings"],
)  # fmt: skip
def test_samples_that_do_not_fit(solver, samples, message):
    with pytest.raises(ValueError, match=message):
        classifier(solver=solver).fit(samples, Y[: len(samples)])


@all_solvers
@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (np.where(TARGETS > 0, np.nan, 1.0), "contains NaN"), (TARGETS + 1j, "Complex data"),
        (Y, "real numbers"), (None, "requires y"), (TARGETS[:5], "inconsistent numbers"),
        (np.zeros((60, 1, 1)), "dim 3"),
    ],
    ids=["NaN", "complex", "strings", "none", "few", "3-D"],
)  # fmt: skip
def test_targets_that_do_not_fit(solver, targets, message):
    with pytest.raises(ValueError, match=message):
        regressor(solver=solver).fit(X, targets)


@all_solvers
def test_one_sample_and_one_feature(solver):
    one = regressor(solver=solver).fit(X[:1], TARGETS[:1])
    assert abs(one.predict(X[:1])[0] - TARGETS[0]) < abs(TARGETS[0]) + 1
    assert set(classifier(solver=solver).fit(X[:1], Y[:1]).predict(X)) == {Y[0]}
    assert classifier(solver=solver).fit(X[:, :1], Y).predict(X[:, :1]).shape == (60,)


@all_solvers
def test_constant_features(solver):
    model = classifier(solver=solver, max_iter=30).fit(np.ones((60, 3)), Y)
    assert np.ptp(model.predict_proba(np.ones((60, 3)))[:, 0]) == 0
    assert np.isfinite(model.loss_curve_).all()


@all_solvers
@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.zeros(60), "at least one non-zero"), (-WEIGHTS, "sample_weight must be 0 or more"),
        (WEIGHTS * np.nan, "sample_weight contains NaN"), (WEIGHTS[:5], "sample_weight.shape"),
        (np.r_[-1.0, np.ones(59)], "sample_weight must be 0 or more; got -1.0"),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit(solver, weights, message):
    with pytest.raises(ValueError, match=message):
        classifier(solver=solver).fit(X, Y, weights)


@all_solvers
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_huge_samples_end_finite_or_with_an_error(solver, dtype):
    huge = (X * (1e37 if dtype == "float32" else 1e300)).astype(dtype)
    model, failure = classifier(solver=solver), ""
    try:
        model.fit(huge, Y)
    except ValueError as error:
        failure = str(error)
    if failure:
        assert failure.startswith("Solver produced non-finite parameter weights")
        assert not hasattr(model, "parameters_")
    else:
        assert np.isfinite(model.parameters_).all()


def test_targets_beyond_the_samples_dtype():
    with pytest.raises(ValueError, match=r"1e\+300, beyond the range of float32"):
        regressor().fit(X.astype("float32"), np.full(60, 1e300))


# Unusual parameters --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "hidden"),
    [
        (4, (4,)), (np.int64(4), (4,)), ((np.int32(3), 2), (3, 2)), (np.array([3, 4]), (3, 4)),
        (range(1, 3), (1, 2)), ((), ()), ([], ()),
    ],
)  # fmt: skip
def test_sizes_of_hidden_layers(sizes, hidden):
    assert classifier(hidden_layer_sizes=sizes).fit(X, Y).network_.widths == (5, *hidden, 1)


@pytest.mark.parametrize(
    "sizes",
    [0, -1, 2.5, (3, 0), (3, -1), (2.5,), (i for i in [3]), [[3, 2]], "3", ["3"], True, [True],
     None, np.array([3.0, 4.0]), [None]],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_sizes_that_are_none(sizes, solver):
    with pytest.raises((ValueError, TypeError), match="hidden_layer_sizes"):
        classifier(hidden_layer_sizes=sizes, solver=solver).fit(X, Y)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_single_iteration(solver):
    model = classifier(solver=solver, max_iter=1).fit(X, Y)
    assert model.n_iter_ == len(model.loss_curve_) == 1


@pytest.mark.parametrize("given", [{}, {"X_val": X_VAL, "y_val": Y_VAL}], ids=["held out", "given"])
def test_no_end_of_patience(given):
    model = classifier(early_stopping=True, n_iter_no_change=np.inf, tol=9.0, max_iter=30)
    assert model.fit(X, Y, **given).n_iter_ == 30
    assert model.set_params(early_stopping=False).fit(X, Y).n_iter_ == 30


@pytest.mark.parametrize("fraction", [0, 0.0, 1e-9, 0.999, 1.0, -0.1, "a"])
def test_fractions_to_validate_on_that_do_not_fit(fraction):
    model = classifier(early_stopping=True, validation_fraction=fraction)
    with pytest.raises(ValueError, match=r"validation_fraction|test_size"):
        model.fit(X, Y)
    if fraction == 0:
        model.fit(X, Y, X_val=X_VAL, y_val=Y_VAL)  # which take its place


def test_one_sample_to_validate_on():
    with pytest.raises(ValueError, match="validation set is too small"):
        regressor(early_stopping=True, validation_fraction=0.01).fit(X, TARGETS)


def test_labels_of_another_kind():
    model = classifier().fit(X, np.where(Y == "yes", 1, 0))
    for wrong in (Y, np.where(Y == "yes", "1", "0"), np.where(Y == "yes", 0.5, 0)):
        with pytest.raises(ValueError, match=r"classes not in|Mix of label|Unknown label"):
            model.partial_fit(X, wrong)
        with pytest.raises(ValueError, match=r"classes not in|Mix of label|Unknown label"):
            model.fit(X, np.where(Y == "yes", 1, 0), X_val=X, y_val=wrong)


@pytest.mark.parametrize("y", [Y, Y3], ids=["two", "three"])
def test_before_a_fit(y):
    from sklearn.exceptions import NotFittedError

    model = classifier()
    for call in (model.predict, model.predict_proba, model.predict_log_proba, model.transform):
        with pytest.raises(NotFittedError):
            call(X)
    with pytest.raises(NotFittedError):
        model.sample_gradients(X, y)
    with pytest.raises(NotFittedError):
        model.score(csr_matrix(X), y)


def test_multilabel_lists_in_partial_fit():
    labels = np.column_stack([Y == "yes", X[:, 1] > 0]).astype(int)
    expected = classifier().partial_fit(X, labels, classes=[0, 1])
    model = classifier().partial_fit(X.tolist(), labels.tolist(), classes=[0, 1])
    assert same_bits(model.parameters_, expected.parameters_)
    assert model.predict(X).shape == labels.shape
