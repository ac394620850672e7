"""Step sizes as functions of the update number k = 0, 1, 2, ...

A schedule is immutable and serves any number of runs; called with k, an int or an array of them, it
returns the step sizes there. A bare number is a constant one, and any function of k a schedule too.

The conditions of Robbins and Monro, under which stochastic gradients converge in theory, are that
the sum of the step sizes be infinite and that of their squares finite: a schedule's attribute
``robbins_monro`` says whether they are satisfied, and so does its representation. They are by
`inverse`, by `inverse_power` with a power in (1/2, 1], and by those with a warm-up; the others are
for a finite number of updates.

Step sizes have the same bits on every computer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import numpy as np

from fastmlp import validation
from fastmlp.solvers import step_sizes
from fastmlp.solvers.step_sizes import Schedule, StepSizes

ANNEALS = ("cosine", "linear")


def constant(c: float) -> Schedule:
    """Return the schedule that is c at every update.

    Robbins-Monro: no, the sum of squares is infinite.

    Parameters
    ----------
    c : float
        The step size, positive.

    Examples
    --------
    >>> constant(0.1)
    constant(0.1)  # Robbins-Monro: no
    """
    return step_sizes.Constant(validation.positive("c", c))


def inverse(c: float) -> Schedule:
    """Return the schedule c / (k + 1).

    Robbins-Monro: yes.

    Parameters
    ----------
    c : float
        The first step size, positive.

    References
    ----------
    Robbins and Monro, "A stochastic approximation method", Annals of Mathematical Statistics 22,
    1951.

    Examples
    --------
    >>> inverse(0.5)
    inverse(0.5)  # Robbins-Monro: yes
    >>> inverse(0.5)([0, 1, 4])
    array([0.5 , 0.25, 0.1 ])
    """
    return step_sizes.Inverse(validation.positive("c", c))


def inverse_power(c: float, power: float = 0.5, scale: float = 1.0) -> Schedule:
    """Return the schedule c / (1 + k / scale)^power.

    Robbins-Monro: yes if 1/2 < power <= 1, otherwise no.

    Parameters
    ----------
    c : float
        The first step size, positive.
    power : float, default=0.5
        How fast it falls in the end, positive.
    scale : float, default=1.0
        The number of updates, positive, after which it is c / 2^power.

    Notes
    -----
    With scale 1 this is ``learning_rate="invscaling"`` of scikit-learn's SGDClassifier, power being
    its `power_t`. Bottou's c / (1 + c * l2 * k) has power 1 and scale 1 / (c * l2); his averaged
    gradients have power 3/4. scikit-learn's "optimal", 1 / (alpha * (t0 + k)), is
    ``inverse_power(1 / (alpha * t0), power=1, scale=t0)``.

    References
    ----------
    Bottou, "Stochastic gradient descent tricks", in Neural Networks: Tricks of the Trade, 2012.

    Examples
    --------
    >>> inverse_power(0.1, power=0.75, scale=1000)
    inverse_power(0.1, power=0.75, scale=1000.0)  # Robbins-Monro: yes
    """
    return step_sizes.InversePower(
        validation.positive("c", c),
        validation.positive("power", power),
        validation.positive("scale", scale),
    )


def exponential(c: float, decay: float, every: float = 1.0) -> Schedule:
    """Return the schedule c * decay^(k / every).

    Robbins-Monro: no, the sum is finite.

    Parameters
    ----------
    c : float
        The first step size, positive.
    decay : float
        The factor of each `every` updates, between 0 and 1; with 0.5, `every` is the half-life.
    every : float, default=1.0
        Positive. In between, k / every is a fraction: for steps down take `step_decay`.
    """
    return step_sizes.Exponential(
        validation.positive("c", c),
        validation.positive("decay", decay, below=1.0),
        validation.positive("every", every),
    )


def step_decay(
    c: float,
    factor: float = 0.1,
    *,
    every: int | None = None,
    milestones: Iterable[int] | None = None,
) -> Schedule:
    """Return the schedule c * factor^(k // every), or that falls at each of the milestones.

    Robbins-Monro: no, the sum is finite, or with milestones the sum of squares infinite.

    Parameters
    ----------
    c : float
        The first step size, positive.
    factor : float, default=0.1
        Between 0 and 1.
    every : int, optional
        How many updates share a step size.
    milestones : sequence of int, optional
        The updates from which on it is smaller by the factor, in order; one that is named twice
        counts twice. Give either these or `every`.
    """
    c, factor = validation.positive("c", c), validation.positive("factor", factor, below=1.0)
    if (every is None) == (milestones is None):
        got = "neither" if every is None else "both"
        raise ValueError(f"give either every or milestones; got {got}")
    if milestones is None:
        return step_sizes.StepDecay(c, factor, every=_count("every", every))
    return step_sizes.StepDecay(c, factor, milestones=_milestones(milestones))


def linear(c: float, n_steps: int, least: float = 0.0) -> Schedule:
    """Return the schedule on a line from c to `least`, reached at k = n_steps and then kept.

    Robbins-Monro: no, the sum is finite, or with `least` > 0 the sum of squares infinite.

    Parameters
    ----------
    c : float
        The first step size, positive.
    n_steps : int
        With the number of all updates, the last of them has the step size nearest to `least`.
    least : float, default=0.0
        0 .. c.
    """
    c = validation.positive("c", c)
    n_steps = _count("n_steps", n_steps)
    return step_sizes.Linear(c, n_steps, _share("least", least, c))


def cosine(c: float, period: int, least: float = 0.0, growth: int = 1) -> Schedule:
    """Return the schedule along half a cosine from c to `least`, with warm restarts.

    It is ``least + (c - least) * (1 + cos(pi * t / T)) / 2``, t being the updates since the last
    restart. Robbins-Monro: no, the sum of squares is infinite.

    Parameters
    ----------
    c : float
        The step size at k = 0 and after each restart, positive.
    period : int
        T of the first cosine. With the number of all updates there is no restart.
    least : float, default=0.0
        0 .. c. It is restarted just before `least` is reached.
    growth : int, default=1
        What T is multiplied by at each restart.

    References
    ----------
    Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017. The
    same as ``torch.optim.lr_scheduler.CosineAnnealingWarmRestarts``, one step an update.

    Examples
    --------
    >>> cosine(0.1, 1000, growth=2)
    cosine(0.1, period=1000, growth=2)  # Robbins-Monro: no
    """
    c = validation.positive("c", c)
    period = _count("period", period)
    least = _share("least", least, c)
    return step_sizes.Cosine(c, period, least, _count("growth", growth))


def one_cycle(
    c_max: float,
    n_steps: int,
    rise: float = 0.3,
    first: float = 0.04,
    last: float = 4e-6,
    anneal: str = "cosine",
    three_phase: bool = False,
) -> Schedule:
    """Return the schedule of one cycle: up to c_max and far down, in n_steps updates.

    Robbins-Monro: no; it is made for n_steps updates, and later ones have the last step size.

    Parameters
    ----------
    c_max : float
        The largest step size, positive.
    n_steps : int
        The number of all updates.
    rise : float, default=0.3
        The share of updates in which it rises, 0 .. 1.
    first, last : float, default=0.04, 4e-6
        The first and the last step size as shares of `c_max`, 0 .. 1.
    anneal : {"cosine", "linear"}, default="cosine"
        Along half a cosine each, or lines.
    three_phase : bool, default=False
        Whether to fall as long as it rose, back to the first step size, and then on to the last.

    References
    ----------
    Smith and Topin, "Super-convergence: very fast training of neural networks using large learning
    rates", 2017. The step sizes are those of ``torch.optim.lr_scheduler.OneCycleLR`` with pct_start
    = rise, div_factor = 1 / first and final_div_factor = first / last. The momentum stays as it is.
    """
    return step_sizes.OneCycle(
        validation.positive("c_max", c_max),
        _count("n_steps", n_steps),
        _share("rise", rise),
        _share("first", first),
        _share("last", last),
        validation.one_of("anneal", anneal, ANNEALS),
        _three_phase(three_phase),
    )


def reduce_on_plateau(
    c: float,
    factor: float = 0.1,
    patience: int = 10,
    threshold: float = 1e-4,
    cooldown: int = 0,
    least: float = 0.0,
) -> Schedule:
    """Return the schedule that is smaller by a factor each time the monitored loss stops falling.

    Robbins-Monro: no, nothing is certain, as it depends on the losses.

    Parameters
    ----------
    c : float
        The first step size, positive.
    factor : float, default=0.1
        Between 0 and 1.
    patience : int, default=10
        So many epochs in a row without improvement are accepted; one more reduces the step size.
    threshold : float, default=1e-4
        An improvement is a loss below (1 - threshold) times the lowest one so far; 0 .. 1, but
        not 1.
    cooldown : int, default=0
        So many epochs after a reduction are not counted.
    least : float, default=0.0
        0 .. c; the step size is never reduced further.

    Notes
    -----
    The same as ``torch.optim.lr_scheduler.ReduceLROnPlateau`` with its `mode` "min" and `eps` 0:
    there is no smallest reduction.
    """
    c = validation.positive("c", c)
    factor = validation.positive("factor", factor, below=1.0)
    patience = _count("patience", patience, least=0)
    if (threshold := validation.not_negative("threshold", threshold)) >= 1:
        raise ValueError(f"threshold must be below 1; got {threshold!r}")
    cooldown = _count("cooldown", cooldown, least=0)
    least = _share("least", least, c)
    return step_sizes.ReduceOnPlateau(c, factor, patience, threshold, cooldown, least)


def warm_up(
    schedule: float | Schedule | Callable[[int], float], n_steps: int, first: float = 0.0
) -> Schedule:
    """Return a schedule with a warm-up before it: n_steps updates on a line up to its start.

    Update k < n_steps has the share ``first + (1 - first) * k / n_steps`` of the schedule's first
    step size. At k = n_steps the schedule begins, from its own beginning. Robbins-Monro: as the
    schedule.

    Parameters
    ----------
    schedule : float, schedule or callable
        What to begin with a warm-up. `reduce_on_plateau` is told the losses of those epochs only
        that end after the warm-up.
    n_steps : int
        The number of updates of the warm-up.
    first : float, default=0.0
        The first share, 0 .. 1; with 0 the first update changes nothing.

    References
    ----------
    Goyal et al., "Accurate, large minibatch SGD: training ImageNet in 1 hour", 2017. The same as
    ``torch.optim.lr_scheduler.SequentialLR`` of LinearLR (start_factor = first) and the schedule.

    Examples
    --------
    >>> warm_up(inverse(0.5), n_steps=100)
    warm_up(inverse(0.5), n_steps=100)  # Robbins-Monro: yes
    """
    inner = _schedule("schedule", schedule)
    return step_sizes.WarmUp(inner, _count("n_steps", n_steps), _share("first", first))


def resolve(step: Any) -> StepSizes:
    """Return the step sizes of a new run.

    Parameters
    ----------
    step : float, schedule, callable or StepSizes
        A callable of the update number must return a finite number, not negative. It is asked once
        for each, in order; for k = 0 more often where it has a warm-up. StepSizes go on as they
        stand.
    """
    return step if isinstance(step, StepSizes) else _schedule("step", step).begin()


def _count(name: str, value: object, least: int = 1) -> int:
    """Return a number of updates or epochs, which the arrays of them can hold."""
    number = validation.count(name, value, least)
    if number > 2**62:
        raise ValueError(f"{name} must be at most 2**62; got {validation.shown(value)}")
    return number


def _schedule(name: str, value: Any) -> Schedule:
    if isinstance(value, Schedule):
        return value
    if callable(value):
        if isinstance(value, type) or getattr(value, "__module__", None) == __name__:
            raise TypeError(f"{name} must be a schedule: write {value.__name__}(...)")
        return step_sizes.Custom(value)
    if not validation.is_number(value):
        raise TypeError(f"{name} must be a number, a schedule or a callable; got {value!r}")
    return step_sizes.Constant(validation.positive(name, value))


def _three_phase(value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"three_phase must be True or False; got {value!r}")
    return bool(value)


def _milestones(value: Any) -> tuple[int, ...]:
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        raise TypeError(f"milestones must be a sequence of integers; got {value!r}")
    listed = tuple(_count(f"milestones[{i}]", k, least=0) for i, k in enumerate(value))
    if not listed or any(later < earlier for earlier, later in pairwise(listed)):
        raise ValueError(f"milestones must be one number or more, in order; got {listed!r}")
    return listed


def _share(name: str, value: object, most: float = 1.0) -> float:
    """Return `value` as a float in [0, most]."""
    share = validation.not_negative(name, value)
    if share > most:
        raise ValueError(f"{name} must be at most {most:g}; got {value!r}")
    return share
