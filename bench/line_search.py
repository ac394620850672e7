"""What an iteration of full gradient descent costs when every step is exact, and what peers take.

python -m bench.line_search [--data FOLDER] [--rounds 3] [--iterations 10] [--tol 0.01] [--markdown]

60,000 samples of 784 features, 784-256-128-10, relu, softmax cross-entropy, float32, all cores:
MNIST where --data or FASTMLP_MNIST names the folder of its IDX files, random numbers of that shape
elsewhere. The peers are the same algorithm with PyTorch's gradients and SciPy's line search, in two
forms: see `bench.descent_peer`.

Each contender warms up in a process of its own. In each round, in turn, it computes the value, the
gradient and trials along a line (fastmlp's give the derivative as well), and descends from the same
start for so many iterations (a search and a gradient each), along the gradient and along conjugate
directions. Times are medians over rounds, with lowest and highest.

The tolerance is the relative accuracy of alpha, which SciPy's Brent takes as such and fastmlp as a
bound of |phi'(alpha)| / |phi'(0)|: on a parabola both are the same. What that ratio came to is in
the table, median and largest; PyTorch's is from gradients, fastmlp's from what its search returns.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import fastmlp as fm
from bench import mnist
from bench.contenders import EAGER, OURS, missing
from bench.descent_peer import TorchDescent
from bench.machine import machine
from bench.tables import aligned, markdown, ratio
from bench.workers import Worker, known, measure_in_rounds
from bench.works import n_cores

WIDTHS = (784, 256, 128, 10)
N_SAMPLES = 60_000
DIRECTIONS = ("steepest", "conjugate")
TORCH, KEEPS = "torch + SciPy", "torch + SciPy, products kept"
# The largest difference of losses at the end, in parts of ours.
SAME = 0.01
# Step sizes of trials along the gradient: about where the minimum is.
TRIALS = np.linspace(0.1, 0.5, 5)


@dataclass(frozen=True)
class Settings:
    """What every process has to know."""

    folder: Path | None
    iterations: int
    tol: float

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Return X (N_SAMPLES, 784) float32 and labels int64."""
        if self.folder is None:
            rng = np.random.default_rng(0)
            X = rng.standard_normal((N_SAMPLES, WIDTHS[0]), dtype=np.float32)
            return X, rng.integers(0, WIDTHS[-1], N_SAMPLES)
        return mnist.load(self.folder)


class OursDescent:
    """fastmlp, with the methods of the peer that are measured."""

    def __init__(self, net: fm.Network, X: np.ndarray, y: np.ndarray) -> None:
        import numba

        numba.set_num_threads(min(n_cores(), numba.config.NUMBA_NUM_THREADS))
        self.objective = fm.Objective(net, X, y)
        # One that no curve has been made of, whose gradients therefore keep no products.
        plain = fm.Objective(net, X, y)
        self.value, self.value_and_gradient = plain.value, plain.value_and_gradient

    def begin(self, w: np.ndarray, d: np.ndarray) -> None:
        """Prepare trials: a trial computes the value and the derivative."""
        curve = self.objective.along(w, d)
        self.trial = curve.value_and_derivative

    def descend(self, w: np.ndarray, direction: str, iterations: int, tol: float) -> dict:
        """Do so many iterations from w; return what they took and reached."""
        from fastmlp.solvers.line_search import Exact

        reached, search = [], Exact(tol)

        def exact(curve: Any, guess: float | None) -> Any:
            found = search(curve, guess)
            reached.append(abs(found.derivative / curve.derivative(0.0)))  # both remembered
            return found

        result = fm.gradient_descent(
            self.objective, w, direction=direction, line_search=exact, tol=0,
            max_iter=iterations, progress=False,
        )  # fmt: skip
        assert result.nit == iterations, result.message
        seconds = result.history.seconds
        return {
            "seconds": (seconds[-1] - seconds[0]) / iterations,
            "evaluations": result.history.evaluations[1:].astype(int).tolist(),
            "reached": reached,
            "loss": result.fun,
        }


class Peer(TorchDescent):
    """PyTorch and SciPy, with trials that are prepared as ours."""

    def begin(self, w: np.ndarray, d: np.ndarray) -> None:
        self.value_and_gradient(w)
        self._begin(self.torch.from_numpy(d))


def make(name: str, settings: Settings) -> Callable[..., dict[str, Any]]:
    """Return a function that measures all about a contender once."""
    X, y = settings.data()
    net = fm.Network(WIDTHS, output="softmax")
    w = net.init(rng=0)
    ours = name == OURS
    it: Any = OursDescent(net, X, y) if ours else Peer(WIDTHS, X, y, keeps=name == KEEPS)
    d = -np.asarray(it.value_and_gradient(w)[1])

    def seconds(call: Callable, *arguments: Any) -> float:
        began = time.perf_counter()
        call(*arguments)
        return time.perf_counter() - began

    def measure() -> dict[str, Any]:
        found: dict[str, Any] = {"value": statistics.median(seconds(it.value, w) for _ in range(3))}
        it.begin(w, d)
        it.trial(0.01)  # computes the products
        found["trial"] = statistics.median(seconds(it.trial, alpha) for alpha in TRIALS)
        gradients = [seconds(it.value_and_gradient, w) for _ in range(3)]
        for direction in DIRECTIONS:
            found[direction] = it.descend(w, direction, settings.iterations, settings.tol)
            gradients += [seconds(it.value_and_gradient, w) for _ in range(3)]  # clocks move
        found["gradient"] = statistics.median(gradients)
        return found

    return measure


