"""Features brought to like sizes: learnt from the rows of a fit, kept with the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastmlp import validation
from fastmlp.files import FormatError
from fastmlp.sources.moments import statistics
from fastmlp.sources.scaling import Scaled
from fastmlp.sources.subset import Subset

KINDS = ("standard", "minmax")
# Up to here scaled rows are an array: it costs less than to read them in each pass, by a thread.
FEW_NUMBERS = 2**18
# Of a column that is taken for constant: the factor would be beyond float32.
LEAST_SPREAD = float(np.finfo(np.float32).smallest_normal)


@dataclass(frozen=True, eq=False)
class Scaling:
    """What the network sees is ``(X - shift) * factor``.

    Attributes
    ----------
    shift, factor : ndarray of shape (n_features,), float64
    """

    shift: np.ndarray
    factor: np.ndarray

    @classmethod
    def learnt(
        cls, kind: str, X: Any, weights: np.ndarray | None, rows: np.ndarray | None
    ) -> Scaling:
        """Return the scaling that rows of X, by default all, ask for.

        Parameters
        ----------
        kind : {"standard", "minmax"}
            To mean 0 and (population) standard deviation 1, or to [0, 1]. A constant column is only
            shifted, to 0.
        X : ndarray, SparseRows or Source of shape (n_samples, n_features)
        weights : ndarray of shape (n_samples,) or None
            As if rows of whole weights were repeated: 0 equals leaving one out.
        rows : ndarray of shape (n,) or None
            Those to learn from, in whatever order.
        """
        validation.one_of("scaling", kind, KINDS)
        if rows is not None:
            rows = np.sort(rows)  # files are best read from their beginning on
            X, weights = Subset(X, rows), None if weights is None else weights[rows]
        found = statistics(X, weights)
        if kind == "standard":
            shift, spread = found.mean, found.deviation
        else:
            shift, spread = found.least, found.greatest - found.least
        return cls(shift, 1 / np.where(spread < LEAST_SPREAD, 1.0, spread))

    def of(self, X: Any) -> np.ndarray | Scaled:
        """Return X (ndarray, SparseRows or Source) scaled: an array, or of many rows a source."""
        scaled = Scaled(X, self.shift, self.factor)
        return scaled[:] if X.shape[0] * X.shape[1] <= FEW_NUMBERS else scaled

    def tree(self) -> dict[str, Any]:
        """Return all of it, as files hold it."""
        return {"shift": self.shift, "factor": self.factor}

    @classmethod
    def back(cls, tree: dict[str, Any], n_features: int) -> Scaling:
        """Return what `tree` is of; raise FormatError for anything else."""
        for name in ("shift", "factor"):
            value = tree[name]
            is_array = isinstance(value, np.ndarray) and value.shape == (n_features,)
            if not (is_array and value.dtype == np.float64 and np.isfinite(value).all()):
                raise FormatError(f"its scaling has a wrong {name}")
        if not (tree["factor"] > 0).all():
            raise FormatError("its scaling has a wrong factor")
        return cls(tree["shift"], tree["factor"])
