"""What the user asks of a stochastic solver."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp import validation
from fastmlp.callbacks import EarlyStopping

if TYPE_CHECKING:
    from fastmlp.solvers import orders
    from fastmlp.solvers.checkpoints import Checkpoints, Resumed
    from fastmlp.solvers.trainers import State
    from fastmlp.solvers.updates import Updates


@dataclass(frozen=True)
class Settings:
    """The arguments of a stochastic solver beyond the problem itself, as the user gave them.

    The last ones are for callers within the library: `order` may be an object with the methods of
    `orders.Order`; `rows` are the samples to train on, and `state` what the rule begins with.
    """

    updates: Updates
    reduction: str
    batch_size: int | None
    per_sample: bool
    step: Any
    epochs: int
    order: str | orders.Order
    sample_weight: Any
    class_weight: Any
    dropout: Any
    validation: Any
    scoring: Any
    patience: int | None
    min_improvement: float
    rng: Any
    callback: Any
    progress: bool | None
    checkpoints: Checkpoints | None = None
    resumed: Resumed | None = None
    rows: np.ndarray | None = None
    state: State | None = None


def early_stopping(settings: Settings) -> tuple[EarlyStopping, ...]:
    """Return the callback that `patience` asks for, if it does."""
    if settings.patience is None:
        if validation.not_negative("min_improvement", settings.min_improvement) > 0:
            raise ValueError(
                f"min_improvement={settings.min_improvement!r} needs patience; got patience=None"
            )
        return ()
    return (EarlyStopping(settings.patience, settings.min_improvement),)
