"""What a stochastic solver validates on: samples given for it, or some set apart."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp import labels
from fastmlp.passes import Passes
from fastmlp.solvers import scoring as scores
from fastmlp.solvers.identity import digest
from fastmlp.sparse import Features, as_given, is_sparse, take
from fastmlp.validation import features, is_number, truth
from fastmlp.weights import by_class, combined, total_weight

if TYPE_CHECKING:
    from fastmlp.network import Network

Samples = tuple[Features, np.ndarray, np.ndarray | None]  # X, y, weights


class Holdout:
    """Samples that are not trained on, and the loss and score of parameters on them.

    Parameters
    ----------
    net : Network
    validation : None, (X, y), (X, y, sample_weight), or float in (0, 1)
        Nothing; samples; or the share of the training samples to set apart. The share's size is
        rounded, to at least 1 and to leave at least 1. Where y holds labels, it has as many of each
        in proportion, the roundings those of the largest remainders; a label that occurs more than
        once is left at least once.
    scoring : None, str or callable
        As `scoring.scorer` takes it.
    X : ndarray or SparseRows
    y : ndarray
        The training samples, checked. X is not copied, but for the rows set apart.
    weights : ndarray of shape (n_samples,) or None
        Of the training samples, as `weights.combined` returns them.
    rng : numpy.random.Generator
        Draws what is set apart, here and only where a share is asked for.
    class_weight : dict, "balanced" or None
        For samples given; "balanced" by the labels of the training samples.

    Attributes
    ----------
    train_rows : ndarray of shape (n_train,), int64, ascending; or None for all

    Raises
    ------
    ValueError, TypeError
        For arguments that do not fit.
    """

    def __init__(
        self,
        net: Network,
        validation: Any,
        scoring: Any,
        X: Features,
        y: np.ndarray,
        weights: np.ndarray | None,
        rng: np.random.Generator,
        class_weight: Any = None,
    ) -> None:
        self._scoring, self._score = scoring, scores.scorer(scoring)
        self.train_rows: np.ndarray | None = None
        self._passes: Passes | None = None
        if validation is None:
            if scoring is not None:
                raise ValueError("scoring needs samples to score: give validation too")
            return
        if isinstance(validation, (tuple, list)) and len(validation) in (2, 3):
            samples = _given(net, validation, by_class(net, class_weight, y))
        elif is_number(validation) and 0 < validation < 1:
            held_out = drawn(net, float(validation), y, rng)
            rows, self.train_rows = np.flatnonzero(held_out), np.flatnonzero(~held_out)
            for part, use in ((rows, "validate"), (self.train_rows, "train")):
                if weights is not None and not weights[part].any():
                    raise ValueError(
                        f"validation={validation!r} leaves only samples of weight 0 to {use} on"
                    )
            samples = take(X, rows), y[rows], None if weights is None else weights[rows]
        else:
            raise ValueError(
                "validation must be None, (X_val, y_val), (X_val, y_val, sample_weight_val) or a "
                f"number between 0 and 1; got {_described(validation)}"
            )
        X, y, weights = samples
        self._passes = Passes(net, X, y, weights)
        self._divisor = total_weight(weights, len(X))
        if self._score is not None:
            self._targets = scores.targets(net, y)

    def words(self) -> str:
        """Return what there is to validate on, in words."""
        passes = self._passes
        if passes is None or passes.y is None:
            return "None"
        dtype, weights = passes.net.dtype, digest(passes.weights)
        y = digest(passes.y, np.int64 if passes.y.ndim == 1 else dtype)
        return f"X {digest(passes.X, dtype)}, y {y}, sample_weight {weights}"

    def check(self, w: np.ndarray) -> None:
        """Score w once where scikit-learn does it: raise now what it would raise after an epoch.

        Not by a function of the user's, which may count its calls.
        """
        by_sklearn = type(self._scoring).__module__.startswith("sklearn.")
        if isinstance(self._scoring, str) or by_sklearn:
            self.evaluate(w)

    def evaluate(self, w: np.ndarray) -> tuple[float, float]:
        """Return the weighted mean loss at w, and the score: NaN where there is none.

        Where the loss is not finite, the scorer is not asked.

        Parameters
        ----------
        w : ndarray of shape (n_params,)
        """
        if self._passes is None:
            return math.nan, math.nan
        loss = self._passes.loss(w) / self._divisor
        if self._score is None or not math.isfinite(loss):
            return loss, math.nan
        model = scores.model(self._passes.net, w, self._passes)
        return loss, self._score(model, as_given(self._passes.X), self._targets)


def _given(net: Network, validation: Any, class_weight: dict[int, float] | None) -> Samples:
    """Return the samples of a tuple (X, y) or (X, y, sample_weight), checked."""
    X, y, sample_weight = (*validation, None)[:3]
    with _about("validation=(X_val, y_val)"):
        X = features(net, X)
        y = truth(net, y, len(X))
        return X, y, combined(net, sample_weight, class_weight, y, "mean")


def drawn(net: Network, share: float, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return which samples to set apart (n,) bool, as `Holdout` does with a share of them."""
    n = len(y)
    if n < 2:
        raise ValueError(f"validation={share!r} needs at least 2 samples; X has {n}")
    n_held_out = min(max(round(share * n), 1), n - 1)
    held_out, places = np.zeros(n, np.bool_), labels.places(net, y)
    if places is None:
        held_out[rng.choice(n, n_held_out, replace=False, shuffle=False)] = True
        return held_out
    counts = np.bincount(places)
    spare = np.where(counts > 1, counts - 1, counts)
    if n_held_out > spare.sum():
        raise ValueError(
            f"validation={share!r} leaves {n - n_held_out} of {n} samples to train on, too few for "
            f"{np.count_nonzero(counts > 1)} labels"
        )
    rows = np.split(np.argsort(places, kind="stable"), np.cumsum(counts)[:-1])
    for members, size in zip(rows, _quotas(counts, spare, n_held_out, rng), strict=True):
        held_out[rng.choice(members, size, replace=False, shuffle=False)] = True
    return held_out


def _quotas(counts: np.ndarray, spare: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return how many of each class make n in proportion to the counts, none beyond `spare`.

    Hamilton's method: proportions are rounded down, and the largest remainders rounded up; equal
    ones are drawn from.
    """
    quotas, remainders = np.divmod(counts * n, counts.sum())
    order = np.lexsort((rng.random(len(counts)), -remainders))
    while (missing := n - quotas.sum()) > 0:
        quotas[order[quotas[order] < spare[order]][:missing]] += 1
    return quotas


@contextlib.contextmanager
def _about(name: str) -> Iterator[None]:
    """Name an argument in the errors about what is in it."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None


def _described(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    is_array = isinstance(value, np.ndarray) or is_sparse(value)
    return f"an array of shape {value.shape}" if is_array else repr(value)
