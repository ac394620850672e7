"""A loss of one's own: the same numbers as a built-in one, and what goes wrong is told."""

from __future__ import annotations

import copy
import math
import pickle

import numba
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastmlp as fm
import naive
from cases import DTYPES, check_same_results, every_result, problem, same_bits
from fastmlp import losses

every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def absolute(a, y):
    return abs(a - y)


def absolute_slope(a, y):
    return 1 if a > y else -1 if a < y else 0


def zero(a, y):
    return 0.0


def huber(a, y):
    size = abs(a - y)
    return size * size / 2 if size <= 0.5 else 0.5 * (size - 0.25)


def huber_slope(a, y):
    return min(max(a - y, -0.5), 0.5)


def huber_curvature(a, y):
    return abs(a - y) < 0.5


@numba.njit
def hinge(a, y):
    return max(0.0, 1 - y * a)


@numba.njit
def hinge_slope(a, y):
    return -y if y * a <= 1 else 0.0


def cosh(a, y):
    return math.cosh(a - y) - 1


def cosh_slope(a, y):
    return math.sinh(a - y)


def cosh_curvature(a, y):
    return math.cosh(a - y)


COSH = losses.custom(cosh, cosh_slope, cosh_curvature, name="cosh")
TWINS = {
    "absolute_error": losses.custom(absolute, absolute_slope, zero),
    losses.huber(0.5): losses.custom(huber, huber_slope, huber_curvature),
    "hinge": losses.custom(hinge, hinge_slope, zero),
}


def network(loss, dtype="float64", n_out=3, **given):
    return fm.Network([5, 9, n_out], hidden="tanh", loss=loss, dtype=dtype, **given)


# The same numbers ----------------------------------------------------------------------------


@every_dtype
@pytest.mark.parametrize(("builtin", "own"), TWINS.items(), ids=str)
@pytest.mark.parametrize("output", ["identity", "sigmoid"])
def test_bits_of_the_built_in_loss(output, builtin, own, dtype, rng):
    net, twin = (network(loss, dtype, output=output) for loss in (builtin, own))
    w, X, y = problem(net, 37, rng)
    check_same_results(every_result(twin, w, X, y), every_result(net, w, X, y))
    v = rng.standard_normal(net.n_params)
    found, expected = (fm.Objective(each, X, y).hessian_vector(w, v) for each in (twin, net))
    assert_array_equal(found, expected)
    found, expected = (fm.Objective(each, X, y).along(w, v) for each in (twin, net))
    assert found.value_and_derivative(0.3) == expected.value_and_derivative(0.3)


def test_against_differences(rng):
    net = network(COSH)
    w, X, y = problem(net, 9, rng)
    y /= 4
    slopes = naive.finite_difference_gradient(lambda v: net.loss(v, X, y), w)
    assert_allclose(net.gradient(w, X, y), slopes, atol=1e-7)
    objective, v = fm.Objective(net, X, y), rng.standard_normal(net.n_params)
    ahead, behind = (objective.gradient(w + step * v) for step in (1e-5, -1e-5))
    assert_allclose(objective.hessian_vector(w, v), (ahead - behind) / 2e-5, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="needs 2 threads")
@every_dtype
def test_the_same_bits_on_threads(dtype, rng):
    net = fm.Network([205, 97, 131], loss=COSH, dtype=dtype)
    w, X, y = problem(net, 263, rng)
    w *= net.dtype.type(0.2)
    before = numba.get_num_threads()
    try:
        results = []
        for n_threads in (1, 2):
            numba.set_num_threads(n_threads)
            objective = fm.Objective(net, X, y)
            results.append((objective.value_and_gradient(w), objective.hessian_vector(w, w)))
    finally:
        numba.set_num_threads(before)
    ((value, g), Hv), ((value_2, g_2), Hv_2) = results
    assert value == value_2
    assert same_bits(g, g_2)
    assert same_bits(Hv, Hv_2)


