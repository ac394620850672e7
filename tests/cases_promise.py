"""Results of every kind, each computed in many ways, none of which may change a bit."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import math
import sys
import tempfile
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__
from threadpoolctl import threadpool_info

import fastmlp as fm
from cases import DTYPES, problem
from cases_cuts import cut_by_a_slow_clock, in_blocks_of
from cases_rules import TRAININGS, N, options_of
from fastmlp import initializers, workspace
from fastmlp.callbacks import Callback
from fastmlp.kernels.jit import cpu_features
from fastmlp.solvers import orders

# How it is computed --------------------------------------------------------------------------


class Watcher(Callback):
    """Looks at the state as often as it may."""

    every_n_steps = 2

    def __init__(self):
        self.sums = []

    def on_steps(self, state):
        self.sums.append((state.fun, state.x.sum()))

    def on_epoch_end(self, state):
        self.sums.append((state.fun, state.x.sum()))


def most_workers(patch):
    """Return a dict that gets the most workers that each phase is shared out to."""
    most, schedule = {}, workspace.Workspace.schedule

    def recorded(self, *given):
        rows = schedule(self, *given)
        for phase, _, n_workers in rows.tolist():
            most[phase] = max(most.get(phase, 0), n_workers)
        return rows

    patch.setattr(workspace.Workspace, "schedule", recorded)
    return most


@dataclass(frozen=True)
class Way:
    """Where X and y lie, whether somebody watches, and what is patched."""

    storage: str = "memory"
    watched: bool = False
    cuts: tuple = ()
    numbers: count = field(default_factory=count)

    @cached_property
    def folder(self):
        return tempfile.TemporaryDirectory()

    def given(self, array, may_convert=True):
        """Return the array, or a read-only map of a file of the same numbers."""
        if self.storage == "memory":
            return array
        if self.storage == "map of another dtype" and may_convert:
            others = {"float32": "float64", "float64": "float32", "int64": "int32"}
            converted = array.astype(others[array.dtype.name])
            assert (converted == array).all()
            array = converted
        path = Path(self.folder.name, f"{next(self.numbers)}.npy")
        np.save(path, array)
        mapped = np.load(path, mmap_mode="r")
        assert isinstance(mapped, np.memmap)
        return mapped

    def train(self, net, data, solver=fm.minibatch_sgd, **options):
        """Train; X and y are given in this way."""
        X, y, w = data
        if self.watched:
            options |= {"progress": True, "callback": Watcher()}
        result = solver(net, self.given(X), self.given(y), w, **options)
        assert result.nit
        assert not self.watched or options["callback"].sums
        return result

    @contextlib.contextmanager
    def patched(self):
        with pytest.MonkeyPatch.context() as patch:
            # Networks small enough for a test shall be worth several threads.
            patch.setattr(workspace, "PARALLEL_FLOPS", 0)
            patch.setattr(workspace, "PARALLEL_BYTES", 0)
            patch.setattr(orders, "LONGEST_PERMUTATION", 90)
            for cut in self.cuts:
                cut(patch)
            yield most_workers(patch)


def passes_in_blocks_of(rows):
    """Passes over all samples, and workspaces, of so many rows at a time."""

    def cut(patch):
        patch.setattr(workspace, "FEWEST_ROWS", rows)
        patch.setattr(workspace, "MOST_ROWS", rows)

    return cut


WAYS = {
    "plain": Way(),
    "map": Way("map"),
    "map of another dtype": Way("map of another dtype"),
    "watched": Way(watched=True),
    "blocks of 8": Way(cuts=(passes_in_blocks_of(8), in_blocks_of(13))),
    "blocks of 33": Way(cuts=(passes_in_blocks_of(33), cut_by_a_slow_clock)),
}

# What is computed ----------------------------------------------------------------------------

# Wide enough for shares of 7 threads, none of a whole number of tiles.
WIDTHS = (150, 131, 70)
N_UPDATES = 36


def data_of(net, n=N):
    """Samples of numbers that both dtypes have, and parameters."""
    rng = np.random.default_rng(n)
    narrow = fm.Network(net.widths, hidden="tanh", output="softmax", dtype="float32")
    w, X, y = problem(narrow, n, rng)
    if net.loss_name != "cross_entropy":
        y = rng.standard_normal((n, net.widths[-1]), np.float32).astype(net.dtype)
    return X.astype(net.dtype), y, w.astype(net.dtype)


def network(dtype, **options):
    options = {"hidden": "tanh", "output": "softmax", **options}
    return fm.Network(WIDTHS, dtype=dtype, **options)


def course(result):
    """What a run tells of itself, but for the time it took."""
    yield "x", result.x
    yield from ((k, v) for k, v in result.history.items() if k != "seconds")


def every_training(way, dtype):
    net = network(dtype)
    data = data_of(net)
    for name in TRAININGS:
        result = way.train(net, data, epochs=3, step=0.01, rng=1, **options_of(name))
        yield from ((f"{name} {what}", values) for what, values in course(result))


SCHEDULES = {
    "cosine": fm.schedules.cosine(0.1, 7, growth=2),
    "one_cycle": fm.schedules.one_cycle(0.1, N_UPDATES),
    "exponential": fm.schedules.exponential(0.1, 0.97, every=1.5),
    "inverse_power": fm.schedules.inverse_power(0.1, 0.7, 3.0),
    "warm_up": fm.schedules.warm_up(fm.schedules.inverse_power(0.1, 0.51), 5),
    "plateau": fm.schedules.reduce_on_plateau(0.5, 0.3, patience=0, threshold=0.1),
}


def every_schedule_and_order(way, dtype):
    net = network(dtype, hidden="relu")
    data = data_of(net)
    for name, step in SCHEDULES.items():
        for order in ("shuffled", "replacement", "sequential"):
            result = way.train(net, data, batch_size=37, epochs=12, step=step, rng=2, order=order)
            assert result.nit == N_UPDATES
            yield from ((f"{name} {order} {what}", v) for what, v in course(result))


def validated(way, dtype):
    regression = network(dtype, output="identity", loss="huber")
    for net, scoring in ((network(dtype), "accuracy"), (regression, None)):
        result = way.train(
            net, data_of(net), batch_size=19, epochs=6, rule="adam", step=0.01, rng=3,
            validation=0.3, scoring=scoring, patience=2, average=True, dropout=0.2,
        )  # fmt: skip
        yield from ((f"{net.loss_name} {what}", values) for what, values in course(result))


def one_by_one(way, dtype):
    net = fm.Network([33, 47, 20, 10], hidden="gelu", output="softmax", dtype=dtype)
    data = data_of(net)
    more = {"epochs": 2, "rng": 4, "step": fm.schedules.inverse_power(0.05)}
    for name, options in {
        "plain": {}, "replacement": {"order": "replacement"}, "adam": {"rule": "adam"},
        "all": {"rule": "nesterov", "l2": 0.01, "dropout": 0.3, "average": 3, "validation": 0.2},
    }.items():  # fmt: skip
        result = way.train(net, data, fm.sgd, **options, **more)
        yield from ((f"{name} {what}", values) for what, values in course(result))


def objective_of(way, dtype):
    net = network(dtype)
    X, y, w = data_of(net)
    weights = np.linspace(0.1, 2, N)
    return w, fm.Objective(net, way.given(X), way.given(y), sample_weight=weights, l2=1e-2)


def descents(way, dtype):
    more = {"progress": True, "callback": lambda state: None} if way.watched else {}
    for direction in ("steepest", "conjugate", "nesterov"):
        w, objective = objective_of(way, dtype)
        options = {"line_search": "exact", "direction": direction, "tol": 0, "max_iter": 6}
        result = fm.gradient_descent(objective, w, **options, **more)
        assert result.nit == 6
        yield from ((f"{direction} {what}", values) for what, values in course(result))


def an_objective(way, dtype):
    w, objective = objective_of(way, dtype)
    d = -objective.gradient(w)
    yield "value", objective.value(w)
    yield "gradient", d
    yield "hessian_vector", objective.hessian_vector(w, d)
    for use in range(2):  # the second curve is from products that were kept
        phi = objective.along(w, d)
        yield f"curve {use}", [phi(0.3), phi.derivative(0.3), *phi.value_and_derivative(1.0)]
    yield "directional derivative", fm.directional_derivative(objective, w, d, numerically=True)


def functions_of_a_network(way, dtype):
    net = network(dtype)
    X, y, w = data_of(net)
    X, y = way.given(X), way.given(y)
    yield "predict", net.predict(w, X)
    yield "loss", net.loss(w, X, y, class_weight="balanced")
    yield "gradient", net.gradient(w, X, y, class_weight="balanced")
    yield "sample_gradients", net.sample_gradients(w, X[:7], y[:7])
    yield "collapse", network(dtype, hidden="identity", output="identity").collapse(w)[1]
    for scheme in initializers.NAMES:
        yield f"init {scheme}", network(dtype).init(rng=5, scheme=scheme)


STOCHASTIC = ("adam", "sgd", "rmsprop")
FULL_BATCH = ("gd", "cg", "nesterov")
# glibc's two variants of pow differ in (N + 1)^POWER, by which an epoch's learning rate is divided.
POWER = 0.737


def fits(way, dtype, solvers=STOCHASTIC + FULL_BATCH):
    X, y, _ = data_of(network("float32"))
    X, targets = X.astype(dtype), (X[:, :3] - X[:, 3:6]).astype(dtype)
    weights = np.linspace(0.1, 2, N)
    for solver in solvers:
        for kind, truth in ((fm.MLPClassifier, y % 5), (fm.MLPRegressor, targets)):
            model = kind(
                hidden_layer_sizes=(131, 70), solver=solver, max_iter=6, random_state=0,
                learning_rate="invscaling", power_t=POWER, early_stopping=solver == "rmsprop",
                callbacks=Watcher() if way.watched else None, verbose=way.watched,
                learning_rate_init=0.02, batch_size=24, dropout=0.2 if solver in STOCHASTIC else 0,
            )  # fmt: skip
            model.fit(way.given(X, False), way.given(truth, False), weights)
            name = f"{kind.__name__} {solver}"
            yield from ((f"{name} {what}", v) for what, v in fitted(model, way.given(X, False)))


def fitted(model, X):
    yield "parameters", model.parameters_
    yield "loss_curve", model.loss_curve_
    yield "predict", model.predict(X)
    if isinstance(model, fm.MLPClassifier):
        yield "predict_proba", model.predict_proba(X)
        yield "predict_log_proba", model.predict_log_proba(X)


KINDS = (
    every_training, every_schedule_and_order, validated, one_by_one, descents, an_objective,
    functions_of_a_network, fits,
)  # fmt: skip


def by_scipy(way, dtype):
    """What SciPy's own arithmetic, and the BLAS under it, take part in."""
    for method in ("L-BFGS-B", "CG", "BFGS", "Newton-CG", "trust-ncg", "trust-krylov"):
        net = fm.Network([20, 19, 10] if method == "BFGS" else WIDTHS, hidden="tanh", dtype=dtype)
        X, y, w = data_of(net)
        objective = fm.Objective(net, way.given(X), way.given(y), l2=1e-2)
        result = fm.minimize(objective, w, method=method, tol=0, max_iter=5)
        yield from ((f"{method} {what}", values) for what, values in course(result))
    yield from fits(way, dtype, ["lbfgs"])


# In processes of their own -------------------------------------------------------------------


def hashes(way, kinds):
    """Return the hash of each result's bits, by its name, and the most workers of each phase."""
    found = {}
    with way.patched() as workers, contextlib.redirect_stdout(sys.stderr):
        for kind, dtype in itertools.product(kinds, DTYPES):
            for name, values in kind(way, dtype):
                array = np.asarray(values)
                assert not np.isnan(array).any(), (kind, name)
                key = f"{kind.__name__} {dtype} {name}"
                assert key not in found
                found[key] = hashlib.sha256(array.tobytes()).hexdigest()
    return found, workers


def machine():
    """Return what NumPy, BLAS and Numba take the CPU for, and a few bits of the C library."""
    libm = [f(0.01 * k) for k in range(1, 5000) for f in (math.exp, math.log, math.log1p)]
    libm += [102.0 ** (k / 1000) for k in range(1000)]
    return {
        "numpy": [name for name in __cpu_dispatch__ if __cpu_features__.get(name)],
        "numba": sorted(cpu_features()),
        "blas": sorted({pool.get("architecture", "") for pool in threadpool_info()} - {""}),
        "libm": hashlib.sha256(np.array(libm).tobytes()).hexdigest(),
    }
