"""Checks of what users pass in: each error names the argument, what was expected and what came."""

from __future__ import annotations

import contextlib
import math
import numbers
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp import sparse
from fastmlp.sources.base import Source

if TYPE_CHECKING:
    from fastmlp.network import Network

REDUCTIONS = ("mean", "sum")
# Rows of probabilities may miss 1 by so many units of their own precision, summed over classes.
SUM_TOLERANCE = 1e-3
CHUNK_NUMBERS = 2**20


def one_of(name: str, value: object, known: Iterable[str]) -> str:
    """Return `value` if it is one of the known names."""
    known = tuple(known)
    if not isinstance(value, str) or value not in known:
        listed = ", ".join(repr(k) for k in known)
        raise ValueError(f"{name} must be one of {listed}; got {value!r}")
    return value


def count(name: str, value: object, least: int = 1) -> int:
    """Return `value` as an int of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, at least {least}; got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}; got {value!r}")
    return int(value)


def name_of(function: Any) -> str:
    """Return what to call a function or another callable, the same in each process."""
    named: Any = function if hasattr(function, "__qualname__") else type(function)
    if named is not function and named.__repr__ is not object.__repr__:
        return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(function))  # of a partial: its arguments
    return f"{named.__module__}.{named.__qualname__}"


def is_number(value: object) -> bool:
    """Return whether a value is one real number, of Python or NumPy, and no truth value."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return value.dtype.kind in "iuf"
    return isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))


def widths(value: Any) -> tuple[int, ...]:
    """Return a network's widths as a tuple of at least 2 positive ints."""
    expected = "widths must be a sequence of at least 2 positive integers"
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        raise TypeError(f"{expected}; got {value!r}")
    listed = list(value)
    if len(listed) < 2:
        raise ValueError(f"{expected}; got {listed!r}")
    return tuple(count(f"widths[{i}]", width) for i, width in enumerate(listed))


def hidden(value: Any, n_hidden: int, known: Iterable[str]) -> tuple[str, ...]:
    """Return the activations of a network's hidden layers, from one name or one for each."""
    if isinstance(value, str):
        return (one_of("hidden", value, known),) * n_hidden
    if not hasattr(value, "__iter__"):
        raise ValueError(f"hidden must be a name, or one for each hidden layer; got {value!r}")
    names = tuple(one_of("hidden", name, known) for name in value)
    if len(names) != n_hidden:
        raise ValueError(f"hidden has {len(names)} names, the network has {n_hidden} hidden layers")
    return names


def dtype(value: Any) -> np.dtype[Any]:
    """Return float32 or float64, if `value` means one of them."""
    for known in (np.dtype(np.float32), np.dtype(np.float64)):
        with contextlib.suppress(TypeError):
            if value is not None and np.dtype(value) == known:
                return known
    raise ValueError(f"dtype must be 'float32' or 'float64'; got {value!r}")


def not_negative(name: str, value: object) -> float:
    """Return `value` as a float that is finite, 0 or more."""
    if not is_number(value):
        raise TypeError(f"{name} must be a number, 0 or more; got {value!r}")
    number = as_float(value)
    if not (math.isfinite(number) and number >= 0):
        raise ValueError(f"{name} must be finite, 0 or more; got {shown(value)}")
    return number


