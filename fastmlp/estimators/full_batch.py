"""Fits by solvers that see all samples at once: SciPy's, and descent with exact line search."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastmlp import files
from fastmlp.estimators.keeping import Keeping, model
from fastmlp.estimators.problem import NON_FINITE, Course, Problem, callbacks_of, warn
from fastmlp.estimators.rules import DIRECTIONS
from fastmlp.estimators.watch import ASKED, Watch, obey_interrupt
from fastmlp.objective import Objective
from fastmlp.solvers.gradient_descent import descend
from fastmlp.solvers.holdout import Holdout
from fastmlp.solvers.minimize import minimized
from fastmlp.solvers.reports import (
    DIVERGED,
    FAILED,
    OUT_OF_ITERATIONS,
    Callbacks,
    History,
    finished,
)

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

    from fastmlp.estimators.tasks import Tasks
    from fastmlp.solvers.checkpoints import Resumed
    from fastmlp.solvers.descent import Descent
    from fastmlp.solvers.minimize import Minimisation

# SciPy's default for L-BFGS-B, which scikit-learn's solver keeps.
LBFGS_FTOL = 2.220446049250313e-09
# SciPy's number for this, which scikit-learn's warnings show.
SCIPY_OUT_OF_ITERATIONS = 1


def minimise(
    estimator: Any,
    problem: Problem,
    w: np.ndarray,
    course: Course,
    tasks: Tasks,
    keeping: Keeping,
) -> np.ndarray:
    """Do the iterations; return the parameters.

    Parameters are those of `stochastic.minimise`.

    Raises
    ------
    ValueError
        Where a parameter would not be finite.
    KeyboardInterrupt
        Where interrupted before the first iteration; later, what has been learnt is kept.
    """
    solver, tol, max_iter = estimator.solver, estimator.tol, estimator.max_iter
    if estimator.early_stopping and solver in DIRECTIONS:  # scikit-learn's users know it of "lbfgs"
        warn(f"early_stopping has no effect with solver={solver!r}")
    if np.any(estimator.dropout):
        raise ValueError(
            "dropout needs a stochastic solver; "
            f"got dropout={estimator.dropout!r} and solver={solver!r}"
        )
    objective = Objective(
        problem.net,
        problem.X,
        problem.y,
        sample_weight=problem.weights,
        l2=problem.alpha / problem.total_weight,
    )
    watch = _Watch(estimator, problem, course, tasks)

    def prepare(descent: Descent) -> None:
        if keeping.is_on:
            keeper = keeping.keeper(estimator, problem, course, w)
            descent.keep_checkpoints(keeper, keeping.resumed, watch.tree)
        if keeping.resumed is None:
            watch.start(w)
        else:
            descent.reason = watch.go_on(descent.state.w, keeping.resumed)
            keeping.resumed.forget()
        if keeping.is_on:
            files.encoded(watch.tree(w), {})  # raises now what would be raised at writing

    def prepare_scipy(run: Minimisation) -> None:
        if keeping.is_on:
            keeper = keeping.keeper(estimator, problem, course, w)
            run.keep_checkpoints(keeper, keeping.resumed, lambda w: {"model": model(watch, w)})
        watch.start(w, is_told_again=keeping.resumed is not None)

    failure: tuple[int, str] | None = None
    try:
        if solver in DIRECTIONS:
            direction = DIRECTIONS[solver]
            result = descend(objective, w, direction, "exact", tol, max_iter, watch, False, prepare)
            if result.status == OUT_OF_ITERATIONS:
                failure = SCIPY_OUT_OF_ITERATIONS, result.message
        else:
            options = {"maxfun": estimator.max_fun, "gtol": tol, "ftol": LBFGS_FTOL}
            result, found = minimized(
                objective, w, "L-BFGS-B", 0.0, max_iter, watch, False, options, prepare_scipy
            )
            if found is not None and found.status != 0:
                failure = found.status, found.message
    except BaseException as error:
        watch.fail(w, error)
        raise
    watch.end(result)
    if result.status == DIVERGED:
        raise ValueError(NON_FINITE)
    obey_interrupt(result)
    if failure is not None:
        text = _not_converged(estimator, result.nit, *failure)
        warn(text, ConvergenceWarning)
    course.n_iter = result.nit
    course.t += result.nit * problem.n_samples
    course.loss = watch.shown(result.fun, result.x)
    course.best_loss = min(course.loss_curve, default=course.loss)
    parameters: np.ndarray = result.x
    return parameters


def _not_converged(estimator: Any, nit: int, status: int, why: str) -> str:
    """Return scikit-learn's words for it."""
    message = (
        f"{estimator.solver} failed to converge after {nit} iteration(s) "
        f"(status={status}):\n{why}\n"
    )
    if nit >= estimator.max_iter:
        message += (
            "\nIncrease the number of iterations to improve the convergence "
            f"(max_iter={estimator.max_iter})."
        )
    return message + (
        "\nYou might also want to scale the data as shown in:\n"
        "    https://scikit-learn.org/stable/modules/preprocessing.html"
    )


