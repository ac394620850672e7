"""What a fit hands to a solver, and what it gets back."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp.files import FormatError
from fastmlp.kernels.updates import dot
from fastmlp.solvers.reports import Callbacks

if TYPE_CHECKING:
    from fastmlp.network import Network

# scikit-learn's words.
NON_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and "
    "need to be preprocessed."
)

# A score (greater is better) of a network's parameters on the validation samples.
Score = Callable[[Any, Any, Any], float]


@dataclass(frozen=True)
class Validation:
    """Samples to validate on, as the network takes them, and how they are scored."""

    X: Any
    y: np.ndarray
    weights: np.ndarray | None
    score: Score

    @property
    def samples(self) -> tuple[Any, ...]:
        """X, y and, where there are any, weights."""
        return (self.X, self.y) if self.weights is None else (self.X, self.y, self.weights)


@dataclass(frozen=True)
class Problem:
    """The samples and the penalty of a fit, as the network takes them.

    Attributes
    ----------
    X, y : ndarray
        Checked.
    weights : ndarray of shape (n_samples,) or None
        With the largest in [0.5, 1).
    alpha : float
        The penalty's strength: the sum of weighted losses + alpha / 2 times the sum of squared
        weights is to be minimised; scaled as the samples' weights are.
    rows : ndarray or None
        Those to train on.
    validation : Validation or None
    """

    net: Network
    X: Any
    y: np.ndarray
    weights: np.ndarray | None
    alpha: float
    rows: np.ndarray | None
    validation: Validation | None

    @property
    def n_samples(self) -> int:
        """How many samples there are to train on."""
        return self.X.shape[0] if self.rows is None else len(self.rows)

    @cached_property
    def total_weight(self) -> float:
        """The sum of the weights of the samples to train on."""
        if self.weights is None:
            return float(self.n_samples)
        weights = self.weights if self.rows is None else self.weights[self.rows]
        return float(weights.sum(dtype=np.float64))

    @property
    def outputs_averaged(self) -> int:
        """By what the data's loss is divided where it is shown.

        scikit-learn minimises the sum of half squared errors over outputs, and shows their mean.
        """
        return self.net.widths[-1] if self.net.loss_name == "half_squared_error" else 1

    def penalty(self, w: np.ndarray) -> float:
        """Return alpha / 2 times the sum of squared weights, biases left out."""
        if self.alpha == 0:
            return 0.0
        squares = sum(dot(W.ravel(), W.ravel()) for W in self.net.weights(w))
        return self.alpha / 2 * float(squares)


# Of a course.
_COUNTS, _CURVES = ("n_iter", "t"), ("loss_curve", "validation_loss_curve", "validation_scores")


@dataclass
class Course:
    """How far training has come: the fitted attributes of the same names, without underscore.

    Those of validation, and the best loss, may be None.
    """

    n_iter: int = 0
    t: int = 0
    loss: Any = math.nan
    best_loss: Any = None
    loss_curve: list[float] = field(default_factory=list)
    validation_loss_curve: Any = None
    validation_scores: Any = None
    best_validation_score: Any = None

    def begin(self, has_validation: bool, stops_early: bool) -> None:
        """Have what a fit begins with, where an earlier one has not left it."""
        if has_validation and self.validation_scores is None:
            self.validation_loss_curve, self.validation_scores = [], []
            self.best_validation_score = -np.inf
        if self.best_loss is None and not stops_early:
            self.best_loss = np.float64(np.inf)

    def validate(self, loss: float, score: float) -> bool:
        """Record a validation; return whether the score is the best so far."""
        self.validation_loss_curve.append(loss)
        self.validation_scores.append(score)
        is_best: bool = score > self.best_validation_score
        if is_best:
            self.best_validation_score = score
        return is_best

    def copy(self) -> Course:
        """Return a copy that shares no list."""
        curves = {name: list(v) for name, v in vars(self).items() if isinstance(v, list)}
        return replace(self, **curves)  # type: ignore[arg-type]

    def tree(self) -> dict[str, Any]:
        """Return all of it, as files hold it."""
        return dict(vars(self.copy()))

    def load(self, tree: dict[str, Any]) -> None:
        """Have what `tree` returned.

        Raises
        ------
        FormatError
            For anything else.
        """
        for name, here in vars(self).items():
            value = tree[name]
            numbers = value if isinstance(value, list) else [value]
            kinds = int if name in _COUNTS else (int, float)
            fits = isinstance(value, list) == (name in _CURVES)
            if value is None:
                fits = here is None
            elif not all(isinstance(one, kinds) for one in numbers):
                fits = False
            if not fits:
                raise FormatError(f"the course of training has a wrong {name}")
            setattr(self, name, value)
        self.loss = np.float64(self.loss)
        self.loss_curve = [np.float64(loss) for loss in self.loss_curve]
        if self.best_loss is not None:
            self.best_loss = np.float64(self.best_loss)


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line that called this library.

    For `fit` that is scikit-learn's wrapper around it: filters for its module find ours as well.
    """
    frame: FrameType | None = sys._getframe(1)
    level = 2
    while frame is not None and frame.f_globals.get("__name__", "").startswith("fastmlp."):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def callbacks_of(estimator: Any) -> list[Any]:
    """Return the callbacks of an estimator's parameter: none, one, or several.

    Raises
    ------
    TypeError, ValueError
        For what is no callback.
    """
    given = estimator.callbacks
    if given is None:
        return []
    listed = list(given) if isinstance(given, (list, tuple)) else [given]
    for one in listed:
        if hasattr(one, "on_fit_task_end"):
            raise TypeError(f"scikit-learn's callbacks go to set_callbacks; got callbacks={one!r}")
    Callbacks(given, name="callbacks")  # checks them
    return listed


def seeded(random_state: np.random.RandomState) -> np.random.Generator:
    """Return a generator that goes on from a random state of scikit-learn's."""
    return np.random.default_rng(random_state.randint(2**32, size=4, dtype=np.uint64))
