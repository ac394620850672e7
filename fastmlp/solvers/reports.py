"""What solvers tell while they run and in the end: history, progress bar, callback, status."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

Callback = Callable[["OptimizeResult"], object]

# Statuses of results: those below SUCCEEDED are successes.
DONE, STOPPED, INTERRUPTED, DIVERGED, OUT_OF_ITERATIONS, NO_PROGRESS = range(6)
SUCCEEDED = 2
# A progress bar is worth showing once the work has lasted so many seconds.
PROGRESS_DELAY = 1.0


class Ended(Exception):
    """Raised inside a solver's loop to leave it.

    Parameters
    ----------
    status : int
    message : str
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class History:
    """Rows of numbers, one for each epoch or iteration."""

    def __init__(self, *names: str) -> None:
        self._names = names
        self._table = np.empty((len(names), 16))
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def append(self, *values: float) -> None:
        """Record a row."""
        if self._length == self._table.shape[1]:
            self._table = np.concatenate([self._table, np.empty_like(self._table)], axis=1)
        self._table[:, self._length] = values
        self._length += 1

    def arrays(self, length: int | None = None) -> OptimizeResult:
        """Return a copy of each column by its name, of all rows or the first ones."""
        # Imported when the first step is long done: SciPy's optimisers take a while to load.
        from scipy.optimize import OptimizeResult

        rows = self._table[:, : self._length][:, :length].copy()
        return OptimizeResult(zip(self._names, rows, strict=True))


def checked_callback(callback: Any) -> Callback | None:
    """Return the callback, if it can be called."""
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable or None; got {callback!r}")
    checked: Callback | None = callback
    return checked


def asks_to_stop(callback: Callback, result: OptimizeResult) -> bool:
    """Call back; return whether the answer is to stop."""
    try:
        answer = callback(result)
        return isinstance(answer, (bool, np.bool_)) and bool(answer)
    except StopIteration:
        return True


def converged(tol: float) -> Ended:
    """Return the end of a solver that has reached its tolerance."""
    return Ended(DONE, f"Converged: the norm of the gradient is at most {tol:g}.")


def diverged() -> Ended:
    """Return the end of a solver that met an E or a gradient that is not finite."""
    return Ended(DIVERGED, "Diverged: E or its gradient is not finite.")


def out_of_iterations(n: int) -> Ended:
    """Return the end of a solver that has made all n iterations."""
    return Ended(OUT_OF_ITERATIONS, f"Out of iterations: {n} made.")


def stopped(n: int) -> Ended:
    """Return the end of a solver whose callback asked for it."""
    return Ended(STOPPED, f"Stopped by the callback after iteration {n}.")


def interrupted(n: int) -> Ended:
    """Return the end of a solver that heard Ctrl-C."""
    return Ended(INTERRUPTED, f"Interrupted after {n} iterations.")


def progress_bar(progress: bool | None, total: int, unit: str) -> Any:
    """Return a bar, shown where asked for, or by default on a terminal after a while."""
    from tqdm import tqdm

    terminal = sys.stderr is not None and sys.stderr.isatty()
    show = terminal if progress is None else progress and sys.stderr is not None
    delay = PROGRESS_DELAY if progress is None else 0
    return tqdm(total=total, unit=f" {unit}", unit_scale=True, disable=not show, delay=delay)


def finished(result: OptimizeResult, status: int, message: str, stacklevel: int) -> OptimizeResult:
    """Complete a result; where interrupted or diverged, warn whoever is so many calls above."""
    result.status, result.message = status, message
    result.success = status < SUCCEEDED
    if status in (INTERRUPTED, DIVERGED):
        warnings.warn(message, RuntimeWarning, stacklevel=stacklevel)
    return result
