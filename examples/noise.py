"""Stochastic gradients and noise: which steps converge, how fast, and where others stall.

python examples/noise.py [--out FOLDER] [--quick]

Prints a table, writes a picture (which takes matplotlib), and fails if a claim does not hold. The
problem is linear least squares with noisy labels: a network of one layer, one sample an update,
drawn with replacement. With the mean E(w) = mean of (x.w - y)^2 / 2, its Hessian H, the minimiser
w* and C, the covariance of the samples' gradients there:

- A constant step a stalls: as all x have norm 1 here, the mean excess E - E* settles at exactly
  E* a / (2 - a). A ten times smaller step has a ten times lower floor, which it takes ten times
  longer to reach; a step that is reduced in time goes down from floor to floor.
- Robbins and Monro's steps go to the minimiser. With c / k the excess falls like 1 / k where c is
  above 1 / (2 mu), mu being the Hessian's smallest eigenvalue; below, only like k^(-2 c mu).
- The mean of iterates whose steps fall slowly, like k^(-2/3) (Polyak, Ruppert), reaches without
  knowing mu the least excess that is possible for many updates, trace(H^-1 C) / (2 k).
- A cosine ends far below the floor of its first step, in a number of updates known before.

The picture shows medians over seeds, with bands from quartile to quartile, of the excess in units
of E*, averaged over a twentieth of a decade of updates.

References: Robbins and Monro, "A stochastic approximation method", 1951. Polyak and Juditsky,
"Acceleration of stochastic approximation by averaging", 1992. Bottou, Curtis and Nocedal,
"Optimization methods for large-scale machine learning", 2018, theorems 4.6 and 4.7. Bach and
Moulines, "Non-strongly-convex smooth stochastic approximation with convergence rate O(1/n)", 2013.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import fastmlp as fm

CONSTANTS = (0.5, 0.05, 0.005)
GOOD, BAD = 1.0, 0.125  # c mu of the inverse steps; 1/2 is between 1 / k and slower
STAIRS, COSINE = "step decay", "cosine"
INVERSE, TIMID = "inverse", "inverse, c too small"
SLOW, AVERAGED = "inverse power 2/3", "averaged"

# The problem ---------------------------------------------------------------------------------


@dataclass
class Problem:
    """Least squares with noisy labels, and what is known of them."""

    net: fm.Network
    X: np.ndarray
    y: np.ndarray
    hessian: np.ndarray
    minimiser: np.ndarray
    minimum: float
    covariance: np.ndarray  # C, of the samples' gradients at the minimiser

    @property
    def curvature(self) -> float:
        """Return mu, the Hessian's smallest eigenvalue."""
        return float(np.linalg.eigvalsh(self.hessian)[0])

    @property
    def optimum(self) -> float:
        """Return the limit of k times the least possible excess, by the minimum."""
        return float(np.trace(np.linalg.solve(self.hessian, self.covariance)) / 2 / self.minimum)

    def inverse_limit(self, c: float) -> float:
        """Return the limit of k times the excess with steps c / k, by the minimum.

        k times the covariance S of the iterates solves (c H - I / 2) S + S (c H - I / 2) = c^2 C.
        """
        eigenvalues, vectors = np.linalg.eigh(self.hessian)
        variances = (
            c**2 * np.diag(vectors.T @ self.covariance @ vectors) / (2 * c * eigenvalues - 1)
        )
        return float(eigenvalues @ variances / 2 / self.minimum)


