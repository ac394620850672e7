"""Update rules: w and the rule's state, from the gradient, in one pass over a tile.

A rule is written once, as a formula on `Value`s, and emitted for whole vectors and for the numbers
left over at a row's end: their bits are the same. w, the gradient g and the states s may be tiles
of larger arrays. The coefficients c of an update (the step size among them) come from Python.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from fastmlp.kernels.jit import emit_call, emit_fma, kernel
from fastmlp.kernels.tile import FlatArray, number

(
    SGD, MOMENTUM, NESTEROV, ADAGRAD, RMSPROP, RMSPROP_MOMENTUM, RMSPROP_CENTERED,
    RMSPROP_CENTERED_MOMENTUM, ADAM, AMSGRAD, ADAMW, RPROP,
) = range(12)  # fmt: skip
# An update's coefficients: the step size; strengths of penalties; the largest entry and norm of the
# gradient, and what that makes to multiply it by; what decoupled decay leaves of the weights; the
# largest norm of a column; the newest iterate's share of the mean; five of the rule's own.
STEP, L1, L2, CLIP, CLIP_NORM, FACTOR, DECAY, MAX_NORM, AVERAGE, OWN = range(10)
N_OWN = 5
N_COEFFICIENTS = OWN + N_OWN


class Value:
    """A number, or a vector of them, in the code being emitted; with Python's operators."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    def _lift(self, other: Any) -> Any:
        if isinstance(other, Value):
            return other.value
        kind = self.value.type
        if isinstance(kind, ir.VectorType):
            return ir.Constant(kind, [float(other)] * kind.count)
        return ir.Constant(kind, float(other))

    def _new(self, value: Any) -> Value:
        return Value(self.builder, value)

    def __add__(self, other: Any) -> Value:
        return self._new(self.builder.fadd(self.value, self._lift(other)))

    def __sub__(self, other: Any) -> Value:
        return self._new(self.builder.fsub(self.value, self._lift(other)))

    def __mul__(self, other: Any) -> Value:
        return self._new(self.builder.fmul(self.value, self._lift(other)))

    def __truediv__(self, other: Any) -> Value:
        return self._new(self.builder.fdiv(self.value, self._lift(other)))

    def __neg__(self) -> Value:
        return self._new(self.builder.fneg(self.value))

    def __gt__(self, other: Any) -> Value:
        return self._new(self.builder.fcmp_ordered(">", self.value, self._lift(other)))

    def __lt__(self, other: Any) -> Value:
        return self._new(self.builder.fcmp_ordered("<", self.value, self._lift(other)))

    def choose(self, yes: Any, no: Any) -> Value:
        """Return `yes` where this condition holds, else `no`; one of them a Value."""
        like = yes if isinstance(yes, Value) else no
        return like._new(self.builder.select(self.value, like._lift(yes), like._lift(no)))


def fma(a: Value, b: Value, c: Value) -> Value:
    """Return a b + c, fused."""
    return Value(a.builder, emit_fma(a.builder, a.value, b.value, c.value))


def sqrt(x: Value) -> Value:
    """Return the square root."""
    return Value(x.builder, emit_call(x.builder, "sqrt", x.value))


def largest(x: Any, bound: Any) -> Any:
    """Return the larger of x and a bound; NaN stays."""
    return (x < bound).choose(bound, x)


def smallest(x: Any, bound: Any) -> Any:
    """Return the smaller of x and a bound; NaN stays."""
    return (x > bound).choose(bound, x)


def sign(x: Value) -> Value:
    """Return 1, -1 or 0."""
    return (x > 0).choose(1, (x < 0).choose(-1, x * 0))


# Rules: (w, g, states, step, decay, own coefficients) -> w, states -----------------------------


def _sgd(w: Any, g: Any, s: Any, step: Any, decay: Any, c: Any) -> Any:
    return fma(-step, g, w), s


def _momentum(w: Any, g: Any, s: Any, step: Any, decay: Any, c: Any) -> Any:
    (velocity,) = s
    velocity = fma(c[0], velocity, g)
    return fma(-step, velocity, w), (velocity,)


def _nesterov(w: Any, g: Any, s: Any, step: Any, decay: Any, c: Any) -> Any:
    (velocity,) = s
    velocity = fma(c[0], velocity, g)
    return fma(-step, fma(c[0], velocity, g), w), (velocity,)


