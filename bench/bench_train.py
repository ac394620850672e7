"""The asv suite of training: epochs, what a network computes, and what a budget achieves.

Every call starts from the same parameters, which the solvers copy. asv takes a smaller number for a
better one: the `time_` benchmarks are those that `asv continuous` can judge, the rates beside them
are for reading.
"""

from __future__ import annotations

import statistics

import numba
import numpy as np

import fastmlp as fm
from bench.training import OPTIMIZERS
from bench.works import WORKS, Ours, n_cores, samples_per_second, unless_small

LABELLED = {"hidden": "relu", "output": "softmax"}
OPTIONS = {
    **{rule: {"rule": rule} for rule in OPTIMIZERS},
    "schedule": {"step": lambda k: 1e-3 / (k + 1)},
    "dropout": {"dropout": 0.5},
    "clip_value": {"clip_value": 1.0},
    "clip_norm": {"clip_norm": 1.0},
    "max_norm": {"max_norm": 1.0},
    "average": {"average": True},
    "validation": {"validation": 0.1},
}
# Of `Learning`: rules and their step sizes.
RULES = {"momentum": 0.05, "adam": 0.01}


class Training:
    """An epoch of each work, and the rate of several."""

    params = unless_small(tuple(WORKS), ("tiny", "mnist"))
    param_names = ("work",)
    rounds = 1
    number = 1
    repeat = (3, 10, 2.0)
    warmup_time = 0
    train = None

    def setup(self, name):
        if self.train is None:
            self.work = WORKS[name]
            self.train = Ours(self.work)
            self.train(1)  # compiles

    def time_epoch(self, name):
        self.train(1)

    def track_samples_per_second(self, name):
        return samples_per_second(self.train)

    track_samples_per_second.unit = "samples/s"

    def track_fraction_of_peak(self, name):
        """Of all cores' multiply-adds; measured before and after, since clocks move."""
        from bench.peak import flops_of_one_core  # only here: it needs kernels that may change

        peaks = [flops_of_one_core()]
        flops = samples_per_second(self.train) * self.work.flops_per_sample
        peaks.append(flops_of_one_core())
        return flops / (n_cores() * statistics.mean(peaks))

    track_fraction_of_peak.unit = "of the FMA peak"


class Options:
    """An epoch of the mnist work with each update rule, and with what there is besides rules."""

    params = unless_small(tuple(OPTIONS), ("adam", "dropout"))
    param_names = ("option",)
    rounds = 1
    number = 1
    repeat = (3, 10, 2.0)
    warmup_time = 0
    train = None

    def setup(self, name):
        if self.train is None:
            self.train = Ours(WORKS["mnist"], **OPTIONS[name])
            self.train(1)  # compiles

    def time_epoch(self, name):
        self.train(1)


class Evaluation:
    """Functions of one network, 784-256-128-10, on 4096 rows; sample gradients of 64."""

    rounds = 1
    repeat = (3, 10, 2.0)

    def setup(self):
        rng = np.random.default_rng(0)
        self.net = fm.Network([784, 256, 128, 10], **LABELLED)
        self.w = self.net.init(rng=0)
        n = unless_small(4096, 128)
        self.X = rng.standard_normal((n, 784), dtype=np.float32)
        self.y = rng.integers(0, 10, n)
        for run in (self.time_predict, self.time_loss, self.time_gradient):  # compile
            run()
        self.time_sample_gradients()

    def time_predict(self):
        self.net.predict(self.w, self.X)

    def time_loss(self):
        self.net.loss(self.w, self.X, self.y)

    def time_gradient(self):
        self.net.gradient(self.w, self.X, self.y)

    def time_sample_gradients(self):
        self.net.sample_gradients(self.w, self.X[:64], self.y[:64])


class OneByOne:
    """An epoch of per-sample SGD, for networks of several sizes."""

    params = unless_small(("2-16-2", "54-64-32-7", "784-256-128-10"), ("54-64-32-7",))
    param_names = ("widths",)
    rounds = 1
    number = 1
    repeat = (3, 10, 2.0)
    warmup_time = 0

    def setup(self, widths):
        sizes = [int(n) for n in widths.split("-")]
        rng = np.random.default_rng(0)
        self.net = fm.Network(sizes, **LABELLED)
        self.w = self.net.init(rng=0)
        n = unless_small(2000, 100)
        self.X = rng.standard_normal((n, sizes[0]), dtype=np.float32)
        self.y = rng.integers(0, sizes[-1], n)
        self.time_sgd(widths)  # compiles

    def time_sgd(self, widths):
        fm.sgd(self.net, self.X, self.y, self.w, step=1e-3, rng=0, progress=False)


class Threads:
    """An epoch on one thread, and on as many as there are cores."""

    params = (unless_small(("mnist", "large"), ("mnist",)), ("one", "all"))
    param_names = ("work", "threads")
    rounds = 1
    number = 1
    repeat = (3, 10, 2.0)
    warmup_time = 0
    train = None

    def setup(self, name, threads):
        self.before = numba.get_num_threads()
        numba.set_num_threads(1 if threads == "one" else self.before)
        if self.train is None:
            self.train = Ours(WORKS[name])
            self.train(1)  # compiles

    def teardown(self, name, threads):
        numba.set_num_threads(self.before)

    def time_epoch(self, name, threads):
        self.train(1)


class Learning:
    """What a fixed budget achieves on labels that a linear function gives: 20-32-4.

    1000 samples, twice each one by one, ten times each in batches of 50, or 20 iterations.
    """

    params = ("sgd", "minibatch_sgd", "momentum", "adam", "steepest", "conjugate", "nesterov")
    params = unless_small(params, params[:1])
    param_names = ("solver",)

    def setup(self, solver):
        rng = np.random.default_rng(0)
        self.X = rng.standard_normal((1000, 20), dtype=np.float32)
        self.y = np.argmax(self.X @ rng.standard_normal((20, 4)), axis=1)
        self.net = fm.Network([20, 32, 4], **LABELLED)
        self.w = self.net.init(rng=0)

    def train(self, solver):
        problem = (self.net, self.X, self.y, self.w)
        if solver == "sgd":
            return fm.sgd(*problem, step=0.05, epochs=2, rng=0, progress=False)
        options = {"batch_size": 50, "epochs": 10, "rng": 0, "progress": False}
        if solver == "minibatch_sgd":
            return fm.minibatch_sgd(*problem, step=0.2, **options)
        if solver in RULES:
            return fm.minibatch_sgd(*problem, rule=solver, step=RULES[solver], **options)
        objective = fm.Objective(self.net, self.X, self.y)
        return fm.gradient_descent(
            objective, self.w, direction=solver, tol=0, max_iter=20, progress=False
        )

    def track_loss_after_budget(self, solver):
        return self.net.loss(self.train(solver).x, self.X, self.y)

    track_loss_after_budget.unit = "mean cross-entropy"
