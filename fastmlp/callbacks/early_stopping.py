"""Stopping when nothing improves any more."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fastmlp import validation
from fastmlp.callbacks.base import Callback

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult


class EarlyStopping(Callback):
    """Stop when nothing has improved for a while, and go back to the best epoch.

    An epoch improves where its value is better than the best so far by more than
    `min_improvement`; NaN never is.

    Parameters
    ----------
    patience : int, default=10
        Stop after so many epochs in a row without an improvement.
    min_improvement : float, default=0.0
        In units of what is monitored.
    monitor : {"validation_score", "validation_loss", "loss"}, optional
        Of these, greater scores and lesser losses are better. By default the first of them that
        the solver computes.
    restore_best : bool, default=True
        At the end of the run, whatever ended it, write the parameters of the best epoch into
        ``result.x``. Not where the training loss is monitored: an epoch's mean loss is
        not that of the parameters it ended with, so the last ones are kept.

    Attributes
    ----------
    best_epoch, best_value : int, float
        Of the last run; 0 and NaN before an epoch has had a value.

    Raises
    ------
    ValueError
        Before the first update: where the solver does not compute what `monitor` names.

    References
    ----------
    Prechelt, "Early stopping - but when?", in: Neural networks: tricks of the trade, 1998.

    Examples
    --------
    >>> import fastmlp as fm
    >>> net = fm.Network([1, 1], bias=False)
    >>> stop = fm.callbacks.EarlyStopping(patience=2)
    >>> result = fm.sgd(net, [[0.0]], [1.0], net.init(rng=0), epochs=9, callback=stop)
    >>> result.n_epochs, result.message
    (3, 'No improvement of the training loss in 2 epochs.')
    """

    _MONITORS: ClassVar = {
        "validation_score": "validation score",
        "validation_loss": "validation loss",
        "loss": "training loss",
    }

    def __init__(
        self,
        patience: int = 10,
        min_improvement: float = 0.0,
        monitor: str | None = None,
        restore_best: bool = True,
    ) -> None:
        self.patience = validation.count("patience", patience)
        self.min_improvement = validation.not_negative("min_improvement", min_improvement)
        if monitor is not None:
            validation.one_of("monitor", monitor, self._MONITORS)
        self.monitor, self.restore_best = monitor, restore_best
        self._best: tuple[int, float, np.ndarray | None] = (0, math.nan, None)

    @property
    def best_epoch(self) -> int:
        """Return the best epoch, 1 for the first; 0 where there is none."""
        return self._best[0]

    @property
    def best_value(self) -> float:
        """Return the best value; NaN where there is none."""
        return self._best[1]

    def on_start(self, state: OptimizeResult) -> None:
        """Forget the last run; see what there is to monitor."""
        known = [name for name in self._MONITORS if name in state.history]
        self._monitored = validation.one_of("monitor", self.monitor or known[0], known)
        self._restores = self.restore_best and self._monitored != "loss"
        self._best, self._n_without = (0, math.nan, None), 0
        self._like = state.x.shape, state.x.dtype

    def on_epoch_end(self, state: OptimizeResult) -> None:
        """Stop if this is one epoch too many without an improvement."""
        value = float(state.history[self._monitored][-1])
        gain = value - self.best_value
        if self._monitored != "validation_score":
            gain = -gain
        if self.best_epoch == 0 and not math.isnan(value):
            gain = math.inf
        if gain > 0:
            x = state.x.copy() if self._restores else None
            self._best = int(state.n_epochs), value, x
        self._n_without = 0 if gain > self.min_improvement else self._n_without + 1
        self._stop_if_exhausted()

    def state_dict(self) -> dict[str, Any]:
        """Return the best epoch so far, and how many there were since an improvement."""
        epoch, value, x = self._best
        return {"best_epoch": epoch, "best_value": value, "x": x, "n_without": self._n_without}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state; stop if there was one epoch too many already."""
        x = state["x"]
        if x is not None and (x.shape, x.dtype) != self._like:
            raise ValueError(f"x has {x.shape} {x.dtype}, expected {self._like}")
        best = int(state["best_epoch"]), float(state["best_value"]), x
        self._best, self._n_without = best, int(state["n_without"])
        self._stop_if_exhausted()

    def _stop_if_exhausted(self) -> None:
        if self._n_without >= self.patience:
            epochs = "1 epoch" if self.patience == 1 else f"{self.patience} epochs"
            what = self._MONITORS[self._monitored]
            raise StopIteration(f"No improvement of the {what} in {epochs}.")

    def on_end(self, result: OptimizeResult) -> None:
        """Go back to the best epoch."""
        epoch, value, x = self._best
        result.best_epoch, result.best_value = epoch, value
        if x is not None:
            result.x[:] = x
            self._best = epoch, value, None  # the copy is not needed any more
