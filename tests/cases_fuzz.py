"""Files at random: those that are damaged, and those made up with a right digest."""

import contextlib
import copy

import numpy as np
from hypothesis import strategies as st

import fastmlp as fm
from cases_estimators import Y3, X, classifier, regressor
from cases_files import model_of, parts, write_raw

# What an attacker, or an accident, might put anywhere: types, sizes, names that mean something.
WORDS = (
    "", "a", "relu", "softmax", "sigmoid", "float64", "object", "name", "huber", "custom", "dict",
    "Network", "Rule", "Schedule", "Loss", "RandomState", "Adam", "warm_up", "inverse", "network",
    "estimator", "pipeline", "checkpoint", "MLPClassifier", "StandardScaler", "__class__",
    "$tensor", "$float", "$tuple", "parameters", "nan", "\ud800", "x" * 1000, "balanced", "all",
)  # fmt: skip
NUMBERS = (0, 1, 2, 3, 5, -1, 255, 2**31, 2**63, 2**64, -(2**63), 10**30, 10**400)
FLOATS = (0.0, -0.0, 0.5, -1.0, 1e-320, 1e300)
DTYPES = ("bool", "uint8", "int8", "int32", "int64", "uint64", "float16", "float32", "float64")
CHANGES = ("value", "value", "value", "delete", "key", "copy", "array")
MODELS = ("network", "classifier", "multilabel", "regressor", "pipeline", "run", "descent", "fit")


