"""What checkpoints and model files cost: python -m bench.checkpoints [--rounds 5] [--folder F]

For some works (bench/works.py) and Adam: the time of ten epochs with a checkpoint after each, over
that of ten without, and with one each second; the time of fm.save and fm.load of the network, over
that of an epoch; and the sizes of the files. Rounds are interleaved; medians, with lowest and
highest. The disk is that of the folder (by default the system's temporary one).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import fastmlp as fm
from bench.tables import aligned, markdown, ratio
from bench.works import WORKS, Ours, Work

EPOCHS = 10


def seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def measure(work: Work, folder: Path, rounds: int) -> list[str]:
    """Return the row of a work."""
    path, model = folder / "run.ckpt", folder / "net.safetensors"
    each = fm.Checkpoints(path)
    by_time = fm.Checkpoints(path, every=timedelta(seconds=1))
    plain = Ours(work, rule="adam")
    ways = [plain, *(Ours(work, rule="adam", checkpoint=kept) for kept in (each, by_time))]
    net = fm.Network(work.widths, hidden="relu", output="softmax")
    plain(1)
    times: list[list[float]] = [[] for _ in range(5)]
    for _ in range(rounds):
        for way, found in zip(ways, times, strict=False):
            found.append(seconds(lambda way=way: way(EPOCHS)))
        times[3].append(EPOCHS * seconds(lambda: fm.save(model, (net, plain.result.x))))
        times[4].append(EPOCHS * seconds(lambda: fm.load(model)))
    without, *others = times
    sizes = (f"{file.stat().st_size / 1e6:.2f}" for file in (model, path))
    return [str(work), *(ratio(found, without) for found in others), *sizes]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--works", nargs="*", choices=WORKS, default=["small", "mnist", "large"])
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    head = ["work", "each epoch / none", "each second / none", "save / epoch", "load / epoch"]
    table = [[*head, "model, MB", "checkpoint, MB"]]
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        table += [measure(WORKS[name], Path(folder), options.rounds) for name in options.works]
    print((markdown if options.markdown else aligned)(table))


if __name__ == "__main__":
    main()
