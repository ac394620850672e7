"""Losses of one sample: those with a parameter, and one's own.

`Network(loss=...)` takes what these functions return, or the name of a loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastmlp import validation
from fastmlp.kernels.losses import CODES

# What the parameter of a loss is called, and what it is where the loss is given by its name.
_PARAMETERS = {
    "huber": ("delta", 1.0),
    "quantile": ("q", 0.5),
    "cross_entropy": ("label_smoothing", 0.0),
    "binary_cross_entropy": ("label_smoothing", 0.0),
}
# Which outputs a loss is computed from, and which output and loss go together by default.
LOSS_NEEDS_OUTPUT = {
    "cross_entropy": "softmax",
    "binary_cross_entropy": "sigmoid",
    "poisson": "exp",
}
OUTPUT_SUGGESTS_LOSS = {output: loss for loss, output in LOSS_NEEDS_OUTPUT.items()}
LOSSES_OF_SOFTMAX = ("cross_entropy", "squared_error", "half_squared_error")
# Of (prediction, target), in the order of `Loss.functions`.
ROLES = ("value", "derivative", "second_derivative")


@dataclass(frozen=True, repr=False)
class Loss:
    """A loss of one sample, made by the functions of this module.

    Parameters
    ----------
    name : str
    parameter : float
        0 where the loss has none.
    functions : tuple of callable
        Of a user's own loss: value, derivative and, if there is one, second derivative.
    """

    name: str
    parameter: float = 0.0
    functions: tuple[Callable[[float, float], float], ...] = ()

    def __repr__(self) -> str:
        if self.functions:
            parts = [getattr(function, "__name__", repr(function)) for function in self.functions]
            if self.name != "custom":
                parts.append(f"name={self.name!r}")
            return f"custom({', '.join(parts)})"
        if self.name in _PARAMETERS:
            return f"{self.name}({_PARAMETERS[self.name][0]}={self.parameter!r})"
        return f"resolve({self.name!r})"

    @property
    def is_default(self) -> bool:
        """Whether its name says it all."""
        return not self.functions and self == resolve(self.name)

    def require_second_derivative(self) -> None:
        """Raise ValueError where a user's own loss has no second derivative."""
        if self.functions and len(self.functions) < len(ROLES):
            raise ValueError(
                f"products with the Hessian need the second derivative of the loss {self!r}; "
                "give it to fastmlp.losses.custom as second_derivative"
            )


def huber(delta: float = 1.0) -> Loss:
    """Return the loss that is a half squared error near the target and linear far from it.

    The sum over outputs of r^2 / 2 where |r| <= delta, else delta (|r| - delta / 2), with
    r = prediction - target: PyTorch's HuberLoss.

    Parameters
    ----------
    delta : float, default=1.0
        Where it becomes linear, positive.

    References
    ----------
    Huber, "Robust estimation of a location parameter", Annals of Mathematical Statistics 35, 1964.
    """
    return Loss("huber", _number("delta", delta, "a positive number", lambda x: x > 0))


def quantile(q: float = 0.5) -> Loss:
    """Return the loss whose minimum is a quantile of the targets, also called pinball loss.

    The sum over outputs of max(q r, (q - 1) r), with r = target - prediction.

    Parameters
    ----------
    q : float, default=0.5
        Which quantile, above 0 and below 1; 0.5, the median, is half of "absolute_error".

    References
    ----------
    Koenker and Bassett, "Regression quantiles", Econometrica 46, 1978.
    """
    fits = "a number above 0 and below 1"
    return Loss("quantile", _number("q", q, fits, lambda x: 0 < x < 1))


def cross_entropy(label_smoothing: float = 0.0) -> Loss:
    """Return the cross-entropy of softmax outputs, with smoothed targets.

    Labels and rows of probabilities t become (1 - s) t + s / n_L, with s the smoothing.

    Parameters
    ----------
    label_smoothing : float, default=0.0
        In [0, 1].

    References
    ----------
    Szegedy et al., "Rethinking the Inception architecture for computer vision", 2016, section 7.
    """
    return Loss("cross_entropy", _smoothing(label_smoothing))


