"""fastmlp and its peers on a work: what each is, when it is written as its users write it.

A contender is made for a work and is then called with a number of epochs. It trains for them on
all samples in a new order each, and returns how many samples that were. Every peer gets float32
samples, all cores, and plain SGD; each but scikit-learn leaves out an epoch's last, smaller batch,
which would cost it a second compilation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from bench.training import Jax, Torch
from bench.works import STEP, Ours, Work, n_cores

Contender = Callable[[int], int]


def fastmlp(work: Work, **options: Any) -> Ours:
    import numba

    numba.set_num_threads(min(n_cores(), numba.config.NUMBA_NUM_THREADS))
    return Ours(work, **options)


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


def torch_eager(work: Work) -> Contender:
    return Torch(work)


def torch_compile(work: Work) -> Contender:
    return Torch(work, compiled=True)


def jax_scan(work: Work) -> Contender:
    return Jax(work)


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
