"""Activations that store their derivatives: values, phi' and phi'', everywhere and where it hurts.

A network without inputs, so to say: X = 0, and the biases are Z.
"""

from __future__ import annotations

import re

import numba
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import cases_curves
import fastmlp as fm
import naive_activations
from cases import DTYPES, STORED, Expected, check, problem
from fastmlp.kernels import elementary, normal
from fastmlp.kernels.jit import OPTIONS, has_fma

NAMES = (*STORED, "exp")
INF = np.inf
every_name = pytest.mark.parametrize("name", NAMES)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def derivatives(name, z):
    """phi(z), phi'(z) and phi''(z): of a half squared error, phi'^2 + (phi - y) phi''."""
    net = fm.Network([1, z.size], output=name, loss="half_squared_error", dtype=z.dtype)
    w, X, v = np.zeros((3, net.n_params), z.dtype)
    w[z.size :], v[z.size :], X = z, 1, np.zeros((1, 1))
    a = net.predict(w, X)
    first = np.diagonal(net.jacobian(w, X)[0, :, z.size :])
    assert_array_equal(net.sample_gradients(w, X, a - 1)[0, z.size :], first * (a - (a - 1))[0])
    objective = fm.Objective(net, X, a - 1, reduction="sum")
    second = objective.hessian_vector(w, v)[z.size :] - first**2
    return a[0], first, second


def points(name, dtype):
    rng = np.random.default_rng(0)
    z = [*rng.uniform(-8, 8, 300), *rng.uniform(-60, 60, 100), *10 ** rng.uniform(-30, 0, 50)]
    z += [0, -0.0, 1, -1, 3, -3, 50, -50]
    z += [1e4, -1e4, 1e30, -1e30]
    return np.array([x for x in z if name != "exp" or abs(x) < 40], dtype)


@every_dtype
@every_name
def test_against_the_twin(name, dtype):
    z = points(name, dtype)
    eps, wide = np.finfo(dtype).eps, z.astype(float)
    found = derivatives(name, z)
    with np.errstate(under="ignore"):
        a, first = (
            f(name, wide)
            for f in (naive_activations.activate, naive_activations.activation_derivative)
        )
    # SciPy's distribution function has errors of z^2 eps of its own in its tail.
    tail = 1e-15 * np.minimum(wide**2, 1e4)
    assert (abs(found[0] - a) <= (6 * eps + tail) * abs(a) + 1e3 * np.finfo(dtype).tiny).all()
    assert (abs(found[1] - first) <= 6 * eps * np.maximum(1, abs(first))).all()
    moderate = abs(z) < 10  # beyond, (a - 1) rounds
    second = naive_activations.activation_second_derivative(name, wide)
    scale = np.maximum(1, abs(a) * abs(second) + first**2)
    assert (abs(found[2] - second) <= 40 * eps * scale)[moderate].all()


@every_name
def test_against_pytorch(name):
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    function = {
        "softplus": lambda z: functional.softplus(z, threshold=1000),
        "hard_sigmoid": functional.hardsigmoid,
        "hard_tanh": functional.hardtanh,
        "exp": torch.exp,
    }.get(name) or getattr(functional, name)
    z = points(name, "float64")
    z = z[abs(z) < 20]
    leaf = torch.tensor(z, requires_grad=True)
    a = function(leaf)
    (first,) = torch.autograd.grad(a.sum(), leaf, create_graph=True)
    second = torch.zeros_like(leaf)
    if first.requires_grad and name != "hard_sigmoid":  # of which PyTorch has no second
        (second,) = torch.autograd.grad(first.sum(), leaf)
    found = derivatives(name, z)
    assert_allclose(found[0], a.detach(), rtol=1e-13, atol=1e-15)
    rtol = 1e-7 if name == "hard_sigmoid" else 1e-13  # whose 1 / 6 is a float32 in PyTorch
    assert_allclose(found[1], first.detach(), rtol=rtol, atol=1e-15)
    atol = 1e-14 * np.maximum(1, abs(found[0]) * abs(found[2]) + found[1] ** 2)
    smooth = z != 0 if name == "elu" else np.full(z.shape, True)
    assert (abs(found[2] - second.numpy()) <= atol)[smooth].all()


