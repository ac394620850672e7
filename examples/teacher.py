"""A large table of known difficulty: inputs at random, and a teacher's labels, some of them wrong.

python examples/teacher.py
fastmlp train examples/teacher.toml

The first writes 11 million rows of 28 features, as many as HIGGS has [1]_, and 500,000 to test:
1.3 GB, in less than a minute. The second trains on them with at most 300 MB of buffers. With
--rows 20000 both take seconds.

The folder examples/teacher, or another that --out names, holds part-00000.npy, part-00001.npy ...
and test.npy: tables of float32, one row a sample, the label (0 or 1) in the last column:

    source = fm.sources.open("examples/teacher/part-*.npy", target=-1)

Features are normal, each in a unit of its own: their deviations run from 0.01 to 100. The teacher
is a network of one hidden layer of tanh, without biases: odd, so that both classes are equally
frequent. A share of the labels, 5 percent by default, are flipped; no model can tell which. So the
best possible accuracy is 1 - 0.05 = 0.95, and the least possible log loss the entropy of a flip.

Numbers are drawn by Philox [2]_, for each shard by a key of its own: row i of shard k is the same
whatever other rows and shards there are. What is there whole is not written again, so a run that
was stopped is just started again. Needed is the memory of one shard, about 60 MB.

References
----------
.. [1] P. Baldi, P. Sadowski and D. Whiteson, "Searching for exotic particles in high-energy physics
   with deep learning", Nature Communications 5, 2014.
.. [2] J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

import fastmlp as fm

FOLDER = Path(__file__).parent / "teacher"
SHARD_ROWS = 500_000
TEACHER, PARTS, TEST = range(3)  # what the seed is spawned for
CHUNK_ROWS = 8192  # that are labelled at once


@dataclass(frozen=True)
class Settings:
    """What decides the numbers."""

    n_features: int = 28
    noise: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        """Check them."""
        if self.n_features < 1:
            raise ValueError(f"--features must be at least 1; got {self.n_features}")
        if not 0 <= self.noise <= 0.5:
            raise ValueError(f"--noise must be in [0, 0.5]; got {self.noise}")
        if self.seed < 0:
            raise ValueError(f"--seed must not be negative; got {self.seed}")

    @property
    def best_accuracy(self) -> float:
        """Return the accuracy of who knows the teacher, on very many rows."""
        return 1 - self.noise

    @property
    def least_log_loss(self) -> float:
        """Return the log loss of who knows the teacher and the noise."""
        shares = np.array([share for share in (self.noise, 1 - self.noise) if share > 0])
        return float(-(shares * np.log(shares)).sum())

    def generator(self, *key: int) -> np.random.Generator:
        """Return a generator that shares no numbers with that of another key."""
        seed = np.random.SeedSequence(self.seed, spawn_key=key)
        return np.random.Generator(np.random.Philox(seed))


class Teacher:
    """What labels the rows."""

    def __init__(self, settings: Settings) -> None:
        n = settings.n_features
        self.settings = settings
        self.units = np.geomspace(0.01, 100, n).astype(np.float32)
        self.net = fm.Network([n, 16, 1], hidden="tanh", bias=False)
        rng = settings.generator(TEACHER)
        hidden = rng.standard_normal((n, 16)) * (2 / np.sqrt(n))  # tanh is bent there
        output = rng.standard_normal(16)
        self.w = np.concatenate([hidden.ravel(), output]).astype(np.float32)

    def table(self, n_rows: int, *key: int) -> np.ndarray:
        """Return the rows of a key: fewer are the first of more."""
        n, table = self.settings.n_features, np.empty((n_rows, self.settings.n_features + 1), "f4")
        features, flips = (self.settings.generator(*key, number) for number in range(2))
        for start in range(0, n_rows, CHUNK_ROWS):
            rows = table[start : start + CHUNK_ROWS]
            X = features.standard_normal((len(rows), n), np.float32)
            is_flipped = flips.random(len(rows)) < self.settings.noise
            rows[:, n] = (self.net.predict(self.w, X)[:, 0] > 0) ^ is_flipped
            np.multiply(X, self.units, out=rows[:, :n])
        return table


def is_whole(path: Path, shape: tuple[int, int]) -> bool:
    """Return whether a table is there; files get their names when they are whole."""
    try:
        return np.load(path, mmap_mode="r").shape == shape
    except (OSError, ValueError):
        return False


def write(path: Path, table: np.ndarray) -> None:
    """Write a table as a whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        np.save(file, table)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def require_same(folder: Path, settings: Settings) -> None:
    """Raise where the folder's tables are of other settings; take a note of these."""
    path = folder / "settings.json"
    text = json.dumps(asdict(settings))
    if path.exists() and path.read_text() != text:
        raise ValueError(
            f"{folder} holds tables of {path.read_text()}, not {text}: choose another folder"
        )
    path.write_text(text)


def generate(
    folder: Path, settings: Settings, n_rows: int, n_test: int, shard_rows: int = SHARD_ROWS
) -> list[Path]:
    """Write the tables that are not there yet; return the shards' paths."""
    for name, value in (("rows", n_rows), ("test-rows", n_test), ("shard-rows", shard_rows)):
        if value < 1:
            raise ValueError(f"--{name} must be at least 1; got {value}")
    folder.mkdir(parents=True, exist_ok=True)
    require_same(folder, settings)
    n_shards = -(-n_rows // shard_rows)
    shards = [folder / f"part-{k:05}.npy" for k in range(n_shards)]
    others = set(folder.glob("part-*.npy")) - set(shards)
    if others:
        raise ValueError(
            f"{folder} has shards beyond {n_rows} rows, such as {min(others)}: remove them, or "
            "choose another folder"
        )
    teacher = Teacher(settings)
    todo = [(folder / "test.npy", n_test, (TEST,))]
    for k, path in enumerate(shards):
        todo.append((path, min(shard_rows, n_rows - k * shard_rows), (PARTS, k)))
    with tqdm(total=n_rows + n_test, unit=" rows", unit_scale=True, disable=None) as progress:
        for path, rows, key in todo:
            if not is_whole(path, (rows, settings.n_features + 1)):
                write(path, teacher.table(rows, *key))
            progress.update(rows)
    return shards


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FOLDER, help="the folder")
    parser.add_argument("--rows", type=int, default=11_000_000)
    parser.add_argument("--test-rows", type=int, default=None, help="by default 1/22 of --rows")
    parser.add_argument("--shard-rows", type=int, default=SHARD_ROWS)
    parser.add_argument("--features", type=int, default=28)
    parser.add_argument("--noise", type=float, default=0.05, help="the share of labels flipped")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    n_test = max(1, given.rows // 22) if given.test_rows is None else given.test_rows
    try:
        settings = Settings(given.features, given.noise, given.seed)
        shards = generate(given.out, settings, given.rows, n_test, given.shard_rows)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(
        f"{given.out}: {given.rows} rows of {given.features} features and a label in "
        f"{len(shards)} shards, {n_test} rows in test.npy.\n"
        f"Best possible: accuracy {settings.best_accuracy:.4f}, log loss "
        f"{settings.least_log_loss:.4f}."
    )


if __name__ == "__main__":
    main()
