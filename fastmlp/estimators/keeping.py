"""The checkpoints of a fit: what is in them of an estimator, and which are of the same fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp.estimators import trees
from fastmlp.solvers.checkpoints import Checkpoints, Keeper, Resumed
from fastmlp.solvers.identity import digest, of_state, shown
from fastmlp.solvers.orders import set_random_state

if TYPE_CHECKING:
    from fastmlp.estimators.problem import Problem
    from fastmlp.estimators.watch import Watch

# Parameters that change no number, or only how long it goes on; random states are compared apart.
NOT_COMPARED = {"callbacks", "max_iter", "n_jobs", "random_state", "verbose", "warm_start"}


class Keeping:
    """What a fit is to do about checkpoints.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
    checkpoints : Checkpoints or None
        Where to write them.
    resumed : Resumed or None
        What to go on from.
    """

    def __init__(
        self,
        estimator: Any,
        checkpoints: Checkpoints | None = None,
        resumed: Resumed | None = None,
    ) -> None:
        self.estimator, self.checkpoints, self.resumed = estimator, checkpoints, resumed
        self.is_on = checkpoints is not None or resumed is not None

    def begin(self, random_state: np.random.RandomState) -> np.random.RandomState:
        """Return the random state to draw with from here on, where the initial values are drawn."""
        if not self.is_on:
            return random_state
        self._given = self._start = random_state.get_state(legacy=False)
        if self.resumed is not None:
            self._start = self.resumed["start"]
            if self.estimator.random_state is None:  # NumPy's global one is not ours to set
                random_state = np.random.RandomState()
            with self.resumed.reading():
                set_random_state(random_state, self._start)
        return random_state

    def keeper(self, problem: Problem, w: np.ndarray) -> Keeper:
        """Return what writes the checkpoints.

        Raises
        ------
        ValueError
            Where the one to go on from is of another fit.
        """
        estimator, net = self.estimator, problem.net
        settings = estimator.get_params(deep=False).items()
        words = {
            "estimator": type(estimator).__name__,
            **{name: shown(value) for name, value in settings if name not in NOT_COMPARED},
            "network": repr(net),
            "X": digest(problem.X, dtype=net.dtype),
            "y": digest(problem.y),
            "sample_weight, class_weight": digest(problem.weights),
            "random_state": of_state(self._given),
            "w": digest(w),
        }
        if problem.validation is not None:
            words["X_val"] = digest(problem.validation.X, dtype=net.dtype)
            words["y_val"] = digest(problem.validation.y)
        has_seed = estimator.random_state is not None
        return Keeper(self.checkpoints, self.resumed, words, self._start, has_seed)


def model(watch: Watch, w: np.ndarray) -> dict[str, Any]:
    """Return the tree of an estimator as it is fitted so far."""
    tree, _ = trees.of(watch.fitted_so_far(w), optimizer=False)
    return tree
