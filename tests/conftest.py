"""Settings and fixtures of all tests."""

import os
import zlib

import numpy as np
import pytest
from hypothesis import settings

os.environ.pop("FASTMLP_BENCH_SMALL", None)  # tests say themselves how large works are

import bench  # noqa: F401  before Numba: has it cache in a folder of this state of the kernels

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
