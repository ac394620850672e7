"""The elementary functions against wider arithmetic, special values, laws, and vector widths."""

from __future__ import annotations

import hashlib
import json
import re

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cases import AVX2_ONLY, needs_x86_with_fma, run_child
from fastmlp.kernels import elementary
from fastmlp.kernels.jit import OPTIONS, has_fma

NAMES = ("exp", "log", "sigmoid", "tanh", "softplus", "log_cosh")
DTYPES = (np.float32, np.float64)
INF, NAN = np.inf, np.nan
every_function = pytest.mark.parametrize("name", NAMES)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def loop(function):
    @numba.njit(**{**OPTIONS, "cache": False})
    def run(x, out):
        for j in range(x.shape[0]):
            out[j] = function(x[j])

    return run


LOOPS = {name: loop(getattr(elementary, name)) for name in NAMES}


def apply(name, x):
    out = np.full_like(x, -7)
    LOOPS[name](x, out)
    return out


def integers(dtype):
    return np.dtype(f"u{np.dtype(dtype).itemsize}")


def bits(values):
    """Bit patterns, with one pattern for every NaN."""
    return np.where(np.isnan(values), values.dtype.type(NAN), values).view(integers(values.dtype))


def wide(dtype):
    return np.float64 if dtype == np.float32 else np.longdouble


def reference(name, x):
    """The function in a wider type, each by its textbook formula."""
    x = x.astype(wide(x.dtype))
    e = np.exp(-abs(x))
    if name == "sigmoid":
        return np.where(x < 0, e, 1) / (1 + e)
    if name == "softplus":
        return np.maximum(x, 0) + np.log1p(e)
    if name == "log_cosh":
        near = np.log1p(2 * np.sinh(np.minimum(abs(x), 1) / 2) ** 2)
        return np.where(abs(x) < 1, near, abs(x) + np.log1p(e * e) - np.log(x.dtype.type(2)))
    return getattr(np, name)(x)


def bound(name, dtype):
    """Relative error that the docstring allows."""
    kind = np.dtype(dtype).name
    stated = re.search(rf"([\d.]+) eps \({kind}\)", getattr(elementary, name).__doc__)
    eps = np.finfo(dtype).eps
    n_eps = float(stated[1]) + (0 if has_fma() else 0.2)
    # Where long double is double, the reference has errors of its own.
    return (n_eps + (0 if np.finfo(wide(dtype)).eps < eps else 3)) * eps


def check(name, x):
    info = np.finfo(x.dtype)
    got = apply(name, x)
    with np.errstate(all="ignore"):
        exact = reference(name, x)
        rounded = exact.astype(x.dtype)  # to infinity where it does not fit
        allowed = bound(name, x.dtype) * abs(exact)
        allowed += np.where(abs(exact) < info.tiny, info.smallest_subnormal, 0)
        error = abs(got - exact)
        fine = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
        fine |= np.isfinite(rounded) & (error <= allowed)
        worst = np.nanmax(np.where(fine, 0, error / allowed), initial=0)
    bad = x[~fine]
    assert not bad.size, f"{name}: {bad.size} of {x.size}, at {bad[:4]}, {worst} x the bound"


def neighbourhoods(dtype, n=1000):
    """Numbers around zero, infinity, and all places where a formula changes."""
    info = np.finfo(dtype)
    low, high = np.log(info.smallest_subnormal / wide(dtype)(2)), np.log(info.max)
    centres = [info.tiny, info.tiny / info.eps, info.eps, 2**-0.5, 181 / 256, 1, 2**0.5, 2]
    centres += [info.max, low, np.log(info.tiny), high, 10, 20, 0.25]
    centres += [-np.log(info.eps), *elementary.EXP_LOW, *elementary.EXP_HIGH]
    centres += [k * np.log(2) for k in (0.25, 0.5, 0.75, 1, 1.5, 20.5, -30.5)]
    pattern = np.abs(np.array(centres, dtype)).view(integers(dtype)).astype(np.int64)
    near = (pattern[:, None] + np.arange(-n, n + 1)).ravel()
    near = np.concatenate([near, np.arange(2 * n)]).astype(integers(dtype)).view(dtype)
    special = np.array([INF, NAN], dtype)
    return np.concatenate([near, -near, special, -special])


@every_function
def test_float32_everywhere(name):
    for first in (0, 2**31):  # both signs, from zero through subnormals to infinity and NaN
        patterns = np.arange(first, first + 2**31, 1999, dtype=np.int64)
        check(name, patterns.astype(np.uint32).view(np.float32))


@every_function
def test_float64_widely(name):
    rng = np.random.default_rng(0)
    size = np.concatenate([10 ** rng.uniform(low, 308, 100_000) for low in (-323, -9)])
    size = np.concatenate([size, 2 ** rng.uniform(-20, 10, 200_000)])
    uniform = [rng.uniform(-a, a, 100_000) for a in (0.5, 2, 8, 40, 800)]
    check(name, np.concatenate([size, -size, *uniform]))


@every_function
@every_dtype
def test_near_thresholds(name, dtype):
    check(name, neighbourhoods(dtype))


SPECIAL = {
    "exp": [(0, 1), (-0.0, 1), (INF, INF), (-INF, 0), (1e4, INF), (-1e4, 0)],
    "log": [(0, -INF), (-0.0, -INF), (1, 0), (INF, INF), (-INF, NAN), (-1, NAN), (-1e-40, NAN)],
    "sigmoid": [(0, 0.5), (-0.0, 0.5), (INF, 1), (-INF, 0), (1e4, 1), (-1e4, 0)],
    "tanh": [(0, 0), (-0.0, -0.0), (INF, 1), (-INF, -1), (1e4, 1), (-1e4, -1), (1e-40, 1e-40)],
    "log_cosh": [(0, 0), (-0.0, 0), (INF, INF), (-INF, INF), (1e30, 1e30), (-1e30, 1e30)],
    "softplus": [(INF, INF), (-INF, 0), (1e4, 1e4), (-1e4, 0), (1e30, 1e30)],
}


