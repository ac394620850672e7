"""The package from outside: imports, names, docstrings, threads and forks, memory."""

import doctest
import importlib
import importlib.metadata
import importlib.resources
import inspect
import os
import re
from itertools import pairwise

import numba
import numpy as np
import pytest

import fastmlp as fm
from cases import run_child
from cases_runs import MEBIBYTE, peak_of
from fastmlp import workspace
from fastmlp.solvers import orders, samples, trainers

HEAVY = ("numba", "numpy", "scipy", "sklearn", "matplotlib", "typer", "rich", "tqdm", "torch")
TRAIN = """
import numpy as np
net = fastmlp.Network([2, 3, 1])
w = net.init(rng=0)
fastmlp.sgd(net, np.ones((4, 2)), np.ones(4), w, rng=0)
fastmlp.minibatch_sgd(net, np.ones((4, 2)), np.ones(4), w, step=fastmlp.schedules.inverse(1))
net.predict(w, np.ones((4, 2))); net.gradient(w, np.ones((4, 2)), np.ones(4))
"""


def imported_by(code):
    """Return which of the heavy packages a process has imported after running the code."""
    report = f"\nimport json, sys\nprint(json.dumps([n for n in {HEAVY} if n in sys.modules]))"
    return set(run_child("-c", code + report))


# Imports -------------------------------------------------------------------------------------


def test_importing_it_imports_next_to_nothing():
    assert imported_by("import fastmlp; dir(fastmlp); fastmlp.__version__") == set()


def test_training_does_not_import_what_it_does_not_need():
    assert not imported_by("import fastmlp" + TRAIN) & {
        "sklearn", "matplotlib", "typer", "rich", "torch",
    }  # fmt: skip


def test_reading_files_does_not_import_numba():
    assert not imported_by("import fastmlp; fastmlp.sources.load_idx") & {"numba", "scipy"}


@pytest.mark.parametrize("name", fm.__all__)
def test_each_name_alone(name):
    """Whichever is asked for first, the imports do not go round in circles."""
    code = f"import json, fastmlp; x = fastmlp.{name}; from fastmlp import {name} as y"
    assert run_child("-c", f"{code}; print(json.dumps(x is y))") is True


# Names ---------------------------------------------------------------------------------------


def test_names():
    assert {"Network", "sgd", "minibatch_sgd", "schedules", "sources"} <= {*fm.__all__}
    assert fm.__all__ == sorted(fm.__all__)
    for name in fm.__all__:
        assert name in dir(fm)
        assert getattr(fm, name) is getattr(fm, name)
    everything = {}
    exec("from fastmlp import *", everything)
    assert {*fm.__all__} <= {*everything}


def test_names_are_listed_before_they_are_used():
    code = "import json, fastmlp; print(json.dumps(dir(fastmlp)))"
    listed = run_child("-c", code)
    assert {*fm.__all__, "__version__", "__doc__"} <= {*listed}
    assert listed == sorted(listed)


@pytest.mark.parametrize("name", ["network_", "SGD", "__path", "Networks"])
def test_unknown_name(name):
    with pytest.raises(AttributeError, match=rf"module 'fastmlp' has no attribute '{name}'"):
        getattr(fm, name)
    assert not hasattr(fm, name)


def test_version():
    assert fm.__version__ == importlib.metadata.version("fastmlp")
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?(\.dev\d+)?", fm.__version__)


def test_types_are_marked():
    assert importlib.resources.files("fastmlp").joinpath("py.typed").is_file()


# Docstrings ----------------------------------------------------------------------------------


def public():
    """Yield (name, object) of everything that users call or read about."""
    for name in fm.__all__:
        thing = getattr(fm, name)
        yield name, thing
        owned = inspect.ismodule(thing)
        if not (owned or inspect.isclass(thing)):
            continue
        for inner in getattr(thing, "__all__", ()) if owned else ():
            getattr(thing, inner)  # where names are loaded at first use
        for inner, member in vars(thing).items():
            if inner.startswith("_"):
                continue
            kind = inspect.isfunction(member) or isinstance(member, property)
            if kind and (not owned or member.__module__.startswith(thing.__name__)):
                yield f"{name}.{inner}", member


PUBLIC = dict(public())
CALLABLE = {
    name: thing
    for name, thing in PUBLIC.items()
    if callable(thing) and not (isinstance(thing, type) and issubclass(thing, Exception))
}


def test_what_is_public():
    assert {"sgd", "Network.init", "Network.n_params", "sources.load_idx"} <= {*PUBLIC}
    assert "schedules.inverse" in PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_docstring(name):
    """A summary of one line that ends with a period; sections underlined as numpydoc has them."""
    lines = inspect.getdoc(PUBLIC[name]).splitlines()
    assert lines[0].endswith("."), lines[0]
    assert len(lines) == 1 or lines[1] == ""
    for title, line in pairwise(lines):
        if line and set(line) == {"-"}:
            assert len(line) == len(title)
            assert title in (
                "Parameters", "Attributes", "Returns", "Yields", "Raises", "Warns", "See Also",
                "Notes", "References", "Examples",
            )  # fmt: skip


@pytest.mark.parametrize("name", CALLABLE)
def test_docstring_names_every_parameter(name):
    doc = inspect.getdoc(CALLABLE[name])
    asked = [p for p in inspect.signature(CALLABLE[name]).parameters if p != "self"]
    if re.search(r"Parameters are those of `\w+`", doc) or not asked:
        return
    section = re.search(r"\nParameters\n-+\n(.*?)(\n\n\w[\w ]*\n-+\n|\Z)", doc, re.DOTALL).group(1)
    described = re.findall(r"^\**(\w+(?:, \w+)*)(?= :|$)", section, re.MULTILINE)
    assert sorted(", ".join(described).split(", ")) == sorted(asked)


