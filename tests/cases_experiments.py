"""Small experiments, and the command line in this process."""

import csv
import json
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from fastmlp.cli import app

LABELS = np.array(["no", "yes"])


def write_table(path, n=200, seed=0, regression=False):
    """Write a CSV file of features a, b, c and a target."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3)).round(4)
    y = X[:, 0] + X[:, 1] ** 2 - 0.5
    with Path(path).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["a", "b", "c", "price" if regression else "label"])
        for row, value in zip(X, y, strict=True):
            writer.writerow(
                [*row, round(float(value), 4) if regression else LABELS[int(value > 0)]]
            )


def experiment(folder, text=""):
    """Write an experiment file and its data; return its path."""
    write_table(folder / "train.csv")
    lines = ['[data]\ntrain = "train.csv"\ntarget = "label"']
    lines.append("validation = 0.2\n[network]\nhidden = [7]\n[run]\nplots = false")
    path = folder / "small.toml"
    path.write_text("\n".join(lines) + "\n" + text)
    return path


def fastmlp(*arguments):
    """Run the command in this process; return what `CliRunner` does."""
    return CliRunner().invoke(app, [str(one) for one in arguments])


def metrics(folder):
    return json.loads((Path(folder) / "metrics.json").read_text())
