"""The naive twin of mini-batch training: update rules and regularisation, in NumPy and float64.

Like `naive`, written to be read; shares no code with the library. The rules are those of
torch.optim. Each holds the state of one run: `update(w, g, step)` returns the next parameters.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field

import numpy as np

import naive

# Rules ---------------------------------------------------------------------------------------


@dataclass
class SGD:
    """w - step g (Robbins and Monro 1951)."""

    def update(self, w, g, step):
        return w - step * g


@dataclass
class Momentum:
    """The heavy ball (Polyak 1964): v sums the gradients, older ones fading."""

    momentum: float = 0.9
    v: np.ndarray = field(default=0.0, init=False)

    def update(self, w, g, step):
        self.v = self.momentum * self.v + g
        return w - step * self.v


@dataclass
class Nesterov(Momentum):
    """Nesterov's momentum (1983), as Sutskever et al. (2013) write it: one more look ahead."""

    def update(self, w, g, step):
        self.v = self.momentum * self.v + g
        return w - step * (g + self.momentum * self.v)


@dataclass
class Adagrad:
    """Duchi, Hazan and Singer (2011): steps shrink with the sum of squared gradients."""

    eps: float = 1e-10
    squares: np.ndarray = field(default=0.0, init=False)

    def update(self, w, g, step):
        self.squares = self.squares + g**2
        return w - step * g / (np.sqrt(self.squares) + self.eps)


@dataclass
class RMSprop:
    """Tieleman and Hinton (2012); centered, by the deviation (Graves 2013)."""

    decay: float = 0.99
    eps: float = 1e-8
    momentum: float = 0.0
    centered: bool = False
    squares: np.ndarray = field(default=0.0, init=False)
    mean: np.ndarray = field(default=0.0, init=False)
    v: np.ndarray = field(default=0.0, init=False)

    def update(self, w, g, step):
        self.squares = self.decay * self.squares + (1 - self.decay) * g**2
        self.mean = self.decay * self.mean + (1 - self.decay) * g
        spread = self.squares - self.mean**2 if self.centered else self.squares
        self.v = self.momentum * self.v + g / (np.sqrt(spread) + self.eps)
        return w - step * self.v


@dataclass
class Adam:
    """Kingma and Ba (2015), algorithm 1."""

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    k: int = field(default=0, init=False)
    mean: np.ndarray = field(default=0.0, init=False)
    squares: np.ndarray = field(default=0.0, init=False)

    def update(self, w, g, step):
        self.k += 1
        self.mean = self.beta1 * self.mean + (1 - self.beta1) * g
        self.squares = self.beta2 * self.squares + (1 - self.beta2) * g**2
        corrected_mean = self.mean / (1 - self.beta1**self.k)
        corrected_squares = self.denominator() / (1 - self.beta2**self.k)
        return w - step * corrected_mean / (np.sqrt(corrected_squares) + self.eps)

    def denominator(self):
        return self.squares


@dataclass
class AMSGrad(Adam):
    """Reddi, Kale and Kumar (2018), with Adam's corrections: by the largest squares so far."""

    largest: np.ndarray = field(default=0.0, init=False)

    def denominator(self):
        self.largest = np.maximum(self.largest, self.squares)
        return self.largest


@dataclass
class AdamW(Adam):
    """Loshchilov and Hutter (2019): weights, not biases, decay by themselves, before the update."""

    weight_decay: float = 0.01
    _: KW_ONLY
    is_weight: np.ndarray = True

    def update(self, w, g, step):
        w = np.where(self.is_weight, (1 - step * self.weight_decay) * w, w)
        return super().update(w, g, step)


@dataclass
class Rprop:
    """Riedmiller and Braun (1993), no backtracking: a step size for each number, from signs.

    Where a sign turned there is no move, and the next sign counts as the first one. `step` is what
    all sizes are at first.
    """

    increase: float = 1.2
    decrease: float = 0.5
    smallest: float = 1e-6
    largest: float = 50.0
    sizes: np.ndarray = field(default=None, init=False)
    previous: np.ndarray = field(default=None, init=False)

    def update(self, w, g, step):
        if self.sizes is None:
            self.sizes, self.previous = np.full(w.shape, step), np.zeros(w.shape)
        product = g * self.previous
        factors = np.where(product > 0, self.increase, np.where(product < 0, self.decrease, 1.0))
        self.sizes = np.clip(self.sizes * factors, self.smallest, self.largest)
        self.previous = np.where(product < 0, 0.0, g)
        return w - self.sizes * np.sign(self.previous)


