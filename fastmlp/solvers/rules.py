"""Update rules: how a gradient g changes the parameters w. Their arithmetic is in kernels/rules.py.

The definitions are PyTorch's (`torch.optim`), with the step size of each update as the learning
rate: alpha below. All operations are elementwise; t = 1, 2, ... is the number of the update.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np

from fastmlp import validation
from fastmlp.kernels import rules as kernel

# So many powers are computed faster one by one than as arrays.
FEW = 16


@dataclass(frozen=True)
class Rule:
    """What rules have in common.

    Attributes
    ----------
    default_step : float
        The step size where none is given.
    """

    default_step: ClassVar[float] = 0.01
    needs_all_samples: ClassVar[bool] = False
    # Whether the state is a change of w itself: then a step size multiplies the gradient, and a new
    # one leaves what the state has gathered as it is. Without clip_norm only.
    moves_by_state: ClassVar[bool] = False
    code: ClassVar[int]
    n_states: ClassVar[int]

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type == "bool":
                if not isinstance(value, (bool, np.bool_)):
                    raise TypeError(f"{field.name} must be True or False; got {value!r}")
            else:
                value = validation.not_negative(field.name, value)
                if field.name in _BELOW_ONE and value >= 1:
                    raise ValueError(f"{field.name} must be below 1; got {value!r}")
            object.__setattr__(self, field.name, value)

    def coefficients(self, t: np.ndarray) -> Sequence[Any]:
        """Return what the kernel needs for updates t, at most `kernel.N_OWN` numbers or arrays."""
        return ()

    def step_factors(self, t: np.ndarray) -> Any:
        """Return what the step sizes of updates t are multiplied by."""
        return 1.0


_BELOW_ONE = frozenset({"momentum", "decay", "beta1", "beta2"})


@dataclass(frozen=True)
class SGD(Rule):
    """Plain stochastic gradient descent: ``w <- w - alpha g``.

    References
    ----------
    Robbins and Monro, "A stochastic approximation method", Annals of Mathematical Statistics 22,
    1951.
    """

    code = kernel.SGD
    n_states = 0


@dataclass(frozen=True)
class Momentum(Rule):
    """The heavy ball: ``v <- momentum v + g,  w <- w - alpha v``.

    Parameters
    ----------
    momentum : float, default=0.9
        At least 0, below 1.

    References
    ----------
    Polyak, "Some methods of speeding up the convergence of iteration methods", USSR Computational
    Mathematics and Mathematical Physics 4, 1964.
    """

    momentum: float = 0.9

    code = kernel.MOMENTUM
    n_states = 1

    def coefficients(self, t: np.ndarray) -> Sequence[Any]:
        """Return the momentum."""
        return (self.momentum,)


@dataclass(frozen=True)
class Nesterov(Momentum):
    """Nesterov's momentum: ``v <- momentum v + g,  w <- w - alpha (g + momentum v)``.

    Parameters
    ----------
    momentum : float, default=0.9
        At least 0, below 1.

    References
    ----------
    Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013.
    """

    code = kernel.NESTEROV


@dataclass(frozen=True)
class Adagrad(Rule):
    """AdaGrad: ``s <- s + g^2,  w <- w - alpha g / (sqrt(s) + eps)``.

    Parameters
    ----------
    eps : float, default=1e-10

    References
    ----------
    Duchi, Hazan and Singer, "Adaptive subgradient methods for online learning and stochastic
    optimization", Journal of Machine Learning Research 12, 2011.
    """

    eps: float = 1e-10

    code = kernel.ADAGRAD
    n_states = 1

    def coefficients(self, t: np.ndarray) -> Sequence[Any]:
        """Return eps."""
        return (self.eps,)


@dataclass(frozen=True)
class RMSprop(Rule):
    """RMSProp: ``s <- decay s + (1 - decay) g^2,  w <- w - alpha g / (sqrt(s) + eps)``.

    Parameters
    ----------
    decay : float, default=0.99
        At least 0, below 1; PyTorch's `alpha`.
    eps : float, default=1e-8
    momentum : float, default=0.0
        Where not 0, of a heavy ball that gets ``g / (sqrt(s) + eps)`` instead of g.
    centered : bool, default=False
        Whether the variance of g takes the place of s: s less the square of a running mean of g.

    References
    ----------
    Tieleman and Hinton, "Lecture 6.5: RMSProp", Coursera: Neural Networks for Machine Learning,
    2012. Graves, "Generating sequences with recurrent neural networks", 2013 (centered).
    """

    decay: float = 0.99
    eps: float = 1e-8
    momentum: float = 0.0
    centered: bool = False

    @property
    def code(self) -> int:  # type: ignore[override]
        """The kernel's code."""
        codes = {
            (False, False): kernel.RMSPROP,
            (False, True): kernel.RMSPROP_MOMENTUM,
            (True, False): kernel.RMSPROP_CENTERED,
            (True, True): kernel.RMSPROP_CENTERED_MOMENTUM,
        }
        return codes[self.centered, self.momentum > 0]

    @property
    def n_states(self) -> int:  # type: ignore[override]
        """How many vectors of state it keeps."""
        return 1 + self.centered + (self.momentum > 0)

    def coefficients(self, t: np.ndarray) -> Sequence[Any]:
        """Return decay, its complement, eps and momentum."""
        return self.decay, 1 - self.decay, self.eps, self.momentum


