"""X as a sparse matrix: never made dense as a whole; what is dense does not import SciPy's."""

import numpy as np
import pytest
import scipy.sparse as sp

import fastmlp as fm
from cases import run_child
from cases_runs import MEBIBYTE, peak_of


class Few(fm.callbacks.Callback):
    """Ends a run after some updates."""

    every_n_steps = 3

    def on_steps(self, state):
        return True


@pytest.mark.parametrize("validation", [False, True])
def test_a_wide_matrix_is_never_made_dense(validation, rng):
    """The dense array would take 8 GB; a batch, converted and in the workspace, takes 60 MB."""
    n, n_in, batch_size = 20_000, 50_000, 128
    net = fm.Network([n_in, 4, 2], output="softmax")
    rows, columns = rng.integers(n, size=n), rng.integers(n_in, size=n)
    X = sp.coo_array((rng.standard_normal(n), (rows, columns)), shape=(n, n_in)).tocsr()
    y, w = rng.integers(2, size=n), net.init(rng=0)
    options = {"validation": (X[:50], y[:50]) if validation else None, "callback": Few()}

    def train():
        result = fm.minibatch_sgd(net, X, y, w, batch_size=batch_size, rng=0, **options)
        assert result.nit == 3

    train()
    row_bytes = n_in * 4
    # As float64, as float32, in the workspace (with deltas); some copies of the parameters.
    bound = batch_size * row_bytes * (2 + 1 + 2) + 8 * w.nbytes + 16 * MEBIBYTE
    assert peak_of(train) < bound < n * row_bytes / 20


@pytest.mark.parametrize("name", ["predict", "gradient", "objective", "share"])
def test_passes_take_bounded_memory(name, rng, monkeypatch):
    monkeypatch.setattr("fastmlp.workspace.PASS_BYTES", MEBIBYTE)
    n, n_in = 40_000, 500
    net = fm.Network([n_in, 4, 1])
    X, y, w = sp.random_array((n, n_in), density=1e-3, rng=rng), np.zeros(n), net.init(rng=0)
    X = X.tocsr()
    call = {
        "predict": lambda: net.predict(w, X),
        "gradient": lambda: net.gradient(w, X, y),
        "objective": lambda: fm.gradient_descent(
            fm.Objective(net, X, y, kept_bytes=0), w, max_iter=3
        ),
        "share": lambda: fm.minibatch_sgd(net, X, y, w, validation=0.5, step=1e-9, rng=0),
    }[name]
    call()
    assert peak_of(call) < 24 * MEBIBYTE < n * n_in * 4 / 3


def test_rows_in_csr_format_are_not_copied(rng, monkeypatch):
    """Nor are they to be checked, but for a run at a time."""
    monkeypatch.setattr("fastmlp.validation.CHUNK_NUMBERS", 2**17)
    net = fm.Network([50, 1])
    X = sp.random_array((100_000, 50), density=0.5, rng=rng, format="csr", dtype="f4")
    y = np.zeros(X.shape[0])
    fm.Objective(net, X[:10], y[:10])
    assert peak_of(lambda: fm.Objective(net, X, y)) < 8 * MEBIBYTE < X.data.nbytes
    assert fm.Objective(net, X, y).X.data is X.data


def test_dense_samples_do_not_import_scipy_sparse():
    code = """
import json, sys
import numpy as np
import fastmlp
from fastmlp import validation
net = fastmlp.Network([2, 3, 1])
validation.features(net, np.ones((4, 2)))
print(json.dumps("scipy.sparse" in sys.modules))
"""
    assert run_child("-c", code) is False