# The gradient of a batch ---------------------------------------------------------------------


def is_weight(net):
    """Which numbers of the flat vector are weights (n_params,)."""
    layers = naive.unpack(net, np.zeros(naive.n_params(net)))
    return naive.pack(net, [(np.ones(W.shape), np.zeros(b.shape)) for W, b in layers]) > 0


def batch_gradient(net, w, X, y, s, masks):
    """Return the flat gradient of sum over i of s_i e_i, and the losses e (n,).

    `masks[l]` (n, n_l), l = 0 .. L - 1, is what A_l is multiplied by.
    """
    layers, Z, A = naive.unpack(net, w), [], [masks[0] * X]
    for layer, (W, b) in enumerate(layers):
        Z.append(A[layer] @ W + b)
        A.append(naive.activate(net.activations[layer], Z[layer]))
        if layer + 1 < len(layers):
            A[-1] = A[-1] * masks[layer + 1]
    Y = naive.targets(net, y)
    D = s[:, None] * naive.loss_derivative(net, Z[-1], A[-1], Y)
    pieces = []
    for layer in reversed(range(len(layers))):
        pieces.insert(0, (A[layer].T @ D, D.sum(axis=0)))
        if layer > 0:
            D_A = D @ layers[layer][0].T * masks[layer]
            D = naive.through_activation(net.activations[layer - 1], Z[layer - 1], D_A)
    return naive.pack(net, pieces), naive.loss_from_last_layer(net, Z[-1], A[-1], Y)


def clip(g, clip_value=None, clip_norm=None):
    """The gradient, no entry beyond clip_value in size, nor all of it longer than clip_norm."""
    if clip_value is not None:
        g = np.clip(g, -clip_value, clip_value)
    if clip_norm is not None:
        g = g * min(1.0, clip_norm / max(np.linalg.norm(g), 1e-300))
    return g


def limit_columns(net, w, max_norm):
    """w, each column of each W_l that is longer than max_norm scaled to that length."""
    layers = []
    for W, b in naive.unpack(net, w):
        norms = np.linalg.norm(W, axis=0)
        layers.append((W * np.where(norms > max_norm, max_norm / np.maximum(norms, 1e-300), 1), b))
    return naive.pack(net, layers)


# Training ------------------------------------------------------------------------------------


@dataclass
class Training:
    """What `train` returns: iterates (1 + n_updates, n_params), w among them; losses of epochs."""

    iterates: np.ndarray
    losses: np.ndarray
    begin: int

    @property
    def iterate(self):
        """The last one."""
        return self.iterates[-1]

    @property
    def x(self):
        """The mean of the iterates after the first `begin` updates."""
        return self.iterates[1 + self.begin :].mean(axis=0)


def train(
    net, X, y, w, order, steps, batch_size, rule, *, reduction="mean", sample_weight=None,
    l1=0.0, l2=0.0, clip_value=None, clip_norm=None, max_norm=None, average_from=0, masks=None,
):  # fmt: skip
    """Train along batches; see `naive.minibatch_sgd`.

    `masks(step, layer, n_rows, n_units)` gives what A_layer is multiplied by, layer 0 .. L - 1:
    0, or one over the probability of being kept.
    """
    X, y, w = np.asarray(X, np.float64), np.asarray(y), np.array(w, np.float64)
    s = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, np.float64)
    weights = is_weight(net)
    iterates, losses = [w], []
    for indices in np.atleast_2d(order):
        total = 0.0
        for start in range(0, len(indices), batch_size):
            k, batch = len(iterates) - 1, indices[start : start + batch_size]
            sizes = [(len(batch), n) for n in net.widths[:-1]]
            drawn = [masks(k, i, *size) if masks else 1.0 for i, size in enumerate(sizes)]
            if not s[batch].any():  # as if there were no samples
                iterates.append(w)
                continue
            g, e = batch_gradient(net, w, X[batch], y[batch], s[batch], drawn)
            total += s[batch] @ e
            if reduction == "mean":
                g = g / s[batch].sum()
            g = clip(g, clip_value, clip_norm)
            g = g + np.where(weights, l2 * w + l1 * np.sign(w), 0.0)
            w = rule.update(w, g, steps[k])
            if max_norm is not None:
                w = limit_columns(net, w, max_norm)
            iterates.append(w)
        losses.append(total / s[indices].sum())
    return Training(np.array(iterates), np.array(losses), average_from)
