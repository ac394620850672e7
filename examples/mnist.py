"""Train 784-256-128-10 on MNIST by plain mini-batch SGD; 98 % test accuracy within 10 epochs.

python examples/mnist.py DIR, where DIR holds MNIST's four IDX files, gzipped or not.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

import fastmlp as fm
from fastmlp.sources import load_idx


def load(folder, part):
    """Return the images of "train" or "t10k" as rows in [0, 1], and their labels."""
    arrays = []
    for name in (f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"):
        found = [path for path in (folder / name, folder / f"{name}.gz") if path.is_file()]
        if not found:
            sys.exit(f"There is no {name} or {name}.gz in {folder}, which should hold MNIST.")
        arrays.append(load_idx(found[0]))
    images, labels = arrays
    return images.reshape(len(images), -1).astype(np.float32) / 255, labels.astype(np.int64)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="where the four IDX files are")
    parser.add_argument("--epochs", type=int, default=10, help="default: %(default)s")
    parser.add_argument("--batch-size", type=int, default=32, help="default: %(default)s")
    parser.add_argument(
        "--step",
        type=float,
        default=0.3,
        help="the first step size, from where it falls linearly to 0; default: %(default)s",
    )
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    args = parser.parse_args()

    X, y = load(args.folder, "train")
    X_test, y_test = load(args.folder, "t10k")
    net = fm.Network([784, 256, 128, 10], hidden="relu", output="softmax")
    n_updates = args.epochs * -(-len(X) // args.batch_size)

    def accuracy(w):
        return np.mean(net.predict(w, X_test).argmax(axis=1) == y_test)

    def report(intermediate_result):
        epoch, history = intermediate_result.n_epochs, intermediate_result.history
        loss, seconds = history.loss[-1], history.seconds[-1]
        reached = accuracy(intermediate_result.x)
        print(f"{epoch:5}{loss:15.4f}{reached:15.2%}{seconds:9.2f}", flush=True)

    print("epoch  training loss  test accuracy  seconds")
    result = fm.minibatch_sgd(
        net,
        X,
        y,
        net.init(rng=args.seed),
        batch_size=args.batch_size,
        step=lambda k: args.step * (1 - k / n_updates),
        epochs=args.epochs,
        rng=args.seed,
        callback=report,
    )
    print(f"{result.message} Test accuracy: {accuracy(result.x):.2%}")


if __name__ == "__main__":
    main()
