"""fastmlp and its peers on a work: what each is, when it is written as its users write it.

A contender is made for a work and is then called with a number of epochs. It trains for them on
all samples in a new order each, and returns how many samples that were. It can `restart()`, and
its `layers()` are the weights and biases of each layer. Every contender gets float32 samples and
all cores, and starts from the same parameters.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

from bench.training import Jax, Layers, ScikitLearn, Torch
from bench.works import Ours, Work, use_all_cores


class Contender(Protocol):
    def __call__(self, epochs: int) -> int: ...

    def restart(self) -> None: ...

    def layers(self) -> Layers: ...


def fastmlp(work: Work, **options: Any) -> Ours:
    use_all_cores()
    return Ours(work, **options)


def torch(work: Work, **options: Any) -> Torch:
    train = Torch(work, **options)
    train.use_fastest()
    return train


def jax(work: Work) -> Jax:
    train = Jax(work)
    train.use_fastest()
    return train


class Entry(NamedTuple):
    """How to make a contender, and the package it needs: as imported, and as installed."""

    make: Callable[[Work], Contender]
    module: str
    package: str


OURS, EAGER, BF16, JAX = "fastmlp", "torch eager", "torch bf16", "JAX"
# By the name that tables show.
CONTENDERS = {
    OURS: Entry(fastmlp, "fastmlp", "fastmlp"),
    "scikit-learn": Entry(ScikitLearn, "sklearn", "scikit-learn"),
    EAGER: Entry(torch, "torch", "torch"),
    "torch.compile": Entry(partial(torch, forms=("compiled", "model compiled")), "torch", "torch"),
    BF16: Entry(partial(torch, forms=("eager", "compiled"), bf16=True), "torch", "torch"),
    JAX: Entry(jax, "jax", "jax"),
}


def missing(name: str) -> str:
    """Return why the contender cannot take part, or nothing."""
    entry = CONTENDERS[name]
    if importlib.util.find_spec(entry.module) is None:
        return f"{entry.package} is not installed"
    return ""
