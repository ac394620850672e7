"""What a run was done with."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import fastmlp

PACKAGES = ("numba", "llvmlite", "numpy", "scipy", "scikit-learn", "safetensors", "pyarrow", "h5py")


def now() -> str:
    """Return the time of the day, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def environment() -> dict[str, Any]:
    """Return versions, the CPU as LLVM sees it, threads, the commit, and the command."""
    import numba
    from llvmlite import binding

    from fastmlp import threads

    versions = {"fastmlp": fastmlp.__version__, "python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    layer = None
    with threads.workers() as n_threads, contextlib.suppress(ValueError):
        layer = numba.threading_layer()  # ValueError: no thread was needed
    features = binding.get_host_cpu_features()
    return {
        "versions": versions,
        "cpu": {
            "name": binding.get_host_cpu_name(),
            "features": sorted(name for name, has in features.items() if has),
        },
        "threads": {"most": n_threads, "layer": layer},
        "platform": platform.platform(),
        "git_commit": _commit(),
        "command": sys.argv,
        "started": now(),
    }


def _commit() -> str | None:
    """Return the commit of the working folder, where there is one."""
    try:
        run = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.strip() if run.returncode == 0 else None


def peak_memory() -> int | None:
    """Return the most bytes of memory that this process has had, where the system tells."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
