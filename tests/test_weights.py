"""Weights of samples and of classes, in losses, gradients and objectives."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight

import fastmlp as fm
import naive
from cases import DTYPES, check, parameters, problem, same_bits
from cases_curves import Case, Expected, case_of, drawn_cases, random_networks, sample_weight
from fastmlp import workspace

law = settings(deadline=None, max_examples=40)
REDUCTIONS = ("mean", "sum")
NAN, INF = np.nan, np.inf


def both(case, **more):
    """The loss and the gradient of a case's samples."""
    options = {**case.options, **more}
    arguments = case.w, case.X, case.y
    return case.net.loss(*arguments, **options), case.net.gradient(*arguments, **options)


def check_both(case, found):
    expected = Expected(case)
    for name, actual in zip(("value", "gradient"), found, strict=True):
        check(name, actual, getattr(expected, name)(), case.net.dtype)


def check_equal(case, found, other, expected, factor=1.0):
    """Results of two cases, equal up to roundings of either; `expected` is times `factor`."""
    errors = [(1, Expected(case)), (factor, Expected(other))]
    for name, actual, equal in zip(("value", "gradient"), found, expected, strict=True):
        deviation = sum(scale * getattr(error, name)()[1] for scale, error in errors)
        check(name, actual, (factor * np.float64(equal), deviation), case.net.dtype)


def same(found, expected):
    return found[0] == expected[0] and same_bits(found[1], expected[1])


def changed(case, rows=slice(None), **options):
    """The case with some of its rows, and other options."""
    X, y = case.X[rows], case.y[rows]
    return Case(case.net, X, y, case.w, case.d, {**case.options, **options})


def weighted(n, seed):
    return sample_weight(n, np.random.default_rng(seed))


# Sample weights ------------------------------------------------------------------------------


@pytest.mark.parametrize(("net", "n"), list(random_networks(48, 31)), ids=str)
def test_random_network(net, n, rng):
    reduction = str(rng.choice(REDUCTIONS))
    case = case_of(net, n, rng, sample_weight=sample_weight(n, rng), reduction=reduction)
    found = both(case)
    assert type(found[0]) is float
    assert (found[1].dtype, found[1].shape) == (net.dtype, case.w.shape)
    check_both(case, found)
    assert same(found, case.objective().value_and_gradient(case.w))


def test_more_rows_than_a_block(rng):
    net = fm.Network([3, 8, 2], output="softmax")
    n = 2 * workspace.block_rows(net) + 13
    case = case_of(net, n, rng, sample_weight=sample_weight(n, rng))
    check_both(case, both(case))


plain = drawn_cases(l2=0.0).map(lambda case: without(case, "l2"))


def without(case, name):
    options = {key: value for key, value in case.options.items() if key != name}
    return Case(case.net, case.X, case.y, case.w, case.d, options)


@law
@given(plain, st.data())
def test_weight_zero_leaves_a_sample_out(case, data):
    """Whole weights add up without rounding, and adding zeros rounds nothing."""
    n = len(case.X)
    s = np.array(data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)))
    s[data.draw(st.integers(0, n - 1))] = 2
    found = both(changed(case, sample_weight=s))
    left = both(changed(case, s > 0, sample_weight=s[s > 0]))
    assert found[0] == left[0]
    assert_array_equal(found[1], left[1])


@law
@given(plain, st.data())
def test_whole_weights_repeat_samples(case, data):
    n = len(case.X)
    s = np.array(data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)))
    s[data.draw(st.integers(0, n - 1))] = 2
    one = changed(case, sample_weight=s)
    repeated = changed(case, np.repeat(np.arange(n), s), sample_weight=None)
    check_equal(one, both(one), repeated, both(repeated))


@law
@given(plain)
def test_weights_of_one_change_no_bit(case):
    ones = np.ones(len(case.X))
    unweighted = changed(case, sample_weight=None)
    assert same(both(changed(case, sample_weight=ones)), both(unweighted))


@law
@given(plain, st.integers(-300, 300))
def test_power_of_two_changes_no_bit_of_a_mean(case, exponent):
    s = weighted(len(case.X), exponent + 300)
    found = both(case, sample_weight=s, reduction="mean")
    assert same(both(case, sample_weight=2.0**exponent * s, reduction="mean"), found)


@law
@given(plain, st.floats(0.01, 100))
def test_scale_of_weights(case, factor):
    s = weighted(len(case.X), 0)
    one, scaled = changed(case, sample_weight=s), changed(case, sample_weight=factor * s)
    factor = 1.0 if case.options["reduction"] == "mean" else factor
    check_equal(scaled, both(scaled), one, both(one), factor)


@law
@given(plain, st.floats(0, 3), st.floats(0.1, 3))
def test_sums_are_linear_in_the_weights(case, a, b):
    n = len(case.X)
    s, t = weighted(n, 1), weighted(n, 2)
    cases = [
        changed(case, sample_weight=weights, reduction="sum") for weights in (s, t, a * s + b * t)
    ]
    found = [[np.float64(part) for part in both(each)] for each in cases]
    expected = [a * one + b * other for one, other in zip(*found[:2], strict=True)]
    for place, name in enumerate(("value", "gradient")):
        E_s, E_t, E = (getattr(Expected(each), name)()[1] for each in cases)
        check(name, found[2][place], (expected[place], a * E_s + b * E_t + E), case.net.dtype)


