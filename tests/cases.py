"""What several test modules share: random networks and data, error bounds, child processes.

The bounds follow rounding errors through the network as independent random numbers: each number
comes with the standard deviation of its error, to first order. A chain of n roundings counts
sqrt(n) units; where an error could push Z over a jump or a kink, the jump counts in full.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys

import numpy as np
import pytest

import fastmlp as fm
import naive
import naive_activations
import naive_losses
from fastmlp.kernels.jit import cpu_features

DTYPES = ("float32", "float64")
WIDTHS = (1, 7, 8, 9, 15, 16, 17, 47, 48, 49, 300)
BATCHES = (1, 2, 3, 5, 7, 8, 13, 31, 64, 65, 101, 257)
COMMON = ("identity", "relu", "sigmoid", "tanh")
STORED = ("leaky_relu", "elu", "gelu", "silu", "softplus", "hard_sigmoid", "hard_tanh")
# Of hidden layers; e^z grows too fast through several.
DIFFERENTIABLE = COMMON + STORED
KINKED_ACTIVATIONS = ("relu", "leaky_relu", "elu", "hard_sigmoid", "hard_tanh")  # elu in phi' only
JUMPS = ("step", "sign")
SQUARED = ("squared_error", "half_squared_error")
KINKED = ("absolute_error", "quantile", "hinge", "perceptron")
# Every output activation with every loss of its own or of squares, and every other loss.
COMMON_PAIRS = [
    *((output, loss) for output in (*COMMON, "softmax") for loss in SQUARED),
    ("identity", "absolute_error"),
    ("sigmoid", fm.losses.huber(0.6)),
    ("tanh", "log_cosh"),
    ("relu", fm.losses.quantile(0.8)),
    ("identity", "hinge"),
    ("tanh", "perceptron"),
    ("exp", "poisson"),
    ("sigmoid", fm.losses.binary_cross_entropy(label_smoothing=0.3)),
    ("softmax", fm.losses.cross_entropy(label_smoothing=0.2)),
    ("sigmoid", "binary_cross_entropy"),
    ("softmax", "cross_entropy"),
]
STORED_PAIRS = [(output, loss) for output in (*STORED, "exp") for loss in SQUARED]
PAIRS = STORED_PAIRS + COMMON_PAIRS
# (hidden, output, loss): all of the common ones, and every other in each place.
COMBINATIONS = [
    *((hidden, *pair) for hidden in COMMON for pair in COMMON_PAIRS),
    *((hidden, "softmax", "cross_entropy") for hidden in STORED),
    *((hidden, hidden, "squared_error") for hidden in STORED),
    *(("tanh", *pair) for pair in STORED_PAIRS),
]
# A bound is so many standard deviations of the error.
DEVIATIONS = 3

# Networks and data ---------------------------------------------------------------------------


def parameters(net, rng):
    """Random parameters that keep numbers of order 1 from layer to layer, biases included."""
    w = rng.standard_normal(net.n_params)
    for (W, b), name in zip(naive.unpack(naive.twin(net), w), net.activations, strict=True):
        W *= (2 / len(W)) ** 0.5 * (0.1 if name == "exp" else 1)
        if net.bias:
            b *= 0.5
    return w.astype(net.dtype)


def truth(net, n, rng, labels=True):
    """Random y that the loss takes: for cross-entropy labels, or rows with zeros among them."""
    n_out = net.widths[-1]
    if net.loss_name == "cross_entropy":
        if labels:
            return rng.integers(n_out, size=n)
        rows = rng.random((n, n_out)) * rng.integers(2, size=(n, n_out))
        rows[np.arange(n), rng.integers(n_out, size=n)] += 0.1
        return (rows / rows.sum(axis=1, keepdims=True)).astype(net.dtype)
    if net.loss_name == "binary_cross_entropy":
        return np.clip(rng.uniform(-0.5, 1.5, (n, n_out)), 0, 1).astype(net.dtype)
    if net.loss_name in ("hinge", "perceptron"):
        return rng.choice([-1, 1], (n, n_out)).astype(net.dtype)
    if net.loss_name == "poisson":
        return (rng.poisson(1.5, (n, n_out)) * rng.random((n, n_out))).astype(net.dtype)
    return rng.standard_normal((n, n_out)).astype(net.dtype)


def problem(net, n, rng, labels=True):
    """Return random (w, X, y) of the network's dtype."""
    X = rng.standard_normal((n, net.widths[0])).astype(net.dtype)
    return parameters(net, rng), X, truth(net, n, rng, labels)


