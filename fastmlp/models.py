"""Model files: networks with parameters, and fitted estimators."""

from __future__ import annotations

import reprlib
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp import files, validation
from fastmlp.files import FormatError, checked_path, require_place
from fastmlp.network import Network
from fastmlp.solvers import checkpoints, descriptions

if TYPE_CHECKING:
    from fastmlp.losses import Loss


def save(path: Any, model: Any, optimizer: bool = True) -> None:
    """Write a model to a file, as a whole or not at all.

    The file is in the safetensors format; what its numbers mean is JSON in its metadata. It holds
    no code, and none is run when it is loaded. Until the new file is complete and on the disk,
    `path` is the old one: whoever reads it, even after a crash, finds one of the two.

    Parameters
    ----------
    path : str or os.PathLike
        Customarily ``*.safetensors``, in a folder that exists.
    model : (Network, array-like of shape (n_params,)), MLPClassifier, MLPRegressor or Pipeline
        A network and its parameters; a fitted estimator; or scikit-learn's pipeline of scalers
        (StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler, Normalizer) that ends in one.
    optimizer : bool, default=True
        For estimators: whether the file holds what `partial_fit` and ``warm_start="optimizer"`` go
        on with as well, which may be twice as large as the parameters.

    Raises
    ------
    TypeError
        For anything else, and for labels other than numbers and strings.
    ValueError
        For parameters that do not fit the network.
    sklearn.exceptions.NotFittedError
    OSError
        Where the file cannot be written; an earlier one is as it was then.

    Warns
    -----
    UserWarning
        Where parameters of an estimator are functions or other objects that a file cannot hold,
        as `callbacks`: these will have their defaults.

    See Also
    --------
    load

    Examples
    --------
    >>> import fastmlp as fm
    >>> net = fm.Network([2, 3, 1])
    >>> w = net.init(rng=0)
    >>> fm.save("net.safetensors", (net, w))
    >>> net, w = fm.load("net.safetensors")
    >>> net
    Network([2, 3, 1], hidden='relu', output='identity', loss='squared_error')
    """
    path = checked_path("path", path)
    if not isinstance(optimizer, (bool, np.bool_)):
        hint = " (a network goes with its parameters, as one argument)"
        raise TypeError(
            f"optimizer must be True or False; got {reprlib.repr(optimizer)}"
            f"{hint if isinstance(model, Network) else ''}"
        )
    tree, left_out = _tree(model, optimizer)
    require_place(path)
    files.write(path, tree.pop("kind"), tree)
    if left_out:
        warnings.warn(
            f"{path} does not hold {', '.join(left_out)}: a loaded model has the defaults",
            UserWarning,
            stacklevel=2,
        )


def _tree(model: Any, optimizer: bool) -> tuple[dict[str, Any], list[str]]:
    if isinstance(model, (tuple, list)) and len(model) == 2 and isinstance(model[0], Network):
        net, w = model
        w = np.asarray(validation.parameters(net, w), net.dtype)  # what it computes with
        return checkpoints.model(net, w), []
    if hasattr(model, "get_params"):
        from sklearn.pipeline import Pipeline

        from fastmlp.estimators import pipelines, stored

        if isinstance(model, Pipeline):
            return pipelines.tree(model, optimizer)
        return stored.tree(model, optimizer)
    raise TypeError(
        "model must be (network, parameters), a fitted estimator of fastmlp, or a pipeline that "
        f"ends in one; got {model!r}"
    )


def load(path: Any, loss: Loss | None = None) -> Any:
    """Return the model in a file that `save`, or a solver's `checkpoint`, has written.

    Parameters
    ----------
    path : str or os.PathLike
    loss : Loss, optional
        Where the network has a loss of the user's own (`fastmlp.losses.custom`): that loss, as a
        file holds no functions. It is not needed for others, nor used.

    Returns
    -------
    (Network, ndarray of shape (n_params,)), MLPClassifier, MLPRegressor or Pipeline
        What was saved; the same bits. Of a checkpoint the model as it was when it was written.

    Raises
    ------
    FormatError
        Where the file is truncated, corrupted, of another kind or a later version, or does not fit
        together. Whatever a file holds, it is only looked at, and no more memory is used than a
        small multiple of its size.
    OSError
        Where there is none, or it cannot be read.
    TypeError
        For a loss that is not the user's own.

    See Also
    --------
    save
    """
    path = checked_path("path", path)
    if loss is not None and not getattr(loss, "functions", None):
        raise TypeError(f"loss must be one of fastmlp.losses.custom; got {loss!r}")
    kind, tree = files.read(path)
    with files.understanding(path, "does not fit together"):
        if kind == checkpoints.KIND:
            tree = tree["model"]
            kind = tree["kind"]
        return _model(kind, tree, loss)


def _model(kind: Any, tree: dict[str, Any], loss: Loss | None) -> Any:
    if kind == "network":
        return descriptions.network(tree["network"], tree["parameters"], loss)
    if kind in ("estimator", "pipeline"):
        from fastmlp.estimators import pipelines, stored, trees

        reader: Any = {trees.KIND: stored.back, pipelines.KIND: pipelines.back}[kind]
        return reader(tree, loss)
    raise FormatError(f"it holds a model of unknown kind {str(kind)[:40]!r}")
