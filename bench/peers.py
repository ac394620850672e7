"""Training speed beside that of peers, on the same work, the same machine and in the same minutes.

python -m bench.peers [work ...] [--rounds 5] [--epochs N] [--markdown]

Each contender warms up in a process of its own. Then come rounds: in each, every contender trains
once for as many whole epochs as take about 0.4 s (at least one), shuffling included, and so does
the arithmetic's peak. A speed is the median over rounds; so is a ratio of the same round's speeds.
Peers that are not installed are left out.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import platform
import re
import statistics
import sys
from pathlib import Path

from bench.contenders import CONTENDERS, EAGER, OURS, PEERS
from bench.workers import PEAK, Worker, measure_in_rounds, training
from bench.works import WORKS, Work, n_cores

median = statistics.median


def missing(name: str) -> str:
    """Return why the contender cannot take part, or nothing."""
    entry = CONTENDERS[name]
    if importlib.util.find_spec(entry.module) is None:
        return f"{entry.package} is not installed"
    return ""


class Outcome:
    """What the rounds gave for a work: rates (samples/s) by contender, and flops/s of one core."""

    def __init__(self, work: Work, rates: dict[str, list[float]], peaks: list[float]) -> None:
        self.work = work
        self.rates = rates
        self.peaks = peaks

    @property
    def peak(self) -> float:
        """Flops per second of all cores."""
        return n_cores() * median(self.peaks)

    def flops(self, name: str) -> float:
        return median(self.rates[name]) * self.work.flops_per_sample

    def fastest_peer(self) -> str | None:
        peers = [name for name in PEERS if name in self.rates]
        return max(peers, key=lambda name: median(self.rates[name]), default=None)

    def ratios(self, names: list[str]) -> tuple[float, float] | None:
        """Return ours by the fastest of these: ratio of medians, median of the rounds' ratios."""
        known = [self.rates[name] for name in names if name in self.rates]
        if not known or OURS not in self.rates:
            return None
        ours = self.rates[OURS]
        by_round = [mine / max(others) for mine, *others in zip(ours, *known, strict=True)]
        return median(ours) / max(map(median, known)), median(by_round)


def measure(work: Work, rounds: int, epochs: int | None) -> Outcome:
    """Run all contenders on a work; say which cannot take part, and why."""
    reasons = {name: missing(name) for name in CONTENDERS}
    names = [name for name, reason in reasons.items() if not reason]
    workers = [Worker(name, training, (name, work.name, epochs)) for name in names]
    peak = Worker(PEAK, training, (PEAK, work.name, epochs))
    measure_in_rounds([*workers, peak], rounds)
    reasons |= {worker.name: worker.failure for worker in [*workers, peak]}
    for name, reason in reasons.items():
        if reason:
            print(f"{work.name}: {name} left out: {reason}", file=sys.stderr, flush=True)
    rates = {worker.name: worker.rates for worker in workers if not worker.failure}
    return Outcome(work, rates, peak.rates)


def text(outcome: Outcome) -> str:
    """Return a table of one work."""
    lines = [
        str(outcome.work),
        f"  FMA peak {outcome.peak / n_cores() / 1e9:.0f} GFLOP/s a core "
        f"({min(outcome.peaks) / 1e9:.0f} .. {max(outcome.peaks) / 1e9:.0f}), "
        f"{outcome.peak / 1e9:.0f} on {n_cores()}",
        f"  {'':14}{'samples/s':>12}{'lowest':>12}{'highest':>12}{'GFLOP/s':>9}{'of peak':>9}"
        f"{'ours / it':>11}{'by round':>10}",
    ]
    for name, rates in outcome.rates.items():
        flops = outcome.flops(name)
        line = (
            f"  {name:14}{median(rates):12,.0f}{min(rates):12,.0f}{max(rates):12,.0f}"
            f"{flops / 1e9:9.1f}{flops / outcome.peak:9.1%}"
        )
        ratios = outcome.ratios([name]) if name != OURS else None
        lines.append(line + (f"{ratios[0]:11.2f}{ratios[1]:10.2f}" if ratios else ""))
    for label, names in ((f"fastest peer ({outcome.fastest_peer()})", PEERS), (EAGER, [EAGER])):
        if ratios := outcome.ratios(names):
            lines.append(
                f"  ours / {label}: {ratios[0]:.2f} by medians, {ratios[1]:.2f} median of rounds"
            )
    return "\n".join(lines)


def short(number: float) -> str:
    """Return a positive number with about three digits: 6.61 M, 192 k, 870."""
    for size, unit in ((1e6, " M"), (1e3, " k")):
        if number >= size:
            scaled = number / size
            return f"{scaled:.0f}{unit}" if scaled >= 100 else f"{scaled:.3g}{unit}"
    return f"{number:.0f}"


def markdown(outcomes: list[Outcome]) -> str:
    """Return a table of all works, samples/s (percentage of peak)."""
    names = [name for name in CONTENDERS if any(name in outcome.rates for outcome in outcomes)]
    header = ["work (widths, batch)", *names, "ours / fastest peer", f"ours / {EAGER}"]
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    for outcome in outcomes:
        cells = [str(outcome.work)]
        for name in names:
            if name in outcome.rates:
                share = outcome.flops(name) / outcome.peak
                cells.append(f"{short(median(outcome.rates[name]))} ({share:.0%})")
            else:
                cells.append("")
        for peers in (PEERS, [EAGER]):
            ratios = outcome.ratios(peers)
            cells.append(f"{ratios[0]:.2f}" if ratios else "")
        lines.append("| " + " | ".join(cells) + " |")
    peaks = [peak for outcome in outcomes for peak in outcome.peaks]
    lines += [
        "",
        f"Samples/s (share of the FMA peak: {n_cores()} x {median(peaks) / 1e9:.0f} GFLOP/s), "
        f"medians of {len(outcomes[0].peaks)} rounds; {machine()}.",
    ]
    return "\n".join(lines)


def machine() -> str:
    """Return what was measured on: CPU, cores, versions."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists() and (model := re.search(r"model name\s*: (.*)", info.read_text())):
        cpu = model[1]
    packages = dict.fromkeys(["numba", "numpy", *(entry.package for entry in CONTENDERS.values())])
    versions = [f"Python {platform.python_version()}"]
    for package in packages:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return f"{cpu}, {n_cores()} cores; {', '.join(versions)}"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "works", nargs="*", metavar="work", help=f"of {', '.join(WORKS)}; default: all"
    )
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--epochs", type=int, help="of each measurement; default: about 0.4 s")
    parser.add_argument("--markdown", action="store_true", help="end with one table of all works")
    args = parser.parse_args()
    if unknown := [name for name in args.works if name not in WORKS]:
        parser.error(f"no work is called {unknown[0]!r}; there are {', '.join(WORKS)}")
    if args.rounds < 1 or (args.epochs is not None and args.epochs < 1):
        parser.error("--rounds and --epochs must be at least 1")
    print(machine(), flush=True)
    outcomes = []
    for name in args.works or WORKS:
        outcomes.append(measure(WORKS[name], args.rounds, args.epochs))
        print(f"\n{text(outcomes[-1])}", flush=True)
    if args.markdown:
        print(f"\n{markdown(outcomes)}")


if __name__ == "__main__":
    main()
