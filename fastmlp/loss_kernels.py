"""Kernels of losses that are called by address: the library's, and what users' functions become."""

from __future__ import annotations

from functools import cache
from typing import Any

import numba
from numba.core import types

from fastmlp.kernels import batch, elementwise
from fastmlp.kernels.jit import address_of
from fastmlp.kernels.losses import CODES, CUSTOM
from fastmlp.losses import ROLES, Loss


def code(loss: Loss) -> int:
    """Return the kernels' code of a loss."""
    return CUSTOM if loss.functions else CODES[loss.name]


@cache  # never given up: workspaces hold addresses of the code
def address(loss: Loss, purpose: int, number_type: Any) -> int:
    """Compile what batch.ELEMENTWISE or ELEMENTWISE_CURVATURE stands for; return where it is.

    Raises TypeError where a function of the user's does not compile.
    """
    i, f, numbers = types.int64, types.float64, types.Array(number_type, 1, "C")
    targets = types.Array(number_type, 2, "C")
    signature: tuple[Any, ...]
    if purpose == batch.ELEMENTWISE_CURVATURE:
        signature = (i, f, numbers, i, i, targets, i, i)
    else:
        index, sample_losses = types.Array(i, 1, "C"), types.Array(f, 1, "C")
        signature = (
            i, f, numbers, i, i, i, i, targets, index, i, number_type, numbers, sample_losses
        )  # fmt: skip
    return address_of(_kernel(loss, purpose), signature)


def _kernel(loss: Loss, purpose: int) -> Any:
    is_curvature = purpose == batch.ELEMENTWISE_CURVATURE
    if not loss.functions:
        builtin = elementwise.losses_and_deltas, elementwise.multiply_by_curvature
        return builtin[is_curvature]
    compiled = [
        _compiled(loss, role, function)
        for role, function in zip(ROLES, loss.functions, strict=False)
    ]
    if is_curvature:
        return elementwise.custom_multiply_by_curvature(compiled[2])
    return elementwise.custom_losses_and_deltas(compiled[0], compiled[1])


def _compiled(loss: Loss, role: str, function: Any) -> Any:
    """Return a function of the user's, compiled for two floats."""
    arguments = (types.float64, types.float64)
    try:
        if not isinstance(function, numba.core.dispatcher.Dispatcher):
            function = numba.njit(nogil=True, error_model="numpy")(function)
        function.compile(arguments)
        result = function.overloads[arguments].signature.return_type
    except Exception as error:  # whatever Numba raises
        raise TypeError(
            f"{role} of the loss {loss!r} does not compile for floats (prediction, target): {error}"
        ) from error
    if not isinstance(result, (types.Float, types.Integer, types.Boolean)):
        raise TypeError(f"{role} of the loss {loss!r} must return a number; it returns {result}")
    return function
