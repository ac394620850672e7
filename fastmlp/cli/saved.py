"""Saved models as commands use them: what the outputs of a network say about rows."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import fastmlp
from fastmlp import labels
from fastmlp.network import Network

# What the folder of a run holds a model in, the first that is there.
OF_RUNS = ("model.safetensors", "checkpoint.safetensors")


class SavedModel:
    """A model from a file, or from the folder of a run.

    Parameters
    ----------
    path : str or os.PathLike

    Attributes
    ----------
    path : Path
        Of the file.
    network : Network
    classes : ndarray of shape (n_classes,) or None
        The labels that rows may have, ascending; None of numbers, and of several labels a row.
    feature_names : list of str or None
    """

    def __init__(self, path: Any) -> None:
        self.path = _file(Path(path))
        self._model = fastmlp.load(self.path)
        self._scalers: Any = None
        self._estimator: Any = None
        if isinstance(self._model, tuple):
            self.network: Network = self._model[0]
            self._w: np.ndarray = self._model[1]
            self.classes = labels.classes(self.network)
        else:
            steps = getattr(self._model, "steps", [("", self._model)])
            self._estimator = steps[-1][1]
            self._scalers = self._model[:-1] if len(steps) > 1 else None
            self.network = self._estimator.network_
            self._w = self._estimator.parameters_
            known = getattr(self._estimator, "_labels", None)
            self.classes = None
            if known is not None and known.kind != "multilabel":
                self.classes = known.classes
        names = getattr(self._model, "feature_names_in_", None)
        self.feature_names: list[str] | None = None if names is None else list(names)

    @property
    def n_features(self) -> int:
        """How many columns X must have."""
        return self.network.widths[0]

    def outputs(self, X: np.ndarray) -> np.ndarray:
        """Return the network's outputs (n, n_outputs)."""
        if self._estimator is None:
            return self.network.predict(self._w, X)
        with _without_names():
            outputs: np.ndarray = self._estimator._outputs(self._scaled(X), self._estimator._now())
        return outputs

    def _scaled(self, X: np.ndarray) -> np.ndarray:
        """Return X as the pipeline's scalers give it to the estimator."""
        return X if self._scalers is None else np.asarray(self._scalers.transform(X))

    def predictions(self, outputs: np.ndarray) -> np.ndarray:
        """Return the labels (n,) or numbers (n,) or (n, n_outputs) that outputs stand for."""
        if self._estimator is not None:
            predicted = self._estimator._decoded(outputs, self._estimator._now())
            return predicted.toarray() if hasattr(predicted, "toarray") else np.asarray(predicted)
        if self.classes is None:
            return outputs[:, 0] if outputs.shape[1] == 1 else outputs
        predicted_labels: np.ndarray = self.classes[self.places(outputs)]
        return predicted_labels

    def places(self, outputs: np.ndarray) -> np.ndarray:
        """Return the places in `classes` of what is predicted (n,)."""
        assert self.classes is not None
        if outputs.shape[1] > 1:
            likeliest: np.ndarray = outputs.argmax(axis=1)
            return likeliest
        middle = 0.5 if self.network.activations[-1] == "sigmoid" else 0.0
        last = len(self.classes) - 1
        return (outputs[:, 0] > middle).astype(np.intp) * last

    def probabilities(self, outputs: np.ndarray) -> np.ndarray | None:
        """Return those of `classes` (n, n_classes), or None where the model gives none."""
        if self._estimator is not None:
            known = getattr(self._estimator, "_labels", None)
            if known is None:
                return None
            probabilities: np.ndarray = known.probabilities(outputs)
            return probabilities
        if self.classes is None or self.network.activations[-1] not in ("softmax", "sigmoid"):
            return None
        return outputs if outputs.shape[1] > 1 else np.hstack([1 - outputs, outputs])

    def loss(self, X: np.ndarray, targets: np.ndarray) -> float:
        """Return the sum of the losses of rows, whose targets are numbers or `places`."""
        net = self.network
        if self.classes is not None and net.loss_name != "cross_entropy":
            pair = np.array(labels.PAIRS[net.loss_name])
            targets = pair[targets]
        scaling = getattr(self._estimator, "scaling_", None)
        with _without_names():
            X = self._scaled(X)
            if scaling is not None:
                X = scaling.of(self._estimator._checked_features(X, net))
            return net.loss(self._w, X, targets, reduction="sum")


@contextlib.contextmanager
def _without_names() -> Iterator[None]:
    """Have scikit-learn not warn that X has no names of features: they have been seen to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X does not have valid feature names")
        yield


def _file(path: Path) -> Path:
    """Return the file of a model: of the folder of a run, the one in it."""
    if not path.is_dir():
        return path
    for name in OF_RUNS:
        if (path / name).is_file():
            return path / name
    raise FileNotFoundError(f"{path} holds no model: it has no {' and no '.join(OF_RUNS)}")
