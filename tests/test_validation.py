"""Bad arguments: each error names the argument, what was expected and what came."""

import re

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import fastmlp as fm

WRONG_TYPE = (TypeError, ValueError)  # arrays of a wrong type: NumPy itself raises either
N, N_IN, N_OUT = 6, 4, 3
NAN, INF = np.nan, np.inf


def says(*parts):
    """Pattern that finds every part, in any order, as words of their own; alternatives by |."""
    return "(?s)" + "".join(
        "(?=.*" + "|.*".join(rf"(?<!\w){re.escape(p)}(?!\w)" for p in str(part).split("|")) + ")"
        for part in parts
    )


PREDICT = {
    "predict": lambda net, w, X, y: net.predict(w, X),
    "jacobian": lambda net, w, X, y: net.jacobian(w, X),
}
SOLVERS = {
    "sgd": lambda net, w, X, y, **options: fm.sgd(net, X, y, w, rng=0, **options),
    "minibatch_sgd": lambda net, w, X, y, **options: fm.minibatch_sgd(
        net, X, y, w, rng=0, **options
    ),
}
SUPERVISED = {
    "loss": lambda net, w, X, y, **options: net.loss(w, X, y, **options),
    "gradient": lambda net, w, X, y, **options: net.gradient(w, X, y, **options),
    "sample_gradients": lambda net, w, X, y: net.sample_gradients(w, X, y),
    **SOLVERS,
}
CALLS = {**PREDICT, **SUPERVISED}
REDUCING = {
    "loss": SUPERVISED["loss"],
    "gradient": SUPERVISED["gradient"],
    "minibatch_sgd": SUPERVISED["minibatch_sgd"],
}


def each(calls):
    return pytest.mark.parametrize("call", calls.values(), ids=calls.keys())


def network(loss="squared_error", **given):
    return fm.Network([N_IN, 5, N_OUT], loss=loss, **given)


def features():
    return np.random.default_rng(0).normal(size=(N, N_IN)).astype(np.float32)


def targets(loss="squared_error"):
    if loss == "cross_entropy":
        return np.array([0, 1, 2, 2, 1, 0])
    return np.random.default_rng(1).uniform(size=(N, N_OUT)).astype(np.float32)


def replaced(array, value, at=(2, 1)):
    array = array.copy()
    array[at] = value
    return array


def fails(error, match, call, net, w, X, y, **options):
    """The call raises, and leaves w as it was, bit for bit."""
    before = np.copy(w).tobytes()
    with pytest.raises(error, match=match):
        call(net, w, X, y, **options)
    assert np.asarray(w).tobytes() == before


# X -------------------------------------------------------------------------------------------


@each(CALLS)
@pytest.mark.parametrize(
    ("X", "error", "parts"),
    [
        (features()[:, :3], ValueError, ["X", 3, 4]),
        (np.ones((N, 783)), ValueError, ["X", 783, 4]),
        (features()[0], ValueError, ["X", "(4,)|1-D|1D|1"]),
        (features()[None], ValueError, ["X", "(1, 6, 4)|3-D|3D|3"]),
        (np.float32(1), ValueError, ["X", "()|0-D|0D|0"]),
        (features()[:0], ValueError, ["X", "0|empty|no rows|no samples"]),
        (replaced(features(), NAN), ValueError, ["X", "NaN|nan"]),
        (replaced(features(), INF), ValueError, ["X", "inf|infinity|infinite"]),
        (replaced(features(), -INF), ValueError, ["X", "inf|-inf|infinity|infinite"]),
        (features().astype(complex), WRONG_TYPE, ["X", "complex128|complex"]),
        (np.full((N, N_IN), "one"), WRONG_TYPE, ["X", "<U3|str|string|strings"]),
        (np.full((N, N_IN), object()), WRONG_TYPE, ["X", "object|objects"]),
        ([[1, 2, 3, 4], [5, 6]], WRONG_TYPE, ["X"]),
        (None, WRONG_TYPE, ["X"]),
    ],
    ids=[
        "too-few-features", "too-many-features", "1-D", "3-D", "0-D", "empty", "nan", "inf",
        "minus-inf", "complex", "strings", "objects", "ragged", "None",
    ],
)  # fmt: skip
def test_bad_X(call, X, error, parts):
    net = network()
    n_rows = len(X) if np.iterable(X) else N
    fails(error, says(*parts), call, net, net.init(rng=0), X, np.zeros((n_rows, N_OUT)))


