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

SKIPPED = (None, "passthrough")
OUTPUTS = ("default", "pandas", "polars")


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
    steps = [[name, one if one in SKIPPED else _scaler_tree(one)] for name, one in others]
    last, left_out = stored.tree(estimator, optimizer)
    if pipeline.memory is not None:
        left_out.append("memory")
    verbose = bool(pipeline.verbose)
    return {"kind": KIND, "steps": [*steps, [name, last]], "verbose": verbose}, left_out


def _scaler_tree(scaler: Any) -> dict[str, Any]:
    if type(scaler) not in SCALERS.values():
        raise TypeError(
            f"of a pipeline, a file can hold the steps {', '.join(SCALERS)} and an estimator of "
            f"fastmlp at the end; got {scaler!r}"
        )
    check_is_fitted(scaler)
    fitted = vars(scaler)
    names = fitted.get("feature_names_in_")
    kept = [one for one in fitted if _is_fitted_name(one) and one != "feature_names_in_"]
    return {
        "class": type(scaler).__name__,
        "settings": scaler.get_params(deep=False),
        "fitted": {one: fitted[one] for one in kept},
        "feature_names_in": None if names is None else trees.strings_or_numbers(names),
        "output": fitted.get("_sklearn_output_config", {}).get("transform"),
    }


def _is_fitted_name(name: str) -> bool:
    return name.isidentifier() and name.endswith("_") and not name.startswith("_")


def back(tree: dict[str, Any], loss: Loss | None = None) -> Pipeline:
    """Return the pipeline that a tree is of; raises as `stored.back` does."""
    *others, (name, last) = tree["steps"]
    estimator = stored.back(last, loss)
    n_features = estimator.n_features_in_
    steps = [
        (str(one), scaler if scaler in SKIPPED else _scaler_back(scaler, n_features))
        for one, scaler in others
    ]
    pipeline = Pipeline([*steps, (str(name), estimator)], verbose=bool(tree["verbose"]))
    pipeline._validate_names([one for one, _ in pipeline.steps])
    return pipeline


def _scaler_back(tree: dict[str, Any], n_features: int) -> Any:
    """Return the scaler that a tree is of, which has been seen to take so many features."""
    chosen = SCALERS.get(str(tree["class"]))
    if chosen is None:
        raise FormatError(f"it holds a step of unknown class {str(tree['class'])[:40]!r}")
    scaler = chosen(**tree["settings"])
    for name, value in tree["fitted"].items():
        is_array = isinstance(value, np.ndarray) and value.shape == (n_features,)
        is_plain = is_array or value is None or isinstance(value, numbers.Real)
        if not (_is_fitted_name(name) and is_plain):
            raise FormatError(f"its {type(scaler).__name__} has a wrong {name[:40]!r}")
        setattr(scaler, name, value)
    scaler._validate_params()
    with np.errstate(all="ignore"):
        scaler.transform(np.zeros((1, n_features)))  # what is missing shows
    if tree["feature_names_in"] is not None:
        scaler.feature_names_in_ = stored.array_back(tree["feature_names_in"], n_features)
    if tree["output"] is not None:
        if tree["output"] not in OUTPUTS:
            raise FormatError(f"its {type(scaler).__name__} has an unknown kind of output")
        scaler.set_output(transform=tree["output"])
    return scaler
