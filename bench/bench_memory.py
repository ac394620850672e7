"""The asv suite of memory: the most that a process holds, Python and Numba and the data included.

`setup_cache` makes the data, and calls everything once: what is measured neither makes data nor
compiles. `peakmem_nothing` is what all have in common.
"""

from __future__ import annotations

import warnings

import numpy as np

import fastmlp as fm
from bench.works import unless_small

N_SAMPLES = unless_small(20_000, 500)
N_CLASSES = 10
WIDTHS = unless_small(("784-256-128-10", "784-2048-2048-10"), ("784-256-128-10",))


class Memory:
    """Calls on 20,000 samples of 784 float32; sample gradients of 16."""

    params = (WIDTHS,)
    param_names = ("widths",)
    timeout = 300

    def setup_cache(self):
        """Write X.npy and y.npy, whose pages the benchmarks map, and fill the on-disk cache."""
        rng = np.random.default_rng(0)
        np.save("X.npy", rng.standard_normal((N_SAMPLES, 784), dtype=np.float32))
        np.save("y.npy", rng.integers(0, N_CLASSES, N_SAMPLES))
        self.setup(WIDTHS[0])
        self.X, self.y = self.X[:256], self.y[:256]
        for name in dir(self):
            if name.startswith("peakmem_"):
                getattr(self, name)(WIDTHS[0])

    setup_cache.timeout = 300

    def setup(self, widths):
        self.sizes = [int(n) for n in widths.split("-")]
        self.net = fm.Network(self.sizes, output="softmax")
        self.w = self.net.init(rng=0)
        self.X, self.y = np.load("X.npy", mmap_mode="r"), np.load("y.npy")
        self.X.sum()  # touches every page
        self.net.predict(self.w, self.X[:1])  # imports Numba

    def peakmem_nothing(self, widths):
        """Measure the process and its data alone."""

    def peakmem_predict(self, widths):
        self.net.predict(self.w, self.X)

    def peakmem_gradient(self, widths):
        self.net.gradient(self.w, self.X, self.y)

    def peakmem_sample_gradients(self, widths):
        self.net.sample_gradients(self.w, self.X[:16], self.y[:16])

    def peakmem_hessian_vector(self, widths):
        fm.Objective(self.net, self.X, self.y).hessian_vector(self.w, self.w)

    def peakmem_minibatch_epoch(self, widths):
        self.train()

    def peakmem_adam_epoch(self, widths):
        self.train(rule="adam")

    def train(self, **options):
        fm.minibatch_sgd(
            self.net, self.X, self.y, self.w, step=1e-3, batch_size=128, rng=0, progress=False,
            **options,
        )  # fmt: skip

    def peakmem_gradient_descent(self, widths):
        objective = fm.Objective(self.net, self.X, self.y)
        fm.gradient_descent(objective, self.w, direction="conjugate", max_iter=2, progress=False)

    def peakmem_estimator_fit(self, widths):
        model = fm.MLPClassifier(tuple(self.sizes[1:-1]), solver="sgd", max_iter=1, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it has not converged
            model.fit(self.X, self.y)
