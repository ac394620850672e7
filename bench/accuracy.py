"""Test scores of MLPClassifier and MLPRegressor beside those of scikit-learn's own classes.

python -m bench.accuracy [--data FOLDER] [--seeds 5] [--markdown]

For each data set and seed, both classes are fitted with the same settings, random_state and samples
(standardised, three quarters of them; MNIST: its own split, in [0, 1]) and score the others. The
table has means and standard deviations over the seeds, the largest difference of two scores of one
seed, and the largest difference of two parameters. Without --data, MNIST is left out.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from bench import mnist
from bench.estimators import MNIST_WIDTHS, OURS, PEER, classes
from bench.machine import machine
from bench.tables import aligned, markdown

Split = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
HEADING = [
    "", "settings", f"{OURS}: score", f"{PEER}: score", "scores differ by", "parameters differ by",
]  # fmt: skip
REGRESSION = ("diabetes",)
# Targets are large.
REGRESSION_RATES = {"adam": 0.01, "sgd": 0.001}


def toy(name: str, seed: int) -> Split:
    from sklearn import datasets
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=seed)
    scaler = StandardScaler().fit(X_train)
    return scaler.transform(X_train), scaler.transform(X_test), y_train, y_test


def digits(folder: str, seed: int) -> Split:
    """Return MNIST's own split, whatever the seed."""
    (X_train, y_train), (X_test, y_test) = (mnist.load(folder, part) for part in ("train", "t10k"))
    return X_train, X_test, y_train, y_test


def compare(
    name: str, split: Callable[[int], Split], seeds: range, settings: dict[str, Any]
) -> list[str]:
    """Fit and score both for each seed; return a line of the table."""
    scores: dict[str, list[float]] = {OURS: [], PEER: []}
    gaps = []
    for seed in seeds:
        X_train, X_test, y_train, y_test = split(seed)
        models = {}
        for contender in scores:
            model = classes(contender)[name in REGRESSION](random_state=seed, **settings)
            models[contender] = model.fit(X_train, y_train)
            scores[contender].append(model.score(X_test, y_test))
        pair = zip(*([*m.coefs_, *m.intercepts_] for m in models.values()), strict=True)
        gaps.append(max(float(np.abs(a - b).max()) for a, b in pair))
    differ = np.abs(np.subtract(scores[OURS], scores[PEER])).max()
    shown = [f"{np.mean(s):.4f} ({np.std(s):.4f})" for s in scores.values()]
    listed = ", ".join(f"{key}={value!r}" for key, value in settings.items())
    return [name, listed, *shown, f"{differ:.1e}", f"{max(gaps):.1e}"]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.accuracy",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", metavar="FOLDER", help="of MNIST's IDX files")
    parser.add_argument("--seeds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # that a fit has not converged
    print(machine(), flush=True)
    rows = []
    for name in ("iris", "wine", "breast_cancer", "digits", "diabetes"):
        for settings in (
            {"solver": "adam", "batch_size": 32, "max_iter": 50},
            {"solver": "sgd", "learning_rate_init": 0.01, "max_iter": 50},
            {"solver": "lbfgs", "max_iter": 30},
        ):
            more = settings
            if name in REGRESSION and settings["solver"] in REGRESSION_RATES:
                rate = REGRESSION_RATES[settings["solver"]]
                more = {**settings, "learning_rate_init": rate}
            rows.append(compare(name, partial(toy, name), range(args.seeds), more))
    if args.data is not None:
        settings = {"hidden_layer_sizes": MNIST_WIDTHS, "batch_size": 128, "max_iter": 5}
        rows.append(compare("MNIST", partial(digits, args.data), range(args.seeds), settings))
    print((markdown if args.markdown else aligned)([HEADING, *rows]))


if __name__ == "__main__":
    main()
