"""Objectives: the value and gradient of weighted samples with a penalty."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import fastmlp as fm
import naive
from cases import (
    COMBINATIONS,
    DTYPES,
    JUMPS,
    PAIRS,
    check,
    check_same_results,
    problem,
    same_bits,
    small_network,
)
from cases_curves import (
    DEEP,
    Case,
    Expected,
    case_of,
    drawn_cases,
    every_result,
    mixed_case,
    random_case,
    random_networks,
    sample_weight,
)
from fastmlp import workspace

every_dtype = pytest.mark.parametrize("dtype", DTYPES)
every_pair = pytest.mark.parametrize(("output", "loss"), PAIRS)
law = settings(deadline=None, max_examples=40)

# Against the twin ----------------------------------------------------------------------------


def check_case(case):
    objective, expected = case.objective(), Expected(case)
    value, gradient = objective.value_and_gradient(case.w)
    assert type(value) is float
    assert (gradient.dtype, gradient.shape) == (case.net.dtype, case.w.shape)
    check("value", value, expected.value(), case.net.dtype)
    check("gradient", gradient, expected.gradient(), case.net.dtype)
    assert objective.value(case.w) == objective(case.w) == value
    assert same_bits(objective.gradient(case.w), gradient)


@pytest.mark.parametrize(("net", "n"), list(random_networks(96, 20)), ids=str)
def test_random_network(net, n, rng):
    check_case(random_case(net, n, rng))


@every_dtype
@pytest.mark.parametrize("n", [1, 65])
@pytest.mark.parametrize("widths", DEEP, ids=str)
def test_deeper_than_a_panel(widths, n, dtype, rng):
    check_case(random_case(fm.Network(widths, hidden="tanh", dtype=dtype), n, rng))


def test_more_rows_than_a_block(rng):
    net = fm.Network([3, 8, 2], output="softmax")
    check_case(random_case(net, 2 * workspace.block_rows(net) + 13, rng))


def differences_are_close(actual, f, w):
    """Central differences of step eps^(1/3) are good to eps^(2/3), times the third derivative."""
    differences = naive.finite_difference_gradient(f, w)
    assert_allclose(actual, differences, rtol=0, atol=3e-9 * max(1, abs(differences).max()))


@pytest.mark.parametrize(("hidden", "output", "loss"), COMBINATIONS)
def test_finite_differences(hidden, output, loss, rng):
    for reduction, bias in (("mean", True), ("sum", False)):
        net = small_network(output, loss, hidden, bias=bias)
        case = case_of(net, 4, rng, sample_weight=sample_weight(4, rng), l2=0.3)
        objective = case.objective(reduction=reduction)
        differences_are_close(objective.gradient(case.w), objective.value, case.w)


@every_dtype
@every_pair
def test_plain_objective_is_the_network_s(output, loss, dtype, rng):
    net = small_network(output, loss, dtype=dtype)
    w, X, y = problem(net, 37, rng)
    for reduction in ("mean", "sum"):
        objective = fm.Objective(net, X, y, reduction=reduction)
        assert objective.value(w) == net.loss(w, X, y, reduction=reduction)
        assert same_bits(objective.gradient(w), net.gradient(w, X, y, reduction=reduction))


@every_dtype
@pytest.mark.parametrize(("output", "loss"), [("tanh", None), ("sigmoid", None)])
def test_a_vector_of_targets(output, loss, dtype, rng):
    net = fm.Network([5, 9, 1], output=output, loss=loss, dtype=dtype)
    case = random_case(net, 20, rng)
    vector = Case(net, case.X, case.y.ravel(), case.w, case.d, case.options)
    check_same_results(every_result(vector), every_result(case))


def test_attributes(rng):
    net = small_network("softmax", "cross_entropy")
    _, X, y = problem(net, 7, rng)
    plain, other = fm.Objective(net, X, y), fm.Objective(net, X, y, l2=0.25, reduction="sum")
    assert (plain.net, plain.l2, plain.reduction) == (net, 0, "mean")
    assert (other.net, other.l2, other.reduction) == (net, 0.25, "sum")
    assert_array_equal(plain.X, X)
    assert_array_equal(plain.y, y)


@pytest.mark.parametrize("jump", JUMPS)
def test_jumps_have_values_only(jump, rng):
    for names in ({"hidden": jump}, {"output": jump}):
        s = sample_weight(20, rng)
        case = case_of(fm.Network([5, 9, 3], **names), 20, rng, sample_weight=s)
        objective = case.objective()
        check("value", objective.value(case.w), Expected(case).value(), case.net.dtype)
        for name in ("gradient", "value_and_gradient"):
            with pytest.raises(ValueError, match=jump):
                getattr(objective, name)(case.w)
        for name in ("along", "hessian_vector"):
            with pytest.raises(ValueError, match=jump):
                getattr(objective, name)(case.w, case.d)
        assert (objective.nfev, objective.njev, objective.nhev) == (1, 0, 0)


def test_weights_are_copied(rng):
    case = mixed_case(rng)
    s = case.options["sample_weight"].astype(np.float32)
    objective = case.objective(sample_weight=s)
    expected = objective.value(case.w)
    s[:] = 1
    assert objective.value(case.w) == expected


# Laws ----------------------------------------------------------------------------------------


def check_equal(one, other):
    """Two objectives of the same mathematical function, up to roundings of either."""
    found = one.objective().value_and_gradient(one.w)
    expected = other.objective().value_and_gradient(other.w)
    errors = [Expected(one), Expected(other)]
    for name, actual, equal in zip(("value", "gradient"), found, expected, strict=True):
        deviation = sum(getattr(error, name)()[1] for error in errors)
        check(name, actual, (np.asarray(equal, np.float64), deviation), one.net.dtype)


def changed(case, rows=slice(None), **options):
    """The case with some of its rows, and other options."""
    X, y = case.X[rows], case.y[rows]
    return Case(case.net, X, y, case.w, case.d, {**case.options, **options})


@law
@given(drawn_cases(), st.data())
def test_weights_repeat_samples(case, data):
    n = len(case.X)
    counts = np.array(data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)))
    counts[data.draw(st.integers(0, n - 1))] = 2
    repeated = changed(case, np.repeat(np.arange(n), counts), sample_weight=None)
    check_equal(changed(case, sample_weight=counts), repeated)


@law
@given(drawn_cases())
def test_weight_zero_leaves_a_sample_out(case):
    n = len(case.X)
    s = sample_weight(n, np.random.default_rng(n))
    s[::3], s[n // 2] = 0, 1
    left = changed(case, s > 0, sample_weight=s[s > 0])
    check_equal(changed(case, sample_weight=s), left)


@law
@given(drawn_cases())
def test_all_weights_equal(case):
    n = len(case.X)
    case = changed(case, sample_weight=None)
    check_same_results(every_result(changed(case, sample_weight=np.ones(n))), every_result(case))
    if case.options["reduction"] == "mean":
        check_equal(changed(case, sample_weight=np.full(n, 0.3)), case)


@law
@given(drawn_cases(l2=0.0), st.integers(-300, 300), st.floats(0.01, 100))
def test_scale_of_weights(case, exponent, factor):
    """No matter to a mean; a sum is linear. A power of two changes only exponents."""
    s = case.options.get("sample_weight", np.ones(len(case.X)))
    value, gradient = changed(case, sample_weight=s).objective().value_and_gradient(case.w)
    if case.options["reduction"] == "mean":
        other = changed(case, sample_weight=2.0**exponent * s).objective()
        assert other.value(case.w) == value
        assert same_bits(other.gradient(case.w), gradient)
        check_equal(changed(case, sample_weight=factor * s), case)
        return
    scale = 2.0 ** (exponent / 30)
    other = changed(case, sample_weight=scale * s).objective()
    _, E_value = Expected(case).value()
    _, E_gradient = Expected(case).gradient()
    check("value", other.value(case.w) / scale, (value, 2 * E_value), case.net.dtype)
    scaled = other.gradient(case.w).astype(np.float64) / scale
    check("gradient", scaled, (gradient.astype(np.float64), 2 * E_gradient), case.net.dtype)


@law
@given(drawn_cases(), st.integers(0, 2**32))
def test_order_of_samples_does_not_matter(case, seed):
    order = np.random.default_rng(seed).permutation(len(case.X))
    s = case.options.get("sample_weight")
    check_equal(changed(case, order, sample_weight=None if s is None else s[order]), case)


@law
@given(drawn_cases(l2=0.0))
def test_gradient_is_the_weighted_mean_of_sample_gradients(case):
    each = case.net.sample_gradients(case.w, case.X, case.y).astype(np.float64)
    expected = case.twin.factors() @ each
    _, deviation = Expected(case).gradient()
    gradient = case.objective().gradient(case.w)
    check("gradient", gradient, (expected, 2 * deviation), case.net.dtype)


@law
@given(drawn_cases(), st.floats(1e-6, 10))
def test_penalty(case, l2):
    """It is added, as it is, for weights only."""
    plain, penalised = changed(case, l2=0.0), changed(case, l2=l2)
    value, gradient = plain.objective().value_and_gradient(case.w)
    more, slopes = penalised.objective().value_and_gradient(case.w)
    squares = sum((W.astype(np.float64) ** 2).sum() for W in case.net.weights(case.w))
    assert_allclose(more - value, l2 / 2 * squares, rtol=1e-10, atol=1e-12 * abs(value))
    for b, b_penalised in zip(case.net.biases(gradient), case.net.biases(slopes), strict=True):
        assert same_bits(b, b_penalised)
    eps = np.finfo(case.net.dtype).eps
    for g, h, W in zip(*(case.net.weights(v) for v in (gradient, slopes, case.w)), strict=True):
        expected = g.astype(np.float64) + l2 * W.astype(np.float64)
        assert_allclose(h, expected, rtol=0, atol=4 * eps * (abs(g) + l2 * abs(W)).max())


@law
@given(drawn_cases(l2=0.0))
def test_sum_is_the_total_weight_times_the_mean(case):
    mean, total = changed(case, reduction="mean"), changed(case, reduction="sum")
    weight = np.sum(case.options.get("sample_weight", np.ones(len(case.X))))
    value, gradient = mean.objective().value_and_gradient(case.w)
    other, slopes = total.objective().value_and_gradient(case.w)
    assert_allclose(weight * value, other, rtol=4 * np.finfo(case.net.dtype).eps)
    _, deviation = Expected(total).gradient()
    expected = weight * gradient.astype(np.float64), 2 * deviation
    check("gradient", slopes, expected, case.net.dtype)
