"""Objective: the mean loss of a network over samples, and penalties, as a function of w."""

from __future__ import annotations

import math
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp import validation
from fastmlp.curve import Curve
from fastmlp.directional import DirectionalPasses
from fastmlp.kernels.updates import dot
from fastmlp.sparse import as_given
from fastmlp.weights import combined, total_weight

if TYPE_CHECKING:
    from fastmlp.network import Network


class Objective:
    """The function E(w) that full-batch solvers minimise, ready for SciPy's optimisers as well.

        ``E(w) = sum_i s_i e_i(w) / sum_i s_i + l2 / 2 * sum_l ||W_l||^2``

    with the loss e_i of sample i, its weight s_i, and the Frobenius norm. Biases are not penalised.

    Parameters
    ----------
    net : Network
    X : {array-like, sparse matrix, Source} of shape (n_samples, n_0)
        Used in place where it has the network's dtype and C order; otherwise converted block by
        block in every pass. Memory maps are fine, and sparse matrices (best in CSR format: others
        are brought into it). Otherwise neither X nor y is copied: do not change them while the
        objective is in use.
    y : array-like of shape (n_samples,) or (n_samples, n_L)
        As in `Network.loss`.
    sample_weight : array-like of shape (n_samples,), optional
        Not negative, not all zero. Weight 0 equals leaving the sample out, as long as its numbers
        do not overflow.
    class_weight : dict or "balanced", optional
        As in `Network.loss`.
    l2 : float, default=0.0
        Strength of the penalty, 0 or more.
    reduction : {"mean", "sum"}, default="mean"
        Of the losses: "sum" leaves out the division. The penalty is the same.
    kept_bytes : int, default=2**30
        The most memory for the first layer's two products that `along` keeps, which take
        ``2 * n_samples * n_1`` numbers, rows rounded up to an odd number of cache lines.

    Attributes
    ----------
    net, X, y, l2, reduction
        As given (X, if sparse, in CSR format); not to be changed.
    nfev, njev, nhev : int
        Evaluations so far: passes that gave a value (those of curves among them), gradients, and
        products with the Hessian.

    Notes
    -----
    Samples are processed in blocks of rows. Memory beyond X, y and a few vectors of the parameters:
    for the blocks about 16 MiB, or 256 rows' worth, and four times that once `along` or
    `hessian_vector` has been called; then the products as `kept_bytes` allows. Results do not
    depend on the blocks, nor on the number of threads. An objective may be used from several
    threads: one at a time is served.

    Raises
    ------
    ValueError, TypeError
        For arguments that do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> import scipy.optimize
    >>> import fastmlp as fm
    >>> net = fm.Network([2, 1], output="sigmoid", dtype="float64")
    >>> X, y = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 1, 1, 1])
    >>> objective = fm.Objective(net, X, y, l2=1e-2)
    >>> result = scipy.optimize.minimize(objective.value_and_gradient, net.init(0), jac=True)
    >>> round(result.fun, 3)
    0.233
    """

    def __init__(
        self,
        net: Network,
        X: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        class_weight: Any = None,
        l2: float = 0.0,
        reduction: str = "mean",
        kept_bytes: int = 2**30,
    ) -> None:
        self.reduction = validation.one_of("reduction", reduction, validation.REDUCTIONS)
        self.l2 = validation.not_negative("l2", l2)
        if self.l2 > np.finfo(net.dtype).max:
            raise ValueError(f"l2 is {l2!r}, beyond the range of {net.dtype}")
        self.net, self._rows = net, validation.features(net, X)
        self.y = validation.truth(net, y, len(self._rows))
        self._weights = combined(net, sample_weight, class_weight, self.y, reduction)
        self.kept_bytes = validation.count("kept_bytes", kept_bytes, least=0)
        self.nfev = self.njev = self.nhev = 0
        self._divisor = total_weight(self._weights, len(self.y)) if reduction == "mean" else 1.0
        self._begin()

    @property
    def X(self) -> Any:
        """The samples, as rows; in CSR format if they came as a sparse matrix."""
        return as_given(self._rows)

    @property
    def weights(self) -> np.ndarray | None:
        """The samples' weights, by `sample_weight` and `class_weight`; None where all are 1."""
        return self._weights

    def _begin(self) -> None:
        """Have no buffers, and nothing in them."""
        self._lock, self._process = threading.RLock(), os.getpid()
        self._passes = DirectionalPasses(
            self.net, self._rows, self.y, self._weights, self.kept_bytes
        )
        self._keeps = False  # whether gradients keep the first layer's product
        self._product_of: np.ndarray | None = None  # the w whose product is kept
        self._curve: Curve | None = None  # whose line has been begun last
        self._last: tuple[np.ndarray, float, np.ndarray] | None = None  # (w, value, gradient)

    _BUFFERS = ("_lock", "_process", "_passes", "_keeps", "_product_of", "_curve", "_last")

    def _served(self) -> threading.RLock:
        """Return what to hold while the buffers are in use."""
        if self._process != os.getpid():  # a fork: whoever held the lock is not here
            self._begin()
        return self._lock

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in self._BUFFERS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._begin()

    def __repr__(self) -> str:
        parts = [repr(self.net), f"{len(self.y)} samples"]
        if self._weights is not None:
            parts.append("weighted")
        if self.l2:
            parts.append(f"l2={self.l2!r}")
        return f"Objective({', '.join(parts)}, reduction={self.reduction!r})"

    def __call__(self, w: Any) -> float:
        """Return `value`."""
        return self.value(w)

    def value(self, w: Any) -> float:
        """Return E(w). No backward pass is run.

        Parameters
        ----------
        w : array-like of shape (n_params,)

        Returns
        -------
        float

        Raises
        ------
        ValueError
            For a w of another shape, and for NaN or infinity in it.
        """
        flat = self._checked("w", w)
        with self._served():
            self.nfev += 1
            return self._passes.loss(flat) / self._divisor + self._penalty(flat)

    def gradient(self, w: Any) -> np.ndarray:
        """Return the gradient of E at w, by backpropagation.

        Parameters
        ----------
        w : array-like of shape (n_params,)

        Returns
        -------
        ndarray of shape (n_params,) and of the network's dtype

        Raises
        ------
        ValueError
            As `value`; and where an activation has no usable derivative (step, sign).
        """
        return self._backpropagate(w)[1]

    def value_and_gradient(self, w: Any) -> tuple[float, np.ndarray]:
        """Return E(w) and its gradient, at the cost of the gradient.

        Parameters
        ----------
        w : array-like of shape (n_params,)

        Returns
        -------
        value : float
        gradient : ndarray of shape (n_params,) and of the network's dtype

        Raises
        ------
        ValueError
            As `gradient`.
        """
        with self._served():
            value_and_gradient = self._backpropagate(w)
            self.nfev += 1
        return value_and_gradient

    def _backpropagate(self, w: Any) -> tuple[float, np.ndarray]:
        self.net.require_derivatives()
        flat = self._checked("w", w)
        gradient = np.empty_like(flat)
        scale = 1 / self._divisor
        with self._served():
            self.njev += 1
            if self._keeps:
                self._product_of = self._curve = None
                total = self._passes.gradient_and_products(flat, scale, gradient)
                self._product_of = flat
            else:
                total = self._passes.gradient(flat, scale, gradient)
            self._add_penalty(flat, gradient)
            value = total / self._divisor + self._penalty(flat)
            self._last = (flat, value, gradient.copy())
        return value, gradient

    def hessian_vector(self, w: Any, v: Any) -> np.ndarray:
        """Return the product of the Hessian of E at w with v, exact, by the R-operator.

        Parameters
        ----------
        w : array-like of shape (n_params,)
        v : array-like of shape (n_params,)

        Returns
        -------
        ndarray of shape (n_params,) and of the network's dtype

        Raises
        ------
        ValueError
            As `gradient`; and where a loss of one's own has no second derivative.

        References
        ----------
        Pearlmutter, "Fast exact multiplication by the Hessian", Neural Computation 6, 1994.
        """
        self.net.require_derivatives()
        self.net.loss_function.require_second_derivative()
        flat, direction = self._checked("w", w), self._checked("v", v)
        with self._served():
            self.nhev += 1
            self._curve = None
            product = self._passes.hessian_vector(flat, direction, 1 / self._divisor)
        self._add_penalty(direction, product)
        return product

    def along(self, w: Any, d: Any) -> Curve:
        """Return the curve phi(alpha) = E(w + alpha d).

        The first layer is linear in alpha: ``Z_1 = X W_1 + b_1 + alpha (X D_1 + d_1)``. Both
        products are computed once (the first one is kept from the gradient's own forward pass, if
        that was the last computed, and at w), so that each alpha costs the other layers only. Where
        they would take more than `kept_bytes`, they are computed anew for each alpha, to the same
        bits.

        Parameters
        ----------
        w : array-like of shape (n_params,)
        d : array-like of shape (n_params,)

        Returns
        -------
        Curve

        Raises
        ------
        ValueError
            As `gradient`.
        """
        self.net.require_derivatives()
        curve = Curve(self._evaluate, self._checked("w", w), self._checked("d", d))
        with self._served():
            if self._last is not None and np.array_equal(self._last[0], curve.start):
                _, value, gradient = self._last
                curve.remember(0.0, value, dot(gradient, curve.direction))
        return curve

    def _evaluate(self, curve: Curve, alpha: float, with_derivative: bool) -> tuple[float, float]:
        """Return the value at alpha and, where asked for, the derivative."""
        w, d = curve.start, curve.direction
        with self._served():
            self._keeps = self._passes.keeps_all  # the next gradient may be followed by a search
            if self._curve is not curve:
                kept = self._product_of
                has_product = kept is not None and np.array_equal(kept, w)
                self._curve = None
                self._product_of = w if has_product else None
                self._passes.begin_line(w, d, has_product)
                self._product_of = w if self._passes.keeps_all else None
                self._curve = curve
            self.nfev += 1
            total, slope = self._passes.along(w, alpha, with_derivative)
        value, slope = total / self._divisor, slope / self._divisor
        if self.l2:
            if curve.penalty is None:
                curve.penalty = self._inner(w, w), self._inner(w, d), self._inner(d, d)
            ww, wd, dd = curve.penalty
            bend = alpha * dd if alpha else 0.0  # dd may be infinite
            value += self.l2 / 2 * max(0.0, ww + alpha * (2 * wd + bend))
            slope += self.l2 * (wd + bend)
        return value, slope

    def _checked(self, name: str, w: Any) -> np.ndarray:
        """Return a copy of w, of the network's dtype."""
        return np.array(validation.parameters(self.net, w, name), self.net.dtype)

    def _inner(self, u: np.ndarray, v: np.ndarray) -> float:
        """Return the inner product of the weights in u and v, biases left out."""
        pairs = zip(self.net.weights(u), self.net.weights(v), strict=True)
        return float(sum(dot(U.ravel(), V.ravel()) for U, V in pairs))

    def _penalty(self, w: np.ndarray) -> float:
        return self.l2 / 2 * self._inner(w, w) if self.l2 else 0.0

    def _add_penalty(self, w: np.ndarray, out: np.ndarray) -> None:
        """Add the penalty's gradient, or its Hessian times w, to out."""
        if self.l2:
            with np.errstate(over="ignore", invalid="ignore"):
                for W, G in zip(self.net.weights(w), self.net.weights(out), strict=True):
                    G += self.net.dtype.type(self.l2) * W


