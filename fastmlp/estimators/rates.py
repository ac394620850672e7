"""Learning rates set at the ends of epochs, and orders drawn as scikit-learn draws them."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastmlp.files import FormatError
from fastmlp.solvers.checkpoints import copy_into
from fastmlp.solvers.orders import Order, set_random_state
from fastmlp.solvers.step_sizes import StepSizes


class LearningRate(StepSizes):
    """The same step size at each update, until it is set anew.

    Attributes
    ----------
    value : float
    """

    def __init__(self, value: float) -> None:
        self.value = float(value)

    def steps(self, start: int, stop: int) -> np.ndarray:
        """Return the step sizes of updates start .. stop - 1, as things stand."""
        return np.full(stop - start, self.value)


class ShuffledByState(Order):
    """The order of scikit-learn's MLPs: each epoch's shuffles that of the epoch before.

    Parameters
    ----------
    n : int
        Number of samples.
    random_state : numpy.random.RandomState
    """

    def __init__(self, n: int, random_state: np.random.RandomState) -> None:
        self.kind, self.n = "shuffled", n
        self._random_state = random_state
        self._index = np.arange(n)

    def begin_epoch(self) -> None:
        """Draw the epoch's order."""
        shuffled = np.arange(self.n)
        self._random_state.shuffle(shuffled)
        self._index = self._index[shuffled]

    def take(self, start: int, stop: int) -> np.ndarray:
        """Return the samples at places start .. stop - 1 of the epoch."""
        return self._index[start:stop]

    def skip(self, stop: int) -> None:
        """Do nothing: places are taken in any sequence."""

    def state_dict(self) -> dict[str, Any]:
        """Return the last epoch's order, and what the next is drawn from."""
        return {"index": self._index, "random_state": self._random_state.get_state(legacy=False)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        index = np.empty(self.n, np.int64)
        copy_into(index, state["index"])
        if not np.array_equal(np.sort(index), np.arange(self.n)):
            raise FormatError("the checkpoint has an order that is no permutation")
        set_random_state(self._random_state, state["random_state"])
        self._index = index
