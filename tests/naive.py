"""The naive twin: every number the library computes, in plain NumPy and float64.

It is written to be read, not to be fast, and shares no code with the library. Samples are rows;
layer l computes Z_l = A_{l-1} W_l + b_l and A_l = phi_l(Z_l), with A_0 = X.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

import naive_losses
from naive_activations import (
    activate,
    log_softmax,
    tangent_through_activation,
    through_activation,
)


@dataclass(frozen=True)
class Net:
    """Widths n_0 .. n_L, an activation for each layer, a loss, whether b_l exist, its parameter."""

    widths: tuple[int, ...]
    activations: tuple[str, ...]
    loss: str = "squared_error"
    bias: bool = True
    parameter: float = 0.0


def twin(network):
    """Describe one of the library's networks as a Net."""
    loss = network.loss_function
    return Net(network.widths, network.activations, loss.name, network.bias, loss.parameter)


# Parameters ----------------------------------------------------------------------------------


def n_params(net):
    """Numbers in the flat vector."""
    return sum((n_in + net.bias) * n_out for n_in, n_out in pairwise(net.widths))


def unpack(net, w):
    """Cut the flat vector W_1, b_1, W_2, b_2, ... into a list of pairs (W, b)."""
    w = np.asarray(w, dtype=np.float64)
    layers, at = [], 0
    for n_in, n_out in pairwise(net.widths):
        W = w[at : at + n_in * n_out].reshape(n_in, n_out)
        at += n_in * n_out
        b = np.zeros(n_out)
        if net.bias:
            b = w[at : at + n_out]
            at += n_out
        layers.append((W, b))
    assert at == w.size
    return layers


def pack(net, layers):
    """Lay a list of pairs (W, b) out as the flat vector."""
    pieces = []
    for W, b in layers:
        pieces.append(np.ravel(W))
        if net.bias:
            pieces.append(np.ravel(b))
    return np.concatenate(pieces)


# Losses --------------------------------------------------------------------------------------


def targets(net, y):
    """Return y as (n, n_L), smoothed: a label becomes a row of zeros with a single one."""
    y = np.asarray(y)
    if net.loss == "cross_entropy" and y.ndim == 1:
        y = np.eye(net.widths[-1])[y.astype(int)]
    Y = y.astype(np.float64).reshape(len(y), net.widths[-1])
    return naive_losses.smoothed(net.loss, net.parameter, Y)


def class_weights(class_weight, y):
    """Weight of each sample's class (n,), 1 where a dict leaves it out; y holds labels."""
    y = np.ravel(y)
    if class_weight == "balanced":  # each class that occurs has the same total weight
        labels, counts = np.unique(y, return_counts=True)
        class_weight = dict(zip(labels, len(y) / (len(labels) * counts), strict=True))
    return np.array([class_weight.get(label, 1.0) for label in y])


def loss_from_last_layer(net, Z, A, Y):
    """Loss of each sample (n,), from Z_L where logarithms of A_L could be infinite."""
    match net.loss:
        case "binary_cross_entropy":  # log p = -log(1 + exp(-z)), log(1 - p) = -log(1 + exp(z))
            terms = Y * np.logaddexp(0, -Z) + (1 - Y) * np.logaddexp(0, Z)
        case "cross_entropy":
            terms = -Y * log_softmax(Z)
        case "poisson":
            terms = naive_losses.poisson(Z, Y)
        case name:
            terms = naive_losses.value(name, net.parameter, A, Y)
    return terms.sum(axis=1)


def loss_derivative(net, Z, A, Y):
    """D_L = d e / d Z_L (n, n_L)."""
    if net.loss in ("binary_cross_entropy", "cross_entropy", "poisson"):
        return A - Y
    d_a = naive_losses.derivative(net.loss, net.parameter, A, Y)
    return through_activation(net.activations[-1], Z, d_a)


# The network ---------------------------------------------------------------------------------


def forward(net, w, X):
    """Return the lists [Z_1 .. Z_L] and [A_0 .. A_L]."""
    Z, A = [], [np.asarray(X, dtype=np.float64)]
    for (W, b), name in zip(unpack(net, w), net.activations, strict=True):
        Z.append(A[-1] @ W + b)
        A.append(activate(name, Z[-1]))
    return Z, A


