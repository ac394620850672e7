"""Scores of parameters on samples, greater is better: by scikit-learn's scorers or one's own."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp import labels, validation
from fastmlp.sparse import as_given

if TYPE_CHECKING:
    from fastmlp.network import Network
    from fastmlp.passes import Passes

Score = Callable[["Model", Any, np.ndarray], float]


def scorer(scoring: Any) -> Score | None:
    """Return a function of (model, X, y) that returns a float: NaN for no score.

    Parameters
    ----------
    scoring : str, callable or None
        The name of a scikit-learn scorer, such a scorer, or a function of (model, X, y). The model
        is a `Model`, y as `targets` returns it.

    Raises
    ------
    ValueError, TypeError
        For unknown names, for metrics, which are no scorers, and for what cannot be called.
    """
    if scoring is None:
        return None
    given = _named(scoring) if isinstance(scoring, str) else scoring
    if not callable(given):
        raise TypeError(
            "scoring must be the name of a scikit-learn scorer, or a function of (model, X, y); "
            f"got {scoring!r}"
        )
    if inspect.isfunction(given) and (given.__module__ or "").startswith("sklearn.metrics."):
        raise ValueError(
            f"scoring must be a function of (model, X, y); got the metric {given.__name__}, which "
            "sklearn.metrics.make_scorer turns into one"
        )

    def score(model: Model, X: Any, y: np.ndarray) -> float:
        try:
            value = given(model, X, y)
        except (AttributeError, TypeError, ValueError) as error:
            raise type(error)(f"scoring={scoring!r}: {error}") from error
        if not validation.is_number(value):
            raise TypeError(f"scoring must return a number, or NaN for no score; got {value!r}")
        if np.isinf(value):
            raise ValueError(f"scoring must return a finite number, or NaN; got {value!r}")
        return float(value)

    return score


def _named(name: str) -> Any:
    """Return scikit-learn's scorer of this name."""
    from sklearn import metrics

    known = metrics.get_scorer_names()
    if name not in known:
        close = difflib.get_close_matches(name, known) or ["accuracy", "r2"]
        listed = ", ".join(repr(match) for match in close)
        raise ValueError(
            "scoring must be the name of a scikit-learn scorer "
            f"(sklearn.metrics.get_scorer_names()), such as {listed}; got {name!r}"
        )
    return metrics.get_scorer(name)


def targets(net: Network, y: np.ndarray) -> np.ndarray:
    """Return y, as `validation.truth` gives it, as scorers want it.

    Labels are integers, in rows where a network of several sigmoids or margins has several of each;
    a single column is a vector.
    """
    known, places = labels.classes(net), labels.places(net, y)
    if known is not None and places is not None:
        label: np.ndarray = known[places]
        return label
    pair = labels.PAIRS.get(net.loss_name)
    if pair is not None and np.isin(y, pair).all():
        return y.astype(np.int64)
    return y[:, 0] if y.shape[1] == 1 else y


class Model:
    """A network at some parameters, as scikit-learn's scorers see it: a fitted regressor.

    Parameters
    ----------
    net : Network
    w : ndarray of shape (n_params,)
        Not copied.
    passes : Passes, optional
        Over samples whose outputs will be asked for, which lend their buffers.

    Attributes
    ----------
    net, w
    """

    _estimator_type = "regressor"  # for scikit-learn 1.5; later ones ask for tags

    def __init__(self, net: Network, w: np.ndarray, passes: Passes | None = None) -> None:
        self.net, self.w, self._passes = net, w, passes
        self._last: tuple[Any, np.ndarray] | None = None  # (X, outputs)

    def predict(self, X: Any) -> np.ndarray:
        """Return the outputs: (n,) if there is one, else (n, n_L)."""
        return _squeezed(self.outputs(X))

    def outputs(self, X: Any) -> np.ndarray:
        """Return A_L (n, n_L), computed once where it is asked for several times."""
        if self._last is None or self._last[0] is not X:
            if self._passes is not None and X is as_given(self._passes.X):
                outputs = np.empty((self._passes.n_samples, self.net.widths[-1]), self.net.dtype)
                self._passes.predict(self.w, outputs)
            else:
                outputs = self.net.predict(self.w, X)
            self._last = X, outputs
        return self._last[1]

    def fit(self, X: Any, y: Any) -> Model:
        """Raise: scikit-learn wants to see that there is such a method, and calls it never."""
        raise NotImplementedError("a scorer cannot fit the network that it scores")

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, RegressorTags, Tags, TargetTags

        classifies = self._estimator_type == "classifier"
        return Tags(
            estimator_type=self._estimator_type,
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags() if classifies else None,
            regressor_tags=None if classifies else RegressorTags(),
        )


class Classifier(Model):
    """A network at some parameters, as a fitted classifier.

    Attributes
    ----------
    classes_ : ndarray, or a list of one for each column of y
    """

    _estimator_type = "classifier"

    @property
    def classes_(self) -> Any:
        """The labels, ascending."""
        known = labels.classes(self.net)
        if known is not None:
            return known
        return [np.array(labels.PAIRS[self.net.loss_name])] * self.net.widths[-1]


class SoftmaxClassifier(Classifier):
    """One that gives the probabilities of labels 0, 1, ..."""

    def predict(self, X: Any) -> np.ndarray:
        """Return the likeliest label (n,)."""
        likeliest: np.ndarray = self.outputs(X).argmax(axis=1)
        return likeliest

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each label (n, n_L)."""
        return self.outputs(X)


class SigmoidClassifier(Classifier):
    """One that gives the probability of 1, against 0, for each output."""

    def predict(self, X: Any) -> np.ndarray:
        """Return the likelier label: (n,) if there is one output, else (n, n_L)."""
        return _squeezed((self.outputs(X) > 0.5).astype(np.int64))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probabilities of 0 and 1 (n, 2); of several outputs that of 1 (n, n_L)."""
        P = self.outputs(X)
        return np.hstack([1 - P, P]) if P.shape[1] == 1 else P


class MarginClassifier(Classifier):
    """One that gives no probabilities: each output is positive for 1, negative for -1."""

    def predict(self, X: Any) -> np.ndarray:
        """Return the label: (n,) if there is one output, else (n, n_L)."""
        return _squeezed(np.where(self.outputs(X) > 0, 1, -1))

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the outputs: (n,) if there is one, else (n, n_L)."""
        return _squeezed(self.outputs(X))


_CLASSIFIERS: dict[str, type[Model]] = {
    "cross_entropy": SoftmaxClassifier,
    "binary_cross_entropy": SigmoidClassifier,
    "hinge": MarginClassifier,
    "perceptron": MarginClassifier,
}


def model(net: Network, w: np.ndarray, passes: Passes | None = None) -> Model:
    """Return the `Model` that the network's loss makes of it: a classifier or a regressor."""
    return _CLASSIFIERS.get(net.loss_name, Model)(net, w, passes)


def _squeezed(columns: np.ndarray) -> np.ndarray:
    return columns[:, 0] if columns.shape[1] == 1 else columns
