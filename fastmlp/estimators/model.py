"""What a fitted MLPClassifier or MLPRegressor is: its parameters, and what it gives."""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from fastmlp import predictor, sparse, threads, validation
from fastmlp.estimators import given
from fastmlp.estimators.parameters import Views, up_to
from fastmlp.estimators.problem import Course
from fastmlp.estimators.scaling import Scaling
from fastmlp.network import Network
from fastmlp.sources.base import Source


class Fitted(BaseEstimator):
    """An estimator's fitted attributes, and what it computes from them.

    Attributes
    ----------
    network_ : Network
        Set by a fit, as all that ends with an underscore.
    """

    n_jobs: int | None
    n_features_in_: int
    network_: Network
    scaling_: Scaling | None
    _course: Course
    _parameters: np.ndarray

    def _fitted_at(self, w: np.ndarray, course: Course, network: Network) -> dict[str, Any]:
        """Return the fitted attributes for these parameters."""
        output = network.activations[-1]
        return {
            **{f"{name}_": value for name, value in vars(course).items()},
            "_course": course,
            "network_": network,
            "_parameters": w,
            "n_layers_": len(network.widths),
            "n_outputs_": network.widths[-1],
            "out_activation_": "logistic" if output == "sigmoid" else output,
            "_n_features_out": network.widths[-2],
        }

    def _as_fitted(self, w: np.ndarray, course: Course, network: Network) -> Self:
        """Return a copy that is fitted so far: it shares w."""
        fitted = copy.copy(self)
        fitted.__dict__.update(self._fitted_at(w, course, network))
        return fitted

    def __sklearn_is_fitted__(self) -> bool:
        return "network_" in self.__dict__

    @property
    def parameters_(self) -> np.ndarray:
        """All parameters, layer after layer, weights before biases (n_params,)."""
        self._network("parameters_")
        return self._parameters

    @parameters_.setter
    def parameters_(self, value: Any) -> None:
        network = self._network("parameters_")
        w = validation.parameters(network, value, "parameters_")
        self._parameters = np.array(w, network.dtype)

    @property
    def coefs_(self) -> list[np.ndarray]:
        """The weights of each layer (n_in, n_out), as views of `parameters_`."""
        return Views(self._network("coefs_").weights(self.parameters_))

    @coefs_.setter
    def coefs_(self, value: Any) -> None:
        self.coefs_[:] = value

    @property
    def intercepts_(self) -> list[np.ndarray]:
        """The biases of each layer (n_out,), as views of `parameters_`."""
        return Views(self._network("intercepts_").biases(self.parameters_))

    @intercepts_.setter
    def intercepts_(self, value: Any) -> None:
        self.intercepts_[:] = value

    def _network(self, attribute: str) -> Network:
        network: Network | None = vars(self).get("network_")
        if network is None:
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {attribute!r} before it is fitted"
            )
        return network

    def _now(self) -> dict[str, Any]:
        """Return the attributes of one fit, while another thread may be replacing them."""
        if "network_" not in self.__dict__:
            check_is_fitted(self)
        return self.__dict__.copy()

    def _outputs(self, X: Any, fitted: dict[str, Any]) -> np.ndarray:
        """Return the network's outputs (n_samples, n_outputs) for X as users give it."""
        network = fitted["network_"]
        X = _scaled(self._checked_features(X, network), fitted)
        with threads.limited(self.n_jobs):
            return predictor.predict(network, fitted["_parameters"], X)

    def _checked_features(self, X: Any, network: Network) -> Any:
        """Return X, checked as scikit-learn does, but sooner where it is a plain array."""
        is_plain = type(X) is np.ndarray and "feature_names_in_" not in self.__dict__
        if is_plain and X.dtype == network.dtype:
            fits = X.ndim == 2 and X.shape[1] == network.widths[0] and len(X) > 0
            with np.errstate(over="ignore", invalid="ignore"):
                if fits and math.isfinite(X.sum()):
                    return X
        if isinstance(X, Source):
            return validation.features(network, given.checked(self, X, reset=False))
        X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        return validation.features(network, X)

    def predict(self, X: Any) -> Any:
        """Predict using the multi-layer perceptron.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            The input data. A row's result does not depend on the other rows.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            The predicted classes or values; of labels that were fitted as a sparse matrix one.
        """
        fitted = self._now()
        return self._decoded(self._outputs(X, fitted), fitted)

    def hidden_activations(self, X: Any, layer: int = -1) -> np.ndarray:
        """Return what the units of a hidden layer give.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        layer : int, default=-1
            Which hidden layer: 0 is the first, -1 the last.

        Returns
        -------
        ndarray of shape (n_samples, n_units)

        Raises
        ------
        ValueError
            Where there is no such layer.
        """
        fitted = self._now()
        X = _scaled(self._checked_features(X, fitted["network_"]), fitted)
        network, w = up_to(fitted["network_"], layer), fitted["_parameters"]
        with threads.limited(self.n_jobs):
            return predictor.predict(network, w[: network.n_params], X)

    def sample_gradients(self, X: Any, y: Any) -> np.ndarray:
        """Return the gradient of each sample's own loss, without the penalty, by backpropagation.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)

        Returns
        -------
        ndarray of shape (n_samples, n_params)
            In the layout of `parameters_`: layer after layer, weights before biases.
        """
        check_is_fitted(self)
        X, y = self._validated(X, y, incremental=True, reset=False)
        X = _scaled(sparse.by_rows(X), self.__dict__)
        with threads.limited(self.n_jobs):
            targets = self._encoded(y, self.network_.dtype)
            gradients: np.ndarray = self.network_.sample_gradients(self.parameters_, X, targets)
            return gradients

    @abstractmethod
    def _validated(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, Any]:
        """Return X and y, checked."""

    @abstractmethod
    def _encoded(self, y: Any, dtype: Any) -> np.ndarray:
        """Return checked targets as the network takes them."""

    @abstractmethod
    def _decoded(self, outputs: np.ndarray, fitted: dict[str, Any]) -> Any:
        """Return what outputs (n_samples, n_outputs) predict, by the attributes of their fit."""


def _scaled(X: Any, fitted: dict[str, Any]) -> Any:
    """Return checked features as the network of a fit sees them."""
    scaling: Scaling | None = fitted["scaling_"]
    return X if scaling is None else scaling.of(X)
