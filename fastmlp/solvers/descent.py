"""One run of a descent: its state, iteration by iteration."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp import files, validation
from fastmlp.kernels.updates import dot
from fastmlp.objective import Evaluation, Objective
from fastmlp.solvers import directions
from fastmlp.solvers import line_search as line_searches
from fastmlp.solvers.checkpoints import Keeper, Resumed, model, parameters_of
from fastmlp.solvers.directions import Step
from fastmlp.solvers.first_minimiser import ULPS
from fastmlp.solvers.line_search import LineSearchResult, Outcome
from fastmlp.solvers.reports import (
    DIVERGED,
    NO_PROGRESS,
    Callback,
    Ended,
    History,
    converged,
    diverged,
    interrupted,
    out_of_iterations,
    reason_to_stop,
    stopped,
)

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

    from fastmlp.curve import Curve
    from fastmlp.network import Network

# Iterations without a new least value, or gradient norm at that value, after which to give up.
MOST_STALLED = 30


@dataclass(frozen=True)
class State:
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
        """Whether the base is another point than the iterate."""
        return self.base.w is not self.w

    def tree(self) -> dict[str, Any]:
        """Return all but the iterate."""
        base = {
            "w": self.base.w if self.is_ahead else None,
            "value": self.base.value,
            "gradient": self.base.gradient,
            "norm": self.base.norm,
        }
        return {"nit": self.nit, "value": self.value, "alpha": self.alpha, "base": base}

    @classmethod
    def of(cls, w: Any, tree: dict[str, Any], net: Network) -> State:
        """Return the state of an iterate and the tree that goes with it."""
        base, alpha = tree["base"], tree["alpha"]
        w = parameters_of(net, w)
        ahead = w if base["w"] is None else parameters_of(net, base["w"])
        gradient, value = parameters_of(net, base["gradient"]), float(base["value"])
        evaluation = Evaluation(ahead, value, gradient, float(base["norm"]))
        alpha = None if alpha is None else float(alpha)
        return cls(int(tree["nit"]), w, float(tree["value"]), evaluation, alpha)


class Descent:
    """One run. Its state is replaced as a whole, so that an interrupt finds it consistent."""

    def __init__(
        self,
        objective: Objective,
        start: np.ndarray,
        rule: directions.Direction,
        search: line_searches.LineSearch,
        tol: float,
        max_iter: int,
        callback: Callback | None,
    ) -> None:
        self.objective, self.start = objective, start
        self.rule, self.search = rule, search
        self.looks_ahead = directions.looks_ahead(rule)
        self.tol, self.max_iter, self.callback = tol, max_iter, callback
        self.history = History("value", "gradient_norm", "alpha", "evaluations", "seconds")
        self.began = time.perf_counter()
        self.counts_before = objective.nfev, objective.njev
        self.has_begun_anew = False
        self.best, self.n_stalled = (math.inf, math.inf), 0
        self.keeper: Keeper | None = None
        self.reason: str | None = None  # why the run to go on from had ended: it does again
        self.whole: dict[str, Any] | None = None  # a state to go on from
        self.goes_on = False

    def keep_checkpoints(
        self,
        keeper: Keeper,
        resumed: Resumed | None,
        tree: Callable[[np.ndarray], dict[str, Any]] | None = None,
    ) -> None:
        """Write checkpoints; go on from one, if it is given.

        Parameters
        ----------
        keeper : Keeper
        resumed : Resumed, optional
        tree : callable, optional
            Returns what is to be in a checkpoint beside the run, for the given parameters: "model".
        """
        if not all(hasattr(self.rule, name) for name in ("state_dict", "load_state_dict")):
            raise ValueError(
                "a checkpoint needs a direction with the methods state_dict and load_state_dict; "
                f"got {self.rule!r}"
            )
        files.encoded(self.rule.state_dict(), {})  # raises now what would be raised at writing
        self.keeper = keeper
        self.tree = tree or (lambda w: {"model": model(self.objective.net, w)})
        if resumed is not None:
            with resumed.reading():
                self._restore(resumed["model"], resumed["run"])
            if (n := self.state.nit) > self.max_iter:
                raise ValueError(
                    f"{resumed.path} is of iteration {n}, beyond max_iter={self.max_iter}"
                )
            keeper.go_on(resumed.path, n, n)

    def run(self, bar: Any) -> Ended:
        """Iterate until something ends it; return what did."""
        if not self.goes_on:
            self.state = State(0, self.start, math.nan, Evaluation.unknown(self.start), None)
        try:
            end = self._run(bar)
            if end.status != DIVERGED:
                self._write()
            return end
        except KeyboardInterrupt:
            self._write()
            return interrupted(self.state.nit)

    def _run(self, bar: Any) -> Ended:
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # divergence is told otherwise
                if self.goes_on:
                    self.whole = self._tree()
                else:
                    self._begin(self.start)
                bar.update(self.state.nit)
                if self.reason is not None:
                    self._look_at_iterate()
                    raise stopped(self.state.nit, self.reason)
                while True:
                    self._take_note()
                    self._end_if_converged()
                    if self.state.nit == self.max_iter:
                        self._look_at_iterate()
                        self._end_if_converged()
                        return out_of_iterations(self.max_iter)
                    self._iterate(bar)
        except Ended as end:
            return end

    def _begin(self, start: np.ndarray) -> None:
        base = Evaluation.at(start, self.objective)
        self._record(base.value, base.norm, 0.0, 0)
        self.state = State(0, start, base.value, base, None)
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
                self._take_note()
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
        self.state = State(self.state.nit + 1, w, value, base, alpha)
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

    def _take_note(self) -> None:
        """Have the state as one to go on from, and write it if it is time."""
        if self.keeper is None:
            return
        n_before = -1 if self.whole is None else self.whole["run"]["nit"]
        self.whole = self._tree()
        state = self.state
        is_new = state.nit > max(n_before, 0)
        if is_new and self.keeper.is_due_after_iteration(state.nit, state.nit, state.value):
            self._write()

    def _write(self) -> None:
        if self.keeper is not None and self.whole is not None:
            whole = self.whole
            self.keeper.write(lambda: whole, whole["run"]["nit"], whole["run"]["nit"])

    def _tree(self) -> dict[str, Any]:
        """Return the state as a file holds it; its arrays are not changed any more."""
        objective = self.objective
        run = {
            **self.state.tree(), "rule": self.rule.state_dict(),
            "has_begun_anew": self.has_begun_anew, "best": self.best, "n_stalled": self.n_stalled,
            "nfev": objective.nfev - self.counts_before[0],
            "njev": objective.njev - self.counts_before[1],
            "history": self.history.table, "seconds": time.perf_counter() - self.began,
        }  # fmt: skip
        return {**self.tree(self.state.w), "run": run}

    def _restore(self, model: dict[str, Any], run: dict[str, Any]) -> None:
        """Go on from what `_tree` returned."""
        objective = self.objective
        self.state = State.of(model["parameters"], run, objective.net)
        directions.restore(self.rule, run["rule"], objective.net)
        self.has_begun_anew, self.n_stalled = bool(run["has_begun_anew"]), int(run["n_stalled"])
        value, norm = run["best"]
        self.best = float(value), float(norm)
        self.counts_before = objective.nfev - int(run["nfev"]), objective.njev - int(run["njev"])
        self.history.load(run["history"])
        if len(self.history) != self.state.nit + 1:
            raise ValueError(f"it has {len(self.history)} values at iteration {self.state.nit}")
        self.began -= float(run["seconds"])
        self.goes_on = True

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
