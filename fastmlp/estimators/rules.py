"""The solvers that an estimator's `solver` names, from the estimator's parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastmlp.solvers import rules


@dataclass(frozen=True)
class StepMomentum(rules.Momentum):
    """Momentum of whole steps: ``v <- momentum v - alpha g,  w <- w + v``.

    PyTorch's `rules.Momentum` is the same where alpha is constant. `momentum` may be 1.
    """

    moves_by_state = True

    def __post_init__(self) -> None:
        """Leave the check to the estimator."""


@dataclass(frozen=True)
class StepNesterov(StepMomentum):
    """Nesterov's: ``v <- momentum v - alpha g,  w <- w + momentum v - alpha g``.

    References
    ----------
    Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013.
    """

    code = rules.Nesterov.code


@dataclass(frozen=True)
class AdamEpsilonHat(rules.Adam):
    """Adam as the end of its paper's section 2 has it, eps beside the root that is not corrected.

    References
    ----------
    Kingma and Ba, "Adam: a method for stochastic optimization", 2015.
    """

    def coefficients(self, t: np.ndarray) -> Sequence[Any]:
        """Return `rules.Adam`'s, with an eps that is corrected as the root is."""
        *others, root, eps = super().coefficients(t)
        return *others, root, eps * root


def _sgd(estimator: Any) -> rules.Rule:
    if estimator.momentum == 0:
        return rules.SGD()
    kind = StepNesterov if estimator.nesterovs_momentum else StepMomentum
    return kind(float(estimator.momentum))


def _adam_kind(rule: type[rules.Adam]) -> Callable[[Any], rules.Rule]:
    return lambda estimator: rule(estimator.beta_1, estimator.beta_2, estimator.epsilon)


STOCHASTIC: dict[str, Callable[[Any], rules.Rule]] = {
    "sgd": _sgd,
    "adam": _adam_kind(AdamEpsilonHat),
    "adagrad": lambda estimator: rules.Adagrad(),
    "rmsprop": lambda estimator: rules.RMSprop(eps=estimator.epsilon),
    "amsgrad": _adam_kind(rules.AMSGrad),
    "adamw": lambda estimator: rules.AdamW(
        estimator.beta_1, estimator.beta_2, estimator.epsilon, weight_decay=estimator.alpha
    ),
    "rprop": lambda estimator: rules.Rprop(),
}
# Of the solvers that see all samples at once: the directions of `gradient_descent`. "lbfgs" is
# SciPy's.
DIRECTIONS = {"gd": "steepest", "cg": "conjugate", "nesterov": "nesterov"}
NAMES = {*STOCHASTIC, *DIRECTIONS, "lbfgs"}
# Those whose step size `learning_rate` may change by its name; the others adapt theirs.
RATED = ("sgd", "adagrad", "rmsprop")


def is_stochastic(solver: Any) -> bool:
    """Return whether a solver, a name or a rule, takes the samples batch by batch."""
    return isinstance(solver, rules.Rule) or solver in STOCHASTIC


def rule_of(estimator: Any) -> rules.Rule:
    """Return the update rule of an estimator with a stochastic solver."""
    solver = estimator.solver
    return solver if isinstance(solver, rules.Rule) else STOCHASTIC[solver](estimator)
