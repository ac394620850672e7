"""The run of a stochastic solver: epochs of updates, and what is told and asked in between."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp import files, validation
from fastmlp.kernels import batch
from fastmlp.network import Network
from fastmlp.progress import checked_progress, progress_bar
from fastmlp.solvers import orders, schedules
from fastmlp.solvers.checkpoints import (
    Keeper,
    Resumed,
    copy_into,
    model,
)
from fastmlp.solvers.holdout import Holdout
from fastmlp.solvers.identity import digest, of_state, of_training
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
from fastmlp.solvers.samples import Samples
from fastmlp.solvers.settings import Settings, early_stopping
from fastmlp.solvers.trainers import State, trainer_of
from fastmlp.sparse import has_random_access
from fastmlp.weights import combined

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

    from fastmlp.sparse import Features


def train(net: Network, X: Any, y: Any, w: Any, settings: Settings) -> OptimizeResult:
    """Check the arguments, do the epochs, and return the result."""
    if not isinstance(net, Network):
        raise TypeError(f"net must be a fastmlp.Network; got {net!r}")
    rng = validation.generator(settings.rng)
    before = orders.generator_state(rng)
    try:
        net.require_derivatives()
        w = validation.parameters(net, w)
        X = validation.features(net, X)
        y = validation.truth(net, y, len(X))
        run = _prepared(net, X, y, w, settings, rng)
        run.begin()
    except BaseException:
        rng.bit_generator.state = before  # it may be the caller's
        raise
    result = run.result()
    warn_of(result, stacklevel=4)
    return result


def _prepared(
    net: Network,
    X: Features,
    y: np.ndarray,
    w: np.ndarray,
    settings: Settings,
    rng: np.random.Generator,
) -> Run:
    """Return the run of checked arguments, with its checkpoints if there are any."""
    checkpoints, resumed = settings.checkpoints, settings.resumed
    if checkpoints is None and resumed is None:
        return Run(net, X, y, w, settings, rng)
    start = given = orders.generator_state(rng)
    if resumed is not None:  # what is drawn first is drawn anew
        start = resumed["start"]
        with resumed.reading():
            orders.set_generator_state(rng, start)
    run = Run(net, X, y, w, settings, rng)
    about = {**of_training(run, settings), "w": digest(w, net.dtype), "rng": of_state(given)}
    keeper = Keeper(checkpoints, resumed, about, start, settings.rng is not None)
    run.keep_checkpoints(keeper, resumed, lambda parameters: model(net, parameters))
    return run


class Run:
    """One run of a solver, of arguments of which the first four are checked."""

    def __init__(
        self,
        net: Network,
        X: Features,
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
        self.callbacks = Callbacks(settings.callback, *early_stopping(settings))
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
        self.trainer = trainer_of(net, w, self.samples, settings, rng)
        self.order = orders.resolve(
            settings.order, len(self.samples), rng, net.widths[0], has_random_access(X)
        )
        self.keeper: Keeper | None = None
        self.history = History("loss", "step", "seconds", *self.held_out)
        self.total = np.zeros(batch.N_TOTALS)
        self.step = math.nan
        self.began = time.perf_counter()
        self._place = 0  # in the epoch, where to begin
        self._seconds = 0.0  # of the run before
        self._n_told = int(self.trainer.done[0])  # updates made when callbacks were last asked
        self._has_begun = False
        self._reason: str | None = None  # why there is nothing to do any more
        self._resumed: Resumed | None = None
        self._mark()

    def keep_checkpoints(
        self,
        keeper: Keeper,
        resumed: Resumed | None,
        model: Callable[[np.ndarray], dict[str, Any]],
    ) -> None:
        """Write checkpoints; go on from one, if it is given.

        Parameters
        ----------
        keeper : Keeper
        resumed : Resumed, optional
        model : callable
            Returns the tree of the model that has the given parameters.
        """
        self.keeper, self._model, self._resumed = keeper, model, resumed
        self._mark()
        if resumed is None:
            return
        with resumed.reading():
            self._restore(resumed["model"], resumed["run"])
        if (n := len(self.history) + (self._place > 0)) > self.epochs:
            raise ValueError(f"{resumed.path} is of epoch {n}, beyond the {self.epochs} to do")
        keeper.go_on(resumed.path, len(self.history), int(self.trainer.done[0]))

    def begin(self) -> None:
        """Tell the callbacks, and give them their states back, before anything is done."""
        self._has_begun = True
        self.began = time.perf_counter() - self._seconds
        with self._failing():
            if self.callbacks:
                n_steps = self.epochs * -(-len(self.samples) // self.trainer.batch_size)
                more = {"epochs": self.epochs, "n_steps": n_steps}
                self.callbacks.start(self._state(math.nan, **more))
            if self.keeper is not None:
                files.encoded(self._tree(), {})  # raises now what would be raised at writing
            if self._resumed is not None:
                with self._resumed.reading():
                    states = self._resumed["run"]["callbacks"]
                    self._reason = self.callbacks.load_state_dict(states)
                del states
                self._resumed.forget()

    def result(self) -> OptimizeResult:
        """Do the epochs and return the result."""
        if not self._has_begun:
            self.begin()
        with self._failing():
            end = self._train()
        return finished(self._result(), end.status, end.message, self.callbacks)

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        """Tell the callbacks of an error: theirs, or a schedule's."""
        try:
            yield
        except BaseException as error:
            message = f"Ended by {type(error).__name__}."
            finished(self._result(), FAILED, message, self.callbacks)
            raise

    def _train(self) -> Ended:
        try:
            end = self._train_on()
            self._keep()
            return end
        except KeyboardInterrupt:
            if self._is_whole:
                self._keep()
            n_updates, n_epochs = self.trainer.done[0], len(self.history)
            return Ended(
                INTERRUPTED,
                f"Interrupted after {n_updates} updates and {n_epochs} complete epochs.",
            )
        except OSError:  # a source's file, that may be mended
            if self._is_whole:
                self._keep()
            raise

    def _train_on(self) -> Ended:
        n, n_samples = self.epochs, len(self.samples)
        end = Ended(DONE, f"All {n} epochs done." if n > 1 else "The epoch is done.")
        try:
            self._obey(self._reason)
            with progress_bar(self.progress, n * n_samples, "samples") as bar:
                bar.update(len(self.history) * n_samples + self._place)
                while len(self.history) < n:
                    self._epoch(bar)
        except Ended as early:
            end = early
        return end if validation.all_finite(self.trainer.parameters) else self._diverged()

    def _diverged(self) -> Ended:
        n = int(self.trainer.done[0])
        what = f"Diverged after {n} updates: the loss or a parameter is not finite."
        return Ended(DIVERGED, f"{what} A smaller step may help." if n > 0 else what)

    def _epoch(self, bar: Any) -> None:
        n, size = len(self.samples), self.trainer.batch_size
        self.order.begin_epoch()
        start, self._place = self._place, 0
        samples = self.samples.epoch(self.order, size, start)
        if self._n_told < self.trainer.done[0]:  # Ctrl-C has come in between
            self._after_updates()
        while start < n:
            k = int(self.trainer.done[0])
            stop = min(start + self.trainer.entries_at_once(), samples.end(start))
            for due in self._next_stops(k):
                stop = min(stop, start + (due - k) * size)
            steps = self.schedule.steps(k, k + -(-(stop - start) // size))
            self.step = float(steps[-1])
            self.trainer.advance(samples.take(start, stop), steps, self.total)
            if not math.isfinite(self.total[batch.LOSSES]):
                raise self._diverged()
            bar.update(stop - start)
            start = stop
            self._after_updates()
        self._end_epoch(bar)

    def _next_stops(self, n_updates: int) -> list[int]:
        """Return at how many updates callbacks and checkpoints are next due, where they are."""
        stops = [self.callbacks.next_stop(n_updates)]
        if self.keeper is not None:
            stops.append(self.keeper.next_stop(n_updates))
        return [stop for stop in stops if stop is not None]

    def _after_updates(self) -> None:
        n = int(self.trainer.done[0])
        message = None
        if self.callbacks.is_due(n):
            self._is_whole = False
            message = self.callbacks.steps(self._state(self._mean_loss()))
        self._n_told, self._is_whole = n, True
        # The epoch's last update is kept at its end.
        is_within = n < self._epoch_start[0] + -(-len(self.samples) // self.trainer.batch_size)
        if self.keeper is not None and is_within and self.keeper.is_due_after_update(n):
            self._keep()
        self._obey(message)

    def _end_epoch(self, bar: Any) -> None:
        loss, seconds = self._mean_loss(), time.perf_counter() - self.began
        held_out = self.holdout.evaluate(self.trainer.result)[: len(self.held_out)]
        self._is_whole = False
        self.history.append(loss, self.step, seconds, *held_out)
        self.schedule.observe(held_out[0] if held_out else loss)
        if not bar.disable:
            bar.set_postfix(loss=f"{loss:.4g}", refresh=False)
        message = self.callbacks.epoch_end(self._state(loss))
        is_due = False
        if self.keeper is not None:
            value = held_out[0] if len(held_out) == 1 else -held_out[1] if held_out else loss
            n = int(self.trainer.done[0])
            is_due = self.keeper.is_due_after_iteration(len(self.history), n, value)
        self._mark()
        if is_due:
            self._keep()
        self._obey(message)

    def _mark(self) -> None:
        """Take note of the state between two epochs."""
        order = None if self.keeper is None else self.order.state_dict()
        self._epoch_start = int(self.trainer.done[0]), order
        self.total[:] = 0
        self._is_whole = True

    def _keep(self) -> None:
        """Write a checkpoint, unless the run has diverged."""
        if self.keeper is None or not math.isfinite(self.total[batch.LOSSES]):
            return
        if validation.all_finite(self.trainer.parameters):
            self.keeper.write(self._tree, len(self.history), int(self.trainer.done[0]))

    def _tree(self) -> dict[str, Any]:
        """Return the state as a file holds it."""
        trainer, (first, order) = self.trainer, self._epoch_start
        n_updates, vectors = trainer.state
        run = {
            "n_updates": n_updates, "vectors": vectors, "order": order, "step": self.step,
            "place": min((n_updates - first) * trainer.batch_size, len(self.samples)),
            "total": self.total, "seconds": time.perf_counter() - self.began,
            "history": self.history.table, "step_sizes": self.schedule.state_dict(),
            "callbacks": self.callbacks.state_dict(), "n_told": self._n_told,
        }  # fmt: skip
        if trainer.averages:
            run["iterate"] = trainer.parameters
        return {"model": self._model(trainer.result), "run": run}

    def _restore(self, model: dict[str, Any], run: dict[str, Any]) -> None:
        """Go on from what `_tree` returned."""
        parameters = run["iterate"] if self.trainer.averages else model["parameters"]
        self.trainer.restore(parameters, State(int(run["n_updates"]), run["vectors"]))
        self.order.load_state_dict(run["order"])
        copy_into(self.total, run["total"])
        self.history.load(run["history"])
        self.schedule.load_state_dict(run["step_sizes"])
        self._place, self.step = int(run["place"]), float(run["step"])
        n, size, n_updates = len(self.samples), self.trainer.batch_size, int(run["n_updates"])
        n_before = -(-self._place // size)
        is_place = self._place in range(0, n, size) or self._place == n
        if not (is_place and n_before <= n_updates):
            raise ValueError(f"its place in the epoch is {self._place} after {n_updates} updates")
        self._epoch_start, self._n_told = (n_updates - n_before, run["order"]), int(run["n_told"])
        self._seconds = float(run["seconds"])
        self.callbacks.require_same(run["callbacks"])

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
