"""Per-sample and mini-batch stochastic gradient descent."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp import validation
from fastmlp.kernels.batch import Data
from fastmlp.solvers import orders, schedules
from fastmlp.solvers.reports import (
    DIVERGED,
    DONE,
    INTERRUPTED,
    STOPPED,
    History,
    asks_to_stop,
    checked_callback,
    finished,
    progress_bar,
)
from fastmlp.solvers.trainers import BatchTrainer, SampleTrainer
from fastmlp.workspace import samples

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

    from fastmlp.network import Network

# X of another dtype or layout is converted in runs of about so many bytes, or one batch.
CONVERTED_BYTES = 4 * 2**20


def sgd(
    net: Network,
    X: Any,
    y: Any,
    w: Any,
    *,
    step: Any = 0.01,
    epochs: int = 1,
    order: str = "shuffled",
    rng: Any = None,
    callback: Callable[[OptimizeResult], object] | None = None,
    progress: bool | None = None,
) -> OptimizeResult:
    """Minimise the mean loss by stochastic gradient descent, one sample at a time.

    For one sample after the other: ``w <- w - step(k) * gradient of its loss``, k = 0, 1, ...

    Parameters
    ----------
    net : Network
    X : array-like of shape (n_samples, n_0)
        Used in place where it has the network's dtype and C order; otherwise converted in small
        runs, never as a whole. Memory maps are fine.
    y : array-like of shape (n_samples,) or (n_samples, n_L)
        As in `Network.loss`.
    w : array-like of shape (n_params,)
        Where to start; not modified.
    step : float, schedule or callable, default=0.01
        The step size: a number, one of `fastmlp.schedules`, or a function of the step number k.
    epochs : int, default=1
        Passes over the samples.
    order : {"shuffled", "replacement", "sequential"}, default="shuffled"
        A new permutation in each epoch, independent draws, or as they are.
    rng : None, int or numpy.random.Generator
        For the order, as in SPEC 7.
    callback : callable, optional
        Called after each epoch with an OptimizeResult of ``x`` (a view: copy it to keep it),
        ``fun``, ``nit``, ``n_epochs`` and ``history``. To stop, return True or raise StopIteration.
    progress : bool, optional
        Whether to show a progress bar; by default on a terminal, if it takes longer than a second.

    Returns
    -------
    scipy.optimize.OptimizeResult
        ``x`` parameters; ``fun`` mean loss of the last complete epoch, each sample's loss taken
        just before the update it takes part in; ``nit`` updates made; ``n_epochs`` complete epochs;
        ``status`` 0: all epochs done, 1: stopped by the callback, 2: interrupted by Ctrl-C, 3:
        diverged (a loss or parameter was not finite); ``success`` whether status is 0 or 1;
        ``message``; ``history`` with arrays of one entry for each complete epoch: ``loss``,
        ``step`` (the last step size) and ``seconds`` (since the start).

    Warns
    -----
    RuntimeWarning
        Where interrupted or diverged.

    Raises
    ------
    ValueError, TypeError
        For arguments that do not fit, before anything is done.

    References
    ----------
    Robbins and Monro, "A stochastic approximation method", Annals of Mathematical Statistics 22,
    1951.
    """
    settings = _Settings(net, X, y, w, step, epochs, order, rng, callback)
    return _train(SampleTrainer(net, settings.w), settings, progress)


def minibatch_sgd(
    net: Network,
    X: Any,
    y: Any,
    w: Any,
    *,
    batch_size: int = 128,
    step: Any = 0.01,
    epochs: int = 1,
    order: str = "shuffled",
    reduction: str = "mean",
    rng: Any = None,
    callback: Callable[[OptimizeResult], object] | None = None,
    progress: bool | None = None,
) -> OptimizeResult:
    """Minimise the mean loss by stochastic gradient descent, a mini-batch at a time.

    For one batch after the other: ``w <- w - step(k) * gradient of its mean (or summed) loss``.

    Parameters
    ----------
    net, X, y, w, step, epochs, order, rng, callback, progress
        As in `sgd`. A step is a batch.
    batch_size : int, default=128
        The last batch of an epoch is smaller where the number of samples is no multiple.
    reduction : {"mean", "sum"}, default="mean"
        Of the losses of a batch.

    Returns
    -------
    scipy.optimize.OptimizeResult
        As in `sgd`. The same seed gives the same bits, for any number of threads.

    Warns
    -----
    RuntimeWarning
        Where interrupted or diverged.

    Raises
    ------
    ValueError, TypeError
        For arguments that do not fit, before anything is done.
    """
    settings = _Settings(net, X, y, w, step, epochs, order, rng, callback)
    validation.one_of("reduction", reduction, validation.REDUCTIONS)
    batch_size = min(validation.count("batch_size", batch_size), len(settings.X))
    trainer = BatchTrainer(net, settings.w, batch_size, mean=reduction == "mean")
    return _train(trainer, settings, progress)


class _Settings:
    """The checked arguments that both solvers share."""

    def __init__(
        self,
        net: Network,
        X: Any,
        y: Any,
        w: Any,
        step: Any,
        epochs: Any,
        order: Any,
        rng: Any,
        callback: Any,
    ) -> None:
        net.require_derivatives()
        self.net = net
        self.schedule = schedules.resolve(step)
        self.epochs = validation.count("epochs", epochs)
        self.order = validation.one_of("order", order, orders.KINDS)
        self.rng = validation.generator(rng)
        self.callback = checked_callback(callback)
        self.w = validation.parameters(net, w)
        self.X = validation.features(net, X)
        self.y = validation.truth(net, y, len(self.X))
        y_dtype = np.dtype(np.int64) if self.y.ndim == 1 else net.dtype
        self.converts_X = not (self.X.dtype == net.dtype and self.X.flags.c_contiguous)
        self.converts_y = not (self.y.dtype == y_dtype and self.y.flags.c_contiguous)
        self.y_dtype = y_dtype

    def most_entries(self, batch_size: int) -> int:
        """Return how many samples may be converted at once: whole batches of bounded memory."""
        if not self.converts_X:
            return len(self.X)
        row_bytes = self.net.widths[0] * self.net.dtype.itemsize
        return max(1, CONVERTED_BYTES // row_bytes // batch_size) * batch_size

    def data(self, index: np.ndarray) -> Data:
        """Bundle the samples of these indices for the kernels, converted where need be."""
        X, x_index = self.X, index
        y, y_index = self.y, index
        if self.converts_X:
            X, x_index = np.ascontiguousarray(X[index], self.net.dtype), np.arange(len(index))
        if self.converts_y:
            y, y_index = np.ascontiguousarray(y[index], self.y_dtype), np.arange(len(index))
        return samples(self.net, X, y, x_index, y_index)


def _train(
    trainer: SampleTrainer | BatchTrainer, settings: _Settings, progress: bool | None
) -> OptimizeResult:
    history = History("loss", "step", "seconds")
    order = orders.Order(settings.order, len(settings.X), settings.rng)
    status = DONE
    with progress_bar(progress, settings.epochs * len(settings.X), "samples") as bar:
        try:
            began = time.perf_counter()
            for _ in range(settings.epochs):
                mean_loss, last_step = _epoch(trainer, settings, order, bar)
                if not math.isfinite(mean_loss):
                    status = DIVERGED
                    break
                settings.schedule.observe(mean_loss)
                history.append(mean_loss, last_step, time.perf_counter() - began)
                if not bar.disable:
                    bar.set_postfix(loss=f"{mean_loss:.4g}", refresh=False)
                if settings.callback is not None and asks_to_stop(
                    settings.callback, _result(history, trainer)
                ):
                    status = STOPPED
                    break
            if status in (DONE, STOPPED) and not validation.all_finite(trainer.parameters):
                status = DIVERGED
        except KeyboardInterrupt:
            status = INTERRUPTED
    result = _result(history, trainer)
    return finished(result, status, _message(status, result.n_epochs, result.nit), 4)


def _epoch(
    trainer: SampleTrainer | BatchTrainer, settings: _Settings, order: orders.Order, bar: Any
) -> tuple[float, float]:
    """Do one epoch; return its mean loss, not finite where it diverged, and the last step size."""
    n, size = len(settings.X), trainer.batch_size
    most = settings.most_entries(size)
    order.begin_epoch()
    start, total, steps = 0, np.zeros(1), np.zeros(1)
    while start < n:
        stop = min(start + min(trainer.entries_at_once(), most), n)
        k = int(trainer.done[0])
        steps = settings.schedule.steps(k, k + -(-(stop - start) // size))
        trainer.advance(settings.data, order.take(start, stop), steps, total)
        if not math.isfinite(total[0]):
            break
        bar.update(stop - start)
        start = stop
    return float(total[0]) / n, float(steps[-1])


def _result(history: History, trainer: SampleTrainer | BatchTrainer) -> OptimizeResult:
    from scipy.optimize import OptimizeResult

    arrays = history.arrays()
    return OptimizeResult(
        x=trainer.parameters,
        fun=float(arrays.loss[-1]) if len(history) else math.nan,
        nit=int(trainer.done[0]),
        n_epochs=len(history),
        history=arrays,
    )


def _message(status: int, n_epochs: int, n_updates: int) -> str:
    return {
        DONE: f"All {n_epochs} epochs done." if n_epochs > 1 else "The epoch is done.",
        STOPPED: f"Stopped by the callback after epoch {n_epochs}.",
        INTERRUPTED: f"Interrupted after {n_updates} updates and {n_epochs} complete epochs.",
        DIVERGED: (
            f"Diverged after {n_updates} updates: the loss or a parameter is not finite. "
            "A smaller step may help."
        ),
    }[status]