class _Watch(Watch):
    """What the solvers call after each iteration, which tells the callbacks as well."""

    def __init__(self, estimator: Any, problem: Problem, course: Course, tasks: Tasks) -> None:
        super().__init__(estimator, problem, course, tasks)
        self.callbacks = Callbacks(callbacks_of(estimator))
        validation, net = problem.validation, problem.net
        self.names = ["loss", "step", "seconds"]
        self.holdout = None
        if validation is not None:
            self.names += ["validation_loss", "validation_score"]
            self.holdout = Holdout(
                net, validation.samples, validation.score, problem.X, problem.y, None,
                np.random.default_rng(0),
            )  # fmt: skip
        self.history = History(*self.names)

    def tree(self, w: np.ndarray) -> dict[str, Any]:
        """Return what is in a checkpoint beside the solver's run."""
        watch = {
            "course": self.course.tree(),
            "history": self.history.table,
            "callbacks": self.callbacks.state_dict(),
        }
        return {"model": model(self, w), "watch": watch}

    def start(self, w: np.ndarray, is_told_again: bool = False) -> None:
        """Begin the first iteration, or the next one; say whether the first ones come again."""
        self.tasks.begin_epoch(len(self.history))
        if self.callbacks:
            state = self._state(w, math.nan, len(self.history))
            state.is_told_again = is_told_again
            self.callbacks.start(state)

    def go_on(self, w: np.ndarray, resumed: Resumed) -> str | None:
        """Start from what `tree` returned; return why the fit had ended, if it had."""
        with resumed.reading():
            watch = resumed["watch"]
            states = watch["callbacks"]
            self.course.load(watch["course"])
            self.history.load(watch["history"])
            self.callbacks.require_same(states)
        self.start(w)
        with resumed.reading():
            return self.callbacks.load_state_dict(states)

    def __call__(self, state: OptimizeResult) -> None:
        """Record an iteration; raise StopIteration if it is to be the last."""
        self.record(state.nit, self.shown(state.fun, state.x))
        alpha = state.history.get("alpha", [math.nan])[-1]
        held_out: tuple[float, ...] = ()
        if self.holdout is not None:
            loss, score = held_out = self.holdout.evaluate(state.x)
            self.course.validate(loss, score)
        self.history.append(self.course.loss, alpha, state.history.seconds[-1], *held_out)
        reason = self._told(state) if self.callbacks else None
        asked = self.end_task(state.x)
        if reason is not None or asked:
            raise StopIteration(reason or ASKED)
        self.tasks.begin_epoch()

    def _told(self, state: OptimizeResult) -> str | None:
        """Tell the callbacks of an iteration; return why to stop, or None."""
        shown = self._state(state.x, self.course.loss, state.nit)
        shown.estimator = self.fitted_so_far(state.x)
        # An iteration is an update, and an epoch.
        reasons = self.callbacks.steps(shown), self.callbacks.epoch_end(shown)
        return reasons[0] if reasons[1] is None else reasons[1]

    def end(self, result: OptimizeResult) -> None:
        """Tell the callbacks how it has ended."""
        self.callbacks.end(result)

    def fail(self, w: np.ndarray, error: BaseException) -> None:
        """Tell the callbacks that an error has ended it."""
        result = self._state(w, self.course.loss, self.course.n_iter)
        finished(result, FAILED, f"Ended by {type(error).__name__}.", self.callbacks)

    def shown(self, value: float, w: np.ndarray) -> float:
        """Return the loss as scikit-learn shows it, from the objective's value at w."""
        n = self.problem.outputs_averaged
        if n == 1:
            return np.float64(value)
        penalty = self.problem.penalty(w) / self.problem.total_weight
        return np.float64((value - penalty) / n + penalty)

    def _state(self, w: np.ndarray, loss: float, nit: int) -> OptimizeResult:
        from scipy.optimize import OptimizeResult

        history = self.history.arrays()
        step, seconds = math.nan, 0.0
        if len(self.history):
            step, seconds = history.step[-1], history.seconds[-1]
        return OptimizeResult(
            x=w, fun=loss, nit=nit, n_epochs=nit, step=step, seconds=seconds, history=history,
            epochs=self.estimator.max_iter, n_steps=self.estimator.max_iter,
        )  # fmt: skip
