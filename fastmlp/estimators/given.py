"""Sources as users give them to an estimator, checked as scikit-learn checks arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import (
    _check_n_features,
    _check_y,
    check_consistent_length,
    validate_data,
)

from fastmlp.estimators.constraints import FLOATS
from fastmlp.sources.base import Source


def checked(estimator: Any, X: Source, reset: bool) -> Source:
    """Return a source of the fit's features, or have its features be the fit's.

    Raises
    ------
    ValueError
        Where their number or their names are others than those of the fit.
    """
    if X.names is not None and len(X.names) != X.shape[1]:
        raise ValueError(f"X has {X.shape[1]} columns and {len(X.names)} names: {list(X.names)}")
    estimator_names = getattr(estimator, "feature_names_in_", None)
    if reset or X.names is None or estimator_names is None:
        validate_data(estimator, np.zeros((1, X.shape[1])), reset=reset)
    else:
        _check_n_features(estimator, X, reset=False)
        if list(X.names) != list(estimator_names):
            raise ValueError(
                f"X has the columns {list(X.names)}, {type(estimator).__name__} was fitted with "
                f"{list(estimator_names)}"
            )
    if reset and X.names is not None:
        estimator.feature_names_in_ = np.array(X.names, object)
    return X


def with_targets(
    estimator: Any, X: Source, y: Any, reset: bool, y_numeric: bool = False
) -> tuple[Source, Any]:
    """Return a source and its targets, checked."""
    if y is None:
        raise ValueError(
            f"requires y to be passed, but the target y is None; a source's own are X.y: "
            f"{type(estimator).__name__}().fit(X, X.y)"
        )
    X = checked(estimator, X, reset)
    y = _check_y(y, multi_output=True, y_numeric=y_numeric, estimator=estimator)
    check_consistent_length(X, y)
    return X, y


def dtype_of(X: Any) -> np.dtype[Any]:
    """Return what to compute in: the dtype of X where that is float32 or float64, else float64."""
    return np.dtype(X.dtype if X.dtype in FLOATS else FLOATS[0])
