"""MLPClassifier."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target
from sklearn.utils.validation import check_array, column_or_1d

from fastmlp.estimators.base import BaseMLP, has_partial_fit
from fastmlp.estimators.held_out import accuracy
from fastmlp.estimators.keeping import Keeping
from fastmlp.estimators.labels import Labels, distinct
from fastmlp.kernels.elementary import to_logarithms
from fastmlp.losses import Loss


class MLPClassifier(ClassifierMixin, BaseMLP):
    """Multi-layer perceptron classifier, a faster replacement of scikit-learn's.

    It minimises the log-loss, of one softmax for several classes, of sigmoids for two classes and
    for multilabel targets. With the same parameters it does what scikit-learn's class of this name
    does: from the same `random_state` the same initial parameters and the same batches.

    Parameters
    ----------
    hidden_layer_sizes : array-like of shape (n_layers - 2,), default=(100,)
        The units of each hidden layer; none for a linear model.
    activation : str or sequence of str, default="relu"
        Of all hidden layers, or one for each: "identity", "logistic" (or "sigmoid"), "tanh",
        "relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "hard_sigmoid", "hard_tanh" or
        "exp"; see `Network`.
    solver : str or rule, default="adam"
        Batch by batch: "sgd" (with momentum), "adam", "adagrad", "rmsprop", "amsgrad", "adamw", or
        one of `fastmlp.rules` with parameters of its own. With all samples at once: "lbfgs"
        (SciPy's L-BFGS-B), "rprop", and with exact line search "gd" (steepest descent), "cg"
        (conjugate gradients) and "nesterov" (accelerated gradients).
    alpha : float, default=0.0001
        Strength of the L2 penalty, which is divided by the number of samples (their weight) that a
        gradient is of. For "adamw" the decay of the weights instead; not used by rules that have a
        `weight_decay` of their own.
    batch_size : int or "auto", default="auto"
        Samples of a mini-batch; "auto" is min(200, n_samples).
    learning_rate : {"constant", "invscaling", "adaptive"} or schedule, default="constant"
        Of "sgd", "adagrad" and "rmsprop". "invscaling": after each epoch
        ``learning_rate_init / (t_ + 1)^power_t``. "adaptive": divided by 5 each time that
        `n_iter_no_change` epochs in a row do not improve by `tol`. Or, for every stochastic
        solver, one of `fastmlp.schedules`, or a function of the update's number.
    learning_rate_init : float, default=0.001
        The step size, of stochastic solvers, without a schedule.
    power_t : float, default=0.5
        The exponent of "invscaling".
    max_iter : int, default=200
        Epochs of a stochastic solver, else iterations.
    shuffle : bool, default=True
        Whether each epoch takes the samples in a new order.
    random_state : int, RandomState instance or None, default=None
        Draws initial parameters, held-out samples, orders and dropout: the first three as
        scikit-learn's MLPs draw them.
    tol : float, default=1e-4
        What counts as an improvement of the loss, or of the validation score; for "lbfgs" the
        largest entry, for the other full-batch solvers the Euclidean norm, of a gradient to stop
        at.
    verbose : bool or int, default=False
        Whether to print the loss after each epoch or iteration.
    warm_start : bool or "optimizer", default=False
        Whether `fit` begins where the last one ended; "optimizer": with its optimiser's state
        (momentum, learning rate) as well.
    momentum : float, default=0.9
        Of "sgd".
    nesterovs_momentum : bool, default=True
        Whether it is Nesterov's.
    early_stopping : bool, default=False
        Whether to hold out `validation_fraction` of the samples (or take X_val, y_val), to stop
        where `n_iter_no_change` epochs in a row have not improved the score on them by `tol`, and
        to keep the parameters of the best epoch. Stochastic solvers only.
    validation_fraction : float, default=0.1
        The share of the samples to hold out, in [0, 1).
    beta_1, beta_2 : float, default=0.9 and 0.999
        Of Adam and its kind.
    epsilon : float, default=1e-8
        Of Adam and its kind, and "rmsprop".
    n_iter_no_change : int or inf, default=10
        Epochs in a row without an improvement, after which to stop.
    max_fun : int, default=15000
        The most evaluations of "lbfgs".
    loss : "log_loss" or Loss, default="log_loss"
        Or `fastmlp.losses.cross_entropy` for several classes, `binary_cross_entropy` for two, with
        label smoothing.
    dropout : float or sequence of float, default=0.0
        The probability of dropping hidden units; or one for the inputs and for each hidden layer.
        Stochastic solvers only.
    class_weight : dict, "balanced", list of dict or None, default=None
        Weights of classes, by which those of samples are multiplied.
    scoring : str, callable or None, default=None
        What scores validation samples: the name of a scikit-learn scorer or a function of
        (estimator, X, y) and, if it takes that, sample_weight, greater being better; "loss": the
        negative loss; None: the accuracy.
    scaling : {"standard", "minmax"} or None, default=None
        Whether the network sees each feature at mean 0 and deviation 1, or in [0, 1]. Learnt from
        the samples trained on, with their weights, in one pass; with `warm_start` and `partial_fit`
        in the first call. X is given as it is, to all methods.
    callbacks : callable, object or list, default=None
        Told of each epoch or iteration: `fastmlp.callbacks`, or functions of the solver's state, in
        which ``estimator`` is a copy of this one as fitted so far, valid during the call.
    n_jobs : int or None, default=None
        Threads: None as many as Numba has, -1 all. Results do not depend on it. Beside other busy
        processes 1 may be many times faster.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, ascending.
    coefs_, intercepts_ : list of ndarray
        Weights (n_in, n_out) and biases (n_out,) of each layer: views of `parameters_`, so that
        assigning to their elements, or to the list's places, changes the model.
    parameters_ : ndarray of shape (n_params,)
    network_ : Network
    loss_ : float
        Of the last epoch or iteration, with the penalty.
    best_loss_ : float or None
        The least; None with `early_stopping`.
    loss_curve_ : list of float
        Of each epoch: the mean of its batches' losses before their updates. For full-batch solvers
        after each iteration.
    validation_loss_curve_, validation_scores_ : list of float or None
        Of each epoch, where there is something to validate on. The loss is without the penalty.
    best_validation_score_ : float or None
    scaling_ : object or None
        Its `shift` and `factor` (n_features_in_,): the network sees ``(X - shift) * factor``.
    n_iter_ : int
        Epochs or iterations of the last fit.
    t_ : int
        Samples seen.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Where X has names that are strings.
    n_layers_, n_outputs_ : int
    out_activation_ : str

    References
    ----------
    Rumelhart, Hinton and Williams, "Learning representations by back-propagating errors", Nature
    323, 1986. Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", 2010. Kingma and Ba, "Adam: a method for stochastic optimization", 2015.

    Examples
    --------
    >>> from fastmlp import MLPClassifier
    >>> from sklearn.datasets import make_classification
    >>> from sklearn.model_selection import train_test_split
    >>> X, y = make_classification(n_samples=100, random_state=1)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=1)
    >>> clf = MLPClassifier(random_state=1, max_iter=300).fit(X_train, y_train)
    >>> clf.predict(X_test[:5, :])
    array([1, 0, 1, 0, 1])
    >>> clf.score(X_test, y_test)
    0.88
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseMLP._parameter_constraints,
        "loss": [StrOptions({"log_loss"}), Loss],
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: Any = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: Any = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        loss: Any = "log_loss",
        dropout: Any = 0.0,
        class_weight: Any = None,
        scoring: Any = None,
        scaling: str | None = None,
        callbacks: Any = None,
        n_jobs: int | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.loss = loss
        self.dropout = dropout
        self.class_weight = class_weight
        self.scoring = scoring
        self.scaling = scaling
        self.callbacks = callbacks
        self.n_jobs = n_jobs

    @available_if(has_partial_fit)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        classes: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> MLPClassifier:
        """Update the model with a single iteration over the given data.

        Parameters
        ----------
        X, y, sample_weight, X_val, y_val, sample_weight_val
            As in `fit`. With `early_stopping`, X_val and y_val are needed; when it stops, the best
            parameters are restored, and later calls change nothing.
        classes : array-like of shape (n_classes,), optional
            All labels that will ever occur: to be given in the first call.

        Returns
        -------
        self : object
            Trained MLP model.
        """
        given = (X_val, y_val, sample_weight_val)
        self._fit(X, y, sample_weight, given, Keeping(self), incremental=True, classes=classes)
        return self

    def _begin_partial_fit(self, y: Any, classes: Any) -> None:
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight 'balanced' is not supported for partial_fit. In order to use "
                "'balanced' weights, use compute_class_weight('balanced', classes=classes, y=y). "
                "In place of y you can use a large enough sample of the full training set target "
                "to properly estimate the class frequency distributions. Pass the resulting "
                "weights as the class_weight parameter."
            )
        if _check_partial_fit_first_call(self, classes):
            y = y if hasattr(y, "toarray") else np.asarray(y)
            is_multilabel = type_of_target(y).startswith("multilabel")
            self._labels = Labels.of(y if is_multilabel else np.asarray(classes))

    def _validated(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, Any]:
        X, y = super()._validated(X, y, incremental, reset)
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            self._labels = Labels.of(y)
            self.classes_ = self._labels.classes
        elif self._labels.kind != "multilabel":
            self._require_known(y, needs_all=bool(self.warm_start) and not incremental)
        return X, y

    def _require_known(self, y: Any, needs_all: bool = False, name: str = "y") -> None:
        classes = distinct(y)
        if needs_all and set(classes) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous "
                f"call to fit. Previously got {self.classes_}, `y` has {classes}"
            )
        if len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
            raise ValueError(
                f"`{name}` has classes not in `self.classes_`. "
                f"`self.classes_` has {self.classes_}. '{name}' has {classes}."
            )

    def _checked_validation_targets(self, y: Any) -> Any:
        if self._labels.kind == "multilabel":
            y = check_array(y, accept_sparse="csr", input_name="y_val", ensure_2d=False)
            self._labels.require_columns(y, "y_val")
            return y
        y = column_or_1d(y, warn=True)
        self._require_known(y, name="y_val")
        return y

    def _class_weights(self, y: Any) -> np.ndarray | None:
        if self.class_weight is None:
            return None
        is_multilabel = self._labels.kind == "multilabel"
        if isinstance(self.class_weight, list) and not is_multilabel:
            raise ValueError(
                "class_weight may be a list, of a dict for each label, for multilabel targets; "
                f"these are {self._labels.kind}"
            )
        if not isinstance(self.class_weight, dict) or is_multilabel:
            dense = y.toarray() if hasattr(y, "toarray") else y
            weights: np.ndarray = compute_sample_weight(self.class_weight, dense)
            return weights
        # Not of y alone, which need not have all classes in `partial_fit`.
        by_class = compute_class_weight(self.class_weight, classes=self.classes_, y=y)
        of_samples: np.ndarray = by_class[self._labels.places(y)]
        return of_samples

    def _output_and_loss(self) -> tuple[str, Any]:
        """Return the output layer's activation, and the loss."""
        several = self._labels.kind == "multiclass"
        output = "softmax" if several else "sigmoid"
        needed = "cross_entropy" if several else "binary_cross_entropy"
        if isinstance(self.loss, str):
            return output, needed
        if self.loss.name != needed:
            raise ValueError(
                f"loss must be losses.{needed}(...) for {self._labels.kind} labels; "
                f"got {self.loss!r}"
            )
        return output, self.loss

    def _is_binary(self) -> bool:
        return self._labels.kind == "binary"

    def _n_outputs(self, y: Any) -> int:
        return self._labels.n_outputs

    def _encoded(self, y: Any, dtype: Any) -> np.ndarray:
        return self._labels.encode(y, dtype)

    def _decoded(self, outputs: np.ndarray, fitted: dict[str, Any]) -> Any:
        return fitted["_labels"].decode(outputs)

    def _default_score(
        self, outputs: np.ndarray, y: Any, sample_weight: np.ndarray | None
    ) -> float:
        if not np.isfinite(outputs).all():
            return np.nan
        return accuracy(self._decoded(outputs, self.__dict__), y, sample_weight)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability estimates.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of `classes_`; of multilabel targets the probability of each label.
        """
        fitted = self._now()
        labels: Labels = fitted["_labels"]
        return labels.probabilities(self._outputs(X, fitted))

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return the log of probability estimates.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Equivalent to `log(predict_proba(X))`.
        """
        probabilities = self.predict_proba(X)
        to_logarithms(flat := probabilities.ravel())
        return flat.reshape(probabilities.shape)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
