"""What MLPClassifier and MLPRegressor have in common."""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from sklearn.base import (
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.validation import _check_sample_weight, validate_data

from fastmlp import sparse, threads, validation
from fastmlp.estimators import full_batch, given, held_out, stochastic
from fastmlp.estimators.constraints import CONSTRAINTS, FLOATS
from fastmlp.estimators.keeping import Keeping
from fastmlp.estimators.model import Fitted
from fastmlp.estimators.parameters import architecture, initial, widths_of
from fastmlp.estimators.problem import NON_FINITE, Course, Problem
from fastmlp.estimators.rules import is_stochastic
from fastmlp.estimators.scaling import Scaling
from fastmlp.estimators.tasks import CallbackSupportMixin, Tasks
from fastmlp.losses import Loss
from fastmlp.solvers import checkpoints
from fastmlp.solvers.rules import Rule
from fastmlp.sources.base import Source
from fastmlp.validation import all_finite


def has_partial_fit(estimator: Any) -> bool:
    """Return True, or raise AttributeError where the solver does not take batches."""
    if not is_stochastic(estimator.solver):
        raise AttributeError(
            "partial_fit is only available for stochastic optimizers. "
            f"{estimator.solver} is not stochastic."
        )
    return True


class BaseMLP(CallbackSupportMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, Fitted):
    """A multi-layer perceptron with scikit-learn's interface.

    A copy learns, and what it has learnt is taken over at the end: a fit that fails leaves an
    earlier one as it was, and while one runs the earlier one serves.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = CONSTRAINTS

    # Parameters that the code below reads; the classes' __init__ have them all.
    hidden_layer_sizes: Any
    activation: Any
    solver: str | Rule
    alpha: float
    random_state: Any
    warm_start: bool | str
    early_stopping: bool
    validation_fraction: float
    dropout: Any
    scoring: Any
    scaling: str | None
    n_jobs: int | None
    loss: str | Loss

    # What a fit leaves, beside the attributes that are documented.
    _n_features_out: int
    _optimizer: stochastic.Optimizer | None

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
        checkpoint: Any = None,
        every: Any = None,
        resume: Any = False,
    ) -> BaseMLP:
        """Fit the model to data matrix X and target(s) y.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Used in place where it is float32 or float64: not copied, whatever its layout; memory
            maps are fine.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Class labels, or real numbers.
        sample_weight : array-like of shape (n_samples,), optional
            Not negative, not all 0.
        X_val, y_val : optional
            As X and y, of samples to validate on after each epoch: `validation_loss_curve_`,
            `validation_scores_`. With `early_stopping`, they take the place of a part of X.
        sample_weight_val : array-like of shape (n_samples_val,), optional
        checkpoint : str, os.PathLike or Checkpoints, optional
            The file to write the whole state of the training to as it goes, or
            `fastmlp.Checkpoints` for more choices. `fastmlp.load` returns the model in it. With
            solver="lbfgs" it grows with each iteration: see `fastmlp.minimize`.
        every : int or datetime.timedelta, optional
            After how many epochs (iterations), or what time, to write it; by default each.
        resume : bool, str or os.PathLike, default=False
            True: go on from `checkpoint` if there is one, else begin. A path: go on from that one.
            The fit ends on the same bits as one that was never stopped. Data and parameters are to
            be those of the checkpoint, but `max_iter`, `verbose`, `callbacks` and `n_jobs`; where
            `random_state` is None, the random numbers are the checkpoint's.

        Returns
        -------
        self : object
            Returns a trained MLP model.

        Raises
        ------
        ValueError
            For data that do not fit, for a checkpoint of another fit, and where training diverges.
            An earlier fit stays as it was.
        fastmlp.FormatError
            For a file to resume from that is no checkpoint, or damaged.
        OSError
            For a checkpoint's folder that does not exist, or a file that cannot be read.

        Warns
        -----
        ConvergenceWarning
            Where `max_iter` was reached first.
        UserWarning
            Where interrupted by Ctrl-C: what has been learnt by then is kept.
        """
        keeping = Keeping(self, *checkpoints.resolve(checkpoint, every, resume))
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val), keeping)

    def transform(self, X: Any) -> np.ndarray:
        """Return what the units of the last hidden layer give.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_units)

        Raises
        ------
        ValueError
            Where there is no hidden layer.
        """
        return self.hidden_activations(X)

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        validation_data: tuple[Any, Any, Any],
        keeping: Keeping,
        incremental: bool = False,
        classes: Any = None,
    ) -> BaseMLP:
        """Do as `fit`, or as `partial_fit` if incremental."""
        n_epochs = 1 if incremental else int(self.max_iter)
        metadata = {"sample_weight": sample_weight}
        tasks = Tasks(self, n_epochs, {"X": X, "y": y, "metadata": metadata})
        before, learner = self.__dict__.copy(), copy.copy(self)
        with threads.limited(self.n_jobs), keeping.or_as_before():
            learner._learn(
                X, y, sample_weight, validation_data, keeping, incremental, classes, tasks
            )
        tasks.end(lambda: learner.__dict__)
        learnt = learner.__dict__
        if self.warm_start or incremental:
            self._keep_views(learnt)
        for name in before.keys() - learnt.keys():  # the names of features, where there are none
            self.__dict__.pop(name, None)
        same = {name for name, value in before.items() if learnt.get(name) is value}
        new = {name: value for name, value in learnt.items() if name not in same}
        self.__dict__.update(new)  # at once: other threads may be predicting
        return self

    def _keep_views(self, learnt: dict[str, Any]) -> None:
        """Have the parameters learnt where the earlier ones are: views of those stay such."""
        earlier = self.__dict__.get("_parameters")
        if earlier is not None and earlier.flags.writeable:
            earlier[:] = learnt["_parameters"]
            learnt["_parameters"] = earlier

    def _learn(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        validation_data: tuple[Any, Any, Any],
        keeping: Keeping,
        incremental: bool,
        classes: Any,
        tasks: Tasks,
    ) -> None:
        is_new = not hasattr(self, "network_") or not (self.warm_start or incremental)
        hidden_widths = widths_of(self.hidden_layer_sizes)
        if incremental:
            self._begin_partial_fit(y, classes)
        X, y = self._validated(X, y, incremental, is_new)
        earlier = None if is_new else self.network_
        widths = (X.shape[1], *hidden_widths, self._n_outputs(y))
        network = architecture(self, widths, given.dtype_of(X), earlier)
        X = validation.features(network, X) if isinstance(X, Source) else sparse.by_rows(X)
        targets = validation.truth(network, self._encoded(y, network.dtype), X.shape[0])
        random_state = check_random_state(self.random_state)
        w = initial(network, self.activation, random_state) if is_new else self.parameters_
        random_state = keeping.begin(random_state)
        weights, alpha = self._weights(X, y, sample_weight)
        rows, validation_set = held_out.resolve(
            self, network, X, y, targets, weights, validation_data, random_state, incremental
        )
        if is_new:
            kind = self.scaling
            self.scaling_ = None if kind is None else Scaling.learnt(kind, X, weights, rows)
        if self.scaling_ is not None:
            X = self.scaling_.of(X)
            if validation_set is not None:
                validation_set = replace(validation_set, X=self.scaling_.of(validation_set.X))
        problem = Problem(network, X, targets, weights, alpha, rows, validation_set)
        course = Course() if is_new else self._course.copy()
        course.begin(validation_set is not None, self._stops_early())
        if is_stochastic(self.solver):
            optimizer = stochastic.optimizer_for(
                self,
                None if is_new else self._optimizer,
                keeps_state=incremental or self.warm_start == "optimizer",
            )
            if incremental and self.early_stopping and optimizer.has_stopped:
                return
            w = stochastic.minimise(
                self, problem, w, course, optimizer, random_state, tasks, incremental, keeping
            )
            self._optimizer = optimizer
        else:
            w = full_batch.minimise(self, problem, w, course, tasks, keeping)
            self._optimizer = None
        if not all_finite(w):
            raise ValueError(NON_FINITE)
        self._random_state = random_state
        self.__dict__.update(self._fitted_at(w, course, network))

    def _stops_early(self) -> bool:
        return self.early_stopping and is_stochastic(self.solver)

    def _weights(self, X: Any, y: Any, sample_weight: Any) -> tuple[np.ndarray | None, float]:
        """Return the samples' weights, the largest in [0.5, 1), and alpha to go with them."""
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, dtype=FLOATS)
        by_class = self._class_weights(y)
        if by_class is not None:
            with np.errstate(over="ignore"):
                sample_weight = by_class if sample_weight is None else sample_weight * by_class
        if sample_weight is None:
            return None, self.alpha
        sample_weight = validation.weights(
            "sample_weight" if by_class is None else "sample_weight * class_weight",
            sample_weight, X.shape[0], sample_weight.dtype,
        )  # fmt: skip
        exponent = -int(np.frexp(sample_weight.max())[1])
        return np.ldexp(sample_weight, exponent), math.ldexp(self.alpha, exponent)

    def _class_weights(self, y: Any) -> np.ndarray | None:
        """Return by what the samples' weights are multiplied, or None for nothing."""
        return None

    def _validated(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, Any]:
        """Return X and y as scikit-learn's checks give them."""
        if isinstance(X, Source):
            X, y = given.with_targets(self, X, y, reset, **self._y_checks)
        else:
            X, y = validate_data(
                self, X, y, accept_sparse=["csr", "csc"], multi_output=True, dtype=FLOATS,
                reset=reset, **self._y_checks,
            )  # fmt: skip
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return X, y

    _y_checks: ClassVar[dict[str, Any]] = {}

    def _begin_partial_fit(self, y: Any, classes: Any) -> None:
        """Do what comes before the checks of the first `partial_fit`."""

    @abstractmethod
    def _n_outputs(self, y: Any) -> int:
        """Return the width of the output layer for checked targets."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
