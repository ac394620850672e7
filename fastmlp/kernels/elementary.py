"""Elementary functions of one number, that the compiler vectorises in plain loops.

Each takes a float32 or float64 and returns the same type. No branch, table or call is left in the
machine code, and every multiply-add that shall fuse is written `fma`: on CPUs with FMA the result
has the same bits whatever the vectors' width, and in a loop's remainder as in its body.

The errors stated are relative to the true value, in units of eps, 2^-23 (float32) or 2^-52
(float64); they are the largest ones measured, rounded up. A subnormal result may besides be off by
one step of the subnormal grid. Without FMA the errors grow by up to 0.2 eps. NaN gives NaN.

The reduction of exp is that of Cephes (S. Moshier), with its split of ln 2; the formula of log is
that of fdlibm (Sun Microsystems, e_log.c). The polynomials are minimax, by Remez' exchange.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from fastmlp.kernels.jit import emit_fma, entry_kernel, fma, inlined

# Constants and coefficients come in pairs: for float32, for float64.
LOG2_E = (1.44269504088896341, 1.44269504088896341)
LN2 = 0.693147180559945309
# ln 2 in two parts; the first has so few bits that its product with an exponent is exact.
LN2_HIGH = (0.693359375, 6.93147180369123816490e-01)
LN2_LOW = (-2.12194440e-4, 1.90821492927058770002e-10)
MINUS_LN2_HIGH = (-LN2_HIGH[0], -LN2_HIGH[1])
MINUS_LN2_LOW = (-LN2_LOW[0], -LN2_LOW[1])
INFINITY, NAN = float("inf"), float("nan")
# Below EXP_LOW exp is 0, above EXP_HIGH infinite; above TANH_HIGH tanh is 1.
EXP_LOW = (-104.0, -746.0)
EXP_HIGH = (89.0, 710.0)
TANH_HIGH = (10.0, 20.0)
NEGATIVE_LOW = (-87.0, -708.0)  # e^x is a normal number
# In [2^m, 2^(m+1)), m bits of mantissa, neighbours differ by 1: adding 1.5 * 2^m rounds to an
# integer, which is then found in the low bits. The bias of one power of 2, or two, is added too.
ROUND_ONE_POWER = (1.5 * 2.0**23 + 127, 1.5 * 2.0**52 + 1023)
ROUND_TWO_POWERS = (1.5 * 2.0**23 + 254, 1.5 * 2.0**52 + 2046)
NORMAL = (2.0**-126, 2.0**-1022)
TO_NORMAL = (2.0**23, 2.0**52)
TO_NORMAL_EXPONENT = (23.0, 52.0)
EXPM1 = (  # (e^r - 1 - r) / r^2 for |r| <= ln(2) / 2
    (
        0.5,
        0.1666666716337204,
        0.041666366159915924,
        0.00833327416330576,
        0.0013940377393737435,
        0.00019913734286092222,
    ),
    (
        0.5,
        0.16666666666666677,
        0.0416666666666667,
        0.008333333333322104,
        0.00138888888888677,
        0.00019841269885087525,
        2.480158735924547e-05,
        2.755724513169348e-06,
        2.7557243657134645e-07,
        2.5108750384153658e-08,
        2.0924215308449428e-09,
    ),
)
LOG1P = (  # (2 atanh(s) / s - 2) / z with z = s^2 <= 1/9
    (
        0.6666667461395264,
        0.39999082684516907,
        0.2861190140247345,
        0.21477223932743073,
        0.24127766489982605,
    ),
    (
        0.6666666666666657,
        0.40000000000071756,
        0.28571428557419004,
        0.22222223432523272,
        0.18181761268584606,
        0.15386217836121596,
        0.1330516591674624,
        0.12074925892825186,
        0.08468736676096797,
        0.1679226428217633,
    ),
)


def _ir_types(x: Any) -> tuple[Any, Any, int, int]:
    """LLVM's float and integer of Numba float type x, its bits of mantissa, its exponent's bias."""
    if x == types.float64:
        return ir.DoubleType(), ir.IntType(64), 52, 1023
    return ir.FloatType(), ir.IntType(32), 23, 127


def _rounded(builder: Any, x: Any, constant: Any) -> Any:
    """Emit the conversion of a float64 constant, folded at compile time, to Numba type x."""
    return constant if x == types.float64 else builder.fptrunc(constant, ir.FloatType())


@intrinsic
def as_type(typingctx: Any, x: Any, value: Any) -> Any:
    """Return the constant `value`, or the member of a pair that is for x's type, in x's type."""
    if x not in (types.float32, types.float64):
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        constant = args[1]
        if isinstance(value, types.BaseTuple):
            constant = builder.extract_value(constant, int(x == types.float64))
        return _rounded(builder, x, constant)

    return x(x, value), codegen


@intrinsic
def polynomial(typingctx: Any, x: Any, pair: Any) -> Any:
    """Return the sum of c[k] x^k by Horner's rule, c the pair's member for x's type."""
    member = int(x == types.float64)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        coefficients = [
            _rounded(builder, x, builder.extract_value(args[1], (member, k)))
            for k in range(pair[member].count)
        ]
        total = coefficients.pop()
        while coefficients:
            total = emit_fma(builder, total, args[0], coefficients.pop())
        return total

    return x(x, pair), codegen


