"""Kill a training again and again: it ends on the same bits as one that was never stopped.

python examples/resume.py trains a network on synthetic data in a process of its own. That is killed
(SIGKILL) at random moments, a few times, and goes on from its last checkpoint each time. In the end
the parameters are compared with those of a run that was left alone, bit for bit; and it is measured
what checkpoints after each epoch cost that one. The exit code is 1 if any bit differs.

What it comes down to is one line, the same for the first start and for all others:

    fm.minibatch_sgd(net, X, y, w, ..., checkpoint="run.ckpt", resume=True)
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import fastmlp as fm

NET = fm.Network([32, 128, 128, 4], hidden="relu", output="softmax")


def train(n_samples, epochs, **options):
    """Train on noise that another network has labelled, by Adam with dropout."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_samples, 32), np.float32)
    y = NET.predict(NET.init(rng=1), X).argmax(axis=1)
    options = {"rule": "adam", "dropout": 0.1, "rng": 3, "progress": False, **options}
    return fm.minibatch_sgd(
        NET, X, y, NET.init(rng=2), batch_size=64, epochs=epochs, step=1e-3, **options
    )


class Report(fm.callbacks.Callback):
    """Say where the training begins."""

    def on_start(self, state):
        """Tell whoever has started this process."""
        print(f"{state.nit} updates are done", flush=True)


def train_on(folder, n_samples, epochs):
    """Begin, or go on from the last checkpoint; what is learnt goes to a file in the end."""
    kept = fm.Checkpoints(folder / "run.ckpt", every_n_steps=50)
    result = train(n_samples, epochs, checkpoint=kept, resume=True, callback=Report())
    fm.save(folder / "resumed.safetensors", (NET, result.x))


def kill_and_resume(folder, n_samples, epochs, kills, seconds, rng):
    """Have `train_on` done in processes that are killed, but for the last; return how many were."""
    program = [sys.executable, __file__, "--in", folder]
    sizes = ["--samples", str(n_samples), "--epochs", str(epochs)]
    n_killed = 0
    for place in range(kills + 1):
        process = subprocess.Popen([*program, *sizes], stdout=subprocess.PIPE, text=True)
        print(f"process {place + 1}: {process.stdout.readline().rstrip()}", end="", flush=True)
        if place < kills:
            time.sleep(rng.uniform(0, 2 * seconds / (kills + 1)))
            process.kill()
        process.communicate()
        was_killed = process.returncode < 0 or (place < kills and process.returncode == 1)
        n_killed += was_killed
        print(", then it is killed" if was_killed else ", and it comes to its end")
    return n_killed


def compare(plain, kept, repeats=5):
    """Return what both calls return, and the least seconds that each took, in turns."""
    seconds = [np.inf, np.inf]
    for _ in range(repeats):
        results = []
        for k, call in enumerate((plain, kept)):
            began = time.perf_counter()
            results.append(call())
            seconds[k] = min(seconds[k], time.perf_counter() - began)
    return results, seconds


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    option = parser.add_argument
    option("--samples", type=int, default=20_000, help="default: %(default)s")
    option("--epochs", type=int, default=60, help="default: %(default)s")
    option("--kills", type=int, default=4, help="default: %(default)s")
    option("--seed", type=int, help="of the moments to kill at; by default other ones each time")
    option("--in", dest="folder", type=Path, help=argparse.SUPPRESS)  # of the processes to kill
    args = parser.parse_args(arguments)
    if args.folder is not None:
        train_on(args.folder, args.samples, args.epochs)
        return 0

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "each-epoch.ckpt"
        (straight, kept), (seconds, seconds_kept) = compare(
            lambda: train(args.samples, args.epochs),
            lambda: train(args.samples, args.epochs, checkpoint=path),
        )
        size = path.stat().st_size
        rng = np.random.default_rng(args.seed)
        n = kill_and_resume(folder, args.samples, args.epochs, args.kills, seconds, rng)
        _, resumed = fm.load(folder / "resumed.safetensors")
    is_same = straight.x.tobytes() == resumed.tobytes() == kept.x.tobytes()
    bits = "the same bits" if is_same else "OTHER BITS"
    print(f"Killed {n} times, the training has come to {bits} as one that was left alone.")
    print(
        f"That takes {seconds:.2f} s, and {seconds_kept - seconds:.2f} s more with {args.epochs} "
        f"checkpoints of {size / 1e6:.2f} MB."
    )
    return 0 if is_same else 1


if __name__ == "__main__":
    sys.exit(main())
