"""SciPy's optimisers on an objective, with the history, progress and stopping of the others."""

from __future__ import annotations

import math
import time
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp import validation
from fastmlp.kernels.updates import dot
from fastmlp.solvers.reports import (
    DIVERGED,
    DONE,
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

    from fastmlp.objective import Objective

# Of each method, the options that keep SciPy from stopping first.
METHODS: dict[str, dict[str, float]] = {
    "L-BFGS-B": {"ftol": 0.0, "gtol": 0.0, "maxfun": 10**9},
    "CG": {"gtol": 0.0},
    "BFGS": {"gtol": 0.0},
    "Newton-CG": {"xtol": 0.0},
    "trust-ncg": {"gtol": 0.0},
    "trust-krylov": {"gtol": 0.0},
}
STOPPING_RULES = {"ftol", "gtol", "xtol", "xrtol"}
WITH_HESSIAN = {"Newton-CG", "trust-ncg", "trust-krylov"}


def minimize(
    objective: Objective,
    w: Any,
    method: str = "L-BFGS-B",
    *,
    tol: float = 1e-6,
    max_iter: int = 500,
    callback: Callback | None = None,
    progress: bool | None = None,
    options: dict[str, Any] | None = None,
) -> OptimizeResult:
    """Minimise an objective by one of `scipy.optimize.minimize`'s methods.

    Parameters
    ----------
    objective : Objective
    w : array-like of shape (n_params,)
        Where to start; not modified.
    method : str, default="L-BFGS-B"
        "L-BFGS-B", "CG" and "BFGS" take gradients; "Newton-CG", "trust-ncg" and "trust-krylov"
        exact products with the Hessian as well. "BFGS" holds a matrix n_params x n_params.
    tol : float, default=1e-6
        The Euclidean norm of the gradient at which to stop.
    max_iter : int, default=500
    callback, progress
        As in `gradient_descent`.
    options : dict, optional
        Passed to SciPy's method. Its own stopping rules are off unless given here.

    Returns
    -------
    scipy.optimize.OptimizeResult
        As `gradient_descent` returns, with ``nhev`` besides, and without ``history.alpha``. A
        stopping rule of `options` that was met counts as converged.

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
    SciPy computes in float64. A float32 network rounds what it is given, so that its values have
    steps of about 1e-7: methods end there with "no progress possible".
    """
    validation.one_of("method", method, METHODS)
    objective.net.require_derivatives()
    start = np.array(validation.parameters(objective.net, w), objective.net.dtype)
    if options is not None and not isinstance(options, dict):
        raise TypeError(f"options must be a dict or None; got {options!r}")
    run = _Run(
        objective,
        validation.not_negative("tol", tol),
        validation.count("max_iter", max_iter),
        checked_callback(callback),
    )
    with progress_bar(progress, run.max_iter, "iterations") as bar:
        end = run.run(start, method, dict(options or {}), bar)
    return finished(run.result(), end.status, end.message)


class _Run:
    """One run: the iterate, and the evaluations that SciPy may make an iterate next."""

    def __init__(
        self, objective: Objective, tol: float, max_iter: int, callback: Callback | None
    ) -> None:
        self.objective, self.tol, self.max_iter = objective, tol, max_iter
        self.callback = callback
        self.history = History("value", "gradient_norm", "evaluations", "seconds")
        self.began, self.nit = time.perf_counter(), 0
        self.counts_before = objective.nfev, objective.njev, objective.nhev
        self.recent: list[tuple[np.ndarray, float, np.ndarray]] = []
        self.x, self.value = np.empty(0), math.nan
        self.gradient = np.empty(0)

    def run(self, start: np.ndarray, method: str, options: dict[str, Any], bar: Any) -> Ended:
        """Minimise; return what ended it."""
        from scipy.optimize import minimize as scipy_minimize
        from threadpoolctl import threadpool_limits

        self.x = start
        self.gradient = np.full_like(start, math.nan)

        def after_iteration(intermediate_result: Any) -> None:
            self.nit += 1
            self._step_to(intermediate_result.x)
            bar.update()
            bar.set_postfix(value=f"{self.value:.6g}", refresh=False)
            if self.callback and asks_to_stop(self.callback, self.result()):
                raise stopped(self.nit)
            self._end_if_converged()

        try:
            self._step_to(start)
            self._end_if_converged()
            # Threads of BLAS would wait for cores on which Numba's spin between two kernels.
            with threadpool_limits(1, "blas"), warnings.catch_warnings():
                # What they say is in the result.
                warnings.filterwarnings("ignore", category=RuntimeWarning)
                found = scipy_minimize(
                    self._value_and_gradient,
                    start.astype(np.float64),
                    jac=True,
                    hessp=self.objective.hessian_vector if method in WITH_HESSIAN else None,
                    method=method,
                    callback=after_iteration,
                    options={**METHODS[method], "maxiter": self.max_iter, **options},
                )
        except Ended as end:
            return end
        except KeyboardInterrupt:
            return interrupted(self.nit)
        if self.nit >= self.max_iter:
            return out_of_iterations(self.nit)
        if found.success and options.keys() & STOPPING_RULES:
            return Ended(DONE, f"Converged: {found.message}")
        return Ended(NO_PROGRESS, f"No progress possible: {found.message}")

    def _value_and_gradient(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        with np.errstate(over="ignore"):
            flat = x.astype(self.objective.net.dtype)
        if not validation.all_finite(flat):  # too far for a line search
            return math.inf, np.zeros(x.shape)
        value, gradient = self.objective.value_and_gradient(flat)
        self.recent = [*self.recent[-2:], (flat, value, gradient)]
        return value, gradient.astype(np.float64)

    def _step_to(self, x: np.ndarray) -> None:
        """Make x the iterate, and record it."""
        flat = x.astype(self.objective.net.dtype)
        known = [entry for entry in self.recent if np.array_equal(entry[0], flat)]
        if not known:
            self._value_and_gradient(flat)
            known = self.recent
        self.x, self.value, self.gradient = known[-1]
        norm = math.sqrt(dot(self.gradient, self.gradient))
        if not (math.isfinite(self.value) and math.isfinite(norm)):
            raise Ended(DIVERGED, "Diverged: E or its gradient is not finite.")
        before = self.history.arrays().evaluations.sum() if len(self.history) else 0
        n_evaluations = self.objective.nfev - self.counts_before[0] - before
        self.history.append(self.value, norm, n_evaluations, time.perf_counter() - self.began)
        self.norm = norm

    def _end_if_converged(self) -> None:
        if self.norm <= self.tol:
            raise converged(self.tol)

    def result(self) -> OptimizeResult:
        """Return what is known so far."""
        from scipy.optimize import OptimizeResult

        nfev, njev, nhev = self.counts_before
        return OptimizeResult(
            x=self.x,
            fun=self.value,
            jac=self.gradient,
            nit=self.nit,
            nfev=self.objective.nfev - nfev,
            njev=self.objective.njev - njev,
            nhev=self.objective.nhev - nhev,
            history=self.history.arrays(),
        )
