"""Statistics of columns, and rows scaled by them."""

import threading

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as of_numpy
from numpy._core import _multiarray_umath

import fastmlp as fm
import naive_statistics
from cases import run_child, same_bits
from cases_runs import MEBIBYTE, peak_of
from cases_sources import Stored
from fastmlp.sources import moments, scaling
from fastmlp.sources.subset import Subset

EPS = np.finfo(np.float64).eps
FIELDS = ("mean", "deviation", "least", "greatest")
SHAPES = [(1, 1), (2, 1), (3, 2), (7, 300), (65537, 1), (1013, 65), (131, 1031), (3, 65537)]


def few_numbers(monkeypatch, n=30):
    """Have blocks of few numbers."""
    monkeypatch.setattr(moments, "BLOCK_NUMBERS", n)
    monkeypatch.setattr(scaling, "BLOCK_NUMBERS", n)


def poison(monkeypatch):
    """Have new memory hold NaN."""
    empty = np.empty

    def poisoned(shape, dtype=float, **given):
        array = empty(shape, dtype, **given)
        array.fill(np.nan if array.dtype.kind == "f" else 113)
        return array

    monkeypatch.setattr(np, "empty", poisoned)


def require_equal(found, other):
    """Raise AssertionError where statistics differ in a bit."""
    assert found.n == other.n
    for name in FIELDS:
        assert same_bits(getattr(found, name), getattr(other, name)), name


def require_near(found, X, weights=None):
    """Raise AssertionError where statistics are not the twin's, to rounding."""
    mean, deviation, least, greatest = naive_statistics.statistics(X, weights)
    spread = greatest - least
    assert found.n == len(X)
    assert (abs(found.mean - mean) <= EPS * (abs(mean) + 16 * spread)).all()
    assert (abs(found.deviation - deviation) <= 32 * EPS * spread + 1e-160).all()
    np.testing.assert_array_equal(found.least, least)
    np.testing.assert_array_equal(found.greatest, greatest)
    assert all(getattr(found, name).dtype == np.float64 for name in FIELDS)


# Statistics ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_statistics_are_the_twins(rng, shape, monkeypatch):
    poison(monkeypatch)
    X = rng.normal(size=shape) * 10.0 ** rng.integers(-3, 4, shape[1]) + rng.normal(size=shape[1])
    found = fm.sources.statistics(X)
    if X.size < 20000:
        require_near(found, X)
    np.testing.assert_allclose(found.mean, X.mean(axis=0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.deviation, X.std(axis=0), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("offset", [1e9, -1e12, 1e15])
def test_a_large_offset_costs_no_digits(rng, offset, monkeypatch):
    few_numbers(monkeypatch, 60)
    X = offset + rng.normal(size=(997, 3))
    require_near(fm.sources.statistics(X), X)


def test_outliers_in_the_first_row(rng, monkeypatch):
    few_numbers(monkeypatch)
    X = rng.normal(size=(499, 3))
    X[0] = [1e6, -1e9, 1e3]
    require_near(fm.sources.statistics(X), X)


@pytest.mark.parametrize("number", [0.1, -1e300, 1e-310, 0.0, -0.0, 3.0])
def test_constant_columns_are_exact(number):
    found = fm.sources.statistics(np.full((1003, 2), number))
    assert found.deviation.tolist() == [0, 0]
    assert found.mean.tolist() == found.least.tolist() == found.greatest.tolist() == [number] * 2
    assert not np.signbit([found.mean[number == 0], found.least[number == 0]]).any() or number


TABLES = of_numpy.arrays(
    np.float64,
    st.tuples(st.integers(1, 40), st.integers(1, 4)),
    elements=st.floats(-1e6, 1e6, allow_subnormal=False).map(lambda x: round(x, 6)),
)


@given(TABLES, st.integers(1, 50))
def test_statistics_of_any_table(X, n_numbers):
    with pytest.MonkeyPatch.context() as patch:
        few_numbers(patch, n_numbers)
        require_near(fm.sources.statistics(X), X)


@given(TABLES, st.integers(1, 50), st.data())
def test_weights(X, n_numbers, data):
    weight = st.one_of(st.just(0.0), st.floats(1e-9, 1e9), st.integers(1, 3).map(float))
    weights = data.draw(of_numpy.arrays(np.float64, len(X), elements=weight))
    weights[data.draw(st.integers(0, len(X) - 1))] = 1.0
    with pytest.MonkeyPatch.context() as patch:
        few_numbers(patch, n_numbers)
        found = fm.sources.statistics(X, weights)
        counted = weights > 0
        require_near(found, X[counted], weights[counted])
        require_equal(fm.sources.statistics(X[counted], weights[counted]), found)
        require_equal(fm.sources.statistics(X, 2.0**-500 * weights), found)
        require_equal(fm.sources.statistics(sp.csr_array(X), weights), found)
        equal = fm.sources.statistics(X, np.full(len(X), 1.0))
        require_near(equal, X)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, 2], r"sample_weight has shape \(2,\), expected \(3,\)"),
        ([1, -1, 2], "sample_weight must be 0 or more"),
        ([0, 0, 0], "sample_weight must not be all zero"),
        ([1, np.nan, 0], r"sample_weight must be finite; sample_weight\[1\]"),
    ],
)
def test_wrong_weights(weights, message):
    with pytest.raises(ValueError, match=message):
        fm.sources.statistics(np.zeros((3, 2)), weights)


