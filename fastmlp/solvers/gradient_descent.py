"""Full-batch gradient descent: a direction, and a search along it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp import validation
from fastmlp.kernels.updates import dot
from fastmlp.solvers import directions
from fastmlp.solvers import line_search as line_searches
from fastmlp.solvers.directions import Step
from fastmlp.solvers.line_search import LineSearchResult, Outcome
from fastmlp.solvers.reports import (
    DIVERGED,
    NO_PROGRESS,
    Callback,
    Ended,
    History,
    asks_to_stop,
    checked_callback,
    converged,
    finished,
    interrupted,
    out_of_iterations,
    progress_bar,
    stopped,
)

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

    from fastmlp.curve import Curve
    from fastmlp.objective import Objective


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
        ``x`` parameters; ``fun`` E(x); ``jac`` the gradient at x; ``nit`` iterations; ``nfev`` and
        ``njev`` evaluations of E (each alpha tried is one) and of its gradient; ``status`` 0:
        converged, 1: stopped by the callback, 2: interrupted by Ctrl-C, 3: diverged (a value was
        not finite, or E decreases without end along d), 4: out of iterations, 5: no progress
        possible (no step lowers E, as far as its digits tell); ``success`` whether status is 0 or
        1; ``message``; ``history`` with arrays of nit + 1 entries, of the start and of each
        iterate: ``value``, ``gradient_norm`` ("nesterov": at the point ahead of the iterate, where
        the next search begins), ``alpha`` that led there (0 for the start), ``evaluations`` that
        its search made, ``seconds`` since the call.

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
    Under exact search E never increases from one iterate to the next.

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
    objective.net.require_derivatives()
    start = np.array(validation.parameters(objective.net, w), objective.net.dtype)
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


# So many units in the last place of E are rounding: as much may two computations of it differ.
ULPS = 4


@dataclass(frozen=True)
class _Place:
    """A point, E and its gradient there, and the gradient's norm."""

    w: np.ndarray
    value: float
    gradient: np.ndarray
    norm: float

    @property
    def is_finite(self) -> bool:
        return math.isfinite(self.value) and math.isfinite(self.norm)


