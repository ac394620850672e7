"""Progress bars."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

# A progress bar is worth showing once the work has lasted so many seconds.
PROGRESS_DELAY = 1.0


def checked_progress(progress: Any) -> bool | None:
    """Return whether a progress bar is wanted: True, False, or None for where it helps."""
    if progress is not None and not isinstance(progress, (bool, np.bool_)):
        raise TypeError(f"progress must be True, False or None; got {progress!r}")
    return progress if progress is None else bool(progress)


def progress_bar(progress: bool | None, total: int | None, unit: str, initial: int = 0) -> Any:
    """Return a bar, shown where asked for, or by default on a terminal after a while."""
    from tqdm import tqdm

    terminal = sys.stderr is not None and sys.stderr.isatty()
    show = terminal if progress is None else progress and sys.stderr is not None
    delay = PROGRESS_DELAY if progress is None else 0
    return tqdm(
        total=total, unit=f" {unit}", unit_scale=True, disable=not show, delay=delay,
        initial=initial,
    )  # fmt: skip