@each(CALLS)
def test_nan_in_the_last_row_of_many(call):
    """Also where only the last of many rows and columns is bad, and X is float64."""
    net = fm.Network([3, 1])
    X, y = np.zeros((5001, 3)), np.zeros(5001)
    X[-1, -1] = NAN
    fails(ValueError, says("X", "NaN|nan"), call, net, net.init(rng=0), X, y)


# y -------------------------------------------------------------------------------------------


@each(SUPERVISED)
@pytest.mark.parametrize(
    ("y", "error", "parts"),
    [
        (targets()[:5], ValueError, ["X", "y", 5, 6]),
        (np.zeros((7, N_OUT)), ValueError, ["X", "y", 7, 6]),
        (targets()[:, :2], ValueError, ["y", 2, 3]),
        (targets()[:, 0], ValueError, ["y", "(6,)|1-D|1D|1", 3]),
        (targets()[:, :, None], ValueError, ["y", "(6, 3, 1)|3-D|3D"]),
        (np.float32(1), ValueError, ["y", "()|0-D|0D|0"]),
        (replaced(targets(), NAN), ValueError, ["y", "NaN|nan"]),
        (replaced(targets(), INF), ValueError, ["y", "inf|infinity|infinite"]),
        (targets().astype(complex), WRONG_TYPE, ["y", "complex128|complex"]),
        (np.full((N, N_OUT), "one"), WRONG_TYPE, ["y", "<U3|str|string|strings"]),
        (np.full((N, N_OUT), object()), WRONG_TYPE, ["y", "object|objects"]),
        (None, WRONG_TYPE, ["y"]),
    ],
    ids=[
        "too-few-rows", "too-many-rows", "too-few-columns", "1-D", "3-D", "0-D", "nan", "inf",
        "complex", "strings", "objects", "None",
    ],
)  # fmt: skip
def test_bad_y(call, y, error, parts):
    net = network()
    fails(error, says(*parts), call, net, net.init(rng=0), features(), y)


LABELS = targets("cross_entropy")
ROWS = np.full((N, N_OUT), [0.25, 0.25, 0.5])


@each(SUPERVISED)
@pytest.mark.parametrize(
    ("y", "parts"),
    [
        (LABELS[:5], ["X", "y", 5, 6]),
        (replaced(LABELS, 3, at=-1), ["y", 3]),
        (replaced(LABELS, 17, at=2), ["y", 17]),
        (replaced(LABELS, -1, at=2), ["y", -1]),
        (replaced(LABELS.astype(np.int8), -128, at=2), ["y", -128]),
        (replaced(LABELS, 2**32, at=2), ["y", 2**32]),
        (replaced(LABELS.astype(float), 1.5, at=2), ["y", 1.5]),
        (replaced(LABELS.astype(float), NAN, at=2), ["y", "NaN|nan"]),
        (LABELS[:, None], ["y", "(6, 1)|1", 3]),
        (ROWS[:5], ["X", "y", 5, 6]),
        (ROWS[:, :2] * 2, ["y", 2, 3]),
        (replaced(ROWS, [-0.5, 0.5, 1.0], at=3), ["y", -0.5]),
        (replaced(ROWS, [0.25, 0.25, 0.0], at=3), ["y", 0.5]),
        (replaced(ROWS, [0.5, 0.5, 0.5], at=3), ["y", 1.5]),
        (replaced(ROWS, [NAN, 0.5, 0.5], at=3), ["y", "NaN|nan"]),
    ],
    ids=[
        "too-few-labels", "label-3", "label-17", "negative-label", "int8", "beyond-int32",
        "fraction", "nan-label", "column-of-labels", "too-few-rows", "two-columns",
        "negative-probability", "sum-too-small", "sum-too-large", "nan-probability",
    ],
)  # fmt: skip
def test_bad_y_of_cross_entropy(call, y, parts):
    net = network("cross_entropy")
    fails(ValueError, says(*parts), call, net, net.init(rng=0), features(), y)


