"""What does the updates of a stochastic solver: one sample at a time, or a batch at a time.

Both do a run of updates in compiled code, in place, and come back before long, so that Python can
show progress and hear Ctrl-C.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastmlp import validation
from fastmlp.kernels import batch, sample
from fastmlp.kernels.dropout import FIRST_ROW, N_UPDATES
from fastmlp.kernels.steps import run
from fastmlp.kernels.updates import sum_of
from fastmlp.solvers.checkpoints import copy_into
from fastmlp.solvers.updates import Updates
from fastmlp.threads import workers
from fastmlp.workspace import Program, Workspace, block_rows, flops, parameter_buffer

if TYPE_CHECKING:
    from fastmlp.network import Network
    from fastmlp.solvers.samples import Part, Samples
    from fastmlp.solvers.settings import Settings

# Compiled code should come back after about this many seconds ...
RUN_SECONDS = 0.1
# ... and a batch that takes longer than this is done in several parts, which is a little slower.
LONGEST_SECONDS = 0.4
# Each part reads and writes the whole gradient, so it has at least so many rows.
LEAST_ROWS = 256
# Before anything is measured: flops per second, and seconds of overhead for each sample.
GUESSED_SPEED, GUESSED_OVERHEAD = 150e9, 2e-7
MOST_ENTRIES = 2**16
MOST_UPDATES = 2**62


class Dropout(NamedTuple):
    """The probabilities that inputs of each layer are dropped with, and a seed of 63 bits."""

    probabilities: tuple[float, ...]
    seed: int


def dropout_of(net: Network, value: Any, rng: np.random.Generator) -> Dropout | None:
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


class State(NamedTuple):
    """What an update rule has come to: updates made, and its vectors, one after the other."""

    n_updates: int
    vectors: np.ndarray


class Trainer:
    """Parameters on their way, and how fast they go.

    Attributes
    ----------
    parameters : ndarray of shape (n_params,)
        The newest iterate.
    done : ndarray of shape (1,)
        Updates made; exact even where Ctrl-C interrupts.
    averages : bool
        Whether the result is a mean of iterates.
    """

    averages = False

    def __init__(self, net: Network, w: np.ndarray, batch_size: int) -> None:
        self.net = net
        self.batch_size = batch_size
        self.buffer = parameter_buffer(w, net.dtype)
        self.parameters = self.buffer[: net.n_params]
        self.done = np.zeros(1, np.int64)
        self.seconds_per_sample = flops(net) / GUESSED_SPEED + GUESSED_OVERHEAD
        self._has_run = False

    @property
    def result(self) -> np.ndarray:
        """What training has come to: the newest iterate, or the mean of iterates."""
        return self.parameters

    @property
    def state(self) -> State:
        """What the rule has come to; not copied."""
        return State(int(self.done[0]), np.empty(0, self.net.dtype))

    def restore(self, parameters: Any, state: State) -> None:
        """Go on from parameters and a state of before, as a file has them."""
        if not 0 <= state.n_updates < MOST_UPDATES:
            raise ValueError(f"it has made {state.n_updates} updates")
        copy_into(self.parameters, parameters)
        copy_into(self.state.vectors, state.vectors)
        self.done[0] = state.n_updates

    def entries_at_once(self) -> int:
        """Return how many samples, in whole batches, to do before coming back to Python."""
        samples = min(RUN_SECONDS / self.seconds_per_sample, MOST_ENTRIES)
        return max(1, int(samples / self.batch_size)) * self.batch_size

    def _timed(self, n_samples: int, began: float) -> None:
        if not self._has_run:  # it may have been compiled meanwhile
            self._has_run = True
            return
        self.seconds_per_sample = max((time.perf_counter() - began) / n_samples, 1e-9)


class SampleTrainer(Trainer):
    """Updates by one sample after the other, each its gradient times the step size."""

    def __init__(self, net: Network, w: np.ndarray) -> None:
        super().__init__(net, w, batch_size=1)
        self.workspace = Workspace(net, 1, self.buffer, "gradient")

    def advance(self, part: Part, steps: np.ndarray, total: np.ndarray) -> None:
        """Do these samples; add to `total` each loss, as it was before its update."""
        data = part.data()
        began = time.perf_counter()
        sample.sgd(self.workspace.model, data, steps, total, self.done)
        self._timed(len(steps), began)


class BatchTrainer(Trainer):
    """Updates by mini-batches, on the gradient's tiles while they are in cache where that can be.

    A batch too large for the workspace, or too slow for Ctrl-C to wait for, is done in blocks of
    rows whose gradients add up in a buffer: same sums in the same order, so the same bits.
    """

    def __init__(
        self,
        net: Network,
        w: np.ndarray,
        batch_size: int,
        mean: bool,
        weights: np.ndarray | None,
        updates: Updates,
        dropout: Dropout | None,
        state: State | None = None,
    ) -> None:
        super().__init__(net, w, batch_size)
        self.mean = mean
        self.weights = weights
        self.updates = updates
        self.workspace = Workspace(net, min(batch_size, block_rows(net)), self.buffer, "gradient")
        self.averages = updates.average_from is not None
        if not updates.is_plain:
            # A mean of iterates takes a second vector, for what its sums lose.
            n_vectors = updates.rule.n_states + 2 * self.averages
            self.workspace.begin_updates(updates.rule.code, n_vectors)
        if state is not None:
            self.done[0] = state.n_updates
            self.workspace.model.states[:] = state.vectors
        if dropout is not None:
            self.workspace.begin_dropout(dropout.probabilities, dropout.seed)
        layers = range(net.n_layers)
        apply: Program = tuple((batch.APPLY, layer) for layer in layers)
        after: Program = ()
        if updates.max_norm < np.inf:
            after += tuple((batch.MAX_NORM, layer) for layer in layers)
        if self.averages:
            after += ((batch.AVERAGE, 0),)
        program = self.workspace.program
        self._mode = batch.WRITE_AND_APPLY
        if updates.clip_norm < np.inf:
            apply = ((batch.SQUARES, 0), *apply)
            self._phases = program + apply + after
        else:
            self._phases, self._mode = program + after, batch.UPDATE
        self._apply = apply + after  # what a gradient in the buffer is used for
        if self._mode == batch.WRITE_AND_APPLY:
            self._have_gradient()

    @property
    def result(self) -> np.ndarray:
        """What training has come to: the newest iterate, or the mean of iterates."""
        begin = self.updates.average_from
        if begin is None or self.done[0] <= begin:
            return self.parameters
        return self.workspace.model.states[-self.net.n_params :]

    @property
    def state(self) -> State:
        """What the rule has come to; not copied."""
        return State(int(self.done[0]), self.workspace.model.states)

    def _have_gradient(self) -> None:
        model = self.workspace.model
        if model.gradient.size == 0:
            gradient = np.empty(self.net.n_params, self.net.dtype)
            self.workspace.model = model._replace(gradient=gradient)

    def advance(self, part: Part, steps: np.ndarray, total: np.ndarray) -> None:
        """Do these samples; add to `total` each loss, as it was before its update."""
        n = len(part)
        weights = self._batch_weights(part.index) if self.updates.shares_penalty else 1.0
        table = self.updates.table(steps, int(self.done[0]), weights)
        slow = self.seconds_per_sample * self.batch_size > LONGEST_SECONDS
        if slow or self.batch_size > self.workspace.n_rows:
            for k in range(len(steps)):
                one = part[k * self.batch_size : (k + 1) * self.batch_size]
                self._step_in_blocks(one, table[k : k + 1], total)
                if not np.isfinite(total[batch.LOSSES]):
                    return
            return
        data = part.data()
        with workers() as n_workers:
            schedule = self.workspace.schedule(self.batch_size, n_workers, self._phases)
            began = time.perf_counter()
            run(
                self.workspace.model, data, schedule, 0, n, self.batch_size, self._mode,
                0.0 if self.mean else 1.0, table, total, self.done,
            )  # fmt: skip
        self._timed(n, began)

    def _batch_weights(self, index: np.ndarray) -> np.ndarray:
        """Return the total weight of each batch (n_batches,); 1 for those that weigh nothing."""
        starts = np.arange(0, len(index), self.batch_size)
        if self.weights is None:
            return np.minimum(self.batch_size, len(index) - starts).astype(np.float64)
        weights = np.add.reduceat(self.weights[index], starts, dtype=np.float64)
        return np.where(weights > 0, weights, 1.0)

    def _step_in_blocks(self, part: Part, row: np.ndarray, total: np.ndarray) -> None:
        """Do one update, of these coefficients, from a batch of samples; add to `total`."""
        weight = float(len(part)) if self.weights is None else sum_of(self.weights, part.index)
        if weight == 0:
            self._run_apply(part[:1].data(), 1, 1.0, row, total)
            return
        self._have_gradient()
        before, n_done = total.copy(), int(self.done[0])
        try:
            self._accumulate(part, weight, total)
            if np.isfinite(total[batch.LOSSES]):
                scale = 1 / weight if self.mean else 1.0
                self._run_apply(part[:0].data(), 0, scale, row, total)
        except BaseException:  # Ctrl-C
            if self.done[0] == n_done:
                total[:] = before
            raise

    def _accumulate(self, part: Part, weight: float, total: np.ndarray) -> None:
        """Have the gradient of a batch of samples in the buffer; add to `total`."""
        counters = self.workspace.model.counters
        counters[N_UPDATES : N_UPDATES + 1] = self.done
        no_step, uncounted = np.zeros((1, 1)), np.zeros(1, np.int64)
        scale = 1 / weight if self.mean else 1.0
        first, mode = 0, batch.WRITE
        while first < len(part):
            rows = max(LEAST_ROWS, int(RUN_SECONDS / self.seconds_per_sample))
            rows = min(rows, self.workspace.n_rows, len(part) - first)
            data = part[first : first + rows].data()
            counters[FIRST_ROW : FIRST_ROW + 1] = first
            with workers() as n_workers:
                schedule = self.workspace.schedule(rows, n_workers)
                began = time.perf_counter()
                run(
                    self.workspace.model, data, schedule, 0, rows, rows, mode, scale,
                    no_step, total, uncounted,
                )  # fmt: skip
            self._timed(rows, began)
            first, mode = first + rows, batch.ACCUMULATE
            del data  # before the next block is converted
        counters[FIRST_ROW : FIRST_ROW + 1] = 0

    def _run_apply(
        self, data: batch.Data, n_rows: int, scale: float, row: np.ndarray, total: np.ndarray
    ) -> None:
        """Do one update from the gradient in the buffer; none where the one sample weighs 0."""
        with workers() as n_workers:
            schedule = self.workspace.schedule(1, n_workers, self._apply)
            run(
                self.workspace.model, data, schedule, 0, n_rows, 1, batch.WRITE_AND_APPLY, scale,
                row, total, self.done,
            )  # fmt: skip


def trainer_of(
    net: Network,
    w: np.ndarray,
    samples: Samples,
    settings: Settings,
    rng: np.random.Generator,
) -> SampleTrainer | BatchTrainer:
    """Return what does the updates that a solver's settings ask for."""
    n, size, rule = len(samples), settings.batch_size, settings.updates.rule
    size = n if size is None else min(validation.count("batch_size", size), n)
    dropout = dropout_of(net, settings.dropout, rng)
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
