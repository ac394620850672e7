"""Where rows come from: arrays, and files that may be larger than memory."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastmlp.sources.base import Source
    from fastmlp.sources.file_source import FileSource
    from fastmlp.sources.idx import load_idx
    from fastmlp.sources.moments import Statistics, statistics
    from fastmlp.sources.opening import open
    from fastmlp.sources.scaling import scaled

# Imported at first use: what reads arrays builds on checks of X, which know `base`.
_NAMES = {
    "FileSource": "fastmlp.sources.file_source",
    "Source": "fastmlp.sources.base",
    "Statistics": "fastmlp.sources.moments",
    "load_idx": "fastmlp.sources.idx",
    "open": "fastmlp.sources.opening",
    "scaled": "fastmlp.sources.scaling",
    "statistics": "fastmlp.sources.moments",
}

__all__ = ["FileSource", "Source", "Statistics", "load_idx", "open", "scaled", "statistics"]


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_NAMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
