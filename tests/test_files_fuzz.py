"""Files at random: to load one ends in a model or a FormatError, soon, and in little memory.

FASTMLP_FUZZ is how many files to try, where they shall be more.
"""

import os
import random
import subprocess
import sys
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastmlp as fm
from cases_files import parts, write_raw
from cases_fuzz import MODELS, damage, leaves, load, make_up, save_all, use

N = int(os.environ.get("FASTMLP_FUZZ", 2000))
# What a load may use: so many times the size of the file, and what the code itself needs.
TIMES, FIXED = 64, 2**22
_FUZZ = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save_all(folder)
        for name in MODELS:  # what is imported and compiled at the first use
            use(load(folder / name))
    return folder


class _Peaks:
    """What loads have used at most, in bytes for each byte of a file."""

    n, n_models, most = 0, 0, 0.0


@pytest.fixture(scope="module")
def peaks():
    yield (found := _Peaks())
    told = f"{found.n} loads, {found.n_models} of models; {found.most:.1f} bytes per byte at most"
    print(told, file=sys.stderr)


def _loads(path, peaks):
    """Return whether a file has a model, which then can be used."""
    tracemalloc.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model = load(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    size = path.stat().st_size
    assert peak < TIMES * size + FIXED
    peaks.n, peaks.most = peaks.n + 1, max(peaks.most, peak / max(size, 1000))
    if model is None:
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NumPy, of numbers that were changed
        use(model)
    peaks.n_models += 1
    return True


@settings(_FUZZ, max_examples=N // 4)
@given(name=st.sampled_from(MODELS), data=st.data())
def test_damaged_files_are_refused(saved, peaks, name, data):
    path = saved / "damaged"
    content = (saved / name).read_bytes()
    path.write_bytes(changed := damage(data, content))
    assert _loads(path, peaks) == (changed == content)


@settings(_FUZZ, max_examples=N - N // 4)
@given(name=st.sampled_from(MODELS), data=st.data())
def test_made_up_files_are_refused_or_can_be_used(saved, peaks, name, data):
    path = saved / "made up"
    make_up(data, saved / name, path)
    _loads(path, peaks)


_LOADER = """
import resource, sys, warnings
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from cases_fuzz import MODELS, load, use
warnings.simplefilter("ignore")
folder = Path(sys.argv[1])
for name in MODELS:
    use(load(folder / name))
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, used + 2**26))
paths = sorted((folder / "many").iterdir())
n_models = 0
for path in paths:
    model = load(path)
    if model is not None:
        use(model)
        n_models += 1
print(len(paths), n_models)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited on Linux")
def test_hundreds_of_made_up_files_crash_no_process_of_little_memory(saved):
    """As memory that Python does not trace would."""
    (saved / "many").mkdir()
    rng = random.Random(0)
    for i in range(400):
        about, tensors = parts(saved / MODELS[i % len(MODELS)])
        for _ in range(rng.choice([1, 2, 3])):
            *path, last = rng.choice(leaves(about)[1:])
            inside = about
            for one in path:
                inside = inside[one]
            odd = [None, -1, 0, 2**31, 2**62, 10**400, [1] * 5000, {"$float": "nan"}, "x", True]
            inside[last] = rng.choice(odd)
        write_raw(saved / "many" / f"{i:03d}", about, tensors)
    for i, shape in enumerate([(2**20,), (0, 7), ()]):
        net = fm.Network([5, 3, 2])
        fm.save(saved / "net", (net, net.init(rng=0)))
        about, _ = parts(saved / "net")
        about["content"]["network"]["widths"] = [2**30, 2**30]
        write_raw(saved / "many" / f"wide {i}", about, {"parameters": np.zeros(shape, "f4")})
    code = [sys.executable, "-c", _LOADER, str(saved), os.path.dirname(__file__)]
    done = subprocess.run(code, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    n_files, n_models = map(int, done.stdout.split()[-2:])
    assert n_files == 403
    assert 0 < n_models < 200
