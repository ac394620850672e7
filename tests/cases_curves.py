"""What tests of objectives, curves and Hessians share: random problems, and error bounds."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import cycle

import numpy as np
from hypothesis import strategies as st

import cases
import fastmlp as fm
import naive
import naive_activations
import naive_losses
from cases import BATCHES, COMMON, DIFFERENTIABLE, DTYPES, PAIRS, WIDTHS, change

# Problems ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A network, samples, parameters w, a direction d and an objective's options."""

    net: fm.Network
    X: np.ndarray
    y: np.ndarray
    w: np.ndarray
    d: np.ndarray
    options: dict = field(default_factory=dict)

    def __repr__(self):
        options = dict(self.options)
        if "sample_weight" in options:
            options["sample_weight"] = "..."
        return f"{self.net} {len(self.X)} {options}"

    def objective(self, **more):
        return fm.Objective(self.net, self.X, self.y, **{**self.options, **more})

    def curve(self, **more):
        return self.objective(**more).along(self.w, self.d)

    @property
    def twin(self):
        return naive.Objective(naive.twin(self.net), self.X, self.y, **self.options)


def sample_weight(n, rng):
    """Weights of very different size, zeros among them, not all zero."""
    s = rng.integers(0, 4, n) * np.exp(rng.standard_normal(n))
    s[rng.integers(n)] = 1.5
    return s


def random_options(n, rng):
    options = {"reduction": str(rng.choice(["mean", "sum"]))}
    if rng.random() < 0.6:
        options["sample_weight"] = sample_weight(n, rng)
    if rng.random() < 0.6:
        options["l2"] = float(rng.choice([1e-4, 0.3]))
    return options


def case_of(net, n, rng, labels=True, **options):
    """Random numbers for a network."""
    w, X, y = cases.problem(net, n, rng, labels)
    return Case(net, X, y, w, cases.parameters(net, rng), options)


def random_case(net, n, rng):
    """Random numbers and options for a network."""
    return case_of(net, n, rng, bool(rng.random() < 0.7), **random_options(n, rng))


