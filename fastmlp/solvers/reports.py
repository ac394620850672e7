"""What solvers tell while they run and in the end: history, callbacks, status."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp import validation

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

Callback = Callable[["OptimizeResult"], object]

# Statuses of results: those below SUCCEEDED are successes.
DONE, STOPPED, INTERRUPTED, DIVERGED, OUT_OF_ITERATIONS, NO_PROGRESS, FAILED = range(7)
SUCCEEDED = 2


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

    @property
    def table(self) -> np.ndarray:
        """All rows so far (n_names, n_rows); not copied."""
        return self._table[:, : self._length]

    def load(self, table: Any) -> None:
        """Have these rows, as `table` returned them."""
        shape = getattr(table, "shape", ())
        if len(shape) != 2 or len(table) != len(self._names) or table.dtype != self._table.dtype:
            raise ValueError(f"a history of {len(self._names)} columns should be; got {table!r}")
        for row in table.T:
            self.append(*row)

    def arrays(self, length: int | None = None) -> OptimizeResult:
        """Return a copy of each column by its name, of all rows or the first ones."""
        # Imported when the first step is long done: SciPy's optimisers take a while to load.
        from scipy.optimize import OptimizeResult

        rows = self._table[:, : self._length][:, :length].copy()
        return OptimizeResult(zip(self._names, rows, strict=True))


def checked_callback(callback: Any) -> Callback | None:
    """Return the callback, if it can be called."""
    if callback is not None and not callable(callback):
        raise TypeError(
            f"callback must be callable or None; got {callback!r}. Objects of fastmlp.callbacks "
            "are for sgd and minibatch_sgd"
        )
    checked: Callback | None = callback
    return checked


def reason_to_stop(callback: Callable[[Any], object], state: Any) -> str | None:
    """Call back; return None to go on, or why to stop: a sentence, empty where none was given."""
    try:
        answer = callback(state)
    except StopIteration as stop:
        return stop.value if isinstance(stop.value, str) else ""
    return "" if isinstance(answer, (bool, np.bool_)) and answer else None


_METHODS = ("on_start", "on_steps", "on_epoch_end", "on_end")
_STATE = ("state_dict", "load_state_dict")  # both or neither


class Callbacks:
    """The callbacks of one run, called in order.

    Parameters
    ----------
    callback : None, callable, object, list or tuple
        A callable, called at the end of each epoch; an object with some of the methods of
        `fastmlp.callbacks.Callback`; or several of these.
    *more : object
        The solver's own, called after these.
    name : str, default="callback"
        What errors call the argument.

    Raises
    ------
    TypeError, ValueError
        For what is none of these, and where ``every_n_steps`` is no positive integer.
    """

    def __init__(self, callback: Any, *more: Any, name: str = "callback") -> None:
        is_list = isinstance(callback, (list, tuple)) and not _methods(callback)
        if is_list:
            self._all = [_resolved(f"{name}[{i}]", one) for i, one in enumerate(callback)]
        else:
            self._all = [] if callback is None else [_resolved(name, callback)]
        self._all += [_resolved("callback", one) for one in more]
        self._started: list[SimpleNamespace] = []

    def __bool__(self) -> bool:
        return len(self._all) > 0

    def start(self, state: OptimizeResult) -> None:
        """Tell each that the first update comes next."""
        for callback in self._all:
            callback.on_start(state)
            self._started.append(callback)

    def state_dict(self) -> list[dict[str, Any]]:
        """Return the states of those that have one."""
        return [{"type": one.type, "state": one.state_dict()} for one in self._with_state()]

    def require_same(self, states: Any) -> None:
        """Raise where states are not of these callbacks."""
        here, there = [one.type for one in self._with_state()], [state["type"] for state in states]
        if here != there:
            raise ValueError(
                f"the callbacks with a state were {there}, patience's among them; they are {here}: "
                "go on with the same"
            )

    def load_state_dict(self, states: Any) -> str | None:
        """Give back the states; return None to go on, or why a run that had ended is not to."""
        reasons = [
            reason_to_stop(one.load_state_dict, state["state"])
            for one, state in zip(self._with_state(), states, strict=True)
        ]
        return _message(reasons, "Stopped by the callback before.")

    def _with_state(self) -> list[SimpleNamespace]:
        return [one for one in self._all if all(callable(getattr(one, name)) for name in _STATE)]

    def next_stop(self, n_updates: int) -> int | None:
        """Return how many updates are made when `steps` is next due, or None for never."""
        intervals = [callback.every_n_steps for callback in self._all]
        return min(((n_updates // n + 1) * n for n in intervals if n), default=None)

    def is_due(self, n_updates: int) -> bool:
        """Return whether `steps` is due after so many updates."""
        return any(one.every_n_steps and n_updates % one.every_n_steps == 0 for one in self._all)

    def steps(self, state: OptimizeResult) -> str | None:
        """Call those due after so many updates; return None to go on, or a message to stop with."""
        n = state.nit
        timed = [callback for callback in self._all if callback.every_n_steps]
        due = [callback.on_steps for callback in timed if n % callback.every_n_steps == 0]
        reasons = [reason_to_stop(method, state) for method in due]
        return _message(reasons, f"Stopped by the callback after update {n}.")

    def epoch_end(self, state: OptimizeResult) -> str | None:
        """Tell each that an epoch is complete; return None to go on, or a message to stop with."""
        reasons = [reason_to_stop(one.on_epoch_end, state) for one in self._all]
        return _message(reasons, f"Stopped by the callback after epoch {state.n_epochs}.")

    def end(self, result: OptimizeResult) -> None:
        """Tell each that was started, once, whatever the others raise."""
        if self._started:
            try:
                self._started.pop(0).on_end(result)
            finally:
                self.end(result)


def _methods(callback: Any) -> dict[str, Callback]:
    """Return the methods of the protocol that an object has; a mere callable's is on_epoch_end."""
    found = {name: getattr(callback, name, None) for name in _METHODS}
    found = {name: method for name, method in found.items() if callable(method)}
    if not found and callable(callback):
        found = {"on_epoch_end": callback}
    return found  # type: ignore[return-value]