def least_squares(n_samples: int = 1000, n_features: int = 20, kappa: float = 10) -> Problem:
    """Return n samples of norm 1, more along some axes than others, and y = x.w + noise."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_samples, n_features)) * kappa ** np.linspace(-0.25, 0.25, n_features)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    y = X @ rng.choice([-1.0, 1.0], n_features) + 0.1 * rng.standard_normal(n_samples)

    minimiser = np.linalg.lstsq(X, y)[0]
    residuals = X @ minimiser - y
    hessian = X.T @ X / n_samples
    covariance = (X.T * residuals**2) @ X / n_samples
    minimum = np.mean(residuals**2) / 2
    net = fm.Network([n_features, 1], loss="half_squared_error", bias=False, dtype="float64")
    return Problem(net, X, y, hessian, minimiser, minimum, covariance)


class Excess(fm.callbacks.Callback):
    """Keep (E(w) - E*) / E* after each so many updates; exact, as E is quadratic."""

    def __init__(self, problem: Problem, every_n_steps: int) -> None:
        self.problem, self.every_n_steps = problem, every_n_steps

    def on_start(self, state: Any) -> None:
        """Forget what was before."""
        self.values: list[float] = []

    def on_steps(self, state: Any) -> None:
        """Look at the parameters, or at their mean where they are averaged."""
        error = state.x - self.problem.minimiser
        self.values.append(error @ self.problem.hessian @ error / 2 / self.problem.minimum)


# Methods, and what is claimed of them --------------------------------------------------------


def methods(problem: Problem, n_updates: int) -> dict[str, dict[str, Any]]:
    """Return what each method gives `fm.sgd`."""
    schedules, mu, third = fm.schedules, problem.curvature, n_updates // 3
    slow = schedules.inverse_power(CONSTANTS[0], power=2 / 3, scale=100)
    return {
        **{constant(a): {"step": a} for a in CONSTANTS},
        STAIRS: {"step": schedules.step_decay(CONSTANTS[0], 0.1, milestones=[third // 8, third])},
        INVERSE: {"step": inverse(GOOD / mu)},
        TIMID: {"step": inverse(BAD / mu)},
        SLOW: {"step": slow},
        AVERAGED: {"step": slow, "average": n_updates // 100},
        COSINE: {"step": schedules.cosine(CONSTANTS[0], n_updates)},
    }


def constant(a: float) -> str:
    return f"constant, {a:g}"


def inverse(c: float) -> Any:
    """Return c / (k + k_0), the first step being no larger than the constant ones."""
    first = CONSTANTS[0]
    return fm.schedules.inverse_power(first, power=1, scale=c / first)


@dataclass
class Runs:
    """What the methods did: excesses by the minimum (n_seeds, n_points), after k updates."""

    k: np.ndarray
    excesses: dict[str, np.ndarray]


def run(problem: Problem, n_updates: int, n_seeds: int, every: int) -> Runs:
    """Run each method from 0, once with each seed; look after each so many updates."""
    start, epochs = np.zeros(problem.net.n_params), n_updates // len(problem.X)
    excesses = {}
    for method, chosen in methods(problem, n_updates).items():
        kept, excess = [], Excess(problem, every)
        for seed in range(n_seeds):
            fm.sgd(
                problem.net,
                problem.X,
                problem.y,
                start,
                order="replacement",
                epochs=epochs,
                rng=seed,
                callback=excess,
                progress=False,
                **chosen,
            )
            kept.append(excess.values)
        excesses[method] = np.array(kept)
    return Runs(every * np.arange(1, 1 + excesses[INVERSE].shape[1]), excesses)


@dataclass
class Claim:
    """A measured number, and the range that theory has it in."""

    method: str
    quantity: str
    measured: float
    least: float
    most: float

    @property
    def ok(self) -> bool:
        """Return whether it is in the range."""
        return self.least <= self.measured <= self.most


def exponent(k: np.ndarray, excess: np.ndarray) -> float:
    """Return the p of the k^p that fits best, each decade of k counting as much as another."""
    return float(np.polyfit(np.log(k), np.log(excess), 1, w=1 / np.sqrt(k))[0])


def claims(problem: Problem, runs: Runs) -> list[Claim]:
    """Compare means over the seeds, late in the runs, with theory.

    What is measured is random: floors are means of many independent iterates, limits of hardly more
    than one from each seed.
    """
    late, last_decade = runs.k > runs.k[-1] / 2, runs.k > runs.k[-1] / 10
    means = {method: excess.mean(axis=0) for method, excess in runs.excesses.items()}
    found = []

    def claim(method: str, quantity: str, measured: float, around: float, *slack: float) -> None:
        least, most = around - slack[0], around + slack[-1]
        found.append(Claim(method, quantity, float(measured), least, most))

    for a in CONSTANTS:
        claim(constant(a), "excess / floor", means[constant(a)][late].mean() / floor(a), 1, 0.1)
    ratio = means[STAIRS][late].mean() / floor(CONSTANTS[-1])
    claim(STAIRS, "excess / floor of the last step", ratio, 1, 0.1)
    limits = {INVERSE: problem.inverse_limit(GOOD / problem.curvature), AVERAGED: problem.optimum}
    for method, limit in limits.items():
        claim(method, "k excess / limit", (means[method] * runs.k)[late].mean() / limit, 1, 0.25)
    # Too small a c leaves a sum of powers, of which that of mu is the slowest.
    powers = {
        INVERSE: (-1, 0.2),
        TIMID: (-2 * BAD, 0.15, 0),
        SLOW: (-2 / 3, 0.1),
        AVERAGED: (-1, 0.2),
    }
    for method, power in powers.items():
        fitted = exponent(runs.k[last_decade], means[method][last_decade])
        claim(method, "exponent of k, fitted", fitted, *power)
    last = means[COSINE][-1] / floor(CONSTANTS[0])
    claim(COSINE, "last excess / floor of the first step", last, 0, 0, 0.03)
    return found


def floor(a: float) -> float:
    """Return the mean excess, by the minimum, at which the constant step a settles."""
    return a / (2 - a)


# The table and the picture -------------------------------------------------------------------


def print_claims(found: list[Claim]) -> None:
    print(f"{'method':24}{'measured':46}{'range':>20}  ok")
    for claim in found:
        between = f"{claim.least:.3g} to {claim.most:.3g}"
        print(
            f"{claim.method:24}{claim.quantity:38}{claim.measured:8.4f}"
            f"{between:>20}  {'yes' if claim.ok else 'NO'}"
        )


def smoothed(runs: Runs, method: str, per_decade: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Return k and excesses (n_seeds, n_bins), averaged over each part of a decade of k."""
    bins = np.unique(np.floor(per_decade * np.log10(runs.k)), return_index=True)[1]
    counts = np.diff([*bins, len(runs.k)])
    k = np.exp(np.add.reduceat(np.log(runs.k), bins) / counts)
    return k, np.add.reduceat(runs.excesses[method], bins, axis=1) / counts


