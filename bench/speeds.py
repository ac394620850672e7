"""How fast contenders train on the works of `bench.works`.

Each contender warms up in a process of its own: it trains for some epochs from the start, which
show by the loss whether all do the same. Then come rounds: in each, every contender goes back to
the start and trains once for as many whole epochs as take about 0.4 s (at least one), shuffling
included, and so does the arithmetic's peak.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from bench.contenders import CONTENDERS
from bench.equal_work import EPOCHS, differing, mean_loss
from bench.outcomes import Outcome
from bench.workers import Worker, known, measure_in_rounds, peak
from bench.works import WORKS, Work, epochs_for, timed

PEAK = "peak"
GROUPS: dict[str, dict[str, Work]] = {
    "sgd": {name: work.whole() for name, work in WORKS.items()},
    "tanh": {name: replace(work.whole(), hidden="tanh") for name, work in WORKS.items()},
    "adam": {
        name: replace(WORKS[name].whole(), rule="adam") for name in ("small", "mnist", "large")
    },
}


def make(name: str, work: Work, epochs: int | None) -> Callable[[], tuple[float, float]]:
    """Return a function that measures samples a second; with the loss after EPOCHS epochs."""
    train = CONTENDERS[name].make(work)
    train.restart()
    train(EPOCHS)
    loss = mean_loss(train.layers(), *work.data(), work.hidden)
    n_epochs = epochs_for(train, warm=True) if epochs is None else epochs

    def measure() -> tuple[float, float]:
        train.restart()
        seconds, n_samples = timed(train, n_epochs)
        return n_samples / seconds, loss

    return measure


def measure(
    group: str, work: Work, names: list[str], rounds: int, epochs: int | None = None
) -> Outcome:
    """Return what these contenders do on a work."""
    workers = [Worker(name, make, (name, work, epochs)) for name in names]
    measure_in_rounds([*workers, top := Worker(PEAK, peak, ())], rounds)
    found, failures = known(workers)
    losses = {name: rates[0][1] for name, rates in found.items()}
    start = mean_loss(work.start(), *work.data(), work.hidden)
    return Outcome(
        group, work.name, str(work), "samples/s",
        {name: [rate for rate, _ in rates] for name, rates in found.items()},
        failures, work.flops_per_sample, top.rates,
        f"loss after {EPOCHS} epochs, from {start:.5g}", losses,
        differing(losses, start, work.rule),
    )  # fmt: skip
