"""Multi-layer perceptrons on CPUs, trained as fast as the machine's arithmetic allows."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastmlp import sources
    from fastmlp.network import Network
    from fastmlp.objective import Objective
    from fastmlp.solvers import minibatch_sgd, schedules, sgd

__version__ = "0.1.0"

# Public names and the modules they come from, imported at first use: Numba alone takes longer to
# import than many scripts take to run.
_NAMES = {
    "Network": "fastmlp.network",
    "Objective": "fastmlp.objective",
    "minibatch_sgd": "fastmlp.solvers",
    "sgd": "fastmlp.solvers",
}
_MODULES = {"schedules": "fastmlp.solvers.schedules", "sources": "fastmlp.sources"}

__all__ = ["Network", "Objective", "minibatch_sgd", "schedules", "sgd", "sources"]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        value: Any = importlib.import_module(_MODULES[name])
    elif name in _NAMES:
        value = getattr(importlib.import_module(_NAMES[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