@given(TABLES, st.integers(-30, 30))
def test_powers_of_two_scale_statistics_exactly(X, exponent):
    found, other = fm.sources.statistics(X), fm.sources.statistics(np.ldexp(X, exponent))
    for name in FIELDS:
        assert np.ldexp(getattr(found, name), exponent).tolist() == getattr(other, name).tolist()


@given(TABLES, st.integers(-(2**40), 2**40))
def test_whole_numbers_shift_statistics_exactly(X, offset):
    X = X.round()
    found, other = fm.sources.statistics(X), fm.sources.statistics(X + offset)
    assert same_bits(found.deviation, other.deviation)
    assert (found.least + offset).tolist() == other.least.tolist()
    assert (abs(found.mean + offset - other.mean) <= EPS * (abs(found.mean) + abs(offset))).all()


@given(TABLES, TABLES)
def test_statistics_of_parts_make_those_of_the_whole(X, other):
    k = min(X.shape[1], other.shape[1])
    parts = [X[:, :k], other[:, :k]]
    a, b = map(fm.sources.statistics, parts)
    whole = fm.sources.statistics(np.vstack(parts))
    n = a.n + b.n
    mean = (a.n * a.mean + b.n * b.mean) / n
    squares = (a.n * (a.deviation**2 + a.mean**2) + b.n * (b.deviation**2 + b.mean**2)) / n
    size = np.maximum(abs(whole.least), abs(whole.greatest))
    assert (abs(whole.mean - mean) <= 8 * EPS * size).all()
    assert (abs(whole.deviation**2 - (squares - mean**2)) <= 64 * EPS * size**2).all()
    np.testing.assert_array_equal(whole.least, np.minimum(a.least, b.least))
    np.testing.assert_array_equal(whole.greatest, np.maximum(a.greatest, b.greatest))


def stored_otherwise(X):
    """Yield the same numbers, stored otherwise, and their names."""
    wide = np.full((2 * len(X), 3 * X.shape[1]), 99, X.dtype)
    wide[::2, ::3] = X
    yield "strided", wide[::2, ::3]
    yield "Fortran", np.asfortranarray(X)
    yield "reversed", X[::-1, ::-1].copy()[::-1, ::-1]
    yield "swapped", X.astype(X.dtype.newbyteorder())
    yield "source", Stored(X)
    yield "subset", Subset(np.vstack([X[:1] + 1, X]), np.arange(1, len(X) + 1))
    for form in (sp.csr_matrix, sp.csc_array, sp.coo_array):
        if X.dtype != "f2":  # which SciPy does not know
            yield form.__name__, form(X)


@pytest.mark.parametrize("dtype", ["?", "u1", "i2", "i4", "i8", "u8", "f2", "f4", "f8"])
def test_the_bits_are_those_of_the_numbers(rng, dtype, monkeypatch):
    few_numbers(monkeypatch, 100)
    for shape in ((211, 7), (211, 1)):
        X = (rng.integers(0, 2, shape) * rng.integers(0, 120, shape)).astype(dtype)
        X = X / 7 if dtype == "f8" else X
        expected = fm.sources.statistics(X.astype(np.float64))
        for name, stored in (("plain", X), *stored_otherwise(X)):
            try:
                require_equal(fm.sources.statistics(stored), expected)
            except AssertionError as error:
                raise AssertionError(name) from error


def test_zeros_have_no_sign_that_depends_on_the_order():
    for column in ([0.0, -0.0], [-0.0, 0.0], [-0.0, -0.0]):
        found = fm.sources.statistics(np.array([column]).T)
        assert not np.signbit([found.least, found.greatest, found.mean]).any()


def test_each_row_is_read_once(rng, monkeypatch):
    few_numbers(monkeypatch)
    source = Stored(rng.normal(size=(1001, 2)))
    fm.sources.statistics(source)
    assert source.n_read == 1002  # the first one is what all others are compared with


