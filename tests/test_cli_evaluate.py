"""`fastmlp evaluate`: scikit-learn's scores, by streaming."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn import metrics

import fastmlp as fm
from cases_commands import (
    WORDS,
    as_json,
    fails,
    features,
    labels,
    model,
    predictions,
    rows_for,
    run,
    write_csv,
)
from fastmlp.cli import data

pytestmark = pytest.mark.filterwarnings("ignore:.*Maximum iterations")


@pytest.fixture
def case(tmp_path, request):
    """Write a model, and rows it has not seen with their targets; return the files and all else."""
    fitted, _ = model(request.param, features())
    X = features(211, seed=1)
    y = model(request.param, X)[1]
    X = rows_for(request.param, X)
    fm.save(tmp_path / "model.safetensors", fitted)
    rows = write_csv(tmp_path / "rows.csv", X, y)
    return (tmp_path / "model.safetensors", rows, "--target", "label"), fitted, X, y


def probabilities(fitted, X):
    if isinstance(fitted, tuple):
        return fitted[0].predict(fitted[1], X)
    return fitted.predict_proba(X)


@pytest.mark.parametrize(
    "case", ["words", "binary", "pipeline", "scaled", "softmax", "margins"], indirect=True
)
def test_labels(case, monkeypatch):
    arguments, fitted, X, y = case
    monkeypatch.setattr(data, "BLOCK_ROWS", 50)
    result = as_json("evaluate", *arguments)
    predicted = predictions(fitted, X)
    assert result["rows"] == 211
    assert result["dropped"] == 0
    assert result["accuracy"] == pytest.approx(metrics.accuracy_score(y, predicted), rel=1e-12)
    expected = metrics.balanced_accuracy_score(y, predicted)
    assert result["balanced_accuracy"] == pytest.approx(expected, rel=1e-12)
    expected = metrics.f1_score(y, predicted, average="macro", zero_division=0)
    assert result["f1_macro"] == pytest.approx(expected, rel=1e-12)
    expected = metrics.confusion_matrix(y, predicted, labels=result["classes"])
    assert result["confusion"] == expected.tolist()
    if "log_loss" in result:
        expected = metrics.log_loss(y, probabilities(fitted, X), labels=result["classes"])
        assert result["log_loss"] == pytest.approx(expected, rel=1e-5)
        assert result["loss"] == pytest.approx(expected, rel=1e-5)
    else:
        net, w = fitted
        assert result["loss_function"] == "hinge"
        assert result["loss"] == pytest.approx(net.loss(w, X, y), rel=1e-6)


@pytest.mark.parametrize("case", ["regressor", "net"], indirect=True)
def test_numbers(case, monkeypatch):
    arguments, fitted, X, y = case
    monkeypatch.setattr(data, "BLOCK_ROWS", 50)
    result = as_json("evaluate", *arguments)
    predicted = predictions(fitted, X)
    assert result["r2"] == pytest.approx(metrics.r2_score(y, predicted), rel=1e-9)
    rmse = metrics.root_mean_squared_error(y, predicted)
    assert result["rmse"] == pytest.approx(rmse, rel=1e-9)
    assert result["mae"] == pytest.approx(metrics.mean_absolute_error(y, predicted), rel=1e-9)
    factor = 0.5 if result["loss_function"] == "half_squared_error" else 1
    assert result["loss"] == pytest.approx(factor * rmse**2, rel=1e-5)


@pytest.mark.parametrize("case", ["words"], indirect=True)
def test_what_is_printed(case, tmp_path):
    arguments, *_ = case
    printed = run("evaluate", *arguments, "--output", tmp_path / "metrics.json")
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written == as_json("evaluate", *arguments)
    lines = printed.stdout.splitlines()
    assert lines[0] == f"{arguments[0]} on {arguments[1]}"
    assert f"  accuracy           {written['accuracy']:.6g}" in lines
    table = lines[-4:]
    assert table[0].split("  ")[1].strip() == "class"
    counts = [
        line.removeprefix(f"  {word}").split() for line, word in zip(table[1:], WORDS, strict=True)
    ]
    assert [[int(one) for one in row] for row in counts] == written["confusion"]
    assert printed.stderr == ""


def test_many_classes_have_no_table(tmp_path):
    net = fm.Network([4, 21], output="softmax")
    fm.save(tmp_path / "model.safetensors", (net, net.init(rng=0)))
    X = features(100)
    rows = write_csv(tmp_path / "rows.csv", X, np.arange(100) % 21)
    printed = run("evaluate", tmp_path / "model.safetensors", rows, "--target", "label").stdout
    assert "accuracy" in printed
    assert "taken for" not in printed


@pytest.mark.parametrize("case", ["words"], indirect=True)
def test_of_a_run(case, tmp_path):
    """The folder of a run stands for its model, or if there is none yet its checkpoint."""
    arguments, fitted, *_ = case
    expected = as_json("evaluate", *arguments)
    for name in ("model.safetensors", "checkpoint.safetensors"):
        (tmp_path / "first-001").mkdir(exist_ok=True)
        fm.save(tmp_path / "first-001" / name, fitted)
        result = as_json("evaluate", tmp_path / "first-001", *arguments[1:])
        assert result.pop("model") == str(tmp_path / "first-001" / name)
        assert result.items() <= expected.items()
        (tmp_path / "first-001" / name).unlink()
    assert "holds no model" in fails("evaluate", tmp_path / "first-001", *arguments[1:])


@pytest.mark.parametrize("case", ["words"], indirect=True)
def test_what_is_read_is_not_replaced(case):
    arguments, *_ = case
    for output in arguments[:2]:
        before = output.read_bytes()
        assert "must be another file" in fails("evaluate", *arguments, "--output", output)
        assert output.read_bytes() == before


@pytest.mark.parametrize("case", ["words"], indirect=True)
def test_a_label_never_seen_is_named_with_its_row(case, tmp_path):
    arguments, _, X, y = case
    y = y.astype(object)
    y[[30, 77]] = "fox"
    write_csv(arguments[1], X, y)
    message = fails("evaluate", *arguments, "--output", tmp_path / "metrics.json")
    assert f"{arguments[1]}, line 32: the label 'fox' is none that" in message
    assert "'cat', 'dog', 'emu, flightless'" in message
    assert not (tmp_path / "metrics.json").exists()

    write_csv(arguments[1], X, np.arange(len(X)) % 3)
    assert "the label '0' is none that" in fails("evaluate", *arguments)


@pytest.mark.parametrize("case", ["binary"], indirect=True)
def test_words_for_a_model_of_numbers(case):
    arguments, _, X, y = case
    write_csv(arguments[1], X, np.where(y > 0, "yes", "no"))
    first = "yes" if y[0] > 0 else "no"
    message = fails("evaluate", *arguments)
    assert f"line 2: the label {first!r} is none that" in message
    assert message.endswith("has seen: -7, 12")


@pytest.mark.parametrize("case", ["binary"], indirect=True)
def test_one_word_among_numbers_is_found(case):
    arguments, _, X, y = case
    y = y.astype(object)
    y[30] = "twelve"
    write_csv(arguments[1], X, y)
    assert "line 32: the label 'twelve' is none that" in fails("evaluate", *arguments)


@pytest.mark.parametrize("case", ["regressor", "two numbers"], indirect=True)
def test_targets_that_do_not_fit(case):
    arguments, _, X, y = case
    write_csv(arguments[1], X, WORDS[labels(X)])
    message = fails("evaluate", *arguments)
    if y.ndim == 1:
        assert "predicts numbers; the targets are words" in message
    else:
        assert "predicts 2 numbers a row" in message


@pytest.mark.parametrize("case", ["words"], indirect=True)
def test_rows_left_out_are_told(case):
    arguments, _, X, y = case
    whole = as_json("evaluate", *arguments)
    holed = np.vstack([[np.nan] * 4, X])
    write_csv(arguments[1], holed, [y[0], *y])
    result = as_json("evaluate", *arguments, "--on-missing", "drop")
    assert result.pop("dropped") == 1
    assert result.items() <= whole.items()
    assert "line 2" in fails("evaluate", *arguments)


def test_memory_is_bounded(tmp_path, monkeypatch):
    X = features(400_000)
    np.save(tmp_path / "rows.npy", np.column_stack([X, labels(X)]).astype(np.float32))
    fitted, _ = model("softmax", X[:100])
    fm.save(tmp_path / "model.safetensors", fitted)
    monkeypatch.setattr(data, "BLOCK_ROWS", 4096)
    arguments = (tmp_path / "model.safetensors", tmp_path / "rows.npy", "--target", "-1")
    first = as_json("evaluate", *arguments)
    tracemalloc.start()
    try:
        again = as_json("evaluate", *arguments)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert again == first
    assert_allclose(first["loss"], fitted[0].loss(fitted[1], X, labels(X)), rtol=1e-5)
    # The labels take a byte each, their places eight, and what is compared as much again.
    assert peak < 400_000 * 24 + 4e6


def test_usage(tmp_path):
    assert "--target" in run("evaluate", "model.safetensors", "rows.csv", code=2).stderr
    assert "fastmlp evaluate runs/first-001" in run("evaluate", "--help").stdout