class Figures:
    """What the rounds gave for a contender."""

    def __init__(self, rounds: list[dict[str, Any]]) -> None:
        self.rounds = rounds

    def times(self, what: str) -> list[float]:
        """Return seconds, one for each round."""
        return [
            found[what]["seconds"] if what in DIRECTIONS else found[what] for found in self.rounds
        ]

    def of_searches(self, direction: str, what: str) -> list[float]:
        return self.rounds[-1][direction][what]

    def loss(self, direction: str) -> float:
        return self.rounds[-1][direction]["loss"]


def measure(
    settings: Settings, names: list[str], rounds: int
) -> tuple[dict[str, Figures], dict[str, str]]:
    """Return what the rounds gave by contender, and why others have failed."""
    workers = [Worker(name, make, (name, settings)) for name in names]
    measure_in_rounds(workers, rounds)
    found, failures = known(workers)
    return {name: Figures(rates) for name, rates in found.items()}, failures


def rows(figures: dict[str, Figures], of_time: Callable[[list[float]], str]) -> list[list[str]]:
    """Return the table: a heading, and a line for each contender and direction."""
    table = [[
        "", "direction", "value", "gradient", "trial", "iteration", "/ gradient", "evaluations",
        "reached (at most)", "loss",
    ]]  # fmt: skip
    for name, its in figures.items():
        for direction in DIRECTIONS:
            evaluations = its.of_searches(direction, "evaluations")
            reached = its.of_searches(direction, "reached")
            ratios = ratio(its.times(direction), its.times("gradient")).split()[0]
            table.append([
                name, direction, *(of_time(its.times(each)) for each in ("value", "gradient")),
                of_time(its.times("trial")), of_time(its.times(direction)), ratios,
                f"{statistics.mean(evaluations):.1f} ({min(evaluations)}-{max(evaluations)})",
                f"{statistics.median(reached):.0e} ({max(reached):.0e})",
                f"{its.loss(direction):.4f}",
            ])  # fmt: skip
    return table


def summary(figures: dict[str, Figures]) -> list[str]:
    """Return the ratios, and whether the work was the same."""
    lines, ours = [], figures.get(OURS)
    if ours is None:
        return lines
    for direction in DIRECTIONS:
        cost = ratio(ours.times(direction), ours.times("gradient"))
        lines.append(f"{direction}: our iteration / our gradient: {cost}")
        for name, peer in figures.items():
            if name == OURS:
                continue
            gain = ratio(peer.times(direction), ours.times(direction))
            gap = abs(peer.loss(direction) / ours.loss(direction) - 1)
            work = "equal work" if gap <= SAME else "NOT EQUAL WORK"
            lines.append(
                f"{direction}: {name} / our iteration: {gain}; {work}: losses differ by {gap:.2%}"
            )
    return lines


def milliseconds(times: list[float]) -> str:
    return f"{1e3 * statistics.median(times):.0f} ({1e3 * min(times):.0f}-{1e3 * max(times):.0f})"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.line_search",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", metavar="FOLDER", type=Path, help="of MNIST's IDX files")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--iterations", type=int, default=10, help="default: %(default)s")
    parser.add_argument("--tol", type=float, default=0.01, help="default: %(default)s")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    args = parser.parse_args()
    if min(args.rounds, args.iterations) < 1:
        parser.error("--rounds and --iterations must be at least 1")
    folder = args.data or os.environ.get("FASTMLP_MNIST")
    settings = Settings(Path(folder) if folder else None, args.iterations, args.tol)
    settings.data()  # a wrong folder shows here

    names = [OURS]
    if reason := missing(EAGER):
        print(f"peers left out: {reason}", file=sys.stderr)
    else:
        names += [TORCH, KEEPS]
    print(
        f"{machine()}\n{N_SAMPLES} x 784 ({folder or 'random'}), {args.rounds} rounds of", end=" "
    )
    print(f"{args.iterations} iterations; times in ms, median (lowest-highest)\n", flush=True)
    figures, failures = measure(settings, names, args.rounds)
    for name, failure in failures.items():
        print(f"{name} left out: {failure}", file=sys.stderr)
    table = rows(figures, milliseconds)
    print(markdown(table) if args.markdown else aligned(table))
    print("", *summary(figures), sep="\n")


if __name__ == "__main__":
    main()