def _resolved(name: str, callback: Any) -> SimpleNamespace:
    """Return an object with all methods of the protocol, and every_n_steps."""
    if isinstance(callback, type):
        hint = f"write {callback.__name__}(...)"
        raise TypeError(f"{name} must be an object; got the class {callback.__name__}: {hint}")
    methods = _methods(callback)
    if not methods:
        raise TypeError(
            f"{name} must be callable, an object with the methods of fastmlp.callbacks.Callback, "
            f"or a list of these; got {callback!r}"
        )
    every = getattr(callback, "every_n_steps", None) if "on_steps" in methods else None
    if every is not None:
        every = validation.count(f"{name}.every_n_steps", every)
    nothing = dict.fromkeys(_METHODS, lambda _: None)
    state = {name: getattr(callback, name, None) for name in _STATE}
    return SimpleNamespace(
        type=type(callback).__name__, every_n_steps=every, **state, **{**nothing, **methods}
    )


def _message(reasons: list[str | None], message: str) -> str | None:
    """Return None where none wants to stop, or why: the reasons given, or else the message."""
    if all(reason is None for reason in reasons):
        return None
    return " ".join(reason for reason in reasons if reason) or message


def converged(tol: float) -> Ended:
    """Return the end of a solver that has reached its tolerance."""
    return Ended(DONE, f"Converged: the norm of the gradient is at most {tol:g}.")


def diverged() -> Ended:
    """Return the end of a solver that met an E or a gradient that is not finite."""
    return Ended(DIVERGED, "Diverged: E or its gradient is not finite.")


def out_of_iterations(n: int) -> Ended:
    """Return the end of a solver that has made all n iterations."""
    return Ended(OUT_OF_ITERATIONS, f"Out of iterations: {n} made.")


def stopped(n: int, reason: str) -> Ended:
    """Return the end of a solver whose callback asked for it, with a reason or none."""
    return Ended(STOPPED, reason or f"Stopped by the callback after iteration {n}.")


def interrupted(n: int) -> Ended:
    """Return the end of a solver that heard Ctrl-C."""
    return Ended(INTERRUPTED, f"Interrupted after {n} iterations.")


def finished(
    result: OptimizeResult, status: int, message: str, callbacks: Callbacks | None = None
) -> OptimizeResult:
    """Complete a result and tell the callbacks."""
    result.status, result.message = status, message
    result.success = status < SUCCEEDED
    if callbacks is not None:
        callbacks.end(result)
    return result


def warn_of(result: OptimizeResult, stacklevel: int) -> None:
    """Where a run was interrupted or diverged, warn whoever is so many calls above."""
    if result.status in (INTERRUPTED, DIVERGED):
        warnings.warn(result.message, RuntimeWarning, stacklevel=stacklevel)
