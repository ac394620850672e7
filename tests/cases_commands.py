"""Models and rows in files, for the tests of commands."""

from __future__ import annotations

import csv
import json

import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from typer.testing import CliRunner

import fastmlp as fm
from fastmlp.cli import app

NAMES = ["age", "height", "income", "score"]
WORDS = np.array(["cat", "dog", "emu, flightless"])


def run(*arguments, code=0):
    """Run a command; return what it prints. Its exit code must be as expected."""
    result = CliRunner().invoke(app, [str(one) for one in arguments])
    if result.exit_code != code and result.exception is not None:
        raise AssertionError(result.output) from result.exception
    assert result.exit_code == code, result.output
    return result


def fails(*arguments):
    """Run a command that fails, and return its one line on stderr."""
    result = run(*arguments, code=1)
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


def as_json(*arguments):
    return json.loads(run(*arguments, "--json").stdout)


def features(n_rows=157, seed=0):
    return np.random.default_rng(seed).standard_normal((n_rows, 4)).astype(np.float32)


def labels(X, n_classes=3):
    """Return the places of classes that X has something to say about."""
    return np.digitize(X[:, 0] + 0.3 * X[:, 1], [-0.4, 0.5][: n_classes - 1])


def numbers(X):
    return (2 * X[:, 0] - X[:, 1] + 0.5).astype(np.float64)


def model(kind, X):
    """Return a fitted model of some kind, and what it is to predict for X."""
    words = WORDS[labels(X)]
    fit = {"hidden_layer_sizes": (6,), "max_iter": 3, "random_state": 0, "tol": 0, "alpha": 0.0}
    if kind == "words":
        return fm.MLPClassifier(**fit).fit(X, words), words
    if kind == "binary":
        y = np.array([-7, 12])[labels(X, 2)]
        return fm.MLPClassifier(**fit).fit(X, y), y
    if kind == "pipeline":
        scaled = make_pipeline(StandardScaler(), fm.MLPClassifier(**fit))
        return scaled.fit(rows_for(kind, X), words), words
    if kind == "scaled":
        return fm.MLPClassifier(**fit, scaling="standard").fit(rows_for(kind, X), words), words
    if kind == "regressor":
        return fm.MLPRegressor(**fit).fit(X, numbers(X)), numbers(X)
    if kind == "two numbers":
        y = np.column_stack([numbers(X), X[:, 2]])
        return fm.MLPRegressor(**fit).fit(X, y), y
    if kind == "softmax":
        net, y = fm.Network([4, 6, 3], output="softmax"), labels(X)
    elif kind == "margins":
        net, y = fm.Network([4, 6, 1], loss="hinge"), 2 * labels(X, 2) - 1
    else:
        net, y = fm.Network([4, 6, 1]), numbers(X)
    return (net, net.init(rng=0)), y


def predictions(model, X):
    """Return what a model says about rows in memory, without the code of commands."""
    if not isinstance(model, tuple):
        return model.predict(X)
    net, w = model
    outputs = net.predict(w, X)
    if net.loss_name == "cross_entropy":
        return outputs.argmax(axis=1)
    return np.where(outputs[:, 0] > 0, 1, -1) if net.loss_name == "hinge" else outputs[:, 0]


def write_csv(path, X, y=None, names=NAMES, target="label"):
    """Write rows as a table, the target first."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*([] if y is None else [target]), *names])
        for number, row in enumerate(X):
            writer.writerow([*([] if y is None else [y[number]]), *(str(one) for one in row)])
    return path


def rows_for(kind, X):
    """Return rows as a model of this kind takes them."""
    return 100 * X + 3 if kind in ("pipeline", "scaled") else X