def test_functions_of_other_numbers(rng):
    """Whole numbers, truth values and float32 are numbers too; closures and lambdas functions."""
    factor = 3
    own = losses.custom(
        lambda a, y: factor * (a > y), lambda a, y: np.float32(0.25), lambda a, y: 2
    )
    net = fm.Network([2, 1], loss=own, dtype="float64")
    X, y, w = np.zeros((2, 2)), np.array([-1.0, 1.0]), np.zeros(3)
    assert net.loss(w, X, y) == 1.5
    assert_array_equal(net.gradient(w, X, y), [0, 0, 0.25])
    assert_array_equal(fm.Objective(net, X, y).hessian_vector(w, [0, 0, 1.0]), [0, 0, 2])


def test_it_trains(rng):
    X = rng.standard_normal((200, 4))
    y = X @ np.array([0.1, -0.2, 0.3, 0.05])
    net = fm.Network([4, 1], loss=COSH, dtype="float64")
    objective = fm.Objective(net, X, y)
    for method in ("L-BFGS-B", "Newton-CG"):
        result = fm.minimize(objective, net.init(0), method, tol=1e-6)
        assert result.success
        assert_allclose(result.x, [0.1, -0.2, 0.3, 0.05, 0], atol=1e-5)
    for solver in (fm.sgd, fm.minibatch_sgd):
        result = solver(net, X, y, net.init(0), step=0.1, epochs=200, rng=0)
        assert_allclose(result.x, [0.1, -0.2, 0.3, 0.05, 0], atol=1e-5)


# What goes wrong -----------------------------------------------------------------------------


def no_number(a, y):
    return "one"


def nothing(a, y):
    pass


def pair(a, y):
    return a, y


def imaginary(a, y):
    return 1j * a


def of_three(a, y, p):
    return a


def unknown(a, y):
    return a.no_such_attribute


def imports(a, y):
    import os  # noqa: F401

    return a


def every_call(net):
    """Everything that computes a loss, in turn, each as the first."""
    w, X, y = np.zeros(net.n_params), np.ones((4, net.widths[0])), np.ones((4, net.widths[-1]))
    return [
        lambda: net.loss(w, X, y),
        lambda: net.gradient(w, X, y),
        lambda: net.sample_gradients(w, X, y),
        lambda: fm.sgd(net, X, y, w, rng=0, callback=pytest.fail),
        lambda: fm.minibatch_sgd(net, X, y, w, rng=0, callback=pytest.fail),
        lambda: fm.Objective(net, X, y).value(w),
        lambda: fm.Objective(net, X, y).hessian_vector(w, w),
    ]


@pytest.mark.parametrize(
    "bad", [no_number, nothing, pair, imaginary, of_three, unknown, imports, np.hypot, int]
)
def test_what_does_not_compile(bad):
    for role, given in {
        "value": (bad, cosh_slope, cosh_curvature),
        "derivative": (cosh, bad, cosh_curvature),
        "second_derivative": (cosh, cosh_slope, bad),
    }.items():
        net = network(losses.custom(*given, name="broken"))
        for call in every_call(net):
            with pytest.raises(TypeError, match=f"^{role} of the loss custom.*name='broken'"):
                call()
        net.predict(np.zeros(net.n_params), np.ones((4, 5)))


def test_the_compilers_own_words():
    net = network(losses.custom(unknown, zero))
    with pytest.raises(TypeError, match=r"(?s)does not compile.*no_such_attribute") as raised:
        net.loss(np.zeros(net.n_params), np.ones((4, 5)), np.ones((4, 3)))
    assert isinstance(raised.value.__cause__, numba.core.errors.NumbaError)


@pytest.mark.parametrize("function", [None, 3, "huber", losses.huber(1)], ids=str)
def test_what_is_no_function(function):
    with pytest.raises(TypeError, match=r"^value must be a function"):
        losses.custom(function, zero)
    with pytest.raises(TypeError, match=r"^derivative must be a function"):
        losses.custom(zero, function)
    if function is not None:
        with pytest.raises(TypeError, match=r"^second_derivative must be a function"):
            losses.custom(zero, zero, function)


