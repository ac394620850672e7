"""What a training step costs with each update rule, beside PyTorch and JAX.

python -m bench.rules [--works mnist wide] [--rules sgd adam ...] [--rounds 5] [--markdown]

For each rule, each contender warms up in a process of its own: first for an epoch, the samples in
order, all from the same parameters; how much the loss has changed shows whether they do the same.
Then come rounds: in each, every contender goes back to the start and trains for as many whole
epochs as take about 0.4 s, shuffling included. Ratios are of times of the same round, since the
machine's clock moves; times and ratios are medians over rounds, with lowest and highest.

All train on the same samples, in whole batches. The peers keep the memory of their states, ours
allocates it anew in each call, which is measured, over at least 16 steps. "torch" is torch.optim
with its defaults (on CPUs, loops over parameters), with foreach=True, and with fused=True where the
optimiser has that on CPUs. Rprop is left out: it takes batches of all samples.

On 2 cores, a rule takes about 50 s on mnist and two minutes on wide. Nothing else may run: threads
that wait for one another lose far more than their share of a core to another process.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bench.contenders import EAGER, JAX, OURS, fastmlp, jax, missing
from bench.machine import machine
from bench.tables import aligned, markdown, ratio
from bench.training import OPTIMIZERS, Torch
from bench.workers import Worker, measure_in_rounds
from bench.works import STEP, WORKS, Work, epochs_for, timed

OUR_SGD = "fastmlp's sgd"
# By name: the optimiser's implementation.
TORCH = {"torch": "", "torch foreach": "foreach", "torch fused": "fused"}
PEERS = (*TORCH, JAX)
NOT_FUSED = {"rmsprop"}
# One-time costs of a call of ours are spread over at least so many steps.
LEAST_STEPS = 16
# The largest difference between changes of the loss, in parts of ours.
SAME = 0.02


def make(name: str, work: Work) -> Callable[[], tuple[float, float]]:
    """Return a function that measures seconds per step; with the loss's change in an epoch."""
    ours = name in (OURS, OUR_SGD)
    train: Any
    if ours:
        train = fastmlp(work)
    elif name == JAX:
        train = jax(work)
    else:
        train = Torch(work, TORCH[name])
    before = train.loss()
    train(1, "sequential")
    change = train.loss() - before
    epochs = epochs_for(train, warm=True)
    if ours:
        epochs = max(epochs, -(-LEAST_STEPS * work.batch_size // work.n_samples))

    def measure() -> tuple[float, float]:
        if not ours:
            train.restart()
        seconds, n_samples = timed(train, epochs)
        return seconds / n_samples * work.batch_size, change

    return measure


def contenders(rule: str) -> list[str]:
    """Return who takes part."""
    names = [OURS] if rule == "sgd" else [OURS, OUR_SGD]
    if not missing(EAGER):
        names += [name for name in TORCH if name != "torch fused" or rule not in NOT_FUSED]
    return names if missing(JAX) else [*names, JAX]


class Outcome:
    """What the rounds gave for a work and a rule: seconds by contender, and losses' changes."""

    def __init__(self, work: Work, rule: str, rounds: int) -> None:
        workers = [
            Worker(name, make, (name, replace(work, rule="sgd" if name == OUR_SGD else rule)))
            for name in contenders(rule)
        ]
        measure_in_rounds(workers, rounds)
        for worker in workers:
            if worker.failure:
                print(f"{work.name}, {rule}: {worker.name} left out: {worker.failure}",
                      file=sys.stderr, flush=True)  # fmt: skip
        known = [worker for worker in workers if not worker.failure]
        self.work, self.rule = work, rule
        self.seconds = {worker.name: [each for each, _ in worker.rates] for worker in known}
        self.changes = {worker.name: worker.rates[0][1] for worker in known}
        self.changes.pop(OUR_SGD, None)

    def row(self) -> list[str]:
        """Return a line of the table; cells of who did not take part are empty."""
        ours, peers = self.seconds.get(OURS), [p for p in PEERS if p in self.seconds]
        row = [self.rule, *(milliseconds(self.seconds.get(name)) for name in (OURS, *PEERS))]
        if ours is None:
            return row + [""] * (len(HEADING) - len(row))
        fastest = [min(times) for times in zip(*(self.seconds[p] for p in peers), strict=True)]
        row.append(ratio(fastest, ours) if peers else "")
        row.append(ratio(ours, self.seconds[OUR_SGD]) if OUR_SGD in self.seconds else "")
        return [*row, self.same_work()]

    def same_work(self) -> str:
        """Return how the loss changed with ours, and by what part of that with a peer at most."""
        ours = self.changes[OURS]
        gap = max(abs(change / ours - 1) for change in self.changes.values())
        return f"{ours:+.4f}, {'' if gap <= SAME else 'NOT EQUAL: '}{gap:.1e}"


HEADING = [
    "", OURS, *PEERS, "fastest peer / ours", f"ours / {OUR_SGD}", "loss in an epoch, difference",
]  # fmt: skip


def milliseconds(seconds: list[float] | None) -> str:
    if seconds is None:
        return ""
    median, low, high = (1e3 * f(seconds) for f in (statistics.median, min, max))
    return f"{median:.3g} ({low:.3g}-{high:.3g})"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.rules",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--works", nargs="+", choices=WORKS, default=["mnist", "wide"], metavar="work",
        help=f"of {', '.join(WORKS)}; default: mnist wide",
    )  # fmt: skip
    parser.add_argument(
        "--rules", nargs="+", choices=OPTIMIZERS, default=list(OPTIMIZERS), metavar="rule",
        help=f"of {', '.join(OPTIMIZERS)}; default: all",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error("--rounds must be at least 1")
    print(machine(), flush=True)
    for name in args.works:
        work = WORKS[name].whole()
        rows = []
        for rule in args.rules:
            rows.append(Outcome(work, rule, args.rounds).row())
            print(f"{name}, {rule}: done", file=sys.stderr, flush=True)
        print(f"\n{work}; step {STEP}; ms a step, {args.rounds} rounds\n")
        print((markdown if args.markdown else aligned)([HEADING, *rows]), flush=True)


if __name__ == "__main__":
    main()
