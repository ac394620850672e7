"""The order in which a stochastic solver takes the samples."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastmlp import validation
from fastmlp.files import FormatError
from fastmlp.kernels.shuffle import N_KEYS, permute, shuffle
from fastmlp.sources.base import BUFFER_RUNS, RUN_NUMBERS

KINDS = ("shuffled", "replacement", "sequential", "buffered")
SKIPPED_AT_ONCE = 2**16
MT19937_SIZE, PHILOX_SIZE = 624, 4  # of their buffers
# Up to here a permutation is drawn at once; beyond, one is computed piece by piece in no memory.
LONGEST_PERMUTATION = 2**16


class Order:
    """The samples' order, epoch by epoch, in memory that does not grow with their number.

    Parameters
    ----------
    kind : {"shuffled", "replacement", "sequential"}
        A new permutation in each epoch, independent draws, or 0, 1, 2, ...
    n : int
        Number of samples.
    rng : numpy.random.Generator
    """

    def __init__(self, kind: str, n: int, rng: np.random.Generator) -> None:
        self.kind, self.n, self.rng = kind, n, rng
        self._permutation = np.empty(0, np.int64)
        self._keys = np.empty(0, np.uint64)
        self._place = 0

    def begin_epoch(self) -> None:
        """Draw what the next epoch needs."""
        if self.kind != "shuffled":
            return
        if self.n <= LONGEST_PERMUTATION:
            self._permutation = np.empty(self.n, np.int64)
            permute(self._draw_keys(), self._permutation)
        else:
            self._keys = self._draw_keys()
            self._place = 0

    def _draw_keys(self) -> np.ndarray:
        return self.rng.integers(2**64, size=N_KEYS, dtype=np.uint64)

    def take(self, start: int, stop: int) -> np.ndarray:
        """Return the samples at places start .. stop - 1 of the epoch; to be called in sequence."""
        if self.kind == "replacement":
            return self.rng.integers(self.n, size=stop - start)
        if self.kind == "sequential":
            return np.arange(start, stop)
        if self.n <= LONGEST_PERMUTATION:
            return self._permutation[start:stop]
        out = np.empty(stop - start, np.int64)
        self._place = shuffle(self._keys, self.n, self._place, out)
        return out

    def skip(self, stop: int) -> None:
        """Pass over the places up to `stop` of an epoch that has begun."""
        for start in range(0, stop, SKIPPED_AT_ONCE):
            self.take(start, min(start + SKIPPED_AT_ONCE, stop))

    def state_dict(self) -> dict[str, Any]:
        """Return what the next epochs are drawn from, between two epochs."""
        return {"rng": generator_state(self.rng)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        set_generator_state(self.rng, state["rng"])


class BufferedOrder(Order):
    """Runs of consecutive samples in a random order, some of them at a time shuffled together.

    For samples of which those nearby are best read together. A run has ``RUN_NUMBERS // width``
    samples, whatever the files and the memory: the order depends on n, the width and the seed.

    Parameters
    ----------
    n, rng
        As in `Order`.
    width : int
        Numbers of a sample.
    """

    def __init__(self, n: int, rng: np.random.Generator, width: int) -> None:
        super().__init__("buffered", n, rng)
        self._run = max(1, RUN_NUMBERS // width)
        self._runs = np.empty(0, np.int64)  # their first samples, in the epoch's order
        self._buffer = np.empty(0, np.int64)
        self._begin = 0  # of the buffer, in the epoch

    def begin_epoch(self) -> None:
        """Draw what the next epoch needs."""
        self._keys = self._draw_keys()
        runs = np.empty(-(-self.n // self._run), np.int64)
        permute(self._keys, runs)
        self._runs = runs * self._run
        self._buffer, self._begin = self._buffer[:0], 0

    def take(self, start: int, stop: int) -> np.ndarray:
        """Return the samples at places start .. stop - 1 of the epoch; to be called in sequence."""
        taken = [np.empty(0, np.int64)]
        while start < stop:
            if start == self._begin + len(self._buffer):
                self._fill(start)
            part = self._buffer[start - self._begin : stop - self._begin]
            taken.append(part)
            start += len(part)
        return np.concatenate(taken)

    def _fill(self, start: int) -> None:
        """Have the next runs in the buffer, shuffled."""
        firsts, self._runs = self._runs[:BUFFER_RUNS], self._runs[BUFFER_RUNS:]
        ends = np.minimum(firsts + self._run, self.n)
        rows = np.concatenate([np.arange(*run) for run in zip(firsts, ends, strict=True)])
        places = np.empty(len(rows), np.int64)
        permute(self._keys[2:] + np.uint64(start), places)
        self._buffer, self._begin = rows[places], start


def resolve(
    order: Any,
    n: int,
    rng: np.random.Generator,
    width: int = 1,
    has_random_access: bool = True,
) -> Order:
    """Return the order of this name, or the order itself.

    Parameters
    ----------
    order : str or Order
    n, rng, width
        As in `Order` and `BufferedOrder`.
    has_random_access : bool
        Where not, "shuffled" is "buffered".
    """
    if isinstance(order, Order):
        return order
    validation.one_of("order", order, KINDS)
    if order == "buffered" or (order == "shuffled" and not has_random_access):
        return BufferedOrder(n, rng, width)
    return Order(order, n, rng)


def generator_state(rng: np.random.Generator) -> dict[str, Any]:
    """Return the state of a random generator as a tree."""
    return dict(rng.bit_generator.state)


def set_generator_state(rng: np.random.Generator, state: Any) -> None:
    """Have a random generator go on from a state."""
    kind = rng.bit_generator.state["bit_generator"]
    if not isinstance(state, dict) or state.get("bit_generator") != kind:
        found = state.get("bit_generator") if isinstance(state, dict) else state
        raise FormatError(f"the checkpoint has the state of a {found!r}, rng is a {kind!r}")
    _require_sound(state)
    rng.bit_generator.state = state


def set_random_state(random_state: np.random.RandomState, state: Any) -> None:
    """Have a RandomState go on from a state, as it came from a file."""
    _require_sound(state)
    random_state.set_state(state)


def _require_sound(state: dict[str, Any]) -> None:
    """Raise FormatError for a state that NumPy takes, but goes wrong with.

    A generator reads beyond its buffer, or gives the same number always: a draw that throws such
    numbers away never ends, and cannot be interrupted.
    """
    inner = state.get("state")
    if isinstance(inner, dict):
        inc, key = inner.get("inc", 1), inner.get("key")
        if type(inc) is not int or inc % 2 == 0:  # PCG64
            raise FormatError("the state of a random generator has a wrong inc")
        if isinstance(key, np.ndarray) and key.size == MT19937_SIZE and not key[1:].any():
            raise FormatError("the state of a random generator has a wrong key")
    for held, name, size in ((inner, "pos", MT19937_SIZE), (state, "buffer_pos", PHILOX_SIZE)):
        place = held.get(name, 0) if isinstance(held, dict) else 0
        if type(place) is not int or not 0 <= place <= size:
            raise FormatError(f"the state of a random generator has a wrong {name}")
