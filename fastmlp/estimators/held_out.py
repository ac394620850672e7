"""What an estimator validates on: samples given for it, or some held out."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import check_scoring, r2_score
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import _check_sample_weight, check_consistent_length, validate_data

from fastmlp import sparse
from fastmlp.estimators.constraints import FLOATS
from fastmlp.estimators.given import checked
from fastmlp.estimators.labels import MANY, as_dense
from fastmlp.estimators.problem import Course, Score, Validation, seeded
from fastmlp.solvers import holdout
from fastmlp.sources.base import Source
from fastmlp.validation import features

if TYPE_CHECKING:
    from fastmlp.network import Network


def resolve(
    estimator: Any,
    network: Network,
    X: Any,
    y: Any,
    targets: np.ndarray,
    weights: np.ndarray | None,
    given: tuple[Any, Any, Any],
    random_state: np.random.RandomState,
    incremental: bool,
) -> tuple[np.ndarray | None, Validation | None]:
    """Return the rows to train on, None for all, and what to validate on, None for nothing.

    Parameters
    ----------
    estimator : BaseMLP
    network : Network
    X, y, targets, weights
        The samples of the fit: checked; y as users give it, targets as the network takes it.
    given : tuple
        ``(X_val, y_val, sample_weight_val)`` as users give them.
    random_state : numpy.random.RandomState
        Draws those to hold out.
    incremental : bool
        Whether it is for `partial_fit`.
    """
    if given[0] is not None or given[1] is not None:
        return None, _given(estimator, network, *given)
    if given[2] is not None:
        raise ValueError("sample_weight_val is provided, but X_val and y_val were not provided.")
    if not estimator._stops_early():
        return None, None
    if incremental:
        raise ValueError("partial_fit does not support early_stopping=True without X_val and y_val")
    rows, held_out = _drawn(estimator, network, X.shape[0], targets, random_state)
    if len(held_out) < 2:
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' or the size of your "
            "dataset."
        )
    weights_val = None if weights is None else weights[held_out]
    for part, use in ((held_out, "validate"), (rows, "train")):
        if weights is not None and not weights[part].any():
            raise ValueError(
                f"validation_fraction={estimator.validation_fraction!r} leaves only samples of "
                f"weight 0 to {use} on"
            )
    X_val, y_val = sparse.take(X, held_out), y[held_out]
    score = _score(estimator, network, sparse.as_given(X_val), y_val, weights_val)
    return rows, Validation(X_val, targets[held_out], weights_val, score)


def _drawn(
    estimator: Any,
    network: Network,
    n: int,
    targets: np.ndarray,
    random_state: np.random.RandomState,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows to train on, and those to hold out: scikit-learn's, but of many samples."""
    share = estimator.validation_fraction
    if n > MANY and share > 0:  # scikit-learn takes some 80 bytes for each
        is_held_out = holdout.drawn(network, share, targets, seeded(random_state))
        return np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)
    # scikit-learn draws by classes where there is one output, and calls them so.
    stratify = np.where(targets[:, 0] > 0, "True", "False") if estimator._is_binary() else None
    rows, held_out = train_test_split(
        np.arange(n), random_state=random_state, test_size=share, stratify=stratify
    )
    return rows, held_out


def _given(
    estimator: Any, network: Network, X_val: Any, y_val: Any, sample_weight: Any
) -> Validation:
    if y_val is None:
        raise ValueError("X_val is provided, but y_val was not provided.")
    if X_val is None:
        raise ValueError("y_val is provided, but X_val was not provided.")
    if isinstance(X_val, Source):
        X_val = features(network, checked(estimator, X_val, reset=False))
    else:
        X_val = validate_data(
            estimator, X_val, accept_sparse=["csr", "csc"], reset=False, dtype=FLOATS
        )
    y_val = estimator._checked_validation_targets(y_val)
    check_consistent_length(X_val, y_val)
    if sample_weight is not None:
        sample_weight = _check_sample_weight(sample_weight, X_val, dtype=np.float64)
    score = _score(estimator, network, X_val, y_val, sample_weight)
    targets = estimator._encoded(y_val, network.dtype)
    return Validation(sparse.by_rows(X_val), targets, sample_weight, score)


def _score(estimator: Any, network: Network, X: Any, y: Any, weights: np.ndarray | None) -> Score:
    """Return the score of a network's parameters on these samples, as users give them."""
    scoring = estimator.scoring
    if scoring is None:
        return lambda model, _X, _y: estimator._default_score(model.outputs(_X), y, weights)
    if scoring == "loss":
        targets = estimator._encoded(y, network.dtype)
        return lambda model, _X, _y: -network.loss(model.w, _X, targets, sample_weight=weights)
    return _Scorer(estimator, X, y, weights)


class _Scorer:
    """The score, on samples as users give them, of the estimator as fitted by a network."""

    def __init__(self, estimator: Any, X: Any, y: Any, weights: np.ndarray | None) -> None:
        self.estimator, self.X, self.y = estimator, X, y
        self.scorer = check_scoring(estimator, estimator.scoring)
        takes_weights = "sample_weight" in inspect.signature(self.scorer).parameters
        self.more = {"sample_weight": weights} if takes_weights and weights is not None else {}

    def __repr__(self) -> str:
        return repr(self.estimator.scoring)

    def __call__(self, model: Any, X: Any, y: Any) -> float:
        fitted = self.estimator._as_fitted(model.w, Course(), model.net)
        vars(fitted).pop("feature_names_in_", None)  # X is an array by now
        value: float = self.scorer(fitted, self.X, self.y, **self.more)
        return value


def accuracy(predicted: Any, y: Any, weights: np.ndarray | None) -> float:
    """Return the share of samples all of whose labels are predicted."""
    right = as_dense(predicted) == as_dense(y)
    if right.ndim == 2:
        right = right.all(axis=1)
    return float(np.average(right, weights=weights))


def r2(predicted: np.ndarray, y: np.ndarray, weights: np.ndarray | None) -> float:
    """Return the coefficient of determination."""
    return float(r2_score(y, predicted, sample_weight=weights))
