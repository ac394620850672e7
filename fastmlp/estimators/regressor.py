"""MLPRegressor."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from sklearn.base import RegressorMixin, _fit_context
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_array, column_or_1d

from fastmlp.estimators.base import BaseMLP, has_partial_fit
from fastmlp.estimators.held_out import r2
from fastmlp.estimators.keeping import Keeping
from fastmlp.losses import Loss

# Losses by the names that users give, and what they are called here. scikit-learn's squared error
# is half of ours.
LOSSES = {
    "squared_error": "half_squared_error",
    "poisson": "poisson",
    "absolute_error": "absolute_error",
    "huber": "huber",
    "log_cosh": "log_cosh",
    "quantile": "quantile",
}


class MLPRegressor(RegressorMixin, BaseMLP):
    """Multi-layer perceptron regressor, a faster replacement of scikit-learn's.

    It minimises the squared error, or another loss. With the same parameters it does what
    scikit-learn's class of this name does: from the same `random_state` the same initial parameters
    and the same batches.

    Parameters
    ----------
    loss : str or Loss, default="squared_error"
        "squared_error" (half of it, shown as the mean over outputs), "poisson" (half the deviance;
        the outputs are exponentials, and y is 0 or more), "absolute_error", "huber", "log_cosh",
        "quantile" (the median), or one of `fastmlp.losses` with a parameter of its own.
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
    dropout : float or sequence of float, default=0.0
        The probability of dropping hidden units; or one for the inputs and for each hidden layer.
        Stochastic solvers only.
    scoring : str, callable or None, default=None
        What scores validation samples: the name of a scikit-learn scorer or a function of
        (estimator, X, y) and, if it takes that, sample_weight, greater being better; "loss": the
        negative loss; None: R^2.
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
    >>> from fastmlp import MLPRegressor
    >>> from sklearn.datasets import make_regression
    >>> from sklearn.model_selection import train_test_split
    >>> X, y = make_regression(n_samples=200, n_features=20, random_state=1)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=1)
    >>> regr = MLPRegressor(random_state=1, max_iter=2000, tol=0.1).fit(X_train, y_train)
    >>> regr.predict(X_test[:2]).round()
    array([  28., -291.])
    >>> round(regr.score(X_test, y_test), 2)
    0.98
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseMLP._parameter_constraints,
        "loss": [StrOptions(set(LOSSES)), Loss],
    }
    _y_checks: ClassVar[dict[str, Any]] = {"y_numeric": True}

    def __init__(
        self,
        loss: Any = "squared_error",
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
        dropout: Any = 0.0,
        scoring: Any = None,
        scaling: str | None = None,
        callbacks: Any = None,
        n_jobs: int | None = None,
    ) -> None:
        self.loss = loss
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
        self.dropout = dropout
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
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> MLPRegressor:
        """Update the model with a single iteration over the given data.

        Parameters
        ----------
        X, y, sample_weight, X_val, y_val, sample_weight_val
            As in `fit`. With `early_stopping`, X_val and y_val are needed; when it stops, the best
            parameters are restored, and later calls change nothing.

        Returns
        -------
        self : object
            Trained MLP model.
        """
        given = (X_val, y_val, sample_weight_val)
        self._fit(X, y, sample_weight, given, Keeping(self), incremental=True)
        return self

    def _checked_validation_targets(self, y: Any) -> Any:
        y = check_array(y, ensure_2d=False, dtype="numeric", input_name="y_val")
        return column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y

    def _output_and_loss(self) -> tuple[None, Any]:
        """Return the output layer's activation, None for what goes with the loss, and the loss."""
        return None, LOSSES[self.loss] if isinstance(self.loss, str) else self.loss

    def _is_binary(self) -> bool:
        return False

    def _n_outputs(self, y: Any) -> int:
        return 1 if y.ndim == 1 else int(y.shape[1])

    def _encoded(self, y: Any, dtype: Any) -> np.ndarray:
        targets: np.ndarray = y.reshape(len(y), -1)
        return targets

    def _decoded(self, outputs: np.ndarray, fitted: dict[str, Any]) -> np.ndarray:
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs

    def _default_score(
        self, outputs: np.ndarray, y: np.ndarray, sample_weight: np.ndarray | None
    ) -> float:
        if not np.isfinite(outputs).all():
            return np.nan
        return r2(self._decoded(outputs, self.__dict__), y, sample_weight)
