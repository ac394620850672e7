"""The asv suite: the library's own speed, memory and time to start, from commit to commit.

asv takes a smaller number for a better one: the `time_` benchmarks are those that `asv continuous`
can judge, the rates beside them are for reading.
"""

from __future__ import annotations

import statistics

import numpy as np

import fastmlp as fm
from bench.start import starts
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


class Training:
    """An epoch of each work, and the rate of several."""

    params = unless_small(tuple(WORKS), ("tiny", "mnist"))
    param_names = ("work",)
    rounds = 1
    number = 1
    repeat = (3, 10, 2.0)
    warmup_time = 0

    def setup(self, name):
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

    def peakmem_epoch(self, name):
        self.train(1)


class Options:
    """An epoch of the mnist work with each update rule, and with what there is besides rules."""

    params = tuple(OPTIONS)
    param_names = ("option",)
    rounds = 1
    number = 1
    repeat = (3, 10, 2.0)
    warmup_time = 0

    def setup(self, name):
        self.train = Ours(WORKS["mnist"], **OPTIONS[name])
        self.train(1)  # compiles

    def time_epoch(self, name):
        self.train(1)

    def peakmem_epoch(self, name):
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

    def peakmem_gradient(self):
        self.net.gradient(self.w, self.X, self.y)


class OneByOne:
    """An epoch of per-sample SGD, for networks of several sizes."""

    params = ("2-16-2", "54-64-32-7", "784-256-128-10")
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


class Start:
    """Fresh processes: see `bench.start`."""

    timeout = 300

    def setup_cache(self):
        return starts(cold=1, warm=unless_small(5, 1))

    def track_import(self, runs):
        """`import fastmlp` alone."""
        return statistics.median(run["import"] for run in runs[1])

    def track_cold_first_fit(self, runs):
        """The solver's first call with an empty on-disk cache."""
        return statistics.median(run["first fit"] for run in runs[0])

    def track_warm_start(self, runs):
        """Process start to the first batch trained, with a filled on-disk cache."""
        return statistics.median(run["start to trained"] for run in runs[1])

    setup_cache.timeout = timeout
    track_import.unit = track_cold_first_fit.unit = track_warm_start.unit = "s"
