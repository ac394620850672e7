"""What a run is, in words: the data and settings that decide its numbers."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp.files import FormatError
from fastmlp.solvers.step_sizes import Schedule
from fastmlp.sparse import by_rows
from fastmlp.validation import name_of

if TYPE_CHECKING:
    from pathlib import Path

    from fastmlp.network import Network
    from fastmlp.objective import Objective
    from fastmlp.solvers.settings import Settings
    from fastmlp.solvers.training import Run
    from fastmlp.sparse import Features

HASHED_NUMBERS = 2**20
# What is not compared where a run goes on with a random generator of no given seed.
_RANDOM = ("w", "rng", "random_state")


def of_training(run: Run, settings: Settings) -> dict[str, str]:
    """Return the data and settings that decide the numbers of a run, in words."""
    samples, updates = run.samples, settings.updates
    names = ("reduction", "dropout", "scoring", "patience", "min_improvement")
    words = {
        "solver": "sgd" if settings.per_sample else "minibatch_sgd",
        "net": repr(samples.net),
        **{name.removesuffix("_from"): shown(value) for name, value in vars(updates).items()},
        "batch_size": str(run.trainer.batch_size),
        "order": shown(run.order.kind),
        "step": shown(run.schedule.schedule),
        **{name: shown(getattr(settings, name)) for name in names},
        **_of_samples(samples.net, samples.X, samples.y, samples.weights),
    }
    if settings.validation is not None:
        words["validation"] = run.holdout.words()
    return words


def of_objective(
    objective: Objective, w: np.ndarray, solver: str, settings: dict[str, Any]
) -> dict[str, str]:
    """Return the data and settings that decide the numbers of a full-batch solver, in words."""
    net = objective.net
    return {
        "solver": solver,
        "net": repr(net),
        **{name: shown(value) for name, value in settings.items()},
        "l2": shown(objective.l2),
        "reduction": shown(objective.reduction),
        **_of_samples(net, by_rows(objective.X), objective.y, objective.weights),
        "w": digest(w),
    }


def _of_samples(
    net: Network, X: Features, y: np.ndarray, weights: np.ndarray | None
) -> dict[str, str]:
    return {
        "X": digest(X, dtype=net.dtype),
        "y": digest(y, dtype=np.int64 if y.ndim == 1 else net.dtype),
        "sample_weight, class_weight": digest(weights),
    }


def require_same(
    path: Path, there: Any, about: dict[str, str], has_seed: bool, is_of_this_version: bool = True
) -> None:
    """Raise ValueError where a checkpoint is of another run, telling what differs.

    Another version may have other settings: what only one of them knows is not compared.
    """
    if not isinstance(there, dict):
        raise FormatError(f"{path} does not say what run it is of")
    names = [*about, *(name for name in there if name not in about)]
    if not is_of_this_version:
        names = [name for name in about if name in there]
    if about.get("solver") != there.get("solver"):  # the rest follows from it
        names = ["solver"]
    differing = [
        f"{name} is {about.get(name, 'absent')} here, {there.get(name, 'absent')} there"
        for name in names
        if about.get(name) != there.get(name) and (has_seed or name not in _RANDOM)
    ]
    if differing:
        raise ValueError(
            f"{path} is a checkpoint of another run, which this one cannot go on from "
            "(without resume, it begins anew): "
            f"{'; '.join(differing)}"
        )


def of_state(state: dict[str, Any]) -> str:
    """Return a random generator's state in words."""
    return f"in state {hashlib.sha256(shown(state).encode()).hexdigest()[:16]}"


def shown(value: Any) -> str:
    """Return a setting in words that are the same in each process, and for equal numbers."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, Schedule):
        return value.expression()
    if isinstance(value, np.ndarray):
        return digest(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(shown, value))}]"
    if isinstance(value, dict):
        items = sorted(f"{shown(k)}: {shown(v)}" for k, v in value.items())
        return f"{{{', '.join(items)}}}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = [
            f"{one.name}={shown(getattr(value, one.name))}" for one in dataclasses.fields(value)
        ]
        return f"{type(value).__name__}({', '.join(parts)})"
    if callable(value) or getattr(type(value), "__repr__", None) == object.__repr__:
        return name_of(value)
    return repr(value)


def digest(array: Features | None, dtype: Any = None) -> str:
    """Return an array's shape, and a digest of its numbers whatever their layout.

    Parameters
    ----------
    array : ndarray, SparseRows or None
    dtype : dtype, optional
        Numbers count as what they are in this dtype; by default in their own.
    """
    if array is None:
        return "None"
    hashed = hashlib.sha256()
    n_rows = max(1, HASHED_NUMBERS // max(1, math.prod(array.shape[1:])))
    for start in range(0, array.shape[0], n_rows):
        rows = array[start : start + n_rows]
        hashed.update(np.ascontiguousarray(rows, dtype).view(np.uint8).data)
    return f"of shape {array.shape} and digest {hashed.hexdigest()[:16]}"
