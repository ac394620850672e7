"""Files with a right digest that make no sense: told as such, in little time and memory."""

import contextlib
import errno
import json
import sys
import tracemalloc
import warnings

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

import fastmlp as fm
from cases_estimators import Y3, X, Y, classifier, regressor
from cases_files import parts, write_raw
from fastmlp import files

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

MODELS = {
    "network": (fm.Network([5, 2, 1]), fm.Network([5, 2, 1]).init(rng=0)),
    "classifier": lambda: classifier(
        solver="sgd",
        learning_rate=fm.schedules.inverse(0.1),
        random_state=np.random.RandomState(0),
        class_weight={"no": 2.0},
    ).fit(X, Y),
    "multiclass": lambda: classifier(solver=fm.rules.Momentum()).fit(X, Y3),
    "regressor": lambda: regressor().fit(X, X[:, :2]),
    "scaled": lambda: regressor(scaling="minmax").fit(X, X[:, :2]),
    "pipeline": lambda: make_pipeline(StandardScaler(), MinMaxScaler(), classifier()).fit(X, Y),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return a folder with a file of each model."""
    folder = tmp_path_factory.mktemp("saved")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, model in MODELS.items():
            fm.save(folder / name, model() if callable(model) else model)
    return folder


def _changed(saved, name, place, value):
    """Write a file as one saved, but for what is at a place of its description or a tensor."""
    about, tensors = parts(saved / name)
    *path, last = place.split("/") if isinstance(place, str) else place
    inside = tensors if path and path[0] == "tensors" else about["content"]
    for one in path:
        if one != "tensors":
            inside = inside[int(one) if isinstance(inside, list) else one]
    if isinstance(inside, list):
        last = int(last)
    else:
        assert last in inside, "a test of nothing"
    inside[last] = value(inside[last]) if callable(value) else value
    changed = saved / f"{name} changed"
    write_raw(changed, about, tensors)
    return changed


WRONG = [
    ("network", "network", None),
    ("network", "network", {"object": "Rule", "name": "SGD"}),
    ("network", "network/object", "dict"),
    ("network", "network/object", "Netzwerk"),
    ("network", "network/object", ["Network"]),
    ("network", "network/widths", [5, 2]),
    ("network", "network/widths", [5, 2, 2]),
    ("network", "network/widths", [5, 0, 1]),
    ("network", "network/widths", [5, 2.0, 1]),
    ("network", "network/widths", [-5, -2, 1]),
    ("network", "network/widths", [10**4000, 10**4000]),
    ("network", "network/widths", [1] * 10**6),
    ("network", "network/hidden", ["relu"] * 2),
    ("network", "network/hidden", ["__class__"]),
    ("network", "network/hidden", [["relu"]]),
    ("network", "network/output", "sofmax"),
    ("network", "network/output", {"$tensor": "parameters"}),
    ("network", "network/loss", "resolve"),
    ("network", "network/loss/name", "custom"),
    ("network", "network/loss/name", "resolve"),
    ("network", "network/loss/name", "math"),
    ("network", "network/loss/name", ["huber"]),
    ("network", "network/bias", "yes"),
    ("network", "network/dtype", "float64"),
    ("network", "network/dtype", "object"),
    ("network", "network/dtype", "a" * 10**6),
    ("network", "parameters", [0.0] * 15),
    ("network", "parameters", None),
    ("network", "parameters", {"$float": "1e5"}),
    ("network", "parameters", {"$tensor": "parameter"}),
    ("network", "parameters", {"$tensor": 5}),
    ("network", "parameters", {"$pickle": "parameters"}),
    ("network", "parameters", {"$tensor": "parameters", "$float": "nan"}),
    ("network", "tensors/parameters", lambda w: w[:-1]),
    ("network", "tensors/parameters", lambda w: w.reshape(1, -1)),
    ("network", "tensors/parameters", lambda w: w.astype("float64")),
    ("network", "tensors/parameters", lambda w: w.astype("int32")),
    ("network", "tensors/parameters", lambda w: w.astype("float16")),
    ("classifier", "class", "LogisticRegression"),
    ("classifier", "class", ["MLPClassifier"]),
    ("classifier", "class", "MLPRegressor"),
    ("classifier", "settings", [1]),
    ("classifier", "settings", {"__class__": 1}),
    ("classifier", "settings/alpha", -1.0),
    ("classifier", "settings/alpha", "much"),
    ("classifier", "settings/n_jobs", "all"),
    ("classifier", "settings/random_state", {"object": "RandomState", "state": None}),
    ("classifier", "settings/random_state/state/state/pos", 625),
    ("classifier", "settings/random_state/state/state/pos", -1),
    ("classifier", "settings/random_state/state/state/pos", True),
    ("classifier", "settings/random_state/state/state/key", []),
    ("classifier", "settings/random_state/state/bit_generator", "PCG64"),
    ("classifier", "settings/learning_rate/name", "__class__"),
    ("classifier", "settings/learning_rate/name", "custom"),
    ("classifier", "settings/learning_rate/name", "resolve"),
    ("classifier", "settings/learning_rate/c", -1.0),
    ("classifier", "settings/class_weight/items", [[["a"], 1.0]]),
    ("classifier", "settings/class_weight/items", [["a"]]),
    ("classifier", "labels", None),
    ("classifier", "labels/kind", "multiclass"),
    ("classifier", "labels/kind", "several"),
    ("classifier", "labels/classes/strings", ["no"] * 2),
    ("classifier", "labels/classes/strings", ["yes", "no"]),
    ("classifier", "labels/classes/strings", ["a", "b", "c"]),
    ("classifier", "labels/classes/strings", [0, 1]),
    ("classifier", "labels/classes/strings", "no"),
    ("classifier", "labels/classes", ["no", "yes"]),
    ("classifier", "feature_names_in", ["a"] * 5),
    ("classifier", "feature_names_in", {"strings": ["a"] * 4, "is_object": True}),
    ("classifier", "optimizer/rule", {"own": "SGD"}),
    ("classifier", "optimizer/rule", {"own": "__class__"}),
    ("classifier", "optimizer/rule/momentum", "0.9"),
    ("classifier", "optimizer/rule", {"object": "Schedule", "name": "constant", "c": 1.0}),
    ("classifier", "optimizer/schedule/c", 10**5000 // 10**1000),
    ("classifier", "optimizer/schedule/c", "0.1"),
    ("classifier", "optimizer/learning_rate", None),
    ("classifier", "optimizer/learning_rate", {"$float": "nan"}),
    ("classifier", "optimizer/no_improvement", -1),
    ("classifier", "optimizer/best", [1.0]),
    ("classifier", "optimizer/state", [1]),
    *(("classifier", "optimizer/state/0", n) for n in (-1, 2**62, 2**80)),
    ("classifier", "optimizer/state/0", {"$float": "inf"}),
    ("classifier", "tensors/optimizer.state.1", lambda v: v[1:]),
    ("classifier", "course", {}),
    ("classifier", "course/n_iter", "5"),
    ("classifier", "course/loss_curve", ["1.0"]),
    ("classifier", "course/loss_curve", {"object": "dict", "items": []}),
    ("multiclass", "labels/kind", "multilabel"),
    ("multiclass", "settings/solver/name", "__class__"),
    ("multiclass", "settings/solver", {"object": "Schedule", "name": "SGD"}),
    ("multiclass", "settings/solver/momentum", 1.0),
    ("multiclass", "optimizer/rule/name", "Adam"),
    ("regressor", "class", "MLPClassifier"),
    ("scaled", "settings/scaling", "robust"),
    ("scaled", "scaling", [0.0] * 10),
    ("scaled", "scaling", {}),
    ("scaled", "scaling/shift", None),
    ("scaled", "scaling/shift", [0.0] * 5),
    ("scaled", "scaling/factor", 1.0),
    ("scaled", "tensors/scaling.shift", lambda a: a[:4]),
    ("scaled", "tensors/scaling.shift", lambda a: a.reshape(1, -1)),
    ("scaled", "tensors/scaling.shift", lambda a: a.astype("float32")),
    ("scaled", "tensors/scaling.shift", lambda a: a * np.nan),
    ("scaled", "tensors/scaling.factor", lambda a: a * np.inf),
    ("scaled", "tensors/scaling.factor", lambda a: a * 0),
    ("scaled", "tensors/scaling.factor", lambda a: -a),
    ("pipeline", "steps", []),
    ("pipeline", "steps", [["a"]]),
    ("pipeline", "steps/0/0", "minmaxscaler"),
    ("pipeline", "steps/0/0", "a__b"),
    ("pipeline", "steps/0/1/class", "FunctionTransformer"),
    ("pipeline", "steps/0/1/settings/with_mean", "no"),
    ("pipeline", "steps/0/1/fitted", {}),
    ("pipeline", "steps/0/1/fitted/n_features_in_", 4),
    ("pipeline", "steps/0/1/fitted/mean_", None),
    ("pipeline", "steps/0/1/fitted/scale_", "1"),
    ("pipeline", "steps/0/1/fitted", {"__class__": 1.0}),
    ("pipeline", "steps/0/1/fitted", {"transform": 1.0}),
    ("pipeline", "steps/0/1/output", "numpy"),
    ("pipeline", "steps/1/1/settings/feature_range", None),
    ("pipeline", "steps/2/1", {"class": "Pipeline"}),
    ("pipeline", "tensors/steps.0.1.fitted.mean_", lambda a: a[:4]),
]


@pytest.mark.parametrize(("name", "place", "value"), WRONG, ids=lambda v: repr(v)[:40])
def test_what_does_not_fit_is_told(saved, name, place, value):
    path = _changed(saved, name, place, value)
    tracemalloc.start()
    try:
        with pytest.raises(fm.FormatError, match=path.name):
            fm.load(path)
        assert tracemalloc.get_traced_memory()[1] < 64 * path.stat().st_size + 2**21
    finally:
        tracemalloc.stop()


def test_only_what_is_tested_differs(saved):
    for name in MODELS:
        about, tensors = parts(saved / name)
        write_raw(saved / "again", about, tensors)
        fm.load(saved / "again")


@pytest.mark.parametrize("version", [2, 10**30])
def test_a_later_version_is_told_beside_ours(saved, version):
    about, tensors = parts(saved / "network")
    about["format"], about["written_by"] = version, "7.8.9"
    write_raw(saved / "later", about, tensors)
    told = rf"format {version}, written by fastmlp 7\.8\.9; fastmlp {fm.__version__} .* up to 1"
    with pytest.raises(fm.FormatError, match=told):
        fm.load(saved / "later")


@pytest.mark.parametrize("version", [None, True, 0, -1, 1.0, "1", [1], {"$tensor": "parameters"}])
def test_no_version_is_told(saved, version):
    about, tensors = parts(saved / "network")
    about["format"] = version
    write_raw(saved / "none", about, tensors)
    with pytest.raises(fm.FormatError, match="does not tell its format"):
        fm.load(saved / "none")


@pytest.mark.parametrize("kind", ["netzwerk", "checkpoint", "", None, ["network"], "x" * 10**6])
def test_an_unknown_kind_is_told(saved, kind):
    about, tensors = parts(saved / "network")
    about["kind"] = kind
    write_raw(saved / "kind", about, tensors)
    with pytest.raises(fm.FormatError) as caught:
        fm.load(saved / "kind")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "description",
    [
        "",
        "nothing",
        "[1]",
        "null",
        '"format"',
        '{"format": 1}',
        '{"format": 1, "kind": "network", "content": []}',
        '{"format": 1, "kind": "network", "content": {}} ...',
        '{"format": 1, "kind": "network", "content": {"network": NaN}}',
        '{"format": 1, "kind": "network", "content": {"network": -Infinity}}',
        '{"format": 1, "kind": "network", "kind": "network", "content": {}}',
        '{"format": 1, "kind": "network", "content": {"a": 1, "a": 1}}',
        f'{{"format": {"9" * 5000}, "kind": "network", "content": {{}}}}',
        f'{{"format": 1, "kind": "network", "content": {{"network": {"9" * 5000}}}}}',
        f'{{"format": 1, "kind": "network", "content": {{"network": {"9" * 4000}}}}}',
        '{"format": 1, "kind": "network", "content": ' + "[" * 10**5 + "]" * 10**5 + "}",
        '{"format": 1, "kind": "network", "content": ' + '{"a":' * 10**5 + "1" + "}" * 10**5 + "}",
        '{"format": 1, "kind": "network", "content": {"a":' + "[" * 100 + "]" * 100 + "}}",
        '{"format": 1, "kind": "network", "content": {"$tuple": []}}',
        '{"format": 1, "kind": "estimator", "content": {"class": "\\ud800"}}',
    ],
    ids=lambda text: text[:60],
)
def test_descriptions_that_are_none_are_refused(tmp_path, description):
    write_raw(tmp_path / "file", description, {})
    with pytest.raises(fm.FormatError, match="file"):
        fm.load(tmp_path / "file")


@pytest.mark.parametrize("depth", [40, 60, 64, 65, 100, 320, 470])
def test_nests_that_can_be_parsed_do_not_exhaust_the_stack(saved, depth):
    nested = {"object": "Schedule", "name": "inverse", "c": 0.1}
    for _ in range(depth):
        nested = {"object": "Schedule", "name": "warm_up", "schedule": nested, "n_steps": 1}
    path = _changed(saved, "classifier", "settings/learning_rate", nested)
    try:
        loaded = fm.load(path)
    except fm.FormatError:
        assert depth > 50
    else:
        assert len(repr(loaded)) > 0
        loaded.predict(X)


def test_a_nest_too_deep_to_be_read_is_not_written(tmp_path):
    rate = fm.schedules.inverse(0.1)
    for _ in range(100):
        rate = fm.schedules.warm_up(rate, n_steps=1)
    fitted = classifier(learning_rate=rate).fit(X, Y)
    with pytest.raises(ValueError, match="nested too deeply"):
        fm.save(tmp_path / "model", fitted)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("beyond", [False, True])
def test_what_safetensors_would_not_read_is_not_written(tmp_path, beyond):
    path, text = tmp_path / "file", "x" * (files.MOST_HEADER_BYTES - 1000)
    files.write(path, "text", {"text": ""})
    before = path.read_bytes()
    if beyond:
        with pytest.raises(OSError, match="more than safetensors reads") as caught:
            files.write(path, "text", {"text": text + "x" * 1000})
        assert caught.value.errno == errno.EFBIG
        assert path.read_bytes() == before
    else:
        files.write(path, "text", {"text": text})
        assert files.read(path)[1] == {"text": text}


def test_one_long_label_among_many_takes_no_more_memory_than_it_is(saved):
    """An array of fixed-width strings would take 400 GB."""
    about, tensors = parts(saved / "multiclass")
    strings = [f"{i:06d}" for i in range(10**5)] + ["z" * 10**6]
    n = len(strings)
    content = about["content"]
    content["network"].update(widths=[1, n], hidden=[], bias=False)
    content["labels"]["classes"] = {"strings": strings, "is_object": False}
    content["optimizer"] = None
    tensors = {"parameters": np.zeros(n)}
    path = saved / "bomb"
    write_raw(path, about, tensors)
    tracemalloc.start()
    try:
        loaded = fm.load(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 * path.stat().st_size
    assert loaded.classes_[-1] == strings[-1]
    assert loaded.predict(X[:1, :1]).tolist() == ["000000"]


def test_long_labels_that_are_all_long_keep_their_dtype(tmp_path):
    labels = np.array(["a" * 400_000, "b" * 400_000, "c" * 400_000])
    fitted = classifier().fit(X, labels[np.arange(len(X)) % 3])
    fm.save(tmp_path / "model", fitted)
    assert fm.load(tmp_path / "model").classes_.dtype == fitted.classes_.dtype


@pytest.mark.parametrize(
    "filling", ["[]", "{}", '""', "1.5", '{"a":1}', '{"$tuple":[]}', '{"object":"dict","items":[]}']
)
def test_long_descriptions_take_little_memory(saved, filling):
    about, tensors = parts(saved / "classifier")
    about["content"]["settings"]["callbacks"] = "here"
    listed = ",".join([filling] * (300_000 // len(filling)))
    path = saved / "long"
    write_raw(path, json.dumps(about).replace('"here"', f"[{listed}]"), tensors)
    tracemalloc.start()
    try:
        with contextlib.suppress(fm.FormatError):  # where an object has no name
            fm.load(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    print(f"{peak / path.stat().st_size:.0f} times the size of the file", file=sys.stderr)
    assert peak < 64 * path.stat().st_size


@pytest.mark.parametrize("generator", [np.random.MT19937, np.random.Philox])
@pytest.mark.parametrize("place", [-1, 10**6])
def test_generators_do_not_go_on_from_beyond_their_buffers(tmp_path, generator, place):
    """NumPy reads there, which ends the process, or gives numbers that nobody has drawn."""
    net, path = fm.Network([5, 1]), tmp_path / "run"

    def run(epochs, **how):
        rng = np.random.Generator(generator(3))
        y = X[:, :1]
        return fm.minibatch_sgd(net, X, y, net.init(rng=0), epochs=epochs, rng=rng, **how)

    run(1, checkpoint=path)
    about, tensors = parts(path)
    start = about["content"]["start"]
    start.update(buffer_pos=place) if "buffer_pos" in start else start["state"].update(pos=place)
    write_raw(path, about, tensors)
    with pytest.raises(fm.FormatError, match=f"^{path}: the state of a random generator has a wro"):
        run(2, resume=path)


@pytest.mark.parametrize("generator", [np.random.MT19937, np.random.PCG64, np.random.PCG64DXSM])
def test_generators_do_not_give_zeros_for_ever(tmp_path, generator):
    """NumPy would wait for another number, in vain."""
    net, path = fm.Network([5, 1]), tmp_path / "run"

    def run(epochs, **how):
        rng = np.random.Generator(generator(3))
        return fm.minibatch_sgd(
            net, X, X[:, :1], net.init(rng=0), epochs=epochs, order="replacement", rng=rng, **how
        )

    run(1, checkpoint=path)
    about, tensors = parts(path)
    state = about["content"]["run"]["order"]["rng"]["state"]
    state.update({name: 0 for name in ("state", "inc") if name in state})
    tensors |= {name: np.zeros_like(tensors[name]) for name in tensors if name.endswith(".key")}
    write_raw(path, about, tensors)
    with pytest.raises(fm.FormatError, match=r"random generator has a wrong (inc|key)"):
        run(2, resume=path)


@pytest.mark.parametrize("where", ["start", "order"])
def test_fits_do_not_go_on_from_beyond_a_buffer(tmp_path, where):
    path = tmp_path / "fit"
    classifier(max_iter=1).fit(X, Y, checkpoint=path)
    about, tensors = parts(path)
    content = about["content"]
    held = content["start"] if where == "start" else content["run"]["order"]["random_state"]
    held["state"]["pos"] = 10**6
    write_raw(path, about, tensors)
    with pytest.raises(fm.FormatError, match="random generator has a wrong pos"):
        classifier().fit(X, Y, resume=path)
