"""Random weights for a layer to start from."""

from __future__ import annotations

import math

import numpy as np

SCHEMES = (
    "he_normal", "he_uniform", "glorot_normal", "glorot_uniform", "lecun_normal", "lecun_uniform",
    "normal", "uniform",
)  # fmt: skip
ALIASES = {"he": "he_normal", "glorot": "glorot_uniform", "lecun": "lecun_normal"}
NAMES = (*SCHEMES, *ALIASES)
_SUITED = {
    **dict.fromkeys(("relu", "leaky_relu", "elu", "gelu", "silu", "softplus"), "he"),
    **dict.fromkeys(("sigmoid", "tanh", "softmax", "hard_sigmoid", "hard_tanh"), "glorot"),
}
# Deviation of "normal" and half the width of "uniform", whatever the layer's widths.
PLAIN_SCALE = 0.05


def suited_to(activation: str) -> str:
    """Return the scheme that keeps signals at their size through this activation."""
    return _SUITED.get(activation, "lecun")


def draw(rng: np.random.Generator, scheme: str, shape: tuple[int, int]) -> np.ndarray:
    """Return the weights of a layer, flat, in float64, so that both dtypes start alike.

    For the schemes see `Network.init`.
    """
    n_in, n_out = shape
    scheme = ALIASES.get(scheme, scheme)
    if scheme == "normal":
        return PLAIN_SCALE * rng.standard_normal(n_in * n_out)
    if scheme == "uniform":
        return rng.uniform(-PLAIN_SCALE, PLAIN_SCALE, n_in * n_out)
    family, distribution = scheme.split("_")
    variance = {"he": 2 / n_in, "glorot": 2 / (n_in + n_out), "lecun": 1 / n_in}[family]
    if distribution == "normal":
        return math.sqrt(variance) * rng.standard_normal(n_in * n_out)
    limit = math.sqrt(3 * variance)
    return rng.uniform(-limit, limit, n_in * n_out)
