"""The phases of batches, ready to be called one by one: see `bench.kernel_calls`."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

import fastmlp as fm
from bench.call import Call


class _Batches:
    """One batch of random samples, for whose workspace phases are done over and over."""

    # Repeats take an index of so many rows at most; longer runs are several.
    MOST_ROWS = 2**16

    def __init__(
        self, net: fm.Network, n_rows: int, purpose: str = "gradient", threads: int = 1,
        updates: Any = None,
    ) -> None:  # fmt: skip
        from fastmlp.workspace import Workspace, parameter_buffer, samples

        rng = np.random.default_rng(0)
        self.n_rows, self.threads, self.updates = n_rows, threads, updates
        self.w = parameter_buffer(net.init(rng=0), net.dtype)
        gradient = (rng.standard_normal(net.n_params) / 100).astype(net.dtype)
        self.workspace = Workspace(net, n_rows, self.w, purpose, gradient=gradient)
        if updates is not None and not updates.is_plain:
            n_vectors = updates.rule.n_states + 2 * (updates.average_from is not None)
            self.workspace.begin_updates(updates.rule.code, n_vectors)
        self.most_times = max(1, self.MOST_ROWS // n_rows)
        X = rng.standard_normal((n_rows, net.widths[0])).astype(net.dtype)
        y: Any = rng.uniform(size=(n_rows, net.widths[-1])).astype(net.dtype)
        if str(net.loss_function) == "cross_entropy" or net.activations[-1] == "softmax":
            y = rng.integers(0, net.widths[-1], n_rows)
        index = np.tile(np.arange(n_rows), self.most_times)
        self.data = samples(net, X, y, index)

    def run(self, phases: Any, mode: int, step: float, n_times: int) -> None:
        """Do the phases for the batch so many times."""
        from fastmlp.kernels.batch import N_TOTALS
        from fastmlp.kernels.steps import run
        from fastmlp.threads import limited, workers

        with limited(self.threads), workers() as n_workers:
            schedule = self.workspace.schedule(self.n_rows, n_workers, phases)
            while n_times > 0:
                n = min(n_times, self.most_times)
                table = np.full((n, 1), step)
                if self.updates is not None:
                    table = self.updates.table(table[:, 0], 0)
                done = np.zeros(1, np.int64)
                run(
                    self.workspace.model, self.data, schedule, 0, n * self.n_rows, self.n_rows,
                    mode, 1 / self.n_rows, table, np.zeros(N_TOTALS), done,
                )  # fmt: skip
                if done[0] != n:
                    raise ArithmeticError(f"{done[0]} of {n} batches were done: it diverged")
                n_times -= n


def _phases_call(
    batches: _Batches, phases: Any, mode: int, flops: int, numbers: int, elements: int,
    step: float = 0.0,
) -> Call:  # fmt: skip
    def repeat(n_times: int) -> None:
        batches.run(phases, mode, step, n_times)

    model = batches.workspace.model
    changed = (batches.w, model.states, model.gradient) if step else ()
    return Call(repeat, flops, numbers * batches.w.itemsize, elements, changed)


LAYER_PHASES = ("gather", "forward", "backward", "weight gradient", "update")


def layer_call(
    name: str, n_in: int, n_out: int, batch_size: int, dtype: str = "float32", threads: int = 1,
    activation: str = "relu",
) -> Call:  # fmt: skip
    """Return a phase of a batch for a hidden layer, n_in to n_out.

    "update" is the weights' gradient with plain SGD's update fused in.
    """
    from fastmlp.kernels import batch

    # Layers of one neuron before and behind: the phases of hidden layers have most to do.
    widths = [n_in, 1, 1] if name == "gather" else [1, n_in, n_out, 1]
    net = fm.Network(widths, hidden=activation, dtype=dtype)
    batches = _Batches(net, batch_size, threads=threads)
    batches.run(None, batch.WRITE, 0.0, 1)  # fills all that a phase may read
    products, A, D = 2 * batch_size * n_in * n_out, batch_size * n_in, batch_size * n_out
    W = n_in * n_out
    phase, mode, flops, numbers, elements = {
        "gather": ((batch.GATHER, 0), batch.WRITE, 0, 2 * A, A),
        "forward": ((batch.FORWARD, 1), batch.WRITE, products, A + W + D, D),
        "backward": ((batch.BACKWARD, 1), batch.WRITE, products, D + W + 2 * A, A),
        "weight gradient": ((batch.WEIGHTS, 1), batch.WRITE, products, A + D + W, W),
        "update": ((batch.WEIGHTS, 1), batch.UPDATE, products, A + D + 2 * W, W),
    }[name]
    step = 1e-6 if name == "update" else 0.0
    return _phases_call(batches, (phase,), mode, flops, numbers, elements, step)


LOSSES = (
    "squared_error", "half_squared_error", "binary_cross_entropy", "cross_entropy",
    "absolute_error", "huber", "log_cosh", "quantile", "hinge", "perceptron", "poisson",
)  # fmt: skip


def loss_call(
    name: str, n_out: int, batch_size: int, dtype: str = "float32", threads: int = 1
) -> Call:
    """Return the phase that computes a batch's losses and output deltas; flops are not counted."""
    from fastmlp.kernels import batch

    output = {"binary_cross_entropy": "sigmoid", "cross_entropy": "softmax", "poisson": "exp"}
    net = fm.Network([1, n_out], output=output.get(name, "identity"), loss=name, dtype=dtype)
    batches = _Batches(net, batch_size, threads=threads)
    batches.run(None, batch.WRITE, 0.0, 1)
    D = batch_size * n_out
    numbers = 2 * D if name == "cross_entropy" else 3 * D  # labels are one number a row
    return _phases_call(batches, ((batch.LOSS, 0),), batch.WRITE, 0, numbers, D)


