"""Full-batch gradient descent: a direction, and a search along it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastmlp import validation
from fastmlp.objective import Objective, starting_point
from fastmlp.progress import progress_bar
from fastmlp.solvers import directions
from fastmlp.solvers import line_search as line_searches
from fastmlp.solvers.checkpoints import Keeper, resolve
from fastmlp.solvers.descent import Descent
from fastmlp.solvers.identity import of_objective
from fastmlp.solvers.reports import Callback, checked_callback, finished, warn_of

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult


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
    checkpoint: Any = None,
    every: Any = None,
    resume: Any = False,
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
    checkpoint : str, os.PathLike or Checkpoints, optional
        The file to write the run's whole state to as it goes, or `fastmlp.Checkpoints` for more
        choices. Where it cannot be written, a warning says so and the run goes on.
    every : int or datetime.timedelta, optional
        After how many iterations, or what time, to write it; by default each iteration.
    resume : bool, str or os.PathLike, default=False
        True: go on from `checkpoint` if there is one, else begin. A path: go on from that one. The
        run ends on the same bits as one that was never stopped. The objective and all arguments are
        to be those of the checkpoint, but `tol`, `max_iter`, `callback` and `progress`.

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
        For arguments that do not fit, and for a checkpoint of other data or settings, before
        anything is done.
    fastmlp.FormatError
        For a file to resume from that is no checkpoint, or damaged.
    OSError
        For a checkpoint's folder that does not exist, or a file that cannot be read.

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
    checkpoints, resumed = resolve(checkpoint, every, resume)

    def prepare(descent: Descent) -> None:
        settings = {"direction": direction, "line_search": descent.search}
        words = of_objective(objective, descent.start, "gradient_descent", settings)
        descent.keep_checkpoints(Keeper(checkpoints, resumed, words), resumed)
        if resumed is not None:
            resumed.forget()

    is_kept = checkpoints is not None or resumed is not None
    result = descend(
        objective, w, direction, line_search, tol, max_iter, callback, progress,
        prepare if is_kept else None,
    )  # fmt: skip
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
    prepare: Callable[[Descent], None] | None = None,
) -> OptimizeResult:
    """Do what `gradient_descent` does, without its warnings; `prepare` a run first."""
    start = starting_point(objective, w)
    descent = Descent(
        objective,
        start,
        directions.resolve(direction),
        line_searches.resolve(line_search),
        validation.not_negative("tol", tol),
        validation.count("max_iter", max_iter),
        checked_callback(callback),
    )
    if prepare is not None:
        prepare(descent)
    with progress_bar(progress, descent.max_iter, "iterations") as bar:
        end = descent.run(bar)
    return finished(descent.result(), end.status, end.message)
