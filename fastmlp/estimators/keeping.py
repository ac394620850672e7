"""The checkpoints of a fit: what is in them of an estimator, and which are of the same fit."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp.estimators import trees
from fastmlp.estimators.rules import is_stochastic
from fastmlp.solvers.checkpoints import Checkpoints, Keeper, Resumed
from fastmlp.solvers.identity import digest, of_state, shown
from fastmlp.solvers.orders import set_random_state

if TYPE_CHECKING:
    from fastmlp.estimators.problem import Course, Problem
    from fastmlp.estimators.watch import Watch

LONGEST = 200  # of labels in words
# Parameters that change no number, or only how long it goes on; random states are compared apart.
NOT_COMPARED = {"callbacks", "max_iter", "n_jobs", "random_state", "verbose", "warm_start"}
# Of solvers that see all samples at once, what decides when they end.
FOR_THE_END = {"max_fun", "tol"}


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
            with self.resumed.reading():
                about = dict(self.resumed["about"])
            if "estimator" not in about:
                raise ValueError(
                    f"{self.resumed.path} is a checkpoint of {about.get('solver')}, and of no "
                    f"{type(self.estimator).__name__}"
                )
            self._start = self.resumed["start"]
            if self.estimator.random_state is None:  # NumPy's global one is not ours to set
                random_state = np.random.RandomState()
            with self.resumed.reading():
                set_random_state(random_state, self._start)
        return random_state

    @contextlib.contextmanager
    def or_as_before(self) -> Iterator[None]:
        """Where an error ends the fit, have the user's random state as before: to go on with."""
        given = self.estimator.random_state
        keeps = self.is_on and isinstance(given, np.random.RandomState)
        before = given.get_state(legacy=False) if keeps else None
        try:
            yield
        except BaseException:
            if keeps:
                given.set_state(before)
            raise

    def keeper(self, estimator: Any, problem: Problem, course: Course, w: np.ndarray) -> Keeper:
        """Return what writes the checkpoints, of a fit that is to begin with these.

        Raises
        ------
        ValueError
            Where the one to go on from is of another fit.
        """
        net = problem.net
        left_out = NOT_COMPARED if is_stochastic(estimator.solver) else NOT_COMPARED | FOR_THE_END
        settings = estimator.get_params(deep=False).items()
        words = {
            "estimator": type(estimator).__name__,
            **{name: shown(value) for name, value in settings if name not in left_out},
            "network": repr(net),
            "X": digest(problem.X, dtype=net.dtype),
            "y": digest(problem.y),
            "sample_weight, class_weight": _weights(problem, estimator.alpha),
            "random_state": of_state(self._given),
            "w": digest(w),
        }
        if estimator.scaling_ is not None:  # other data may come to the same numbers
            words["scaling of X"] = shown(list(estimator.scaling_.tree().values()))
        labels = getattr(estimator, "_labels", None)
        if labels is not None:
            words["classes of y"] = _brief(shown(labels.classes.tolist()))
        names = getattr(estimator, "feature_names_in_", None)
        if names is not None:
            words["columns of X"] = _brief(shown(names.tolist()))
        if problem.validation is not None:
            words["X_val"] = digest(problem.validation.X, dtype=net.dtype)
            words["y_val"] = digest(problem.validation.y)
            words["sample_weight_val"] = digest(problem.validation.weights)
        has_seed = estimator.random_state is not None
        keeper = _Keeper(self.checkpoints, self.resumed, words, self._start, has_seed)
        keeper.course = None if problem.validation is None else course
        return keeper


class _Keeper(Keeper):
    """One whose best epoch is that of the best validation score, whatever the solver looks at."""

    course: Course | None = None  # where there is a validation

    def is_due_after_epoch(self, n_epochs: int, value: float) -> bool:
        """Return whether to write a checkpoint after an epoch."""
        if self.course is not None:
            value = -self.course.validation_scores[-1]
        return super().is_due_after_epoch(n_epochs, value)


def _weights(problem: Problem, alpha: float) -> str:
    """Return the samples' weights in words: they are scaled, and alpha with them."""
    scale = alpha / problem.alpha if problem.alpha > 0 else 1.0
    words = digest(problem.weights)
    return words if problem.weights is None else f"{words}, times {scale:g}"


def _brief(text: str) -> str:
    digested = hashlib.sha256(text.encode()).hexdigest()[:16]
    return text if len(text) < LONGEST else f"{text[:LONGEST]}... of digest {digested}"


def model(watch: Watch, w: np.ndarray) -> dict[str, Any]:
    """Return the tree of an estimator as it is fitted so far."""
    tree, _ = trees.of(watch.fitted_so_far(w), optimizer=False)
    return tree
