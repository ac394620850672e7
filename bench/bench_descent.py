"""The asv suite of full gradient descent: what a pass, a trial and an iteration cost."""

from __future__ import annotations

import statistics
import time
from itertools import count

import numpy as np

import fastmlp as fm
from bench.works import unless_small

N_SAMPLES = unless_small(8192, 256)
WIDTHS = unless_small(("54-64-32-7", "784-256-128-10"), ("54-64-32-7",))
DTYPES = unless_small(("float32", "float64"), ("float32",))
DIRECTIONS = unless_small(("steepest", "conjugate", "nesterov"), ("conjugate",))
SEARCHES = unless_small(("exact", "armijo", "wolfe"), ("exact",))
ITERATIONS = 10


def problem(widths: str, dtype: str = "float32") -> tuple[fm.Objective, np.ndarray]:
    """Return softmax regression by a network of these widths on random samples, and a start."""
    sizes = [int(n) for n in widths.split("-")]
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N_SAMPLES, sizes[0]), dtype=np.float32).astype(dtype)
    y = rng.integers(0, sizes[-1], N_SAMPLES)
    net = fm.Network(sizes, hidden="relu", output="softmax", dtype=dtype)
    return fm.Objective(net, X, y, l2=1e-4), net.init(rng=0)


class Passes:
    """Passes over all samples, each at its own cost."""

    params = (WIDTHS, DTYPES)
    param_names = ("widths", "dtype")
    rounds = 1
    number = 1
    repeat = (5, 50, 2.0)
    warmup_time = 0

    def setup(self, widths, dtype):
        self.objective, self.w = problem(widths, dtype)
        _, self.g = self.objective.value_and_gradient(self.w)
        self.curve = self.objective.along(self.w, -self.g)
        self.curve.value_and_derivative(1e-3)  # computes the first layer's two products
        # An alpha asked for again would cost nothing.
        self.alphas = (1e-3 * number for number in count(2))
        for run in (self.time_value, self.time_trial_value, self.time_hessian_vector):  # compile
            run(widths, dtype)
        self.curve.value_and_derivative(next(self.alphas))  # the products again

    def time_value(self, widths, dtype):
        self.objective.value(self.w)

    def time_value_and_gradient(self, widths, dtype):
        self.objective.value_and_gradient(self.w)

    def time_trial_value(self, widths, dtype):
        self.curve(next(self.alphas))

    def time_trial_value_and_derivative(self, widths, dtype):
        self.curve.value_and_derivative(next(self.alphas))

    def time_hessian_vector(self, widths, dtype):
        self.objective.hessian_vector(self.w, self.g)


class _Descent:
    """Iterations from the start, by an option of `gradient_descent` that a benchmark varies."""

    rounds = 1
    number = 1
    repeat = (3, 10, 2.0)
    warmup_time = 0
    option = ""

    def setup(self, widths, value):
        self.objective, self.w = problem(widths)
        self.descend(value, 1)  # compiles

    def descend(self, value, iterations=ITERATIONS):
        return fm.gradient_descent(
            self.objective, self.w, tol=0, max_iter=iterations, progress=False,
            **{self.option: value},
        )  # fmt: skip

    def time_iterations(self, widths, value):
        self.descend(value)

    def track_evaluations_per_search(self, widths, value):
        return statistics.mean(self.descend(value).history.evaluations[1:])

    track_evaluations_per_search.unit = "evaluations"


class Iterations(_Descent):
    """Iterations with exact search from the start, where they are much the same from run to run."""

    params = (WIDTHS, DIRECTIONS)
    param_names = ("widths", "direction")
    option = "direction"

    def track_iteration_by_gradient(self, widths, direction):
        """Gradients are timed between the runs, since clocks move."""
        ratios = []
        for _ in range(unless_small(5, 1)):
            seconds = self.descend(direction).history.seconds
            began = time.perf_counter()
            for _ in range(ITERATIONS):
                self.objective.value_and_gradient(self.w)
            gradients = time.perf_counter() - began
            ratios.append((seconds[-1] - seconds[0]) / gradients)
        return statistics.median(ratios)

    track_iteration_by_gradient.unit = "gradients"


class LineSearches(_Descent):
    """Iterations along the gradient, from the start: a gradient and a search each."""

    params = (WIDTHS, SEARCHES)
    param_names = ("widths", "search")
    option = "line_search"
