"""Losses that are sums over outputs of e(a_j, y_j): e, e' and e'' by a, in float64.

a is the prediction; for poisson, whose activation is built in, z. Their kernels are called by
address, and so compiled only where one of these losses is used. At a kink e' is 0 where the loss
has its minimum there, -y for hinge and perceptron (so that learning can start from w = 0), and e''
is 0. What is not a number stays so in e, so that divergence shows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from fastmlp.kernels import losses
from fastmlp.kernels.elementary import exp, log, log_cosh, tanh
from fastmlp.kernels.jit import OPTIONS, inlined, kernel, like


@inlined
def _sign(x):
    return 1.0 if x > 0 else -1.0 if x < 0 else x


@inlined
def _zero(a, y, _):
    return 0.0


@inlined
def _absolute_error(a, y, _):
    return abs(a - y)


@inlined
def _absolute_error_slope(a, y, _):
    return _sign(a - y)


@inlined
def _huber(a, y, delta):
    size = abs(a - y)
    return size * size / 2 if size <= delta else delta * (size - delta / 2)


@inlined
def _huber_slope(a, y, delta):
    return a - y if abs(a - y) <= delta else delta * _sign(a - y)


@inlined
def _huber_curvature(a, y, delta):
    return 1.0 if abs(a - y) < delta else 0.0


@inlined
def _log_cosh(a, y, _):
    return log_cosh(a - y)


@inlined
def _log_cosh_slope(a, y, _):
    return tanh(a - y)


@inlined
def _log_cosh_curvature(a, y, _):
    e = exp(-2 * abs(a - y))
    return 4 * e / ((1 + e) * (1 + e))


@inlined
def _quantile(a, y, q):
    return q * (y - a) if y > a else (1 - q) * (a - y)


@inlined
def _quantile_slope(a, y, q):
    return -q if y > a else 1 - q if y < a else a - y


@inlined
def _hinge(a, y, _):
    return 0.0 if y * a > 1 else 1 - y * a


@inlined
def _hinge_slope(a, y, _):
    return 0.0 if y * a > 1 else -y


@inlined
def _perceptron(a, y, _):
    return 0.0 if y * a > 0 else -y * a


@inlined
def _perceptron_slope(a, y, _):
    return 0.0 if y * a > 0 else -y


@inlined
def _poisson(z, y, _):
    if y == 0:
        return exp(z)
    far = z - log(y)  # e = y (exp(far) - 1 - far), without the difference of large numbers
    return y * (exp(far) - 1 - far)


@inlined
def _poisson_slope(z, y, _):
    return exp(z) - y


@inlined
def _poisson_curvature(z, y, _):
    return exp(z)


def _loop(value: Callable[..., Any], derivative: Callable[..., Any]) -> Any:
    @inlined
    def loop(parameter, Z, z, ldz, n_rows, n_out, targets, index, start, scale, D, losses):
        for r in range(n_rows):
            row, sample = z + r * ldz, index[start + r]
            total = 0.0
            for j in range(n_out):
                a, y = np.float64(Z[row + j]), np.float64(targets[sample, j])
                total += value(a, y, parameter)
                D[row + j] = scale * like(derivative(a, y, parameter), scale)
            losses[r] = total

    return loop


_absolute_errors = _loop(_absolute_error, _absolute_error_slope)
_hubers = _loop(_huber, _huber_slope)
_log_coshs = _loop(_log_cosh, _log_cosh_slope)
_quantiles = _loop(_quantile, _quantile_slope)
_hinges = _loop(_hinge, _hinge_slope)
_perceptrons = _loop(_perceptron, _perceptron_slope)
_poissons = _loop(_poisson, _poisson_slope)


@kernel
def losses_and_deltas(
    loss, parameter, Z, z, ldz, n_rows, n_out, targets, index, start, scale, D, sample_losses
):
    """Write each row's loss into sample_losses and scale * e' into D; as in losses.py."""
    rows = (Z, z, ldz, n_rows, n_out, targets, index, start, scale, D, sample_losses)
    if loss == losses.ABSOLUTE_ERROR:
        _absolute_errors(parameter, *rows)
    elif loss == losses.HUBER:
        _hubers(parameter, *rows)
    elif loss == losses.LOG_COSH:
        _log_coshs(parameter, *rows)
    elif loss == losses.QUANTILE:
        _quantiles(parameter, *rows)
    elif loss == losses.HINGE:
        _hinges(parameter, *rows)
    elif loss == losses.PERCEPTRON:
        _perceptrons(parameter, *rows)
    else:
        _poissons(parameter, *rows)


def _curvature_loop(curvature: Callable[..., Any]) -> Any:
    @inlined
    def loop(parameter, A, a, n_out, targets, sample, t):
        for j in range(n_out):
            a_j, y_j = np.float64(A[a + j]), np.float64(targets[sample, j])
            A[t + j] *= like(curvature(a_j, y_j, parameter), A[t + j])

    return loop


_no_curvatures = _curvature_loop(_zero)
_huber_curvatures = _curvature_loop(_huber_curvature)
_log_cosh_curvatures = _curvature_loop(_log_cosh_curvature)
_poisson_curvatures = _curvature_loop(_poisson_curvature)


@kernel
def multiply_by_curvature(loss, parameter, A, a, n_out, targets, sample, t):
    """Multiply A[t:] by e'' of the sample's outputs at A[a:], n_out numbers each."""
    if loss == losses.HUBER:
        _huber_curvatures(parameter, A, a, n_out, targets, sample, t)
    elif loss == losses.LOG_COSH:
        _log_cosh_curvatures(parameter, A, a, n_out, targets, sample, t)
    elif loss == losses.POISSON:
        _poisson_curvatures(parameter, A, a, n_out, targets, sample, t)
    else:
        _no_curvatures(parameter, A, a, n_out, targets, sample, t)


# A user's loss: kernels of the same signatures from functions of (prediction, target). They are
# compiled in each process: what is made of a function that is passed in cannot be kept on disk.

_FOR_USERS = {**OPTIONS, "cache": False, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def _of_two(function: Any) -> Any:
    @inlined
    def of_three(a, y, _):
        return np.float64(function(a, y))

    return of_three


def custom_losses_and_deltas(value: Any, derivative: Any) -> Any:
    """Build `losses_and_deltas` of a user's loss, from what `numba.njit` returns."""
    loop = _loop(_of_two(value), _of_two(derivative))

    def custom(
        loss, parameter, Z, z, ldz, n_rows, n_out, targets, index, start, scale, D, sample_losses
    ):
        for r in range(n_rows):  # what stays, should one of the functions raise
            sample_losses[r] = np.nan
            for j in range(n_out):
                D[z + r * ldz + j] = np.nan
        loop(parameter, Z, z, ldz, n_rows, n_out, targets, index, start, scale, D, sample_losses)

    return numba.njit(**_FOR_USERS)(custom)


def custom_multiply_by_curvature(second_derivative: Any) -> Any:
    """Build `multiply_by_curvature` of a user's loss, from what `numba.njit` returns."""
    curvature = _of_two(second_derivative)

    def custom(loss, parameter, A, a, n_out, targets, sample, t):
        for j in range(n_out):
            a_j, y_j = np.float64(A[a + j]), np.float64(targets[sample, j])
            change = A[t + j]
            A[t + j] = np.nan  # what stays, should the function raise
            A[t + j] = change * like(curvature(a_j, y_j, parameter), change)

    return numba.njit(**_FOR_USERS)(custom)
