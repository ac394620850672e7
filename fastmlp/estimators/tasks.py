"""scikit-learn's callbacks (1.9 and later; experimental there), told what a fit is doing."""

from __future__ import annotations

from typing import Any

__all__ = ["CallbackSupportMixin", "Tasks"]

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:  # before 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Nothing to support."""


class Tasks:
    """The tasks of one fit: the fit itself, and each of its epochs or iterations.

    Parameters
    ----------
    estimator : CallbackSupportMixin
        Without callbacks nothing is done.
    n_epochs : int
        The most there may be.
    data : dict
        X, y and metadata of the fit, as the callbacks get them.
    """

    def __init__(self, estimator: Any, n_epochs: int, data: dict[str, Any]) -> None:
        self._estimator, self._data = estimator, {"estimator": estimator, **data}
        self._n_left = n_epochs
        self._fit: Any = None
        self._epoch: Any = None
        if getattr(estimator, "_skl_callbacks", None):
            self._fit = estimator._init_callback_context(max_subtasks=n_epochs)
            self._fit.call_on_fit_task_begin(**self._data)

    def begin_epoch(self, n_before: int = 0) -> None:
        """Tell that an epoch begins, if it is not one too many; so many were done elsewhere."""
        self._n_left -= n_before
        if self._fit is not None and self._n_left > 0:
            self._n_left -= 1
            self._epoch = self._fit.subcontext(task_name="epoch")
            self._epoch.call_on_fit_task_begin(**self._data)

    def end_epoch(self, fitted: Any) -> bool:
        """Tell that the epoch has ended; return whether a callback asks to stop.

        Parameters
        ----------
        fitted : callable
            Returns the attributes that make a copy of the estimator one that is fitted so far.
        """
        if self._epoch is None:
            return False
        epoch, self._epoch = self._epoch, None
        return bool(epoch.call_on_fit_task_end(**self._data, reconstruction_attributes=fitted))

    def end(self, fitted: Any) -> None:
        """Tell that the fit has ended."""
        if self._fit is not None:
            self._fit.call_on_fit_task_end(**self._data, reconstruction_attributes=fitted)
