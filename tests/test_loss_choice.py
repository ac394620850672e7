"""Losses as values, their parameters, and the outputs they go with."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fastmlp as fm
from cases import problem, run_child
from fastmlp import losses

# A value among values ------------------------------------------------------------------------

LOSSES = [
    *map(losses.resolve, ["squared_error", "absolute_error", "log_cosh", "hinge", "poisson"]),
    losses.huber(), losses.huber(0.3), losses.quantile(), losses.quantile(0.9),
    losses.cross_entropy(), losses.cross_entropy(0.1), losses.cross_entropy(label_smoothing=1),
    losses.binary_cross_entropy(), losses.binary_cross_entropy(0.1),
]  # fmt: skip


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_repr_and_copies_are_equal(loss):
    names = {**vars(losses), "Network": fm.Network}
    net = fm.Network([3, 2], loss=loss)
    for thing in (loss, net):
        copies = eval(repr(thing), names), pickle.loads(pickle.dumps(thing)), copy.deepcopy(thing)
        for twin in copies:
            assert twin == thing
            assert hash(twin) == hash(thing)
            assert repr(twin) == repr(thing)
    assert net.loss_function == loss
    assert net.loss_name == loss.name
    assert losses.resolve(loss) is loss


def test_losses_differ():
    assert len(set(LOSSES)) == len(LOSSES)
    assert len({fm.Network([3, 2], loss=loss) for loss in LOSSES}) == len(LOSSES)


def test_a_name_is_the_default_parameter():
    for name, loss in {
        "huber": losses.huber(1), "quantile": losses.quantile(0.5),
        "cross_entropy": losses.cross_entropy(0), "binary_cross_entropy": losses.Loss(
            "binary_cross_entropy"
        ),
    }.items():  # fmt: skip
        assert losses.resolve(name) == loss
        net = fm.Network([3, 2], loss=loss)
        assert net == fm.Network([3, 2], loss=name)
        assert f"loss={name!r}" in repr(net)
    net = fm.Network([3, 2], loss=losses.huber(0.5))
    assert repr(net) == "Network([3, 2], output='identity', loss=huber(delta=0.5))"


def test_defaults_of_output_and_loss():
    for name in ("absolute_error", "huber", "log_cosh", "quantile", "hinge", "perceptron"):
        assert fm.Network([3, 2], loss=name).activations == ("identity",)
        assert fm.Network([3, 2], loss=name, output="tanh").activations == ("tanh",)
        with pytest.raises(ValueError, match=f"softmax.*cross_entropy.*{name}"):
            fm.Network([3, 2], loss=name, output="softmax")
    assert fm.Network([3, 2], loss="poisson").activations == ("exp",)
    assert fm.Network([3, 2], output="exp").loss_name == "poisson"
    assert fm.Network([3, 2], loss=losses.cross_entropy(0.1)).activations == ("softmax",)
    assert fm.Network([3, 2], loss=losses.binary_cross_entropy(0.1)).activations == ("sigmoid",)
    for output in ("identity", "relu", "softmax"):
        with pytest.raises(ValueError, match=f"poisson.*exp.*{output}"):
            fm.Network([3, 2], loss="poisson", output=output)


def test_poisson_predicts_the_mean(rng):
    net = fm.Network([3, 2], loss="poisson", dtype="float64")
    w, X, _ = problem(net, 5, rng)
    Z = X @ net.weights(w)[0] + net.biases(w)[0]
    assert_allclose(net.predict(w, X), np.exp(Z), rtol=1e-14)


@pytest.mark.parametrize(
    ("function", "name", "bad"),
    [
        *((losses.huber, "delta", bad) for bad in (0, -1, np.nan, np.inf, "1", True, None)),
        *((losses.quantile, "q", bad) for bad in (0, 1, -0.5, 2, np.nan, "0.5", False)),
        *(
            (function, "label_smoothing", bad)
            for function in (losses.cross_entropy, losses.binary_cross_entropy)
            for bad in (-0.1, 1.1, np.nan, "0", True)
        ),
    ],
)
def test_bad_parameters(function, name, bad):
    is_number = isinstance(bad, (int, float)) and not isinstance(bad, bool)
    error = ValueError if is_number else TypeError
    with pytest.raises(error, match=f"^{name} must be .*got {bad!r}"):
        function(bad)


@pytest.mark.parametrize("bad", [3, ["huber"], losses.huber, b"huber", 0.5], ids=str)
def test_what_is_no_loss(bad):
    with pytest.raises(TypeError, match=r"loss must be a name or one of fastmlp\.losses"):
        fm.Network([3, 2], loss=bad)


def test_collapse_keeps_the_loss(rng):
    net = fm.Network([3, 4, 2], hidden="identity", loss=losses.huber(0.3), dtype="float64")
    w, X, y = problem(net, 9, rng)
    linear_net, v = net.collapse(w)
    assert linear_net.loss_function == net.loss_function
    assert_allclose(linear_net.loss(v, X, y), net.loss(w, X, y), rtol=1e-12)


COMPILED = """
import json
import numpy as np
import fastmlp as fm
from fastmlp.kernels import elementwise

X, counts = np.ones((6, 3)), []
for loss in ("squared_error", "huber", "log_cosh", fm.losses.quantile(0.3), "hinge", "poisson"):
    net = fm.Network([3, 4, 2], loss=loss)
    w = net.init(0)
    net.loss(w, X, np.ones((6, 2)))
    fm.sgd(net, X, np.ones((6, 2)), w, rng=0)
    fm.Objective(net, X, np.ones((6, 2))).hessian_vector(w, w)
    kernels = elementwise.losses_and_deltas, elementwise.multiply_by_curvature
    counts.append([len(kernel.overloads) for kernel in kernels])
print(json.dumps(counts))
"""


def test_compiled_where_used_and_once():
    assert run_child("-c", COMPILED) == [[0, 0]] + 5 * [[1, 1]]
