"""How long until a fresh Python process has trained its first batch: python -m bench.start

An empty on-disk cache means that all kernels are compiled; a filled one is what every later process
meets. Each time is that of a new process, from its start as seen from outside.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

# The same work in both cases: 784-256-128-10, one batch of 128.
IMPORT = "import fastmlp as fm"
PREPARE = """
import numpy as np
rng = np.random.default_rng(0)
X, y = rng.standard_normal((128, 784), dtype=np.float32), rng.integers(0, 10, 128)
net = fm.Network([784, 256, 128, 10], output="softmax")
w, solver = net.init(rng=0), fm.minibatch_sgd
"""
FIT = "solver(net, X, y, w, batch_size=128)"
# The argument is the start's time, of a clock that all processes share.
PROGRAM = f"""
import json, sys, time
began = time.perf_counter()
{IMPORT}
imported = time.perf_counter()
{PREPARE}
ready = time.perf_counter()
{FIT}
fitted = time.perf_counter()
print(json.dumps({{
    "import": imported - began,
    "import all": ready - began,
    "first fit": fitted - ready,
    "start to trained": time.monotonic() - float(sys.argv[1]),
}}))
"""


def start(cache: str) -> dict[str, float]:
    """Run PROGRAM in a process with this on-disk cache; return its seconds."""
    environment = os.environ | {"NUMBA_CACHE_DIR": cache}
    command = [sys.executable, "-c", PROGRAM, repr(time.monotonic())]
    output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout
    return json.loads(output)


def starts(cold: int, warm: int) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    """Return the seconds of so many starts with an empty cache, and with a filled one."""
    with tempfile.TemporaryDirectory() as folder:
        caches = [os.path.join(folder, str(k)) for k in range(cold)]
        cold_starts = [start(cache) for cache in caches]
        return cold_starts, [start(caches[-1]) for _ in range(warm)]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.start",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--cold", type=int, default=3, help="starts; default: %(default)s")
    parser.add_argument("--warm", type=int, default=7, help="starts; default: %(default)s")
    args = parser.parse_args()
    if min(args.cold, args.warm) < 1:
        parser.error("--cold and --warm must be at least 1")
    cold, warm = starts(args.cold, args.warm)
    rows = (
        ("import fastmlp", warm, "import"),
        ("... and NumPy, Numba, and the solver", warm, "import all"),
        ("first call of the solver, filled cache", warm, "first fit"),
        ("first call of the solver, empty cache", cold, "first fit"),
        ("process start to first batch trained, filled cache", warm, "start to trained"),
        ("process start to first batch trained, empty cache", cold, "start to trained"),
    )
    print(f"{'seconds':52}{'median':>9}{'lowest':>9}{'highest':>9}{'runs':>6}")
    for label, runs, key in rows:
        values = [run[key] for run in runs]
        middle = statistics.median(values)
        print(f"{label:52}{middle:9.3f}{min(values):9.3f}{max(values):9.3f}{len(runs):6}")


if __name__ == "__main__":
    main()
