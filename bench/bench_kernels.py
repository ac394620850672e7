"""The asv suite of kernels: each alone, many times over without Python in between.

`time_calls` is of a number of calls that takes about 10 ms, and is the same for all commits; the
rates beside it are for reading.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

from bench import kernel_calls
from bench.call import Call
from bench.works import n_cores, unless_small

SECONDS = unless_small(0.01, 1e-4)
DTYPES = unless_small(("float32", "float64"), ("float32",))
ONE, ALL = "one", "all"
THREADS = unless_small((ONE, ALL), (ALL,))
WIDTHS = unless_small((784, 256, 128, 10), (54, 64, 32, 7))


def few(names: Any) -> tuple[str, ...]:
    """Return the names, or the first where benchmarks are only to be seen running."""
    return unless_small(tuple(names), tuple(names)[:1])


def n_threads(threads: str) -> int:
    return 1 if threads == ONE else n_cores()


def seconds(call: Call, n: int) -> float:
    """Return what n calls take, the median of several times."""
    call.repeat(n)
    times = []
    for _ in range(unless_small(9, 1)):
        began = time.perf_counter()
        call.repeat(n)
        times.append(time.perf_counter() - began)
        call.restore()
    return statistics.median(times)


class _Kernel:
    """What all have in common: `make` returns the call for the parameters of a benchmark."""

    rounds = 1
    number = 1
    repeat = (5, 50, 0.5)
    warmup_time = 0.1
    call: Call | None = None

    def setup(self, *params):
        if self.call is None:
            self.call = self.make(*params)
            self.n = self.call.times_for(SECONDS)
            self.call.repeat(1)  # compiles
        self.call.restore()

    def time_calls(self, *params):
        self.call.repeat(self.n)


class _WithFlops(_Kernel):
    def track_fraction_of_peak(self, *params):
        """Of the multiply-adds of the cores used; measured before and after, since clocks move."""
        from bench.peak import flops_of_one_core  # only here: it needs kernels that may change

        values = dict(zip(self.param_names, params, strict=True))
        peaks = [flops_of_one_core(dtype=values.get("dtype", "float32"))]
        flops = self.n * self.call.flops / seconds(self.call, self.n)
        peaks.append(flops_of_one_core(dtype=values.get("dtype", "float32")))
        return flops / (n_threads(values.get("threads", ONE)) * statistics.mean(peaks))

    track_fraction_of_peak.unit = "of the FMA peak"


class _WithNumbers(_Kernel):
    def track_numbers_per_second(self, *params):
        return self.n * self.call.elements / seconds(self.call, self.n)

    track_numbers_per_second.unit = "numbers/s"


class Tiles(_WithFlops):
    """Register tiles: products over 256 terms, in the core's caches, one thread."""

    params = (few(kernel_calls.TILES), DTYPES)
    param_names = ("tile", "dtype")

    def make(self, tile, dtype):
        return kernel_calls.tile_call(tile, dtype)


class Packing(_WithNumbers):
    """Copies of a panel of 256 rows of weights, one thread."""

    params = (few(kernel_calls.PACKS), DTYPES)
    param_names = ("panel", "dtype")

    def make(self, panel, dtype):
        return kernel_calls.pack_call(panel, dtype)


class ElementaryFunctions(_WithNumbers):
    """Of 2048 numbers in the first-level cache, one thread."""

    params = (few(kernel_calls.ELEMENTARY), DTYPES)
    param_names = ("function", "dtype")

    def make(self, function, dtype):
        return kernel_calls.elementary_call(function, dtype)


class Layers(_WithFlops):
    """Phases of a hidden layer with as many inputs as outputs, for 128 samples of float32."""

    params = (
        few(name for name in kernel_calls.LAYER_PHASES if name != "gather"),
        unless_small((64, 300, 1024), (64,)),
        THREADS,
    )
    param_names = ("phase", "width", "threads")

    def make(self, phase, width, threads):
        return kernel_calls.layer_call(phase, width, width, 128, threads=n_threads(threads))


class Batches(_WithFlops):
    """Phases of a hidden layer of 512 inputs and outputs, by the batch's size; one thread."""

    params = (
        few(("forward", "backward", "weight gradient")),
        unless_small((1, 8, 32, 1024), (8,)),
    )
    param_names = ("phase", "batch size")

    def make(self, phase, batch_size):
        return kernel_calls.layer_call(phase, 512, 512, batch_size)


class Activations(_WithNumbers):
    """The forward phase of 16 inputs to 1024 outputs, where most is the activation; one thread."""

    params = (few(("identity", "relu", "sigmoid", "tanh", "leaky_relu", "elu", "gelu", "silu")),)
    param_names = ("activation",)

    def make(self, activation):
        return kernel_calls.layer_call("forward", 16, 1024, 128, activation=activation)


class Losses(_WithNumbers):
    """Losses and output deltas of 128 samples with 10 outputs each, one thread."""

    params = (few(kernel_calls.LOSSES),)
    param_names = ("loss",)

    def make(self, loss):
        return kernel_calls.loss_call(loss, 10, 128)


class Networks(_WithFlops):
    """Passes of a batch of 128 through 784-256-128-10."""

    params = (few(kernel_calls.NETWORK_PASSES), DTYPES, THREADS)
    param_names = ("pass", "dtype", "threads")

    def make(self, name, dtype, threads):
        return kernel_calls.network_call(name, WIDTHS, 128, dtype, n_threads(threads))


class VectorPasses(_WithNumbers):
    """x . y on one thread, and x - step y in place, of 2^20 numbers."""

    params = (few(kernel_calls.VECTOR_PASSES), THREADS)
    param_names = ("pass", "threads")

    def make(self, name, threads):
        return kernel_calls.vector_call(name, 2**20, threads=n_threads(threads))


class UpdateRules(_WithNumbers):
    """The update of 784 x 256 weights from a gradient that is there, one thread."""

    params = (few(kernel_calls.UPDATES), DTYPES)
    param_names = ("update", "dtype")

    def make(self, update, dtype):
        return kernel_calls.update_call(update, 784, 256, dtype)
