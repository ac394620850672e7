"""The run of a stochastic solver: epochs of updates, and what is told and asked in between."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp import validation
from fastmlp.callbacks import EarlyStopping
from fastmlp.kernels import batch
from fastmlp.network import Network
from fastmlp.progress import checked_progress, progress_bar
from fastmlp.solvers import orders, schedules
from fastmlp.solvers.holdout import Holdout
from fastmlp.solvers.reports import (
    DIVERGED,
    DONE,
    FAILED,
    INTERRUPTED,
    STOPPED,
    Callbacks,
    Ended,
    History,
    finished,
    warn_of,
)
from fastmlp.solvers.trainers import BatchTrainer, Dropout, SampleTrainer, State
from fastmlp.solvers.updates import Updates
from fastmlp.sparse import Features, is_ready
from fastmlp.weights import combined
from fastmlp.workspace import samples

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

# X of another dtype or layout is converted in runs of about so many bytes, or one batch.
CONVERTED_BYTES = 4 * 2**20


class Samples:
    """The samples that a solver trains on, as the kernels take them.

    Parameters
    ----------
    net : Network
    X : ndarray or SparseRows
    y : ndarray
        Checked, of any dtype and layout; not copied.
    weights : ndarray of shape (n_samples,), optional
        Of the network's dtype.
    rows : ndarray of shape (n,), optional
        The samples to train on; by default all.
    """

    def __init__(
        self,
        net: Network,
        X: Features,
        y: np.ndarray,
        weights: np.ndarray | None,
        rows: np.ndarray | None,
    ) -> None:
        self.net, self.X, self.y, self.weights, self.rows = net, X, y, weights, rows
        self.y_dtype = np.dtype(np.int64) if y.ndim == 1 else net.dtype
        self.converts_y = not (y.dtype == self.y_dtype and y.flags.c_contiguous)

    def __len__(self) -> int:
        return len(self.X) if self.rows is None else len(self.rows)

    def most_entries(self, batch_size: int) -> int:
        """Return how many samples may be converted at once: whole batches of bounded memory."""
        if is_ready(self.X, self.net.dtype):
            return len(self)
        row_bytes = self.net.widths[0] * self.net.dtype.itemsize
        return max(1, CONVERTED_BYTES // row_bytes // batch_size) * batch_size

    def index(self, places: np.ndarray) -> np.ndarray:
        """Return which rows of X are at these places among those to train on."""
        return places if self.rows is None else self.rows[places]

    def data(self, index: np.ndarray) -> batch.Data:
        """Bundle these rows for the kernels, converted where need be."""
        y, y_index, weights = self.y, index, self.weights
        if is_ready(self.X, self.net.dtype):
            X, x_index = self.X, index
        else:
            X = np.ascontiguousarray(self.X[index], self.net.dtype)
            x_index = np.arange(len(index))
        if self.converts_y:
            y, y_index = np.ascontiguousarray(y[index], self.y_dtype), np.arange(len(index))
            weights = None if weights is None else weights[index]
        return samples(self.net, X, y, x_index, y_index, weights)


@dataclass(frozen=True)
class Settings:
    """The arguments of a stochastic solver beyond the problem itself, as the user gave them.

    The last ones are for callers within the library: `order` may be an object with the methods of
    `orders.Order`; `rows` are the samples to train on, and `state` what the rule begins with.
    """

    updates: Updates
    reduction: str
    batch_size: int | None
    per_sample: bool
    step: Any
    epochs: int
    order: str | orders.Order
    sample_weight: Any
    class_weight: Any
    dropout: Any
    validation: Any
    scoring: Any
    patience: int | None
    min_improvement: float
    rng: Any
    callback: Any
    progress: bool | None
    rows: np.ndarray | None = None
    state: State | None = None


def train(net: Network, X: Any, y: Any, w: Any, settings: Settings) -> OptimizeResult:
    """Check the arguments, do the epochs, and return the result."""
    if not isinstance(net, Network):
        raise TypeError(f"net must be a fastmlp.Network; got {net!r}")
    rng = validation.generator(settings.rng)
    before = rng.bit_generator.state
    try:
        net.require_derivatives()
        w = validation.parameters(net, w)
        X = validation.features(net, X)
        y = validation.truth(net, y, len(X))
        run = Run(net, X, y, w, settings, rng)
    except BaseException:
        rng.bit_generator.state = before  # it may be the caller's
        raise
    result = run.result()
    warn_of(result, stacklevel=4)
    return result


class Run:
    """One run of a solver, of arguments of which the first four are checked."""

    def __init__(
        self,
        net: Network,
        X: np.ndarray,
        y: np.ndarray,
        w: np.ndarray,
        settings: Settings,
        rng: np.random.Generator,
    ) -> None:
        settings.updates.require_range(net.dtype)
        rule = settings.updates.rule
        self.epochs = validation.count("epochs", settings.epochs)
        self.progress = checked_progress(settings.progress)
        self.schedule = schedules.resolve(
            rule.default_step if settings.step is None else settings.step
        )
        self.callbacks = Callbacks(settings.callback, *_early_stopping(settings))
        reduction = settings.reduction
        weights = combined(net, settings.sample_weight, settings.class_weight, y, reduction)
        self.holdout = Holdout(
            net, settings.validation, settings.scoring, X, y, weights, rng, settings.class_weight
        )
        self.held_out = [] if settings.validation is None else ["validation_loss"]
        if settings.scoring is not None:
            self.held_out += ["validation_score"]
            self.holdout.check(w)
        rows = self.holdout.train_rows if settings.rows is None else settings.rows
        self.samples = Samples(net, X, y, weights, rows)
        self.trainer = _trainer(net, w, self.samples, settings, rng)
        self.order = orders.resolve(settings.order, len(self.samples), rng)
        self.history = History("loss", "step", "seconds", *self.held_out)
        self.total = np.zeros(batch.N_TOTALS)
        self.step = math.nan
        self.began = time.perf_counter()

    def result(self) -> OptimizeResult:
        """Do the epochs and return the result."""
        n_steps = self.epochs * -(-len(self.samples) // self.trainer.batch_size)
        self.began = time.perf_counter()
        try:
            if self.callbacks:
                more = {"epochs": self.epochs, "n_steps": n_steps}
                self.callbacks.start(self._state(math.nan, **more))
            end = self._train()
        except BaseException as error:  # of a callback or a schedule
            message = f"Ended by {type(error).__name__}."
            finished(self._result(), FAILED, message, self.callbacks)
            raise
        return finished(self._result(), end.status, end.message, self.callbacks)

    def _train(self) -> Ended:
        try:
            total = self.epochs * len(self.samples)
            with progress_bar(self.progress, total, "samples") as bar:
                for _ in range(self.epochs):
                    self._epoch(bar)
            n = self.epochs
            end = Ended(DONE, f"All {n} epochs done." if n > 1 else "The epoch is done.")
        except Ended as early:
            end = early
        except KeyboardInterrupt:
            n_updates, n_epochs = self.trainer.done[0], len(self.history)
            return Ended(
                INTERRUPTED,
                f"Interrupted after {n_updates} updates and {n_epochs} complete epochs.",
            )
        return end if validation.all_finite(self.trainer.parameters) else self._diverged()

    def _diverged(self) -> Ended:
        n = int(self.trainer.done[0])
        what = f"Diverged after {n} updates: the loss or a parameter is not finite."
        return Ended(DIVERGED, f"{what} A smaller step may help." if n > 0 else what)

    def _epoch(self, bar: Any) -> None:
        n, size = len(self.samples), self.trainer.batch_size
        most = self.samples.most_entries(size)
        self.order.begin_epoch()
        self.total[:] = 0
        start = 0
        while start < n:
            k = int(self.trainer.done[0])
            stop = min(start + min(self.trainer.entries_at_once(), most), n)
            due = self.callbacks.next_stop(k)
            if due is not None:
                stop = min(stop, start + (due - k) * size)
            steps = self.schedule.steps(k, k + -(-(stop - start) // size))
            index = self.samples.index(self.order.take(start, stop))
            self.trainer.advance(self.samples.data, index, steps, self.total)
            if not math.isfinite(self.total[batch.LOSSES]):
                raise self._diverged()
            self.step = float(steps[-1])
            bar.update(stop - start)
            start = stop
            if due == self.trainer.done[0]:
                self._obey(self.callbacks.steps(self._state(self._mean_loss())))
        self._end_epoch(bar)

    def _end_epoch(self, bar: Any) -> None:
        loss, seconds = self._mean_loss(), time.perf_counter() - self.began
        held_out = self.holdout.evaluate(self.trainer.result)[: len(self.held_out)]
        self.history.append(loss, self.step, seconds, *held_out)
        self.schedule.observe(held_out[0] if held_out else loss)
        if not bar.disable:
            bar.set_postfix(loss=f"{loss:.4g}", refresh=False)
        self._obey(self.callbacks.epoch_end(self._state(loss)))

    def _obey(self, message: str | None) -> None:
        """Leave the loop if a callback has asked for it."""
        if message is not None:
            raise Ended(STOPPED, message)

    def _mean_loss(self) -> float:
        """Return the mean loss of the epoch's samples so far."""
        weight = float(self.total[batch.SAMPLE_WEIGHTS])
        return float(self.total[batch.LOSSES]) / weight if weight > 0 else math.nan

    def _state(self, loss: float, **more: Any) -> OptimizeResult:
        from scipy.optimize import OptimizeResult

        return OptimizeResult(
            x=self.trainer.result,
            fun=loss,
            nit=int(self.trainer.done[0]),
            n_epochs=len(self.history),
            step=self.step,
            seconds=time.perf_counter() - self.began,
            history=self.history.arrays(),
            **more,
        )

    def _result(self) -> OptimizeResult:
        from scipy.optimize import OptimizeResult

        history, trainer = self.history.arrays(), self.trainer
        result = OptimizeResult(
            x=trainer.result,
            fun=float(history.loss[-1]) if len(self.history) else math.nan,
            nit=int(trainer.done[0]),
            n_epochs=len(self.history),
            history=history,
        )
        if trainer.averages:
            result.x, result.iterate = result.x.copy(), trainer.parameters
        return result


