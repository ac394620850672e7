"""Step sizes of each schedule: plain formulas, PyTorch's, and the laws that all obey."""

import dataclasses
import hashlib
import itertools
import math
import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import fastmlp as fm
from cases import same_bits
from fastmlp.solvers.schedules import (
    constant,
    cosine,
    exponential,
    inverse,
    inverse_power,
    linear,
    one_cycle,
    reduce_on_plateau,
    step_decay,
    warm_up,
)  # fmt: skip

# Schedules, and their formulas in plain Python.
CASES = {
    "constant": (constant(0.3), lambda k: 0.3),
    "inverse": (inverse(0.3), lambda k: 0.3 / (k + 1)),
    "invscaling": (inverse_power(0.3), lambda k: 0.3 / (k + 1) ** 0.5),
    "bottou": (inverse_power(0.3, 1, 1 / (0.3 * 1e-3)), lambda k: 0.3 / (1 + 0.3 * 1e-3 * k)),
    "three quarters": (inverse_power(0.3, 0.75, 20), lambda k: 0.3 / (1 + k / 20) ** 0.75),
    "power 0.6": (inverse_power(0.3, 0.6, 0.7), lambda k: 0.3 / (1 + k / 0.7) ** 0.6),
    "power 0.51": (inverse_power(0.3, 0.51, 5), lambda k: 0.3 / (1 + k / 5) ** 0.51),
    "power 2.3": (inverse_power(0.3, 2.3), lambda k: 0.3 / (1 + k) ** 2.3),
    "power 1e-9": (inverse_power(0.3, 1e-9, 1e-9), lambda k: 0.3 / (1 + k * 1e9) ** 1e-9),
    "exponential": (exponential(0.3, 0.99), lambda k: 0.3 * 0.99**k),
    "half-life": (exponential(0.3, 0.5, 77), lambda k: 0.3 * 2 ** (-k / 77)),
    "half-life 0.7": (exponential(0.3, 0.5, every=0.7), lambda k: 0.3 * 2 ** (-k / 0.7)),
    "every 30": (step_decay(0.3, 0.8, every=30), lambda k: 0.3 * 0.8 ** (k // 30)),
    "every 1": (step_decay(0.3, 0.999, every=1), lambda k: 0.3 * 0.999**k),
    "milestones": (
        step_decay(0.3, milestones=[0, 10, 25, 25, 900]),
        lambda k: 0.3 * 0.1 ** ((k >= 0) + (k >= 10) + 2 * (k >= 25) + (k >= 900)),
    ),
    "linear": (linear(0.3, 450), lambda k: 0.3 * max(0, 1 - k / 450)),
    "linear, least": (linear(0.3, 450, 0.1), lambda k: max(0.1, 0.3 - 0.2 * k / 450)),
    "cosine": (
        cosine(0.3, 130, 0.01),
        lambda k: 0.01 + 0.29 * (1 + math.cos(math.pi * (k % 130) / 130)) / 2,
    ),
    "cosine, growing": (cosine(0.3, 10, 0.0, 3), lambda k: grown_cosine(0.3, 10, 3, k)),
    "cosine of 1": (cosine(0.3, 1), lambda k: 0.3),
    "one cycle": (one_cycle(0.3, 500), lambda k: cycle_of_500(k)),
    "warm-up": (warm_up(inverse(0.3), 20), lambda k: 0.3 * k / 20 if k < 20 else 0.3 / (k - 19)),
    "warm-up, first": (
        warm_up(0.3, 7, first=0.25), lambda k: 0.3 * (0.25 + 0.75 * min(k, 7) / 7)
    ),
    "warm-up, function": (
        warm_up(lambda k: 1 / (k + 4), 10),
        lambda k: k / 40 if k < 10 else 1 / (k - 6),
    ),
}  # fmt: skip
SCHEDULES = {name: schedule for name, (schedule, _) in CASES.items()}


def grown_cosine(c, period, growth, k):
    while k >= period:
        k, period = k - period, period * growth
    return c * (1 + math.cos(math.pi * k / period)) / 2


def cycle_of_500(k):
    if k <= 149:  # 0.3 * 500 - 1
        low, share = 0.3 / 25, k / 149
    else:
        low, share = 0.3 / 25e4, max(0, 499 - k) / 350
    return low + (0.3 - low) * (1 - math.cos(math.pi * share)) / 2


# Values --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_formula(name):
    schedule, formula = CASES[name]
    k = np.arange(1500)
    expected = [formula(int(i)) for i in k]
    found = schedule(k)
    assert found.dtype == np.float64
    assert found.shape == k.shape
    assert_allclose(found, expected, rtol=2e-13, atol=1e-16)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("k", [10**6 + 3, 2**40 + 12345])
def test_formula_far_away(name, k):
    schedule, formula = CASES[name]
    assert_allclose(schedule(k), formula(k), rtol=1e-10, atol=1e-16)


@given(st.floats(0.01, 3), st.floats(-3, 6), st.lists(st.integers(0, 2**50), min_size=1))
def test_powers_are_precise(power, exponent, k):
    scale = 10**exponent
    expected = [1e-3 / math.pow(1 + i / scale, power) for i in k]
    assert_allclose(inverse_power(1e-3, power, scale)(np.array(k)), expected, rtol=1e-14)


@given(st.floats(0.01, 0.9999), st.floats(0.1, 1e4), st.integers(0, 2000))
def test_exponentials_are_precise(decay, every, k):
    expected = math.pow(decay, k / every)
    error = 4 + abs(math.log(decay) * k / every)  # of the expected one's exponent
    assert_allclose(exponential(1, decay, every)(k), expected, rtol=error * 2**-52, atol=1e-300)


@given(st.integers(1, 10**6), st.data())
def test_cosines_are_precise(period, data):
    """Relative to the exact value, where 1 + cos has lost its digits too."""
    k = data.draw(st.integers(0, period - 1))
    exact = math.sin(math.pi / 2 * ((period - k) / period)) ** 2
    assert_allclose(cosine(1, period)(k), exact, rtol=4e-15)


@given(st.floats(1e-9, 10), st.floats(0, 1))
def test_ends_are_exact(c, share):
    least = share * c
    assert cosine(c, 12, least)(12) == cosine(c, 12, least)(0) == c
    assert linear(c, 12, least)(0) == warm_up(c, 12)(12) == c
    assert linear(c, 12, least)(12) == linear(c, 12, least)(10**9) == least
    assert warm_up(c, 12, share)(0) == least


def test_ends_of_cycles_are_exact():
    for anneal in ("cosine", "linear"):
        cycle = one_cycle(0.3, 100, first=0.5, last=0.25, anneal=anneal)
        assert [cycle(k) for k in (0, 29, 99, 100, 10**9)] == [0.15, 0.3, 0.075, 0.075, 0.075]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((1.0, 1), [4e-6]),
        ((1.0, 1, 1.0), [1.0]),
        ((1.0, 2, 0.5), [1.0, 4e-6]),
        ((1.0, 4, 0.25, 0.5, 0.0, "linear"), [1.0, 2 / 3, 1 / 3, 0.0]),
        ((1.0, 5, 0.0, 0.5, 0.0, "linear"), [0.8, 0.6, 0.4, 0.2, 0.0]),
    ],
)
def test_short_cycles(arguments, expected):
    assert_allclose(one_cycle(*arguments)(np.arange(len(expected))), expected, rtol=1e-12)


