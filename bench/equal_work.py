"""Have contenders done the same work? They have, if they come to the same loss.

All start from the same parameters, train for as many epochs, and are then judged by one function,
in float64. The orders of their samples differ, so losses do a little: a contender is marked whose
change of the loss is farther from the median of all float32 contenders' than a tolerance. A change,
since the loss itself would hardly show who has done nothing.
"""

from __future__ import annotations

import math
from statistics import median

import numpy as np

from bench.outcomes import LOWER_PRECISION

EPOCHS = 3
# In parts of the change of the loss. Adam's first steps hang on the order: after 3 epochs of the
# large work, runs of one contender from other seeds are up to 10 % from their median.
TOLERANCES = {"sgd": 0.05, "adam": 0.2}
TOLERANCE_LOWER = 0.15  # at least, where matrix products are in bfloat16


def outputs(layers: list, X: np.ndarray, hidden: str) -> np.ndarray:
    """Return what goes into the softmax, in float64, by plain NumPy."""
    A = X.astype(np.float64)
    for number, (W, b) in enumerate(layers, start=1):
        A = A @ W.astype(np.float64) + b
        if number < len(layers):
            A = np.tanh(A) if hidden == "tanh" else np.maximum(A, 0)
    return A


def mean_loss(layers: list, X: np.ndarray, y: np.ndarray, hidden: str) -> float:
    """Return the mean cross-entropy over all samples."""
    Z = outputs(layers, X, hidden)
    Z -= Z.max(axis=1, keepdims=True)
    return float(np.mean(np.log(np.exp(Z).sum(axis=1)) - Z[np.arange(len(y)), y]))


def differing(losses: dict[str, float], start: float, rule: str = "sgd") -> frozenset[str]:
    """Return the names of those whose loss differs by more than the tolerance."""
    finite = {name: loss for name, loss in losses.items() if math.isfinite(loss)}
    judges = [loss for name, loss in finite.items() if name not in LOWER_PRECISION]
    middle = median(judges or finite.values() or [math.nan])

    def differs(name: str, loss: float) -> bool:
        tolerance = TOLERANCES[rule]
        if name in LOWER_PRECISION:
            tolerance = max(tolerance, TOLERANCE_LOWER)
        return not abs(loss - middle) <= tolerance * abs(middle - start)  # NaN differs

    return frozenset(name for name, loss in losses.items() if differs(name, loss))
