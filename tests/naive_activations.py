"""The naive twin's activations phi(z), phi'(z) and phi''(z), in plain NumPy and float64."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

LEAK = 0.01


def density(z):
    """exp(-z^2 / 2) / sqrt(2 pi), the standard normal distribution's, whose integral is ndtr."""
    return np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)


def sigmoid(z):
    """1 / (1 + exp(-z)), without overflow."""
    return np.exp(-np.logaddexp(0, -z))


def log_softmax(z):
    """Logarithm of the softmax of each row."""
    z = z - z.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def softmax(z):
    """exp(z_j) / sum over k of exp(z_k), in each row."""
    return np.exp(log_softmax(z))


def activate(name, z):
    """phi(z)."""
    match name:
        case "identity":
            return z
        case "relu":
            return np.maximum(z, 0)
        case "sigmoid":
            return sigmoid(z)
        case "tanh":
            return np.tanh(z)
        case "step":
            return np.where(z >= 0, 1.0, 0.0)
        case "sign":
            return np.sign(z)
        case "softmax":
            return softmax(z)
        case "leaky_relu":
            return np.where(z > 0, z, LEAK * z)
        case "elu":
            return np.where(z > 0, z, np.expm1(np.minimum(z, 0)))
        case "gelu":
            return z * ndtr(z)
        case "silu":
            return z * sigmoid(z)
        case "softplus":
            return np.logaddexp(0, z)
        case "hard_sigmoid":
            return np.clip(z / 6 + 1 / 2, 0, 1)
        case "hard_tanh":
            return np.clip(z, -1, 1)
        case "exp":
            return np.exp(z)
    raise ValueError(name)


def activation_derivative(name, z):
    """phi'(z), for activations that act on each number by itself; at kinks as PyTorch has it."""
    match name:
        case "identity":
            return np.ones_like(z)
        case "relu":
            return np.where(z > 0, 1.0, 0.0)
        case "sigmoid":
            return sigmoid(z) * sigmoid(-z)
        case "tanh":
            return 1 - np.tanh(z) ** 2
        case "leaky_relu":
            return np.where(z > 0, 1.0, LEAK)
        case "elu":
            return np.exp(np.minimum(z, 0))
        case "gelu":
            return ndtr(z) + z * density(z)
        case "silu":
            return sigmoid(z) * (1 + z * sigmoid(-z))
        case "softplus":
            return sigmoid(z)
        case "hard_sigmoid":
            return np.where(abs(z) < 3, 1 / 6, 0.0)
        case "hard_tanh":
            return np.where(abs(z) < 1, 1.0, 0.0)
        case "exp":
            return np.exp(z)
    raise ValueError(f"{name} has no derivative that is of use")


def through_activation(name, z, d_a):
    """Turn the derivative with respect to A = phi(Z) into the one with respect to Z."""
    if name == "softmax":  # d a_j / d z_k = a_j ([j = k] - a_k)
        a = softmax(z)
        return a * (d_a - (d_a * a).sum(axis=1, keepdims=True))
    return d_a * activation_derivative(name, z)


def activation_second_derivative(name, z):
    """phi''(z), for activations that act on each number by itself; 0 at kinks of phi."""
    match name:
        case "identity" | "relu" | "leaky_relu" | "hard_sigmoid" | "hard_tanh":
            return np.zeros_like(z)
        case "sigmoid":
            return sigmoid(z) * sigmoid(-z) * (sigmoid(-z) - sigmoid(z))
        case "tanh":
            return -2 * np.tanh(z) * (1 - np.tanh(z) ** 2)
        case "elu":
            return np.where(z > 0, 0.0, np.exp(np.minimum(z, 0)))
        case "gelu":
            return (2 - z**2) * density(z)
        case "silu":
            s, c = sigmoid(z), sigmoid(-z)
            return s * c * (2 + z * (c - s))
        case "softplus":
            return sigmoid(z) * sigmoid(-z)
        case "exp":
            return np.exp(z)
    raise ValueError(f"{name} has no derivative that is of use")


def tangent_through_activation(name, z, t, d_a, t_d):
    """Derivative of `through_activation`, where z moves along t and d_a along t_d."""
    result = through_activation(name, z, t_d)
    if name == "softmax":  # product rule for a (d_a - d_a . a)
        a, t_a = softmax(z), through_activation(name, z, t)
        inner, t_inner = ((d_a * v).sum(axis=1, keepdims=True) for v in (a, t_a))
        return result + t_a * (d_a - inner) - a * t_inner
    return result + d_a * activation_second_derivative(name, z) * t
