"""Rates of convergence, measured beside the theory's, and drawn.

python examples/convergence.py [--out FOLDER] [--quick]

Prints tables and writes two pictures (which takes matplotlib). The problems:

- Strongly convex: least squares whose Hessian has eigenvalues from 1 / kappa to 1. Each iteration
  multiplies the excess E_k - E* by a factor.
- Convex, with eigenvalues so small that it might as well not be strongly so: the excess falls as a
  power of k. The start's squared error has a share of lambda^0.1 at each of the eigenvalues lambda,
  which are equally far apart on a logarithmic axis. With equal shares a fixed step would give
  k^-1 and Nesterov's method k^-2; so it is k^-1.1 and k^-2.2 for large k.
- Nesterov's worst functions: for each k there is one on which no method that moves along gradients
  gets below about 0.1 / k^2 in k iterations.
- Logistic regression: methods side by side, by iterations and by seconds.

All are networks of one layer, in float64.

References: Nesterov, "Introductory lectures on convex optimization", 2004, sections 2.1.2 and 2.2.
Nocedal and Wright, "Numerical optimization", 2006, theorems 3.3, 3.4 and section 5.1. Beck and
Teboulle, "A fast iterative shrinkage-thresholding algorithm", 2009, theorem 4.4.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import fastmlp as fm

FIXED, STEEPEST, CONJUGATE = "steepest, fixed step", "steepest, exact", "conjugate, exact"
NESTEROV, LBFGS = "Nesterov, fixed step", "L-BFGS"
# Okabe and Ito's colours, which the colour-blind can tell apart.
COLOURS = {
    FIXED: "#E69F00",
    STEEPEST: "#0072B2",
    CONJUGATE: "#009E73",
    NESTEROV: "#D55E00",
    LBFGS: "#CC79A7",
}
# Of the start's excess. An excess is a sum of squares, so here rounding is worth about 1e-8 of it.
FLOOR = 1e-16

# Problems ------------------------------------------------------------------------------------


@dataclass
class Problem:
    """An objective whose minimum is known, and where to start."""

    objective: fm.Objective
    start: np.ndarray
    minimum: float
    largest: float  # L: no eigenvalue of the Hessian is larger
    squared_distance: float = np.nan  # from the start to the minimiser

    @property
    def scale(self) -> float:
        """Return L |w_0 - w*|^2, which the bounds for convex functions are multiples of."""
        return self.largest * self.squared_distance


def least_squares(X: np.ndarray, y: np.ndarray) -> fm.Objective:
    """Return E(w) = |X w - y|^2 / 2, whose Hessian is X^T X."""
    net = fm.Network([X.shape[1], 1], loss="half_squared_error", bias=False, dtype="float64")
    return fm.Objective(net, X, y, reduction="sum")


def quadratic(eigenvalues: np.ndarray, error: np.ndarray) -> Problem:
    """Return least squares with a minimum of 0 and these eigenvalues of the Hessian.

    ``error`` is what the start lacks, by eigenvectors. They are random.
    """
    n = len(eigenvalues)
    vectors = np.linalg.qr(np.random.default_rng(0).standard_normal((n, n)))[0]
    X = np.sqrt(eigenvalues)[:, None] * vectors.T
    objective = least_squares(X, X @ (vectors @ error))
    return Problem(objective, np.zeros(n), 0.0, float(eigenvalues.max()), float(error @ error))


def strongly_convex(n: int = 50, kappa: float = 100, worst: bool = False) -> Problem:
    """Return a quadratic of this condition number.

    The worst start lies along the two extreme eigenvectors, such that each exact step along the
    gradient loses equally much: there, Kantorovich's bound is reached.
    """
    eigenvalues = np.geomspace(1 / kappa, 1, n)
    error = np.random.default_rng(1).standard_normal(n)
    if worst:
        error[0], error[1:-1], error[-1] = kappa, 0, 1
    return quadratic(eigenvalues, error)


def convex(n: int = 400, spread: float = 0.1) -> Problem:
    """Return a quadratic whose smallest eigenvalues 1000 iterations do not feel."""
    eigenvalues = np.geomspace(1e-8, 1, n)
    return quadratic(eigenvalues, eigenvalues ** (spread / 2))


def worst_function(k: int) -> Problem:
    """Return Nesterov's function of n = 2 k + 1 unknowns.

    The residuals are w_1 - 1, w_2 - w_1, ..., -w_n, the Hessian is tridiagonal (-1, 2, -1). From 0,
    each iteration reaches one more unknown.
    """
    n = 2 * k + 1
    X = np.eye(n + 1, n) - np.eye(n + 1, n, -1)
    minimiser = 1 - np.arange(1, n + 1) / (n + 1)
    objective = least_squares(X, np.eye(n + 1)[0])
    return Problem(objective, np.zeros(n), 0.5 / (n + 1), 4.0, float(minimiser @ minimiser))


def logistic(n_samples: int = 20_000, n_features: int = 100, l2: float = 1e-4) -> Problem:
    """Return logistic regression on correlated features of different sizes."""
    rng = np.random.default_rng(2)
    X = rng.standard_normal((n_samples, n_features)) * np.geomspace(0.1, 3, n_features)
    X[:, 1:] += 0.5 * X[:, :-1]
    truth = rng.standard_normal(n_features) / np.sqrt(n_features)
    y = (rng.random(n_samples) < 1 / (1 + np.exp(-X @ truth))).astype(float)
    net = fm.Network([n_features, 1], loss="binary_cross_entropy", dtype="float64")
    objective = fm.Objective(net, X, y, l2=l2)
    start = np.zeros(net.n_params)
    best = fm.minimize(objective, start, method="Newton-CG", tol=1e-12, max_iter=200)
    with_ones = np.column_stack([X, np.ones(n_samples)])
    largest = np.linalg.norm(with_ones, 2) ** 2 / (4 * n_samples) + l2  # sigmoid' <= 1 / 4
    return Problem(objective, start, best.fun, float(largest))


# Methods and their rates ---------------------------------------------------------------------


@dataclass
class Run:
    """What a method did: the excess E_k - E* and the seconds since the start, by iteration."""

    method: str
    excess: np.ndarray
    seconds: np.ndarray


def run(problem: Problem, method: str, iterations: int, tol: float = 0.0) -> Run:
    """Minimise from the problem's start. Fixed steps are 1 / L."""
    objective, start = problem.objective, problem.start
    limits = {"tol": tol, "max_iter": iterations}
    if method == LBFGS:
        result = fm.minimize(objective, start, "L-BFGS-B", **limits)
    else:
        direction = method.split(",")[0].lower()
        line_search = "exact" if method.endswith("exact") else 1 / problem.largest
        result = fm.gradient_descent(
            objective, start, direction=direction, line_search=line_search, **limits
        )
    history = result.history
    return Run(method, history.value - problem.minimum, history.seconds)