def test_bad_names():
    for name in ("huber", "cross_entropy", "squared_error"):
        with pytest.raises(ValueError, match=f"name must not be .*{name}"):
            losses.custom(absolute, absolute_slope, name=name)
    with pytest.raises(TypeError, match=r"name must be a str; got 3"):
        losses.custom(absolute, absolute_slope, name=3)
    with pytest.raises(ValueError, match=r"softmax.*own"):
        network(losses.custom(absolute, absolute_slope, name="own"), output="softmax")


def test_without_a_second_derivative(rng):
    net = network(losses.custom(absolute, absolute_slope))
    w, X, y = problem(net, 9, rng)
    objective = fm.Objective(net, X, y)
    assert objective.along(w, w).derivative(0.5) != 0
    for call in (
        lambda: objective.hessian_vector(w, w),
        *(
            lambda method=method: fm.minimize(objective, w, method, callback=pytest.fail)
            for method in ("Newton-CG", "trust-ncg", "trust-krylov")
        ),
    ):
        with pytest.raises(ValueError, match=r"second derivative.*custom\(absolute"):
            call()
    assert (objective.nhev, objective.njev) == (0, 0)


def divides(a, y):
    return 1 / (a - a)


@numba.njit
def divides_and_raises(a, y):
    return 1 / (a - a)


def raises(a, y):
    if a == a:
        raise ValueError("never")
    return a


def not_a_number(a, y):
    return math.nan


@every_dtype
@pytest.mark.parametrize("bad", [divides, divides_and_raises, raises, not_a_number])
def test_values_that_are_no_numbers(bad, dtype, rng):
    net = network(losses.custom(bad, zero), dtype)
    w, X, y = problem(net, 20, rng)
    for _ in range(2):
        assert not np.isfinite(net.loss(w, X, y))
    for solver in (fm.sgd, fm.minibatch_sgd):
        with pytest.warns(RuntimeWarning, match="Diverged"):
            result = solver(net, X, y, w, rng=0)
        assert result.status == 3
        assert same_bits(result.x, w)
    with pytest.warns(RuntimeWarning, match="diverged|Diverged|not finite"):
        assert fm.gradient_descent(fm.Objective(net, X, y), w).status == 3


@every_dtype
@pytest.mark.parametrize("bad", [divides, divides_and_raises, raises, not_a_number])
def test_derivatives_that_are_no_numbers(bad, dtype, rng):
    net = network(losses.custom(zero, bad, zero), dtype)
    w, X, y = problem(net, 20, rng)
    assert not np.isfinite(net.gradient(w, X, y)).all()
    assert not np.isfinite(net.sample_gradients(w, X, y)[7]).all()
    for solver in (fm.sgd, fm.minibatch_sgd):
        with pytest.warns(RuntimeWarning, match="Diverged"):
            assert solver(net, X, y, w, rng=0).status == 3
    net = network(losses.custom(zero, zero, bad), dtype)
    v = rng.standard_normal(net.n_params)
    assert not np.isfinite(fm.Objective(net, X, y).hessian_vector(w, v)).all()


# A value among values ------------------------------------------------------------------------


def test_repr_equality_and_copies():
    names = {**vars(losses), **globals(), "Network": fm.Network}
    for loss in (COSH, *TWINS.values()):
        net = network(loss)
        for thing in (loss, net):
            for twin in (eval(repr(thing), names), pickle.loads(pickle.dumps(thing))):
                assert twin == thing
                assert hash(twin) == hash(thing)
        assert copy.copy(net) == net
    assert repr(COSH) == "custom(cosh, cosh_slope, cosh_curvature, name='cosh')"
    own = {COSH, *TWINS.values(), losses.custom(cosh, cosh_slope), losses.custom(cosh, zero)}
    assert len(own) == 6
    assert network(COSH).loss_name == "cosh"