def _adagrad(w: Any, g: Any, s: Any, step: Any, decay: Any, c: Any) -> Any:
    (total,) = s
    total = fma(g, g, total)
    return fma(-step, g / (sqrt(total) + c[0]), w), (total,)


def _rmsprop(centered: bool, momentum: bool) -> Any:
    def rule(w: Any, g: Any, s: Any, step: Any, decay: Any, c: Any) -> Any:
        square, *rest = s
        keep, change, eps, mu = c[:4]
        square = fma(keep, square, change * g * g)
        states, spread = [square], square
        if centered:
            mean = rest.pop(0)
            mean = fma(change, g - mean, mean)
            states.append(mean)
            spread = largest(fma(-mean, mean, square), 0)
        g = g / (sqrt(spread) + eps)
        if momentum:
            g = fma(mu, rest.pop(0), g)
            states.append(g)
        return fma(-step, g, w), states

    return rule


def _adam(w: Any, g: Any, s: Any, step: Any, decay: Any, c: Any) -> Any:
    mean, square = s
    change, keep_square, change_square, root, eps = c[:5]
    mean = fma(change, g - mean, mean)
    square = fma(keep_square, square, change_square * g * g)
    return fma(-step, mean / fma(sqrt(square), root, eps), w), (mean, square)


def _amsgrad(w: Any, g: Any, s: Any, step: Any, decay: Any, c: Any) -> Any:
    mean, square, greatest = s
    change, keep_square, change_square, root, eps = c[:5]
    mean = fma(change, g - mean, mean)
    square = fma(keep_square, square, change_square * g * g)
    greatest = largest(square, greatest)
    return fma(-step, mean / fma(sqrt(greatest), root, eps), w), (mean, square, greatest)


def _adamw(w: Any, g: Any, s: Any, step: Any, decay: Any, c: Any) -> Any:
    return _adam(w * decay, g, s, step, decay, c)


def _rprop(w: Any, g: Any, s: Any, step: Any, decay: Any, c: Any) -> Any:
    previous, size = s
    increase, decrease, least, most, is_first = c[:5]
    size = (is_first > 0).choose(step, size)
    turned = sign(g) * sign(previous)
    size = (turned > 0).choose(size * increase, (turned < 0).choose(size * decrease, size))
    size = smallest(largest(size, least), most)
    g = (turned < 0).choose(0, g)
    return fma(-sign(g), size, w), (g, size)


def _adjusted(w: Any, g: Any, s: Any, factor: Any, l2: Any, c: Any) -> Any:
    """Return the gradient, clipped, and the penalties' added."""
    l1, clip = c[:2]
    g = smallest(largest(g * factor, -clip), clip)
    return fma(l1, sign(w), fma(l2, w, g)), s


def _on_tiles(rule: Callable[..., Any], n_states: int, writes_gradient: bool = False) -> Any:
    """Build the intrinsic that does `rule` on a tile; its result goes into w, or into g.

    w (n_rows, n_columns), flat from offset `at` with row stride ldw; state k likewise, from offset
    k * n_params + at; G from offset g, with row stride ldg.
    """

    @intrinsic
    def operation(typingctx, w, at, ldw, states, n_params, G, g, ldg, n_rows, n_columns, a, b, c):
        i = types.intp
        real, own = w.dtype, types.UniTuple(types.float64, N_OWN)
        signature = types.void(w, i, i, states, i, G, i, i, i, i, types.float64, types.float64, own)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            _, at, ldw, _, n_params, _, g, ldg, n_rows, n_columns, a, b, c = args
            kinds = signature.args
            W = FlatArray(context, builder, kinds[0], args[0], at)
            gradient = FlatArray(context, builder, kinds[5], args[5], g)
            states = [
                FlatArray(
                    context, builder, kinds[3], args[3],
                    builder.add(at, builder.mul(n_params, number(k))),
                )
                for k in range(n_states)
            ]  # fmt: skip
            scalars = [
                context.cast(builder, x, types.float64, real)
                for x in (a, b, *cgutils.unpack_tuple(builder, c))
            ]
            vectors = [W.broadcast(x) for x in scalars]

            def do(at: Any, at_g: Any, load: str, store: str, coefficients: list[Any]) -> None:
                a, b, *own = (Value(builder, x) for x in coefficients)
                w = Value(builder, getattr(W, load)(at))
                g = Value(builder, getattr(gradient, load)(at_g))
                s = tuple(Value(builder, getattr(S, load)(at)) for S in states)
                result, s = rule(w, g, s, a, b, own)
                for S, value in zip(states, s, strict=True):
                    getattr(S, store)(value.value, at)
                if writes_gradient:
                    getattr(gradient, store)(result.value, at_g)
                else:
                    getattr(W, store)(result.value, at)

            lanes = number(W.n_lanes)
            n_vectors = builder.sdiv(n_columns, lanes)
            n_left = builder.sub(n_columns, builder.mul(n_vectors, lanes))
            with cgutils.for_range(builder, n_rows) as row:
                w_row, g_row = builder.mul(row.index, ldw), builder.mul(row.index, ldg)
                with cgutils.for_range(builder, n_vectors) as column:
                    j = builder.mul(column.index, lanes)
                    do(builder.add(w_row, j), builder.add(g_row, j), "load", "store", vectors)
                with cgutils.for_range(builder, n_left) as column:
                    j = builder.add(builder.mul(n_vectors, lanes), column.index)
                    do(
                        builder.add(w_row, j), builder.add(g_row, j),
                        "load_one", "store_one", scalars,
                    )  # fmt: skip
            return context.get_dummy_value()

        return signature, codegen

    return operation


