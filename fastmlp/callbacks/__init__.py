"""What looks on while a solver trains: progress, logs, early stopping, checkpoints.

The stochastic solvers take one callback or a list of them. A function of the state is one, called
at the end of each epoch; so is any object with some of the methods of `Callback`.
"""

from fastmlp.callbacks.base import Callback
from fastmlp.callbacks.logs import CSVLog, JSONLinesLog, ProgressBar, TensorBoard
from fastmlp.callbacks.parameters import Checkpoint, EarlyStopping

__all__ = [
    "CSVLog", "Callback", "Checkpoint", "EarlyStopping", "JSONLinesLog", "ProgressBar",
    "TensorBoard",
]  # fmt: skip