@dataclass(frozen=True)
class Adam(Rule):
    """Adam: a mean of gradients over the root of a mean of their squares.

    ``m <- beta1 m + (1 - beta1) g,  s <- beta2 s + (1 - beta2) g^2``,
    ``w <- w - alpha m / (1 - beta1^t) / (sqrt(s / (1 - beta2^t)) + eps)``

    Parameters
    ----------
    beta1, beta2 : float, default=0.9 and 0.999
        At least 0, below 1.
    eps : float, default=1e-8

    References
    ----------
    Kingma and Ba, "Adam: a method for stochastic optimization", 2015.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    default_step = 0.001
    code = kernel.ADAM
    n_states = 2

    def coefficients(self, t: np.ndarray) -> Sequence[Any]:
        """Return shares of old and new in the means, and what corrects the bias of the root."""
        root = 1 / np.sqrt(1 - _powers(self.beta2, t))
        return 1 - self.beta1, self.beta2, 1 - self.beta2, root, self.eps

    def step_factors(self, t: np.ndarray) -> Any:
        """Return what corrects the bias of the mean."""
        return 1 / (1 - _powers(self.beta1, t))


@dataclass(frozen=True)
class AMSGrad(Adam):
    """AMSGrad: Adam with the largest s so far in place of s, which never shrinks.

    Parameters
    ----------
    beta1, beta2 : float, default=0.9 and 0.999
        At least 0, below 1.
    eps : float, default=1e-8

    References
    ----------
    Reddi, Kale and Kumar, "On the convergence of Adam and beyond", 2018.
    """

    code = kernel.AMSGRAD
    n_states = 3


@dataclass(frozen=True)
class AdamW(Adam):
    """AdamW: Adam after the weights have decayed, ``W <- (1 - alpha weight_decay) W``.

    Biases do not decay.

    Parameters
    ----------
    beta1, beta2 : float, default=0.9 and 0.999
        At least 0, below 1.
    eps : float, default=1e-8
    weight_decay : float, default=0.01

    References
    ----------
    Loshchilov and Hutter, "Decoupled weight decay regularization", 2019.
    """

    weight_decay: float = 0.01

    code = kernel.ADAMW


@dataclass(frozen=True)
class Rprop(Rule):
    """Rprop: a step of its own for each parameter, of which the gradient tells only the sign.

    Each size grows by `increase` where the gradient keeps its sign and shrinks by `decrease` where
    it changes; in that update the parameter stays (Rprop-). All start with the first step size.
    For full batches: a mini-batch's noise turns signs.

    Parameters
    ----------
    increase : float, default=1.2
    decrease : float, default=0.5
    smallest, largest : float, default=1e-6 and 50.0
        The bounds of sizes.

    References
    ----------
    Riedmiller and Braun, "A direct adaptive method for faster backpropagation learning: the RPROP
    algorithm", 1993.
    """

    increase: float = 1.2
    decrease: float = 0.5
    smallest: float = 1e-6
    largest: float = 50.0

    needs_all_samples = True
    code = kernel.RPROP
    n_states = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.decrease < 1 < self.increase:
            raise ValueError(
                "decrease must lie in (0, 1), increase above 1; "
                f"got {self.decrease!r} and {self.increase!r}"
            )
        if not self.smallest <= self.largest:
            raise ValueError(
                f"smallest must be at most largest; got {self.smallest!r} and {self.largest!r}"
            )

    def coefficients(self, t: np.ndarray) -> Sequence[Any]:
        """Return factors and bounds of the sizes, and whether they are to begin."""
        return self.increase, self.decrease, self.smallest, self.largest, t == 1


RULES = {
    "sgd": SGD,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "adagrad": Adagrad,
    "rmsprop": RMSprop,
    "adam": Adam,
    "amsgrad": AMSGrad,
    "adamw": AdamW,
    "rprop": Rprop,
}


def resolve(rule: Any) -> Rule:
    """Return the rule of this name with its defaults, or the rule itself.

    Parameters
    ----------
    rule : str or Rule
    """
    if isinstance(rule, Rule):
        return rule
    if isinstance(rule, type) and issubclass(rule, Rule):
        raise TypeError(f"rule must be a name or a rule, as rules.{rule.__name__}(); got the class")
    chosen: type[Rule] = RULES[validation.one_of("rule", rule, RULES)]
    return chosen()


def _powers(base: float, exponents: np.ndarray) -> np.ndarray:
    """Return base^exponents by multiplications alone: of the same bits on every CPU."""
    if len(exponents) <= FEW:
        return np.array([_power(base, t) for t in exponents.tolist()])
    result, left = np.ones(len(exponents)), exponents.copy()
    while left.any():
        result = np.where(left & 1, result * base, result)
        base, left = base * base, left >> 1
    return result


def _power(base: float, exponent: int) -> float:
    """Return base^exponent, of the bits that `_powers` gives."""
    result = 1.0
    while exponent:
        if exponent & 1:
            result *= base
        base, exponent = base * base, exponent >> 1
    return result