def small_network(output, loss, hidden="tanh", dtype="float64", bias=True):
    """A network that crosses the edge of a vector, small enough for laws and differences."""
    return fm.Network([5, 9, 3], hidden=hidden, output=output, loss=loss, dtype=dtype, bias=bias)


def same_bits(actual, expected):
    """Whether two arrays are equal bit for bit."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    return (
        actual.dtype == expected.dtype
        and actual.shape == expected.shape
        and actual.tobytes() == expected.tobytes()
    )


def every_result(net, w, X, y):
    """All that the network computes, with names, and the two solvers."""
    options = {"step": 1e-8, "rng": 3, "epochs": 2}
    results = {"predict": net.predict(w, X), "loss": net.loss(w, X, y)}
    if not set(net.activations) & set(JUMPS):
        trained = (
            fm.sgd(net, X, y, w, **options),
            fm.minibatch_sgd(net, X, y, w, batch_size=13, **options),
        )
        results |= {
            "gradient": net.gradient(w, X, y),
            "sample_gradients": net.sample_gradients(w, X, y),
            "jacobian": net.jacobian(w, X[:3]),
            "sgd": trained[0].x,
            "sgd's loss": trained[0].history.loss,
            "minibatch_sgd": trained[1].x,
            "minibatch_sgd's loss": trained[1].history.loss,
        }
    return {name: np.asarray(value) for name, value in results.items()}


def check_same_results(found, expected):
    assert found.keys() == expected.keys()
    wrong = [name for name in expected if not same_bits(found[name], expected[name])]
    assert not wrong


# Errors --------------------------------------------------------------------------------------


def _over(E, M):
    """Deviation of E M, of independent errors E, for exact M."""
    return np.sqrt(E**2 @ M**2)


def change(f, name, Z, E_Z):
    """Deviation of f(name, Z) due to that of Z; a jump counts in full."""
    ends = [abs(f(name, Z + sign * DEVIATIONS * E_Z) - f(name, Z)) for sign in (-1, 1)]
    return np.maximum(*ends) / (1 if name in KINKED_ACTIVATIONS else DEVIATIONS)


class Expected:
    """The twin's numbers, each with the deviation `E_...` that the dtype's rounding gives it.

    `sizes`, pairs as in `layers`, are what roundings in products are proportional to.
    """

    def __init__(self, network, w, X, y=None, sizes=None):
        self.net = net = naive.twin(network)
        self.u = u = float(np.finfo(network.dtype).eps)
        self.layers = naive.unpack(net, w)
        self.Z, self.A = naive.forward(net, w, X)
        self.Y = None if y is None else naive.targets(net, y)
        self.E_A, self.E_Z = [np.zeros_like(self.A[0])], []
        for (W, _), (size_W, size_b), name, A_in, Z, A in zip(
            self.layers, sizes or self.layers, net.activations, self.A, self.Z, self.A[1:],
            strict=False,
        ):  # fmt: skip
            rounding = u * np.sqrt(len(W) + 2) * (abs(A_in) @ abs(size_W) + abs(size_b))
            E_Z = np.hypot(_over(self.E_A[-1], W), rounding)
            self.E_Z.append(E_Z)
            self.E_A.append(self._activation_error(name, Z, A, E_Z))

    def _activation_error(self, name, Z, A, E_Z):
        if name in JUMPS:
            return np.where(abs(Z) < DEVIATIONS * E_Z, 2.0, 0.0)
        if name == "softmax":
            largest = Z.max(axis=1, keepdims=True)
            spread = np.sqrt(((A * E_Z) ** 2).sum(axis=1, keepdims=True))
            own = self.u * (4 + abs(Z - largest) + np.sqrt(A.shape[1]))
            return A * np.sqrt(E_Z**2 + spread**2 + own**2)
        if name == "relu":
            return np.where(Z > -DEVIATIONS * E_Z, E_Z, 0)
        slope = naive_activations.activation_derivative(name, Z)
        if name in COMMON:
            return np.hypot(slope * E_Z, 3 * self.u * abs(A))
        slope = abs(slope) + change(naive_activations.activation_derivative, name, Z, E_Z)
        return np.hypot(slope * E_Z, 6 * self.u * abs(A))

    def _through_activation(self, layer, D, E_D):
        """Return D * phi' and its deviation, layer 1 .. L."""
        name, Z, A, E_A = (
            self.net.activations[layer - 1], self.Z[layer - 1], self.A[layer], self.E_A[layer],
        )  # fmt: skip
        result = naive.through_activation(name, Z, D)
        if name == "identity":
            return result, E_D
        if name == "softmax":
            inner = (D * A).sum(axis=1, keepdims=True)
            terms = (E_D * A) ** 2 + (D * E_A) ** 2 + (A.shape[1] + 2) * (self.u * D * A) ** 2
            E_inner = np.sqrt(terms.sum(axis=1, keepdims=True))
            own = self.u * (abs(D) + abs(inner)) * 4
            E = np.sqrt(E_D**2 + E_inner**2 + own**2)
            return result, np.hypot(A * E, E_A * (abs(D) + abs(inner)))
        if name == "relu":
            uncertain = abs(Z) < DEVIATIONS * self.E_Z[layer - 1]
            return result, np.where(uncertain, abs(D) + E_D, E_D * (Z > 0))
        slope = naive_activations.activation_derivative(name, Z)
        E_slope = np.hypot((2 if name == "tanh" else 1) * E_A, 2 * self.u)
        if name not in COMMON:
            E_slope = change(naive_activations.activation_derivative, name, Z, self.E_Z[layer - 1])
            E_slope = np.hypot(E_slope, 6 * self.u * np.maximum(1, abs(slope)))
        return result, np.sqrt((D * E_slope) ** 2 + (slope * E_D) ** 2 + (2 * self.u * result) ** 2)

    def _last_delta(self):
        A, E_A, Y = self.A[-1], self.E_A[-1], self.Y
        if self.net.loss in naive_losses.NAMES:
            return self._through_activation(len(self.layers), *self._slope_of_loss())
        return A - Y, np.hypot(E_A, 2 * self.u * (abs(A) + abs(Y)))

    def _bend_of_loss(self):
        """Return e'' by the predictions, its deviation, and what e' may jump by."""
        A, E_A = self.A[-1], self.E_A[-1]
        of = self.net.loss, self.net.parameter, A, self.Y
        distance, jump, bend = naive_losses.edge(*of)
        near = distance < DEVIATIONS * (E_A + 2 * self.u * (abs(A) + abs(self.Y)))
        curvature = naive_losses.second_derivative(*of)
        E = 2 * curvature * E_A if self.net.loss == "log_cosh" else 0
        return curvature, E + np.where(near, bend, 0), np.where(near, jump, 0)

    def _slope_of_loss(self):
        """Return e' by the predictions, and its deviation."""
        A, E_A, Y = self.A[-1], self.E_A[-1], self.Y
        curvature, E_curvature, jump = self._bend_of_loss()
        E = np.hypot(E_A, 2 * self.u * (abs(A) + abs(Y)))
        slope = naive_losses.derivative(self.net.loss, self.net.parameter, A, Y)
        return slope, (curvature + E_curvature) * E + jump

    def _deltas(self, D, E):
        """Return [(D_1, its deviation), ..., (D_L, ...)]."""
        deltas = [(D, E)]
        for layer in range(len(self.layers) - 1, 0, -1):
            W = self.layers[layer][0]
            rounding = self.u * np.sqrt(W.shape[1] + 2) * (abs(D) @ abs(W).T)
            E = np.hypot(_over(E, W.T), rounding)
            D, E = self._through_activation(layer, D @ W.T, E)
            deltas.insert(0, (D, E))
        return deltas

    @property
    def prediction(self):
        """(expected, deviation), each (n, n_L)."""
        return self.A[-1], self.E_A[-1]

    def losses(self):
        """(expected, deviation of float64's errors, of the dtype's) of each sample's loss (n,)."""
        losses = naive.loss_from_last_layer(self.net, self.Z[-1], self.A[-1], self.Y)
        Z, A, Y, u = self.Z[-1], self.A[-1], self.Y, self.u
        size = abs(Z).sum(axis=1)
        if self.net.loss in naive_losses.NAMES:
            curvature, _, jump = self._bend_of_loss()
            slope = naive_losses.derivative(self.net.loss, self.net.parameter, A, Y)
            E_A = self.E_A[-1]
            E = (abs(slope) + jump) * np.hypot(E_A, u * (abs(A) + abs(Y)))
            E += np.maximum(curvature, 1) * E_A**2
        else:
            E = abs(A - Y) * self.E_Z[-1]
        if self.net.loss == "poisson":
            E += A * self.E_Z[-1] ** 2
            size = (A + Y * (2 + abs(Z)) + Y**2).sum(axis=1)
        E = (E**2).sum(axis=1)
        if self.net.loss == "cross_entropy":  # of the sum in log(sum of exp)
            E += (u * (4 + np.sqrt(A.shape[1]) + np.ptp(Z, axis=1) * A.min(axis=1))) ** 2
        eps = np.finfo(np.float64).eps
        magnitude = (abs(losses) + size) * (len(Z) + A.shape[1] + 8)
        return losses, eps * magnitude, np.sqrt(E)

    def loss(self, reduction="mean"):
        """(expected, deviation) of the reduced loss."""
        losses, wide, E = self.losses()
        scale = len(losses) if reduction == "mean" else 1
        return naive.reduce(losses, reduction), (np.sqrt((E**2).sum()) + wide.sum()) / scale

    def gradient(self, reduction="mean"):
        """(expected, deviation), each (n_params,)."""
        n = len(self.A[0])
        pieces, deviations = [], []
        for A, E_A, (D, E_D) in zip(
            self.A, self.E_A, self._deltas(*self._last_delta()), strict=False
        ):
            ones, none = np.ones((n, 1)), np.zeros((n, 1))
            A, E_A = np.hstack([A, ones]), np.hstack([E_A, none])  # the last row: of the bias
            n_in = A.shape[1] - 1
            rounding = self.u * np.sqrt(n + 3) * (abs(A).T @ abs(D))
            E = np.sqrt(E_A.T**2 @ D**2 + A.T**2 @ E_D**2 + rounding**2)
            pieces.append(((A.T @ D)[:n_in], (A.T @ D)[n_in]))
            deviations.append((E[:n_in], E[n_in]))
        scale = n if reduction == "mean" else 1
        return [naive.pack(self.net, parts) / scale for parts in (pieces, deviations)]

    def _rows(self, D, E):
        """(expected, deviation) of each row's own gradient (n, n_params), from D_L."""
        deltas = self._deltas(D, E)
        results = []
        for i in range(len(D)):
            pieces, deviations = [], []
            for A, E_A, (D_l, E_l) in zip(self.A, self.E_A, deltas, strict=False):
                product = np.outer(A[i], D_l[i])
                error = np.hypot(np.outer(E_A[i], D_l[i]), np.outer(A[i], E_l[i]))
                pieces.append((product, D_l[i]))
                deviations.append((error + self.u * abs(product), E_l[i] + self.u * abs(D_l[i])))
            results.append([naive.pack(self.net, parts) for parts in (pieces, deviations)])
        return np.swapaxes(np.array(results), 0, 1)

    def sample_gradients(self):
        """(expected, deviation), each (n, n_params)."""
        return self._rows(*self._last_delta())

    def jacobian(self):
        """(expected, deviation), each (n, n_L, n_params)."""
        results = []
        for j in range(self.net.widths[-1]):
            D = np.zeros_like(self.A[-1])
            D[:, j] = 1
            D, E = self._through_activation(len(self.layers), D, np.zeros_like(D))
            results.append(self._rows(D, E))
        return np.moveaxis(np.array(results), 0, 2)