@intrinsic
def select(typingctx: Any, condition: Any, yes: Any, no: Any) -> Any:
    """Return `yes` if the condition holds, else `no`, without a branch."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(*args)

    return yes(types.boolean, yes, yes), codegen


@intrinsic
def _copysign(typingctx: Any, size: Any, sign: Any) -> Any:
    """Return `size` with the sign bit of `sign`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        function_type = ir.FunctionType(args[0].type, [args[0].type] * 2)
        function = builder.module.declare_intrinsic("llvm.copysign", (args[0].type,), function_type)
        return builder.call(function, args)

    return size(size, size), codegen


@intrinsic
def _one_power(typingctx: Any, t: Any) -> Any:
    """Return 2^n, where t = n + ROUND_ONE_POWER."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        real, integer, mantissa_bits, _ = _ir_types(t)
        bits = builder.bitcast(args[0], integer)
        return builder.bitcast(builder.shl(bits, integer(mantissa_bits)), real)

    return t(t), codegen


@intrinsic
def _two_powers(typingctx: Any, t: Any) -> Any:
    """Return two powers of 2 whose product is 2^n, where t = n + ROUND_TWO_POWERS.

    They are normal numbers for every n that exp needs, though 2^n may be subnormal or infinite.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        real, integer, mantissa_bits, _ = _ir_types(t)
        bits = builder.bitcast(args[0], integer)
        half = builder.lshr(bits, integer(1))
        powers = [
            builder.bitcast(builder.shl(part, integer(mantissa_bits)), real)
            for part in (half, builder.sub(bits, half))
        ]
        return context.make_tuple(builder, signature.return_type, powers)

    return types.UniTuple(t, 2)(t), codegen


