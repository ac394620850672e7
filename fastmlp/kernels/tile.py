"""The register tile: C = A B (+ C) on a few rows and vectors of columns, held in registers.

Each output is one chain of fused multiply-adds over k in order, so the tile's shape, the CPU's
vector width and the thread that runs it do not change its bits.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from fastmlp.kernels.jit import cpu_features, emit_fma, inlined, kernel


def _shape() -> tuple[int, int, int]:
    """(vector bytes, most rows, most vectors): as many running sums as the registers hold."""
    features = cpu_features()
    if "avx512f" in features:  # 32 registers of 64 bytes
        return 64, 8, 3
    if {"avx2", "fma"} <= features:  # 16 registers of 32 bytes
        return 32, 6, 2
    if "neon" in features:  # 32 registers of 16 bytes
        return 16, 8, 3
    return 16, 4, 2


VECTOR_BYTES, ROWS, VECTORS = _shape()
_ROW_SHAPES = (ROWS, ROWS // 2, 1)
_BATCH_SHAPES = [(rows, v) for rows in _ROW_SHAPES for v in range(1, VECTORS + 1)]
# One row of A leaves the registers to many vectors of B: its rows are then read in long runs.
_SAMPLE_SHAPES = [(1, v) for v in (1, 2, 4, 8, 16)]


class FlatArray:
    """Vector and scalar access, inside an intrinsic, to a flat array from an offset on."""

    def __init__(
        self,
        context: Any,
        builder: Any,
        type_: Any,
        array: Any,
        offset: Any,
        vector_bytes: int = VECTOR_BYTES,
    ) -> None:
        self.builder = builder
        self.size, element = (
            (4, ir.FloatType()) if type_.dtype == types.float32 else (8, ir.DoubleType())
        )
        self.n_lanes = vector_bytes // self.size
        self.vector = ir.VectorType(element, self.n_lanes)
        data = context.make_array(type_)(context, builder, array).data
        self.base = builder.gep(data, [offset])

    def _vector_pointer(self, offset: Any) -> Any:
        pointer = self.builder.gep(self.base, [offset])
        return self.builder.bitcast(pointer, self.vector.as_pointer())

    def load(self, offset: Any) -> Any:
        """Return the vector at `offset`, aligned as single numbers are."""
        value = self.builder.load(self._vector_pointer(offset))
        value.align = self.size
        return value

    def store(self, value: Any, offset: Any) -> None:
        """Write a vector to `offset`."""
        self.builder.store(value, self._vector_pointer(offset)).align = self.size

    def load_one(self, offset: Any) -> Any:
        """Return the number at `offset`."""
        return self.builder.load(self.builder.gep(self.base, [offset]))

    def store_one(self, value: Any, offset: Any) -> None:
        """Write a number to `offset`."""
        self.builder.store(value, self.builder.gep(self.base, [offset]))

    def broadcast(self, scalar: Any) -> Any:
        """Return the scalar in every lane."""
        undefined = ir.Constant(self.vector, ir.Undefined)
        one = self.builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
        lane_zero = ir.Constant(ir.VectorType(ir.IntType(32), self.n_lanes), [0] * self.n_lanes)
        return self.builder.shuffle_vector(one, undefined, lane_zero)

    def spread(self, offset: Any) -> Any:
        """Return the number at `offset` in every lane."""
        return self.broadcast(self.load_one(offset))


@intrinsic
def n_lanes(typingctx, A):
    """Return how many of A's numbers fill a vector, as a constant that LLVM sees."""
    count = VECTOR_BYTES * 8 // A.dtype.bitwidth

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return number(count)

    return types.intp(A), codegen


@inlined
def vectors_for(n, A):
    """Return how many vectors hold n of A's numbers."""
    return (n + n_lanes(A) - 1) // n_lanes(A)


def number(value: int) -> Any:
    """Return an offset known at compile time."""
    return ir.Constant(ir.IntType(64), value)


