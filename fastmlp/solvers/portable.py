"""Powers and cosines of arrays with the same bits on every computer.

The last bits of `np.power`, `np.exp` and `np.cos` differ between CPUs, and those of `math`'s
functions between C libraries. Here arrays meet only + - * / and the square root, one at a time,
which IEEE 754 defines to the last bit; what else is needed is decimal arithmetic, which is
software, or a literal. An entry's value does not depend on those beside it.
"""

from __future__ import annotations

import decimal
import functools

import numpy as np

# So many square roots leave a root within 2e-4 of 1, and a series ends after its third power.
ROOTS = 22
BLOCK = 256
# (pi/2)^(2n+1) / (2n+1)! (-1)^n: Taylor's series of sin(pi/2 u), exact to rounding for |u| <= 1/2.
SINE = (
    1.5707963267948966,
    -0.6459640975062463,
    0.07969262624616705,
    -0.004681754135318688,
    0.00016044118478735983,
    -3.598843235212085e-06,
    5.692172921967927e-08,
    -6.688035109811468e-10,
    6.0669357311061955e-12,
)
# Far more digits than a float64 has; nothing is trapped: what underflows is 0.
DIGITS = decimal.Context(
    prec=30,
    rounding=decimal.ROUND_HALF_EVEN,
    Emin=decimal.MIN_EMIN,
    Emax=decimal.MAX_EMAX,
    traps=[],
)


def power(x: np.ndarray, exponent: float) -> np.ndarray:
    """Return x^exponent, for finite x >= 1 (any shape, float64) and exponent >= 0.

    The relative error is below 1e-14 unless the exponent is large (an ulp or two for each 1). The
    binary digits of the fraction say which of x^(1/2), x^(1/4), ... to multiply.
    """
    whole, fraction = divmod(exponent, 1.0)
    with np.errstate(over="ignore"):
        result = _integer_power(x, int(whole))
        root = x
        for _ in range(ROOTS):
            if fraction == 0:
                return result
            root = np.sqrt(root)
            fraction *= 2
            if fraction >= 1:
                result, fraction = result * root, fraction - 1
        # root^fraction = (1 + d)^fraction by the binomial series.
        d, p = root - 1, fraction
        return result * (1 + p * d * (1 + (p - 1) / 2 * d * (1 + (p - 2) / 3 * d)))


def _integer_power(x: np.ndarray, exponent: int) -> np.ndarray:
    result, square = np.ones_like(x), x
    while exponent:
        if exponent % 2:
            result = result * square
        exponent //= 2
        if exponent:
            square = square * square
    return result


def powers(base: float, exponents: np.ndarray, unit: float = 1.0) -> np.ndarray:
    """Return base^(exponent / unit), for 0 < base < 1 and exponents (n,), int64, 0 or more.

    Each is the product of two correctly rounded powers: that of the exponent's remainder by 256,
    from a table, and that of the rest, computed once for a run of exponents that share it.
    """
    blocks = exponents // BLOCK
    starts = np.flatnonzero(np.diff(blocks, prepend=-1))
    lengths = np.diff(starts, append=len(blocks))
    coarse = np.array([_decimal_power(base, int(b) * BLOCK, unit) for b in blocks[starts]])
    results: np.ndarray = coarse.repeat(lengths) * _table(base, unit)[exponents - BLOCK * blocks]
    return results


@functools.lru_cache(maxsize=16)
def _table(base: float, unit: float) -> np.ndarray:
    return np.array([_decimal_power(base, exponent, unit) for exponent in range(BLOCK)])


def _decimal_power(base: float, exponent: int, unit: float) -> float:
    scaled = DIGITS.divide(exponent, decimal.Decimal(unit))
    return float(DIGITS.exp(DIGITS.multiply(_logarithm(base), scaled)))


@functools.lru_cache(maxsize=16)
def _logarithm(base: float) -> decimal.Decimal:
    return DIGITS.ln(decimal.Decimal(base))


def half_cosine(done: np.ndarray, left: np.ndarray) -> np.ndarray:
    """Return (1 + cos(pi done)) / 2, where done + left = 1, both in [0, 1].

    Exactly 1 where done is 0, 0 where left is 0; the relative error is about 1e-15. Both are asked
    for, since 1 - done has lost the digits of a small `left`.
    """
    u = np.minimum(done, left)
    square, sine = u * u, np.full_like(u, SINE[-1])
    for coefficient in SINE[-2::-1]:
        sine = sine * square + coefficient
    sine = sine * u
    share: np.ndarray = sine * sine  # sin^2(pi/2 u) = (1 - cos(pi u)) / 2
    return np.where(done < left, 1 - share, share)