_adjust = _on_tiles(_adjusted, 0, writes_gradient=True)
_do_sgd = _on_tiles(_sgd, 0)
_do_momentum = _on_tiles(_momentum, 1)
_do_nesterov = _on_tiles(_nesterov, 1)
_do_adagrad = _on_tiles(_adagrad, 1)
_do_rmsprop = _on_tiles(_rmsprop(centered=False, momentum=False), 1)
_do_rmsprop_momentum = _on_tiles(_rmsprop(centered=False, momentum=True), 2)
_do_rmsprop_centered = _on_tiles(_rmsprop(centered=True, momentum=False), 2)
_do_rmsprop_centered_momentum = _on_tiles(_rmsprop(centered=True, momentum=True), 3)
_do_adam = _on_tiles(_adam, 2)
_do_amsgrad = _on_tiles(_amsgrad, 3)
_do_adamw = _on_tiles(_adamw, 2)
_do_rprop = _on_tiles(_rprop, 2)


@kernel
def update(rule, w, at, ldw, states, n_params, G, g, ldg, n_rows, n_columns, c, is_weight):
    """Do one update of a tile of parameters; G, where clipped or penalised, is overwritten.

    w, states and G as in `_on_tiles`; c (N_COEFFICIENTS,) float64. Neither penalties nor decay
    touch what is no weight.
    """
    l1, l2 = (c[L1], c[L2]) if is_weight else (0.0, 0.0)
    decay = c[DECAY] if is_weight else 1.0
    if l1 != 0 or l2 != 0 or c[CLIP] < np.inf or c[FACTOR] != 1:
        adjust = (l1, c[CLIP], 0.0, 0.0, 0.0)
        _adjust(w, at, ldw, states, n_params, G, g, ldg, n_rows, n_columns, c[FACTOR], l2, adjust)
    own = (c[OWN], c[OWN + 1], c[OWN + 2], c[OWN + 3], c[OWN + 4])
    tile = (w, at, ldw, states, n_params, G, g, ldg, n_rows, n_columns, c[STEP], decay, own)
    if rule == SGD:
        _do_sgd(*tile)
    elif rule == MOMENTUM:
        _do_momentum(*tile)
    elif rule == NESTEROV:
        _do_nesterov(*tile)
    elif rule == ADAGRAD:
        _do_adagrad(*tile)
    elif rule == RMSPROP:
        _do_rmsprop(*tile)
    elif rule == RMSPROP_MOMENTUM:
        _do_rmsprop_momentum(*tile)
    elif rule == RMSPROP_CENTERED:
        _do_rmsprop_centered(*tile)
    elif rule == RMSPROP_CENTERED_MOMENTUM:
        _do_rmsprop_centered_momentum(*tile)
    elif rule == ADAM:
        _do_adam(*tile)
    elif rule == AMSGRAD:
        _do_amsgrad(*tile)
    elif rule == ADAMW:
        _do_adamw(*tile)
    elif rule == RPROP:
        _do_rprop(*tile)
