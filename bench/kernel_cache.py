"""Where Numba keeps what it has compiled: a folder for each environment and state of the kernels.

Numba's on-disk cache sees an edit of the file that a kernel is in, by its time, and of no other: it
would run stale code where a kernel that is called has changed, or a wheel's files all bear one
time. The folder is the user's own, for it holds pickles.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import sys
from pathlib import Path

PREFIX = "kernels-"


def folder() -> Path:
    """Return the folder for the fastmlp that would be imported; Numba need not be."""
    parts = (importlib.metadata.version("numba"), sys.version, sys.prefix)
    digest = hashlib.sha256(repr(parts).encode())
    for path in _sources():
        digest.update(path.read_bytes())
    return _parent() / f"{PREFIX}{digest.hexdigest()[:16]}"


def _sources() -> list[Path]:
    """Return the files that kernels are in: the library's, and those of the benchmarks."""
    library = importlib.util.find_spec("fastmlp")
    if library is None or library.origin is None:
        raise ModuleNotFoundError("fastmlp is not installed here")
    kernels = sorted((Path(library.origin).parent / "kernels").rglob("*.py"))
    return [*kernels, Path(__file__).with_name("kernel_loops.py")]


def _parent() -> Path:
    """Return the folder that was named, by the user or to a parent of this process, or our own."""
    named = os.environ.get("NUMBA_CACHE_DIR")
    if named:
        path = Path(named)
        return path.parent if path.name.startswith(PREFIX) else path
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastmlp"
