"""SIGINT and SIGTERM as KeyboardInterrupt, at moments at which that can be survived."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any


class Signals:
    """Within the block SIGINT and SIGTERM raise KeyboardInterrupt, once; then they do as before.

    While Numba compiles or loads a kernel they are held back: what is raised in one of LLVM's
    callbacks is lost, with the kernel, and a lock that is left taken stops other threads for ever.

    Attributes
    ----------
    received : int or None
        The number of the signal that came first.
    waits : bool
        Whether it is only remembered: while callbacks run, no checkpoint could be written.
    """

    received: int | None = None
    waits: bool = False

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        """Catch them, in the main thread; in others nothing can be caught."""
        self._before: dict[int, Any] = {}
        try:
            with contextlib.suppress(ValueError):
                for number in (signal.SIGINT, signal.SIGTERM):
                    self._before[number] = signal.getsignal(number)
                    signal.signal(number, self._receive)
            yield
        finally:
            self._restore()

    def _receive(self, number: int, frame: Any) -> None:
        self.received = number
        self._restore()
        if not self.waits and not _is_held_back():
            raise KeyboardInterrupt

    def _restore(self) -> None:
        with contextlib.suppress(ValueError):
            for number, before in self._before.items():
                signal.signal(number, before)


def _is_held_back() -> bool:
    """Return whether Numba is at work in this thread; it is interrupted as soon as it is not."""
    if "numba.core.dispatcher" not in sys.modules:
        return False
    from numba.core import event
    from numba.core.compiler_lock import global_compiler_lock as lock

    if not lock.is_locked():
        return False
    name = "numba:compiler_lock"

    class Interrupt(event.Listener):  # type: ignore[misc]
        def on_start(self, _: Any) -> None:
            """Nothing: the lock is taken once more."""

        def on_end(self, _: Any) -> None:
            is_main = threading.current_thread() is threading.main_thread()
            if is_main and not lock.is_locked():
                event.unregister(name, self)
                raise KeyboardInterrupt

    event.register(name, Interrupt())
    return True
