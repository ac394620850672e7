"""Statistics of columns without rounding, in fractions: the naive twin of `sources.statistics`."""

from fractions import Fraction

import numpy as np


def statistics(X):
    """Return mean, deviation, least and greatest of each column, each rounded once (or twice)."""
    columns = [[Fraction(float(number)) for number in column] for column in np.asarray(X).T]
    means = [sum(column) / len(column) for column in columns]
    variances = [
        sum((number - mean) ** 2 for number in column) / len(column)
        for column, mean in zip(columns, means, strict=True)
    ]
    return (
        np.array([float(mean) for mean in means]),
        np.sqrt([float(variance) for variance in variances]),
        np.array([float(min(column)) for column in columns]),
        np.array([float(max(column)) for column in columns]),
    )
