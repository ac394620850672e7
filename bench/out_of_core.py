"""Training on a table larger than the memory allowed, beside memory and peers.

python -m bench.out_of_core [--rows 11000000] [--rounds 5] [--folder F] [--markdown]

A table of 28 columns and a label, by default of 11 million rows (1.2 GB, the shape of HIGGS), is
written once into a folder and read once, so that the system has it cached. Then, in rounds, each
contender trains the network 28-300-300-300-300-2 by SGD in batches of 100 for some seconds, in a
process of its own: fastmlp on the file with memory_limit="300 MB", fastmlp on the array in memory,
PyTorch's DataLoader over a memory map of the file (whole batches gathered at once, with and without
a worker process), and scikit-learn's partial_fit on slices of the map. Speeds are samples a second,
medians; ratios are of the same round, with lowest and highest. Memory is the most that a process
had resident; PyTorch's and scikit-learn's include what of the map is resident.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np

import fastmlp as fm
from bench.tables import aligned, markdown, ratio
from bench.workers import Worker, measure_in_rounds
from bench.works import n_cores, use_all_cores

WIDTHS = (28, 300, 300, 300, 300, 2)
BATCH_SIZE, STEP = 100, 1e-3
MEMORY_LIMIT = "300 MB"
SECONDS = 4.0
SHARD_ROWS = 10**6
ROWS = 11_000_000
SLICE_ROWS = 10_000  # of the map, for partial_fit

Result = tuple[float, float]  # samples/s, and bytes resident at most


def write_table(path: Path, n_rows: int) -> None:
    """Write a label and 28 normal numbers a row, unless the file is there."""
    shape = (n_rows, WIDTHS[0] + 1)
    if path.exists() and np.load(path, mmap_mode="r").shape == shape:
        return
    table = np.lib.format.open_memmap(path, "w+", np.float32, shape)
    for k, start in enumerate(range(0, n_rows, SHARD_ROWS)):
        rng = np.random.default_rng([0, k])
        rows = table[start : start + SHARD_ROWS]
        rows[:, 1:] = rng.standard_normal((len(rows), WIDTHS[0]), dtype=np.float32)
        rows[:, 0] = np.abs(rows[:, 1:4]).sum(axis=1) > 2.3
    table.flush()


def warm(path: Path) -> None:
    """Read the file, so that the system has it cached."""
    with path.open("rb", buffering=0) as file:
        while file.read(2**24):
            pass


def resident() -> float:
    """Return the most bytes that this process had resident. (Linux's getrusage would count the
    parent's before it as well.)"""
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text()
        return 1024 * float(status.split("VmHWM:")[1].split()[0])
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


class Clock:
    """Counts samples from the first update on, and stops the training after some seconds."""

    every_n_steps = 20

    def on_start(self, state: object) -> None:
        self.began = None

    def on_steps(self, state: object) -> None:
        now = time.perf_counter()
        if self.began is None:
            self.began, self.first = now, state.nit
        elif now - self.began > SECONDS:
            self.rate = (state.nit - self.first) * BATCH_SIZE / (now - self.began)
            raise StopIteration


def ours(X: object, y: np.ndarray) -> Callable[[], Result]:
    use_all_cores()
    net = fm.Network(WIDTHS, hidden="relu", output="softmax")
    w, clock = net.init(rng=0), Clock()

    def measure() -> Result:
        fm.minibatch_sgd(
            net, X, y, w, step=STEP, batch_size=BATCH_SIZE, epochs=99, rng=0,
            callback=clock, progress=False,
        )  # fmt: skip
        return clock.rate, resident()

    return measure


def streamed(path: Path) -> Callable[[], Result]:
    rows = fm.sources.open(path, target=0, memory_limit=MEMORY_LIMIT)
    return ours(rows, rows.y)


def in_memory(path: Path) -> Callable[[], Result]:
    table = np.load(path, mmap_mode="r")
    return ours(np.array(table[:, 1:]), np.array(table[:, 0], np.int64))


def data_loader(path: Path, workers: int) -> Callable[[], Result]:
    import torch

    torch.set_num_threads(n_cores())
    table = np.load(path, mmap_mode="r")

    class Rows(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(table)

        def __getitem__(self, index: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
            rows = torch.from_numpy(table[index])
            return rows[:, 1:], rows[:, 0].long()

    order = torch.utils.data.RandomSampler(range(len(table)))
    batches = torch.utils.data.BatchSampler(order, BATCH_SIZE, drop_last=True)
    loader = torch.utils.data.DataLoader(
        Rows(),
        sampler=batches,
        batch_size=None,
        num_workers=workers,
        # PyTorch's default on Linux, but not within a process that was spawned.
        multiprocessing_context="fork" if workers else None,
    )
    layers: list[torch.nn.Module] = []
    for n_in, n_out in pairwise(WIDTHS):
        layers += [torch.nn.Linear(n_in, n_out), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])
    optimizer = torch.optim.SGD(model.parameters(), lr=STEP)
    loss = torch.nn.CrossEntropyLoss()

    def measure() -> Result:
        n, began = 0, 0.0
        for k, (X, y) in enumerate(loader):
            optimizer.zero_grad(set_to_none=True)
            loss(model(X), y).backward()
            optimizer.step()
            if k == 20:
                n, began = 0, time.perf_counter()
            elif k > 20 and k % 20 == 0 and time.perf_counter() - began > SECONDS:
                break
            n += BATCH_SIZE
        return n / (time.perf_counter() - began), resident()

    return measure


def partial_fit(path: Path) -> Callable[[], Result]:
    from sklearn.neural_network import MLPClassifier

    table = np.load(path, mmap_mode="r")
    model = MLPClassifier(
        WIDTHS[1:-1], solver="sgd", momentum=0.0, nesterovs_momentum=False, alpha=0.0,
        batch_size=BATCH_SIZE, learning_rate_init=STEP,
    )  # fmt: skip
    starts = np.random.default_rng(0)

    def measure() -> Result:
        n, began = 0, time.perf_counter()
        while time.perf_counter() - began < SECONDS:
            start = starts.integers(len(table) - SLICE_ROWS)
            rows = np.array(table[start : start + SLICE_ROWS])
            model.partial_fit(rows[:, 1:], rows[:, 0], classes=[0, 1])
            n += len(rows)
        return n / (time.perf_counter() - began), resident()

    return measure


CONTENDERS: dict[str, tuple[Callable[..., Callable[[], Result]], tuple]] = {
    "fastmlp, file": (streamed, ()),
    "fastmlp, memory": (in_memory, ()),
    "torch DataLoader": (data_loader, (0,)),
    "torch DataLoader, 1 worker": (data_loader, (1,)),
    "scikit-learn partial_fit": (partial_fit, ()),
}


def measure(folder: Path, n_rows: int, rounds: int, names: list[str]) -> list[Worker]:
    """Return the workers of these contenders, after so many rounds on a table in the folder."""
    path = folder / f"out-of-core-{n_rows}.npy"
    write_table(path, n_rows)
    warm(path)
    workers = [
        Worker(name, make, (path, *more), has_children=True)
        for name, (make, more) in CONTENDERS.items()
        if name in names
    ]
    measure_in_rounds(workers, rounds)
    return workers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    workers = measure(options.folder, options.rows, options.rounds, list(CONTENDERS))
    table = [["", "samples/s", "file / it", "resident, MB"]]
    streams = workers[0].rates
    for worker in workers:
        if worker.failure:
            table.append([worker.name, worker.failure, "", ""])
            continue
        speeds = [speed for speed, _ in worker.rates]
        compared = ratio([speed for speed, _ in streams], speeds) if streams else ""
        memory = max(peak for _, peak in worker.rates) / 1e6
        table.append([worker.name, f"{median(speeds):,.0f}", compared, f"{memory:,.0f}"])
    print((markdown if options.markdown else aligned)(table))


if __name__ == "__main__":
    main()
