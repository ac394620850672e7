"""`fastmlp demo`: train on handwritten digits, to see that all works."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

import fastmlp

if TYPE_CHECKING:
    import numpy as np


def demo(
    seed: Annotated[int, typer.Option(min=0, help="Seed of split, parameters and order.")] = 0,
) -> None:
    """Train on scikit-learn's handwritten digits by SGD and by mini-batch SGD, and compare."""
    console = Console(highlight=False, soft_wrap=True)
    X, y, X_test, y_test = _digits(seed)
    net = fastmlp.Network([64, 256, 10], hidden="relu", output="softmax")
    w = net.init(rng=seed)
    console.print(
        f"{len(X)} handwritten digits of 8 x 8 pixels to train on, {len(X_test)} to test.\n"
        f"{net.n_params} parameters: {net}"
    )
    methods: list[tuple[str, Any, dict[str, Any]]] = [
        ("sgd", fastmlp.sgd, {"step": 0.02, "epochs": 30}),
        ("minibatch_sgd", fastmlp.minibatch_sgd, {"batch_size": 16, "step": 0.2, "epochs": 60}),
    ]
    with console.status("Compiling the kernels (once; later runs find them on disk) ..."):
        began = time.perf_counter()
        for _, solver, settings in methods:
            solver(net, X[:64], y[:64], w, **{**settings, "epochs": 1}, rng=seed)
        net.predict(w, X_test)
        console.print(f"Kernels ready after {time.perf_counter() - began:.1f} s.\n")

    table = Table()
    table.add_column("solver", no_wrap=True)
    columns = ("batch", "epochs", "training loss", "test accuracy", "samples/s")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for name, solver, settings in methods:
        result = solver(net, X, y, w, **settings, rng=seed, progress=False)
        accuracy = (net.predict(result.x, X_test).argmax(axis=1) == y_test).mean()
        seconds = result.history.seconds[-1]
        table.add_row(
            name,
            f"{settings.get('batch_size', 1)}",
            f"{result.n_epochs}",
            f"{result.history.loss[-1]:.4f}",
            f"{accuracy:.1%}",
            f"{result.n_epochs * len(X) / seconds:,.0f}",
        )
    console.print(table)


def _digits(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return scikit-learn's bundled digits, scaled to [0, 1]: X, y, X_test, y_test."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(
        X.astype("float32") / 16, y, test_size=0.2, stratify=y, random_state=seed
    )
    return X, y, X_test, y_test