NETWORK_PASSES = ("predict", "loss", "backward", "gradient", "step")


def network_call(
    name: str, widths: tuple[int, ...], batch_size: int, dtype: str = "float32", threads: int = 1
) -> Call:
    """Return a pass of a batch through a classifier with ReLUs.

    "backward" is what the gradient takes besides the loss; "step" a gradient with plain SGD's
    update fused in. Elements are samples.
    """
    from fastmlp.kernels import batch
    from fastmlp.workspace import backward, program

    net = fm.Network(list(widths), output="softmax", dtype=dtype)
    batches = _Batches(net, batch_size, "predict" if name == "predict" else "gradient", threads)
    batches.run(None, batch.WRITE, 0.0, 1)
    products = [n_in * n_out for n_in, n_out in pairwise(widths)]
    forward = 2 * batch_size * sum(products)
    back = 4 * batch_size * sum(products) - 2 * batch_size * products[0]
    inner = batch_size * sum(widths[1:])
    read, written = batch_size * widths[0] + sum(products), inner
    flops, numbers = {
        "predict": (forward, read + written),
        "loss": (forward, read + written),
        "backward": (back, read + sum(products) + 2 * inner),
        "gradient": (forward + back, 2 * read + sum(products) + 3 * inner),
        "step": (forward + back, 2 * read + sum(products) + 3 * inner),
    }[name]
    phases = {
        "backward": backward(net),
        "loss": program(net, "loss"),
        "predict": program(net, "predict"),
    }.get(name, program(net, "gradient"))
    mode = batch.UPDATE if name == "step" else batch.WRITE
    step = 1e-6 if name == "step" else 0.0
    return _phases_call(batches, phases, mode, flops, numbers, batch_size, step)


# Updates -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Update:
    """A rule and its parameters, what there is besides, the phase, and flops of a number."""

    flops: int
    rule: str = "sgd"
    parameters: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    phase: str = "APPLY"


UPDATES = {
    "sgd": _Update(2),
    "momentum": _Update(4, "momentum"),
    "nesterov": _Update(6, "nesterov"),
    "adagrad": _Update(7, "adagrad"),
    "rmsprop": _Update(9, "rmsprop"),
    "rmsprop, momentum": _Update(11, "rmsprop", {"momentum": 0.9}),
    "rmsprop, centered": _Update(14, "rmsprop", {"centered": True}),
    "rmsprop, centered, momentum": _Update(16, "rmsprop", {"centered": True, "momentum": 0.9}),
    "adam": _Update(13, "adam"),
    "amsgrad": _Update(13, "amsgrad"),
    "adamw": _Update(14, "adamw"),
    "rprop": _Update(5, "rprop"),
    "sgd, l2": _Update(7, options={"l2": 1e-4}),
    "sgd, clip_value": _Update(7, options={"clip_value": 1.0}),
    "norm of the gradient": _Update(2, options={"clip_norm": 1.0}, phase="SQUARES"),
    "max_norm": _Update(2, options={"max_norm": 1e3}, phase="MAX_NORM"),
    "average": _Update(6, options={"average": True}, phase="AVERAGE"),
}


def update_call(name: str, n_in: int, n_out: int, dtype: str = "float32", threads: int = 1) -> Call:
    """Return the update of one layer's weights and biases from a gradient that is there.

    The last three of UPDATES are what may come before or after an update, alone.
    """
    from fastmlp.kernels import batch
    from fastmlp.solvers.rules import RULES
    from fastmlp.solvers.updates import updates

    update = UPDATES[name]
    settings: dict[str, Any] = dict.fromkeys(("clip_value", "clip_norm", "max_norm"))
    settings |= {"l1": 0.0, "l2": 0.0, "average": False, **update.options}
    made = updates(rule=RULES[update.rule](**update.parameters), **settings)
    net = fm.Network([n_in, n_out], dtype=dtype)
    batches = _Batches(net, 1, threads=threads, updates=made)
    n, n_states = net.n_params, made.rule.n_states
    numbers = {"APPLY": 3 + 2 * n_states, "SQUARES": 1, "MAX_NORM": 1, "AVERAGE": 5}[update.phase]
    if name.startswith("sgd, "):
        numbers += 2  # the gradient is changed first, in a pass of its own
    phases = ((getattr(batch, update.phase), 0),)
    return _phases_call(batches, phases, batch.WRITE, update.flops * n, numbers * n, n, 1e-3)