@dataclass(frozen=True)
class Evaluation:
    """A point, E and its gradient there, and the gradient's Euclidean norm."""

    w: np.ndarray
    value: float
    gradient: np.ndarray
    norm: float

    @classmethod
    def at(cls, w: np.ndarray, objective: Objective) -> Evaluation:
        """Evaluate an objective at w, of its network's dtype."""
        return cls.of(w, *objective.value_and_gradient(w))

    @classmethod
    def of(cls, w: np.ndarray, value: float, gradient: np.ndarray) -> Evaluation:
        """Return the evaluation of which value and gradient are known."""
        return cls(w, value, gradient, math.sqrt(dot(gradient, gradient)))

    @classmethod
    def unknown(cls, w: np.ndarray) -> Evaluation:
        """Return NaNs, for a point that has not been evaluated."""
        return cls(w, math.nan, np.full_like(w, math.nan), math.nan)

    @property
    def is_finite(self) -> bool:
        """Whether E and its gradient are."""
        return math.isfinite(self.value) and math.isfinite(self.norm)


def starting_point(objective: Any, w: Any) -> np.ndarray:
    """Return a copy of w, of the network's dtype, from which a solver shall minimise."""
    if not isinstance(objective, Objective):
        raise TypeError(
            f"objective must be a fastmlp.Objective(net, X, y); got {type(objective).__name__}"
        )
    objective.net.require_derivatives()
    return objective._checked("w", w)
