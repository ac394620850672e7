"""`fastmlp inspect`: what files hold, in words and as JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fastmlp as fm
from cases_commands import (
    NAMES,
    WORDS,
    as_json,
    fails,
    features,
    labels,
    model,
    numbers,
    run,
    write_csv,
)
from fastmlp.cli import data

pytestmark = pytest.mark.filterwarnings("ignore:.*Maximum iterations")


# Models --------------------------------------------------------------------------------------


def test_a_network(tmp_path):
    net = fm.Network([4, 6, 3], hidden="tanh", output="softmax", dtype="float64")
    w = net.init(rng=0)
    w[-1] = -2
    path = tmp_path / "net.safetensors"
    fm.save(path, (net, w))
    held = as_json("inspect", path)
    assert held["kind"] == "network"
    assert held["bytes"] == path.stat().st_size
    assert held["written_by"] == fm.__version__
    assert held["network"] == {
        "widths": [4, 6, 3],
        "activations": ["tanh", "softmax"],
        "loss": "cross_entropy",
        "bias": True,
    }
    assert held["parameters"] == {"count": 51, "dtype": "float64", "finite": True}
    for layer, W, b in zip(held["layers"], net.weights(w), net.biases(w), strict=True):
        assert layer["weights"] == list(W.shape)
        assert_allclose(layer["norm_of_weights"], np.sqrt((W**2).sum()))
        assert_allclose(layer["norm_of_biases"], np.sqrt((b**2).sum()))
    printed = run("inspect", path).stdout
    assert f"{path}: a network" in printed
    assert "4-6-3, loss cross_entropy" in printed
    assert "51 of float64, all finite" in printed


def test_parameters_that_are_not_finite_show(tmp_path):
    net = fm.Network([4, 3], bias=False)
    w = net.init(rng=0)
    w[2] = np.nan
    with pytest.raises(ValueError, match="finite"):
        fm.save(tmp_path / "net.safetensors", (net, w))
    from fastmlp import files
    from fastmlp.solvers import checkpoints

    files.write(tmp_path / "net.safetensors", "network", checkpoints.model(net, w))
    assert "NOT ALL FINITE" in run("inspect", tmp_path / "net.safetensors").stdout
    held = as_json("inspect", tmp_path / "net.safetensors")
    assert held["parameters"]["finite"] is False
    assert held["layers"][0]["finite"] is False
    assert held["layers"][0]["norm_of_weights"] is None  # JSON has no NaN
    assert held["layers"][0]["norm_of_biases"] is None


def test_a_loss_of_ones_own(tmp_path):
    """Its functions are in no file, and not needed."""
    from fastmlp import losses

    own = losses.custom(lambda p, y: (p - y) ** 4, lambda p, y: 4 * (p - y) ** 3)
    net = fm.Network([2, 1], loss=own)
    fm.save(tmp_path / "net.safetensors", (net, net.init(rng=0)))
    assert as_json("inspect", tmp_path / "net.safetensors")["network"]["loss"] == "custom"


@pytest.mark.parametrize("kind", ["words", "pipeline", "regressor"])
def test_an_estimator(tmp_path, kind):
    fitted, _ = model(kind, features())
    fm.save(tmp_path / "model.safetensors", fitted)
    held = as_json("inspect", tmp_path / "model.safetensors")
    last = fitted[-1] if kind == "pipeline" else fitted
    assert held["class"] == type(last).__name__
    assert held["classes"] == (None if kind == "regressor" else WORDS.tolist())
    assert held["history"] == {"loss": last.loss_curve_}
    assert held["settings"]["hidden_layer_sizes"] == [6]
    assert held["epochs"] == 3
    assert held["optimizer"]["updates"] == 3
    if kind == "pipeline":
        assert held["steps"] == ["StandardScaler", "MLPClassifier"]
    printed = run("inspect", tmp_path / "model.safetensors", "--epochs", 2).stdout
    assert "The last 2 of 3 epochs" in printed
    assert printed.splitlines()[-1].split() == ["3", f"{last.loss_curve_[-1]:.6g}"]


def test_settings_that_are_objects_have_names(tmp_path):
    X = features()
    schedule = fm.schedules.step_decay(0.1, every=3)
    clf = fm.MLPClassifier(
        (3,), solver="sgd", learning_rate=schedule, max_iter=2, class_weight={0: 1.0, 1: 2.0}
    )
    fm.save(tmp_path / "model.safetensors", clf.fit(X, labels(X, 2)))
    settings = as_json("inspect", tmp_path / "model.safetensors")["settings"]
    assert settings["learning_rate"].startswith("step_decay(")
    assert settings["class_weight"] == {"0": 1.0, "1": 2.0}


@pytest.mark.parametrize("solver", ["sgd", "minibatch_sgd", "gradient_descent", "minimize", "fit"])
def test_a_checkpoint(tmp_path, solver):
    X = features()
    y, path = labels(X), tmp_path / "run.ckpt"
    net = fm.Network([4, 6, 3], output="softmax")
    w, kept = net.init(rng=0), {"checkpoint": path}
    if solver == "sgd":
        result = fm.sgd(net, X, y, w, epochs=3, rng=0, **kept)
    elif solver == "minibatch_sgd":
        result = fm.minibatch_sgd(net, X, y, w, epochs=3, rng=0, validation=(X, y), **kept)
    elif solver == "gradient_descent":
        result = fm.gradient_descent(fm.Objective(net, X, y), w, max_iter=3, **kept)
    elif solver == "minimize":
        result = fm.minimize(fm.Objective(net, X, y), w, max_iter=3, **kept)
    else:
        clf = fm.MLPClassifier((6,), max_iter=3).fit(X, y, **kept)
    held = as_json("inspect", path)
    assert held["kind"] == "checkpoint"
    state = held["checkpoint"]
    if solver == "fit":
        assert state["run"]["estimator"] == "MLPClassifier"
        assert held["history"]["loss"] == clf.loss_curve_
        assert (state["epochs"], state["updates"]) == (3, 3)
    else:
        assert state["run"]["solver"] == solver
        assert state["is_best"]
    if "sgd" in solver:
        assert (state["epochs"], state["updates"]) == (3, result.nit)
        assert held["history"]["loss"] == result.history.loss.tolist()
        assert held["history"]["seconds"] == result.history.seconds.tolist()
    elif solver != "fit":
        assert state["iterations"] == 3
        assert "digest" in state["run"]["X"]
    if solver == "minibatch_sgd":
        assert held["history"]["validation_loss"] == result.history.validation_loss.tolist()
    if solver == "gradient_descent":
        assert held["history"]["value"] == result.history.value.tolist()
        assert held["history"]["gradient_norm"] == result.history.gradient_norm.tolist()
    printed = run("inspect", path).stdout
    assert "The run it is of" in printed
    assert "a checkpoint" in printed


def test_damage_is_told_in_one_line(tmp_path):
    path = tmp_path / "model.safetensors"
    fm.save(path, model("words", features())[0])
    whole = path.read_bytes()
    for content in (whole[:-9], whole[:200], b"", b"no model at all", whole[:-1] + b"!"):
        path.write_bytes(content)
        message = fails("inspect", path)
        assert str(path) in message
        assert "corrupted" in message or "no safetensors" in message
    assert "no.safetensors" in fails("inspect", tmp_path / "no.safetensors")
    assert "no.csv" in fails("inspect", tmp_path / "no.csv")


def test_a_model_of_any_name_is_known_by_its_content(tmp_path):
    fm.save(tmp_path / "model", model("words", features())[0])
    assert as_json("inspect", tmp_path / "model")["kind"] == "estimator"


# Rows ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [7, 1000])
def test_rows(tmp_path, block, monkeypatch):
    monkeypatch.setattr(data, "BLOCK_ROWS", block)
    X = features()
    y = WORDS[labels(X)]
    path = write_csv(tmp_path / "rows.csv", X, y)
    held = as_json("inspect", path, "--target", "label", "--statistics", "--rows", 3)
    assert held["kind"] == "rows"
    assert (held["rows"], held["columns"], held["names"]) == (157, 4, NAMES)
    assert held["rows_with_missing"] == 0
    assert held["target"]["counts"] == {word: int((y == word).sum()) for word in WORDS}
    assert len(held["first_rows"]) == 3
    assert_allclose([held["first_rows"][2][name] for name in NAMES], X[2], rtol=1e-6)
    assert held["first_rows"][2]["target"] == y[2]
    wide = X.astype(float)
    for number, name in enumerate(NAMES):
        column = held["statistics"][name]
        assert_allclose(column["mean"], wide[:, number].mean(), rtol=1e-6)
        assert_allclose(column["deviation"], wide[:, number].std(), rtol=1e-6)
        assert_allclose(column["least"], wide[:, number].min(), rtol=1e-6)
        assert_allclose(column["greatest"], wide[:, number].max(), rtol=1e-6)
    printed = run("inspect", path, "--target", "label", "--statistics").stdout
    assert "3 different, <U15: cat (" in printed
    assert "First rows" in printed


def test_rows_with_gaps_and_numbers_to_predict(tmp_path):
    X = features()
    y = numbers(X)
    X[[4, 9], 1] = np.nan
    path = write_csv(tmp_path / "rows.csv", X, y)
    held = as_json("inspect", path, "--target", "label")
    assert (held["rows"], held["rows_with_missing"]) == (155, 2)
    kept = np.delete(y, [4, 9])
    assert_allclose(held["target"]["mean"], kept.mean())
    assert_allclose([held["target"]["least"], held["target"]["greatest"]], [min(kept), max(kept)])
    assert "rows with something missing  2" in run("inspect", path, "--target", "label").stdout


def test_several_files(tmp_path):
    np.save(tmp_path / "a.npy", features(3))
    np.save(tmp_path / "b.npy", features(5)[:, :2])
    held = as_json("inspect", tmp_path / "a.npy", tmp_path / "b.npy")
    assert [(one["rows"], one["columns"]) for one in held] == [(3, 4), (5, 2)]
    printed = run("inspect", tmp_path / "a.npy", tmp_path / "b.npy").stdout
    assert "a.npy: rows" in printed
    assert "b.npy: rows" in printed


# Runs ----------------------------------------------------------------------------------------


def test_a_run(tmp_path):
    folder = tmp_path / "first-001"
    folder.mkdir()
    assert "holds no run" in fails("inspect", folder)
    (folder / "settings.toml").write_text('[data]\ntrain = "rows.csv"\n[solver]\nstep = 0.5\n')
    held = as_json("inspect", folder)
    assert held["status"] == "running, or killed"
    assert held["settings"]["solver"] == {"step": 0.5}
    metrics = {"status": "done", "train": {"loss": 0.25, "score": None}}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    fm.save(folder / "model.safetensors", model("words", features())[0])
    held = as_json("inspect", folder)
    assert held["status"] == "done"
    assert held["metrics"] == metrics
    assert held["model"]["class"] == "MLPClassifier"
    printed = run("inspect", folder).stdout
    assert "solver.step  0.5" in printed
    assert ["train.loss", "0.25"] in [line.split() for line in printed.splitlines()]
    assert "MLPClassifier" in printed
    (folder / "metrics.json").write_text("{")
    assert "metrics.json" in fails("inspect", folder)


def test_usage():
    assert "Missing argument" in run("inspect", code=2).stderr
    assert "fastmlp inspect model.safetensors" in run("inspect", "--help").stdout