def test_statistics_take_memory_for_a_block_only():
    X = np.broadcast_to(np.arange(100.0), (200_000, 100))
    assert peak_of(lambda: fm.sources.statistics(X)) < 2 * MEBIBYTE
    Z = fm.sources.scaled(X, np.zeros(100), np.ones(100))
    assert peak_of(lambda: fm.sources.statistics(Z)) < 2 * MEBIBYTE


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_told(rng, value, monkeypatch):
    few_numbers(monkeypatch)
    X = rng.normal(size=(101, 3)) * (rng.random((101, 3)) < 0.5)
    X[77, 1] = value
    for given_ in (X, X.astype("f4"), sp.csr_array(X), Stored(X)):
        place = rf"(X\[77, 1\]|row 77, column 1) is {value}"
        with pytest.raises(ValueError, match=rf"X must be finite; {place}"):
            fm.sources.statistics(given_)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros((0, 3)), "X is empty"),
        (np.zeros(3), "2-D"),
        ([["a"]], "X must hold real numbers"),
        (np.zeros((1, 1), complex), "X must hold real numbers"),
        (sp.csr_array((2, 2), dtype=complex), "X must hold real numbers"),
        (np.array([[1, 0], [2, 1e200], [3, 0]]), r"X\[:, 1\] has numbers between 0.0 and 1e\+200"),
        (np.array([[-1e308], [1e308]]), "beyond the range of float64"),
    ],
    ids=str,
)
def test_what_has_no_statistics(X, message):
    with pytest.raises(ValueError, match=message):
        fm.sources.statistics(X)


OF_SHAPES = """
import hashlib, json
import numpy as np
import fastmlp as fm

hashed, rng = hashlib.sha256(), np.random.default_rng(0)
for shape in ((1000, 1), (999, 2), (1013, 65), (7, 300)):
    X = rng.normal(size=shape).round(1)
    found = fm.sources.statistics(np.where(X == 0, rng.choice([0.0, -0.0], shape), X))
    for numbers in (found.mean, found.deviation, found.least, found.greatest):
        hashed.update(numbers.tobytes())
print(json.dumps(hashed.hexdigest()))
"""


def test_the_bits_do_not_depend_on_the_cpu():
    features = _multiarray_umath.__cpu_features__
    fast = " ".join(name for name in _multiarray_umath.__cpu_dispatch__ if features[name])
    if not fast:
        pytest.skip("this NumPy has nothing else for this CPU")
    slow = run_child("-c", OF_SHAPES, NPY_DISABLE_CPU_FEATURES=fast)
    assert run_child("-c", OF_SHAPES, NPY_DISABLE_CPU_FEATURES=None) == slow


# Scaled rows ---------------------------------------------------------------------------------

ARITHMETIC = {"?": "f4", "u1": "f4", "i2": "f4", "u2": "f4", "f2": "f4", "f4": "f4"}
ARITHMETIC |= {"i4": "f8", "u8": "f8", "f8": "f8", "g": "f8"}


@pytest.mark.parametrize("dtype", ARITHMETIC)
@pytest.mark.parametrize("out_dtype", ["f4", "f8", "f2"])
def test_scaled_rows(rng, dtype, out_dtype, monkeypatch):
    few_numbers(monkeypatch)
    poison(monkeypatch)
    X = (rng.normal(size=(101, 3)) * 30).clip(0).astype(dtype)
    shift, factor = rng.normal(size=3), rng.uniform(0.1, 2, 3)
    a = ARITHMETIC[dtype]
    whole = ((X.astype(a) - shift.astype(a)) * factor.astype(a)).astype(out_dtype)
    rows = rng.integers(0, 101, 67)
    formats = [X, np.asfortranarray(X), Stored(X), Stored(X, True)]
    if dtype != "f2":  # which SciPy does not know
        formats.append(sp.csr_array(X))
    for given_ in formats:
        Z = fm.sources.scaled(given_, shift, factor)
        assert (Z.shape, Z.dtype, len(Z)) == ((101, 3), np.dtype(a), 101)
        for some in (slice(0, 101), slice(13, 57), slice(5, 5), rows):
            wide = np.empty((len(whole[some]), 7), out_dtype)
            Z.read(some, out := wide[:, 1::2])
            assert same_bits(out.copy(), whole[some])
            assert np.isnan(wide[:, ::2]).all()
        assert same_bits(Z[:], ((X.astype(a) - shift.astype(a)) * factor.astype(a)))


def test_scaled_rows_are_otherwise_as_the_source(rng):
    X = rng.normal(size=(5, 2))
    for has_random_access in (True, False):
        source = Stored(X, has_random_access)
        Z = fm.sources.scaled(source, [0, 0], [1, 1])
        assert Z.has_random_access is has_random_access
        assert (Z.names, Z.n_dropped, Z.memory_limit) == (["x0", "x1"], 3, 12345)
        assert Z.y is source.y
        some = Subset(Z, np.array([3, 1]))
        assert some.y.tolist() == [3, 1]
        np.testing.assert_array_equal(some[:], X[[3, 1]])
        np.testing.assert_array_equal(some[np.array([1])], X[[1]])
    for array in (X, sp.csr_array(X)):
        Z = fm.sources.scaled(array, [0, 0], [1, 1])
        assert Z.has_random_access
        assert (Z.names, Z.y, Z.n_dropped) == (None, None, 0)


