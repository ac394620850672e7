"""SciPy's optimisers on an objective, with the history, progress and stopping of the others."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp import validation
from fastmlp.objective import Evaluation, Objective, starting_point
from fastmlp.progress import progress_bar
from fastmlp.solvers.checkpoints import Keeper, Resumed, model, resolve
from fastmlp.solvers.identity import of_objective
from fastmlp.solvers.journal import Journal
from fastmlp.solvers.reports import (
    DIVERGED,
    DONE,
    INTERRUPTED,
    NO_PROGRESS,
    OUT_OF_ITERATIONS,
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
from fastmlp.threads import one_blas_thread

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

# Of each method, the options that keep SciPy from stopping first.
METHODS: dict[str, dict[str, float]] = {
    "L-BFGS-B": {"ftol": 0.0, "gtol": 0.0, "maxfun": 10**9},
    "CG": {"gtol": 0.0},
    "BFGS": {"gtol": 0.0},
    "Newton-CG": {"xtol": 0.0},
    "trust-ncg": {"gtol": 0.0},
    "trust-krylov": {"gtol": 0.0},
}
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
    checkpoint: Any = None,
    every: Any = None,
    resume: Any = False,
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
        Passed to SciPy's method. Its own stopping rules are off unless given here; of two limits on
        the iterations the lower one holds.
    checkpoint, every, resume
        As in `gradient_descent`. SciPy keeps its state to itself: so file and memory hold what the
        objective has answered, n_params numbers for each gradient (or product with the Hessian),
        and a run that goes on does everything again but compute these. Callbacks are called again.

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
        For arguments that do not fit, and for a checkpoint of other data or settings, before
        anything is done; where SciPy, of another version or on another CPU, takes another course
        than before the checkpoint.
    fastmlp.FormatError, OSError
        As `gradient_descent`.

    Notes
    -----
    SciPy computes in float64. A float32 network rounds what it is given, so that its values have
    steps of about 1e-7: methods end there with "no progress possible".
    """
    checkpoints, resumed = resolve(checkpoint, every, resume)

    def prepare(run: Minimisation) -> None:
        settings = {"method": method, "options": options}
        words = of_objective(objective, run.start, "minimize", settings)
        run.keep_checkpoints(Keeper(checkpoints, resumed, words), resumed)

    is_kept = checkpoints is not None or resumed is not None
    result, _ = minimized(
        objective, w, method, tol, max_iter, callback, progress, options,
        prepare if is_kept else None,
    )  # fmt: skip
    warn_of(result, stacklevel=3)
    return result


def minimized(
    objective: Objective,
    w: Any,
    method: str,
    tol: float,
    max_iter: int,
    callback: Callback | None,
    progress: bool | None,
    options: dict[str, Any] | None,
    prepare: Callable[[Minimisation], None] | None = None,
) -> tuple[OptimizeResult, OptimizeResult | None]:
    """Do what `minimize` does, without its warnings; return SciPy's own result as well.

    That is None where SciPy was not left to end by itself. `prepare` a run first.
    """
    validation.one_of("method", method, METHODS)
    start = starting_point(objective, w)
    if method in WITH_HESSIAN:
        objective.net.loss_function.require_second_derivative()
    if options is not None and not isinstance(options, dict):
        raise TypeError(f"options must be a dict or None; got {options!r}")
    max_iter = validation.count("max_iter", max_iter)
    own = dict(options or {})
    max_iter = min(max_iter, validation.count("maxiter", own.pop("maxiter", max_iter)))
    run = Minimisation(
        objective, start, validation.not_negative("tol", tol), max_iter, checked_callback(callback)
    )
    if prepare is not None:
        prepare(run)
    with progress_bar(progress, max_iter, "iterations") as bar:
        end = run.run(method, own, bar)
    return finished(run.result(), end.status, end.message), run.found


