"""How calls are watched: the memory they take, and what becomes of them in a forked child."""

import multiprocessing
import sys
import tracemalloc

MEBIBYTE = 2**20


def peak_of(call):
    """Return the bytes at the highest point of a call; NumPy reports what it allocates."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def exit_code_of_a_fork(results, expected, seconds=20):
    """Fork; return the child's exit code: 0 for the expected results, negative for a signal."""

    def child():
        if results() != expected:
            sys.exit("other results")

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        process.join()
        return "hangs"
    return process.exitcode
