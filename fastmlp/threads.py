"""How many threads a call may use, where Numba's threads are not safe.

Results do not depend on the number of threads, so where several would abort the process, one is
used instead: in a forked child of a process in which Numba's threads have run, and beside another
Python thread on Numba's `workqueue` layer.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

import numba
from numba.np.ufunc import parallel

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

_workqueue_lock = threading.Lock()
_blas_lock = threading.Lock()
# Whether this process is a fork of one whose threads, started by whatever kernel, are not here.
_lost_threads = False


def _after_fork() -> None:
    global _lost_threads, _workqueue_lock, _blas_lock
    _lost_threads = _lost_threads or parallel._is_initialized
    _workqueue_lock, _blas_lock = threading.Lock(), threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _layer() -> str:
    """Start Numba's threads, if they are not running, and return the name of their layer."""
    parallel._launch_threads()
    return str(numba.threading_layer())


@contextmanager
def workers() -> Iterator[int]:
    """Give the number of threads to use, for as long as the block runs."""
    n_threads = numba.get_num_threads()
    lock = _workqueue_lock  # a child that is forked within the block has another
    if n_threads == 1 or _lost_threads:
        yield 1
    elif _layer() != "workqueue":
        yield n_threads
    elif lock.acquire(blocking=False):
        try:
            yield n_threads
        finally:
            lock.release()
    else:
        yield 1


@contextmanager
def limited(n_jobs: int | None) -> Iterator[None]:
    """Use at most so many threads within the block, as joblib counts: -1 all, -2 all but one.

    Parameters
    ----------
    n_jobs : int or None
        None: as many as before.
    """
    if n_jobs is None:
        yield
        return
    if n_jobs == 0:
        raise ValueError("n_jobs must be positive, or negative as in joblib, or None; got 0")
    before, most = numba.get_num_threads(), int(numba.config.NUMBA_NUM_THREADS)
    wanted = most + 1 + n_jobs if n_jobs < 0 else n_jobs
    numba.set_num_threads(min(max(wanted, 1), most))
    try:
        yield
    finally:
        numba.set_num_threads(before)


@cache
def _blas() -> ThreadpoolController:
    """Return what limits the threads of the BLAS that are loaded now: to find them takes 2.5 ms."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Have BLAS use one thread within the block, or within one of those that overlap.

    The limit is the process's. Were each to set it, one that begins within another and ends after
    it would restore the other's limit, for good.
    """
    lock = _blas_lock
    if not lock.acquire(blocking=False):
        yield
        return
    try:
        with _blas().limit(limits=1, user_api="blas"):
            yield
    finally:
        lock.release()
