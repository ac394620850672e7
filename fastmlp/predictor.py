"""Predictor: a network's predictions again and again, in buffers kept from call to call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp.passes import Passes
from fastmlp.workspace import Workspace, pass_rows, scratch_rows

if TYPE_CHECKING:
    from fastmlp.network import Network


class Predictor:
    """Predicts as `Network.predict` does, to the same bits, with little overhead for each call.

    Workspaces of earlier calls serve the next ones. There are as many as calls at the same time
    have needed, but no more than cores, each for as many rows as have been asked for, and no more
    than a block has (about 16 MiB, or 256 rows' worth).

    May be used by several threads at once, and after a fork. A copy, pickled or not, begins without
    workspaces.

    Parameters
    ----------
    net : Network
    """

    def __init__(self, net: Network) -> None:
        self.net = net
        self._idle: list[Workspace] = []  # whose pop and append are atomic: no call shares one

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.net,)

    def predict(self, w: np.ndarray, X: np.ndarray) -> np.ndarray:
        """Return the network's outputs at w.

        Parameters
        ----------
        w : ndarray of shape (n_params,)
            Of the network's dtype; checked by the caller, as X. May be another in each call.
        X : ndarray of shape (n_samples, n_0)
            Of any dtype and layout: converted block by block where need be.

        Returns
        -------
        ndarray of shape (n_samples, n_L) and of the network's dtype
        """
        passes = Passes(self.net, X)
        workspace = self._take(passes.n_rows)
        passes.use("predict", workspace)
        outputs = np.empty((len(X), self.net.widths[-1]), self.net.dtype)
        passes.predict(w, outputs)
        if len(self._idle) < scratch_rows():
            self._idle.append(workspace)
        return outputs

    def _take(self, n_rows: int) -> Workspace:
        """Return a workspace for at least so many rows, out of the idle ones if there are any."""
        try:
            workspace = self._idle.pop()
        except IndexError:
            pass
        else:
            if workspace.n_rows >= n_rows:
                return workspace
        room = min(1 << (n_rows - 1).bit_length(), pass_rows(self.net))  # for somewhat larger ones
        return Workspace(self.net, room, np.empty(0, self.net.dtype), "predict")
