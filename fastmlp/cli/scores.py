"""Scores of predictions, summed up block by block: none needs all rows at once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


class ClassScores:
    """Scores of labels.

    Parameters
    ----------
    n_classes : int

    Attributes
    ----------
    confusion : ndarray of shape (n_classes, n_classes)
        How many rows of each class (row) are taken for each (column).
    """

    def __init__(self, n_classes: int) -> None:
        self.confusion = np.zeros((n_classes, n_classes), np.int64)
        self._log_loss: float | None = None

    def add(
        self, places: np.ndarray, predicted: np.ndarray, probabilities: np.ndarray | None
    ) -> None:
        """Take further rows: the places of their classes (n,), and of those predicted."""
        n = len(self.confusion)
        self.confusion += np.bincount(places * n + predicted, minlength=n * n).reshape(n, n)
        if probabilities is not None:
            right = probabilities[np.arange(len(places)), places]
            least = np.finfo(right.dtype).smallest_normal
            logs = np.log(np.maximum(right, least), dtype=np.float64)
            self._log_loss = (self._log_loss or 0.0) - float(logs.sum())

    def scores(self) -> dict[str, Any]:
        """Return the scores by scikit-learn's names, whose definitions they have."""
        right, n = self.confusion.diagonal(), self.confusion.sum()
        occurring, predicted = self.confusion.sum(axis=1), self.confusion.sum(axis=0)
        is_there, either = occurring > 0, occurring + predicted
        recalls = right[is_there] / occurring[is_there]
        f1 = 2 * right[either > 0] / either[either > 0]
        return {
            "accuracy": right.sum() / n,
            "balanced_accuracy": recalls.mean(),
            "f1_macro": f1.mean(),
            "log_loss": None if self._log_loss is None else self._log_loss / n,
        }


class NumberScores:
    """Scores of numbers.

    Parameters
    ----------
    y : ndarray of shape (n_samples,)
        All targets.
    """

    def __init__(self, y: np.ndarray) -> None:
        self._n, self._mean = len(y), float(y.mean(dtype=np.float64))
        self._squares = self._absolute = self._total = 0.0

    def add(self, y: np.ndarray, predicted: np.ndarray) -> None:
        """Take further rows."""
        wide = y.astype(np.float64)
        residuals, centred = wide - predicted, wide - self._mean
        self._squares += float(residuals @ residuals)
        self._absolute += float(np.abs(residuals).sum())
        self._total += float(centred @ centred)

    def scores(self) -> dict[str, Any]:
        """Return the scores; r2 is None where all targets are equal."""
        return {
            "r2": 1 - self._squares / self._total if self._total > 0 else None,
            "rmse": math.sqrt(self._squares / self._n),
            "mae": self._absolute / self._n,
        }
