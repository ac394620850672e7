"""Network: an immutable description of a multi-layer perceptron; its functions of (w, X, y)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastmlp import evaluate, initializers, losses, validation
from fastmlp.kernels import activations
from fastmlp.layout import layout


@dataclass(frozen=True, init=False, repr=False)
class Network:
    """A multi-layer perceptron: widths, activations, loss, with or without biases.

    An immutable description; the parameters are a flat vector of their own, layer after layer,
    ``W_l`` of shape ``(n_{l-1}, n_l)`` in C order, then ``b_l``. With samples as rows,

        ``A_0 = X,  Z_l = A_{l-1} W_l + b_l,  A_l = phi_l(Z_l),  prediction = A_L``

    Parameters
    ----------
    widths : sequence of int
        ``n_0, ..., n_L``: features, units of each hidden layer, outputs.
    hidden : str or sequence of str, default="relu"
        Activation of all hidden layers, or one for each: "identity", "relu", "leaky_relu" (slope
        0.01 below 0), "elu" (``e^z - 1`` below 0), "gelu" (z times the normal distribution
        function), "silu" (``z sigmoid(z)``), "softplus" (``log(1 + e^z)``), "sigmoid",
        "hard_sigmoid" (``z / 6 + 1 / 2`` in [0, 1]), "tanh", "hard_tanh" (z in [-1, 1]), "exp",
        "step" (1 where z >= 0) or "sign". Step and sign are for predictions only: a gradient
        through them raises ValueError.
    output : str, optional
        Activation of the output layer: as above, or "softmax". By default what the loss needs:
        softmax for "cross_entropy", sigmoid for "binary_cross_entropy", exp for "poisson", else
        identity.
    loss : str or Loss, optional
        Of one sample, the objective being its mean. Sums over outputs: "squared_error"
        (``(prediction - y)^2``), "half_squared_error" (half of that), "absolute_error", "huber",
        "log_cosh" (log cosh(prediction - y)), "quantile", "hinge" (``max(0, 1 - y prediction)``, y
        -1 or 1), "perceptron" (``max(0, -y prediction)``), "binary_cross_entropy" (needs sigmoid),
        "poisson" (half the Poisson deviance; needs exp). And "cross_entropy" (needs softmax).
        Or one of `fastmlp.losses`: parameters, label smoothing, one's own. By default what the
        output suggests: "cross_entropy" for softmax, "binary_cross_entropy" for sigmoid, "poisson"
        for exp, else "squared_error".
    bias : bool, default=True
        Whether layers have biases.
    dtype : {"float32", "float64"}, default="float32"
        Of parameters and arithmetic. Losses are summed in float64.

    Attributes
    ----------
    widths : tuple of int
    activations : tuple of str
        One for each layer 1 .. L.
    loss_function : fastmlp.losses.Loss
    loss_name : str
    bias : bool
    dtype : numpy.dtype
    n_layers : int
        L, the number of layers with parameters.
    n_params : int
        The length of the parameter vector.

    Raises
    ------
    ValueError
        For unknown names and for combinations that cannot work; the message lists what can.

    References
    ----------
    Rumelhart, Hinton and Williams, "Learning representations by back-propagating errors", Nature
    323, 1986.

    Examples
    --------
    >>> import fastmlp as fm
    >>> net = fm.Network([784, 256, 10], hidden="relu", output="softmax")
    >>> net
    Network([784, 256, 10], hidden='relu', output='softmax', loss='cross_entropy')
    >>> w = net.init(rng=0)
    >>> w.shape
    (203530,)
    """

    widths: tuple[int, ...]
    activations: tuple[str, ...]
    loss_function: losses.Loss
    bias: bool
    dtype: np.dtype[Any]

    def __init__(
        self,
        widths: Sequence[int],
        *,
        hidden: str | Sequence[str] = "relu",
        output: str | None = None,
        loss: str | losses.Loss | None = None,
        bias: bool = True,
        dtype: Any = "float32",
    ) -> None:
        known_widths = validation.widths(widths)
        if output is not None:
            validation.one_of("output", output, activations.CODES)
        output, loss = losses.with_output(output, loss)
        if not isinstance(bias, (bool, np.bool_)):
            raise ValueError(f"bias must be True or False; got {bias!r}")
        names = validation.hidden(hidden, len(known_widths) - 2, activations.HIDDEN)
        values = {
            "widths": known_widths,
            "activations": (*names, output),
            "loss_function": loss,
            "bias": bool(bias),
            "dtype": validation.dtype(dtype),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        *hidden, output = self.activations
        parts = [str(list(self.widths))]
        if hidden:
            parts.append(f"hidden={(hidden[0] if len(set(hidden)) == 1 else tuple(hidden))!r}")
        loss = self.loss_function
        parts += [f"output={output!r}", f"loss={(loss.name if loss.is_default else loss)!r}"]
        if not self.bias:
            parts.append("bias=False")
        if self.dtype != np.float32:
            parts.append(f"dtype={self.dtype.name!r}")
        return f"Network({', '.join(parts)})"

    @property
    def loss_name(self) -> str:
        """The name of the loss."""
        return self.loss_function.name

    @property
    def n_layers(self) -> int:
        """L, the number of layers with parameters."""
        return len(self.widths) - 1

    @property
    def n_params(self) -> int:
        """The length of the parameter vector."""
        n: int = layout(self.widths, self.bias)[-1].biases.stop
        return n

    def weights(self, w: np.ndarray) -> list[np.ndarray]:
        """Return the weights of each layer as views into w.

        Parameters
        ----------
        w : ndarray of shape (n_params,)
            Parameters, a gradient, or anything else of that layout; contiguous.

        Returns
        -------
        list of ndarray of shape (n_{l-1}, n_l)
        """
        flat = self._flat(w)
        return [
            flat[layer.weights].reshape(layer.shape) for layer in layout(self.widths, self.bias)
        ]

    def biases(self, w: np.ndarray) -> list[np.ndarray]:
        """Return the biases of each layer as views into w; an empty list without biases.

        Parameters
        ----------
        w : ndarray of shape (n_params,)

        Returns
        -------
        list of ndarray of shape (n_l,)
        """
        flat = self._flat(w)
        return [flat[layer.biases] for layer in layout(self.widths, self.bias)] if self.bias else []

    def _flat(self, w: np.ndarray) -> np.ndarray:
        if not isinstance(w, np.ndarray):
            raise TypeError(f"w must be an ndarray, so that views share it; got {type(w).__name__}")
        if w.shape != (self.n_params,):
            raise ValueError(f"w has shape {w.shape}, the network expects ({self.n_params},)")
        if not w.flags.c_contiguous:
            raise ValueError(
                "w must be contiguous, so that weights can be views; got a strided one"
            )
        return w

    def init(self, rng: Any = None, scheme: str | None = None) -> np.ndarray:
        """Return random parameters; biases are 0.

        Parameters
        ----------
        rng : None, int or numpy.random.Generator
            As in SPEC 7.
        scheme : str, optional
            With ``n_in`` and ``n_out`` a layer's widths, the weights have variance 2 / n_in
            ("he_normal", "he_uniform"; "he" is "he_normal"), 2 / (n_in + n_out) ("glorot_normal",
            "glorot_uniform"; "glorot" is "glorot_uniform"), 1 / n_in ("lecun_normal",
            "lecun_uniform"; "lecun" is "lecun_normal"), or deviation 0.05 ("normal"), or lie in
            [-0.05, 0.05] ("uniform"). By default each layer takes what suits its activation: he
            for relu and its kind (leaky_relu, elu, gelu, silu, softplus), glorot for sigmoid, tanh,
            softmax, hard_sigmoid and hard_tanh, lecun otherwise.

        Returns
        -------
        ndarray of shape (n_params,) and of the network's dtype

        References
        ----------
        He et al., "Delving deep into rectifiers", 2015. Glorot and Bengio, "Understanding the
        difficulty of training deep feedforward neural networks", 2010. LeCun et al., "Efficient
        backprop", 1998.
        """
        if scheme is not None:
            validation.one_of("scheme", scheme, initializers.NAMES)
        generator = validation.generator(rng)
        w = np.zeros(self.n_params, self.dtype)
        for layer, activation in zip(layout(self.widths, self.bias), self.activations, strict=True):
            chosen = scheme or initializers.suited_to(activation)
            w[layer.weights] = initializers.draw(generator, chosen, layer.shape)
        return w

    def predict(self, w: Any, X: Any) -> np.ndarray:
        """Return the network's outputs.

        Parameters
        ----------
        w : array-like of shape (n_params,)
        X : {array-like, sparse matrix, Source} of shape (n_samples, n_0)
            Another dtype or layout, or a sparse matrix, is converted block by block.

        Returns
        -------
        ndarray of shape (n_samples, n_L) and of the network's dtype
            A row's numbers do not depend on the other rows, nor on the number of threads.

        Raises
        ------
        ValueError
            For shapes that do not fit, and for NaN or infinity.
        """
        return evaluate.predict(self, w, X)

    def loss(
        self,
        w: Any,
        X: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        class_weight: Any = None,
        reduction: str = "mean",
    ) -> float:
        """Return the weighted mean (or the sum) of the samples' losses.

        Parameters
        ----------
        w : array-like of shape (n_params,)
        X : {array-like, sparse matrix, Source} of shape (n_samples, n_0)
        y : array-like of shape (n_samples,) or (n_samples, n_L)
            Integer labels or rows of probabilities for "cross_entropy", else targets; a vector of
            targets where the network has one output.
        sample_weight : array-like of shape (n_samples,), optional
            Not negative, not all zero; 0 equals leaving the sample out. A mean is divided by the
            sum of the weights.
        class_weight : dict or "balanced", optional
            Where y holds labels: their weights, by which their samples' are multiplied; by default
            1. "balanced" weighs a label ``n_samples / (n_classes * count)``.
        reduction : {"mean", "sum"}, default="mean"

        Returns
        -------
        float

        Raises
        ------
        ValueError
            For shapes that do not fit, NaN or infinity, and targets that the loss does not allow.
        """
        return evaluate.loss(self, w, X, y, sample_weight, class_weight, reduction)

    def gradient(
        self,
        w: Any,
        X: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        class_weight: Any = None,
        reduction: str = "mean",
    ) -> np.ndarray:
        """Return the gradient of `loss`, by backpropagation.

        Parameters are those of `loss`.

        Returns
        -------
        ndarray of shape (n_params,) and of the network's dtype
            In the layout of w.

        Raises
        ------
        ValueError
            As `loss`; and where an activation has no usable derivative (step, sign).
        """
        return evaluate.gradient(self, w, X, y, sample_weight, class_weight, reduction)

    def sample_gradients(self, w: Any, X: Any, y: Any) -> np.ndarray:
        """Return the gradient of each sample's own loss.

        Parameters are those of `loss`; errors those of `gradient`.

        Returns
        -------
        ndarray of shape (n_samples, n_params)
        """
        return evaluate.sample_gradients(self, w, X, y)

    def jacobian(self, w: Any, X: Any) -> np.ndarray:
        """Return the derivatives of the predictions by the parameters.

        Parameters
        ----------
        w : array-like of shape (n_params,)
        X : {array-like, sparse matrix, Source} of shape (n_samples, n_0)

        Returns
        -------
        ndarray of shape (n_samples, n_L, n_params)

        Raises
        ------
        ValueError
            As `predict`; and where an activation has no usable derivative (step, sign).
        """
        return evaluate.jacobian(self, w, X)

    def collapse(self, w: Any) -> tuple[Network, np.ndarray]:
        """Return the one linear map that a network of identities is.

        Parameters
        ----------
        w : array-like of shape (n_params,)

        Returns
        -------
        network : Network
            One identity layer, of the same loss, bias and dtype.
        parameters : ndarray of shape (network.n_params,)
            Its weights are ``W_1 W_2 ... W_L`` (multiplied in float64), its bias likewise.

        Raises
        ------
        ValueError
            Where an activation is not identity.
        """
        for number, activation in enumerate(self.activations, start=1):
            if activation != "identity":
                raise ValueError(
                    "only a network of identities can be collapsed; "
                    f"layer {number} is {activation!r}"
                )
        w = validation.parameters(self, w)
        wide = np.ascontiguousarray(w, np.float64)
        # Predictions, since the bits of NumPy's products depend on the CPU.
        of_weights, whole = (
            Network(self.widths, hidden="identity", output="identity", bias=bias, dtype="float64")
            for bias in (False, self.bias)
        )
        weights = np.concatenate([W.ravel() for W in self.weights(wide)])
        product = of_weights.predict(weights, np.eye(self.widths[0]))
        shift = whole.predict(wide, np.zeros((1, self.widths[0])))[0]
        linear = Network(
            [self.widths[0], self.widths[-1]],
            output="identity", loss=self.loss_function, bias=self.bias, dtype=self.dtype,
        )  # fmt: skip
        parts = [product.ravel(), shift] if self.bias else [product.ravel()]
        return linear, np.concatenate(parts).astype(self.dtype)

    def require_derivatives(self) -> None:
        """Raise ValueError where a gradient would pass an activation that has none."""
        for number, activation in enumerate(self.activations, start=1):
            if activation in activations.NOT_DIFFERENTIABLE:
                raise ValueError(
                    f"there is no gradient through {activation!r} (layer {number}): its derivative "
                    "is zero almost everywhere; use it for predictions only"
                )
