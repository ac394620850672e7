"""Predictions again and again, in buffers kept from call to call."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from fastmlp.passes import Passes
from fastmlp.workspace import Workspace, pass_rows, scratch_rows

if TYPE_CHECKING:
    from fastmlp.network import Network
    from fastmlp.sparse import Features


# Workspaces of earlier calls serve the next ones: so many, each for as many rows as have been asked
# for, and no more than a block has (about 16 MiB, or 256 rows' worth). The latest is the last.
# Popping and appending are atomic: no two calls share one.
_idle: deque[Workspace] = deque(maxlen=max(4, scratch_rows()))


def predict(net: Network, w: np.ndarray, X: Features) -> np.ndarray:
    """Return the network's outputs at w.

    May be called by several threads at once, and after a fork.

    Parameters
    ----------
    net : Network
    w : ndarray of shape (n_params,)
        Of the network's dtype and finite.
    X : ndarray or SparseRows of shape (n_samples, n_0)
        Finite; of any dtype and layout: converted block by block where need be.

    Returns
    -------
    ndarray of shape (n_samples, n_L) and of the network's dtype

    Raises
    ------
    ValueError
        Where shapes do not fit: kernels would read beyond them.
    """
    if X.shape[1] != net.widths[0]:
        raise ValueError(f"X has {X.shape[1]} features, the network expects {net.widths[0]}")
    if w.shape != (net.n_params,):
        raise ValueError(f"w has shape {w.shape}, the network expects ({net.n_params},)")
    passes = Passes(net, X)
    workspace = _take(net, passes.n_rows)
    passes.use("predict", workspace)
    outputs = np.empty((len(X), net.widths[-1]), net.dtype)
    passes.predict(w, outputs)
    _idle.append(workspace)
    return outputs


def _take(net: Network, n_rows: int) -> Workspace:
    """Return a workspace for at least so many rows, out of the idle ones if there is any."""
    for _ in range(len(_idle)):
        try:
            workspace = _idle.pop()
        except IndexError:  # another thread's now
            break
        if workspace.net != net:
            _idle.appendleft(workspace)
        elif workspace.n_rows >= n_rows:
            return workspace
    room = min(1 << (n_rows - 1).bit_length(), pass_rows(net))  # for somewhat larger ones
    return Workspace(net, room, np.empty(0, net.dtype), "predict")
