"""What a model file or a checkpoint holds, as plain values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fastmlp import files
from fastmlp.network import Network

# The columns of a history, by how many rows there are in a checkpoint's table of it.
_FULL_BATCH = ("value", "gradient_norm", "alpha", "evaluations", "seconds")
_STOCHASTIC = ("loss", "step", "seconds", "validation_loss", "validation_score")
_CURVES = {
    "loss_curve": "loss",
    "validation_loss_curve": "validation_loss",
    "validation_scores": "validation_score",
}


def summary(path: Path) -> dict[str, Any]:
    """Return what a file holds.

    Raises
    ------
    FormatError
        Where it is none of ours, damaged, or does not fit together.
    """
    kind, tree = files.read(path)
    about = {
        "file": str(path),
        "bytes": path.stat().st_size,
        "kind": kind,
        "written_by": files.written_by(path),
    }
    with files.understanding(path, "does not fit together"):
        if kind != "checkpoint":
            return {**about, **_model(kind, tree)}
        model = tree["model"]
        held = _model(model["kind"], model)
        held["history"] = held.get("history") or _history(tree)
        return {**about, "model": model["kind"], "checkpoint": _checkpoint(tree), **held}


def _checkpoint(tree: dict[str, Any]) -> dict[str, Any]:
    """Return how far a run has come, and what it is of."""
    run = tree["run"]
    n_epochs = run["history"].shape[1] if "n_updates" in run else None
    return {
        "epochs": n_epochs,
        "updates": run.get("n_updates"),
        "iterations": run.get("nit"),
        "seconds": run.get("seconds"),
        "best": tree["best"],  # the least: of a score the negative
        "is_best": tree["is_best"],
        "run": dict(tree["about"]),
    }


def _history(tree: dict[str, Any]) -> dict[str, list[float]] | None:
    run = tree["run"]
    if "history" not in run:
        return None
    table = run["history"]
    names = _STOCHASTIC if "n_updates" in run else _FULL_BATCH
    return {name: row.tolist() for name, row in zip(names, table, strict=False)}


def _model(kind: str, tree: dict[str, Any]) -> dict[str, Any]:
    """Return what is held of a network, an estimator or a pipeline."""
    if kind == "pipeline":
        *scalers, (_, last) = tree["steps"]
        names = [one["class"] if isinstance(one, dict) else str(one) for _, one in scalers]
        return {"steps": [*names, last["class"]], **_model("estimator", last)}
    held: dict[str, Any] = {}
    if kind == "estimator":
        held["class"] = tree["class"]
    held |= _network(tree["network"], tree["parameters"])
    if kind != "estimator":
        return held
    labels, names, optimizer = tree["labels"], tree["feature_names_in"], tree["optimizer"]
    course = tree["course"]
    curves = {name: course[curve] for curve, name in _CURVES.items() if course[curve] is not None}
    settings = {name: _words(value) for name, value in sorted(tree["settings"].items())}
    held |= {
        "classes": None if labels is None else _values(labels["classes"]),
        "features": None if names is None else _values(names),
        "scaling": tree["settings"].get("scaling"),
        "settings": settings,
        "epochs": course["n_iter"],
        "samples_seen": course["t"],
        "best_validation_score": course["best_validation_score"],
        "optimizer": None if optimizer is None else _optimizer(optimizer),
        "history": curves or None,
    }
    return held


def _network(tree: dict[str, Any], w: np.ndarray) -> dict[str, Any]:
    """Return what there is to know of a network and its parameters."""
    widths, activations = tree["widths"], [*tree["hidden"], tree["output"]]
    # For its layout alone: a loss of the user's own is in no file.
    net = Network(widths, bias=tree["bias"], dtype=tree["dtype"])
    biases: list[Any] = [*net.biases(w)] or [None] * net.n_layers
    layers = [
        {
            "layer": number,
            "weights": list(W.shape),
            "activation": activation,
            "norm_of_weights": _norm(W),
            "norm_of_biases": None if b is None else _norm(b),
            "finite": bool(np.isfinite(W).all() and (b is None or np.isfinite(b).all())),
        }
        for number, (W, b, activation) in enumerate(
            zip(net.weights(w), biases, activations, strict=True), start=1
        )
    ]
    return {
        "network": {
            "widths": widths,
            "activations": activations,
            "loss": tree["loss"]["name"],
            "bias": tree["bias"],
        },
        "parameters": {
            "count": net.n_params,
            "dtype": str(w.dtype),
            "finite": all(layer["finite"] for layer in layers),
        },
        "layers": layers,
    }


def _norm(values: np.ndarray) -> float:
    """Return the Euclidean norm, computed in float64."""
    return float(np.linalg.norm(values.astype(np.float64)))


def _values(tree: Any) -> list[Any]:
    """Return labels or names, of which a file holds strings as such."""
    values = tree["strings"] if isinstance(tree, dict) else tree.tolist()
    return list(values)


def _optimizer(tree: dict[str, Any]) -> dict[str, Any]:
    rule, state = tree["rule"], tree["state"]
    return {
        "rule": rule.get("own") or rule.get("name"),
        "updates": None if state is None else state[0],
        "step": tree["learning_rate"],
    }


def _words(value: Any) -> Any:
    """Return a parameter of an estimator: objects by their names."""
    if isinstance(value, dict):
        if value.get("object") == "dict":
            return {str(key): _words(one) for key, one in value["items"]}
        if value.get("object") == "RandomState":
            return "RandomState"
        parts = {name: one for name, one in value.items() if name not in ("object", "name")}
        inside = ", ".join(f"{name}={_words(one)!r}" for name, one in parts.items())
        return f"{value.get('name')}({inside})"
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return value.item()
    return list(value) if isinstance(value, tuple) else value