def _emit_tile(
    builder: Any, A: Any, B: Any, C: Any, sizes: Any, n_rows: int, n_vectors: int, transposed: bool
) -> None:
    lda, ldb, ldc, n, accumulate = sizes
    places = [
        [builder.add(builder.mul(ldc, number(r)), number(v * C.n_lanes)) for v in range(n_vectors)]
        for r in range(n_rows)
    ]
    entry = builder.block
    resume = builder.append_basic_block("tile.resume")
    loop = builder.append_basic_block("tile.k")
    done = builder.append_basic_block("tile.end")
    builder.cbranch(accumulate, resume, loop)
    builder.position_at_end(resume)
    kept = [[C.load(place) for place in row] for row in places]
    builder.branch(loop)

    builder.position_at_end(loop)
    k = builder.phi(ir.IntType(64))
    k.add_incoming(number(0), entry)
    k.add_incoming(number(0), resume)
    sums = [[builder.phi(C.vector) for _ in row] for row in places]
    for r in range(n_rows):
        for v in range(n_vectors):
            sums[r][v].add_incoming(ir.Constant(C.vector, [0.0] * C.n_lanes), entry)
            sums[r][v].add_incoming(kept[r][v], resume)
    b_row = builder.mul(k, ldb)
    b = [B.load(builder.add(b_row, number(v * B.n_lanes))) for v in range(n_vectors)]
    for r in range(n_rows):
        if transposed:
            a = A.spread(builder.add(builder.mul(k, lda), number(r)))
        else:
            a = A.spread(builder.add(builder.mul(lda, number(r)), k))
        for v in range(n_vectors):
            total = emit_fma(builder, a, b[v], sums[r][v])
            sums[r][v].add_incoming(total, loop)
            sums[r][v] = total
    k_next = builder.add(k, number(1))
    k.add_incoming(k_next, loop)
    builder.cbranch(builder.icmp_signed("<", k_next, n), loop, done)

    builder.position_at_end(done)
    for row, totals in zip(places, sums, strict=True):
        for place, total in zip(row, totals, strict=True):
            C.store(total, place)


def _make_tile(shapes: list[tuple[int, int]], transposed: bool) -> Any:
    @intrinsic
    def tile(typingctx, A, a, lda, B, b, ldb, C, c, ldc, n, accumulate, n_rows, n_vectors):
        i = types.intp
        signature = types.void(A, i, i, B, i, i, C, i, i, i, types.boolean, i, i)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            (_, a, lda, _, b, ldb, _, c, ldc, n, accumulate, n_rows, n_vectors) = args
            A, B, C = (
                FlatArray(context, builder, signature.args[at], args[at], offset)
                for at, offset in ((0, a), (3, b), (6, c))
            )
            end = builder.append_basic_block("end")
            shape = builder.add(builder.mul(n_rows, number(100)), n_vectors)
            switch = builder.switch(shape, end)
            for rows, vectors in shapes:
                block = builder.append_basic_block(f"tile.{rows}.{vectors}")
                switch.add_case(rows * 100 + vectors, block)
                builder.position_at_end(block)
                sizes = (lda, ldb, ldc, n, accumulate)
                _emit_tile(builder, A, B, C, sizes, rows, vectors, transposed)
                builder.branch(end)
            builder.position_at_end(end)
            return context.get_dummy_value()

        return signature, codegen

    return tile


_tile = _make_tile(_BATCH_SHAPES, transposed=False)
_tile_transposed = _make_tile(_BATCH_SHAPES, transposed=True)
_sample_tile = _make_tile(_SAMPLE_SHAPES, transposed=False)
_HALF_ROWS = _ROW_SHAPES[1]


@inlined
def is_one_tile(n_rows):
    """Return whether `multiply` reads B once only for so many rows of A."""
    return n_rows == ROWS or n_rows == _HALF_ROWS or n_rows == 1


@kernel
def multiply(A, a, lda, B, b, ldb, C, c, ldc, n_rows, n, n_vectors, accumulate):
    """Write A B into C, or add it where `accumulate`; all flat, from offsets a, b, c on.

    A (n_rows, n), B (n, n_vectors * lanes), C (n_rows, n_vectors * lanes), with row strides
    lda, ldb, ldc.
    """
    i = 0
    while i < n_rows:
        rows = ROWS if n_rows - i >= ROWS else _HALF_ROWS if n_rows - i >= _HALF_ROWS else 1
        _tile(A, a + i * lda, lda, B, b, ldb, C, c + i * ldc, ldc, n, accumulate, rows, n_vectors)
        i += rows


@kernel
def multiply_transposed(A, a, lda, B, b, ldb, C, c, ldc, n_rows, n, n_vectors, accumulate):
    """Write A^T B into C, or add it where `accumulate`: as `multiply`, but A is (n, n_rows)."""
    i = 0
    while i < n_rows:
        rows = ROWS if n_rows - i >= ROWS else _HALF_ROWS if n_rows - i >= _HALF_ROWS else 1
        _tile_transposed(
            A, a + i, lda, B, b, ldb, C, c + i * ldc, ldc, n, accumulate, rows, n_vectors
        )
        i += rows


@inlined
def multiply_row(A, a, B, b, ldb, C, c, n, n_vectors):
    """Write A B into C for the one row A (n,): B (n, n_vectors * lanes), C (n_vectors * lanes,).

    Reads whole vectors of B: its last row needs that much room.
    """
    done = 0
    v = 16
    while done < n_vectors:
        while v > n_vectors - done:
            v //= 2
        j = done * n_lanes(C)
        _sample_tile(A, a, 0, B, b + j, ldb, C, c + j, 0, n, False, 1, v)
        done += v
