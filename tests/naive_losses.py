"""The naive twin's losses that are sums over outputs of e(a, y), and where they are not smooth.

a is the prediction, p the loss's parameter; e' and e'' are derivatives by a.
"""

from __future__ import annotations

import numpy as np

NAMES = (
    "squared_error", "half_squared_error", "absolute_error", "huber", "log_cosh", "quantile",
    "hinge", "perceptron",
)  # fmt: skip


def value(name, p, a, y):
    """e(a, y)."""
    r = a - y
    match name:
        case "squared_error":
            return r**2
        case "half_squared_error":
            return r**2 / 2
        case "absolute_error":
            return abs(r)
        case "huber":
            return np.where(abs(r) <= p, r**2 / 2, p * (abs(r) - p / 2))
        case "log_cosh":
            return np.logaddexp(r, -r) - np.log(2)
        case "quantile":
            return np.maximum(-p * r, (1 - p) * r)
        case "hinge":
            return np.maximum(0, 1 - y * a)
        case "perceptron":
            return np.maximum(0, -y * a)
    raise ValueError(name)


def derivative(name, p, a, y):
    """e'(a, y); -y at the kink of hinge and perceptron, 0 at others."""
    r = a - y
    match name:
        case "squared_error":
            return 2 * r
        case "half_squared_error":
            return r
        case "absolute_error":
            return np.sign(r)
        case "huber":
            return np.clip(r, -p, p)
        case "log_cosh":
            return np.tanh(r)
        case "quantile":
            return np.where(r == 0, 0, (r > 0) - p)
        case "hinge":
            return np.where(y * a <= 1, -y, 0)
        case "perceptron":
            return np.where(y * a <= 0, -y, 0)
    raise ValueError(name)


def second_derivative(name, p, a, y):
    """e''(a, y); 0 at kinks."""
    match name:
        case "squared_error":
            return np.full_like(a, 2)
        case "half_squared_error":
            return np.ones_like(a)
        case "huber":
            return np.where(abs(a - y) < p, 1.0, 0.0)
        case "log_cosh":
            return 1 - np.tanh(a - y) ** 2
    return np.zeros_like(a)


def edge(name, p, a, y):
    """Return how far a is from where e is not smooth, and what e' and e'' jump by there."""
    match name:
        case "absolute_error":
            return abs(a - y), 2, 0
        case "huber":
            return abs(abs(a - y) - p), 0, 1
        case "quantile":
            return abs(a - y), 1, 0
        case "hinge":
            return abs(1 - y * a), 1, 0
        case "perceptron":
            return abs(a), 1, 0
    return np.inf, 0, 0


def poisson(z, y):
    """Half the Poisson deviance of mean exp(z); 0 log 0 is 0."""
    return np.exp(z) - y * z - y + y * np.log(np.where(y > 0, y, 1))


def smoothed(name, p, Y):
    """Targets of the cross-entropies, with label smoothing p."""
    if name == "cross_entropy":
        return (1 - p) * Y + p / Y.shape[1]
    if name == "binary_cross_entropy":
        return (1 - p) * Y + p / 2
    return Y