@law
@given(plain)
def test_gradient_is_the_weighted_mean_of_sample_gradients(case):
    case = changed(case, sample_weight=weighted(len(case.X), 3))
    each = case.net.sample_gradients(case.w, case.X, case.y).astype(np.float64)
    expected = case.twin.factors() @ each, 2 * Expected(case).gradient()[1]
    check("gradient", both(case)[1], expected, case.net.dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_change_no_bit(dtype, rng):
    net = fm.Network([17, 300, 9, 4], output="softmax", dtype=dtype)
    w, X, y = problem(net, 701, rng)
    options = {"sample_weight": sample_weight(701, rng), "class_weight": {0: 0.3, 3: 7.0}}
    before, results = numba.get_num_threads(), []
    try:
        for n_threads in (1, min(2, before)):
            numba.set_num_threads(n_threads)
            results.append((net.loss(w, X, y, **options), net.gradient(w, X, y, **options)))
    finally:
        numba.set_num_threads(before)
    assert same(*results)


# Class weights -------------------------------------------------------------------------------

LABELS = {
    "cross_entropy": [0, 1, 2],
    "binary_cross_entropy": [0, 1],
    "hinge": [-1, 1],
    "perceptron": [-1, 1],
}


@pytest.fixture(params=LABELS)
def loss(request):
    return request.param


def labelled(loss, rng, n=37, dtype="float64"):
    """A network and samples whose labels all occur, the last seldom."""
    labels = np.array(LABELS[loss])
    n_out = 3 if loss == "cross_entropy" else 1
    net = fm.Network([4, 9, n_out], hidden="tanh", loss=loss, dtype=dtype)
    y = rng.permuted(np.concatenate([labels, rng.choice(labels[:-1], n - len(labels))]))
    X = rng.standard_normal((n, 4)).astype(dtype)
    return Case(net, X, y, parameters(net, rng), parameters(net, rng))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_class_weights_are_sample_weights(loss, reduction, dtype, rng):
    case = labelled(loss, rng, dtype=dtype)
    own = sample_weight(len(case.X), rng)
    some, all_of_them = {LABELS[loss][0]: 0.3}, dict(zip(LABELS[loss], rng.random(3), strict=False))
    for class_weight in (some, all_of_them, "balanced", {}):
        factors = naive.class_weights(class_weight, case.y)
        found = both(case, class_weight=class_weight, reduction=reduction)
        assert same(found, both(case, sample_weight=factors, reduction=reduction))
        weights = {"class_weight": class_weight, "sample_weight": own}
        found = both(case, **weights, reduction=reduction)
        assert same(found, both(case, sample_weight=factors * own, reduction=reduction))
        objective = fm.Objective(case.net, case.X, case.y, **weights, reduction=reduction)
        assert same(objective.value_and_gradient(case.w), found)


def test_class_weights_against_scikit_learn(loss, rng):
    case = labelled(loss, rng)
    labels = np.array(LABELS[loss])
    weights = compute_class_weight("balanced", classes=labels, y=case.y)
    expected = both(case, sample_weight=weights[np.searchsorted(labels, case.y)])
    found = both(case, class_weight="balanced")
    assert_allclose(found[0], expected[0], rtol=1e-14)
    assert_allclose(found[1], expected[1], rtol=1e-12, atol=1e-14)
    given = {int(labels[0]): 0.25, int(labels[-1]): 3.0}
    expected = both(case, sample_weight=compute_sample_weight(given, case.y))
    assert same(both(case, class_weight=given), expected)


def test_balanced_classes_weigh_the_same(loss, rng):
    case = labelled(loss, rng)
    value = both(case, class_weight="balanced")[0]
    means = [both(changed(case, case.y == label))[0] for label in LABELS[loss]]
    assert_allclose(value, np.mean(means), rtol=1e-12)


def test_balanced_counts_the_classes_that_occur(rng):
    case = labelled("cross_entropy", rng)
    case = changed(case, case.y < 2)
    value = both(case, class_weight="balanced", reduction="sum")[0]
    means = [both(changed(case, case.y == label))[0] for label in (0, 1)]
    assert_allclose(value, len(case.X) / 2 * np.sum(means), rtol=1e-12)


def test_classes_of_weight_zero_are_left_out(loss, rng):
    case = labelled(loss, rng)
    first = LABELS[loss][0]
    found, left = both(case, class_weight={first: 0}), both(changed(case, case.y != first))
    assert_allclose(found[0], left[0], rtol=1e-14)
    assert_allclose(found[1], left[1], rtol=1e-12, atol=1e-14)


def test_labels_of_other_types(rng):
    case = labelled("cross_entropy", rng)
    expected = both(case, class_weight={1: 3})
    for y in (case.y.astype(float), case.y.astype(np.uint8), list(map(int, case.y))):
        other = Case(case.net, case.X, y, case.w, case.d)
        assert same(both(other, class_weight={np.int32(1): np.float32(3)}), expected)
    binary = labelled("binary_cross_entropy", rng)
    expected = both(binary, class_weight={1: 3})
    for y in (binary.y == 1, binary.y.astype(np.float32)[:, None]):
        other = Case(binary.net, binary.X, y, binary.w, binary.d)
        assert same(both(other, class_weight={True: 3}), expected)


def test_weights_of_any_size(rng):
    case = labelled("cross_entropy", rng)
    s = sample_weight(len(case.X), rng)
    expected = both(case, sample_weight=s, class_weight={0: 2, 1: 3})
    big = 2.0**900
    classes = {0: 2 * big, 1: 3 * big, 2: big}
    huge = {"sample_weight": big * s, "class_weight": classes}
    assert same(both(case, **huge), expected)


# Errors --------------------------------------------------------------------------------------

CALLS = {
    "loss": fm.Network.loss,
    "gradient": fm.Network.gradient,
    "Objective": lambda net, w, X, y, **options: fm.Objective(net, X, y, **options),
}
each_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@each_call
@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        (np.ones(36), ValueError, r"sample_weight has shape \(36,\), expected \(37,\)"),
        (np.ones((37, 1)), ValueError, r"sample_weight has shape \(37, 1\)"),
        (np.r_[np.ones(36), -2.0], ValueError, "sample_weight must be 0 or more; got -2"),
        (np.r_[np.ones(36), NAN], ValueError, r"sample_weight\[36\] is nan"),
        (np.r_[INF, np.ones(36)], ValueError, r"sample_weight\[0\] is inf"),
        (np.zeros(37), ValueError, "sample_weight must not be all zero"),
        (["a"] * 37, ValueError, "sample_weight must hold real numbers"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_bad_sample_weight(call, weights, error, message, rng):
    case = labelled("cross_entropy", rng)
    with pytest.raises(error, match=message):
        call(case.net, case.w, case.X, case.y, sample_weight=weights)


@each_call
@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        ({3: 1.0, 0: 2.0}, ValueError, r"class_weight has unknown labels \[3\].* 0, 1, 2"),
        ({"cat": 1.0}, ValueError, r"class_weight has unknown labels \['cat'\]"),
        ({0.5: 1.0, NAN: 3}, ValueError, r"class_weight has unknown labels \[0.5, nan\]"),
        ({0: -1.0}, ValueError, r"class_weight\[0\] must be finite, 0 or more; got -1"),
        ({1: NAN}, ValueError, r"class_weight\[1\] must be finite.* got nan"),
        ({1: "2"}, TypeError, r"class_weight\[1\] must be a number.* got '2'"),
        ({0: 0, 1: 0, 2: 0}, ValueError, "class_weight .*must not be all zero"),
        ("uniform", ValueError, "class_weight must be a dict .*'balanced'; got 'uniform'"),
        ([1.0, 2.0, 3.0], TypeError, r"class_weight must be a dict .*'balanced'; got \[1.0"),
    ],
    ids=str,
)
def test_bad_class_weight(call, weights, error, message, rng):
    case = labelled("cross_entropy", rng)
    with pytest.raises(error, match=message):
        call(case.net, case.w, case.X, case.y, class_weight=weights)


