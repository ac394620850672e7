"""Learning rates set at the ends of epochs, and orders drawn as scikit-learn draws them."""

from __future__ import annotations

import numpy as np

from fastmlp.solvers.orders import Order
from fastmlp.solvers.step_sizes import StepSizes


class LearningRate(StepSizes):
    """The same step size at each update, until it is set anew.

    Attributes
    ----------
    value : float
    """

    def __init__(self, value: float) -> None:
        self.value = value

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
