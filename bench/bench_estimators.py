"""The asv suite of the estimators: whole calls, small ones above all."""

from __future__ import annotations

import warnings

import numpy as np

import fastmlp as fm
from bench.works import unless_small

ROWS = unless_small((1, 1000, 60_000), (1,))
WIDTHS = ("4-100-3", "784-256-128-10")
PREDICTED = unless_small(WIDTHS, WIDTHS[:1])


def samples(widths: str, n: int, dtype: str = "float64") -> tuple[np.ndarray, np.ndarray]:
    """Return n random samples for a network of these widths."""
    sizes = [int(width) for width in widths.split("-")]
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, sizes[0])).astype(dtype), rng.integers(sizes[-1], size=n)


def classifier(widths: str, **parameters: object) -> fm.MLPClassifier:
    hidden = tuple(int(width) for width in widths.split("-")[1:-1])
    return fm.MLPClassifier(hidden, random_state=0, **parameters)


class Fit:
    """Fits of 150 samples by each kind of solver, and of 10,000 images."""

    params = unless_small(("adam", "sgd", "lbfgs", "gd"), ("adam",))
    param_names = ("solver",)
    repeat = (5, 50, 2.0)

    def setup(self, solver):
        warnings.simplefilter("ignore")  # that it has not converged
        self.small = samples(WIDTHS[0], 150)
        self.images = samples(WIDTHS[1], unless_small(10_000, 500), "float32")
        self.time_fit_small(solver)  # compiles

    def time_fit_small(self, solver):
        classifier(WIDTHS[0], solver=solver, max_iter=30).fit(*self.small)

    def time_fit_images(self, solver):
        classifier(WIDTHS[1], solver=solver, max_iter=1).fit(*self.images)


class PartialFit:
    """One call of `partial_fit` after another."""

    repeat = (5, 50, 2.0)

    def setup(self):
        self.X, self.y = samples(WIDTHS[0], 10)
        self.model = classifier(WIDTHS[0]).partial_fit(self.X, self.y, classes=np.arange(3))

    def time_partial_fit(self):
        self.model.partial_fit(self.X, self.y)


class Predict:
    """Predictions of few rows and of many."""

    params = (PREDICTED, ROWS)
    param_names = ("widths", "rows")
    repeat = (5, 50, 2.0)

    def setup(self, widths, rows):
        warnings.simplefilter("ignore")
        self.model = classifier(widths, max_iter=1).fit(*samples(widths, 300))
        self.X, _ = samples(widths, rows)
        self.model.predict(self.X)

    def time_predict(self, widths, rows):
        self.model.predict(self.X)

    def time_predict_proba(self, widths, rows):
        self.model.predict_proba(self.X)