def check(name, actual, expected_and_deviation, dtype):
    """Fail where a number is farther from the expected one than DEVIATIONS; return the worst."""
    expected, deviation = expected_and_deviation
    tiny = np.finfo(dtype).tiny
    actual = np.asarray(actual)
    assert actual.shape == np.shape(expected), (name, actual.shape, np.shape(expected))
    ratio = abs(actual.astype(np.float64) - expected) / (deviation + 1e3 * tiny)
    worst = np.unravel_index(np.argmax(ratio), ratio.shape)  # a NaN too
    n_bad, place = np.sum(~(ratio <= DEVIATIONS)), [int(i) for i in worst]
    assert n_bad == 0, (
        f"{name}{place} is {actual[worst]}, expected {np.asarray(expected)[worst]}: "
        f"{ratio[worst]:.3g} deviations; {n_bad} of {ratio.size} are off"
    )
    return ratio[worst]


# Child processes -----------------------------------------------------------------------------

IS_X86 = platform.machine().lower() in ("x86_64", "amd64")
needs_x86_with_fma = pytest.mark.skipif(
    not (IS_X86 and {"avx2", "fma"} <= cpu_features()), reason="needs x86-64 with AVX2 and FMA"
)
AVX2_ONLY = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma,+bmi,+bmi2"}


def run_child(*arguments, **environment):
    """Run Python in a process of its own and return what it prints, read as JSON.

    A variable of the environment that is None is not set.
    """
    path = os.pathsep.join(path for path in sys.path if path)
    variables = {**os.environ, "PYTHONPATH": path, **environment}
    run = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={name: value for name, value in variables.items() if value is not None},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.returncode == 0, f"{run.returncode}: {run.stdout[-2000:]}\n{run.stderr[-4000:]}"
    return json.loads(run.stdout)