# phi and phi' at -infinity and infinity; elu' may stay the least normal number.
AT_INFINITY = {
    "leaky_relu": ([-INF, INF], [0.01, 1]),
    "elu": ([-1, INF], [0, 1]),
    "gelu": ([0, INF], [0, 1]),
    "silu": ([0, INF], [0, 1]),
    "softplus": ([0, INF], [0, 1]),
    "hard_sigmoid": ([0, 1], [0, 0]),
    "hard_tanh": ([-1, 1], [0, 0]),
    "exp": ([0, INF], [0, INF]),
}


@every_dtype
@every_name
def test_infinity_and_nan(name, dtype):
    """Two layers of which the first overflows: its outputs, added, are infinite or NaN."""
    net = fm.Network([1, 2, 3], hidden="identity", output=name, dtype=dtype)
    w, big = np.zeros(net.n_params, dtype), np.sqrt(np.finfo(dtype).max) * 2
    (first, second), X = net.weights(w), np.full((1, 1), big)
    first[:], second[:] = big, [[-1, 1, 1], [-1, 1, -1]]
    found = net.predict(w, X)[0]
    with np.errstate(all="ignore"):
        slopes = net.jacobian(w, X)[0, [0, 1], -3:][[0, 1], [0, 1]]
    values, expected = AT_INFINITY[name]
    assert_array_equal(found[:2], values)
    assert np.isnan(found[2])
    assert_allclose(slopes, np.array(expected, dtype), rtol=0, atol=np.finfo(dtype).tiny * 2)


@every_dtype
@pytest.mark.parametrize(
    ("name", "z", "slopes"),
    [
        ("leaky_relu", [0.0, -0.0], [0.01, 0.01]),
        ("elu", [0.0, -0.0], [1, 1]),
        ("hard_sigmoid", [-3, 3, -2.9, 2.9], [0, 0, 1 / 6, 1 / 6]),
        ("hard_tanh", [-1, 1, -0.9, 0.9], [0, 0, 1, 1]),
    ],
)
def test_slopes_at_kinks(name, z, slopes, dtype):
    assert_array_equal(derivatives(name, np.array(z, dtype))[1], np.array(slopes, dtype))


@every_dtype
@pytest.mark.parametrize(("name", "zero"), [("gelu", -0.7517915246935645), ("silu", -1.278464542)])
def test_curvature_where_the_slope_vanishes(name, zero, dtype):
    """phi'' is phi' times the stored ratio, which must not be infinite or lose it."""
    centre, eps = np.array(zero, dtype), np.finfo(dtype).eps
    z = centre * (1 + eps * np.arange(-300, 300)).astype(dtype)
    _, first, second = derivatives(name, z)
    wide = z.astype(float)
    assert abs(first).max() < 1000 * eps if dtype == "float32" else abs(first).max() < 1e-9
    expected = naive_activations.activation_second_derivative(name, wide)
    assert_allclose(second, expected, rtol=40 * eps)


@every_dtype
@pytest.mark.parametrize("hidden", [("exp", "tanh"), ("gelu", "exp"), ("exp", "hard_sigmoid")])
def test_exp_in_hidden_layers(hidden, dtype, rng):
    net = fm.Network([17, 9, 49, 5], hidden=hidden, dtype=dtype)
    w, X, y = problem(net, 31, rng)
    expected = Expected(net, w, X, y)
    check("predict", net.predict(w, X), expected.prediction, net.dtype)
    check("gradient", net.gradient(w, X, y), expected.gradient(), net.dtype)
    check("samples", net.sample_gradients(w, X, y), expected.sample_gradients(), net.dtype)
    case = cases_curves.Case(net, X, y, w, w[::-1].copy(), {})
    expected = cases_curves.Expected(case)
    check("H v", case.objective().hessian_vector(w, case.d), expected.hessian_vector(), net.dtype)
    check("phi'", case.curve().derivative(0), expected.slope(), net.dtype)


