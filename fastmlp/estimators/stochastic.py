"""Fits by stochastic solvers: epochs, as scikit-learn's MLPs count, show and end them."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastmlp.estimators.keeping import Keeping, model
from fastmlp.estimators.problem import NON_FINITE, Course, Problem, callbacks_of, seeded, warn
from fastmlp.estimators.rates import LearningRate, ShuffledByState
from fastmlp.estimators.rules import RATED, rule_of
from fastmlp.estimators.watch import ASKED, Watch, obey_interrupt
from fastmlp.solvers import schedules
from fastmlp.solvers.checkpoints import parameters_of
from fastmlp.solvers.orders import Order, resolve
from fastmlp.solvers.portable import power
from fastmlp.solvers.reports import DIVERGED, DONE
from fastmlp.solvers.settings import Settings
from fastmlp.solvers.trainers import BatchTrainer
from fastmlp.solvers.training import Run
from fastmlp.solvers.updates import Updates
from fastmlp.sparse import has_random_access

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

    from fastmlp.estimators.tasks import Tasks
    from fastmlp.solvers.rules import Rule
    from fastmlp.solvers.step_sizes import StepSizes
    from fastmlp.solvers.trainers import State

# Of an `Optimizer`, what changes at the ends of epochs.
_KEPT = ("learning_rate", "no_improvement", "best", "has_stopped")
# `learning_rate="adaptive"` divides by this, until the rate is at most that.
ADAPTIVE_DIVISOR, LEAST_RATE = 5.0, 1e-6
# scikit-learn's order takes 24 bytes for each sample; of more samples it is another one.
MOST_PERMUTED = 2**22


@dataclass
class Optimizer:
    """What an optimiser keeps from one call of `partial_fit` to the next.

    Attributes
    ----------
    rule : Rule
    learning_rate : float
    learning_rate_init : float
        With which it began.
    steps : StepSizes or None
        Where a schedule sets the learning rate: what it has come to.
    state : State or None
        The rule's.
    no_improvement : int
        Epochs in a row.
    best : ndarray of shape (n_params,) or None
        The parameters of the best validation score.
    has_stopped : bool
        Whether early stopping has ended the training.
    """

    rule: Rule
    learning_rate: float
    learning_rate_init: float
    steps: StepSizes | None = None
    state: State | None = None
    no_improvement: int = 0
    best: np.ndarray | None = None
    has_stopped: bool = False


def optimizer_for(estimator: Any, earlier: Optimizer | None, keeps_state: bool) -> Optimizer:
    """Return the optimiser to begin with: the earlier one, or a new one."""
    rule, rate = rule_of(estimator), float(estimator.learning_rate_init)
    steps = None
    if callable(estimator.learning_rate):
        steps = schedules.resolve(estimator.learning_rate)
    if earlier is None:
        return Optimizer(rule, rate, rate, steps)
    if not estimator._stops_early():
        earlier = replace(earlier, best=None, has_stopped=False)
    is_same = type(earlier.rule) is type(rule) and earlier.rule.code == rule.code
    if not (keeps_state and is_same):
        return replace(
            earlier, rule=rule, state=None, steps=steps, learning_rate=rate, learning_rate_init=rate
        )
    if earlier.learning_rate_init != rate:
        earlier = replace(earlier, learning_rate=rate, learning_rate_init=rate)
    before = earlier.steps
    if steps is not None and before is not None and before.schedule == steps.schedule:
        steps = copy.deepcopy(before)  # a call that fails shall leave it as it was
    return replace(earlier, rule=rule, steps=steps)


def minimise(
    estimator: Any,
    problem: Problem,
    w: np.ndarray,
    course: Course,
    optimizer: Optimizer,
    random_state: np.random.RandomState,
    tasks: Tasks,
    incremental: bool,
    keeping: Keeping,
) -> np.ndarray:
    """Do the epochs, one if incremental; return the parameters.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        Whose parameters say how.
    problem : Problem
    w : ndarray of shape (n_params,)
        Where to begin; not modified.
    course, optimizer
        Brought up to date.
    random_state : numpy.random.RandomState
    tasks : Tasks
    incremental : bool
    keeping : Keeping

    Raises
    ------
    ValueError
        Where a parameter would not be finite.
    KeyboardInterrupt
        Where interrupted before the first update; later, what has been learnt is kept.
    """
    if hasattr(optimizer.rule, "weight_decay"):
        problem = replace(problem, alpha=0.0)
    watch = _Watch(estimator, problem, course, optimizer, tasks, incremental)
    run = Run(
        problem.net,
        problem.X,
        problem.y,
        w,
        _settings(estimator, problem, optimizer, watch, random_state, incremental),
        _generator(estimator, random_state),
    )
    if keeping.is_on:
        keeper = keeping.keeper(estimator, problem, course, w)
        run.keep_checkpoints(keeper, keeping.resumed, lambda w: model(watch, w))
    watch.n_updates = -(-problem.n_samples // run.trainer.batch_size)
    n_before = int(run.trainer.done[0])
    result = run.result()
    assert isinstance(run.trainer, BatchTrainer)
    optimizer.state = run.trainer.state
    if result.status == DIVERGED:
        watch.diverge()
    obey_interrupt(result, n_before)
    if result.status == DONE and not incremental:
        warn(
            f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) reached and the "
            "optimization hasn't converged yet.",
            ConvergenceWarning,
        )
    ends = watch.stops_early and (optimizer.has_stopped or not incremental)
    best = optimizer.best if ends else None
    parameters: np.ndarray = result.x if best is None else best
    return parameters.copy()


def _generator(estimator: Any, random_state: np.random.RandomState) -> np.random.Generator:
    """Return what draws the dropped units; without dropout nothing is drawn, here neither."""
    return seeded(random_state) if np.any(estimator.dropout) else np.random.default_rng(0)


def _settings(
    estimator: Any,
    problem: Problem,
    optimizer: Optimizer,
    watch: _Watch,
    random_state: np.random.RandomState,
    incremental: bool,
) -> Settings:
    n, rule = problem.n_samples, optimizer.rule
    batch_size: int | None = estimator.batch_size
    if estimator.batch_size == "auto":
        batch_size = None if rule.needs_all_samples else min(200, n)
    elif rule.needs_all_samples and estimator.batch_size < n:
        raise ValueError(
            f"solver={estimator.solver!r} needs all {n} samples in each batch: batch_size must be "
            f"'auto'; got {estimator.batch_size}"
        )
    elif estimator.batch_size > n:
        warn("Got `batch_size` less than 1 or larger than sample size. It is going to be clipped")
    if rule.needs_all_samples and np.any(estimator.dropout):
        raise ValueError(
            f"solver={estimator.solver!r} needs the same units in each update; "
            f"got dropout={estimator.dropout!r}"
        )
    validation = problem.validation
    return Settings(
        updates=Updates(rule, l2=problem.alpha, shares_penalty=True),
        reduction="mean",
        batch_size=batch_size,
        per_sample=False,
        step=watch.rate if optimizer.steps is None else optimizer.steps,
        epochs=1 if incremental else estimator.max_iter,
        order=_order(problem, random_state) if estimator.shuffle else "sequential",
        sample_weight=problem.weights,
        class_weight=None,
        dropout=estimator.dropout,
        validation=None if validation is None else validation.samples,
        scoring=None if validation is None else validation.score,
        patience=None,
        min_improvement=0.0,
        rng=None,
        callback=[watch, *watch.others],
        progress=False,
        rows=problem.rows,
        state=optimizer.state,
    )


def _order(problem: Problem, random_state: np.random.RandomState) -> Order:
    """Return scikit-learn's order; of many samples one that takes no memory, or one by runs."""
    n, X = problem.n_samples, problem.X
    if n <= MOST_PERMUTED and has_random_access(X):
        return ShuffledByState(n, random_state)
    return resolve("shuffled", n, seeded(random_state), X.shape[1], has_random_access(X))


