"""The asv suite of fresh processes: what it takes to begin. `python -m bench.start` shows more.

asv runs the code that a `timeraw_` benchmark returns in a Python process of its own each time.
"""

from __future__ import annotations

from bench.start import FIT, IMPORT, PREPARE
from bench.works import unless_small

# An on-disk cache of its own for the process; it is removed as the process ends.
EMPTY_CACHE = """
import os, tempfile
folder = tempfile.TemporaryDirectory()
os.environ["NUMBA_CACHE_DIR"] = folder.name
"""


class Import:
    """`import fastmlp` alone."""

    rounds = 1
    warmup_time = 0
    repeat = unless_small((5, 20, 5.0), 1)

    def timeraw_import(self):
        return IMPORT


class WarmStart:
    """From before `import fastmlp` to the first batch trained, with a filled on-disk cache."""

    rounds = 1
    warmup_time = 0
    repeat = unless_small((5, 10, 10.0), 1)

    def setup(self):
        exec("\n".join([IMPORT, PREPARE, FIT]), {})  # fills it

    def timeraw_start_to_trained(self):
        return "\n".join([IMPORT, PREPARE, FIT])


class ColdStart:
    """The solver's first call, with an empty on-disk cache: all kernels are compiled."""

    rounds = 1
    warmup_time = 0
    repeat = unless_small(3, 1)
    timeout = 300

    def timeraw_first_fit(self):
        return FIT, "\n".join([EMPTY_CACHE, IMPORT, PREPARE])