def random_networks(n_cases, seed):
    """(net, n) of 1 to 4 layers; every pair, batch size, number of layers and width comes up."""
    rng = np.random.default_rng(seed)
    batches, widths = cycle(rng.permutation(BATCHES)), cycle(rng.permutation(WIDTHS * 7))
    for number, (output, loss) in zip(range(n_cases), cycle(PAIRS), strict=False):
        n_layers = 1 + number % 4
        net = fm.Network(
            [int(next(widths)) for _ in range(n_layers + 1)],
            hidden=[str(name) for name in rng.choice(DIFFERENTIABLE, n_layers - 1)],
            output=output,
            loss=loss,
            bias=bool(rng.random() < 0.7),
            dtype=DTYPES[number // len(PAIRS) % 2],
        )
        yield net, int(next(batches))


# Layers deeper than a packed panel of weights.
DEEP = [(2047, 9), (2049, 17, 2), (9, 2055, 2), (3, 2, 2065), (4100, 1), (5, 1024, 3), (5, 3, 1025)]


@st.composite
def drawn_cases(draw, pairs=PAIRS, **options):
    """Cases of any shape, numbers of order 1 from a seed; random options but those given."""
    output, loss = draw(st.sampled_from(pairs))
    sizes = st.sampled_from([1, 2, 3, 7, 8, 9, 16, 17, 24, 49])
    shape = draw(st.lists(sizes, min_size=2, max_size=4))
    hidden = [draw(st.sampled_from(DIFFERENTIABLE)) for _ in shape[2:]]
    choices = {"bias": draw(st.booleans()), "dtype": draw(st.sampled_from(DTYPES))}
    net = fm.Network(shape, hidden=hidden, output=output, loss=loss, **choices)
    n = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return case_of(net, n, rng, draw(st.booleans()), **{**random_options(n, rng), **options})


def mixed_case(rng, pair=("softmax", "cross_entropy"), dtype="float32", n=101, **options):
    """A network of 3 layers around the edges of a tile, with weights, a penalty and biases."""
    net = fm.Network(
        [17, 49, 9, 11], hidden=["tanh", "relu"], output=pair[0], loss=pair[1], dtype=dtype
    )
    options = {"sample_weight": sample_weight(n, rng), "l2": 0.1, **options}
    return case_of(net, n, rng, **options)


ALPHAS = (0.0, 0.5, 1.0, -0.75, 3e-3)


def every_result(case, objective=None):
    """All that an objective computes at w and along d, with names."""
    if objective is None:
        objective = case.objective()
    w, d = case.w, case.d
    results = {"value": objective.value(w), "gradient": objective.gradient(w)}
    results["value, once more"], results["gradient, with it"] = objective.value_and_gradient(w)
    results["hessian_vector"] = objective.hessian_vector(w, d)
    curve = objective.along(w, d)
    results["phi"] = [curve(alpha) for alpha in ALPHAS]
    # At 0 it may be the last gradient . d, and other calls have been between.
    results["phi'"] = [curve.derivative(alpha) for alpha in ALPHAS[1:]]
    curve = objective.along(d, w)
    results["both"] = [curve.value_and_derivative(alpha) for alpha in ALPHAS]
    results["at"] = curve.at(0.3)
    return {name: np.asarray(values) for name, values in results.items()}


# Errors --------------------------------------------------------------------------------------


class Uncertain:
    """Numbers with the deviation of their error; results of arithmetic are rounded, unit u."""

    __array_ufunc__ = None  # an array times one of these is left to these

    def __init__(self, value, deviation, u):
        self.value, self.deviation, self.u = value, np.broadcast_to(deviation, np.shape(value)), u

    def _exact(self, other):
        return other if isinstance(other, Uncertain) else Uncertain(np.asarray(other), 0, self.u)

    def _rounded(self, value, *deviations):
        squares = sum(deviation**2 for deviation in deviations) + (self.u * value) ** 2
        return Uncertain(value, np.sqrt(squares), self.u)

    def __add__(self, other):
        other = self._exact(other)
        return self._rounded(self.value + other.value, self.deviation, other.deviation)

    def __sub__(self, other):
        return self + -1 * self._exact(other)

    def __mul__(self, other):
        (x, E_x), (y, E_y) = ((v.value, v.deviation) for v in (self, self._exact(other)))
        return self._rounded(x * y, x * E_y, E_x * y, E_x * E_y)

    __radd__, __rmul__ = __add__, __mul__

    def __rsub__(self, other):
        return self * -1 + other

    def __matmul__(self, other):
        (x, E_x), (y, E_y) = ((v.value, v.deviation) for v in (self, self._exact(other)))
        rounding = self.u * np.sqrt(x.shape[1] + 2) * (abs(x) @ abs(y))
        squares = x**2 @ E_y**2 + E_x**2 @ y**2 + E_x**2 @ E_y**2
        return Uncertain(x @ y, np.sqrt(squares + rounding**2), self.u)

    @property
    def T(self):
        return Uncertain(self.value.T, self.deviation.T, self.u)

    def sum(self, **axis):
        value, size = self.value.sum(**axis), abs(self.value).sum(**axis)
        n = self.value.size / np.size(value)
        squares = (self.deviation**2).sum(**axis) + n * (self.u * size) ** 2
        return Uncertain(value, np.sqrt(squares), self.u)


class Expected(cases.Expected):
    """The twin's numbers of an objective at w + alpha d, and their deviations.

    Roundings of the parameters w + alpha d are common to all samples, and do not average out.
    """

    def __init__(self, case, alpha=0.0):
        self.case, self.alpha, self.twin = case, alpha, case.twin
        w, d = (v.astype(case.net.dtype).astype(np.float64) for v in (case.w, case.d))
        self.at, self.d = w + alpha * d, d
        twin = naive.twin(case.net)
        sizes = naive.unpack(twin, abs(w) + abs(alpha * d))
        super().__init__(case.net, self.at, case.X, case.y, sizes)
        self.moves = naive.unpack(twin, d)
        self.E_at = self.u * (abs(w) + abs(alpha * d))
        self.factors = self.twin.factors()[:, None]
        # Relative, of weights that are rounded to the dtype.
        self.E_factors = 0 if case.options.get("sample_weight") is None else self.u

    def _uncertain(self, value, deviation=0.0):
        return Uncertain(value, deviation, self.u)

    def _common(self, slopes):
        """Deviation due to the roundings of w + alpha d, of something with these slopes there."""
        if self.alpha == 0:
            return 0
        slopes = slopes(self.at)
        alone = np.sqrt(((slopes * self.E_at) ** 2).sum())
        return alone + self.u * abs(self.alpha * (slopes @ self.d))

    def _penalty(self, v):
        """l2 * v, its biases 0, and room for the rounding of sums over it in float64."""
        values = self.twin.l2 * self.twin.without_biases(v)
        return values, np.finfo(np.float64).eps * np.sqrt(values.size) * abs(values)

    def value(self):
        """(expected, deviation) of phi(alpha)."""
        losses, wide, E = self.losses()
        factors = self.factors[:, 0]
        E = np.hypot(E, self.E_factors * losses)
        deviation = np.sqrt(((factors * E) ** 2).sum()) + (factors * wide).sum()
        sizes = abs(self.at) + abs(self.alpha * self.d)
        deviation += self._penalty(sizes)[1] @ sizes
        return self.twin.value(self.at), deviation + self._common(self.twin.gradient)

    def _activation(self, layer, v):
        """phi'(Z) v, layer 1 .. L; the softmax's Jacobian likewise."""
        return self._uncertain(*self._through_activation(layer, v.value, v.deviation))

    def _tangents(self):
        """Return [Z'_1 .. Z'_L] and [A'_0 .. A'_L] along d, by forward mode."""
        T_Z, T_A = [], [self._uncertain(np.zeros_like(self.A[0]))]
        for i, ((W, _), (V, c)) in enumerate(zip(self.layers, self.moves, strict=True)):
            A = self._uncertain(self.A[i], self.E_A[i])
            T_Z.append(T_A[i] @ W + A @ V + c)
            T_A.append(self._activation(i + 1, T_Z[i]))
        return T_Z, T_A

    def slope(self):
        """(expected, deviation) of phi'(alpha)."""
        T_Z, _ = self._tangents()
        slopes = (self._uncertain(*self._last_delta()) * T_Z[-1]).sum(axis=1)
        eps = np.finfo(np.float64).eps * len(self.A[0])
        E = np.hypot(slopes.deviation, self.E_factors * slopes.value)
        E = np.sqrt(((self.factors[:, 0] * E) ** 2).sum())
        E += eps * (self.factors[:, 0] * abs(slopes.value)).sum()
        E += self._penalty(abs(self.at) + abs(self.alpha * self.d))[1] @ abs(self.d)
        E += self._common(lambda at: self.twin.hessian_vector(at, self.d))
        return self.twin.slope(self.at, self.d), E

    def _flat(self, pieces, v):
        """(expected, deviation) of a flat result, from pairs for W and b and the penalty's v."""
        pair = [
            naive.pack(self.net, [(getattr(W, name), getattr(b, name)) for W, b in pieces])
            for name in ("value", "deviation")
        ]
        penalty = self.twin.l2 * self.twin.without_biases(v)
        return pair[0] + penalty, np.hypot(pair[1], 2 * self.u * (abs(penalty) + abs(pair[0])))

    def gradient(self):
        """(expected, deviation), each (n_params,); alpha is 0."""
        D = self.factors * self._uncertain(*self._last_delta())
        pieces = []
        for i in reversed(range(len(self.layers))):
            A = self._uncertain(self.A[i], self.E_A[i])
            pieces.insert(0, (A.T @ D, D.sum(axis=0)))
            if i > 0:
                D = self._activation(i, D @ self.layers[i][0].T)
        return self._flat(pieces, self.at)

    def _tangent_through_activation(self, layer, t, d_a, t_d):
        """Derivative of phi'(Z) d_a, where Z moves along t and d_a along t_d."""
        name, A = self.net.activations[layer - 1], self.A[layer]
        result = self._activation(layer, t_d)
        if name in ("identity", "relu"):
            return result
        if name not in (*COMMON, "softmax"):
            f, Z = naive_activations.activation_second_derivative, self.Z[layer - 1]
            curvature = f(name, Z)
            E = np.hypot(
                change(f, name, Z, self.E_Z[layer - 1]), 8 * self.u * np.maximum(1, abs(curvature))
            )
            return result + t * d_a * self._uncertain(curvature, E)
        a, t_a = self._uncertain(A, self.E_A[layer]), self._activation(layer, t)
        if name == "softmax":
            inner, t_inner = ((d_a * v).sum(axis=1, keepdims=True) for v in (a, t_a))
            return result + t_a * (d_a - inner) - a * t_inner
        return result + t_a * d_a * (-2 * a if name == "tanh" else 1 - 2 * a)

    def hessian_vector(self):
        """(expected, deviation) of H d, each (n_params,); alpha is 0."""
        T_Z, T_A = self._tangents()
        D, T_D = self._uncertain(*self._last_delta()), T_A[-1]
        if self.net.loss in naive_losses.NAMES:
            slope, curvature = self._slope_of_loss(), self._bend_of_loss()[:2]
            T_D = self._tangent_through_activation(
                len(self.A) - 1, T_Z[-1], self._uncertain(*slope),
                self._uncertain(*curvature) * T_A[-1],
            )  # fmt: skip
        D, T_D = self.factors * D, self.factors * T_D
        pieces = []
        for i in reversed(range(len(self.layers))):
            A = self._uncertain(self.A[i], self.E_A[i])
            pieces.insert(0, (T_A[i].T @ D + A.T @ T_D, T_D.sum(axis=0)))
            if i > 0:
                W, V = self.layers[i][0], self.moves[i][0]
                D_A, T_D_A = D @ W.T, T_D @ W.T + D @ V.T
                T_D = self._tangent_through_activation(i, T_Z[i - 1], D_A, T_D_A)
                D = self._activation(i, D_A)
        return self._flat(pieces, self.d)