def test_extremes():
    x = 1e290 * np.arange(1, 300, 7)
    assert_allclose(inverse_power(1, 0.3, 1e-290)(np.arange(1, 300, 7)), x**-0.3, rtol=1e-14)
    assert exponential(0.3, 0.5)(10**9) == step_decay(0.3, every=1)(2**62) == 0
    assert inverse_power(0.3, 0.5, 1e-300)(2**62) > 0
    assert inverse_power(0.3, 5.5, 1e-300)(2**62) == 0
    assert inverse_power(0.3, 1e300)(0) == 0.3
    assert cosine(0.3, 2**62, growth=2**40)(2**62 - 1) < 1e-30
    assert cosine(0.3, 1, growth=2)(2**63 - 2) < 1e-30


@pytest.mark.parametrize("name", CASES)
def test_shapes(name):
    schedule = SCHEDULES[name]
    k = np.array([[3, 1000, 0], [2, 2, 300]])
    assert schedule(k).shape == (2, 3)
    for i, j in np.ndindex(2, 3):
        assert schedule(k)[i, j] == schedule(int(k[i, j])) == schedule(np.uint16(k[i, j]))
    assert schedule(np.arange(0)).shape == (0,)
    assert np.ndim(schedule(3)) == 0
    assert isinstance(schedule(3), float)


