"""The network that an estimator's parameters ask for, and its parameter vector."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from fastmlp import validation
from fastmlp.kernels.activations import HIDDEN, NOT_DIFFERENTIABLE
from fastmlp.network import Network

# scikit-learn's names of activations, where ours are others.
SIGMOID = {"logistic": "sigmoid"}
ACTIVATIONS = {*HIDDEN, *SIGMOID} - {*NOT_DIFFERENTIABLE}


class Views(list[np.ndarray]):
    """Arrays that are views of one vector: to assign another array is to copy its numbers."""

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return list, (list(self),)  # copies are of arrays that belong to no model

    def __setitem__(self, index: Any, value: Any) -> None:
        if isinstance(index, slice):
            places = range(len(self))[index]
            values = list(value)
            if len(values) != len(places):
                raise ValueError(
                    f"expected {len(places)} arrays, one for each layer; got {len(values)}"
                )
            for place, array in zip(places, values, strict=True):
                _require_shape(self[place], array, place)
            for place, array in zip(places, values, strict=True):
                self[place][...] = array
        else:
            _require_shape(self[index], value, index)
            self[index][...] = value


def _require_shape(view: np.ndarray, array: Any, place: int) -> None:
    shape = np.shape(array)
    if shape != view.shape:
        raise ValueError(f"layer {place} has shape {view.shape}; got an array of shape {shape}")


def widths_of(hidden_layer_sizes: Any) -> list[int]:
    """Return the widths of the hidden layers."""
    sizes = hidden_layer_sizes
    sizes = list(sizes) if isinstance(sizes, Iterable) else [sizes]
    if any(validation.is_number(size) and size <= 0 for size in sizes):
        raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
    return [validation.count("hidden_layer_sizes", size) for size in sizes]


def architecture(
    estimator: Any, widths: tuple[int, ...], dtype: Any, earlier: Network | None
) -> Network:
    """Return the network of an estimator; of the dtype and widths of the earlier one, if any."""
    activation, n_hidden = estimator.activation, len(widths) - 2
    names = [activation] * n_hidden if isinstance(activation, str) else list(activation)
    for name in names:
        validation.one_of("activation", name, sorted(ACTIVATIONS))
    if len(names) != n_hidden:
        raise ValueError(
            f"activation has {len(names)} names, hidden_layer_sizes has {n_hidden} layers"
        )
    hidden = [SIGMOID.get(name, str(name)) for name in names]
    output, loss = estimator._output_and_loss()
    if earlier is not None:
        if earlier.widths != widths:
            raise ValueError(
                f"the network has layers of {list(widths)} units, but was fitted with "
                f"{list(earlier.widths)}: training can only go on with the same"
            )
        dtype = earlier.dtype
    return Network(widths, hidden=hidden, output=output, loss=loss, dtype=dtype)


def initial(network: Network, activation: Any, random_state: np.random.RandomState) -> np.ndarray:
    """Return parameters drawn as scikit-learn's MLPs draw them.

    References
    ----------
    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks",
    2010.
    """
    w = np.empty(network.n_params, network.dtype)
    names = [activation] if isinstance(activation, str) else [*activation]
    names += [names[-1] if names else "relu"] * (network.n_layers - len(names))
    for name, W, b in zip(names, network.weights(w), network.biases(w), strict=True):
        bound = np.sqrt((2.0 if SIGMOID.get(name, name) == "sigmoid" else 6.0) / sum(W.shape))
        W[:] = random_state.uniform(-bound, bound, W.shape)
        b[:] = random_state.uniform(-bound, bound, b.shape)
    return w


def up_to(network: Network, layer: int) -> Network:
    """Return the network whose outputs are those of a hidden layer, its parameters a prefix."""
    n_hidden = network.n_layers - 1
    if n_hidden == 0:
        raise ValueError("there are no hidden layers to transform to: hidden_layer_sizes is empty")
    if isinstance(layer, bool) or not isinstance(layer, (int, np.integer)):
        raise TypeError(f"layer must be an integer; got {layer!r}")
    if not -n_hidden <= layer < n_hidden:
        raise ValueError(
            f"layer must be between {-n_hidden} and {n_hidden - 1}, for {n_hidden} hidden "
            f"layer{'s' if n_hidden > 1 else ''}; got {layer}"
        )
    n = layer % n_hidden + 1
    *hidden, output = network.activations[:n]
    return Network(
        network.widths[: n + 1],
        hidden=hidden,
        output=output,
        loss="squared_error",
        dtype=network.dtype,
    )