def predict(net, w, X):
    """A_L (n, n_L)."""
    return forward(net, w, X)[1][-1]


def reduce(values, reduction):
    """Mean or sum over samples."""
    return {"mean": np.mean, "sum": np.sum}[reduction](values, axis=0)


def sample_losses(net, w, X, y):
    """Loss of each sample (n,)."""
    Z, A = forward(net, w, X)
    return loss_from_last_layer(net, Z[-1], A[-1], targets(net, y))


def loss(net, w, X, y, reduction="mean"):
    """Mean or sum of the samples' losses."""
    return reduce(sample_losses(net, w, X, y), reduction)


def backward(net, w, Z, A, D):
    """Flat gradient of the sum over samples, given D = d e / d Z_L."""
    layers = unpack(net, w)
    gradients = []
    for i in reversed(range(len(layers))):
        gradients.insert(0, (A[i].T @ D, D.sum(axis=0)))
        if i > 0:
            D = through_activation(net.activations[i - 1], Z[i - 1], D @ layers[i][0].T)
    return pack(net, gradients)


def gradient(net, w, X, y, reduction="mean"):
    """Flat gradient of the loss, by backpropagation."""
    Z, A = forward(net, w, X)
    total = backward(net, w, Z, A, loss_derivative(net, Z[-1], A[-1], targets(net, y)))
    return total / len(X) if reduction == "mean" else total


def sample_gradients(net, w, X, y):
    """Gradient of each sample's loss (n, n_params), one sample after the other."""
    y = np.asarray(y)
    return np.array([gradient(net, w, X[i : i + 1], y[i : i + 1]) for i in range(len(X))])


def jacobian(net, w, X):
    """Derivative of each output of each sample (n, n_L, n_params), one after the other."""
    n_out = net.widths[-1]
    result = np.empty((len(X), n_out, n_params(net)))
    for i in range(len(X)):
        Z, A = forward(net, w, X[i : i + 1])
        for j in range(n_out):
            D = through_activation(net.activations[-1], Z[-1], np.eye(n_out)[j : j + 1])
            result[i, j] = backward(net, w, Z, A, D)
    return result


def collapse(net, w):
    """Return the network of one layer that equals an all-identity network, and its parameters."""
    if set(net.activations) != {"identity"}:
        raise ValueError(net.activations)
    layers = unpack(net, w)
    product, shift = layers[0]
    for W, b in layers[1:]:
        product, shift = product @ W, shift @ W + b
    linear = Net((net.widths[0], net.widths[-1]), ("identity",), net.loss, net.bias)
    return linear, pack(linear, [(product, shift)])


# Objective -----------------------------------------------------------------------------------


def tangents(net, w, d, Z, A):
    """Derivatives of [Z_1 .. Z_L] and [A_0 .. A_L], where w moves along d: forward mode."""
    T_Z, T_A = [], [np.zeros_like(A[0])]
    layers, moves = unpack(net, w), unpack(net, d)
    for i, name in enumerate(net.activations):
        (W, _), (V, c) = layers[i], moves[i]
        T_Z.append(T_A[i] @ W + A[i] @ V + c)
        T_A.append(through_activation(name, Z[i], T_Z[i]))
    return T_Z, T_A


