"""Write model files and checkpoints of this version into the archive, for all later ones to read.

Run as ``python tests/archive/write.py``. What is here must not change while files of it are in the
archive, for checkpoints are gone on with from the same data and settings: add, under new names.
All data are exact arithmetic, the same on every computer.
"""

import hashlib
import json
import sys
import warnings
from pathlib import Path

import numpy as np

import fastmlp as fm

FOLDER = Path(__file__).parent
MOST_BYTES = 8000


def numbers(shape, first=0):
    """Return multiples of 1/256 between -2 and 2, in no order that shows."""
    k = np.arange(first, first + np.prod(shape)).reshape(shape)
    return (k * 7919 % 1009 - 504) / 256


X, NEW_X = numbers((40, 4)), numbers((7, 4), first=5000)
SUM = X.sum(axis=1)
LABELS = np.array(["möglich", "nein", "so weit"])[np.digitize(SUM, [-1, 1])]
TARGETS = X[:, 0] * X[:, 1] - X[:, 2]
NET = fm.Network([4, 6, 3], hidden="tanh", output="softmax", dtype="float64")
NET32 = fm.Network([4, 5, 2], hidden=["relu"], loss=fm.losses.huber(0.5), bias=False)


def weights(net):
    """Return parameters to start from."""
    return (numbers(net.n_params, first=333) / 4).astype(net.dtype)


def minibatch_sgd(**how):
    """Run, or go on with, Adam with dropout."""
    return fm.minibatch_sgd(
        NET32, X, X[:, :2], weights(NET32), rule="adam", step=fm.schedules.inverse_power(0.05),
        batch_size=8, epochs=3, dropout=0.2, rng=5, **how,
    )  # fmt: skip


def gradient_descent(**how):
    """Run, or go on with, Nesterov's accelerated gradients."""
    objective = fm.Objective(NET, X, np.digitize(SUM, [-1, 1]), l2=0.01)
    return fm.gradient_descent(
        objective, weights(NET), direction="nesterov", line_search=0.1, max_iter=10, tol=0.0, **how
    )


RUNS = {"minibatch_sgd.ckpt": minibatch_sgd, "gradient_descent.ckpt": gradient_descent}


def models():
    """Return models by the names of their files."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import RobustScaler, StandardScaler

    how = {"hidden_layer_sizes": (5,), "max_iter": 8}
    several = (X[:, :3] > 0).astype(int)
    classifier = fm.MLPClassifier(random_state=np.random.RandomState(1), **how)
    schedule = fm.schedules.warm_up(fm.schedules.cosine(0.1, period=9), n_steps=2)
    regressor = fm.MLPRegressor(solver="sgd", learning_rate=schedule, random_state=2, **how)
    pipeline = make_pipeline(
        StandardScaler(), RobustScaler(), fm.MLPClassifier(solver="rmsprop", random_state=3, **how)
    )
    multilabel = fm.MLPClassifier(solver=fm.rules.Nesterov(), random_state=4, **how)
    return {
        "network.safetensors": (NET, weights(NET)),
        "network32.safetensors": (NET32, weights(NET32)),
        "classifier.safetensors": classifier.fit(X.astype(np.float32), LABELS),
        "regressor.safetensors": regressor.fit(X, TARGETS),
        "multilabel.safetensors": multilabel.fit(X, several),
        "pipeline.safetensors": pipeline.fit(X, SUM > 0),
    }


def write_checkpoints(folder):
    """Write a checkpoint of the middle of an epoch, and one of a descent's eighth iteration."""
    path = folder / "running"
    minibatch_sgd(checkpoint=fm.Checkpoints(path, every=None, every_n_steps=7, keep=3))
    (folder / "running.2").rename(folder / "minibatch_sgd.ckpt")  # 7 of 15 updates
    gradient_descent(checkpoint=fm.Checkpoints(path, every=4, keep=2))
    (folder / "running.1").rename(folder / "gradient_descent.ckpt")
    for left in folder.glob("running*"):
        left.unlink()


def parameters_of(model):
    """Return the parameters of what `fastmlp.load` returns."""
    if isinstance(model, tuple):
        return model[1]
    return (model[-1] if hasattr(model, "steps") else model).parameters_


def predictions_of(model):
    """Return what a model makes of samples that it has not seen."""
    if isinstance(model, tuple):
        return model[0].predict(model[1], NEW_X)
    return model.predict_proba(NEW_X) if hasattr(model, "predict_proba") else model.predict(NEW_X)


def digest(parameters):
    """Return a digest of parameters and their dtype."""
    return f"{parameters.dtype.str} {hashlib.sha256(parameters.tobytes()).hexdigest()}"


def expected_of(path):
    """Return what later versions shall find in a file."""
    model = fm.load(path)
    expected = {
        "parameters": digest(parameters_of(model)), "predictions": predictions_of(model).tolist(),
    }  # fmt: skip
    classes = getattr(model, "classes_", None)
    if classes is not None:
        expected["classes"] = classes.tolist()
    if path.name in RUNS:
        result = RUNS[path.name](resume=path)
        expected["end"] = {"x": result.x.tolist(), "fun": result.fun, "nit": result.nit}
    return expected


def write(folder):
    """Write the files, and `expected.json` beside them; raise where the folder is there."""
    folder.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the fits are short
        for name, model in models().items():
            fm.save(folder / name, model)
        write_checkpoints(folder)
        paths = sorted(folder.iterdir())
        expected = {path.name: expected_of(path) for path in paths}
    large = [path.name for path in paths if path.stat().st_size > MOST_BYTES]
    if large:
        sys.exit(f"more than {MOST_BYTES} bytes: {large}")
    text = json.dumps(expected, indent=1, ensure_ascii=False)
    (folder / "expected.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        write(FOLDER / fm.__version__)
    except FileExistsError as error:
        sys.exit(f"{error.filename} is there: what has been released stays as it is")
