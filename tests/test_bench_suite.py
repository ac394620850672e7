"""The asv suite, where there is something to test without asv: its kernel calls, and its cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench import kernel_calls

ROOT = Path(__file__).parents[1]
ARGUMENTS = {
    "layer": {"n_in": 17, "n_out": 33, "batch_size": 9},
    "loss": {"n_out": 5, "batch_size": 9},
    "network": {"widths": (17, 33, 5), "batch_size": 9},
    "update": {"n_in": 17, "n_out": 33},
    "vector": {"n": 1000},
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", kernel_calls.KERNELS)
def test_kernel_calls_run_and_are_restored(name, dtype):
    kind = name.split(":")[0]
    call = kernel_calls.KERNELS[name](dtype=dtype, **ARGUMENTS.get(kind, {}))
    assert call.bytes > 0
    assert call.elements > 0
    assert call.times_for(1e-3) >= 1
    before = [array.copy() for array in call.changed]
    call.repeat(3)
    once = [array.copy() for array in call.changed]
    call.restore()
    for array, expected in zip(call.changed, before, strict=True):
        np.testing.assert_array_equal(array, expected)
    call.repeat(3)
    for array, expected in zip(call.changed, once, strict=True):
        np.testing.assert_array_equal(array, expected)
        assert np.isfinite(array).all()


CHANGING = ["tile: full, accumulated", "layer: update", "network: step", "vector: descend"]
CHANGING += [f"update: {name}" for name in ("sgd", "momentum", "adam", "average", "sgd, l2")]


@pytest.mark.parametrize("name", CHANGING)
def test_what_a_call_changes_is_known(name):
    """Else the test above would compare nothing."""
    call = kernel_calls.KERNELS[name](**ARGUMENTS.get(name.split(":")[0], {}))
    before = [array.copy() for array in call.changed]
    call.repeat(3)
    pairs = zip(call.changed, before, strict=True)
    assert any((array != expected).any() for array, expected in pairs)


# The folder of what is compiled ----------------------------------------------------------------

PROGRAM = "import os, sys, bench; print(os.environ['NUMBA_CACHE_DIR'], 'numba' in sys.modules)"


@pytest.fixture
def copy(tmp_path):
    """Return a folder with a copy of the library and of the benchmarks."""
    for package in ("bench", "fastmlp"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, tmp_path / "copy" / package, ignore=ignored)
    return tmp_path / "copy"


def cache(folder, **variables):
    """Return the cache's folder, as a process that imports bench there has it."""
    names = ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")
    kept = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=folder, env={**kept, "PYTHONPATH": str(folder), **variables},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    path, has_numba = done.stdout.rsplit(maxsplit=1)
    assert has_numba == "False"  # it would not heed the variable any more
    return Path(path)


@pytest.mark.parametrize("file", ["fastmlp/kernels/tile.py", "bench/kernel_loops.py"])
def test_other_kernels_have_another_cache(copy, file):
    before = cache(copy)
    assert cache(copy) == before
    with (copy / file).open("a") as kernels:
        kernels.write("# changed\n")
    assert cache(copy) != before
    assert cache(copy).parent == before.parent


def test_the_cache_lies_where_it_is_told_to(copy, tmp_path):
    named = cache(copy, NUMBA_CACHE_DIR=str(tmp_path / "named"))
    assert named.parent == tmp_path / "named"
    assert cache(copy, NUMBA_CACHE_DIR=str(named)) == named  # a child process
    ours = cache(copy, XDG_CACHE_HOME=str(tmp_path / "home"))
    assert ours == tmp_path / "home" / "fastmlp" / named.name
