"""A kernel that is ready to be called, and what a call of it costs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


class Call:
    """`repeat(n)` does the work n times over; `restore()` undoes what that does to `changed`.

    flops, bytes and elements are of one time: arithmetic, arrays read and written, numbers written.
    `changed` are the arrays that a time goes on from where the one before has left them.
    """

    def __init__(
        self,
        repeat: Callable[[int], None],
        flops: int,
        n_bytes: int,
        elements: int,
        changed: tuple[np.ndarray, ...] = (),
    ) -> None:
        self.repeat, self.flops, self.bytes, self.elements = repeat, flops, n_bytes, elements
        self.changed = changed
        self._start = [array.copy() for array in changed]

    def restore(self) -> None:
        for array, start in zip(self.changed, self._start, strict=True):
            array[:] = start

    def times_for(self, seconds: float) -> int:
        """Return how many times take about so long on a core, roughly."""
        cost = max(self.flops / 2e11, self.bytes / 1e11, self.elements / 3e9)
        return max(1, round(seconds / cost))