@each_call
@pytest.mark.parametrize("weights", [{0: 1.0}, "balanced"], ids=str)
@pytest.mark.parametrize(
    "given",
    [
        {"output": "softmax"},  # rows of probabilities
        {"output": "sigmoid"},  # several columns
        {"widths": [4, 1], "output": "sigmoid"},  # between 0 and 1
        {"loss": "squared_error"},
        {"widths": [4, 1], "loss": "half_squared_error"},
    ],
    ids=str,
)
def test_class_weight_of_targets(call, given, weights, rng):
    net = fm.Network(**{"widths": [4, 3], **given})
    w, X, y = problem(net, 20, rng, labels=False)
    with pytest.raises(ValueError, match=f"class_weight needs labels.* {net.loss_name!r}"):
        call(net, w, X, y, class_weight=weights)


def test_products_of_weights(rng):
    case = labelled("cross_entropy", rng, dtype="float32")
    s = (case.y == 0).astype(float)
    with pytest.raises(ValueError, match=r"sample_weight \* class_weight must not be all zero"):
        both(case, sample_weight=s, class_weight={0: 0})
    with pytest.raises(ValueError, match=r"sample_weight \* class_weight\[\d+\] is 1e\+40, beyond"):
        both(case, sample_weight=1e20 * s, class_weight={0: 1e20}, reduction="sum")


def test_weights_are_left_alone(rng):
    case = labelled("cross_entropy", rng)
    s, class_weight = sample_weight(len(case.X), rng), {0: 3}
    before = s.copy()
    both(case, sample_weight=s, class_weight=class_weight)
    assert_array_equal(s, before)
    assert class_weight == {0: 3}
