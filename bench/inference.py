"""How fast contenders predict: the probabilities of 60,000 rows, of 1,000, of one.

Each contender is given the same parameters, and rows in its own kind of array, and
returns a NumPy array; a call is repeated to fill about 0.3 s, and its time is the median of these.
Peers may pass many rows in chunks of the size that is fastest here. Whether all compute the same is
checked by the largest difference of a probability from float64 in plain NumPy, on 1,000 rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from bench.contenders import OURS, missing
from bench.equal_work import outputs
from bench.outcomes import Outcome
from bench.training import Jax, ScikitLearn, Torch
from bench.workers import Worker, known, measure_in_rounds, peak
from bench.works import WORKS, Work, use_all_cores

ROWS = (60_000, 1_000, 1)
NETWORKS = ("mnist", "large", "small")
WORK_NAMES = tuple(f"{name}-{n}" for name in NETWORKS for n in ROWS)
CHUNKS = (1_000, 4_000, 15_000)
SECONDS = 0.3
# The largest difference of a probability: what float32 allows.
TOLERANCE = 1e-4

Predict = Callable[[Any], np.ndarray]
OUR_CLASS = f"{OURS} MLPClassifier"


def rows_of(work: Work, n: int) -> np.ndarray:
    rng = np.random.default_rng(1)
    return rng.standard_normal((n, work.widths[0]), dtype=np.float32)


def network(work: Work, X: np.ndarray) -> tuple[Predict, Any]:
    use_all_cores()
    net = work.network
    w = work.flat_start()
    return lambda rows: net.predict(w, rows), X


def our_class(work: Work, X: np.ndarray) -> tuple[Predict, Any]:
    from fastmlp import MLPClassifier

    use_all_cores()
    model = MLPClassifier(work.widths[1:-1], batch_size=work.batch_size, max_iter=1)
    samples, labels = work.data()
    model.partial_fit(samples[:10], labels[:10], classes=np.arange(work.widths[-1]))
    for parts, values in zip((model.coefs_, model.intercepts_), zip(*work.start(), strict=True),
                             strict=True):  # fmt: skip
        for part, value in zip(parts, values, strict=True):
            part[...] = value
    return model.predict_proba, X


def scikit_learn(work: Work, X: np.ndarray) -> tuple[Predict, Any]:
    return ScikitLearn(work).model.predict_proba, X


def torch(work: Work, X: np.ndarray) -> tuple[Predict, Any]:
    it = Torch(work)
    softmax = it.torch.nn.Sequential(it.model, it.torch.nn.Softmax(dim=1)).eval()

    def predict(rows: Any) -> np.ndarray:
        with it.torch.inference_mode():
            return softmax(rows).numpy()

    return predict, it.torch.from_numpy(X)


def torch_compiled(work: Work, X: np.ndarray) -> tuple[Predict, Any]:
    """Return the faster, on some rows, of the default mode and of autotuned, frozen parameters."""
    it = Torch(work)
    softmax = it.torch.nn.Sequential(it.model, it.torch.nn.Softmax(dim=1)).eval()
    rows = it.torch.from_numpy(X)
    ways, times = [], []
    for options in ({}, {"freezing": True, "max_autotune": True}):
        compiled = it.torch.compile(softmax, options=options, dynamic=False)

        def predict(rows: Any, compiled: Any = compiled) -> np.ndarray:
            with it.torch.no_grad():  # inductor's constants are not made in inference mode
                return compiled(rows).numpy()

        ways.append(predict)
        predict(some := rows[: CHUNKS[0]])
        times.append(min(once(predict, some) for _ in range(5)))
    return ways[int(np.argmin(times))], rows


def jax_jit(work: Work, X: np.ndarray) -> tuple[Predict, Any]:
    it = Jax(work)
    parameters = it.trained[0]
    forward = it.jax.jit(lambda parameters, X: it.jax.nn.softmax(it.logits(parameters, X)))
    return lambda rows: np.asarray(forward(parameters, rows)), it.jnp.asarray(X)


# By the name that tables show: how it is made, and the contender of `bench.contenders` it is of.
PREDICTORS: dict[str, tuple[Callable[[Work, np.ndarray], tuple[Predict, Any]], str]] = {
    OURS: (network, OURS),
    OUR_CLASS: (our_class, OURS),
    "scikit-learn": (scikit_learn, "scikit-learn"),
    "torch eager": (torch, "torch eager"),
    "torch.compile": (torch_compiled, "torch.compile"),
    "JAX": (jax_jit, "JAX"),
}


def chunked(predict: Predict, size: int) -> Predict:
    """Return the function, passing so many rows at once, whose number is a multiple or less."""

    def predict_all(X: Any) -> np.ndarray:
        if len(X) <= size:
            return predict(X)
        return np.concatenate([predict(X[i : i + size]) for i in range(0, len(X), size)])

    return predict_all


def once(predict: Predict, X: Any) -> float:
    began = time.perf_counter()
    predict(X)
    return time.perf_counter() - began


def fastest(predict: Predict, X: Any) -> Predict:
    """Return the function with the chunks that are fastest on these rows."""
    sizes = [len(X), *(size for size in CHUNKS if size < len(X))]
    ways = [chunked(predict, size) for size in sizes]
    times = []
    for way, size in zip(ways, sizes, strict=True):
        way(X[:size])  # compiles for this shape
        times.append(once(way, X))
    return ways[int(np.argmin(times))]


def make(name: str, work: Work, n: int) -> Callable[[], tuple[float, float]]:
    """Return a function that measures the seconds of a call; with its largest error."""
    X = rows_of(work, n)
    few = X[: min(n, 1_000)]
    predict, rows = PREDICTORS[name][0](work, X)
    error = float(np.abs(predict(rows[: len(few)]) - probabilities(work, few)).max())
    if PREDICTORS[name][1] != OURS and n > CHUNKS[0]:
        predict = fastest(predict, rows)
    predict(rows)
    n_calls = max(1, round(SECONDS / once(predict, rows)))

    def measure() -> tuple[float, float]:
        return median(once(predict, rows) for _ in range(n_calls)), error

    return measure


def probabilities(work: Work, X: np.ndarray) -> np.ndarray:
    Z = outputs(work.start(), X, work.hidden)
    powers = np.exp(Z - Z.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def measure(work_name: str, names: list[str], rounds: int) -> Outcome:
    """Return what these contenders take for a network and a number of rows, as "mnist-1000"."""
    name, _, rows = work_name.partition("-")
    work, n = WORKS[name], int(rows)
    chosen = [each for each, (_, of) in PREDICTORS.items() if of in names and not missing(of)]
    workers = [Worker(each, make, (each, work, n)) for each in chosen]
    measure_in_rounds([*workers, top := Worker("peak", peak, ())], rounds)
    found, failures = known(workers)
    errors = {each: rates[0][1] for each, rates in found.items()}
    widths = "-".join(map(str, work.widths))
    return Outcome(
        "inference", work_name, f"{name}: {widths}, {n:,} row{'s' if n > 1 else ''}", "s",
        {each: [seconds for seconds, _ in rates] for each, rates in found.items()},
        failures, work.flops_of_prediction * n, top.rates,
        "largest error", errors,
        frozenset(each for each, error in errors.items() if not error <= TOLERANCE),
    )  # fmt: skip