# The functions they are made of --------------------------------------------------------------


def pair(function):
    """Apply a function with two results to every number of an array."""

    @numba.njit(**{**OPTIONS, "cache": False})
    def run(x, first, second):
        for j in range(x.shape[0]):
            first[j], second[j] = function(x[j])

    return run


EXPS, NORMAL = pair(elementary.exp_and_expm1), pair(normal.density_and_mills)


def apply(run, x):
    results = np.empty((2, x.size), x.dtype)
    run(x, *results)
    return results


def check_errors(found, expected, n_eps):
    """Relative errors, where results are normal numbers."""
    info = np.finfo(found.dtype)
    slack = 0 if np.finfo(np.longdouble).eps < info.eps else 4  # the reference's own
    slack += 0 if has_fma() else 40
    error = abs(found - expected) / np.maximum(abs(expected), 4 * info.tiny)
    assert error.max() <= (n_eps + slack) * info.eps


def n_eps(function):
    """What the docstring states."""
    return [float(text) for text in re.findall(r"([\d.]+) eps", function.__doc__)]


def mills(x):
    """The integral of exp(-x t - t^2 / 2) over t > 0, by exp-sinh quadrature."""
    h = np.longdouble(1) / 32
    u = h * np.arange(-192, 193)
    t = np.exp(np.pi / 2 * np.sinh(u))
    slope = np.pi / 2 * np.cosh(u) * t
    with np.errstate(all="ignore"):
        terms = np.exp(-np.outer(x, t) - t**2 / 2) * slope
    return h * np.where(terms > 0, terms, 0).sum(axis=1)


@every_dtype
def test_exp_and_expm1(dtype):
    rng = np.random.default_rng(0)
    low = elementary.NEGATIVE_LOW[dtype == "float64"]
    x = np.concatenate([rng.uniform(low, 0, 50_000), -(10 ** rng.uniform(-30, 0, 50_000)), [0]])
    x = np.append(x, low).astype(dtype)
    exact = x.astype(np.longdouble)
    found, bounds = apply(EXPS, x), n_eps(elementary.exp_and_expm1)
    for values, expected, bound in zip(
        found, (np.exp(exact), np.expm1(exact)), bounds, strict=True
    ):
        check_errors(values, expected, bound)
    beyond = apply(EXPS, np.array([2 * low, 1e4 * low, -INF, np.nan], dtype))
    assert_array_equal(beyond[:, :3], apply(EXPS, np.full(3, low, dtype)))
    assert np.isnan(beyond[:, 3]).all()


@every_dtype
def test_normal_distribution(dtype):
    rng = np.random.default_rng(0)
    largest = normal.LARGEST[dtype == "float64"]
    x = np.concatenate([rng.uniform(0, largest, 3000), rng.uniform(0, 3, 3000), [0, largest]])
    x = np.append(x, 10 ** rng.uniform(-30, 0, 500)).astype(dtype)
    exact = x.astype(np.longdouble)
    root = np.sqrt(np.longdouble(2) * 4 * np.arctan(np.longdouble(1)))
    phi, m = np.exp(-(exact**2) / 2) / root, mills(exact)
    found = apply(NORMAL, x)
    of_density, of_mills, of_product = n_eps(normal.density_and_mills)
    normal_numbers = phi * m > 4 * np.finfo(dtype).tiny
    check_errors(found[0][normal_numbers], phi[normal_numbers], of_density)
    check_errors(found[1], m, of_mills)
    product = (found[0] * found[1])[normal_numbers]
    check_errors(product, (phi * m)[normal_numbers], of_product)
    beyond = apply(NORMAL, np.array([2 * largest, 1e30, INF, np.nan], dtype))
    assert (beyond[0, :3] <= np.finfo(dtype).smallest_subnormal).all()
    assert np.isfinite(beyond[1, :3]).all()
    assert np.isnan(beyond[:, 3]).all()