@pytest.mark.parametrize("name", [name for name in CALLABLE if name[0].islower()])
def test_docstring_says_what_is_returned(name):
    if inspect.signature(CALLABLE[name]).return_annotation not in (None, "None"):
        doc = inspect.getdoc(CALLABLE[name])
        assert re.search(r"\nReturns\n-------\n", doc) or doc.startswith("Return ")


@pytest.mark.parametrize(
    "module",
    [
        "network", "losses", "objective", "curve", "solvers.gradient_descent",
        "sources.moments", "sources.scaling",
    ],
)  # fmt: skip
def test_examples_in_docstrings(module):
    results = doctest.testmod(importlib.import_module(f"fastmlp.{module}"))
    assert results.attempted >= 4
    assert results.failed == 0


# Threads and forks, where a batch is done in blocks ------------------------------------------

BLOCKWISE = """
import json, os, sys, threading
import numpy as np
import fastmlp
from fastmlp.solvers import trainers

trainers.LONGEST_SECONDS = -1
net = fastmlp.Network([400, 400, 10], output="softmax")
rng = np.random.default_rng(0)
X, y, w = rng.normal(size=(512, 400)), rng.integers(10, size=512), net.init(rng=0)

def train():
    return fastmlp.minibatch_sgd(net, X, y, w, batch_size=256, rng=0, epochs=20).x.tobytes()

expected = train()
"""
IN_THREADS = """
found = []
threads = [threading.Thread(target=lambda: found.append(train())) for _ in range(3)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(json.dumps([bits == expected for bits in found]))
"""
IN_A_FORK = """
child = os.fork()
if child == 0:
    os._exit(0 if train() == expected else 1)
print(json.dumps([os.waitpid(child, 0)[1] == 0]))
"""


@pytest.mark.parametrize("layer", ["omp", "workqueue"])
@pytest.mark.parametrize("code", [IN_THREADS, IN_A_FORK], ids=["threads", "fork"])
def test_blocks_in_threads_and_forks(code, layer):
    if code is IN_A_FORK and not hasattr(os, "fork"):
        pytest.skip("needs os.fork")
    environment = {"NUMBA_THREADING_LAYER": layer, "PYTHONWARNINGS": "ignore"}
    assert all(run_child("-c", BLOCKWISE + code, **environment))


# Memory --------------------------------------------------------------------------------------


def calls(net, w, X, y):
    return {
        "sgd": lambda: fm.sgd(net, X, y, w, epochs=2, step=1e-9),
        "minibatch_sgd": lambda: fm.minibatch_sgd(net, X, y, w, epochs=2, step=1e-9),
        "one batch": lambda: fm.minibatch_sgd(net, X, y, w, batch_size=len(X), step=1e-9),
        "predict": lambda: net.predict(w, X),
        "gradient": lambda: net.gradient(w, X, y),
        "loss": lambda: net.loss(w, X, y),
        "objective": lambda: fm.Objective(net, X, y).value_and_gradient(w),
        "curve": lambda: fm.Objective(net, X, y, kept_bytes=0).along(w, w).derivative(0.1),
    }


NAMES = [
    "sgd", "minibatch_sgd", "one batch", "predict", "gradient", "loss", "objective", "curve",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("dtype", "n"), [("f8", 8_000), ("u1", 64_000), (">f4", 16_000)])
def test_a_memory_map_is_never_copied_whole(name, dtype, n, tmp_path, monkeypatch):
    """A block of rows, of X's dtype, converted, and in the workspace; a shuffled order is short."""
    monkeypatch.setattr(workspace, "BLOCK_BYTES", MEBIBYTE)
    monkeypatch.setattr(workspace, "PASS_BYTES", MEBIBYTE)
    n_features, rows = 1000, workspace.FEWEST_ROWS
    net = fm.Network([n_features, 4, 1])
    X = np.memmap(tmp_path / "X", dtype, "w+", shape=(n, n_features))  # a file of holes
    y, w = np.zeros(n), net.init(rng=0)
    calls(net, w, X[:300], y[:300])[name]()
    peak = peak_of(calls(net, w, X, y)[name])
    block = rows * n_features * (X.itemsize + 2 * 4)
    converted = samples.CONVERTED_BYTES * (1 + X.itemsize / 4)
    order = 2 * 8 * min(n, orders.LONGEST_PERMUTATION)
    predictions = 2 * 4 * n
    bound = 2 * block + converted + order + predictions + 2 * MEBIBYTE
    assert peak < bound < X.nbytes / 2


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("in_blocks", [False, True])
def test_copies_of_the_parameters(name, in_blocks, monkeypatch):
    """What is trained, and the gradient of a batch too slow to be done at once.

    An objective: w, its gradient and what it remembers of it. A curve: w, d, and where it is at.
    """
    if in_blocks:
        monkeypatch.setattr(trainers, "LONGEST_SECONDS", -1)
    net = fm.Network([1000, 4000], loss="squared_error")
    w, X, y = net.init(rng=0), np.zeros((50, 1000), "f4"), np.zeros((50, 4000), "f4")
    call = calls(net, w, X, y)[name]
    call()
    copies = {"predict": 0, "loss": 0, "gradient": 1, "sgd": 1, "objective": 3, "curve": 4}
    copies = copies.get(name, 1 + in_blocks)
    workspaces = (2 if name == "curve" else 1) * 50 * (
        1000 + 4000
    ) * 2 * 4 + 2 * MEBIBYTE * numba.config.NUMBA_NUM_THREADS
    assert peak_of(call) < copies * w.nbytes + workspaces + 2 * MEBIBYTE
