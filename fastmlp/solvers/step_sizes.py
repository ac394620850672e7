"""Schedules as immutable objects, and what a run makes of them.

A schedule says what the step sizes are; `begin` makes the part of one run that can change, so a
schedule serves any number of runs. The functions of `fastmlp.schedules` check arguments and build
these classes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fastmlp import validation
from fastmlp.solvers import portable

FURTHEST = 2**63 - 1
VERDICTS = {True: "yes", False: "no", None: "unknown"}


class Schedule:
    """Step sizes as a function of the update number k = 0, 1, 2, ..."""

    name: ClassVar[str]

    @property
    def robbins_monro(self) -> bool | None:
        """Whether the sum of the step sizes is infinite and that of their squares finite.

        These are the conditions of Robbins and Monro. None for a user's function: unknown.
        """
        return False

    def sizes(self, k: np.ndarray) -> np.ndarray:
        """Return the step sizes (n,) of updates k (n,), int64."""
        raise NotImplementedError

    def begin(self) -> StepSizes:
        """Return the step sizes of a new run."""
        return StepSizes(self)

    def __call__(self, k: Any) -> Any:
        """Return the step size at update number k, an int or an array of them."""
        numbers = np.asarray(k)
        if numbers.dtype.kind not in "iu":
            raise TypeError(f"k must be an integer or an array of them; got {k!r}")
        numbers = numbers.astype(np.int64)
        if (numbers < 0).any():
            raise ValueError(f"k must be 0 or more; got {k!r}")
        return self.sizes(numbers.ravel()).reshape(numbers.shape)[()]

    def expression(self) -> str:
        """Return the call that makes this schedule."""
        first, *others = dataclasses.fields(self)  # type: ignore[arg-type]
        listed = [_shown(getattr(self, first.name))]
        for field in others:
            value = getattr(self, field.name)
            if value != field.default:
                listed.append(f"{field.name}={_shown(value)}")
        return f"{self.name}({', '.join(listed)})"

    def __repr__(self) -> str:
        return f"{self.expression()}  # Robbins-Monro: {VERDICTS[self.robbins_monro]}"


def _shown(value: object) -> str:
    return value.expression() if isinstance(value, Schedule) else repr(value)


class StepSizes:
    """The step sizes of one run."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule

    def sizes(self, k: np.ndarray) -> np.ndarray:
        """Return the step sizes (n,) of updates k (n,), int64, as things stand."""
        return self.schedule.sizes(k)

    def steps(self, start: int, stop: int) -> np.ndarray:
        """Return the step sizes (stop - start,) of updates start .. stop - 1: finite, 0 or more.

        They do not depend on how a range is split.
        """
        return self.sizes(np.arange(start, stop))

    def observe(self, loss: float) -> None:
        """Take note of the monitored loss; called after each epoch."""

    def state_dict(self) -> dict[str, Any]:
        """Return what it has come to: plain numbers, and dicts of them."""
        mine = {name: value for name, value in vars(self).items() if name != "schedule"}
        return {k: v.state_dict() if isinstance(v, StepSizes) else v for k, v in mine.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what it had come to."""
        for name in self.state_dict():
            value = getattr(self, name)
            if isinstance(value, StepSizes):
                value.load_state_dict(state[name])
            else:
                setattr(self, name, type(value)(state[name]))


@dataclass(frozen=True, repr=False)
class Constant(Schedule):
    """The same step size always."""

    c: float
    name = "constant"

    def sizes(self, k: np.ndarray) -> np.ndarray:
        """Return c."""
        return np.full(len(k), self.c)


@dataclass(frozen=True, repr=False)
class Inverse(Schedule):
    """c / (k + 1)."""

    c: float
    name = "inverse"
    robbins_monro = True

    def sizes(self, k: np.ndarray) -> np.ndarray:
        """Return c / (k + 1)."""
        return self.c / (k + 1.0)


@dataclass(frozen=True, repr=False)
class InversePower(Schedule):
    """c / (1 + k / scale)^power."""

    c: float
    power: float = 0.5
    scale: float = 1.0
    name = "inverse_power"

    @property
    def robbins_monro(self) -> bool:
        """Whether the power is in (1/2, 1]."""
        return 0.5 < self.power <= 1

    def sizes(self, k: np.ndarray) -> np.ndarray:
        """Return c / (1 + k / scale)^power."""
        with np.errstate(over="ignore"):
            base = np.minimum(1 + k / self.scale, np.finfo(np.float64).max)
        return self.c / portable.power(base, self.power)


@dataclass(frozen=True, repr=False)
class Exponential(Schedule):
    """c * decay^(k / every)."""

    c: float
    decay: float
    every: float = 1.0
    name = "exponential"

    def sizes(self, k: np.ndarray) -> np.ndarray:
        """Return c * decay^(k / every)."""
        return self.c * portable.powers(self.decay, k, self.every)


@dataclass(frozen=True, repr=False)
class StepDecay(Schedule):
    """c * factor^n, n being k // every or the number of milestones up to k."""

    c: float
    factor: float = 0.1
    every: int | None = None
    milestones: tuple[int, ...] | None = None
    name = "step_decay"

    def sizes(self, k: np.ndarray) -> np.ndarray:
        """Return c * factor^n."""
        if self.every is not None:
            n = k // self.every
        else:
            n = np.searchsorted(np.array(self.milestones), k, side="right")
        return self.c * portable.powers(self.factor, n)


@dataclass(frozen=True, repr=False)
class Linear(Schedule):
    """From c to `least` on a line of n_steps updates, then `least`."""

    c: float
    n_steps: int
    least: float = 0.0
    name = "linear"

    def sizes(self, k: np.ndarray) -> np.ndarray:
        """Return the numbers on the line."""
        k = np.minimum(k, self.n_steps)
        left = (self.n_steps - k) / self.n_steps
        return self.c * left + self.least * (k / self.n_steps)


@dataclass(frozen=True, repr=False)
class Cosine(Schedule):
    """Half a cosine from c to `least`, over and over, each `growth` times as long as the last."""

    c: float
    period: int
    least: float = 0.0
    growth: int = 1
    name = "cosine"

    def sizes(self, k: np.ndarray) -> np.ndarray:
        """Return the numbers on the cosine."""
        done, length = self._since_restart(k)
        share = portable.half_cosine(done / length, (length - done) / length)
        return self.c * share + self.least * (1 - share)

    def _since_restart(self, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the updates since the last restart (n,) and until the next, together (n,)."""
        if self.growth == 1:
            return k % self.period, np.array(float(self.period))
        starts, lengths = [0], [self.period]
        while starts[-1] + lengths[-1] <= FURTHEST:
            starts.append(starts[-1] + lengths[-1])
            lengths.append(lengths[-1] * self.growth)
        n = np.searchsorted(np.array(starts), k, side="right") - 1
        return k - np.array(starts)[n], np.array(lengths, np.float64)[n]


@dataclass(frozen=True, repr=False)
class OneCycle(Schedule):
    """Up from first * c_max to c_max, down to last * c_max, and no further."""

    c_max: float
    n_steps: int
    rise: float = 0.3
    first: float = 0.04
    last: float = 4e-6
    anneal: str = "cosine"
    three_phase: bool = False
    name = "one_cycle"

    def sizes(self, k: np.ndarray) -> np.ndarray:
        """Return the numbers on the cycle."""
        k = np.minimum(k, self.n_steps - 1)
        first, last = self.first * self.c_max, self.last * self.c_max
        top, end = self.rise * self.n_steps - 1, self.n_steps - 1.0
        if self.three_phase:
            ends = np.array([top, 2 * self.rise * self.n_steps - 2, end])
            sizes = np.array([first, self.c_max, first, last])
        else:
            ends = np.array([top, end])
            sizes = np.array([first, self.c_max, last])
        starts = np.array([0.0, *ends[:-1]])
        phase = (k[:, None] > ends[:-1]).sum(axis=1)
        length = ends[phase] - starts[phase]
        length[length == 0] = 1.0  # a phase of one update, its last
        share = (ends[phase] - k) / length
        if self.anneal == "cosine":
            share = portable.half_cosine((k - starts[phase]) / length, share)
        results: np.ndarray = sizes[phase] * share + sizes[phase + 1] * (1 - share)
        return results


@dataclass(frozen=True, repr=False)
class ReduceOnPlateau(Schedule):
    """c, times `factor` whenever the loss has not fallen for more than `patience` epochs."""

    c: float
    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    cooldown: int = 0
    least: float = 0.0
    name = "reduce_on_plateau"

    def sizes(self, k: np.ndarray) -> np.ndarray:
        """Raise: they are no function of k alone."""
        raise TypeError("reduce_on_plateau depends on the losses: it is no function of k alone")

    def begin(self) -> StepSizes:
        """Return the step sizes of a new run."""
        return _OnPlateau(self)


class _OnPlateau(StepSizes):
    """The state is that of torch.optim.lr_scheduler.ReduceLROnPlateau, whose names it has."""

    schedule: ReduceOnPlateau

    def __init__(self, schedule: ReduceOnPlateau) -> None:
        super().__init__(schedule)
        self.size = schedule.c
        self.best = math.inf
        self.num_bad_epochs = 0
        self.cooldown_counter = 0

    def sizes(self, k: np.ndarray) -> np.ndarray:
        return np.full(len(k), self.size)

    def observe(self, loss: float) -> None:
        settings = self.schedule
        if loss < self.best * (1 - settings.threshold):
            self.best, self.num_bad_epochs = loss, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > settings.patience:
            self.size = max(self.size * settings.factor, settings.least)
            self.cooldown_counter = settings.cooldown
            self.num_bad_epochs = 0


@dataclass(frozen=True, repr=False)
class WarmUp(Schedule):
    """A line from first * schedule(0) to schedule(0), then the schedule, from its own beginning."""

    schedule: Schedule
    n_steps: int
    first: float = 0.0
    name = "warm_up"

    @property
    def robbins_monro(self) -> bool | None:
        """Whether those of the schedule that is warmed up are satisfied."""
        return self.schedule.robbins_monro

    def sizes(self, k: np.ndarray) -> np.ndarray:
        """Return the numbers on the line and those of the schedule."""
        return self.warmed(self.schedule.sizes, k)

    def warmed(self, sizes: Callable[[np.ndarray], np.ndarray], k: np.ndarray) -> np.ndarray:
        """Return the step sizes (n,) of updates k (n,), where `sizes` gives the schedule's."""
        warming = k < self.n_steps
        result, early = np.empty(len(k)), k[warming]
        if early.size:
            left = (self.n_steps - early) / self.n_steps
            share = self.first * left + early / self.n_steps
            result[warming] = share * sizes(np.zeros(1, np.int64))
        if early.size < k.size:
            result[~warming] = sizes(k[~warming] - self.n_steps)
        return result

    def begin(self) -> StepSizes:
        """Return the step sizes of a new run."""
        return _WarmingUp(self)


class _WarmingUp(StepSizes):
    schedule: WarmUp

    def __init__(self, schedule: WarmUp) -> None:
        super().__init__(schedule)
        self.inner = schedule.schedule.begin()
        self.n_asked = 0

    def sizes(self, k: np.ndarray) -> np.ndarray:
        return self.schedule.warmed(self.inner.sizes, k)

    def steps(self, start: int, stop: int) -> np.ndarray:
        self.n_asked = stop
        return super().steps(start, stop)

    def observe(self, loss: float) -> None:
        if self.n_asked > self.schedule.n_steps:
            self.inner.observe(loss)


@dataclass(frozen=True, repr=False)
class Custom(Schedule):
    """A user's function of k."""

    function: Callable[[int], float]
    robbins_monro = None

    def sizes(self, k: np.ndarray) -> np.ndarray:
        """Return what the function returns for each k, asked in order, once it is checked."""
        return np.array([self._size(number) for number in k.tolist()], np.float64)

    def _size(self, k: int) -> float:
        size = self.function(k)
        if not validation.is_number(size):
            raise ValueError(f"step({k}) must be a number; got {size!r}")
        if not (math.isfinite(size) and size >= 0):
            raise ValueError(f"step({k}) must be finite, 0 or more; got {size!r}")
        return float(size)

    def expression(self) -> str:
        """Return the function's name."""
        return validation.name_of(self.function)
