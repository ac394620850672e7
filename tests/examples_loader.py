"""Imports the programs in examples/, which is no package."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path


def load_example(name):
    """Import examples/<name>.py."""
    path = Path(__file__).parents[1] / "examples" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"example_{name}", path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