@dataclass
class Rate:
    """A measured rate beside its bound."""

    problem: str
    method: str
    quantity: str
    measured: float
    bound: float
    at_least: bool = False

    @property
    def ok(self) -> bool:
        """Return whether the bound is kept, up to rounding."""
        above = self.measured - self.bound
        return (-above if self.at_least else above) <= 1e-6 * abs(self.bound)


def above_floor(excess: np.ndarray) -> np.ndarray:
    """Return the excesses up to where rounding takes over, by that of the start."""
    small = np.flatnonzero(excess <= FLOOR * excess[0])
    return excess[: small[0] if len(small) else None] / excess[0]


def factors(excess: np.ndarray) -> dict[str, float]:
    """Return what an iteration multiplies the excess by: in the second half, and at most."""
    late = np.log(excess[len(excess) // 2 :])
    fitted = np.exp(np.polyfit(np.arange(len(late)), late, 1)[0])
    largest = np.max(excess[1:] / excess[:-1])
    return {"factor, fitted": float(fitted), "factor, largest": float(largest)}


def exponent(excess: np.ndarray) -> float:
    """Return the p of the k^p that fits best from a tenth of all iterations on."""
    k = np.arange(len(excess))
    late = k >= k[-1] / 10
    return float(np.polyfit(np.log(k[late]), np.log(excess[late]), 1)[0])


def kantorovich(kappa: float) -> float:
    """Bound the factor of an exact step along the gradient."""
    return ((kappa - 1) / (kappa + 1)) ** 2


def chebyshev(k: np.ndarray, kappa: float) -> np.ndarray:
    """Bound the excess of conjugate gradients, by the start's."""
    root = np.sqrt(kappa)
    return 4 * ((root - 1) / (root + 1)) ** (2 * k)


def steepest_bound(k: np.ndarray) -> np.ndarray:
    """Bound the excess on convex functions, by L |w_0 - w*|^2."""
    return 2 / (k + 4)


def nesterov_bound(k: np.ndarray) -> np.ndarray:
    """Bound the excess on convex functions, by L |w_0 - w*|^2."""
    return 2 / (k + 1) ** 2


def lower_bound(k: np.ndarray) -> np.ndarray:
    """Bound any method's excess on the worst function for k from below, by L |w_0 - w*|^2."""
    return 3 / (32 * (k + 1) ** 2)


def linear_rates(iterations: int, kappa: float = 100) -> tuple[list[Run], list[Rate]]:
    """Measure on strongly convex quadratics; excesses by the start's."""
    name, runs, rates = f"strongly convex, kappa {kappa:g}", [], []
    for method, worst, bound in (
        (STEEPEST, True, kantorovich(kappa)),
        (STEEPEST, False, kantorovich(kappa)),
        (FIXED, False, (1 - 1 / kappa) ** 2),
        (CONJUGATE, False, 1),
    ):
        done = run(strongly_convex(kappa=kappa, worst=worst), method, iterations)
        done.excess = above_floor(done.excess)
        done.method += ", worst start" if worst else ""
        measured = factors(done.excess)
        if method == CONJUGATE:
            by_bound = done.excess / chebyshev(np.arange(len(done.excess)), kappa)
            measured = {"excess / bound, largest": float(by_bound.max())}
        rates += [Rate(name, done.method, what, each, bound) for what, each in measured.items()]
        runs.append(done)
    return runs, rates


def power_rates(iterations: int) -> tuple[list[Run], list[Rate]]:
    """Measure on a quadratic that is hardly strongly convex; excesses by L |w_0 - w*|^2."""
    problem, runs, rates = convex(), [], []
    for method, power, bound in (
        (FIXED, -1, steepest_bound),
        (STEEPEST, -1, steepest_bound),
        (NESTEROV, -2, nesterov_bound),
        (CONJUGATE, -2, nesterov_bound),
    ):
        done = run(problem, method, iterations)
        done.excess = done.excess / problem.scale
        by_bound = done.excess / bound(np.arange(len(done.excess)))
        rates += [
            Rate("convex", method, "exponent of k, fitted", exponent(done.excess), power),
            Rate("convex", method, "excess / bound, largest", float(by_bound.max()), 1),
        ]
        runs.append(done)
    return runs, rates


def worst_rates(largest_k: int) -> tuple[np.ndarray, dict[str, np.ndarray], list[Rate]]:
    """Measure after k iterations on the worst function for k: return the k, excesses, rates."""
    k = np.unique(np.geomspace(2, largest_k, 12).astype(int))
    problems = [worst_function(int(each)) for each in k]
    excesses, rates, bounds = {}, [], (steepest_bound, nesterov_bound, nesterov_bound)
    for method, bound in zip((STEEPEST, NESTEROV, CONJUGATE), bounds, strict=True):
        excess = np.array([
            run(problem, method, int(each)).excess[-1] / problem.scale
            for each, problem in zip(k, problems, strict=True)
        ])  # fmt: skip
        highest, lowest = np.max(excess / bound(k)), np.min(excess / lower_bound(k))
        rates += [
            Rate("worst functions", method, "excess / bound, largest", highest, 1),
            Rate("worst functions", method, "excess / lower bound, least", lowest, 1, True),
        ]
        excesses[method] = excess
    return k, excesses, rates


# Tables and pictures -------------------------------------------------------------------------


def print_rates(rates: list[Rate]) -> None:
    print(f"{'problem':28}{'method':30}{'measured':36}{'bound':>12}  ok")
    for rate in rates:
        bound = f"{'>=' if rate.at_least else '<='} {rate.bound:.5g}"
        print(
            f"{rate.problem:28}{rate.method:30}{rate.quantity:28}{rate.measured:8.4f}"
            f"{bound:>12}  {'yes' if rate.ok else 'NO'}"
        )


def print_runs(runs: list[Run], reach: float = 1e-6) -> None:
    header = f"excess {reach:g} of the start's after"
    print(f"\n{'logistic regression':28}{header:>32}{'seconds':>10}")
    for each in runs:
        there = np.flatnonzero(each.excess <= reach * each.excess[0])
        if len(there):
            print(f"{each.method:28}{there[0]:21} iterations{each.seconds[there[0]]:10.3f}")
        else:
            print(f"{each.method:28}{f'not in {len(each.excess) - 1} iterations':>32}")


def draw_rates(
    linear: list[Run], power: list[Run], worst: tuple[np.ndarray, dict], kappa: float
) -> Any:
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 3, figsize=(15, 5), layout="constrained")
    by_start, by_scale = "$(E_k - E_*)\\,/\\,(E_0 - E_*)$", "$(E_k - E_*)\\,/\\,L|w_0 - w_*|^2$"
    for each in linear:
        method = each.method.removesuffix(", worst start")
        style = {} if each.method == method else {"marker": "o", "markevery": 10, "ms": 4}
        panels[0].semilogy(each.excess, color=COLOURS[method], label=each.method, **style)
    k = np.arange(len(linear[0].excess))
    for bound, line, label in (
        (kantorovich(kappa) ** k, "k--", "$((\\kappa - 1)/(\\kappa + 1))^{2k}$"),
        (chebyshev(k, kappa), "k:", "$4\\,((\\sqrt{\\kappa} - 1)/(\\sqrt{\\kappa} + 1))^{2k}$"),
    ):
        panels[0].semilogy(k, bound, line, lw=1.2, label=label)
    panels[0].set(xlabel="iteration k", ylabel=by_start, ylim=(1e-16, 10))
    panels[0].set_title(f"Strongly convex, $\\kappa$ = {kappa:g}: a factor an iteration")

    for each in power:
        label = f"{each.method}: $k^{{{exponent(each.excess):.2f}}}$"
        k = np.arange(1, len(each.excess))
        panels[1].loglog(k, each.excess[1:], color=COLOURS[each.method], label=label)
    panels[1].loglog(k, steepest_bound(k), "k--", lw=1.2, label="$2/(k + 4)$")
    panels[1].loglog(k, nesterov_bound(k), "k:", lw=1.2, label="$2/(k + 1)^2$")
    panels[1].set(xlabel="iteration k", ylabel=by_scale, title="Convex: a power of k")

    k, excesses = worst
    for method, excess in excesses.items():
        panels[2].loglog(k, excess, "o-", ms=4, color=COLOURS[method], label=method)
    panels[2].loglog(k, nesterov_bound(k), "k:", lw=1.2, label="$2/(k + 1)^2$: Nesterov's bound")
    panels[2].loglog(k, lower_bound(k), "k-.", lw=1.2, label="$3/32(k + 1)^2$: none below")
    panels[2].set(xlabel="iterations k, of 2k + 1 unknowns", ylabel=by_scale, xlim=(1, None))
    panels[2].set_title("Nesterov's worst function for each k")
    return figure


def draw_runs(runs: list[Run], title: str) -> Any:
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(11, 5), sharey=True, layout="constrained")
    for each in runs:
        excess = each.excess / each.excess[0]
        shown = np.flatnonzero(excess > 1e-13)[1:]
        for panel, x in zip(panels, (shown, each.seconds[shown]), strict=True):
            panel.loglog(x, excess[shown], color=COLOURS[each.method], label=each.method)
    panels[0].set(xlabel="iteration k", ylabel="$(E_k - E_*)\\,/\\,(E_0 - E_*)$", title=title)
    panels[1].set(xlabel="time (s)", title="The same runs by time")
    return figure


def save(figure: Any, path: Path) -> None:
    for panel in figure.axes:
        panel.grid(True, color="0.9")
        panel.legend(fontsize="small", frameon=False)
        panel.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    print(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", metavar="FOLDER", type=Path, default=Path(), help="for pictures")
    parser.add_argument("--quick", action="store_true", help="fewer iterations, smaller data")
    args = parser.parse_args()

    kappa = 100.0
    linear, rates = linear_rates(200, kappa)
    power, more = power_rates(200 if args.quick else 1000)
    k, excesses, most = worst_rates(50 if args.quick else 250)
    print_rates([*rates, *more, *most])

    problem = logistic(2000, 20) if args.quick else logistic()
    for method in COLOURS:
        run(problem, method, 2)  # compiling and importing are not to be timed
    runs = [run(problem, method, 300 if args.quick else 1000, 1e-9) for method in COLOURS]
    print_runs(runs)
    title = f"Logistic regression, {len(problem.objective.X):,} × {len(problem.start)}"
    save(draw_rates(linear, power, (k, excesses), kappa), args.out / "rates.png")
    save(draw_runs(runs, title), args.out / "methods.png")


if __name__ == "__main__":
    main()
