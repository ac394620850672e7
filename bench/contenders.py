"""fastmlp and its peers on a work: what each is, when it is written as its users write it.

A contender is made for a work and is then called with a number of epochs. It trains for them on
all samples in a new order each, and returns how many samples that were. Every peer gets float32
samples, all cores, and plain SGD; each but scikit-learn leaves out an epoch's last, smaller batch,
which would cost it a second compilation.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from bench.works import STEP, Ours, Work, n_cores

Contender = Callable[[int], int]


def fastmlp(work: Work) -> Contender:
    import numba

    numba.set_num_threads(min(n_cores(), numba.config.NUMBA_NUM_THREADS))
    return Ours(work)


def scikit_learn(work: Work) -> Contender:
    from sklearn.neural_network import MLPClassifier

    X, y = work.data()

    def train(epochs: int) -> int:
        model = MLPClassifier(
            work.widths[1:-1], solver="sgd", momentum=0.0, nesterovs_momentum=False, alpha=0.0,
            batch_size=work.batch_size, learning_rate_init=STEP,
            max_iter=epochs, n_iter_no_change=epochs + 1,
        )  # fmt: skip
        model.fit(X, y)
        assert model.n_iter_ == epochs
        return epochs * len(X)

    return train


def torch_eager(work: Work, compiled: bool = False) -> Contender:
    import torch
    from torch import nn

    torch.set_num_threads(n_cores())
    X, y = map(torch.from_numpy, work.data())
    layers = [nn.Linear(n_in, n_out) for n_in, n_out in pairwise(work.widths)]
    hidden = [part for layer in layers[:-1] for part in (layer, nn.ReLU())]
    model = nn.Sequential(*hidden, layers[-1])
    optimizer = torch.optim.SGD(model.parameters(), lr=STEP)
    loss = nn.CrossEntropyLoss()
    predict = torch.compile(model) if compiled else model
    n, size = work.n_samples // work.batch_size * work.batch_size, work.batch_size

    def train(epochs: int) -> int:
        for _ in range(epochs):
            order = torch.randperm(len(X))
            for start in range(0, n, size):
                batch = order[start : start + size]
                optimizer.zero_grad(set_to_none=True)
                loss(predict(X[batch]), y[batch]).backward()
                optimizer.step()
        return epochs * n

    return train


def torch_compile(work: Work) -> Contender:
    return torch_eager(work, compiled=True)


def jax_scan(work: Work) -> Contender:
    """An epoch is one compiled call: a scan over its batches."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_platforms", "cpu")
    X, y = work.data()
    X, y = jnp.asarray(X), jnp.asarray(y.astype(np.int32))
    rng = np.random.default_rng(0)
    shapes = pairwise(work.widths)
    parameters = [
        (jnp.asarray(rng.normal(0, np.sqrt(2 / a), (a, b)), jnp.float32), jnp.zeros(b))
        for a, b in shapes
    ]
    n, size = work.n_samples // work.batch_size * work.batch_size, work.batch_size

    def loss(parameters, X, y):
        *hidden, (W_last, b_last) = parameters
        for W, b in hidden:
            X = jax.nn.relu(X @ W + b)
        log_p = jax.nn.log_softmax(X @ W_last + b_last)
        # Faster, where batches are small, than picking out the label's entry.
        return -jnp.mean(jnp.sum(log_p * jax.nn.one_hot(y, work.widths[-1]), axis=1))

    @jax.jit
    def epoch(parameters, X, y, batches):
        def update(parameters, batch):
            gradient = jax.grad(loss)(parameters, X[batch], y[batch])
            return jax.tree.map(lambda w, g: w - STEP * g, parameters, gradient), None

        return jax.lax.scan(update, parameters, batches)[0]

    def train(epochs: int) -> int:
        nonlocal parameters
        for _ in range(epochs):
            batches = rng.permutation(len(X))[:n].reshape(-1, size).astype(np.int32)
            parameters = jax.block_until_ready(epoch(parameters, X, y, jnp.asarray(batches)))
        return epochs * n

    return train


class Entry(NamedTuple):
    """How to make a contender, and the package it needs: as imported, and as installed."""

    make: Callable[[Work], Contender]
    module: str
    package: str


OURS, EAGER = "fastmlp", "torch eager"
# By the name that tables show.
CONTENDERS = {
    OURS: Entry(fastmlp, "fastmlp", "fastmlp"),
    "scikit-learn": Entry(scikit_learn, "sklearn", "scikit-learn"),
    EAGER: Entry(torch_eager, "torch", "torch"),
    "torch.compile": Entry(torch_compile, "torch", "torch"),
    "JAX": Entry(jax_scan, "jax", "jax"),
}
PEERS = [name for name in CONTENDERS if name != OURS]
