"""Activations that store their derivatives beside their outputs, all in one kernel.

The common activations are a part of every kernel that applies them, and have their derivatives from
the outputs A = phi(Z). These are called by address, and compiled where a network has one of them.
Not all are invertible (gelu, silu), so phi'(Z) is stored in the forward pass; and, for derivatives
along a direction, phi''(Z) / phi'(Z).

Each function below returns phi, phi' and phi'' / phi' of a number; what is not stored is not
computed either. NaN gives NaN. At a kink, phi' is the left one (leaky_relu, elu) or 0
(hard_sigmoid, hard_tanh), as PyTorch's, and phi'' is the left one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastmlp.kernels import activations, elementary
from fastmlp.kernels.elementary import as_type, exp_and_expm1, select, sigmoid
from fastmlp.kernels.jit import fma, inlined, kernel
from fastmlp.kernels.normal import LARGEST, density_and_mills

# Beyond these, pairs for float32 and float64, sigmoid is 0 to any precision: they take the place of
# larger z where z would be multiplied by it, as infinity times 0 is NaN.
SIGMOID_RANGE = (110.0, 760.0)
# Takes the place of 0 where phi' vanishes and phi'' does not.
LEAST_SLOPE = (1e-20, 1e-150)


@inlined
def _clipped(z, low, high):
    """Return z in [low, high]; NaN stays."""
    z = select(z < low, low, z)
    return select(z > high, high, z)


@inlined
def _not_zero(x):
    least = as_type(x, LEAST_SLOPE)
    return select(x == as_type(x, 0.0), least, x)


@inlined
def _leaky_relu(z):
    zero, one, slope = as_type(z, 0.0), as_type(z, 1.0), as_type(z, 0.01)
    s = select(z > zero, one, slope)
    return s * z, s, zero


@inlined
def _hard_sigmoid(z):
    zero, sixth, three = as_type(z, 0.0), as_type(z, 1 / 6), as_type(z, 3.0)
    a = sixth * _clipped(z + three, zero, as_type(z, 6.0))
    return a, select(abs(z) < three, sixth, zero), zero


@inlined
def _hard_tanh(z):
    zero, one = as_type(z, 0.0), as_type(z, 1.0)
    return _clipped(z, -one, one), select(abs(z) < one, one, zero), zero


@inlined
def _elu(z):
    zero, one = as_type(z, 0.0), as_type(z, 1.0)
    e, m = exp_and_expm1(select(z > zero, zero, z))
    return select(z > zero, z, m), e, select(z > zero, zero, one)


@inlined
def _gelu(z):
    """Return those of z Phi(z): phi' = Phi + z phi, phi'' = (2 - z^2) phi, phi the density.

    Left of 0, Phi = phi m with Mills' ratio m: the density is a factor of all, and cancels.
    """
    zero, one = as_type(z, 0.0), as_type(z, 1.0)
    largest = as_type(z, LARGEST)
    x = _clipped(z, -largest, largest)
    density, mills = density_and_mills(abs(x))
    left = _not_zero(mills + x)  # phi' / density, where z < 0
    right_cdf = fma(-density, mills, one)
    right = fma(x, density, right_cdf)
    is_left = z < zero
    a = select(is_left, (x * mills) * density, z * right_cdf)
    curve = fma(-x, x, as_type(z, 2.0))
    ratio = select(is_left, curve, density * curve) / select(is_left, left, right)
    return a, select(is_left, density * left, right), ratio


@inlined
def _silu(z):
    """Return those of z s(z), s the sigmoid: phi' = s (1 + z c), c = 1 - s = s(-z)."""
    one, large = as_type(z, 1.0), as_type(z, SIGMOID_RANGE)
    s, c = sigmoid(z), sigmoid(-z)
    at_least = select(z < -large, -large, z)
    x = select(z > large, large, at_least)
    u = _not_zero(fma(x, c, one))
    return at_least * s, s * u, c * fma(x, c - s, as_type(z, 2.0)) / u


@inlined
def _softplus(z):
    return elementary.softplus(z), sigmoid(z), sigmoid(-z)


@inlined
def _exp(z):
    a = elementary.exp(z)
    return a, a, as_type(z, 1.0)


def _in_place(phi: Callable[..., Any]) -> Any:
    """Build the loops over rows of whole vectors: a remainder would not be vectorised."""

    @inlined
    def loop(stores, Z, z, S, ldz, n_rows, width):
        half = len(S) // 2
        for i in range(n_rows):
            at = z + i * ldz
            row = Z[at : at + width]
            if stores == 0:
                for j in range(width):
                    row[j] = phi(row[j])[0]
            elif stores == 1:
                slopes = S[at : at + width]
                for j in range(width):
                    row[j], slopes[j], _ = phi(row[j])
            else:
                slopes, curvatures = S[at : at + width], S[half + at : half + at + width]
                for j in range(width):
                    row[j], slopes[j], curvatures[j] = phi(row[j])

    return loop


_leaky_relu_in_place = _in_place(_leaky_relu)
_hard_sigmoid_in_place = _in_place(_hard_sigmoid)
_hard_tanh_in_place = _in_place(_hard_tanh)
_elu_in_place = _in_place(_elu)
_gelu_in_place = _in_place(_gelu)
_silu_in_place = _in_place(_silu)
_softplus_in_place = _in_place(_softplus)
_exp_in_place = _in_place(_exp)


@kernel
def activate(code, stores, Z, z, S, ldz, n_rows, width):
    """Overwrite Z (n_rows, width), flat from offset z, by phi(Z); write derivatives at the same.

    Into S phi'(Z) where stores > 0, and into its second half phi''(Z) / phi'(Z) where stores == 2.
    """
    if code == activations.LEAKY_RELU:
        _leaky_relu_in_place(stores, Z, z, S, ldz, n_rows, width)
    elif code == activations.HARD_SIGMOID:
        _hard_sigmoid_in_place(stores, Z, z, S, ldz, n_rows, width)
    elif code == activations.HARD_TANH:
        _hard_tanh_in_place(stores, Z, z, S, ldz, n_rows, width)
    elif code == activations.ELU:
        _elu_in_place(stores, Z, z, S, ldz, n_rows, width)
    elif code == activations.GELU:
        _gelu_in_place(stores, Z, z, S, ldz, n_rows, width)
    elif code == activations.SILU:
        _silu_in_place(stores, Z, z, S, ldz, n_rows, width)
    elif code == activations.SOFTPLUS:
        _softplus_in_place(stores, Z, z, S, ldz, n_rows, width)
    else:
        _exp_in_place(stores, Z, z, S, ldz, n_rows, width)