@every_function
@every_dtype
@pytest.mark.parametrize("length", [1, 64], ids=["scalar", "vector"])
def test_special_values(name, dtype, length):
    for x, expected in [*SPECIAL[name], (NAN, NAN), (-NAN, NAN)]:
        got = apply(name, np.full(length, x, dtype))
        assert np.array_equal(bits(got), bits(np.full(length, expected, dtype))), (x, got[0])


@every_dtype
def test_smallest_subnormal(dtype):
    least = np.finfo(dtype).smallest_subnormal
    x = np.array([least, -least, 3 * least])
    assert np.array_equal(apply("tanh", x), x)
    lowest = dtype(np.log(wide(dtype)(least)) + 0.1)  # e^lowest is 1.1 times the least number
    for name in ("exp", "sigmoid", "softplus"):
        assert apply(name, np.array([lowest]))[0] == least
        assert apply(name, np.array([lowest - dtype(1)]))[0] == 0


@pytest.mark.parametrize("name", ["exp", "sigmoid", "tanh", "softplus"])
@every_dtype
def test_monotone_and_in_range(name, dtype):
    x = np.linspace(-120, 88, 100_001, dtype=dtype)
    y = apply(name, x)
    assert (np.diff(y) >= -bound(name, dtype) * abs(y[1:])).all()
    assert y.min() >= (-1 if name == "tanh" else 0)
    assert y.max() <= (1 if name in ("sigmoid", "tanh") else INF)


def test_other_types_are_refused():
    with pytest.raises(numba.TypingError):
        LOOPS["exp"](np.ones(3, np.int64), np.ones(3))


def numbers(dtype, size=100.0):
    width = 8 * np.dtype(dtype).itemsize
    one = st.floats(-size, size, width=width) | st.floats(width=width, allow_nan=False)
    return st.lists(one, min_size=1, max_size=40).map(lambda x: np.array(x, dtype))


both_dtypes = st.sampled_from(DTYPES).flatmap(numbers)
law = settings(deadline=None, max_examples=200)


@law
@given(both_dtypes)
def test_tanh_is_odd(x):
    assert np.array_equal(bits(apply("tanh", -x)), bits(-apply("tanh", x)))


@law
@given(both_dtypes)
def test_log_cosh_is_even(x):
    assert np.array_equal(bits(apply("log_cosh", -x)), bits(apply("log_cosh", x)))


@law
@given(both_dtypes)
def test_sigmoids_sum_to_one(x):
    total = apply("sigmoid", x).astype(wide(x.dtype)) + apply("sigmoid", -x)
    assert (abs(total - 1) <= bound("sigmoid", x.dtype)).all()


@law
@given(both_dtypes)
def test_softplus_difference_is_x(x):
    x = x[np.isfinite(x)]
    positive, negative = (apply("softplus", s).astype(wide(x.dtype)) for s in (x, -x))
    least = np.finfo(x.dtype).smallest_subnormal
    tolerance = bound("softplus", x.dtype) * (positive + negative) + least
    assert (abs(positive - negative - x) <= tolerance).all()


@law
@given(both_dtypes)
def test_log_undoes_exp(x):
    x = x[abs(x) < 80]
    error = abs(apply("log", apply("exp", x)).astype(wide(x.dtype)) - x)
    assert (error <= bound("exp", x.dtype) + bound("log", x.dtype) * (abs(x) + 1e-6)).all()


def sample(dtype, n):
    """Numbers of every size, and of the sizes that matter."""
    rng = np.random.default_rng(1)
    n_patterns = 2 ** (8 * np.dtype(dtype).itemsize)
    patterns = rng.integers(0, n_patterns, n, dtype=integers(dtype)).view(dtype)
    moderate, large = (rng.uniform(-a, a, n).astype(dtype) for a in (20, 120))
    return np.stack([patterns, moderate, large], axis=1).ravel()


@every_function
@every_dtype
def test_vector_body_and_remainder_agree(name, dtype):
    x = sample(dtype, 67)
    one_by_one = np.concatenate([bits(apply(name, x[j : j + 1])) for j in range(x.size)])
    for length in range(1, x.size + 1):
        assert np.array_equal(bits(apply(name, x[:length])), one_by_one[:length])


def digest():
    """Hash of all functions' bits."""
    result = hashlib.sha256()
    for name in NAMES:
        for dtype in DTYPES:
            x = sample(dtype, 40_000)
            result.update(bits(apply(name, x)).tobytes())
    return result.hexdigest()


@needs_x86_with_fma
def test_same_bits_with_avx2_only():
    assert run_child(__file__, **AVX2_ONLY) == digest()


@needs_x86_with_fma
@every_function
@every_dtype
def test_machine_code_is_vectors(name, dtype):
    apply(name, np.ones(1, dtype))
    code = {str(key[0].dtype): text for key, text in LOOPS[name].inspect_asm().items()}
    fused = re.findall(r"vfn?m(?:add|sub)\w+p[sd]\s.*%[yz]mm", code[np.dtype(dtype).name])
    assert len(fused) >= 6


if __name__ == "__main__":
    print(json.dumps(digest()))
