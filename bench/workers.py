"""Contenders measured in turn, each in a process of its own.

In one process, the thread pools of OpenBLAS, PyTorch, XLA and Numba can stay awake after their turn
and take cores from the next contender. Here whoever is not being measured waits on a pipe, and a
contender that crashes takes nobody with it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

# Between two measurements, for threads that spin before they sleep.
PAUSE = 0.05


def _serve(pipe: Connection, make: Callable[..., Callable[[], Any]], arguments: tuple) -> None:
    """Answer each message with what was measured, until one is None. Runs in the child."""
    warnings.filterwarnings("ignore")
    try:
        measure = make(*arguments)
        measure()
        pipe.send(None)
        while pipe.recv() is not None:
            pipe.send(measure())
    except (EOFError, KeyboardInterrupt):
        return
    except Exception as error:
        first_line = next(iter(str(error).strip().splitlines()), "")
        pipe.send(f"{type(error).__name__}: {first_line}")


@dataclass
class Worker:
    """A contender in its process, where make(*arguments) returns what measures it.

    `rates` has one entry for each round: a rate, or whatever else that returns. The process has
    the folders of `path` first in its sys.path.
    """

    name: str
    make: Callable[..., Callable[[], Any]]
    arguments: tuple
    has_children: bool = False
    path: tuple[str, ...] = ()
    rates: list[Any] = field(default_factory=list)
    failure: str = ""

    def start(self) -> None:
        """Start the process and wait until it is warm, or has failed."""
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        arguments = (theirs, self.make, self.arguments)
        self._process = context.Process(target=_serve, args=arguments, daemon=not self.has_children)
        with _inherited(self.path):
            self._process.start()
        theirs.close()
        try:
            self._receive()
        except BaseException:  # Ctrl-C
            self.stop()
            raise

    def measure(self) -> None:
        """Add a rate to `rates`, or note why there is none."""
        if not self.failure:
            time.sleep(PAUSE)
            with contextlib.suppress(OSError):  # a broken pipe: `_receive` finds out why
                self._pipe.send(True)
            rate = self._receive()
            if rate is not None:
                self.rates.append(rate)

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._pipe.send(None)
        self._process.join(timeout=10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._pipe.close()

    def _receive(self) -> Any:
        try:
            answer = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            answer = f"its process ended with exit code {self._process.exitcode}"
        if isinstance(answer, str):
            self.failure = answer
            return None
        return answer


@contextlib.contextmanager
def _inherited(path: tuple[str, ...]) -> Iterator[None]:
    """Change what a process inherits that is started meanwhile: it gets a copy of sys.path."""
    before = sys.path[:]
    sys.path[:0] = path
    try:
        yield
    finally:
        sys.path[:] = before


def measure_in_rounds(workers: list[Worker], rounds: int) -> None:
    """Measure every worker once in each round, in every other one backwards."""
    started = []
    try:
        for worker in workers:
            worker.start()
            started.append(worker)
        for k in range(rounds):
            for worker in workers[:: -1 if k % 2 else 1]:
                worker.measure()
    finally:
        for worker in started:
            worker.stop()


def peak() -> Callable[[], float]:
    """Return what measures the peak of a core."""
    from bench.peak import flops_of_one_core  # only here: to import it compiles for good

    return flops_of_one_core


def known(workers: list[Worker]) -> tuple[dict[str, list[Any]], dict[str, str]]:
    """Return what was measured by name, and why others have failed."""
    failures = {worker.name: worker.failure for worker in workers if worker.failure}
    return {worker.name: worker.rates for worker in workers if not worker.failure}, failures