# Robbins and Monro ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "schedule",
    [
        *(schedule for name, schedule in SCHEDULES.items() if "function" not in name),
        inverse_power(1, 0.45), inverse_power(1, 1.05), inverse_power(1, 0.55),
        warm_up(inverse_power(1, 0.8), 1000), linear(1, 10**5), linear(1, 10**5, 1e-9),
        cosine(1, 1000, growth=2), one_cycle(1, 1000, last=0), step_decay(1, every=10**4),
    ],
    ids=repr,
)  # fmt: skip
def test_robbins_monro(schedule):
    """By Cauchy's condensation: whether sums over [2^j, 2^(j+1)) shrink with j."""
    sizes = schedule(np.arange(2**20))

    def shrinks(terms):
        earlier, later = terms[2**18 : 2**19].sum(), terms[2**19 :].sum()
        return earlier == 0 or later < 0.99 * earlier

    assert schedule.robbins_monro is bool(not shrinks(sizes) and shrinks(sizes**2))


def test_robbins_monro_at_the_borders():
    assert not inverse_power(1, 0.5).robbins_monro
    assert inverse_power(1, math.nextafter(0.5, 1)).robbins_monro
    assert inverse_power(1, 1).robbins_monro
    assert not inverse_power(1, math.nextafter(1, 2)).robbins_monro


def test_nothing_is_claimed():
    assert warm_up(lambda k: 1 / (k + 1), 5).robbins_monro is None
    assert reduce_on_plateau(1).robbins_monro is False
    assert warm_up(reduce_on_plateau(1), 5).robbins_monro is False


# Representation ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (inverse(0.5), "inverse(0.5)  # Robbins-Monro: yes"),
        (constant(2), "constant(2.0)  # Robbins-Monro: no"),
        (inverse_power(1), "inverse_power(1.0)  # Robbins-Monro: no"),
        (
            warm_up(inverse_power(0.1, 0.75, scale=300), n_steps=500),
            "warm_up(inverse_power(0.1, power=0.75, scale=300.0), n_steps=500)"
            "  # Robbins-Monro: yes",
        ),
        (
            step_decay(0.1, milestones=np.array([3, 5])),
            "step_decay(0.1, milestones=(3, 5))  # Robbins-Monro: no",
        ),
        (warm_up(0.1, 5), "warm_up(constant(0.1), n_steps=5)  # Robbins-Monro: no"),
        (warm_up(abs, 5), "warm_up(builtins.abs, n_steps=5)  # Robbins-Monro: unknown"),
    ],
)
def test_repr(schedule, expected):
    assert repr(schedule) == expected


@pytest.mark.parametrize(
    "schedule",
    [
        *(schedule for name, schedule in SCHEDULES.items() if "function" not in name),
        constant(Fraction(1, 4)), reduce_on_plateau(0.1, 0.5, 3, 1e-3, 2, 1e-4),
        one_cycle(0.1, 99, 0.2, 0.1, 0.01, "linear", True),
    ],
    ids=repr,
)  # fmt: skip
def test_the_representation_can_be_typed(schedule):
    assert eval(repr(schedule), vars(fm.schedules)) == schedule
    assert pickle.loads(pickle.dumps(schedule)) == schedule
    assert hash(schedule) == hash(pickle.loads(pickle.dumps(schedule)))


