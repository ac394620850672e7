"""MLPClassifier and MLPRegressor beside scikit-learn's own, with the same settings and epochs.

python -m bench.estimators [--data FOLDER] [--tasks "iris fit" ...] [--rounds 7] [--markdown]

Each class does the whole call, checks of the data included, in a process of its own, with Numba's
cache filled. In each round both are measured, one after the other; ratios are of times of the same
round, since the machine's clock moves, and medians over rounds, with lowest and highest. Calls of
less than 0.2 s are repeated to fill that time.

MNIST is read from --data, a folder of its four IDX files; without it, its place is taken by random
numbers of the same shape. The table's last column shows that both have done the same: the loss
after the fit, or how many predictions are equal.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from bench import mnist
from bench.machine import machine
from bench.tables import aligned, duration, markdown, ratio
from bench.workers import Worker, known, measure_in_rounds

OURS, PEER = "fastmlp", "scikit-learn"
HEADING = ["", OURS, PEER, "scikit-learn / ours", "result of each"]
SHORTEST = 0.2
MNIST_WIDTHS = (256, 128)


def classes(name: str) -> tuple[Any, Any]:
    """Return the classifier and the regressor of a contender."""
    if name == OURS:
        import fastmlp

        return fastmlp.MLPClassifier, fastmlp.MLPRegressor
    from sklearn import neural_network

    return neural_network.MLPClassifier, neural_network.MLPRegressor


def images(folder: str | None, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Return MNIST's images, or as many random ones, and labels."""
    if folder is None:
        rng = np.random.default_rng(0)
        return rng.random((60_000, 784)).astype(dtype), rng.integers(10, size=60_000)
    return mnist.load(folder, dtype=dtype)


def toy(folder: str | None, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return one of scikit-learn's small data sets, standardised."""
    from sklearn import datasets
    from sklearn.preprocessing import StandardScaler

    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    return StandardScaler().fit_transform(X), y


Task = Callable[[str, str | None], Callable[[], float]]


def fit(contender: str, folder: str | None, load: Any, regression: bool = False, **settings: Any):
    """Return a function that fits and returns the loss."""
    X, y = load(folder)
    model = classes(contender)[regression](random_state=0, **settings)
    return lambda: model.fit(X, y).loss_


def predict(contender: str, folder: str | None, load: Any, n: int, method: str = "predict"):
    """Return a function that predicts n rows and returns a sum of them."""
    X, y = load(folder)
    widths = MNIST_WIDTHS if load.func is images else (100,)
    model = classes(contender)[0](widths, random_state=0, max_iter=1, batch_size=1000).fit(X, y)
    rows = X[:n]
    return lambda: float(np.sum(getattr(model, method)(rows)))


def partial_fit(contender: str, folder: str | None, load: Any, n: int) -> Callable[[], float]:
    """Return a function that does one partial_fit of n rows and returns the loss."""
    X, y = load(folder)
    X, y, labels = X[:n], y[:n], np.unique(y)
    model = classes(contender)[0](random_state=0)
    return lambda: model.partial_fit(X, y, classes=labels).loss_


def _mnist_tasks(dtype: str) -> dict[str, Task]:
    load = partial(images, dtype=dtype)
    fits = {"hidden_layer_sizes": MNIST_WIDTHS, "max_iter": 2}
    tasks: dict[str, Task] = {
        f"MNIST {dtype}, adam, batch {size}": partial(fit, load=load, batch_size=size, **fits)
        for size in (128, 32)
    }
    for n in (1, 1000, 60_000):
        tasks[f"MNIST {dtype}, predict {n}"] = partial(predict, load=load, n=n)
    return tasks


iris, diabetes = partial(toy, name="iris"), partial(toy, name="diabetes")
TASKS: dict[str, Task] = {
    **_mnist_tasks("float32"),
    **_mnist_tasks("float64"),
    "iris, fit": partial(fit, load=iris),
    "iris, fit, batch 32": partial(fit, load=iris, batch_size=32),
    "iris, fit, 1 epoch": partial(fit, load=iris, max_iter=1),
    "iris, fit, early stopping": partial(fit, load=iris, early_stopping=True),
    "iris, fit, lbfgs": partial(fit, load=iris, solver="lbfgs", max_iter=30),
    "iris, partial_fit 10": partial(partial_fit, load=iris, n=10),
    "iris, predict 1": partial(predict, load=iris, n=1),
    "iris, predict 150": partial(predict, load=iris, n=150),
    "iris, predict_proba 1": partial(predict, load=iris, n=1, method="predict_proba"),
    "diabetes, fit": partial(fit, load=diabetes, regression=True),
    "diabetes, fit, lbfgs": partial(
        fit, load=diabetes, regression=True, solver="lbfgs", max_iter=50
    ),
}


def make(contender: str, task: str, folder: str | None) -> Callable[[], tuple[float, float]]:
    """Return a function that measures the seconds of a call; with its result."""
    warnings.simplefilter("ignore")  # that a fit has not converged
    call = TASKS[task](contender, folder)
    result = call()
    began = time.perf_counter()
    call()
    n_calls = max(1, round(SHORTEST / (time.perf_counter() - began)))

    def measure() -> tuple[float, float]:
        began = time.perf_counter()
        for _ in range(n_calls):
            call()
        return (time.perf_counter() - began) / n_calls, result

    return measure


def measure(
    task: str, folder: str | None, rounds: int
) -> tuple[dict[str, list[tuple[float, float]]], dict[str, str]]:
    """Return seconds and result of each round by contender, and why others have failed."""
    workers = [Worker(name, make, (name, task, folder)) for name in (OURS, PEER)]
    measure_in_rounds(workers, rounds)
    return known(workers)


def row(task: str, folder: str | None, rounds: int) -> list[str]:
    """Measure a task; return a line of the table."""
    found, failures = measure(task, folder, rounds)
    if failures:
        return [task, *(f"{name}: {failure}" for name, failure in failures.items())]
    ours, peer = ([seconds for seconds, _ in rates] for rates in found.values())
    results = ", ".join(f"{rates[0][1]:.6g}" for rates in found.values())
    times = (duration(statistics.median(each)) for each in (ours, peer))
    return [task, *times, ratio(peer, ours), results]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.estimators",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", metavar="FOLDER", help="of MNIST's IDX files")
    parser.add_argument("--tasks", nargs="+", metavar="TEXT", help="those with such texts in them")
    parser.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error("--rounds must be at least 1")
    chosen = [t for t in TASKS if args.tasks is None or any(part in t for part in args.tasks)]
    print(machine(), flush=True)
    rows = []
    for task in chosen:
        rows.append(row(task, args.data, args.rounds))
        print("  ".join(rows[-1]), file=sys.stderr, flush=True)
    print((markdown if args.markdown else aligned)([HEADING, *rows]))


if __name__ == "__main__":
    main()
