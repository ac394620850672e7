"""Copies of weight panels into contiguous scratch, as they are or transposed.

A panel is `n_vectors` vectors wide. Packed, its rows lie side by side in the cache whatever the
layer's width, where rows of a wide layer would fall on the same few cache lines.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from fastmlp.kernels.jit import kernel
from fastmlp.kernels.tile import FlatArray, n_lanes, number, vectors_for


@intrinsic
def _copy_vector(typingctx, source, s, target, t):
    """target[t:t + lanes] = source[s:s + lanes]."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source, target = (
            FlatArray(context, builder, signature.args[at], args[at], args[at + 1]) for at in (0, 2)
        )
        target.store(source.load(number(0)), number(0))
        return context.get_dummy_value()

    return types.void(source, types.intp, target, types.intp), codegen


@intrinsic
def _transpose_block(typingctx, source, s, stride, last_row, target, t, target_stride):
    """target[j, i] = source[min(i, last_row), j] for a square of one vector's width."""
    i = types.intp

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, s, stride, last_row, _, t, target_stride = args
        source = FlatArray(context, builder, signature.args[0], args[0], s)
        target = FlatArray(context, builder, signature.args[4], args[4], t)
        n = source.n_lanes

        def row(i: int) -> Any:
            inside = builder.icmp_signed("<", number(i), last_row)
            return source.load(builder.mul(builder.select(inside, number(i), last_row), stride))

        def shuffle(a: Any, b: Any, picks: list[int]) -> Any:
            mask = ir.Constant(ir.VectorType(ir.IntType(32), n), picks)
            return builder.shuffle_vector(a, b, mask)

        rows = [row(i) for i in range(n)]
        # Swap the off-diagonal blocks of every 2h x 2h square, from the largest squares down.
        h = n // 2
        while h:
            for i in range(n):
                if i & h:
                    continue
                a, b = rows[i], rows[i + h]
                rows[i] = shuffle(a, b, [n + j - h if j & h else j for j in range(n)])
                rows[i + h] = shuffle(a, b, [n + j if j & h else j + h for j in range(n)])
            h //= 2
        for j in range(n):
            target.store(rows[j], builder.mul(target_stride, number(j)))
        return context.get_dummy_value()

    return types.void(source, i, i, i, source, i, i), codegen


@kernel
def pack(w, offset, stride, n, width, P):
    """P[k, j] = w[offset + k * stride + j], k < n, j < width; P's rows are whole vectors.

    Lanes beyond `width` receive what follows in w, or zeros at its end: any finite or other
    number, never part of a result.
    """
    lanes = n_lanes(P)
    n_vectors = vectors_for(width, P)
    ld = n_vectors * lanes
    n_safe = min(n, (w.size - offset - ld) // stride + 1) if w.size >= offset + ld else 0
    for k in range(n_safe):
        for v in range(n_vectors):
            _copy_vector(w, offset + k * stride + v * lanes, P, k * ld + v * lanes)
    for k in range(n_safe, n):
        p = P[k * ld : (k + 1) * ld]
        row = w[offset + k * stride :]
        for j in range(ld):
            p[j] = row[j] if j < width else 0


@kernel
def pack_transposed(w, offset, stride, n, width, P):
    """P[k, j] = w[offset + j * stride + k], k < n, j < width; P's rows are whole vectors.

    P has room for n rounded up to whole vectors. Lanes beyond `width` repeat the last column.
    """
    lanes = n_lanes(P)
    n_vectors = vectors_for(width, P)
    ld = n_vectors * lanes
    for v in range(n_vectors):
        j0 = v * lanes
        last = min(lanes, width - j0) - 1
        start = offset + j0 * stride
        # A block reads whole vectors: keep those that would pass the end of w for the plain loop.
        room = w.size - (start + last * stride)
        n_blocks = min(vectors_for(n, P), max(0, room // lanes))
        for block in range(n_blocks):
            k = block * lanes
            _transpose_block(w, start + k, stride, last, P, k * ld + j0, ld)
        for k in range(n_blocks * lanes, n):
            for j in range(lanes):
                P[k * ld + j0 + j] = w[start + min(j, last) * stride + k]
