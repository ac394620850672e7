"""The inner product of two rows of whole lines, as one fixed tree of sums on every CPU.

A line is 64 bytes. Two lines of running sums, which take the rows' lines in turns, are added and
folded in halves: the tree's shape depends on the length alone, not on the CPU's vectors.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from fastmlp.kernels.jit import emit_fma
from fastmlp.kernels.tile import FlatArray, number

LINE_BYTES = 64


@intrinsic
def line_length(typingctx, A):
    """Return how many of A's numbers fill a line, as a constant that LLVM sees."""
    count = LINE_BYTES * 8 // A.dtype.bitwidth

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return number(count)

    return types.intp(A), codegen


def _make_dot_lines(in_float64: bool) -> Any:
    @intrinsic
    def dot_lines(typingctx, A, a, B, b, n_lines):
        i = types.intp

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            A = FlatArray(context, builder, signature.args[0], args[0], args[1], LINE_BYTES)
            B = FlatArray(context, builder, signature.args[2], args[2], args[3], LINE_BYTES)
            element = ir.DoubleType() if in_float64 else A.vector.element
            sum_type = ir.VectorType(element, A.n_lanes)
            zero = ir.Constant(sum_type, [0.0] * A.n_lanes)
            sums = [cgutils.alloca_once_value(builder, zero) for _ in range(2)]

            def load(X: FlatArray, at: Any) -> Any:
                line = X.load(at)
                return line if line.type == sum_type else builder.fpext(line, sum_type)

            def add_line(line: Any, total: Any) -> None:
                at = builder.mul(line, number(A.n_lanes))
                value = emit_fma(builder, load(A, at), load(B, at), builder.load(total))
                builder.store(value, total)

            pairs = builder.sdiv(args[4], number(2))
            with cgutils.for_range(builder, pairs) as pair:
                first = builder.mul(pair.index, number(2))
                add_line(first, sums[0])
                add_line(builder.add(first, number(1)), sums[1])
            with builder.if_then(builder.trunc(args[4], ir.IntType(1))):
                add_line(builder.sub(args[4], number(1)), sums[0])
            total = builder.fadd(*(builder.load(s) for s in sums))
            half = A.n_lanes // 2
            while half:
                low, high = (
                    builder.shuffle_vector(
                        total, total, ir.Constant(ir.VectorType(ir.IntType(32), half), picks)
                    )
                    for picks in (list(range(half)), list(range(half, 2 * half)))
                )
                total = builder.fadd(low, high)
                half //= 2
            return builder.extract_element(total, ir.Constant(ir.IntType(32), 0))

        result = types.float64 if in_float64 else A.dtype
        return result(A, i, B, i, i), codegen

    return dot_lines


# The sum of A[a + j] B[b + j] over n_lines lines, summed in A's own type, or in float64.
dot_lines = _make_dot_lines(in_float64=False)
dot_lines_in_float64 = _make_dot_lines(in_float64=True)
