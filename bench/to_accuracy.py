"""How long from a process's start until a network is this good on MNIST's test images.

784-512-512-10, Adam in batches of 64, from the same parameters, with a step that falls by half a
cosine from STEP to 0 in EPOCHS epochs (from epoch to epoch, since scikit-learn has no other way).
Smaller networks or larger batches end so near to the last level that luck decides who reaches it.
After each epoch the 10,000 test images are classified, and that is timed as well, as are imports,
reading the data, and compilation. A round has a seed of its own.

Those that compile run twice in each round: with empty caches on disk ("first run"), and with what
the first has left there, which is what every later process meets.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.contenders import BF16, OURS
from bench.outcomes import FIRST, Outcome
from bench.training import Jax, Layers, ScikitLearn, Torch
from bench.works import STEP, Work, use_all_cores

LEVELS = (0.975, 0.98, 0.985)
WORK_NAMES = tuple(f"{100 * level:g}" for level in LEVELS)
EPOCHS = 15
WIDTHS, BATCH_SIZE = (784, 512, 512, 10), 64
COMPILES = (OURS, "torch.compile", "JAX")
# Where each keeps what it has compiled; JAX has to be told that everything is worth keeping.
CACHES = ("NUMBA_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "JAX_COMPILATION_CACHE_DIR")
KEEP_ALL = {
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}


@dataclass(frozen=True)
class Images(Work):
    """Training on files that `write` has written."""

    folder: Path = Path()

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        return images(self.folder, "train")

    def start(self) -> Layers:
        with np.load(self.folder / "start.npz") as arrays:
            n_layers = len(self.widths) - 1
            return [(arrays[f"W{k}"], arrays[f"b{k}"]) for k in range(n_layers)]


def images(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    X = np.load(folder / f"{part}-X.npy").astype(np.float32)
    X /= 255
    return X, np.load(folder / f"{part}-y.npy")


def write(data: Path, folder: Path) -> None:
    """Write the images for all contenders: none shall import fastmlp to read them."""
    from bench import mnist

    for part in ("train", "t10k"):
        X, y = mnist.load(data, part)
        np.save(folder / f"{part}-X.npy", np.rint(255 * X).astype(np.uint8))
        np.save(folder / f"{part}-y.npy", y)


def write_start(seed: int, folder: Path) -> None:
    net = Work("mnist", WIDTHS, BATCH_SIZE, 0).network
    w = net.init(rng=seed)
    arrays = {f"W{k}": W for k, W in enumerate(net.weights(w))}
    np.savez(folder / "start.npz", **arrays, **{f"b{k}": b for k, b in enumerate(net.biases(w))})


def step_of(epoch: float) -> float:
    return STEP * (1 + math.cos(math.pi * epoch / EPOCHS)) / 2


class Log:
    """The seconds since the process's start and the test accuracy, after each epoch."""

    def __init__(self, began: float) -> None:
        self.began, self.lines = began, []

    def add(self, accuracy: float) -> bool:
        """Note an epoch's end; return whether the last level is reached."""
        self.lines.append((time.monotonic() - self.began, accuracy))
        return accuracy >= max(LEVELS)


def train_ours(work: Images, seed: int, log: Log) -> None:
    import fastmlp as fm

    use_all_cores()
    net = fm.Network(WIDTHS, output="softmax")
    X, y = work.data()
    X_test, y_test = images(work.folder, "t10k")
    updates = -(-len(X) // BATCH_SIZE)

    def stop(intermediate_result) -> None:
        found = net.predict(intermediate_result.x, X_test).argmax(axis=1)
        if log.add(float(np.mean(found == y_test))):
            raise StopIteration

    w = work.flat_start()
    fm.minibatch_sgd(
        net, X, y, w, batch_size=BATCH_SIZE, rule="adam", callback=stop,
        step=lambda k: step_of(k // updates), epochs=EPOCHS, rng=seed, progress=False,
    )  # fmt: skip


def train_peer(name: str, work: Images, seed: int, log: Log) -> None:
    if name == "scikit-learn":
        train = ScikitLearn(work)
        train.model.random_state = np.random.RandomState(seed)
    elif name == "JAX":
        train = Jax(work)
        train.rng = np.random.default_rng(seed)
    else:
        forms = {"torch.compile": ("model compiled",)}.get(name, ("eager",))
        train = Torch(work, "fused", forms, bf16=name == BF16)
        train.torch.manual_seed(seed)
    X, y = images(work.folder, "t10k")
    for epoch in range(EPOCHS):
        train.next_epoch(step_of(epoch))
        if log.add(float(np.mean(train.classify(X) == y))):
            return


def run(name: str, began: float, seed: int, folder: Path) -> None:
    """Train, and print the log. Runs in the child."""
    work = Images("mnist", WIDTHS, BATCH_SIZE, 60_000, rule="adam", folder=folder)
    log = Log(began)
    if name == OURS:
        train_ours(work, seed, log)
    else:
        train_peer(name, work, seed, log)
    print(json.dumps(log.lines))


def times_of(lines: list[tuple[float, float]]) -> dict[str, float]:
    """Return when each level was reached first; infinity where it was not."""
    return {
        name: next((seconds for seconds, accuracy in lines if accuracy >= level), math.inf)
        for name, level in zip(WORK_NAMES, LEVELS, strict=True)
    }


def start(name: str, seed: int, folder: Path, cache: Path) -> dict[str, float]:
    """Run a contender in a process of its own."""
    environment = os.environ | KEEP_ALL | {key: str(cache / key) for key in CACHES}
    command = [sys.executable, "-W", "ignore", "-m", "bench.to_accuracy", name]
    command += [repr(time.monotonic()), str(seed), str(folder)]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"exit code {done.returncode}: {last}")
    return times_of(json.loads(done.stdout.splitlines()[-1]))


def measure(data: Path, levels: list[str], names: list[str], rounds: int) -> list[Outcome]:
    """Return when these contenders reached each level."""
    found: dict[str, list[dict[str, float]]] = {}
    failures: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write(data, folder)
        for seed in range(rounds):
            write_start(seed, folder)
            its = [name for name in names if name not in failures]
            for name in its[:: -1 if seed % 2 else 1]:
                with tempfile.TemporaryDirectory(dir=folder) as cache:
                    try:
                        if name in COMPILES:
                            times = start(name, seed, folder, Path(cache))
                            found.setdefault(name + FIRST, []).append(times)
                        times = start(name, seed, folder, Path(cache))
                        found.setdefault(name, []).append(times)
                    except RuntimeError as error:
                        failures[name] = str(error)
    order = [name for name in names if name not in failures]
    order += [name + FIRST for name in order if name in COMPILES]

    def outcome(level: str) -> Outcome:
        values = {name: [times[level] for times in found[name]] for name in order}
        return Outcome(
            "mnist", level, f"{level} % of MNIST's test images", "s", values, dict(failures)
        )

    return [outcome(level) for level in levels]


if __name__ == "__main__":
    run(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
