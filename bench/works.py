"""The works that speed is measured on: networks, batch sizes and numbers of samples.

The samples are random numbers: they show speed, and nothing else. All train float32 networks on
softmax cross-entropy, by plain SGD and with ReLU unless told otherwise.
"""

from __future__ import annotations

import os
import statistics
import time
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

import fastmlp as fm

STEP = 1e-3
# Where this is set, benchmarks are only to be seen running: works are few and small, times idle.
SMALL = bool(os.environ.get("FASTMLP_BENCH_SMALL"))
# A measurement shorter than about this says more about the scheduler than about the code.
SECONDS = 0.01 if SMALL else 0.4


@dataclass(frozen=True)
class Work:
    """Train a network of these widths for whole epochs over so many random samples."""

    name: str
    widths: tuple[int, ...]
    batch_size: int
    n_samples: int
    hidden: str = "relu"
    rule: str = "sgd"

    def __str__(self) -> str:
        return f"{self.name}: {'-'.join(map(str, self.widths))}, batch {self.batch_size}"

    @property
    def flops_per_sample(self) -> int:
        """Flops in the matrix products of a training step: three products for each layer,
        but two for the first, whose inputs need no gradient."""
        products = [n_in * n_out for n_in, n_out in pairwise(self.widths)]
        return 6 * sum(products) - 2 * products[0]

    @property
    def flops_of_prediction(self) -> int:
        """Flops in the matrix products of a sample's forward pass."""
        return 2 * sum(n_in * n_out for n_in, n_out in pairwise(self.widths))

    @property
    def n_in_whole_batches(self) -> int:
        return self.n_samples // self.batch_size * self.batch_size

    def whole(self) -> Work:
        """Return the work without the samples of an epoch's last, smaller batch."""
        return replace(self, n_samples=self.n_in_whole_batches)

    @property
    def network(self) -> fm.Network:
        return fm.Network(self.widths, hidden=self.hidden, output="softmax")

    def start(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return weights (n_in, n_out) and biases of each layer that all contenders start from."""
        net = self.network
        w = net.init(rng=0)
        return list(zip(net.weights(w), net.biases(w), strict=True))

    def flat_start(self) -> np.ndarray:
        """Return the same as fastmlp's flat vector."""
        return np.concatenate([part.ravel() for layer in self.start() for part in layer])

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Return X (n_samples, n_0) float32 and labels (n_samples,) int64."""
        rng = np.random.default_rng(0)
        X = rng.standard_normal((self.n_samples, self.widths[0]), dtype=np.float32)
        return X, rng.integers(0, self.widths[-1], self.n_samples)


def unless_small(usual: Any, small: Any) -> Any:
    """Return the first, or the second where benchmarks are only to be seen running."""
    return small if SMALL else usual


WORKS = {
    work.name: replace(work, n_samples=unless_small(work.n_samples, 2 * work.batch_size))
    for work in (
        Work("tiny", (2, 16, 2), 1, 2000),
        Work("small", (54, 64, 32, 7), 32, 20000),
        Work("higgs", (28, 300, 300, 300, 300, 2), 100, 20000),
        Work("mnist", (784, 256, 128, 10), 128, 20000),
        Work("large", (784, 2048, 2048, 10), 512, 8192),
        Work("wide", (784, 4096, 4096, 4096, 10), 256, 2048),
    )
}


def n_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def use_all_cores() -> None:
    """Have fastmlp use as many threads in this process."""
    import numba

    numba.set_num_threads(min(n_cores(), numba.config.NUMBA_NUM_THREADS))


class Ours:
    """fastmlp on a work: one call of the solver, its own overhead and shuffling included.

    Further options go to the solver.
    """

    def __init__(self, work: Work, **options: Any) -> None:
        self.work, self.options = work, options
        self.result: Any = None

    @cached_property
    def _arguments(self) -> tuple[fm.Network, np.ndarray, np.ndarray, np.ndarray]:
        net = self.work.network
        return net, *self.work.data(), self.work.flat_start()

    def restart(self) -> None:
        """Every call starts from the start."""

    def __call__(self, epochs: int, order: str = "shuffled") -> int:
        """Train for so many epochs; return how many samples were trained on."""
        options = {"step": STEP, "epochs": epochs, "rng": 0, "progress": False, "order": order}
        if self.work.rule != "sgd":
            options["rule"] = self.work.rule
        options |= self.options
        if self.work.batch_size > 1:
            options["batch_size"] = self.work.batch_size
        solver = fm.sgd if self.work.batch_size == 1 else fm.minibatch_sgd
        self.result = solver(*self._arguments, **options)
        assert self.result.success, self.result.message
        return epochs * self.work.n_samples

    def layers(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return weights and biases of each layer, where the last call ended."""
        net, w = self._arguments[0], self.result.x
        return list(zip(net.weights(w), net.biases(w), strict=True))

    def loss(self) -> float:
        """Return the mean loss over all samples: at the start, or where the last call ended."""
        net, X, y, w = self._arguments
        return net.loss(w if self.result is None else self.result.x, X, y)


def timed(train, epochs: int) -> tuple[float, int]:
    """Train for so many epochs; return the seconds it took and the samples trained on."""
    began = time.perf_counter()
    n_samples = train(epochs)
    return time.perf_counter() - began, n_samples


def epochs_for(train, seconds: float = SECONDS, warm: bool = False) -> int:
    """Warm up, and return for how many epochs to train so that it takes about so long."""
    if not warm:
        train(1)
    epochs = 1
    while (elapsed := timed(train, epochs)[0]) < 0.8 * seconds:
        epochs = min(10 * epochs, round(np.ceil(epochs * seconds / elapsed)))
    return epochs


def samples_per_second(train, repeats: int = 3) -> float:
    """Return the median rate of several measurements."""
    epochs = epochs_for(train)
    measurements = [timed(train, epochs) for _ in range(repeats)]
    return statistics.median(n_samples / elapsed for elapsed, n_samples in measurements)