def as_float(value: Any) -> float:
    """Return a number as a float: infinity for an int beyond the floats."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def shown(value: object) -> str:
    """Return how an error message shows a value: not by hundreds of digits."""
    return "a huge int" if isinstance(value, int) and abs(value) >= 10**50 else repr(value)


def positive(name: str, value: object, below: float = math.inf) -> float:
    """Return `value` as a float that is positive and below a limit, or finite."""
    if not is_number(value):
        raise TypeError(f"{name} must be a positive number; got {value!r}")
    number = as_float(value)
    if not 0 < number < below:
        expected = "finite" if below == math.inf else f"below {below:g}"
        raise ValueError(f"{name} must be positive and {expected}; got {shown(value)}")
    return number


def generator(rng: object) -> np.random.Generator:
    """Return the generator for `rng`: an int, a Generator, other seeds NumPy takes, or None."""
    try:
        return np.random.default_rng(rng)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"rng must be None, a non-negative int or a numpy.random.Generator; got {rng!r}"
        ) from None


def _array(name: str, value: Any) -> np.ndarray:
    if hasattr(value, "toarray"):
        raise ValueError(
            f"{name} must be a dense array; got a sparse {type(value).__name__}: "
            f"use {name}.toarray()"
        )
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError(
            f"{name} must be an array of numbers; got rows of different lengths"
        ) from None
    _check_real(name, array.dtype)
    return array


def _check_real(name: str, dtype: np.dtype[Any]) -> None:
    if dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold real numbers; got dtype {dtype}")


def require_finite(name: str, array: sparse.Features, dtype: np.dtype[Any]) -> None:
    """Raise where a number is not finite in `dtype`; never allocates more than a chunk."""
    if array.dtype.kind != "f":
        return
    if isinstance(array, Source) and array.greatest <= float(np.finfo(dtype).max):
        return
    rows = max(1, CHUNK_NUMBERS // max(1, math.prod(array.shape[1:])))
    for start in range(0, len(array), rows):
        chunk = array[start : start + rows]
        finite = _are_finite(chunk, dtype)
        if not finite.all():
            row, *columns = where = tuple(int(i) for i in np.argwhere(~finite)[0])
            place = _place(name, row + start, *columns)
            if isinstance(array, Source):
                place = f"{array.where(row + start)}, column {columns[0]}"
            raise _error_at(name, place, chunk[where], dtype)


def _check_stored_finite(name: str, rows: sparse.SparseRows, dtype: np.dtype[Any]) -> None:
    """As `require_finite`, of the numbers that a sparse matrix stores."""
    if rows.dtype.kind != "f":
        return
    for start, run in rows.runs(CHUNK_NUMBERS):
        finite = _are_finite(run.data, dtype)
        if not finite.all():
            place = int(finite.argmin())
            row = start + int(np.searchsorted(run.indptr, place, side="right")) - 1
            where = _place(name, row, int(run.indices[place]))
            raise _error_at(name, where, run.data[place], dtype)


def _are_finite(numbers: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    with np.errstate(over="ignore"):
        finite: np.ndarray = np.isfinite(numbers.astype(dtype, copy=False))
    return finite


def _place(name: str, *where: int) -> str:
    return f"{name}[{', '.join(map(str, where))}]"


def _error_at(name: str, place: str, value: Any, dtype: np.dtype[Any]) -> ValueError:
    if np.isfinite(value):
        return ValueError(f"{place} is {value}, beyond the range of {dtype}")
    return ValueError(f"{name} must be finite; {place} is {value} (NaN or infinity)")


def all_finite(array: np.ndarray) -> bool:
    """Return whether a flat array holds no NaN and no infinity; allocates no more than a chunk."""
    starts = range(0, array.size, CHUNK_NUMBERS)
    return all(bool(np.isfinite(array[i : i + CHUNK_NUMBERS]).all()) for i in starts)


def features(net: Network, X: Any) -> sparse.Features:
    """Return X as a 2-D array of finite numbers with the network's number of columns.

    It keeps its dtype, layout and memory; of a sparse matrix its rows are returned, of a source
    that has them in memory the array.
    """
    array = table(X)
    if array.shape[1] != net.widths[0]:
        raise ValueError(f"X has {array.shape[1]} features, the network expects {net.widths[0]}")
    if isinstance(array, sparse.SparseRows):
        _check_stored_finite("X", array, net.dtype)
    else:
        require_finite("X", array, net.dtype)
    if isinstance(array, Source) and array.in_memory is not None:
        return array.in_memory
    return array


def table(X: Any) -> sparse.Features:
    """Return X as rows of real numbers, at least one; of a sparse matrix its rows."""
    is_sparse = sparse.is_sparse(X)
    if is_sparse or isinstance(X, Source):
        _check_real("X", X.dtype)
        array = X
    else:
        array = _array("X", X)
    if array.ndim != 2:
        hint = "; for one sample use X.reshape(1, -1)" if array.ndim == 1 else ""
        raise ValueError(f"X must be 2-D (n_samples, n_features); got {array.ndim}-D{hint}")
    if array.shape[0] == 0:
        raise ValueError("X is empty: it has 0 samples, at least 1 is expected")
    rows: sparse.Features = sparse.rows(array) if is_sparse else array
    return rows


def parameters(net: Network, w: Any, name: str = "w") -> np.ndarray:
    """Return w as a flat array of n_params finite numbers; it keeps its dtype and memory."""
    array = _array(name, w)
    if array.shape != (net.n_params,):
        raise ValueError(f"{name} has shape {array.shape}, the network expects ({net.n_params},)")
    require_finite(name, array, net.dtype)
    return array


def columns(name: str, value: Any, n_columns: int) -> np.ndarray:
    """Return a float64 copy of finite numbers, one for each column (n_columns,)."""
    array = _array(name, value)
    if array.shape != (n_columns,):
        raise ValueError(f"{name} has shape {array.shape}, expected ({n_columns},)")
    require_finite(name, array, np.dtype(np.float64))
    return np.array(array, np.float64)


def truth(net: Network, y: Any, n_samples: int) -> np.ndarray:
    """Return y as labels (n_samples,) or as targets (n_samples, n_L), checked against the loss.

    It keeps its dtype and memory; a vector of targets becomes a view with one column.
    """
    array = _array("y", y)
    if array.ndim not in (1, 2):
        raise ValueError(f"y must be 1-D or 2-D; got {array.ndim}-D")
    if len(array) != n_samples:
        raise ValueError(f"y has {len(array)} samples, X has {n_samples}")
    n_out = net.widths[-1]
    if net.loss_name == "cross_entropy" and array.ndim == 1:
        return _labels(array, n_out)
    if array.ndim == 1 and n_out > 1:
        raise ValueError(f"y has shape {array.shape}, the network expects (n_samples, {n_out})")
    if array.ndim == 2 and array.shape[1] != n_out:
        raise ValueError(f"y has {array.shape[1]} columns, the network has {n_out} outputs")
    require_finite("y", array, net.dtype)
    targets = array.reshape(-1, 1) if array.ndim == 1 else array
    if net.loss_name == "cross_entropy":
        _check_probabilities(targets)
    elif net.loss_name == "binary_cross_entropy":
        least, most = targets.min(), targets.max()
        if least < 0 or most > 1:
            value = least if least < 0 else most
            raise ValueError(f"y must lie in [0, 1] for binary_cross_entropy; got {value}")
    elif net.loss_name in ("hinge", "perceptron"):
        _check_signs(targets, net.loss_name)
    elif net.loss_name == "poisson" and targets.min() < 0:
        raise ValueError(f"y must be 0 or more for poisson; got {targets.min()}")
    return targets


def weights(name: str, value: Any, n_samples: int, dtype: np.dtype[Any]) -> np.ndarray:
    """Return a float64 copy of samples' weights (n,): finite in `dtype`, 0 or more, not all 0."""
    array = _array(name, value)
    if array.shape != (n_samples,):
        raise ValueError(f"{name} has shape {array.shape}, expected ({n_samples},)")
    require_finite(name, array, dtype)
    if array.min() < 0:
        raise ValueError(f"{name} must be 0 or more; got {array.min()}")
    if not array.any():
        raise ValueError(f"{name} must not be all zero")
    return np.array(array, np.float64)