@pytest.mark.parametrize(
    ("shift", "factor"), [([1e50], [1]), ([0], [1e50]), ([0], [1e-50]), ([1e-50], [1])]
)
def test_what_float32_cannot_hold_is_computed_in_float64(shift, factor):
    Z = fm.sources.scaled(np.array([[2], [3]], np.uint8), shift, factor)
    assert Z.dtype == np.float64
    assert Z[:].tolist() == ((np.array([[2.0], [3]]) - shift) * factor).tolist()


def test_what_is_beyond_the_range_is_told(monkeypatch):
    few_numbers(monkeypatch, 4)
    X = np.ones((9, 2))
    X[7, 1] = 1e300
    Z = fm.sources.scaled(X, [0, 0], [1, 1e10])
    message = r"X\[7, 1\] is 1e\+300, which scaled is beyond the range of float"
    for rows in (slice(2, 9), np.array([1, 7, 2])):
        for dtype in ("f4", "f8"):
            with pytest.raises(ValueError, match=message):
                Z.read(rows, np.empty((len(np.r_[rows]), 2), dtype))
    X[7, 1] = np.nan  # not ours to judge
    assert np.isnan(Z[:][7, 1])


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("shift", [1, 2], r"shift has shape \(2,\), expected \(3,\)"),
        ("shift", 1.0, r"shift has shape \(\), expected \(3,\)"),
        ("factor", [[1, 2, 3]], r"factor has shape \(1, 3\), expected \(3,\)"),
        ("factor", [1, np.nan, 3], r"factor must be finite; factor\[1\] is nan"),
        ("factor", [1, 2, 3j], "factor must hold real numbers"),
    ],
)
def test_wrong_arguments(name, value, message):
    arguments = {"shift": [0, 0, 0], "factor": [1, 1, 1], name: value}
    with pytest.raises(ValueError, match=message):
        fm.sources.scaled(np.zeros((2, 3)), **arguments)


def test_threads_may_read_at_once(rng):
    X = rng.normal(size=(3000, 5))
    Z = fm.sources.scaled(X, np.arange(5.0), np.arange(1.0, 6))
    expected = ((X - np.arange(5)) * np.arange(1, 6)).astype("f4")
    wrong = []

    def read(start):
        out = np.empty((1000, 5), "f4")
        for _ in range(50):
            Z.read(slice(start, start + 1000), out)
            if not same_bits(out, expected[start : start + 1000]):
                wrong.append(start)

    threads = [threading.Thread(target=read, args=(start,)) for start in (0, 777, 2000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@given(TABLES)
def test_columns_scaled_by_their_own_statistics(X):
    found = fm.sources.statistics(X)
    spread = found.greatest - found.least
    factor = 1 / np.where(spread > 0, spread, 1)
    Z = fm.sources.scaled(X, found.least, factor)[:]
    assert Z.min() == 0
    assert Z.max() <= 1
    assert (Z.max(axis=0) >= 1 - EPS)[spread > 0].all()


# In the place of arrays ----------------------------------------------------------------------


def test_networks_and_solvers_take_them(rng):
    """The results of the array, bit for bit."""
    net = fm.Network([3, 9, 2], output="softmax")
    X, w = rng.normal(size=(151, 3)).astype("f4"), net.init(rng=0)
    y = (X[:, 0] > 0).astype(int)
    shift, factor = np.array([1.0, 2, 3]), np.array([2.0, 3, 0.1])
    Z = fm.sources.scaled(X, shift, factor)
    array = Z[:]
    assert same_bits(net.predict(w, Z), net.predict(w, array))
    assert same_bits(net.gradient(w, Z, y), net.gradient(w, array, y))
    assert same_bits(net.sample_gradients(w, Z, y), net.sample_gradients(w, array, y))
    assert net.loss(w, Z, y) == net.loss(w, array, y)
    how = {"epochs": 3, "batch_size": 16, "rng": 0, "step": 0.1}
    for more in ({}, {"validation": 0.2}, {"validation": 0.2, "scoring": "accuracy"}):
        ours = fm.minibatch_sgd(net, Z, y, w, **how, **more)
        theirs = fm.minibatch_sgd(net, array, y, w, **how, **more)
        assert same_bits(ours.x, theirs.x)
        for name in set(ours.history) - {"seconds"}:
            assert same_bits(ours.history[name], theirs.history[name]), name
    ours, theirs = (fm.minimize(fm.Objective(net, one, y), w, max_iter=3) for one in (Z, array))
    assert same_bits(ours.x, theirs.x)