def save_all(folder):
    """Write a file of each of MODELS."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    classifier(scaling="standard").fit(X, Y3, checkpoint=folder / "fit")
    net = fm.Network([5, 3, 2], hidden="tanh", loss=fm.losses.huber(0.5), dtype="float64")
    w = net.init(rng=0)
    fm.save(folder / "network", (net, w))
    own = classifier(
        solver=fm.rules.Adam(),
        learning_rate=fm.schedules.warm_up(fm.schedules.cosine(0.1, period=3), n_steps=2),
        random_state=np.random.RandomState(0),
        class_weight={"a": 2.0},
    )
    fm.save(folder / "classifier", own.fit(X, Y3))
    fm.save(folder / "multilabel", classifier(solver="sgd").fit(X, (X[:, :3] > 0).astype(int)))
    fm.save(
        folder / "regressor", regressor(hidden_layer_sizes=(), scaling="minmax").fit(X, X[:, 0])
    )
    fm.save(folder / "pipeline", make_pipeline(StandardScaler(), MinMaxScaler(), own).fit(X, Y3))
    how = {"rng": 0, "epochs": 2, "dropout": 0.1, "checkpoint": folder / "run"}
    fm.minibatch_sgd(net, X, X[:, :2], w, rule="adam", batch_size=20, **how)
    objective = fm.Objective(net, X, X[:, :2])
    fm.gradient_descent(objective, w, max_iter=3, checkpoint=folder / "descent")


def leaves(tree, path=()):
    """Return the places in a tree, as tuples of keys."""
    items = ()
    if isinstance(tree, dict):
        items = tree.items()
    elif isinstance(tree, list):
        items = enumerate(tree)
    return [path, *(place for key, one in items for place in leaves(one, (*path, key)))]


def arrays():
    shapes = st.lists(st.integers(0, 30), max_size=3).filter(lambda s: np.prod(s) < 5000)
    return st.builds(lambda shape, dtype: np.ones(shape, dtype), shapes, st.sampled_from(DTYPES))


def jsons(names):
    """Return a strategy of what JSON can hold, references to tensors among them."""
    plain = st.one_of(
        st.none(),
        st.booleans(),
        st.sampled_from(NUMBERS),
        st.sampled_from(FLOATS),
        st.sampled_from(WORDS),
        st.sampled_from([{"$tensor": name} for name in names]),
        st.sampled_from([{"$float": "nan"}, {"$float": "inf"}, {"$float": "-inf"}]),
    )
    keys = st.sampled_from(WORDS)
    return st.recursive(
        plain,
        lambda inner: st.one_of(
            st.lists(inner, max_size=4),
            st.dictionaries(keys, inner, max_size=4),
            st.lists(inner, max_size=3).map(lambda listed: {"$tuple": listed}),
        ),
        max_leaves=6,
    )


def mutate(data, about, tensors):
    """Change a description and its tensors at random places, most often one."""
    for _ in range(data.draw(st.sampled_from([1, 1, 1, 2, 4]))):
        what = data.draw(st.sampled_from(CHANGES))
        places = [place for place in leaves(about) if place]
        *path, last = data.draw(st.sampled_from(places))
        inside = about
        for one in path:
            inside = inside[one]
        if what == "array" and tensors:
            _mutate_array(data, tensors)
        elif what == "delete":
            del inside[last]
        elif what == "copy":
            inside[last] = copy.deepcopy(_at(about, data.draw(st.sampled_from(places))))
        elif what == "key" and isinstance(inside, dict):
            inside[data.draw(st.sampled_from(WORDS))] = data.draw(jsons(sorted(tensors) or ["a"]))
        else:
            inside[last] = data.draw(jsons(sorted(tensors) or ["a"]))
        if not leaves(about)[1:]:
            return


def _at(tree, path):
    for one in path:
        tree = tree[one]
    return tree


def _mutate_array(data, tensors):
    name = data.draw(st.sampled_from(sorted(tensors)))
    tensor = tensors[name]
    kind = data.draw(st.sampled_from(["dtype", "shape", "length", "value", "other"]))
    if kind == "dtype":
        with np.errstate(all="ignore"):
            tensors[name] = tensor.astype(data.draw(st.sampled_from(DTYPES)))
    elif kind == "shape":
        tensors[name] = tensor.reshape(data.draw(st.sampled_from([(-1, 1), (1, -1), (-1,)])))
    elif kind == "length":
        tensors[name] = np.resize(tensor, data.draw(st.integers(0, 200)))
    elif kind == "value" and tensor.size:
        changed = tensor.copy()
        odd = (np.nan, np.inf, 1e300) if changed.dtype.kind == "f" else (0, 1, 7)
        with np.errstate(all="ignore"):
            changed.flat[data.draw(st.integers(0, changed.size - 1))] = data.draw(
                st.sampled_from(odd)
            )
        tensors[name] = changed
    else:
        tensors[name] = data.draw(arrays())


def make_up(data, good, path):
    """Write a file like a good one, but for some changes, with a right digest."""
    about, tensors = parts(good)
    mutate(data, about, tensors)
    if data.draw(st.booleans()):  # so that what is not named does not end it all
        named = {one["$tensor"] for one in _references(about) if isinstance(one["$tensor"], str)}
        tensors = {name: one for name, one in tensors.items() if name in named}
    write_raw(path, about, tensors)


def _references(tree):
    places = (_at(tree, place) for place in leaves(tree))
    return [one for one in places if isinstance(one, dict) and "$tensor" in one]


def damage(data, content):
    """Return bytes with some of them lost, flipped, replaced or put in."""
    damaged = bytearray(content)
    for _ in range(data.draw(st.sampled_from([1, 1, 2, 5]))):
        kind = data.draw(st.sampled_from(["cut", "flip", "replace", "insert", "length"]))
        place = data.draw(st.integers(0, max(0, len(damaged) - 1)))
        some = data.draw(st.binary(min_size=1, max_size=8))
        if kind == "cut":
            del damaged[place:]
        elif kind == "flip" and damaged:
            damaged[place] ^= 1 << (some[0] % 8)
        elif kind == "replace":
            damaged[place : place + len(some)] = some
        elif kind == "insert":
            damaged[place:place] = some
        else:
            damaged[: len(some)] = some
    return bytes(damaged)


def load(path):
    """Load a file that may be anything; return the model or None."""
    try:
        return fm.load(path)
    except fm.FormatError:
        return None


def use(model):
    """Do what any model that was loaded has to stand."""
    predict, n_features = model_of(model)
    repr(model)
    with contextlib.suppress(ValueError):  # for numbers that are not finite, and the like
        predict(np.zeros((2, n_features)))