class Minimisation:
    """One run: the iterate, and the evaluations that SciPy may make an iterate next."""

    def __init__(
        self,
        objective: Objective,
        start: np.ndarray,
        tol: float,
        max_iter: int,
        callback: Callback | None,
    ) -> None:
        self.objective, self.start, self.tol, self.max_iter = objective, start, tol, max_iter
        self.callback = callback
        self.state = 0, Evaluation.unknown(start)
        self.history = History("value", "gradient_norm", "evaluations", "seconds")
        self.began, self.n_recorded = time.perf_counter(), 0
        self.counts_before = objective.nfev, objective.njev, objective.nhev
        self.recent: list[Evaluation] = []
        self.found: OptimizeResult | None = None
        self.journal: Journal | None = None

    def keep_checkpoints(
        self,
        keeper: Keeper,
        resumed: Resumed | None,
        tree: Callable[[np.ndarray], dict[str, Any]] | None = None,
    ) -> None:
        """Write checkpoints; go on from one, if it is given. Arguments are those of a descent."""
        net = self.objective.net
        self.keeper, self.journal = keeper, Journal()
        self.tree = tree or (lambda w: {"model": model(net, w)})
        if resumed is not None:
            with resumed.reading():
                self.journal.load(resumed["run"], net.n_params, net.dtype)
                nit = int(resumed["run"]["nit"])
            if nit > self.max_iter:
                raise ValueError(
                    f"{resumed.path} is of iteration {nit}, beyond max_iter={self.max_iter}"
                )
            keeper.go_on(resumed.path, nit, nit)

    @property
    def nit(self) -> int:
        """Iterations made."""
        return self.state[0]

    def run(self, method: str, options: dict[str, Any], bar: Any) -> Ended:
        """Minimise; return what ended it."""
        try:
            end = self._run(method, options, bar)
            if end.status != DIVERGED:
                self._write()
            return end
        except KeyboardInterrupt:
            self._write()
            if self.journal is None or self.journal.is_at_end:
                return interrupted(self.nit)
            return Ended(
                INTERRUPTED,
                f"Interrupted while iterations before the checkpoint were done again, after "
                f"{self.nit}; the checkpoint is as it was.",
            )

    def _run(self, method: str, options: dict[str, Any], bar: Any) -> Ended:
        from scipy.optimize import minimize as scipy_minimize

        errors = np.geterr()

        def after_iteration(intermediate_result: Any) -> None:
            self._step_to(intermediate_result.x, self.nit + 1)
            if not bar.disable:
                bar.set_postfix(value=f"{self.state[1].value:.6g}", refresh=False)
                bar.update()
            if self.callback is not None:
                with np.errstate(**errors):
                    reason = reason_to_stop(self.callback, self.result())
                if reason is not None:
                    raise stopped(self.nit, reason)
            if self.journal is not None and self.keeper.is_due_after_iteration(
                self.nit, self.nit, self.state[1].value
            ):
                self._write()
            self._end_if_converged()

        try:
            self._step_to(self.start, 0)
            self._end_if_converged()
            # Threads of BLAS would wait for cores on which Numba's spin between two kernels.
            with one_blas_thread(), _without_warnings(method):
                found = scipy_minimize(
                    self._value_and_gradient,
                    self.start.astype(np.float64),
                    jac=True,
                    hessp=self._hessian_vector if method in WITH_HESSIAN else None,
                    method=method,
                    callback=after_iteration,
                    options={**METHODS[method], "maxiter": self.max_iter, **options},
                )
        except Ended as end:
            return end
        self.found = found
        if self.nit >= self.max_iter:
            return out_of_iterations(self.nit)
        if found.success and options.keys() & {*METHODS[method], "xrtol"} - {"maxfun"}:
            return Ended(DONE, f"Converged: {found.message}")
        if method == "L-BFGS-B" and found.status == 1:
            return Ended(OUT_OF_ITERATIONS, f"Out of evaluations: {found.message}")
        return Ended(NO_PROGRESS, f"No progress possible; SciPy ended with: {found.message}")

    def _value_and_gradient(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        with np.errstate(over="ignore"):
            flat = x.astype(self.objective.net.dtype)
        if not validation.all_finite(flat):  # too far for a line search
            return math.inf, np.zeros(x.shape)
        evaluation = self._evaluate(flat)
        return evaluation.value, evaluation.gradient.astype(np.float64)

    def _hessian_vector(self, x: np.ndarray, v: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            at, direction = np.array([x, v]).astype(self.objective.net.dtype)
        if not (validation.all_finite(at) and validation.all_finite(direction)):
            raise Ended(NO_PROGRESS, "No progress possible: SciPy's direction is not finite.")
        product = self._product(at, direction)
        if not validation.all_finite(product):
            raise Ended(DIVERGED, "Diverged: a product with the Hessian is not finite.")
        return product.astype(np.float64)

    def _evaluate(self, w: np.ndarray) -> Evaluation:
        """Return E and its gradient, remembered for a few points."""
        for known in self.recent:
            if known.w[0] == w[0] and np.array_equal(known.w, w):
                return known
        evaluation = self._evaluated(w)
        self.recent = [*self.recent[-2:], evaluation]
        return evaluation

    def _evaluated(self, w: np.ndarray) -> Evaluation:
        if self.journal is None:
            return Evaluation.at(w, self.objective)
        (value, gradient), is_new = self.journal.ask(
            lambda: self.objective.value_and_gradient(w), w
        )
        if not is_new:
            nfev, njev, nhev = self.counts_before
            self.counts_before = nfev - 1, njev - 1, nhev
        return Evaluation.of(w, value, gradient)

    def _product(self, w: np.ndarray, v: np.ndarray) -> np.ndarray:
        if self.journal is None:
            return self.objective.hessian_vector(w, v)
        (_, product), is_new = self.journal.ask(
            lambda: (0.0, self.objective.hessian_vector(w, v)), w, v
        )
        if not is_new:
            nfev, njev, nhev = self.counts_before
            self.counts_before = nfev, njev, nhev - 1
        return product

    def _write(self) -> None:
        """Write a checkpoint, once the run is where the one before it was."""
        journal, (nit, at) = self.journal, self.state
        if journal is not None and journal.is_at_end and at.is_finite:
            self.keeper.write(
                lambda: {**self.tree(at.w), "run": {"nit": nit, **journal.tree()}}, nit, nit
            )

    def _step_to(self, x: np.ndarray, nit: int) -> None:
        """Make x the iterate, and record it."""
        evaluation = self._evaluate(x.astype(self.objective.net.dtype))
        if evaluation.is_finite or nit == 0:
            nfev = self.objective.nfev - self.counts_before[0]
            seconds = time.perf_counter() - self.began
            self.history.append(evaluation.value, evaluation.norm, nfev - self.n_recorded, seconds)
            self.n_recorded = nfev
            self.state = nit, evaluation
        if not evaluation.is_finite:
            raise diverged()

    def _end_if_converged(self) -> None:
        if self.state[1].norm <= self.tol:
            raise converged(self.tol)

    def result(self) -> OptimizeResult:
        """Return what is known so far."""
        from scipy.optimize import OptimizeResult

        (nit, at), (nfev, njev, nhev) = self.state, self.counts_before
        return OptimizeResult(
            x=at.w,
            fun=at.value,
            jac=at.gradient,
            nit=nit,
            nfev=self.objective.nfev - nfev,
            njev=self.objective.njev - njev,
            nhev=self.objective.nhev - nhev,
            history=self.history.arrays(nit + 1),
        )


@contextmanager
def _without_warnings(method: str) -> Iterator[None]:
    """Keep SciPy from warning of what is in its result."""
    if method == "L-BFGS-B":  # only NumPy's errors, told to each thread as it likes
        with np.errstate(all="ignore"):
            yield
    else:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=RuntimeWarning, module="scipy")
            yield