def _labels(y: np.ndarray, n_classes: int) -> np.ndarray:
    expected = f"y must hold integer labels 0 .. {n_classes - 1} for cross_entropy"
    if y.dtype.kind == "f":  # whole numbers are labels too, as elsewhere
        require_finite("y", y, y.dtype)
        for start in range(0, len(y), CHUNK_NUMBERS):
            fractions = (chunk := y[start : start + CHUNK_NUMBERS]) != np.floor(chunk)
            if fractions.any():
                value = chunk[fractions.argmax()]
                raise ValueError(f"{expected}, or rows of probabilities; got {value}")
    least, most = y.min(), y.max()
    if least < 0 or most >= n_classes:
        raise ValueError(f"{expected}; got {least if least < 0 else most}")
    return y


def _check_signs(Y: np.ndarray, loss: str) -> None:
    rows = max(1, CHUNK_NUMBERS // Y.shape[1])
    for start in range(0, len(Y), rows):
        chunk = Y[start : start + rows]
        wrong = (chunk != 1) & (chunk != -1)
        if wrong.any():
            raise ValueError(f"y must be -1 or 1 for {loss}; got {chunk[wrong][0]}")


def _check_probabilities(P: np.ndarray) -> None:
    rows = max(1, CHUNK_NUMBERS // P.shape[1])
    for start in range(0, len(P), rows):
        chunk = P[start : start + rows]
        if chunk.min() < 0:
            raise ValueError(
                f"y must hold rows of probabilities for cross_entropy; got {chunk.min()}"
            )
        sums = chunk.sum(axis=1, dtype=np.float64)
        worst = int(np.abs(sums - 1).argmax())
        if abs(sums[worst] - 1) > SUM_TOLERANCE:
            raise ValueError(
                "y must hold rows of probabilities that sum to 1 for cross_entropy; "
                f"row {start + worst} sums to {sums[worst]:.6g}"
            )