@dataclass(frozen=True)
class Objective:
    """E(w) = sum of s_i e_i, over the sum of s_i for "mean", + l2 / 2 * sum of ||W_l||^2."""

    net: Net
    X: np.ndarray
    y: np.ndarray
    sample_weight: np.ndarray | None = None
    l2: float = 0.0
    reduction: str = "mean"

    def factors(self):
        """What each sample's loss is multiplied by (n,)."""
        s = np.ones(len(self.X)) if self.sample_weight is None else self.sample_weight
        s = np.asarray(s, dtype=np.float64)
        return s / s.sum() if self.reduction == "mean" else s

    def without_biases(self, w):
        """w, its biases replaced by 0."""
        return pack(self.net, [(W, 0 * b) for W, b in unpack(self.net, w)])

    def value(self, w):
        """E(w)."""
        losses = self.factors() @ sample_losses(self.net, w, self.X, self.y)
        return losses + self.l2 / 2 * (self.without_biases(w) ** 2).sum()

    def gradient(self, w):
        """Gradient of E at w, by backpropagation."""
        Z, A = forward(self.net, w, self.X)
        D = loss_derivative(self.net, Z[-1], A[-1], targets(self.net, self.y))
        D = self.factors()[:, None] * D
        return backward(self.net, w, Z, A, D) + self.l2 * self.without_biases(w)

    def slope(self, w, d):
        """Derivative of E(w + alpha d) by alpha at 0, by forward mode."""
        Z, A = forward(self.net, w, self.X)
        T_Z, _ = tangents(self.net, w, d, Z, A)
        D = loss_derivative(self.net, Z[-1], A[-1], targets(self.net, self.y))
        losses = self.factors() @ (D * T_Z[-1]).sum(axis=1)
        return losses + self.l2 * (self.without_biases(w) @ self.without_biases(d))

    def hessian_vector(self, w, v):
        """H(w) v: the derivative of backpropagation, where w moves along v (Pearlmutter 1994)."""
        net, Y = self.net, targets(self.net, self.y)
        Z, A = forward(net, w, self.X)
        T_Z, T_A = tangents(net, w, v, Z, A)
        D, T_D = loss_derivative(net, Z[-1], A[-1], Y), T_A[-1]
        if net.loss in naive_losses.NAMES:
            of = net.loss, net.parameter, A[-1], Y
            D_A, T_D_A = naive_losses.derivative(*of), naive_losses.second_derivative(*of) * T_A[-1]
            T_D = tangent_through_activation(net.activations[-1], Z[-1], T_Z[-1], D_A, T_D_A)
        D, T_D = self.factors()[:, None] * D, self.factors()[:, None] * T_D
        layers, moves, pieces = unpack(net, w), unpack(net, v), []
        for i in reversed(range(len(layers))):
            pieces.insert(0, (T_A[i].T @ D + A[i].T @ T_D, T_D.sum(axis=0)))
            if i > 0:
                name, W, V = net.activations[i - 1], layers[i][0], moves[i][0]
                D_A, T_D_A = D @ W.T, T_D @ W.T + D @ V.T
                T_D = tangent_through_activation(name, Z[i - 1], T_Z[i - 1], D_A, T_D_A)
                D = through_activation(name, Z[i - 1], D_A)
        return pack(net, pieces) + self.l2 * self.without_biases(v)


# Descent -------------------------------------------------------------------------------------


def minibatch_sgd(net, X, y, w, order, steps, batch_size, reduction="mean"):
    """Descend along batches; return w and each sample's loss just before its batch's update.

    `order` (n_epochs, n) holds sample indices; each row is cut into batches of `batch_size`, the
    last of which may be smaller. `steps[k]` is the step size of update k.
    """
    X, y, w = np.asarray(X), np.asarray(y), np.array(w, dtype=np.float64)
    order = np.atleast_2d(order)
    losses = np.empty(order.shape)
    k = 0
    for epoch, indices in enumerate(order):
        for start in range(0, len(indices), batch_size):
            batch = indices[start : start + batch_size]
            losses[epoch, start : start + batch_size] = sample_losses(net, w, X[batch], y[batch])
            w -= steps[k] * gradient(net, w, X[batch], y[batch], reduction)
            k += 1
    return w, losses


def sgd(net, X, y, w, order, steps):
    """Descend along one sample at a time: sample order[k] with step size steps[k].

    Return w and the samples' losses just before their updates, in the shape of `order`.
    """
    X, y, w = np.asarray(X), np.asarray(y), np.array(w, dtype=np.float64)
    losses = []
    for i, step in zip(np.ravel(order), steps, strict=True):
        losses.append(loss(net, w, X[[i]], y[[i]]))
        w -= step * gradient(net, w, X[[i]], y[[i]])
    return w, np.reshape(losses, np.shape(order))


# Independent of everything above ------------------------------------------------------------


def finite_difference_gradient(f, w):
    """Central differences of f at w; where f returns an array, w's axis comes last."""
    w = np.asarray(w, dtype=np.float64)
    slopes = []
    for i in range(w.size):
        step = np.finfo(np.float64).eps ** (1 / 3) * max(1.0, abs(w[i]))
        ahead, behind = w.copy(), w.copy()
        ahead[i] += step
        behind[i] -= step
        slopes.append((f(ahead) - f(behind)) / (ahead[i] - behind[i]))
    return np.stack(slopes, axis=-1)