def binary_cross_entropy(label_smoothing: float = 0.0) -> Loss:
    """Return the cross-entropy of sigmoid outputs, with smoothed targets.

    Targets y become (1 - s) y + s / 2, with s the smoothing.

    Parameters
    ----------
    label_smoothing : float, default=0.0
        In [0, 1].
    """
    return Loss("binary_cross_entropy", _smoothing(label_smoothing))


def custom(
    value: Callable[[float, float], float],
    derivative: Callable[[float, float], float],
    second_derivative: Callable[[float, float], float] | None = None,
    name: str = "custom",
) -> Loss:
    """Return a loss of one's own, a sum over outputs of value(prediction, target).

    Parameters
    ----------
    value, derivative : callable
        Functions of two floats, prediction and target, that return a number: the loss of an output,
        and its derivative by the prediction. They are compiled by Numba at the first use, unless
        they are already (`numba.njit`).
    second_derivative : callable, optional
        Likewise; only products with the Hessian need it.
    name : str, default="custom"
        Not that of another loss.

    Notes
    -----
    A function that does not compile raises TypeError, before anything is trained. One that raises
    at run time counts as returning NaN, which solvers report as divergence. Losses of functions
    that can be imported by name can be pickled.

    Examples
    --------
    >>> import fastmlp as fm
    >>> def value(prediction, target):
    ...     return (prediction - target) ** 4
    >>> def derivative(prediction, target):
    ...     return 4 * (prediction - target) ** 3
    >>> fm.Network([2, 1], loss=fm.losses.custom(value, derivative))
    Network([2, 1], output='identity', loss=custom(value, derivative))
    """
    functions = [value, derivative]
    if second_derivative is not None:
        functions.append(second_derivative)
    for role, function in zip(ROLES, functions, strict=False):
        if not callable(function):
            raise TypeError(f"{role} must be a function of (prediction, target); got {function!r}")
    if not isinstance(name, str):
        raise TypeError(f"name must be a str; got {name!r}")
    if name in CODES:
        raise ValueError(f"name must not be that of another loss; got {name!r}")
    return Loss(name, 0.0, tuple(functions))


def resolve(loss: str | Loss) -> Loss:
    """Return the loss of this name, its parameter the default one; or the loss itself.

    Parameters
    ----------
    loss : str or Loss

    Raises
    ------
    ValueError, TypeError
        For an unknown name, and for what is neither.
    """
    if isinstance(loss, Loss):
        return loss
    if not isinstance(loss, str):
        raise TypeError(f"loss must be a name or one of fastmlp.losses; got {loss!r}")
    name = validation.one_of("loss", loss, CODES)
    return Loss(name, _PARAMETERS.get(name, ("", 0.0))[1])


def with_output(output: str | None, loss: str | Loss | None) -> tuple[str, Loss]:
    """Return the output's activation and the loss, where not given what goes with the other.

    Parameters
    ----------
    output : str or None
    loss : str or Loss or None

    Raises
    ------
    ValueError, TypeError
        For what does not go together; and as `resolve`.
    """
    if loss is not None:
        loss = resolve(loss)
        output = output or LOSS_NEEDS_OUTPUT.get(loss.name, "identity")
    output = output or "identity"
    loss = resolve(loss or OUTPUT_SUGGESTS_LOSS.get(output, "squared_error"))
    needed = LOSS_NEEDS_OUTPUT.get(loss.name, output)
    if output != needed:
        raise ValueError(f"loss={loss.name!r} needs output={needed!r}; got output={output!r}")
    if output == "softmax" and loss.name not in LOSSES_OF_SOFTMAX:
        listed = ", ".join(map(repr, LOSSES_OF_SOFTMAX))
        raise ValueError(f"output='softmax' goes with the losses {listed}; got loss={loss.name!r}")
    return output, loss


def _number(name: str, value: Any, expected: str, fits: Callable[[float], bool]) -> float:
    if not validation.is_number(value):
        raise TypeError(f"{name} must be {expected}; got {value!r}")
    number = validation.as_float(value)
    if not (math.isfinite(number) and fits(number)):
        raise ValueError(f"{name} must be {expected}; got {validation.shown(value)}")
    return number


def _smoothing(value: Any) -> float:
    return _number("label_smoothing", value, "a number in [0, 1]", lambda x: 0 <= x <= 1)