class _Watch(Watch):
    """A callback of the solver, which ends the run in time as well."""

    def __init__(
        self,
        estimator: Any,
        problem: Problem,
        course: Course,
        optimizer: Optimizer,
        tasks: Tasks,
        incremental: bool,
    ) -> None:
        super().__init__(estimator, problem, course, tasks)
        self.optimizer = optimizer
        self.stops_early = estimator.early_stopping and problem.validation is not None
        self.incremental, self.others = incremental, callbacks_of(estimator)
        self.n_updates = 1  # in an epoch
        self.rate = LearningRate(optimizer.learning_rate)
        self.reason: str | None = None  # why the fit has ended

    def on_start(self, state: OptimizeResult) -> None:
        """Begin the first epoch."""
        self.course.n_iter = 0
        self._penalty = self.problem.penalty(state.x)
        self.tasks.begin_epoch(state.n_epochs)

    def on_epoch_end(self, state: OptimizeResult) -> None:
        """Record the epoch; raise StopIteration if it is to be the last."""
        course, optimizer = self.course, self.optimizer
        course.t += self.problem.n_samples
        self.record(course.n_iter + 1, self._loss(state))
        if self.problem.validation is not None:
            has_better_score = self._score(state)
        improved = has_better_score if self.stops_early else self._has_lower_loss()
        optimizer.no_improvement = 0 if improved else optimizer.no_improvement + 1
        self._decay()
        if optimizer.no_improvement > self.estimator.n_iter_no_change:
            self.reason = self._end_or_slow_down()
        optimizer.learning_rate = self.rate.value
        if self.others:
            state.estimator = self.fitted_so_far(state.x)
        asked = self.end_task(state.x)
        if self.reason is not None:
            raise StopIteration(self.reason)
        if asked:
            raise StopIteration(ASKED)
        self.tasks.begin_epoch()

    def state_dict(self) -> dict[str, Any]:
        """Return what a fit goes on with."""
        optimizer = {name: getattr(self.optimizer, name) for name in _KEPT}
        return {
            "course": self.course.tree(), "optimizer": optimizer, "penalty": self._penalty,
            "reason": self.reason,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state; raise StopIteration where the fit had ended."""
        self.course.load(state["course"])
        kept, optimizer = state["optimizer"], self.optimizer
        optimizer.learning_rate = float(kept["learning_rate"])
        optimizer.no_improvement = int(kept["no_improvement"])
        optimizer.has_stopped = bool(kept["has_stopped"])
        optimizer.best = kept["best"]
        if optimizer.best is not None:
            optimizer.best = parameters_of(self.problem.net, optimizer.best)
        self._penalty = float(state["penalty"])
        self.reason = state["reason"]
        if self.reason is not None:
            raise StopIteration(str(self.reason))

    def diverge(self) -> None:
        """End with the parameters of the best epoch; raise ValueError where there are none."""
        if not self.stops_early or self.optimizer.best is None:
            raise ValueError(NON_FINITE)
        self.course.n_iter += 1
        self.course.loss_curve.append(math.nan)
        self.course.validate(math.nan, math.nan)
        self.optimizer.has_stopped = self.incremental
        warn(
            f"Training diverged in epoch {self.course.n_iter}: the parameters of the epoch with "
            "the best validation score are kept.",
            RuntimeWarning,
        )

    def _loss(self, state: OptimizeResult) -> float:
        """Return the epoch's mean loss, with the penalty as it was before each update.

        In between it is taken to have changed evenly.
        """
        problem, n = self.problem, self.n_updates
        before, self._penalty = self._penalty, problem.penalty(state.x)
        penalty = before + (self._penalty - before) * (n - 1) / (2 * n)
        loss = state.fun / problem.outputs_averaged + n * penalty / problem.total_weight
        return float(loss)

    def _score(self, state: OptimizeResult) -> bool:
        """Record the validation; return whether the score is better by more than tol."""
        history, best = state.history, self.course.best_validation_score
        score = float(history.validation_score[-1])
        self.say(f"Validation score: {score:f}")
        if self.course.validate(float(history.validation_loss[-1]), score) and self.stops_early:
            self.optimizer.best = state.x.copy()
        return bool(score >= best + self.estimator.tol)  # NaN is not

    def _has_lower_loss(self) -> bool:
        course = self.course
        best, course.best_loss = course.best_loss, min(course.loss, course.best_loss)
        return not course.loss > best - self.estimator.tol

    def _decay(self) -> None:
        """Set the next epoch's learning rate, where that depends on the samples seen."""
        estimator = self.estimator
        if self._is_rated("invscaling"):
            n_seen = np.array([self.course.t + 1.0])
            divisor = float(power(n_seen, float(estimator.power_t))[0])
            self.rate.value = estimator.learning_rate_init / divisor

    def _is_rated(self, learning_rate: str) -> bool:
        estimator = self.estimator
        return estimator.learning_rate == learning_rate and estimator.solver in RATED

    def _end_or_slow_down(self) -> str | None:
        """Return why to stop; or have a smaller learning rate, and None."""
        estimator = self.estimator
        what = "Validation score" if self.stops_early else "Training loss"
        message = (
            f"{what} did not improve more than tol={estimator.tol:f} for "
            f"{estimator.n_iter_no_change} consecutive epochs."
        )
        if not self._is_rated("adaptive"):
            message += " Stopping."
        elif self.rate.value <= LEAST_RATE:
            message += " Learning rate too small. Stopping."
        else:
            self.rate.value /= ADAPTIVE_DIVISOR
            self.optimizer.no_improvement = 0
            self.say(f"{message} Setting learning rate to {self.rate.value:f}")
            return None
        self.say(message)
        self.optimizer.has_stopped = self.stops_early and self.incremental
        return message