def test_equality():
    assert inverse(1) != constant(1)
    assert cosine(1, 10) != cosine(1, 10, growth=2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        inverse(1).c = 2


# Bits ----------------------------------------------------------------------------------------


@given(st.sampled_from(list(SCHEDULES)), st.lists(st.integers(0, 700), max_size=6))
def test_steps_do_not_depend_on_chunks(name, cuts):
    whole = fm.schedules.resolve(SCHEDULES[name]).steps(0, 700)
    steps = fm.schedules.resolve(SCHEDULES[name])
    chunks = [steps.steps(a, b) for a, b in itertools.pairwise([0, *sorted(cuts), 700])]
    assert all(chunk.dtype == np.float64 for chunk in chunks)
    assert same_bits(np.concatenate(chunks), whole)
    assert same_bits(SCHEDULES[name](np.arange(700)), whole)
    order = np.random.default_rng(0).permutation(700)
    assert same_bits(SCHEDULES[name](order), whole[order])


@given(st.sampled_from(list(SCHEDULES)), st.integers(0, 2**44), st.integers(1, 600), st.data())
def test_steps_far_away(name, start, n, data):
    steps = fm.schedules.resolve(SCHEDULES[name])
    middle = start + data.draw(st.integers(0, n))
    whole = steps.steps(start, start + n)
    assert whole.shape == (n,)
    assert (whole >= 0).all()
    assert np.isfinite(whole).all()
    parts = steps.steps(start, middle), steps.steps(middle, start + n)
    assert same_bits(np.concatenate(parts), whole)


DIGESTS = {
    "constant": "663b7e2248a1",
    "inverse": "602f3419372d",
    "invscaling": "8d9d123e866b",
    "bottou": "1e05f1483f66",
    "three quarters": "3c782612dfc8",
    "power 0.6": "13867afb8cbe",
    "power 0.51": "06497adcdbdd",
    "power 2.3": "e6634bd98b2c",
    "power 1e-9": "160576e3e9f4",
    "exponential": "7c153f4b35ce",
    "half-life": "7901ffb7afb8",
    "half-life 0.7": "b926a1bea9a8",
    "every 30": "cb20a7d2d419",
    "every 1": "35be9e4c384e",
    "milestones": "df26863f144c",
    "linear": "e092055f54ab",
    "linear, least": "363e6611d324",
    "cosine": "ae12e5b6d666",
    "cosine, growing": "058676ddd449",
    "cosine of 1": "663b7e2248a1",
    "one cycle": "fd891b4f6538",
    "warm-up": "cd373c712aec",
    "warm-up, first": "79ef9177e51d",
    "warm-up, function": "086037dc1523",
}


@pytest.mark.parametrize("name", CASES)
def test_bits(name):
    """The same on every computer, so they can be written down."""
    sizes = SCHEDULES[name](np.arange(3000)).astype("<f8")
    assert hashlib.sha256(sizes.tobytes()).hexdigest()[:12] == DIGESTS[name]


# Bad input -----------------------------------------------------------------------------------

NAN, INF = math.nan, math.inf
BAD = [
    *((lambda c=c, make=make: make(c), ValueError, "c must be positive and finite; got")
      for c in (0, -1, -0.0, NAN, INF, -INF, 10**400)
      for make in (constant, inverse, inverse_power, reduce_on_plateau)),
    *((lambda c=c, make=make: make(c), TypeError, "c must be a positive number; got")
      for c in ("1", None, True, 1j, [0.1], np.array([0.1]))
      for make in (constant, inverse, inverse_power, reduce_on_plateau)),
    (lambda: exponential(0, 0.5), ValueError, "c must be positive"),
    (lambda: step_decay(0, every=2), ValueError, "c must be positive"),
    (lambda: linear(0, 2), ValueError, "c must be positive"),
    (lambda: cosine(0, 2), ValueError, "c must be positive"),
    (lambda: one_cycle(0, 2), ValueError, "c_max must be positive"),
    (lambda: inverse_power(1, 0), ValueError, "power must be positive and finite; got 0"),
    (lambda: inverse_power(1, scale=-2), ValueError, "scale must be positive and finite; got -2"),
    (lambda: exponential(1, 1), ValueError, "decay must be positive and below 1; got 1"),
    (lambda: exponential(1, 0), ValueError, "decay must be positive and below 1; got 0"),
    (lambda: exponential(1, 0.5, 0), ValueError, "every must be positive and finite; got 0"),
    (lambda: step_decay(1), ValueError, "either every or milestones; got neither"),
    (lambda: step_decay(1, every=1, milestones=[2]), ValueError, "either .*; got both"),
    (lambda: step_decay(1, 1.5, every=3), ValueError, "factor must be .* below 1; got 1.5"),
    (lambda: step_decay(1, every=0), ValueError, "every must be at least 1; got 0"),
    (lambda: step_decay(1, every=2.5), TypeError, "every must be an integer.*2.5"),
    (lambda: step_decay(1, milestones=5), TypeError, "milestones must be a sequence.*got 5"),
    (lambda: step_decay(1, milestones="12"), TypeError, "milestones must be a sequence.*'12'"),
    (lambda: step_decay(1, milestones=[2, 1]), ValueError, r"milestones .* in order; got \(2, 1"),
    (lambda: step_decay(1, milestones=[]), ValueError, "milestones must be one number or more"),
    (lambda: step_decay(1, milestones=[1, 2.5]), TypeError, r"milestones\[1\] must be an integer"),
    (lambda: step_decay(1, milestones=[-1]), ValueError, r"milestones\[0\] must be at least 0"),
    (lambda: linear(1, 0), ValueError, "n_steps must be at least 1; got 0"),
    (lambda: linear(1, 5, 1.5), ValueError, "least must be at most 1; got 1.5"),
    (lambda: cosine(1, 1.5), TypeError, "period must be an integer.*1.5"),
    (lambda: cosine(1, 5, -1), ValueError, "least must be finite, 0 or more; got -1"),
    (lambda: cosine(0.1, 5, 0.2), ValueError, "least must be at most 0.1; got 0.2"),
    (lambda: cosine(1, 5, growth=0), ValueError, "growth must be at least 1; got 0"),
    (lambda: one_cycle(1, 0), ValueError, "n_steps must be at least 1"),
    (lambda: one_cycle(1, 9, rise=30), ValueError, "rise must be at most 1; got 30"),
    (lambda: one_cycle(1, 9, first=25), ValueError, "first must be at most 1; got 25"),
    (lambda: one_cycle(1, 9, last=NAN), ValueError, "last must be finite"),
    (lambda: one_cycle(1, 9, anneal="cos"), ValueError, "anneal must be one of 'cosine', 'linear'"),
    (lambda: reduce_on_plateau(1, 1), ValueError, "factor must be positive and below 1; got 1"),
    (lambda: reduce_on_plateau(1, patience=-1), ValueError, "patience must be at least 0"),
    (lambda: reduce_on_plateau(1, threshold=1), ValueError, "threshold must be below 1; got 1"),
    (lambda: reduce_on_plateau(1, threshold=-1), ValueError, "threshold must be .* 0 or more"),
    (lambda: reduce_on_plateau(1, cooldown=0.5), TypeError, "cooldown must be an integer"),
    (lambda: reduce_on_plateau(1, least=2), ValueError, "least must be at most 1; got 2"),
    (lambda: warm_up(0, 5), ValueError, "schedule must be positive and finite; got 0"),
    (lambda: warm_up("fast", 5), TypeError, "schedule must be a number, .* or a callable.*'fast'"),
    (lambda: warm_up(1, 0), ValueError, "n_steps must be at least 1"),
    (lambda: warm_up(1, 5, 2), ValueError, "first must be at most 1; got 2"),
    (lambda: inverse(1)(1.5), TypeError, "k must be an integer or an array of them; got 1.5"),
    (lambda: inverse(1)(-1), ValueError, "k must be 0 or more; got -1"),
    (lambda: inverse(1)([0, -1]), ValueError, "k must be 0 or more"),
    (lambda: reduce_on_plateau(1)(0), TypeError, "no function of k alone"),
    (lambda: warm_up(reduce_on_plateau(1), 5)(9), TypeError, "no function of k alone"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
