"""Settings and fixtures of all tests."""

import hashlib
import importlib.metadata
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings


def _numba_cache() -> Path:
    """Return a cache folder of this state of the kernels.

    Numba's on-disk cache does not see an edit in a file that a kernel calls into. It holds pickles,
    so the folder is the user's own, never one that others can write to.
    """
    digest = hashlib.sha256(importlib.metadata.version("numba").encode())
    for path in sorted((Path(__file__).parents[1] / "fastmlp" / "kernels").rglob("*.py")):
        digest.update(path.read_bytes())
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "fastmlp" / f"tests-{digest.hexdigest()[:16]}"


# Before anything imports Numba; child processes inherit it.
os.environ.setdefault("NUMBA_CACHE_DIR", str(_numba_cache()))

settings.register_profile("local", deadline=None)  # a first call compiles
settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Return a generator of the test's own, the same in each run."""
    return np.random.default_rng(zlib.crc32(request.node.nodeid.encode()))


@pytest.fixture(autouse=True)
def numpy_settings():
    """See that a test leaves NumPy's treatment of errors as it was; it is the thread's."""
    before = np.geterr()
    yield
    after = np.geterr()
    np.seterr(**before)
    assert after == before
