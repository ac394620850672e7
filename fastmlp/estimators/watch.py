"""What is told after each epoch or iteration, by whichever kind of solver."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp.estimators.problem import Course, Problem, warn
from fastmlp.solvers.reports import INTERRUPTED

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

    from fastmlp.estimators.tasks import Tasks

# Why a run ends that a callback of scikit-learn has asked to.
ASKED = "A callback has asked for it."


class Watch:
    """Follows the course of a fit, and shows it.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
    problem : Problem
    course : Course
        Brought up to date.
    tasks : Tasks
    """

    def __init__(self, estimator: Any, problem: Problem, course: Course, tasks: Tasks) -> None:
        self.estimator, self.problem, self.course, self.tasks = estimator, problem, course, tasks

    def record(self, n_iter: int, loss: float) -> None:
        """Take note of an epoch or iteration, and show it."""
        course = self.course
        course.n_iter, course.loss = n_iter, np.float64(loss)
        course.loss_curve.append(course.loss)
        self.say(f"Iteration {n_iter}, loss = {loss:.8f}")

    def say(self, line: str) -> None:
        """Print a line, if that is wanted."""
        if self.estimator.verbose:
            sys.stdout.write(f"{line}\n")

    def fitted_so_far(self, w: np.ndarray) -> Any:
        """Return a copy of the estimator that is fitted so far: it shares w."""
        return self.estimator._as_fitted(w, self.course, self.problem.net)

    def end_task(self, w: np.ndarray) -> bool:
        """Tell scikit-learn's callbacks of the end; return whether one asks to stop."""
        return self.tasks.end_epoch(lambda: vars(self.fitted_so_far(w.copy())))


def obey_interrupt(result: OptimizeResult, n_before: int = 0) -> None:
    """Where Ctrl-C has ended a run, warn; raise KeyboardInterrupt where nothing was learnt."""
    if result.status == INTERRUPTED:
        if result.nit == n_before:
            raise KeyboardInterrupt
        warn("Training interrupted by user.")
