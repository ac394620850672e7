"""Statistics of columns without rounding, in fractions: the naive twin of `sources.statistics`."""

from fractions import Fraction

import numpy as np


def statistics(X, weights=None):
    """Return mean, deviation, least and greatest of each column, each rounded once (or twice)."""
    weights = [Fraction(1)] * len(X) if weights is None else [Fraction(float(w)) for w in weights]
    total = sum(weights)
    columns = [[Fraction(float(number)) for number in column] for column in np.asarray(X).T]
    means = [_dot(weights, column) / total for column in columns]
    variances = [
        _dot(weights, [(number - mean) ** 2 for number in column]) / total
        for column, mean in zip(columns, means, strict=True)
    ]
    return (
        np.array([float(mean) for mean in means]),
        np.sqrt([float(variance) for variance in variances]),
        np.array([float(min(column)) for column in columns]),
        np.array([float(max(column)) for column in columns]),
    )


def _dot(weights, column):
    return sum(weight * number for weight, number in zip(weights, column, strict=True))
