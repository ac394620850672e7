"""Estimators from settings, and how well they do."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp import losses, schedules
from fastmlp.experiments.settings import FULL_BATCH, OF_SCHEDULES, Settings

if TYPE_CHECKING:
    from fastmlp.experiments.data import Table, Tables

AUTO_BATCH = 200  # scikit-learn's
# Numbers that predictions are made of at a time.
BLOCK = 2**22
# Losses that take a parameter, by their names here.
_WITH_PARAMETER = {"huber": losses.huber, "quantile": losses.quantile}


def n_updates(settings: Settings, n_rows: int) -> int:
    """Return the number of updates in an epoch."""
    name, size = settings.solver.name, settings.solver.batch_size
    if name == "rprop" or name in FULL_BATCH:
        return 1
    return -(-n_rows // min(AUTO_BATCH if size == "auto" else size, n_rows))


def resolved(settings: Settings, tables: Tables) -> Settings:
    """Return settings with the task, and a schedule's length, as the rows have them.

    A run that goes on for more epochs keeps its schedule.
    """
    kind = settings.schedule.kind
    changes: dict[str, Any] = {}
    for name in ("n_steps", "period"):
        if name in OF_SCHEDULES[kind] and getattr(settings.schedule, name) is None:
            n = settings.solver.epochs * n_updates(settings, len(tables.train))
            changes[name] = max(n - settings.schedule.warm_up, 1)
    network = settings.network.model_copy(update={"task": tables.task})
    schedule = settings.schedule.model_copy(update=changes)
    return settings.model_copy(update={"network": network, "schedule": schedule})


def estimator(settings: Settings, tables: Tables, callbacks: list[Any]) -> Any:
    """Return the estimator that the settings describe, not fitted."""
    from fastmlp.estimators import MLPClassifier, MLPRegressor

    network, solver, run = settings.network, settings.solver, settings.run
    arguments: dict[str, Any] = {
        "hidden_layer_sizes": tuple(network.hidden),
        "activation": network.activation,
        "dropout": network.dropout,
        "solver": solver.name,
        "alpha": solver.l2,
        "batch_size": solver.batch_size,
        "learning_rate_init": solver.step,
        "max_iter": solver.epochs,
        "momentum": solver.momentum,
        "nesterovs_momentum": solver.nesterov,
        "beta_1": solver.beta_1,
        "beta_2": solver.beta_2,
        "epsilon": solver.epsilon,
        "tol": solver.tol,
        "shuffle": solver.shuffle,
        "early_stopping": solver.early_stopping,
        "n_iter_no_change": solver.patience,
        "random_state": run.seed,
        "n_jobs": run.threads,
        "callbacks": callbacks,
    }
    if settings.schedule.kind != "none" or settings.schedule.warm_up > 0:
        arguments["learning_rate"] = schedule(settings)
    if settings.data.scaling != "none":
        arguments["scaling"] = settings.data.scaling
    name, parameter = network.loss, network.loss_parameter
    if tables.task == "regression":
        if solver.class_weight is not None:
            raise ValueError("solver.class_weight is for classification; this is regression")
        if name == "log_loss":
            raise ValueError("network.loss = log_loss is for classification; this is regression")
        loss: Any = "squared_error" if name == "auto" else name
        if parameter is not None:
            if name not in _WITH_PARAMETER:
                raise ValueError(f"network.loss_parameter is not for network.loss = {loss}")
            loss = _WITH_PARAMETER[name](parameter)
        return MLPRegressor(**arguments, loss=loss)
    if name not in ("auto", "log_loss"):
        raise ValueError(
            f"network.loss must be auto or log_loss for classification; got {name} "
            "(network.task = regression for numbers)"
        )
    classes = np.unique(tables.train.y)
    loss = "log_loss"
    if parameter is not None:
        of_loss = losses.binary_cross_entropy if len(classes) == 2 else losses.cross_entropy
        loss = of_loss(label_smoothing=parameter)
    return MLPClassifier(**arguments, loss=loss, class_weight=_class_weight(settings, classes))


def schedule(settings: Settings) -> Any:
    """Return the step sizes that the settings describe."""
    chosen, step = settings.schedule, settings.solver.step
    kind = "constant" if chosen.kind == "none" else chosen.kind
    given = {name: getattr(chosen, name) for name in OF_SCHEDULES[chosen.kind]}
    given = {name: value for name, value in given.items() if value is not None}
    if kind == "step_decay" and "every" in given:
        given["every"] = int(given["every"])
    steps = getattr(schedules, kind)(step, **given)
    return schedules.warm_up(steps, chosen.warm_up) if chosen.warm_up > 0 else steps


def _class_weight(settings: Settings, classes: np.ndarray) -> Any:
    """Return the weights by the labels themselves, which TOML has as texts."""
    given = settings.solver.class_weight
    if not isinstance(given, dict):
        return given
    by_name = {str(label): label for label in classes.tolist()}
    if unknown := sorted(given.keys() - by_name.keys()):
        raise ValueError(
            f"solver.class_weight names {unknown[0]!r}, which is no label of data.train: "
            f"{', '.join(by_name)}"
        )
    return {by_name[name]: weight for name, weight in given.items()}


def evaluate(model: Any, table: Table) -> dict[str, float | None]:
    """Return the mean loss and the score of a fitted estimator, block by block of rows.

    Of a classifier the log-loss and the accuracy, of a regressor the mean squared error and R^2,
    over all outputs. None stands for what is not finite, which JSON does not have.
    """
    n = len(table)
    rows = max(1, BLOCK // max(table.X.shape[1], model.n_outputs_))
    blocks = [slice(start, min(start + rows, n)) for start in range(0, n, rows)]
    with warnings.catch_warnings():  # what is read has no names
        warnings.filterwarnings("ignore", "X does not have valid feature names")
        of_kind = _of_classes if hasattr(model, "classes_") else _of_numbers
        found = of_kind(model, table, blocks)
    return {name: number if math.isfinite(number) else None for name, number in found.items()}


def _of_numbers(model: Any, table: Table, blocks: list[slice]) -> dict[str, float]:
    y_mean = table.y.mean(axis=0, dtype=np.float64)
    errors = deviations = 0.0
    for block in blocks:
        y = table.y[block]
        predicted = model.predict(table.X[block]).astype(np.float64).reshape(y.shape)
        errors += float(((predicted - y) ** 2).sum())
        deviations += float(((y - y_mean) ** 2).sum())
    score = 1 - errors / deviations if deviations > 0 else math.nan
    return {"loss": errors / table.y.size, "score": score}


def _of_classes(model: Any, table: Table, blocks: list[slice]) -> dict[str, float]:
    classes = model.classes_
    loss, n_right = 0.0, 0
    for block in blocks:
        P = model.predict_proba(table.X[block]).astype(np.float64)
        at = np.searchsorted(classes, table.y[block])
        n_right += int((P.argmax(axis=1) == at).sum())
        least = np.finfo(model.network_.dtype).tiny
        loss -= float(np.log(np.maximum(P[np.arange(len(at)), at], least)).sum())
    return {"loss": loss / len(table), "score": n_right / len(table)}
