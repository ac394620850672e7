"""Full-batch gradient descent: a direction, and a search along it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp import validation
from fastmlp.kernels.updates import dot
from fastmlp.objective import Evaluation, Objective, starting_point
from fastmlp.progress import progress_bar
from fastmlp.solvers import directions
from fastmlp.solvers import line_search as line_searches
from fastmlp.solvers.directions import Step
from fastmlp.solvers.first_minimiser import ULPS
from fastmlp.solvers.line_search import LineSearchResult, Outcome
from fastmlp.solvers.reports import (
    DIVERGED,
    NO_PROGRESS,
    Callback,
    Ended,
    History,
    checked_callback,
    converged,
    diverged,
    finished,
    interrupted,
    out_of_iterations,
    reason_to_stop,
    stopped,
    warn_of,
)

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

    from fastmlp.curve import Curve


def gradient_descent(
    objective: Objective,
    w: Any,
    *,
    direction: Any = "steepest",
    line_search: Any = "exact",
    tol: float = 1e-6,
    max_iter: int = 500,
    callback: Callback | None = None,
    progress: bool | None = None,
) -> OptimizeResult:
    """Minimise an objective by gradients of all samples and a search along each direction.

    ``w <- w + alpha d`` with ``d = -grad E(w)`` and ``alpha = argmin_{alpha > 0} E(w + alpha d)``
    by default (Cauchy 1847), until the gradient's norm is at most `tol`.

    Parameters
    ----------
    objective : Objective
    w : array-like of shape (n_params,)
        Where to start; not modified.
    direction : {"steepest", "conjugate", "nesterov"} or Direction, default="steepest"
        The negative gradient; conjugate gradients by Polak and Ribiere, with restarts; Nesterov's
        accelerated gradients, monotone, with adaptive restart; or an object with the methods of
        `fastmlp.solvers.directions.Direction`.
    line_search : str, float or callable, default="exact"
        "exact": `fastmlp.line_search.Exact`, to the first minimiser along d; "armijo" or "wolfe":
        until those conditions hold; a number: always that alpha; or a search object, or a function
        of a curve and the last alpha (None at first) that returns alpha.
    tol : float, default=1e-6
        The Euclidean norm of the gradient at which to stop.
    max_iter : int, default=500
    callback : callable, optional
        Called after each iteration with an OptimizeResult of ``x`` (a view: copy it to keep it),
        ``fun``, ``jac``, ``nit`` and ``history``. To stop, return True or raise StopIteration.
    progress : bool, optional
        Whether to show a progress bar; by default on a terminal, if it takes longer than a second.

    Returns
    -------
    scipy.optimize.OptimizeResult
        ``x`` parameters; ``fun`` E(x); ``jac`` the gradient at x ("nesterov": None in callbacks,
        and where interrupted or diverged); ``nit`` iterations; ``nfev`` and
        ``njev`` evaluations of E (each alpha tried is one) and of its gradient; ``status`` 0:
        converged, 1: stopped by the callback, 2: interrupted by Ctrl-C, 3: diverged (a value was
        not finite, or E decreases without end along d), 4: out of iterations, 5: no progress
        possible (no step lowers E, as far as its digits tell); ``success`` whether status is 0 or
        1; ``message``; ``history`` with arrays of nit + 1 entries, of the start and of each
        iterate: ``value`` ("nesterov": as the search found it, E to rounding), ``gradient_norm``
        ("nesterov": at the point ahead of the iterate, where the next search begins), ``alpha``
        that led there (0 for the start), ``evaluations`` that its search made, ``seconds`` since
        the call.

    Warns
    -----
    RuntimeWarning
        Where interrupted or diverged.

    Raises
    ------
    ValueError, TypeError
        For arguments that do not fit, before anything is done.

    Notes
    -----
    Under exact search E never increases from one iterate to the next. Close to a minimiser its
    digits end before the gradient's: there a rise of at most 4 units in the last place of float64
    counts as none, if the search has made the slope smaller.

    References
    ----------
    Cauchy, "Méthode générale pour la résolution des systèmes d'équations simultanées", Comptes
    rendus 25, 1847. Nocedal and Wright, "Numerical optimization", 2006, chapters 3 and 5.

    Examples
    --------
    >>> import numpy as np
    >>> import fastmlp as fm
    >>> net = fm.Network([2, 1], output="sigmoid", loss="squared_error", dtype="float64")
    >>> X, y = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 1, 1, 1])
    >>> objective = fm.Objective(net, X, y, l2=1e-2)
    >>> result = fm.gradient_descent(objective, net.init(0), tol=1e-8)
    >>> result.message
    'Converged: the norm of the gradient is at most 1e-08.'
    """
    result = descend(objective, w, direction, line_search, tol, max_iter, callback, progress)
    warn_of(result, stacklevel=3)
    return result


def descend(
    objective: Objective,
    w: Any,
    direction: Any,
    line_search: Any,
    tol: float,
    max_iter: int,
    callback: Callback | None,
    progress: bool | None,
) -> OptimizeResult:
    """Do what `gradient_descent` does, without its warnings."""
    start = starting_point(objective, w)
    descent = _Descent(
        objective,
        directions.resolve(direction),
        line_searches.resolve(line_search),
        validation.not_negative("tol", tol),
        validation.count("max_iter", max_iter),
        checked_callback(callback),
    )
    with progress_bar(progress, descent.max_iter, "iterations") as bar:
        end = descent.run(start, bar)
    return finished(descent.result(), end.status, end.message)


# Iterations without a new least value, or gradient norm at that value, after which to give up.
MOST_STALLED = 30


@dataclass(frozen=True)
class _State:
    """After nit iterations: the iterate, E there, and the base of the next search.

    The base is the iterate itself, or for rules that look ahead mostly another point.
    """

    nit: int
    w: np.ndarray
    value: float
    base: Evaluation
    alpha: float | None

    @property
    def is_ahead(self) -> bool:
        return self.base.w is not self.w


class _Descent:
    """One run. Its state is replaced as a whole, so that an interrupt finds it consistent."""

    def __init__(
        self,
        objective: Objective,
        rule: directions.Direction,
        search: line_searches.LineSearch,
        tol: float,
        max_iter: int,
        callback: Callback | None,
    ) -> None:
        self.objective, self.rule, self.search = objective, rule, search
        self.looks_ahead = directions.looks_ahead(rule)
        self.tol, self.max_iter, self.callback = tol, max_iter, callback
        self.history = History("value", "gradient_norm", "alpha", "evaluations", "seconds")
        self.began = time.perf_counter()
        self.counts_before = objective.nfev, objective.njev
        self.has_begun_anew = False
        self.best, self.n_stalled = (math.inf, math.inf), 0

    def run(self, start: np.ndarray, bar: Any) -> Ended:
        """Iterate until something ends it; return what did."""
        nowhere = Evaluation.unknown(start)
        self.state = _State(0, start, math.nan, nowhere, None)
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # divergence is told otherwise
                self._begin(start)
                while True:
                    self._end_if_converged()
                    if self.state.nit == self.max_iter:
                        self._look_at_iterate()
                        self._end_if_converged()
                        return out_of_iterations(self.max_iter)
                    self._iterate(bar)
        except Ended as end:
            return end
        except KeyboardInterrupt:
            return interrupted(self.state.nit)

    def _begin(self, start: np.ndarray) -> None:
        base = Evaluation.at(start, self.objective)
        self._record(base.value, base.norm, 0.0, 0)
        self.state = _State(0, start, base.value, base, None)
        self._end_if_diverged(base)

    def _look(self, w: np.ndarray) -> Evaluation:
        place = Evaluation.at(w, self.objective)
        self._end_if_diverged(place)
        return place

    def _end_if_diverged(self, place: Evaluation) -> None:
        if not place.is_finite:
            raise diverged()

    def _look_at_iterate(self) -> None:
        """Have the iterate itself as base."""
        if self.state.is_ahead:
            base = self._look(self.state.w)
            self.state = replace(self.state, base=base, value=min(self.state.value, base.value))

    def _end_if_converged(self) -> None:
        if self.state.base.norm > self.tol:
            return
        if self.state.is_ahead and self.state.base.value > self.state.value:
            self.rule.restart()  # that was ahead of the iterate, and higher
            self._look_at_iterate()
            if self.state.base.norm > self.tol:
                return
        base = self.state.base
        self.state = replace(self.state, w=base.w, value=min(self.state.value, base.value))
        raise converged(self.tol)

    def _iterate(self, bar: Any) -> None:
        """Search, step and report; or only begin anew from the iterate."""
        base = self.state.base
        d = self.rule.direction(base.gradient)
        curve = self.objective.along(base.w, d)
        # Whatever else the objective has been used for since: always the same bits.
        curve.remember(0.0, base.value, dot(base.gradient, d))
        found = self.search(curve, self.state.alpha)
        if found.outcome is Outcome.NOT_FINITE:
            raise Ended(DIVERGED, f"Diverged: {found.outcome.value}")
        if not (found.success or found.outcome is Outcome.ENDLESS):
            self._begin_anew(found.outcome.value)
            return
        after = curve.at(found.alpha)
        if not validation.all_finite(after):
            raise Ended(DIVERGED, "Diverged: a parameter would not be finite.")
        if np.array_equal(after, base.w):
            self._begin_anew("the step is too short to change a parameter.")
            return
        move = self._ahead if self.looks_ahead else self._to
        if not move(after, curve, found):
            hint = "within rounding." if self.search.is_monotone else "a smaller one may help."
            self._begin_anew(f"the step raises E; {hint}")
            return
        self._end_if_stalled()
        if not bar.disable:
            bar.set_postfix(value=f"{self.state.value:.6g}", refresh=False)
            bar.update()
        if self.callback is not None:
            reason = reason_to_stop(self.callback, self.result())
            if reason is not None:
                self._look_at_iterate()
                raise stopped(self.state.nit, reason)
        if found.outcome is Outcome.ENDLESS:
            self._end_if_converged()
            raise Ended(DIVERGED, f"Diverged: {found.outcome.value}")

    def _begin_anew(self, reason: str) -> None:
        """Have the steepest direction from the iterate next; end if it was that."""
        had_past = self.rule.restart() is not False or self.state.is_ahead
        if self.has_begun_anew or not had_past:
            self._look_at_iterate()
            raise Ended(NO_PROGRESS, f"No progress possible: {reason}")
        self.has_begun_anew = True
        self._look_at_iterate()

    def _to(self, after: np.ndarray, curve: Curve, found: LineSearchResult) -> bool:
        """Make `after` the iterate and the base, unless E there contradicts the search."""
        state = self.state
        place = self._look(after)
        if self.search.is_monotone and place.value > state.value:
            # Close to a minimiser the digits of E end before those of its slope.
            if place.value > state.value + ULPS * math.ulp(state.value):
                return False
            place = replace(place, value=state.value)
        step = Step(
            state.base.w, state.value, state.base.gradient, state.w, after, place.value, True
        )
        self.rule.learn(step)
        self._advance(after, place.value, place, found.alpha, found.evaluations)
        return True

    def _ahead(self, after: np.ndarray, curve: Curve, found: LineSearchResult) -> bool:
        """Make `after` the iterate if it is lower, and go to the base that the rule wants next.

        Not where it is not lower, and the base was the iterate already.
        """
        state, value = self.state, curve(found.alpha)
        if not math.isfinite(value):
            raise Ended(DIVERGED, "Diverged: E is not finite after the step.")
        is_lower = value <= state.value + ULPS * math.ulp(state.value)
        if not (is_lower or state.is_ahead):
            return False
        base = state.base
        step = Step(base.w, base.value, base.gradient, state.w, after, value, is_lower)
        self.rule.learn(step)
        w, value = (after, min(value, state.value)) if is_lower else (state.w, state.value)
        ahead = self._look(self.rule.base(w))
        self._advance(w, value, ahead, found.alpha, curve.evaluations)
        return True

    def _advance(
        self, w: np.ndarray, value: float, base: Evaluation, alpha: float, evaluations: int
    ) -> None:
        self._record(value, base.norm, alpha, evaluations)
        self.state = _State(self.state.nit + 1, w, value, base, alpha)
        self.has_begun_anew = False

    def _end_if_stalled(self) -> None:
        """End where E, and the gradient at equal E, has not fallen for a while."""
        now = (self.state.value, self.state.base.norm)
        self.n_stalled = 0 if now < self.best else self.n_stalled + 1
        self.best = min(self.best, now)
        if self.search.is_monotone and self.n_stalled >= MOST_STALLED:
            self._look_at_iterate()
            self._end_if_converged()
            reason = f"E has not fallen for {MOST_STALLED} iterations, as far as its digits tell."
            raise Ended(NO_PROGRESS, f"No progress possible: {reason}")

    def _record(self, value: float, norm: float, alpha: float, evaluations: int) -> None:
        seconds = time.perf_counter() - self.began
        self.history.append(value, norm, alpha, evaluations, seconds)

    def result(self) -> OptimizeResult:
        """Return what is known so far."""
        from scipy.optimize import OptimizeResult

        state = self.state
        return OptimizeResult(
            x=state.w,
            fun=state.value if state.is_ahead else state.base.value,
            jac=None if state.is_ahead else state.base.gradient,
            nit=state.nit,
            nfev=self.objective.nfev - self.counts_before[0],
            njev=self.objective.njev - self.counts_before[1],
            history=self.history.arrays(state.nit + 1),
        )
