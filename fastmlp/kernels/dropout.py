"""Inverted dropout, by masks that are computed, not drawn: whoever asks gets the same bits.

Whether a unit is kept is a function of the seed, the number of the update, the layer, the row in
the batch and the unit (Srivastava et al., "Dropout", JMLR 15, 2014; counters in place of a state:
Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from fastmlp.kernels import activations
from fastmlp.kernels.jit import entry_kernel, inlined, kernel, like
from fastmlp.kernels.tile import n_lanes

# What the masks of a batch depend on: a seed, the number of the update, that of the batch's first
# row; and for the inputs of each layer a threshold.
SEED, N_UPDATES, FIRST_ROW, THRESHOLDS = range(4)
# A unit is kept where 32 random bits are at least the threshold: p times this.
ONE = 2**32


@inlined
def _mixed(x):
    """Return 64 bits that all depend on all those of x (splitmix64's finaliser)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@inlined
def _key(counters, layer, row):
    """Return the 64 bits that the mask of a row is computed from."""
    golden = np.uint64(0x9E3779B97F4A7C15)
    key = _mixed(np.uint64(counters[SEED]) + golden)
    key = _mixed(key + np.uint64(counters[N_UPDATES]) * golden)
    key = _mixed(key + np.uint64(layer) * golden)
    return _mixed(key + np.uint64(row) * golden)


@intrinsic
def _is_kept(typingctx: Any, key: Any, unit: Any, threshold: Any) -> Any:
    """Return whether 32 bits made of the key and the unit's number are at least the threshold.

    A multiply-xorshift hash (C. Wellons' lowbias32), the key's second half coming in between, so
    that no row is another one shifted. In 32 bits throughout: vectors hold twice as many.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        key, unit, threshold = args
        word = ir.IntType(32)
        low = builder.trunc(key, word)
        high = builder.trunc(builder.lshr(key, key.type(32)), word)
        x = builder.add(builder.mul(builder.trunc(unit, word), word(0x9E3779B9)), low)
        x = builder.xor(x, builder.lshr(x, word(16)))
        x = builder.mul(x, word(0x7FEB352D))
        x = builder.xor(x, builder.lshr(x, word(15)))
        x = builder.mul(builder.xor(x, high), word(0x846CA68B))
        x = builder.xor(x, builder.lshr(x, word(16)))
        return builder.icmp_unsigned(">=", x, builder.trunc(threshold, word))

    return types.boolean(types.uint64, types.int64, types.int64), codegen


@inlined
def _mask(key, unit, threshold, scale, x):
    """Multiply x, numbers of a row from a unit on, by scale or 0."""
    for j in range(len(x)):
        x[j] = x[j] * scale if _is_kept(key, unit + j, threshold) else like(0, scale)


@kernel
def drop(code, A, S, at, ld, n_rows, n_vectors, layer, row, unit, counters):
    """Multiply the inputs A of a layer (n_rows, n_vectors * lanes) by its mask, from a unit on.

    A is flat from offset `at` with row stride ld; its first row is row `row` of the batch. Where
    layer > 0, A = phi(Z), `code` says which, and S, of the same layout, becomes the mask times
    phi'(Z): the slopes of activations that store them are there already.
    """
    width = n_vectors * n_lanes(A)
    threshold = counters[THRESHOLDS + layer]
    scale = like(1 / (1 - threshold / ONE), A[0])
    if layer > 0 and not activations.is_stored(code):
        for i in range(n_rows):
            S[at + i * ld : at + i * ld + width] = like(1, scale)
        activations.multiply_by_derivative(code, 0, A, S, at, S, at, ld, n_rows, n_vectors)
    for i in range(n_rows):
        key = _key(counters, layer, counters[FIRST_ROW] + row + i)
        start = at + i * ld
        _mask(key, unit, threshold, scale, A[start : start + width])
        if layer > 0:
            _mask(key, unit, threshold, scale, S[start : start + width])


@entry_kernel
def masks(counters, layer, out):
    """Write 1 or 0 for each unit of the rows of a batch (n_rows, n_units): kept or not."""
    threshold = counters[THRESHOLDS + layer]
    for r in range(out.shape[0]):
        key = _key(counters, layer, counters[FIRST_ROW] + r)
        for j in range(out.shape[1]):
            out[r, j] = 1 if _is_kept(key, j, threshold) else 0
