"""Benchmarks, and comparisons with peers. Speeds are measured here, never asserted in a test.

asv imports every module below this package, in an environment that holds fastmlp and its
dependencies alone. So a module imports a peer (PyTorch, JAX) inside the function that runs it, and
only benchmarks have names that begin with `time_`, `timeraw_`, `track_`, `mem_` or `peakmem_`.
"""

import os as _os
import sys as _sys

from bench import kernel_cache as _kernel_cache

if "numba" not in _sys.modules:  # else it would be too late; child processes inherit it
    _os.environ["NUMBA_CACHE_DIR"] = str(_kernel_cache.folder())
