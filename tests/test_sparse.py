"""X as a sparse matrix: the results of the dense array, bit for bit."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

import fastmlp as fm
from cases import DTYPES, check_same_results, parameters, same_bits, truth

N, N_IN = 61, 9
FORMATS = ("csr", "csc", "coo", "lil", "dok", "bsr", "dia")
CONTAINERS = {
    f"{form}_{kind}": getattr(sp, f"{form}_{kind}")
    for form in FORMATS
    for kind in ("matrix", "array")
}
FEW = ("csr_matrix", "csr_array", "csc_array", "coo_matrix")


def numbers(rng, n=N, n_in=N_IN, dtype="float64"):
    """Mostly zeros, in all of some rows and of one column; whole where the dtype asks for it."""
    X = rng.standard_normal((n, n_in)) * (rng.random((n, n_in)) < 0.3)
    X[::7] = 0
    X[:, n_in // 2] *= n_in == 1
    X += 0.0  # a sparse matrix stores no -0.0
    if np.dtype(dtype).kind == "b":
        return X > 0
    low = -3 * (np.dtype(dtype).kind != "u")
    return (X if np.dtype(dtype).kind == "f" else X.round().clip(low, 3)).astype(dtype)


def network(dtype="float32", n_in=N_IN, output="softmax"):
    return fm.Network([n_in, 17, 3], hidden="tanh", output=output, dtype=dtype)


def problem(rng, dtype="float32", n_in=N_IN, of="float64", output="softmax"):
    net = network(dtype, n_in, output)
    return net, numbers(rng, n_in=n_in, dtype=of), truth(net, N, rng), parameters(net, rng)


def few_steps(net, X, y, w, **options):
    return fm.gradient_descent(fm.Objective(net, X, y, **options), w, max_iter=3)


def of_network(net, X, y, w):
    return {
        "predict": net.predict(w, X),
        "loss": net.loss(w, X, y),
        "gradient": net.gradient(w, X, y),
        "sample_gradients": net.sample_gradients(w, X, y),
        "jacobian": net.jacobian(w, X),
    }


def of_objective(net, X, y, w):
    objective = fm.Objective(net, X, y, l2=1e-3)
    value, gradient = objective.value_and_gradient(w)
    curve = objective.along(w, -gradient)
    kept, not_kept = few_steps(net, X, y, w), few_steps(net, X, y, w, kept_bytes=0)
    return {
        "value": value,
        "gradient": gradient,
        "slope": curve.derivative(0.3),
        "hessian": objective.hessian_vector(w, gradient),
        "kept": kept.x,
        "kept's values": kept.history.value,
        "not kept": not_kept.x,
        "minimize": fm.minimize(objective, w, max_iter=3).x,
    }


def of_run(result):
    arrays = {name: value for name, value in result.history.items() if name != "seconds"}
    return {"x": result.x, **arrays}


def check_same(compute, sparse, dense):
    found, expected = compute(sparse), compute(dense)
    check_same_results(
        {name: np.asarray(value) for name, value in found.items()},
        {name: np.asarray(value) for name, value in expected.items()},
    )


# The network and full gradients --------------------------------------------------------------


@pytest.mark.parametrize("container", CONTAINERS.values(), ids=CONTAINERS.keys())
def test_every_format(container, rng):
    net, X, y, w = problem(rng)
    given_X = container(X)
    check_same(lambda X: of_network(net, X, y, w), given_X, X)
    assert (given_X.toarray() == X).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("of", ["?", "i1", "u1", "i4", "i8", "f4", "f8", "g"])
def test_every_dtype(of, dtype, rng):
    net, X, y, w = problem(rng, dtype, of=of)
    check_same(lambda X: of_network(net, X, y, w), sp.csr_array(X), X)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FEW)
def test_objectives(name, dtype, rng):
    net, X, y, w = problem(rng, dtype)
    check_same(lambda X: of_objective(net, X, y, w), CONTAINERS[name](X), X)


@pytest.mark.parametrize("n", [1, 2, 257, 1031])
@pytest.mark.parametrize("n_in", [1, 8, 300])
def test_sizes(n, n_in, rng):
    net = network(n_in=n_in)
    X, y, w = numbers(rng, n, n_in), truth(net, n, rng), parameters(net, rng)
    check_same(
        lambda X: {"predict": net.predict(w, X), "gradient": net.gradient(w, X, y)},
        sp.csr_matrix(X),
        X,
    )


def test_nothing_but_zeros(rng):
    net, X, y, w = problem(rng)
    nothing = sp.csr_array(X.shape)
    assert nothing.nnz == 0
    check_same(lambda X: of_network(net, X, y, w), nothing, np.zeros_like(X))


@given(seed=st.integers(0, 2**32 - 1), container=st.sampled_from(["csr_array", "coo_matrix"]))
def test_numbers_stored_in_any_order(seed, container):
    """Unsorted columns, zeros that are stored, and two numbers in one place, which add up."""
    rng = np.random.default_rng(seed)
    net = network()
    w, rows, columns = parameters(net, rng), rng.integers(5, size=20), rng.integers(N_IN, size=20)
    places = rows * N_IN + columns
    once = [k for k in range(20) if (places[:k] == places[k]).sum() < 2]
    data = rng.standard_normal(20).round(1)[once]
    X = sp.coo_array((data, (rows[once], columns[once])), shape=(5, N_IN))
    if container == "csr_array":  # SciPy's own conversion would sort and add
        order = np.argsort(X.row, kind="stable")
        ends = np.searchsorted(X.row[order], np.arange(6))
        X = sp.csr_array((X.data[order], X.col[order], ends), shape=X.shape)
    before = pickle.dumps((X.data, X.nnz))
    assert same_bits(net.predict(w, X), net.predict(w, X.toarray()))
    assert pickle.dumps((X.data, X.nnz)) == before


# Solvers -------------------------------------------------------------------------------------

OPTIONS = [
    {},
    {"order": "sequential"},
    {"order": "replacement", "average": True},
    {"sample_weight": np.arange(N) % 3, "class_weight": "balanced", "reduction": "sum"},
    {"rule": "adam", "dropout": [0.2, 0.5], "clip_norm": 0.1, "l1": 1e-4},
    {"validation": 0.3, "scoring": "accuracy", "patience": 1},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: ", ".join(options) or "plain")
@pytest.mark.parametrize("name", FEW)
def test_minibatch_sgd(name, options, rng):
    net, X, y, w = problem(rng, of="f4")
    for batch_size in (1, 7, 13, N, None):

        def train(X, batch_size=batch_size):
            given_options = {"step": 0.02, "epochs": 2, "rng": 5, **options}
            return of_run(fm.minibatch_sgd(net, X, y, w, batch_size=batch_size, **given_options))

        check_same(train, CONTAINERS[name](X), X)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", ["sgd", "momentum"])
def test_sgd(rule, dtype, rng):
    net, X, y, w = problem(rng, dtype)
    options = {"rule": rule, "step": 0.01, "epochs": 2, "rng": 5, "validation": 0.25}
    check_same(lambda X: of_run(fm.sgd(net, X, y, w, **options)), sp.csr_array(X), X)


def test_epochs_in_several_conversions(rng, monkeypatch):
    monkeypatch.setattr("fastmlp.solvers.samples.CONVERTED_BYTES", 20 * N_IN * 4)
    net, X, y, w = problem(rng)

    def train(X):
        return of_run(fm.minibatch_sgd(net, X, y, w, batch_size=7, epochs=2, rng=0))

    check_same(train, sp.csr_array(X), X)


@pytest.mark.parametrize("name", FEW)
def test_validation_samples(name, rng):
    """Sparse beside dense ones, dense beside sparse ones, and both."""
    net, X, y, w = problem(rng)
    sparse, found = CONTAINERS[name](X), []
    for train, validate in ((X, X), (sparse, X), (X, sparse), (sparse, sparse)):
        options = {"validation": (validate, y, np.arange(N)), "scoring": "neg_log_loss"}
        result = fm.minibatch_sgd(net, train, y, w, rng=0, epochs=2, **options)
        found.append({name: np.asarray(value) for name, value in of_run(result).items()})
    for other in found[1:]:
        check_same_results(other, found[0])


@pytest.mark.parametrize("kind", ["matrix", "array"])
def test_a_scorer_of_ones_own_gets_a_sparse_matrix(kind, rng):
    net, X, y, w = problem(rng)
    sparse, seen = CONTAINERS[f"csr_{kind}"](X), []

    def scorer(model, X_val, y_val):
        seen.append(X_val)
        assert same_bits(model.outputs(X_val), net.predict(model.w, X_val.toarray()))
        half = X_val[: len(y_val) // 2]
        assert same_bits(model.predict_proba(half), model.predict_proba(X_val)[: half.shape[0]])
        return 0.5

    fm.minibatch_sgd(net, sparse, y, w, rng=0, validation=0.3, scoring=scorer)
    fm.minibatch_sgd(net, X, y, w, rng=0, validation=(sparse, y), scoring=scorer)
    share, given_X = seen
    assert type(share) is type(sparse)
    assert share.shape == (18, N_IN)
    assert {tuple(row) for row in share.toarray()} <= {tuple(row) for row in X}
    assert given_X is sparse


# Objectives as objects -----------------------------------------------------------------------


def test_an_objective_keeps_X_and_can_be_pickled(rng):
    net, X, y, w = problem(rng)
    sparse = sp.csr_array(X)
    objective = fm.Objective(net, sparse, y)
    assert objective.X is sparse
    assert fm.Objective(net, sp.csc_matrix(X), y).X.format == "csr"
    assert repr(objective) == repr(fm.Objective(net, X, y))
    copy = pickle.loads(pickle.dumps(objective))
    assert same_bits(copy.gradient(w), fm.Objective(net, X, y).gradient(w))


# Errors --------------------------------------------------------------------------------------

CALLS = {
    "predict": lambda net, X, y, w: net.predict(w, X),
    "loss": lambda net, X, y, w: net.loss(w, X, y),
    "objective": lambda net, X, y, w: fm.Objective(net, X, y),
    "sgd": lambda net, X, y, w: fm.sgd(net, X, y, w),
    "validation": lambda net, X, y, w: fm.sgd(net, np.ones((N, N_IN)), y, w, validation=(X, y)),
}


@pytest.fixture(params=CALLS.values(), ids=CALLS.keys())
def call(request):
    return request.param


@pytest.mark.parametrize("name", FEW)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("chunk", [1, 50, 2**20])
def test_a_number_that_is_not_finite(chunk, value, name, call, rng, monkeypatch):
    """The error is that of the dense array, place included: of the first such number."""
    monkeypatch.setattr("fastmlp.validation.CHUNK_NUMBERS", chunk)
    net, X, y, w = problem(rng)
    X[37, 5] = X[37, 8] = X[60, 0] = value
    with pytest.raises(ValueError, match=r"X\[37, 5\] is") as of_dense:
        call(net, X, y, w)
    with pytest.raises(ValueError, match=r"X\[37, 5\] is") as of_sparse:
        call(net, CONTAINERS[name](X), y, w)
    assert str(of_sparse.value) == str(of_dense.value)


def test_numbers_that_add_up_to_more_than_the_largest():
    net = network()
    data, columns = np.float32([1, 3e38, 3e38]), [8, 2, 2]
    X = sp.csr_array((data, columns, [0, 0, 3]), shape=(2, N_IN))
    with pytest.raises(ValueError, match=r"X\[1, 2\] is inf"):
        net.predict(net.init(0), X)
    assert X.data.tolist() == data.tolist()


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (sp.csr_array((N, N_IN + 1)), "X has 10 features, the network expects 9"),
        (sp.coo_array(np.ones(N_IN)), r"X must be 2-D .* got 1-D; .* X.reshape\(1, -1\)"),
        (sp.csr_matrix((0, N_IN)), "X is empty"),
        (sp.csc_array((N, N_IN), dtype=complex), "X must hold real numbers; got dtype complex128"),
    ],
    ids=["width", "1-D", "empty", "complex"],
)
def test_bad_X(X, message, call, rng):
    net, _, y, w = problem(rng)
    with pytest.raises(ValueError, match=message):
        call(net, X, y, w)


def test_one_sample_as_the_error_says(rng):
    net, X, _, w = problem(rng)
    row = sp.coo_array(X[3])
    assert same_bits(net.predict(w, row.reshape(1, -1)), net.predict(w, X[3:4]))


def test_rows_that_do_not_fit_y(rng):
    net, X, y, w = problem(rng)
    with pytest.raises(ValueError, match="y has 60 samples, X has 61"):
        net.loss(w, sp.csr_array(X), y[:-1])


@pytest.mark.parametrize("sparse_X", [False, True])
def test_y_must_be_dense(sparse_X, rng):
    net, X, y, w = problem(rng, output="identity")
    X = sp.csr_array(X) if sparse_X else X
    with pytest.raises(ValueError, match=r"y must be a dense array; .* csr_matrix.*y\.toarray\(\)"):
        net.loss(w, X, sp.csr_matrix(y))


def test_what_is_sparse_but_not_of_scipy(rng):
    class Other:
        def toarray(self):
            raise AssertionError("never called")

    net, _, _, w = problem(rng)
    with pytest.raises(ValueError, match="X must be a dense array; got a sparse Other"):
        net.predict(w, Other())


def test_validation_that_is_no_pair(rng):
    net, X, y, w = problem(rng)
    with pytest.raises(ValueError, match=r"validation must be .* got an array of shape \(61, 9\)"):
        fm.sgd(net, X, y, w, validation=sp.csr_array(X))
