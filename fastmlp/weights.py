"""How much each sample counts: its own weight times that of its class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp import labels, validation
from fastmlp.kernels.updates import dot

if TYPE_CHECKING:
    from fastmlp.network import Network


def combined(
    net: Network, sample_weight: Any, class_weight: Any, y: np.ndarray, reduction: str
) -> np.ndarray | None:
    """Return the weights of the samples' losses, checked.

    Parameters
    ----------
    net : Network
    sample_weight : array-like of shape (n_samples,), optional
    class_weight : dict {label: weight} or "balanced", optional
        See `by_class`. A sample's weight is multiplied by its class's.
    y : ndarray of shape (n_samples,) or (n_samples, n_L)
        As `validation.truth` returns it.
    reduction : {"mean", "sum"}
        Weights of a mean may have any scale: they are returned multiplied by a power of two, about
        1.

    Returns
    -------
    ndarray of shape (n_samples,) and of the network's dtype, or None where all are 1
        Not the caller's own.
    """
    is_mean = reduction == "mean"
    dtype = np.dtype(np.float64) if is_mean else net.dtype
    weights = None
    if sample_weight is not None:
        weights = validation.weights("sample_weight", sample_weight, len(y), dtype)
    if class_weight is not None:
        factors = _of_samples(net, class_weight, y)
        name = "class_weight of the samples"
        if weights is not None:
            name = "sample_weight * class_weight"
            if is_mean:  # whose product may overflow
                weights, factors = _about_one(weights), _about_one(factors)
            with np.errstate(over="ignore"):
                factors = weights * factors
        weights = validation.weights(name, factors, len(y), dtype)
    if weights is None:
        return None
    if is_mean:
        return _about_one(weights).astype(net.dtype)
    rounded: np.ndarray = weights.astype(net.dtype)
    if not rounded.any():
        raise ValueError(
            f"sample_weight is at most {weights.max()}, below the range of {net.dtype}"
        )
    return rounded


def total_weight(weights: np.ndarray | None, n_samples: int) -> float:
    """Return the sum of the weights: what the sum of weighted losses is divided by for the mean."""
    return float(n_samples if weights is None else dot(weights, np.ones_like(weights)))


def by_class(net: Network, class_weight: Any, y: np.ndarray) -> dict[int, float] | None:
    """Return the weight of each class, itself a class_weight for other samples; None for None.

    A dict names the weights of some labels; others weigh 1. "balanced" gives each class that occurs
    in y the same total weight: its labels weigh ``n_samples / (n_classes * count)``. These counts
    do not regard the samples' own weights.
    """
    if class_weight is None:
        return None
    known, places = labels.classes(net), labels.places(net, y)
    if known is None or places is None:
        raise ValueError(
            "class_weight needs labels: integers for 'cross_entropy', one column of two labels for "
            "'binary_cross_entropy', 'hinge' or 'perceptron'; "
            f"y of shape {y.shape} holds targets for {net.loss_name!r}"
        )
    if isinstance(class_weight, str) and class_weight == "balanced":
        counts = np.bincount(places, minlength=len(known))
        balanced = len(y) / (np.count_nonzero(counts) * np.maximum(counts, 1))
        weights = np.where(counts > 0, balanced, 1.0)
        return dict(zip(known.tolist(), weights.tolist(), strict=True))
    if not isinstance(class_weight, Mapping):
        raise (ValueError if isinstance(class_weight, str) else TypeError)(
            f"class_weight must be a dict {{label: weight}} or 'balanced'; got {class_weight!r}"
        )
    given = dict.fromkeys(known.tolist(), 1.0)
    unknown = [label for label in class_weight if label not in given]
    if unknown:
        few = ", ".join(str(label) for label in known[:10]) + (", ..." if len(known) > 10 else "")
        raise ValueError(f"class_weight has unknown labels {unknown!r}; the classes are {few}")
    for label, weight in class_weight.items():
        given[int(label)] = validation.not_negative(f"class_weight[{label!r}]", weight)
    return given


def _of_samples(net: Network, class_weight: Any, y: np.ndarray) -> np.ndarray:
    """Return the weight of each sample's class (n,)."""
    weights, places = by_class(net, class_weight, y), labels.places(net, y)
    assert weights is not None
    assert places is not None
    each: np.ndarray = np.array(list(weights.values()))[places]
    return each


def _about_one(weights: np.ndarray) -> np.ndarray:
    """Return the weights, not all zero, times the power of two that brings the largest below 1."""
    scaled: np.ndarray = np.ldexp(weights, -int(np.frexp(weights.max())[1]))
    return scaled