class _Descent:
    """One run: the iterate w, the base of the next search, and what has happened so far."""

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
        self.tol, self.max_iter, self.callback = tol, max_iter, callback
        self.history = History("value", "gradient_norm", "alpha", "evaluations", "seconds")
        self.began, self.nit = time.perf_counter(), 0
        self.counts_before = objective.nfev, objective.njev
        self.alpha: float | None = None

    def run(self, start: np.ndarray, bar: Any) -> Ended:
        """Iterate until something ends it; return what did."""
        self.w, self.value = start, math.nan
        self.base = _Place(start, math.nan, np.full_like(start, math.nan), math.nan)
        try:
            self._begin()
            while True:
                self._end_if_converged()
                if self.nit == self.max_iter:
                    self._return_to_iterate()
                    return out_of_iterations(self.nit)
                if self._iterate():
                    bar.update()
                    bar.set_postfix(value=f"{self.value:.6g}", refresh=False)
                    if self.callback and asks_to_stop(self.callback, self.result()):
                        return stopped(self.nit)
        except Ended as end:
            return end
        except KeyboardInterrupt:
            return interrupted(self.nit)

    def _begin(self) -> None:
        self.base = self._look(self.w)
        if not self.base.is_finite:
            raise Ended(DIVERGED, "Diverged: E or its gradient at the start is not finite.")
        self.value = self.base.value
        self._record(0.0, 0)

    def _look(self, w: np.ndarray) -> _Place:
        value, gradient = self.objective.value_and_gradient(w)
        return _Place(w, value, gradient, math.sqrt(dot(gradient, gradient)))

    def _return_to_iterate(self) -> None:
        """Have the iterate itself as base, with nothing remembered."""
        self.rule.restart()
        if self.base.w is not self.w:
            self.base = self._look(self.w)
        self.value = min(self.value, self.base.value)  # both E(w), to rounding

    def _end_if_converged(self) -> None:
        if self.base.norm > self.tol:
            return
        if self.base.w is not self.w and self.base.value > self.value:
            self._return_to_iterate()  # that was ahead of it, and higher
            if self.base.norm > self.tol:
                return
        self.w, self.value = self.base.w, min(self.value, self.base.value)
        raise converged(self.tol)

    def _iterate(self) -> bool:
        """Search, and step; or begin anew from the iterate, and return False."""
        curve = self.objective.along(self.base.w, self.rule.direction(self.base.gradient))
        found = self.search(curve, self.alpha)
        if found.outcome is Outcome.NOT_FINITE:
            raise Ended(DIVERGED, f"Diverged: {found.outcome.value}")
        if not (found.success or found.outcome is Outcome.ENDLESS):
            return self._begin_anew(found.outcome.value)
        after = curve.at(found.alpha)
        if not validation.all_finite(after):
            raise Ended(DIVERGED, "Diverged: a parameter would not be finite.")
        moved = self._move_ahead if self.rule.looks_ahead else self._move
        if not moved(after, curve, found):
            return self._begin_anew("beyond the search's precision, E rises.")
        self.nit += 1
        self.alpha = found.alpha
        self._record(found.alpha, found.evaluations)
        if found.outcome is Outcome.ENDLESS:
            self._end_if_converged()
            raise Ended(DIVERGED, f"Diverged: {found.outcome.value}")
        return True

    def _begin_anew(self, reason: str) -> bool:
        """Return False, with the steepest direction from the iterate next; unless it was that."""
        was_ahead = self.base.w is not self.w
        if not self.rule.restart() and not was_ahead:
            raise Ended(NO_PROGRESS, f"No progress possible: {reason}")
        self._return_to_iterate()
        return False

    def _move(self, after: np.ndarray, curve: Curve, found: LineSearchResult) -> bool:
        """Make `after` the iterate and the base, unless E there contradicts the search."""
        place = self._look(after)
        if not place.is_finite:
            raise Ended(DIVERGED, "Diverged: E or its gradient is not finite after the step.")
        rise = place.value - self.value
        if self.search.is_monotone and rise > 0:
            # Close to a minimiser the digits of E end before those of its slope.
            if rise > ULPS * math.ulp(self.value) or not abs(found.derivative) < abs(
                curve.derivative(0.0)
            ):
                return False
            place = replace(place, value=self.value)
        self.base, self.w, self.value = place, after, place.value
        return True

    def _move_ahead(self, after: np.ndarray, curve: Curve, found: LineSearchResult) -> bool:
        """Make `after` the iterate if it is lower, and take the base that the rule wants next."""
        value = curve(found.alpha)
        is_lower = value <= self.value
        if not is_lower and self.base.w is self.w:
            return False
        base = self.base
        step = Step(base.w, base.value, base.gradient, self.w, after, value, is_lower)
        self.rule.learn(step)
        if is_lower:
            self.w, self.value = after, value
        place = self._look(self.rule.base(self.w))
        if not place.is_finite:
            raise Ended(DIVERGED, "Diverged: E or its gradient is not finite after the step.")
        self.base = place
        if place.w is self.w:
            self.value = min(self.value, place.value)
        return True

    def _record(self, alpha: float, evaluations: int) -> None:
        seconds = time.perf_counter() - self.began
        self.history.append(self.value, self.base.norm, alpha, evaluations, seconds)

    def result(self) -> OptimizeResult:
        """Return what is known so far."""
        from scipy.optimize import OptimizeResult

        return OptimizeResult(
            x=self.w,
            fun=self.value,
            jac=self.base.gradient if self.base.w is self.w else None,
            nit=self.nit,
            nfev=self.objective.nfev - self.counts_before[0],
            njev=self.objective.njev - self.counts_before[1],
            history=self.history.arrays(),
        )