@each(SUPERVISED)
@pytest.mark.parametrize("labels", [["one"] * N, [1j] * N, [None] * N], ids=str)
def test_labels_of_a_wrong_type(call, labels):
    net = network("cross_entropy")
    y = np.array(labels)
    fails(WRONG_TYPE, says("y"), call, net, net.init(rng=0), features(), y)


@each(SUPERVISED)
@pytest.mark.parametrize(
    ("value", "parts"),
    [(1.5, ["y", 1.5, 0, 1]), (-0.25, ["y", -0.25, 0, 1]), (2, ["y", "2|2.0", 0, 1]),
     (NAN, ["y", "NaN|nan"])],
)  # fmt: skip
@pytest.mark.parametrize("n_out", [1, 3])
def test_bad_y_of_binary_cross_entropy(call, n_out, value, parts):
    net = fm.Network([N_IN, 5, n_out], loss="binary_cross_entropy")
    y = replaced(targets()[:, :n_out], value, at=(2, 0))
    y = y[:, 0] if n_out == 1 else y
    fails(ValueError, says(*parts), call, net, net.init(rng=0), features(), y)


@each(SUPERVISED)
@pytest.mark.parametrize(
    ("loss", "value", "parts"),
    [
        ("hinge", 0, ["y", -1, 1, "hinge", "0|0.0"]),
        ("perceptron", 0.5, ["y", -1, 1, "perceptron", 0.5]),
        ("hinge", NAN, ["y", "NaN|nan"]),
        ("poisson", -0.25, ["y", 0, "poisson", -0.25]),
        ("poisson", INF, ["y", "inf"]),
        ("huber", NAN, ["y", "NaN|nan"]),
    ],
)
@pytest.mark.parametrize("n_out", [1, 3])
def test_bad_y_of_other_losses(call, n_out, loss, value, parts):
    net = fm.Network([N_IN, 5, n_out], loss=loss)
    y = replaced(np.ones((N, n_out), np.float32), value, at=(2, 0))
    y = y[:, 0] if n_out == 1 else y
    fails(ValueError, says(*parts), call, net, net.init(rng=0), features(), y)


@each(SUPERVISED)
def test_labels_0_and_1_are_no_signs(call):
    net = network("hinge")
    for y in (np.eye(N_OUT)[[0, 1, 2, 2, 1, 0]], np.eye(N_OUT, dtype=bool)[[0, 1, 2, 2, 1, 0]]):
        fails(ValueError, says("y", -1, 1), call, net, net.init(rng=0), features(), y)
    signs = np.where(y, np.int8(1), np.int8(-1))
    call(net, net.init(rng=0), features(), signs)


# w -------------------------------------------------------------------------------------------

GOOD_W = network().init(rng=0)


@each(CALLS)
@pytest.mark.parametrize(
    ("w", "error", "parts"),
    [
        (GOOD_W[:-1], ValueError, ["w", GOOD_W.size - 1, GOOD_W.size]),
        (np.append(GOOD_W, 0), ValueError, ["w", GOOD_W.size + 1, GOOD_W.size]),
        (GOOD_W[:0], ValueError, ["w", 0, GOOD_W.size]),
        (GOOD_W[None], ValueError, ["w", f"(1, {GOOD_W.size})|2-D|2D|2"]),
        (replaced(GOOD_W, NAN, at=3), ValueError, ["w", "NaN|nan"]),
        (replaced(GOOD_W, -INF, at=-1), ValueError, ["w", "inf|-inf|infinity|infinite"]),
        (GOOD_W.astype(complex), WRONG_TYPE, ["w", "complex128|complex"]),
        (GOOD_W.astype(str), WRONG_TYPE, ["w"]),
    ],
    ids=["short", "long", "empty", "2-D", "nan", "inf", "complex", "strings"],
)
def test_bad_w(call, w, error, parts):
    fails(error, says(*parts), call, network(), w, features(), targets())