def draw(problem: Problem, runs: Runs) -> Any:
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(11, 5), sharey=True, layout="constrained")
    shown = (
        {
            constant(0.5): ("#D55E00", "constant 0.5"),
            constant(0.05): ("#E69F00", "constant 0.05"),
            constant(0.005): ("#CC79A7", "constant 0.005"),
            STAIRS: ("#0072B2", "step decay: 0.5,\nthen 0.05, then 0.005"),
        },
        {
            TIMID: ("#D55E00", f"$c/k$, too small:\n$c = 1/({1 / BAD:g}\\mu)$"),
            COSINE: ("#CC79A7", "cosine from 0.5 to 0"),
            SLOW: ("#E69F00", "$k^{-2/3}$"),
            INVERSE: ("#0072B2", "$c/k$, $c = 1/\\mu$"),
            AVERAGED: ("#009E73", "mean of iterates\nwith $k^{-2/3}$"),
        },
    )
    for panel, curves in zip(panels, shown, strict=True):
        ends = []
        for method, (colour, label) in curves.items():
            k, excess = smoothed(runs, method)
            lower, median, upper = np.quantile(excess, [0.25, 0.5, 0.75], axis=0)
            panel.fill_between(k, lower, upper, color=colour, alpha=0.2, lw=0)
            panel.loglog(k, median, color=colour, lw=1.8)
            ends.append((float(median[-1]), label, colour))
        label_ends(panel, ends)
        panel.set(xlabel="updates $k$ (one sample each)", xlim=(runs.k[0], runs.k[-1]))
        panel.grid(True, color="0.9")
        panel.spines[["top", "right"]].set_visible(False)

    for a in CONSTANTS:
        panels[0].axhline(floor(a), color="k", ls=":", lw=1.2)
    panels[0].text(runs.k[0] * 1.15, floor(CONSTANTS[-1]) * 1.15, "floors $a\\,/\\,(2 - a)$")
    panels[0].set(
        ylabel="excess $(E_k - E_*)\\,/\\,E_*$", ylim=(0.3 * problem.optimum / k[-1], 200)
    )
    panels[0].set_title("Constant steps stall at a floor proportional to the step $a$")
    panels[1].loglog(k, problem.optimum / k, "k--", lw=1.2)
    at = len(k) // 3
    panels[1].annotate(
        "least possible:\ntr$(H^{-1}C)\\,/\\,(2k\\,E_*)$",
        (k[at], problem.optimum / k[at]),
        (-6, -2),
        textcoords="offset points",
        ha="right",
        va="top",
    )
    panels[1].set_title("Steps that fall converge; averaging is optimal")
    return figure


def label_ends(panel: Any, ends: list[tuple[float, str, str]], apart: float = 0.16) -> None:
    """Write labels right of where curves end, a line's height apart at least (in decades)."""
    height, last = np.inf, np.inf
    for end, label, colour in sorted(ends, reverse=True):
        lines = label.count("\n") + 1
        height = min(np.log10(end), last - apart * lines)
        last = height - apart * lines
        panel.annotate(
            label,
            (1, 10**height),
            (6, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            color=colour,
            va="center",
        )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", metavar="FOLDER", type=Path, default=Path(), help="for the picture"
    )
    parser.add_argument("--quick", action="store_true", help="a smaller problem, fewer updates")
    args = parser.parse_args(arguments)

    problem = least_squares(n_features=10, kappa=2) if args.quick else least_squares()
    n_updates = 40_000 if args.quick else 200_000
    runs = run(problem, n_updates, n_seeds=16, every=n_updates // 2000)
    found = claims(problem, runs)
    print_claims(found)
    args.out.mkdir(parents=True, exist_ok=True)
    draw(problem, runs).savefig(args.out / "noise.png", dpi=150)
    print(args.out / "noise.png")
    return 0 if all(claim.ok for claim in found) else 1


if __name__ == "__main__":
    sys.exit(main())
