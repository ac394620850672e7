"""Activations phi(z) and their derivatives, by code; the code is tested once per tile.

Derivatives are taken from the stored output a = phi(z), or were stored beside it; phi is never
evaluated again. The layer's STORES in `batch.Model` tells, here `stores`: 0 where they are taken
from the output; 1 where phi' is in the slopes S, at the same place; 2 where their second half has
phi'' / phi' besides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastmlp.kernels import rowwise
from fastmlp.kernels.elementary import exp, log, sigmoid, tanh
from fastmlp.kernels.jit import call_at, inlined, like
from fastmlp.kernels.rowwise import load, store
from fastmlp.kernels.tile import n_lanes, vectors_for

IDENTITY, RELU, SIGMOID, TANH, STEP, SIGN, SOFTMAX = range(7)
# Those of stored.py, which always store; the curved ones last.
LEAKY_RELU, HARD_SIGMOID, HARD_TANH, ELU, GELU, SILU, SOFTPLUS, EXP = range(7, 15)
CODES = {
    "identity": IDENTITY,
    "relu": RELU,
    "sigmoid": SIGMOID,
    "tanh": TANH,
    "step": STEP,
    "sign": SIGN,
    "softmax": SOFTMAX,
    "leaky_relu": LEAKY_RELU,
    "elu": ELU,
    "gelu": GELU,
    "silu": SILU,
    "softplus": SOFTPLUS,
    "hard_sigmoid": HARD_SIGMOID,
    "hard_tanh": HARD_TANH,
    "exp": EXP,
}
HIDDEN = tuple(name for name in CODES if name != "softmax")  # which needs its whole row
# Zero almost everywhere: they say nothing about a direction of descent.
NOT_DIFFERENTIABLE = frozenset({"step", "sign"})


@inlined
def _step(z):
    return z if z != z else like(1, z) if z >= 0 else like(0, z)


@inlined
def _sign(z):
    return like(1, z) if z > 0 else like(-1, z) if z < 0 else z


def _in_place(phi: Callable[..., Any]) -> Any:
    """Build Z = phi(Z) on rows of whole vectors: a remainder would not be vectorised."""

    @inlined
    def loop(Z, z, ldz, n_rows, width):
        for i in range(n_rows):
            row = Z[z + i * ldz : z + i * ldz + width]
            for j in range(width):
                row[j] = phi(row[j])

    return loop


_exp_in_place = _in_place(exp)
_sigmoid_in_place = _in_place(sigmoid)
_tanh_in_place = _in_place(tanh)
_step_in_place = _in_place(_step)
_sign_in_place = _in_place(_sign)


@inlined
def is_stored(code):
    """Return whether the activation is one of stored.py."""
    return code >= LEAKY_RELU


@inlined
def activate(code, bias, b, Z, z, ldz, n_rows, n_vectors):
    """Overwrite Z (n_rows, n_vectors * lanes), flat from offset z, by phi(Z + bias[b:]).

    Softmax needs its whole row and is left to `softmax`, others to `activate_stored`, to be called
    next: only their biases are added here.
    """
    if code == RELU:
        rowwise.relu(Z, z, ldz, bias, b, 0, n_rows, n_vectors, 0)
        return
    rowwise.add(Z, z, ldz, bias, b, 0, n_rows, n_vectors, 0)
    width = n_vectors * n_lanes(Z)
    if code == SIGMOID:
        _sigmoid_in_place(Z, z, ldz, n_rows, width)
    elif code == TANH:
        _tanh_in_place(Z, z, ldz, n_rows, width)
    elif code == STEP:
        _step_in_place(Z, z, ldz, n_rows, width)
    elif code == SIGN:
        _sign_in_place(Z, z, ldz, n_rows, width)


@inlined
def activate_stored(code, stores, address, Z, z, S, ldz, n_rows, n_vectors):
    """Overwrite Z by phi(Z), where `is_stored(code)`, and write the slopes S from offset z on.

    `address` is that of `stored.activate`.
    """
    if is_stored(code):
        width = n_vectors * n_lanes(Z)
        call_at(address, (code, stores, Z, z, S, ldz, n_rows, width))


@inlined
def multiply_by_derivative(code, stores, A, S, a, D, d, ld, n_rows, n_vectors):
    """Multiply D (n_rows, n_vectors * lanes) by phi'(Z), from A = phi(Z) or from the slopes S.

    Flat, from a and d on.
    """
    if stores > 0:
        rowwise.multiply(D, d, ld, S, a, ld, n_rows, n_vectors, 0)
    elif code == RELU:
        rowwise.relu_derivative(D, d, ld, A, a, ld, n_rows, n_vectors, 0)
    elif code == SIGMOID:
        rowwise.sigmoid_derivative(D, d, ld, A, a, ld, n_rows, n_vectors, 0)
    elif code == TANH:
        rowwise.tanh_derivative(D, d, ld, A, a, ld, n_rows, n_vectors, 0)


@inlined
def is_curved(code):
    """Return whether phi'' is anything but zero."""
    return code == SIGMOID or code == TANH or code >= ELU


@inlined
def multiply_by_curvature(code, stores, A, S, a, lda, X, x, ldx, n_rows, n_vectors):
    """Multiply X (n_rows, n_vectors * lanes) by phi''(Z) / phi'(Z), from A = phi(Z) or from S.

    Where `is_curved(code)`.
    """
    if stores > 0:
        rowwise.multiply(X, x, ldx, S, a + len(S) // 2, lda, n_rows, n_vectors, 0)
    elif code == SIGMOID:
        rowwise.sigmoid_curvature(X, x, ldx, A, a, lda, n_rows, n_vectors, 0)
    else:
        rowwise.tanh_curvature(X, x, ldx, A, a, lda, n_rows, n_vectors, 0)


@inlined
def softmax(Z, z, ldz, n_rows, n_columns, scale, P, log_sums):
    """Write scale * softmax(Z) into P, and log(sum of exp(Z)) of each row into log_sums.

    Z and P (n_rows, n_columns) flat, both from offset z with row stride ldz; rows of P have room
    for whole vectors. log_sums (n_rows,) float64. Neither overflows, however large Z.
    """
    few = 4 * n_columns <= n_lanes(P)  # not worth filling a vector
    width = n_columns if few else vectors_for(n_columns, P) * n_lanes(P)
    for i in range(n_rows):
        row = z + i * ldz
        largest = load(Z, row)
        for j in range(1, n_columns):
            z_j = load(Z, row + j)
            largest = z_j if z_j > largest else largest
        if few:
            for j in range(n_columns):
                store(P, row + j, exp(load(Z, row + j) - largest))
        else:
            for j in range(width):
                store(P, row + j, load(Z, row + j) - largest if j < n_columns else like(0, largest))
        log_sums[i] = largest
    if not few:
        _exp_in_place(P, z, ldz, n_rows, width)
    for i in range(n_rows):
        row = z + i * ldz
        total = like(0, scale)
        for j in range(n_columns):
            total += load(P, row + j)
        factor = scale / total
        for j in range(n_columns):
            store(P, row + j, factor * load(P, row + j))
        log_sums[i] += log(np.float64(total))