# Options -------------------------------------------------------------------------------------


def check_option(call, error, match, **options):
    net = network()
    fails(error, match, call, net, net.init(rng=0), features(), targets(), **options)


@each(SOLVERS)
@pytest.mark.parametrize(
    ("step", "error", "parts"),
    [
        (0, ValueError, ["step", "0|0.0"]),
        (-0.5, ValueError, ["step", -0.5]),
        (NAN, ValueError, ["step", "NaN|nan"]),
        (INF, ValueError, ["step", "inf|infinity|infinite|finite"]),
        ("0.1", TypeError, ["step", "str|0.1"]),
        ([0.1], TypeError, ["step", "[0.1]"]),
    ],
    ids=str,
)
def test_bad_step(call, step, error, parts):
    check_option(call, error, says(*parts), step=step)


@each(SOLVERS)
@pytest.mark.parametrize(
    ("epochs", "error", "parts"),
    [
        (0, ValueError, ["epochs", 0]),
        (-3, ValueError, ["epochs", -3]),
        (1.5, WRONG_TYPE, ["epochs", "1.5|float"]),
        (NAN, WRONG_TYPE, ["epochs", "NaN|nan|float"]),
        ("2", TypeError, ["epochs", "str|2"]),
        (None, TypeError, ["epochs", "None|NoneType"]),
    ],
    ids=str,
)
def test_bad_epochs(call, epochs, error, parts):
    check_option(call, error, says(*parts), epochs=epochs)


@pytest.mark.parametrize(
    ("batch_size", "error", "parts"),
    [
        (0, ValueError, ["batch_size", 0]),
        (-128, ValueError, ["batch_size", -128]),
        (1.5, WRONG_TYPE, ["batch_size", "1.5|float"]),
        ("32", TypeError, ["batch_size", "str|32"]),
        ([8], TypeError, ["batch_size", "[8]"]),
    ],
    ids=str,
)
def test_bad_batch_size(batch_size, error, parts):
    check_option(SOLVERS["minibatch_sgd"], error, says(*parts), batch_size=batch_size)


@pytest.mark.parametrize("batch_size", [N + 1, 10**12])
def test_batch_larger_than_all_is_one_batch(batch_size):
    net = network()
    w, X, y = net.init(rng=0), features(), targets()
    options = {"step": 0.01, "epochs": 3, "rng": 0}
    whole = fm.minibatch_sgd(net, X, y, w, batch_size=N, **options)
    larger = fm.minibatch_sgd(net, X, y, w, batch_size=batch_size, **options)
    assert larger.nit == whole.nit == 3
    assert_array_equal(larger.x, whole.x)


@each(SOLVERS)
@pytest.mark.parametrize("order", ["sorted", "Shuffled", ""])
def test_unknown_order(call, order):
    known = says("order", "shuffled", "replacement", "sequential")
    came = f"(?=.*{re.escape(repr(order))})"
    check_option(call, ValueError, known + came, order=order)


@each(REDUCING)
@pytest.mark.parametrize("reduction", ["median", "none"])
def test_unknown_reduction(call, reduction):
    match = says("reduction", reduction, "mean", "sum")
    check_option(call, ValueError, match, reduction=reduction)


@each(REDUCING)
def test_reduction_of_a_wrong_type(call):
    check_option(call, WRONG_TYPE, says("reduction", "None"), reduction=None)


# Activations that have no gradient -----------------------------------------------------------


@each({name: call for name, call in CALLS.items() if name not in ("predict", "loss")})
@pytest.mark.parametrize("name", ["step", "sign"])
@pytest.mark.parametrize("place", ["hidden", "output"])
def test_no_gradient_through_jumps(call, place, name):
    net = network(**{place: name})
    fails(ValueError, says(name), call, net, net.init(rng=0), features(), targets())


@pytest.mark.parametrize("name", ["step", "sign"])
def test_forward_through_jumps(name):
    net = network(hidden=name, output=name)
    w = net.init(rng=0)
    assert np.isin(net.predict(w, features()), [-1, 0, 1]).all()
    assert np.isfinite(net.loss(w, features(), targets()))
