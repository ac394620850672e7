"""Pipelines of scikit-learn's scalers and an estimator as trees of plain values, and back."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    RobustScaler,
    StandardScaler,
)
from sklearn.utils.validation import check_is_fitted

from fastmlp.estimators import stored, trees
from fastmlp.files import FormatError
from fastmlp.losses import Loss

KIND = "pipeline"
SCALERS = {
    scaler.__name__: scaler
    for scaler in (StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler, Normalizer)
}


def tree(pipeline: Pipeline, optimizer: bool = True) -> tuple[dict[str, Any], list[str]]:
    """Return what a file holds of a fitted pipeline: scalers, and one of our estimators at the end.

    Parameters and results are those of `stored.tree`.

    Raises
    ------
    sklearn.exceptions.NotFittedError
    TypeError
        For other steps.
    """
    *others, (name, estimator) = pipeline.steps
    steps = [[name, _scaler_tree(one)] for name, one in others if one not in (None, "passthrough")]
    last, left_out = stored.tree(estimator, optimizer)
    return {"kind": KIND, "steps": [*steps, [name, last]]}, left_out


def _scaler_tree(scaler: Any) -> dict[str, Any]:
    if type(scaler) not in SCALERS.values():
        raise TypeError(
            f"of a pipeline, a file can hold the steps {', '.join(SCALERS)} and an estimator of "
            f"fastmlp at the end; got {scaler!r}"
        )
    check_is_fitted(scaler)
    settings = scaler.get_params(deep=False)
    fitted = {name: value for name, value in vars(scaler).items() if name not in settings}
    names = fitted.pop("feature_names_in_", None)
    return {
        "class": type(scaler).__name__,
        "settings": settings,
        "fitted": fitted,
        "feature_names_in": None if names is None else trees.strings_or_numbers(names),
    }


def back(tree: dict[str, Any], loss: Loss | None = None) -> Pipeline:
    """Return the pipeline that a tree is of; raises as `stored.back` does."""
    *others, (name, estimator) = tree["steps"]
    steps = [(str(one), _scaler_back(scaler)) for one, scaler in others]
    return Pipeline([*steps, (str(name), stored.back(estimator, loss))])


def _scaler_back(tree: dict[str, Any]) -> Any:
    chosen = SCALERS.get(str(tree["class"]))
    if chosen is None:
        raise FormatError(f"it holds a step of unknown class {str(tree['class'])[:40]!r}")
    scaler = chosen(**tree["settings"])
    fitted = tree["fitted"]
    n = fitted["n_features_in_"]
    for name, value in fitted.items():
        is_array = isinstance(value, np.ndarray) and value.shape == (n,)
        is_known = name.isidentifier() and name.endswith("_") and not name.startswith("_")
        if not (is_known and (is_array or value is None or isinstance(value, numbers.Real))):
            raise FormatError(f"its {type(scaler).__name__} has a wrong {name[:40]!r}")
        setattr(scaler, name, value)
    if tree["feature_names_in"] is not None:
        scaler.feature_names_in_ = stored.array_back(tree["feature_names_in"], n)
    return scaler