@intrinsic
def _mantissa_exponent(typingctx: Any, x: Any) -> Any:
    """Return (m, k) with x = m 2^k and m in about [sqrt(1/2), sqrt(2)), for a normal x > 0."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        real, integer, mantissa_bits, bias = _ir_types(x)
        least = ((bias - 1) << mantissa_bits) + (53 << (mantissa_bits - 7))  # bits of 181 / 256
        to_one = (bias << mantissa_bits) - least
        bits = builder.add(builder.bitcast(args[0], integer), integer(to_one))
        mantissa = builder.and_(bits, integer((1 << mantissa_bits) - 1))
        mantissa = builder.bitcast(builder.add(mantissa, integer(least)), real)
        # Write k + bias into the mantissa of 2^mantissa_bits: AVX2 has no int64 -> float64.
        exponent = builder.lshr(bits, integer(mantissa_bits))
        exponent = builder.or_(exponent, integer((bias + mantissa_bits) << mantissa_bits))
        exponent = builder.bitcast(exponent, real)
        exponent = builder.fsub(exponent, real(2.0**mantissa_bits + bias))
        return context.make_tuple(builder, signature.return_type, (mantissa, exponent))

    return types.UniTuple(x, 2)(x), codegen


@inlined
def _reduce(x: Any, rounder: Any) -> Any:
    """Return (t, r, q): e^x = 2^n e^r, |r| <= ln(2) / 2, t = n + rounder, e^r = 1 + r + q r^2."""
    t = fma(x, as_type(x, LOG2_E), rounder)
    n = t - rounder
    r = fma(n, as_type(x, MINUS_LN2_HIGH), x)
    r = fma(n, as_type(x, MINUS_LN2_LOW), r)
    return t, r, polynomial(r, EXPM1)


@inlined
def _power_and_rest(x: Any) -> Any:
    """Return (p, s): e^x = p + p s, where p, a power of 2, is a normal number."""
    t, r, q = _reduce(x, as_type(x, ROUND_ONE_POWER))
    return _one_power(t), fma(r * r, q, r)


@inlined
def _log(f: Any, k: Any) -> Any:
    """Return log((1 + f) 2^k) for f in [-0.3, 1]; log(1 + f) = 2 atanh(s) with s = f / (2 + f)."""
    s = f / (f + as_type(f, 2.0))
    z = s * s
    h = as_type(f, 0.5) * f * f
    low = fma(s, fma(z, polynomial(z, LOG1P), h), k * as_type(f, LN2_LOW))
    return fma(k, as_type(f, LN2_HIGH), f - (h - low))


@inlined
def exp(x: Any) -> Any:
    """Return e^x. Error at most 0.7 eps (float32), 0.7 eps (float64)."""
    one, low, high = as_type(x, 1.0), as_type(x, EXP_LOW), as_type(x, EXP_HIGH)
    x = select(x < low, low, x)  # NaN stays
    x = select(x > high, high, x)
    t, r, q = _reduce(x, as_type(x, ROUND_TWO_POWERS))
    power, other_power = _two_powers(t)
    return fma(r, fma(r, q, one), one) * power * other_power


@inlined
def exp_and_expm1(x: Any) -> Any:
    """Return e^x and e^x - 1 for x <= 0, x below NEGATIVE_LOW counting as that.

    Error at most 0.7 eps and 1 eps, for both types.
    """
    low = as_type(x, NEGATIVE_LOW)
    power, rest = _power_and_rest(select(x < low, low, x))
    return fma(power, rest, power), fma(power, rest, power - as_type(x, 1.0))


@inlined
def log(x: Any) -> Any:
    """Return log x: -inf at 0, NaN below. Error at most 0.7 eps (float32), 0.75 eps (float64)."""
    zero, infinity = as_type(x, 0.0), as_type(x, INFINITY)
    subnormal = x < as_type(x, NORMAL)
    m, k = _mantissa_exponent(select(subnormal, x * as_type(x, TO_NORMAL), x))
    k = select(subnormal, k - as_type(x, TO_NORMAL_EXPONENT), k)
    y = select(x < infinity, _log(m - as_type(x, 1.0), k), x)
    return select(x > zero, y, select(x == zero, -infinity, as_type(x, NAN)))


@inlined
def sigmoid(x: Any) -> Any:
    """Return 1 / (1 + e^-x). Error at most 1.6 eps (float32), 1.6 eps (float64)."""
    one = as_type(x, 1.0)
    e = exp(-abs(x))
    return select(x < as_type(x, 0.0), e, one) / (one + e)


@inlined
def tanh(x: Any) -> Any:
    """Return tanh x, odd in x. Error at most 1.6 eps (float32), 1.7 eps (float64)."""
    size, high = abs(x), as_type(x, TANH_HIGH)
    size = select(size > high, high, size)
    power, rest = _power_and_rest(size + size)
    d = fma(power, rest, power - as_type(x, 1.0))  # e^(2 size) - 1, accurate near 0
    return _copysign(d / (d + as_type(x, 2.0)), x)


@inlined
def softplus(x: Any) -> Any:
    """Return log(1 + e^x). Error at most 1.5 eps (float32), 1.5 eps (float64)."""
    zero = as_type(x, 0.0)
    return select(x > zero, x, zero) + _log(exp(-abs(x)), zero)


@inlined
def log_cosh(x: Any) -> Any:
    """Return log((e^x + e^-x) / 2). Error at most 5 eps (float32), 5 eps (float64)."""
    zero, one, two = as_type(x, 0.0), as_type(x, 1.0), as_type(x, 2.0)
    size = abs(x)
    t = tanh(size / two)
    near = _log(two * t * t / fma(-t, t, one), zero)  # cosh x = (1 + t^2) / (1 - t^2)
    far = size + (_log(exp(-two * size), zero) - as_type(x, LN2))
    return select(size < one, near, far)


@entry_kernel
def to_logarithms(x: Any) -> None:
    """Replace each number of x (n,) by its logarithm."""
    for j in range(x.size):
        x[j] = log(x[j])
