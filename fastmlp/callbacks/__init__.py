"""What looks on while a solver trains: progress, logs, early stopping.

The stochastic solvers take one callback or a list of them. A function of the state is one, called
at the end of each epoch; so is any object with some of the methods of `Callback`.
"""

from fastmlp.callbacks.base import Callback
from fastmlp.callbacks.early_stopping import EarlyStopping
from fastmlp.callbacks.logs import CSVLog, JSONLinesLog, ProgressBar, TensorBoard

__all__ = [
    "CSVLog", "Callback", "EarlyStopping", "JSONLinesLog", "ProgressBar",
    "TensorBoard",
]  # fmt: skip
