"""Train 784-512-256-10 on MNIST: 98.5 % test accuracy in 20 epochs, without augmentation.

python examples/mnist.py DIR, where DIR holds MNIST's four IDX files, gzipped or not.

Adam with one cycle of step sizes, up to 0.002 and down to almost 0, and dropout of a fifth of the
pixels and of the hidden layers' units. These were chosen by the accuracy that networks trained on
50,000 of the training images had on the other 10,000; the test images played no part in it. With
--validate a run holds out a sixth of the training images likewise, of each digit, and does not open
the test images. Otherwise it trains on all, and reports on the test images.

After the last epoch, seeds 0 to 4 have test accuracies of 98.71, 98.73, 98.79, 98.73 and 98.68 %
(mean 98.73 %, standard deviation 0.04 %). On images held out from training it is 98.55 % (0.13 %).
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
    option = parser.add_argument
    option("folder", metavar="DIR", type=Path, help="where the four IDX files are")
    option("--epochs", type=int, default=20, help="default: %(default)s")
    option("--batch-size", type=int, default=128, help="default: %(default)s")
    option("--step", type=float, default=0.002, help="the largest; default: %(default)s")
    option("--dropout", type=float, default=0.2, help="default: %(default)s")
    option("--seed", type=int, default=0, help="the first one; default: %(default)s")
    option("--seeds", type=int, default=1, help="how many, one after the other")
    option("--validate", action="store_true", help="hold out a sixth of the training images")
    args = parser.parse_args()

    X, y = load(args.folder, "train")
    if args.validate:
        judge, validation, n_train = "validation", 1 / 6, len(X) - round(len(X) / 6)
    else:  # only to report on: nothing is chosen by it, and no epoch preferred
        judge, validation, n_train = "test", load(args.folder, "t10k"), len(X)
    n_updates = args.epochs * -(-n_train // args.batch_size)
    net = fm.Network([784, 512, 256, 10], hidden="relu", output="softmax")

    def report(intermediate_result):
        epoch, history = intermediate_result.n_epochs, intermediate_result.history
        losses = f"{history.loss[-1]:15.4f}{history.validation_loss[-1]:17.4f}"
        accuracy, seconds = history.validation_score[-1], history.seconds[-1]
        print(f"{epoch:5}{losses}{accuracy:21.2%}{seconds:9.2f}", flush=True)

    accuracies = []
    for seed in range(args.seed, args.seed + args.seeds):
        if args.seeds == 1:  # the training loss is with dropout, the other one without
            print(f"epoch  training loss{f'{judge} loss':>17}{f'{judge} accuracy':>21}  seconds")
        result = fm.minibatch_sgd(
            net,
            X,
            y,
            net.init(rng=seed),
            batch_size=args.batch_size,
            rule="adam",
            step=fm.schedules.one_cycle(args.step, n_updates),
            epochs=args.epochs,
            dropout=[args.dropout] * net.n_layers,  # of the inputs too
            validation=validation,
            scoring="accuracy",
            rng=seed,
            callback=report if args.seeds == 1 else None,
        )
        accuracies.append(result.history.validation_score[-1])
        print(f"seed {seed}: {judge} accuracy {accuracies[-1]:.2%}", flush=True)
    if args.seeds > 1:
        mean, spread = np.mean(accuracies), np.std(accuracies, ddof=1)
        least, most = min(accuracies), max(accuracies)
        print(f"mean {mean:.2%}, standard deviation {spread:.2%}, from {least:.2%} to {most:.2%}")


if __name__ == "__main__":
    main()
