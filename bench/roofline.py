"""The roofline: what kernels do a second, beside what arithmetic and memory allow.

Arithmetic intensity is flops over bytes of a call, where bytes count every array that the kernel
reads or writes, once each (see bench.kernel_calls). They have to come from memory where the data
are more than the caches hold, and need not where they are less: such a kernel may lie above the
roof of memory. The roofs are measured in the same rounds: multiply-adds by bench.peak, memory and
second-level caches by bench.bandwidth.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench import kernel_calls
from bench.call import Call
from bench.roofline_chart import draw
from bench.tables import short
from bench.workers import Worker, measure_in_rounds
from bench.works import WORKS, Ours, n_cores, unless_small

NAME, ABOUT = "roofline", "arithmetic intensity and GFLOP/s of kernels"
COLUMNS = ("kind", "kernel", "threads", "round", "flops", "bytes", "seconds")

SECONDS = unless_small(0.05, 0.001)  # of each kernel in each round, or one call
SHAPES = unless_small(
    ((64, 32, 32), (300, 300, 100), (784, 256, 128), (2048, 2048, 512), (4096, 4096, 1)),
    ((64, 32, 32),),
)  # inputs, outputs, batch
LAYERS = unless_small(((784, 256), (4096, 4096)), ((64, 32),))  # whose parameters are updated
RULES = ("sgd", "momentum", "adam")
FUNCTIONS = ("exp", "tanh", "log")
OUTPUTS = (10, 1000)  # of a softmax, of so many samples:
SOFTMAX_ROWS = 512
# For each output of a softmax beside an exponential: compared, subtracted, added, divided.
SOFTMAX_FLOPS = 4

FORWARD, BACKWARD, GRADIENT = "forward", "backward by data", "backward by weights"
UPDATE, FUNCTION, STEP, BY_SAMPLE = "update rule", "function", "training step", "per-sample step"
PRODUCTS = {FORWARD: "forward", BACKWARD: "backward", GRADIENT: "weight gradient"}


@dataclass(frozen=True)
class Kernel:
    """A dot: its kind, which of it, on how many threads, and what makes its call."""

    kind: str
    label: str
    threads: int
    make: Callable[[], Call]

    @property
    def name(self) -> str:
        return f"{self.kind}, {self.label}"


def kernels() -> list[Kernel]:
    """Return all that are measured."""
    n = n_cores()
    layer, update = kernel_calls.layer_call, kernel_calls.update_call
    products = [
        Kernel(
            kind, f"{n_in}×{n_out}, batch {size}", n,
            partial(layer, phase, n_in, n_out, size, threads=n),
        )
        for n_in, n_out, size in SHAPES
        for kind, phase in PRODUCTS.items()
    ]  # fmt: skip
    updates = [
        Kernel(UPDATE, f"{rule}, {n_in}×{n_out}", n, partial(update, rule, n_in, n_out, threads=n))
        for n_in, n_out in LAYERS
        for rule in RULES
    ]
    functions = [
        Kernel(FUNCTION, name, 1, partial(kernel_calls.elementary_call, name)) for name in FUNCTIONS
    ]
    functions += [
        Kernel(FUNCTION, f"softmax of {n_out}", n, partial(softmax, n_out, n)) for n_out in OUTPUTS
    ]
    steps = [
        Kernel(
            STEP, work.name, n,
            partial(kernel_calls.network_call, "step", work.widths, work.batch_size, threads=n),
        )
        for work in unless_small(tuple(WORKS.values()), (WORKS["small"],))
        if work.batch_size > 1
    ]  # fmt: skip
    samples = [
        Kernel(BY_SAMPLE, "-".join(map(str, WORKS[name].widths)), 1, partial(one_by_one, name))
        for name in unless_small(("tiny", "small", "mnist"), ("tiny",))
    ]
    return [*products, *updates, *functions, *steps, *samples]


def softmax(n_out: int, threads: int) -> Call:
    """Return softmax and cross-entropy of a batch, with their flops."""
    call = kernel_calls.loss_call("cross_entropy", n_out, SOFTMAX_ROWS, threads=threads)
    exponential, logarithm = (kernel_calls.ELEMENTARY[name][0] for name in ("exp", "log"))
    call.flops = SOFTMAX_ROWS * (n_out * (exponential + SOFTMAX_FLOPS) + logarithm)
    return call


def one_by_one(name: str) -> Call:
    """Return an epoch of updates by one sample, counted as batches of one."""
    work = replace(WORKS[name], batch_size=1, n_samples=unless_small(10_000, 100))
    train, n = Ours(work), work.n_samples
    counted = kernel_calls.network_call("step", work.widths, 1)
    return Call(train, n * counted.flops, n * counted.bytes, n)


class Timed(NamedTuple):
    """Flops and bytes of a call, and the seconds that it takes."""

    flops: int
    bytes: int
    seconds: float


class Round(NamedTuple):
    """Flops a second of a core, bytes a second of all from memory and from caches, and calls."""

    peak: float
    memory: float
    cache: float
    calls: dict[str, Timed]


def seconds_of(call: Call, n_times: int) -> float:
    """Return the seconds that a call takes, of so many."""
    call.restore()
    began = time.perf_counter()
    call.repeat(n_times)
    return (time.perf_counter() - began) / n_times


def make() -> Callable[[], Round]:
    """Return a function that measures all kernels, one after the other."""
    import numba

    from bench.bandwidth import CACHED, NUMBERS, Stream
    from bench.peak import flops_of_one_core

    n = min(n_cores(), numba.config.NUMBA_NUM_THREADS)
    numba.set_num_threads(n)
    memory, cache = Stream(NUMBERS // n, n), Stream(CACHED, n)
    calls: dict[str, tuple[Call, int]] = {}
    for kernel in kernels():
        call = kernel.make()
        seconds_of(call, 1)  # compiles
        seconds = seconds_of(call, max(1, round(0.1 * SECONDS / seconds_of(call, 1))))
        calls[kernel.name] = call, max(1, round(SECONDS / seconds))

    def measure() -> Round:
        roofs = flops_of_one_core(), memory.bytes_per_second(), cache.bytes_per_second()
        timed = {
            name: Timed(call.flops, call.bytes, seconds_of(call, n_times))
            for name, (call, n_times) in calls.items()
        }
        return Round(*roofs, timed)

    return measure


class Dot(NamedTuple):
    """A kernel in the picture: flops for each byte, flops a second, and the lower of its roofs."""

    kernel: Kernel
    intensity: float
    rates: list[float]
    roof: float

    @property
    def place(self) -> tuple[float, float]:
        """Where it is drawn: flops for each byte, and GFLOP/s."""
        return self.intensity, median(self.rates) / 1e9


@dataclass
class Roofline:
    """What all rounds have measured, or why there are none."""

    rounds: list[Round]
    failure: str = ""
    kernels: list[Kernel] = field(default_factory=kernels)
    name: str = NAME
    title: str = f"{NAME}: {ABOUT}"

    @property
    def peak(self) -> float:
        """Flops a second of a core."""
        return median(each.peak for each in self.rounds)

    @property
    def memory(self) -> float:
        """Bytes a second from memory."""
        return median(each.memory for each in self.rounds)

    @property
    def cache(self) -> float:
        """Bytes a second from all cores' second-level caches."""
        return median(each.cache for each in self.rounds)

    def dots(self) -> list[Dot]:
        found = []
        for kernel in self.kernels:
            calls = [each.calls[kernel.name] for each in self.rounds]
            intensity = calls[0].flops / calls[0].bytes
            rates = [call.flops / call.seconds for call in calls]
            roof = min(kernel.threads * self.peak, intensity * self.memory)
            found.append(Dot(kernel, intensity, rates, roof))
        return found

    def table(self) -> list[list[str]]:
        """Return a heading, and a line for each kernel."""
        heading = [
            "", "", "threads", "flops", "bytes", "flops/byte", "GFLOP/s", "lowest", "highest",
            "of its roof", "roof",
        ]  # fmt: skip
        rows = [heading]
        for dot in self.dots() if self.rounds else []:
            kernel, rate = dot.kernel, median(dot.rates)
            call = self.rounds[0].calls[kernel.name]
            name = "arithmetic"
            if dot.roof < kernel.threads * self.peak:
                name = "memory" if rate <= dot.roof else "memory, but in caches"
            row = [kernel.kind, kernel.label, str(kernel.threads), short(call.flops)]
            row += [short(call.bytes), f"{dot.intensity:.3g}"]
            row += [f"{value / 1e9:.3g}" for value in (rate, min(dot.rates), max(dot.rates))]
            row += [f"{rate / dot.roof:.0%}", name]
            rows.append(row)
        return rows

    def notes(self) -> list[str]:
        """Return the roofs, lowest and highest."""
        if self.failure:
            return [f"left out: {self.failure}"]
        what = {
            "FMA peak of a core, GFLOP/s": [each.peak for each in self.rounds],
            "memory, all cores, GB/s": [each.memory for each in self.rounds],
            "second-level caches, all cores, GB/s": [each.cache for each in self.rounds],
        }
        return [
            f"{name}: {min(values) / 1e9:.0f} .. {max(values) / 1e9:.0f}"
            for name, values in what.items()
        ]

    def raw(self) -> list[tuple]:
        """Return a heading, and a line for each kernel and round; the roofs have no call."""
        rows: list[tuple] = [COLUMNS]
        for number, each in enumerate(self.rounds, start=1):
            rows += [
                ("roof", "FMA peak", 1, number, each.peak, "", 1),
                ("roof", "memory", n_cores(), number, "", each.memory, 1),
                ("roof", "second-level caches", n_cores(), number, "", each.cache, 1),
            ]
            for kernel in self.kernels:
                call = each.calls[kernel.name]
                rows.append((kernel.kind, kernel.label, kernel.threads, number, *call))
        return rows

    def draw(self, environment: dict[str, str], path: Path) -> None:
        if self.rounds:
            draw(self, environment, path)


def measure(rounds: int) -> Roofline:
    """Return what kernels do, all in one process."""
    worker = Worker(NAME, make, ())
    measure_in_rounds([worker], rounds)
    return Roofline(worker.rates, worker.failure)
