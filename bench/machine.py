"""What was measured on: CPU, cores, versions."""

from __future__ import annotations

import importlib.metadata
import platform
import re
from pathlib import Path

from bench.works import n_cores

PACKAGES = ("numba", "numpy", "fastmlp", "scikit-learn", "torch", "jax")


def cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists() and (model := re.search(r"model name\s*: (.*)", info.read_text())):
        return model[1]
    return platform.processor() or platform.machine()


def environment() -> dict[str, str]:
    """Return the CPU, the cores that may be used, the system, and versions of what is installed."""
    found = {
        "CPU": cpu(),
        "cores": str(n_cores()),
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
    }
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine() -> str:
    """Return the environment in a line."""
    found = environment()
    versions = [f"{name} {found[name]}" for name in ("Python", *PACKAGES) if name in found]
    return f"{found['CPU']}, {found['cores']} cores; {', '.join(versions)}"
