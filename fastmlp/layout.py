"""Where the parameters of each layer are in the flat vector."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import NamedTuple


class Layer(NamedTuple):
    """The places of a layer's weights, of this shape in C order, and of its biases."""

    weights: slice
    shape: tuple[int, int]
    biases: slice


@cache
def layout(widths: tuple[int, ...], bias: bool) -> tuple[Layer, ...]:
    """Return the places of each layer's parameters: layer after layer, weights before biases.

    Parameters
    ----------
    widths : tuple of int
        Of the inputs and of each layer.
    bias : bool
        Without them, their places are empty.
    """
    layers, start = [], 0
    for n_in, n_out in pairwise(widths):
        middle = start + n_in * n_out
        stop = middle + bias * n_out
        layers.append(Layer(slice(start, middle), (n_in, n_out), slice(middle, stop)))
        start = stop
    return tuple(layers)
