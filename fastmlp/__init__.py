"""Multi-layer perceptrons on CPUs, trained as fast as the machine's arithmetic allows."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastmlp import callbacks, losses, sources
    from fastmlp.diagnostics import directional_derivative, is_descent_direction
    from fastmlp.estimators import MLPClassifier, MLPRegressor
    from fastmlp.files import FormatError
    from fastmlp.models import load, save
    from fastmlp.network import Network
    from fastmlp.objective import Objective
    from fastmlp.solvers import line_search, rules, schedules
    from fastmlp.solvers.checkpoints import Checkpoints
    from fastmlp.solvers.gradient_descent import gradient_descent
    from fastmlp.solvers.minimize import minimize
    from fastmlp.solvers.stochastic import minibatch_sgd, sgd

__version__ = "0.1.0"

# Public names and the modules they come from, imported at first use: Numba alone takes longer to
# import than many scripts take to run.
_NAMES = {
    "Checkpoints": "fastmlp.solvers.checkpoints",
    "FormatError": "fastmlp.files",
    "MLPClassifier": "fastmlp.estimators",
    "MLPRegressor": "fastmlp.estimators",
    "Network": "fastmlp.network",
    "Objective": "fastmlp.objective",
    "directional_derivative": "fastmlp.diagnostics",
    "gradient_descent": "fastmlp.solvers.gradient_descent",
    "is_descent_direction": "fastmlp.diagnostics",
    "load": "fastmlp.models",
    "minibatch_sgd": "fastmlp.solvers.stochastic",
    "minimize": "fastmlp.solvers.minimize",
    "save": "fastmlp.models",
    "sgd": "fastmlp.solvers.stochastic",
}
_MODULES = {
    "callbacks": "fastmlp.callbacks",
    "line_search": "fastmlp.solvers.line_search",
    "losses": "fastmlp.losses",
    "rules": "fastmlp.solvers.rules",
    "schedules": "fastmlp.solvers.schedules",
    "sources": "fastmlp.sources",
}

__all__ = [
    "Checkpoints",
    "FormatError",
    "MLPClassifier",
    "MLPRegressor",
    "Network",
    "Objective",
    "callbacks",
    "directional_derivative",
    "gradient_descent",
    "is_descent_direction",
    "line_search",
    "load",
    "losses",
    "minibatch_sgd",
    "minimize",
    "rules",
    "save",
    "schedules",
    "sgd",
    "sources",
]


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
