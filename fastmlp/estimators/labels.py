"""Class labels: from what users give to what the network is trained on, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels

# More labels than this are encoded in few bytes each, so many at a time.
MANY, ENCODED = 2**22, 2**18


def as_dense(y: Any) -> Any:
    """Return y, an array if it was a sparse matrix."""
    return y.toarray() if hasattr(y, "toarray") else y


def distinct(y: Any) -> np.ndarray:
    """Return the labels that occur in y, ascending."""
    labels: np.ndarray = np.unique(y) if y.dtype.kind in "biuf" else unique_labels(y)
    return labels


class Labels:
    """The classes of a fit.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        The labels, ascending; of a "multilabel" y the columns' numbers.
    kind : {"binary", "multiclass", "multilabel"}
        Of one output, which is the probability of the second class; of one for each class, which
        exclude each other; of one for each label.
    is_sparse : bool
        Whether indicators come as a sparse matrix.
    """

    def __init__(self, classes: np.ndarray, kind: str, is_sparse: bool = False) -> None:
        self.classes, self.kind, self.is_sparse = classes, kind, is_sparse

    @classmethod
    def of(cls, y: Any) -> Labels:
        """Return the labels that occur in y.

        Parameters
        ----------
        y : ndarray of shape (n_samples,) or sparse or dense indicators (n_samples, n_labels)

        Raises
        ------
        ValueError
            For targets that are no labels, and for several labels of several values each.
        """
        kind = type_of_target(y, input_name="y")
        if kind.startswith("multilabel"):
            return cls(np.arange(y.shape[1]), "multilabel", hasattr(y, "toarray"))
        if kind not in ("binary", "multiclass"):
            check_classification_targets(y)  # raises for what is no label at all
            raise ValueError("Multioutput target data is not supported with label binarization")
        classes = distinct(y)
        return cls(classes, "multiclass" if len(classes) > 2 else "binary")

    @property
    def n_outputs(self) -> int:
        """The number of the network's outputs."""
        return 1 if self.kind == "binary" else len(self.classes)

    def encode(self, y: Any, dtype: Any) -> np.ndarray:
        """Return y, of known labels, as `Network` takes it.

        Returns
        -------
        ndarray of shape (n_samples,), integers, or (n_samples, n_outputs) of the dtype
            (of many samples of two classes uint8)
        """
        if self.kind == "multilabel":
            self.require_columns(y)
            dense = np.asarray(as_dense(y))
            return (dense > 0).astype(dtype)
        places = self.places(y)
        if self.kind == "multiclass":
            return places
        return places.astype(dtype if len(places) <= MANY else np.uint8).reshape(-1, 1)

    def require_columns(self, y: Any, name: str = "y") -> None:
        """Raise ValueError where y does not have one column for each label."""
        if np.shape(y)[1:] != self.classes.shape:
            raise ValueError(
                f"{name} has shape {np.shape(y)}, expected (n_samples, {len(self.classes)}): one "
                "column for each label of the first fit"
            )

    def places(self, y: Any) -> np.ndarray:
        """Return where in `classes` each of the labels y is (n_samples,); int64, of many less."""
        y = np.asarray(y)
        places: np.ndarray
        if len(y) <= MANY:
            places = np.searchsorted(self.classes, y).astype(np.int64, copy=False)
            return places
        places = np.empty(len(y), np.min_scalar_type(len(self.classes)))
        for start in range(0, len(y), ENCODED):
            part = slice(start, start + ENCODED)
            places[part] = np.searchsorted(self.classes, y[part])
        return places

    def decode(self, outputs: np.ndarray) -> Any:
        """Return the likeliest labels for outputs (n_samples, n_outputs).

        Indicators are a sparse matrix where those of the fit were.
        """
        if self.kind == "multiclass":
            likeliest: np.ndarray = self.classes[outputs.argmax(axis=1)]
            return likeliest
        likely = outputs > 0.5
        if self.kind == "multilabel":
            return csr_matrix(likely.astype(int)) if self.is_sparse else likely.astype(int)
        likelier: np.ndarray = self.classes[likely[:, 0].astype(np.intp) * (len(self.classes) - 1)]
        return likelier

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """Return the probability of each class, or label (n_samples, n_classes)."""
        if self.kind == "multiclass":
            return outputs
        if self.kind == "multilabel":  # sigmoids reach neither 0 nor 1, but their roundings do
            least = np.finfo(outputs.dtype).smallest_normal
            return np.clip(outputs, least, np.nextafter(outputs.dtype.type(1), 0), out=outputs)
        if len(self.classes) == 1:
            return np.ones_like(outputs)
        return np.hstack([1 - outputs, outputs])