def _trainer(
    net: Network,
    w: np.ndarray,
    samples: Samples,
    settings: Settings,
    rng: np.random.Generator,
) -> SampleTrainer | BatchTrainer:
    n, size, rule = len(samples), settings.batch_size, settings.updates.rule
    size = n if size is None else min(validation.count("batch_size", size), n)
    dropout = _dropout(net, settings.dropout, rng)
    if rule.needs_all_samples:
        if size < n:
            raise ValueError(
                f"{rule!r} needs all samples in a batch (minibatch_sgd with batch_size=None); got "
                f"batches of {size} of {n} samples"
            )
        if settings.order == "replacement" or dropout is not None:
            raise ValueError(
                f"{rule!r} needs the same samples and units in each update; got "
                f"order={settings.order!r}, dropout={settings.dropout!r}"
            )
    if settings.per_sample and settings.updates.is_plain and dropout is None:
        return SampleTrainer(net, w)
    mean = settings.reduction == "mean"
    return BatchTrainer(
        net, w, size, mean, samples.weights, settings.updates, dropout, settings.state
    )


def _dropout(net: Network, value: Any, rng: np.random.Generator) -> Dropout | None:
    """Return the dropout of each layer's inputs, or None; a seed is drawn only if there is any."""
    if validation.is_number(value):
        given = [value]
        probabilities = [0.0] + [value] * (net.n_layers - 1)
        if net.n_layers == 1 and value != 0:
            raise ValueError(
                f"dropout={value!r} is for hidden layers, and there are none; for the inputs give "
                f"[{value!r}]"
            )
    elif isinstance(value, (Sequence, np.ndarray)) and not isinstance(value, str):
        given = probabilities = list(value)
        if len(given) != net.n_layers:
            raise ValueError(
                f"dropout has {len(given)} numbers, expected {net.n_layers}: for the inputs and "
                f"for {net.n_layers - 1} hidden layers"
            )
    else:
        raise TypeError(f"dropout must be a number or a sequence of numbers; got {value!r}")
    for p in given:
        if validation.not_negative("dropout", p) >= 1:
            raise ValueError(f"dropout must be a probability below 1; got {p!r}")
    if not any(probabilities):
        return None
    return Dropout(tuple(map(float, probabilities)), int(rng.integers(2**63)))


def _early_stopping(settings: Settings) -> tuple[EarlyStopping, ...]:
    if settings.patience is None:
        if validation.not_negative("min_improvement", settings.min_improvement) > 0:
            raise ValueError(
                f"min_improvement={settings.min_improvement!r} needs patience; got patience=None"
            )
        return ()
    return (EarlyStopping(settings.patience, settings.min_improvement),)
