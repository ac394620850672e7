"""Elementwise work on rows of whole vectors, as vector instructions whatever may alias.

x op= y for X (n_rows, n_vectors * lanes) and Y, flat from offsets x and y on with row strides ldx
and ldy (0: one row of Y for all rows of X).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from fastmlp.kernels.jit import emit_fma
from fastmlp.kernels.tile import FlatArray, number


def _rowwise(emit: Callable[[Any, Any, Any, Any], Any]) -> Any:
    """Build the intrinsic X = emit(X, Y, s), s being one number for all."""

    @intrinsic
    def operation(typingctx, X, x, ldx, Y, y, ldy, n_rows, n_vectors, s):
        i = types.intp
        signature = types.void(X, i, i, Y, i, i, i, i, X.dtype)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            _, x, ldx, _, y, ldy, n_rows, n_vectors, s = args
            X = FlatArray(context, builder, signature.args[0], args[0], x)
            Y = FlatArray(context, builder, signature.args[3], args[3], y)
            scalar = X.broadcast(s)
            with cgutils.for_range(builder, n_rows) as row:
                x_row, y_row = builder.mul(row.index, ldx), builder.mul(row.index, ldy)
                with cgutils.for_range(builder, n_vectors) as column:
                    j = builder.mul(column.index, number(X.n_lanes))
                    at = builder.add(x_row, j)
                    value = emit(builder, X.load(at), Y.load(builder.add(y_row, j)), scalar)
                    X.store(value, at)
            return context.get_dummy_value()

        return signature, codegen

    return operation


def _constant(like: Any, value: float) -> Any:
    return ir.Constant(like.type, [value] * like.type.count)


def _relu(builder: Any, x: Any, y: Any, _: Any) -> Any:
    z, zero = builder.fadd(x, y), _constant(x, 0.0)
    # NaN is not below 0 and passes: divergence must stay visible.
    return builder.select(builder.fcmp_ordered("<", z, zero), zero, z)


def _relu_derivative(builder: Any, d: Any, a: Any, _: Any) -> Any:
    zero = _constant(d, 0.0)
    return builder.select(builder.fcmp_ordered(">", a, zero), d, zero)


def _sigmoid_derivative(builder: Any, d: Any, a: Any, _: Any) -> Any:
    return builder.fmul(d, builder.fmul(a, builder.fsub(_constant(a, 1.0), a)))


def _tanh_derivative(builder: Any, d: Any, a: Any, _: Any) -> Any:
    return builder.fmul(d, emit_fma(builder, builder.fneg(a), a, _constant(a, 1.0)))


def _sigmoid_curvature(builder: Any, x: Any, a: Any, _: Any) -> Any:
    return builder.fmul(x, emit_fma(builder, _constant(a, -2.0), a, _constant(a, 1.0)))


def _tanh_curvature(builder: Any, x: Any, a: Any, _: Any) -> Any:
    return builder.fmul(x, builder.fmul(_constant(a, -2.0), a))


add = _rowwise(lambda builder, x, y, _: builder.fadd(x, y))
copy = _rowwise(lambda builder, x, y, _: y)
multiply = _rowwise(lambda builder, x, y, _: builder.fmul(x, y))
scale = _rowwise(lambda builder, x, y, s: builder.fmul(s, y))  # x = s * y
relu = _rowwise(_relu)  # x = max(x + y, 0)
# x = x + s * y
multiply_add = _rowwise(lambda builder, x, y, s: emit_fma(builder, s, y, x))
add_squares = _rowwise(lambda builder, x, y, _: emit_fma(builder, y, y, x))
# d = d * phi'(z), from a = phi(z)
relu_derivative = _rowwise(_relu_derivative)
sigmoid_derivative = _rowwise(_sigmoid_derivative)
tanh_derivative = _rowwise(_tanh_derivative)
# x = x * phi''(z) / phi'(z), from a = phi(z)
sigmoid_curvature = _rowwise(_sigmoid_curvature)
tanh_curvature = _rowwise(_tanh_curvature)


@intrinsic
def prefetch(typingctx, X, x, ldx, n_rows, width):
    """Ask for X (n_rows, width) to be brought into the cache, to be written soon."""
    i = types.intp

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        X = FlatArray(context, builder, signature.args[0], args[0], args[1])
        byte = ir.IntType(8).as_pointer()
        i32 = ir.IntType(32)
        function = builder.module.declare_intrinsic(
            "llvm.prefetch", [byte], ir.FunctionType(ir.VoidType(), [byte, i32, i32, i32])
        )
        line = number(64 // X.size)
        n_lines = builder.sdiv(builder.add(args[4], builder.sub(line, number(1))), line)
        with cgutils.for_range(builder, args[3]) as row:
            start = builder.mul(row.index, args[2])
            with cgutils.for_range(builder, n_lines) as column:
                at = builder.add(start, builder.mul(column.index, line))
                pointer = builder.bitcast(builder.gep(X.base, [at]), byte)
                write, keep, data = (ir.Constant(i32, value) for value in (1, 3, 1))
                builder.call(function, [pointer, write, keep, data])
        return context.get_dummy_value()

    return types.void(X, i, i, i, i), codegen


@intrinsic
def load(typingctx, A, i):
    """Return A[i], i >= 0: without the test for negative indices that A[i] would make."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        A = FlatArray(context, builder, signature.args[0], args[0], args[1])
        return builder.load(A.base)

    return A.dtype(A, types.intp), codegen


@intrinsic
def store(typingctx, A, i, value):
    """A[i] = value, i >= 0: as `load`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        A = FlatArray(context, builder, signature.args[0], args[0], args[1])
        builder.store(args[2], A.base)
        return context.get_dummy_value()

    return types.void(A, types.intp, A.dtype), codegen
