"""Construction, layout and initialisation of networks."""

import copy
import pickle
import re

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastmlp as fm

HIDDEN = (
    *("identity", "relu", "sigmoid", "tanh", "step", "sign", "leaky_relu", "elu", "gelu", "silu"),
    *("softplus", "hard_sigmoid", "hard_tanh", "exp"),
)
PAIRED = ("sigmoid", "exp")  # with losses of their own
OUTPUTS = (*HIDDEN, "softmax")
LOSSES = ("squared_error", "half_squared_error", "binary_cross_entropy", "cross_entropy")


def says(*parts):
    """Pattern that finds every part, in any order, as words of their own."""
    return "(?s)" + "".join(rf"(?=.*(?<!\w){re.escape(str(part))}(?!\w))" for part in parts)


# Construction --------------------------------------------------------------------------------


def test_attributes():
    net = fm.Network([5, 4, 3, 2], hidden=["tanh", "sign"], output="sigmoid", bias=False)
    assert net.widths == (5, 4, 3, 2)
    assert net.activations == ("tanh", "sign", "sigmoid")
    assert net.loss_name == "binary_cross_entropy"
    assert net.bias is False
    assert isinstance(net.dtype, np.dtype)
    assert net.dtype == np.float32
    assert net.n_layers == 3
    assert isinstance(net.n_params, int)


def test_one_name_is_for_every_hidden_layer():
    assert fm.Network([2, 3, 4, 1]).activations == ("relu", "relu", "identity")
    assert fm.Network([2, 3, 4, 1], hidden="tanh").activations == ("tanh", "tanh", "identity")
    assert fm.Network([2, 1]).activations == ("identity",)
    assert fm.Network([2, 1], hidden=()).activations == ("identity",)


@pytest.mark.parametrize(
    ("given", "output", "loss"),
    [
        ({}, "identity", "squared_error"),
        ({"loss": "squared_error"}, "identity", "squared_error"),
        ({"loss": "half_squared_error"}, "identity", "half_squared_error"),
        ({"loss": "binary_cross_entropy"}, "sigmoid", "binary_cross_entropy"),
        ({"loss": "cross_entropy"}, "softmax", "cross_entropy"),
        ({"output": "softmax"}, "softmax", "cross_entropy"),
        ({"output": "sigmoid"}, "sigmoid", "binary_cross_entropy"),
        ({"output": "exp"}, "exp", "poisson"),
        *(({"output": name}, name, "squared_error") for name in HIDDEN if name not in PAIRED),
        *(
            ({"output": name, "loss": loss}, name, loss)
            for name in OUTPUTS
            for loss in ("squared_error", "half_squared_error")
        ),
        ({"output": "softmax", "loss": "cross_entropy"}, "softmax", "cross_entropy"),
    ],
)
def test_defaults_of_output_and_loss(given, output, loss):
    net = fm.Network([4, 3, 2], **given)
    assert (net.activations[-1], net.loss_name) == (output, loss)


@pytest.mark.parametrize(
    ("widths", "parts"),
    [
        ([], ["widths"]),
        ([3], ["widths"]),
        ([3, 0, 1], ["widths", 0]),
        ([3, 4, -2], ["widths", -2]),
        ([3, 2.5, 1], ["widths", 2.5]),
        ([3, "four", 1], ["widths", "four"]),
        ([3, None, 1], ["widths", None]),
        ("abc", ["widths"]),
        (7, ["widths", 7]),
    ],
    ids=str,
)
def test_bad_widths(widths, parts):
    with pytest.raises((TypeError, ValueError), match=says(*parts)):
        fm.Network(widths)


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ({"hidden": "swish"}, ["hidden", "swish", *HIDDEN]),
        ({"hidden": ["relu", "swish"]}, ["hidden", "swish", *HIDDEN]),
        ({"hidden": "softmax"}, ["hidden", "softmax"]),
        ({"hidden": ["relu", "softmax"]}, ["hidden", "softmax"]),
        ({"hidden": ["relu"]}, ["hidden", 1, 2]),
        ({"hidden": ["relu", "relu", "tanh"]}, ["hidden", 3, 2]),
        ({"hidden": ()}, ["hidden", 0, 2]),
        ({"output": "swish"}, ["output", "swish", *OUTPUTS]),
        ({"loss": "svm"}, ["loss", "svm", *LOSSES]),
        ({"dtype": "int32"}, ["dtype", "int32", "float32", "float64"]),
        ({"dtype": "float16"}, ["dtype", "float16", "float32", "float64"]),
    ],
    ids=str,
)
def test_bad_names(given, parts):
    with pytest.raises(ValueError, match=says(*parts)):
        fm.Network([4, 3, 3, 2], **given)


@pytest.mark.parametrize(
    ("loss", "needed", "output"),
    [("binary_cross_entropy", "sigmoid", name) for name in OUTPUTS if name != "sigmoid"]
    + [("cross_entropy", "softmax", name) for name in HIDDEN],
)
def test_loss_needs_its_output(loss, needed, output):
    with pytest.raises(ValueError, match=says(loss, needed, output)):
        fm.Network([4, 2], output=output, loss=loss)


def test_arguments_after_widths_are_keywords():
    with pytest.raises(TypeError):
        fm.Network([4, 2], "relu")


# A value among values ------------------------------------------------------------------------

NETWORKS = [
    fm.Network([3, 2]),
    fm.Network([3, 2], dtype="float64"),
    fm.Network([3, 2], bias=False),
    fm.Network([3, 2], output="tanh"),
    fm.Network([3, 2], loss="half_squared_error"),
    fm.Network([3, 4, 2]),
    fm.Network([3, 4, 2], hidden="sigmoid", output="softmax"),
    fm.Network([3, 4, 5, 2], hidden=("tanh", "step"), loss="binary_cross_entropy", bias=False),
    fm.Network([784, 512, 256, 10], output="softmax", loss="squared_error", dtype=np.float64),
]


@pytest.mark.parametrize("net", NETWORKS, ids=repr)
def test_repr_and_copies_are_equal(net):
    for twin in (
        eval(repr(net), {"Network": fm.Network}),
        pickle.loads(pickle.dumps(net)),
        copy.deepcopy(net),
    ):
        assert twin == net
        assert hash(twin) == hash(net)
        assert twin.dtype == net.dtype
    assert repr(net) == repr(eval(repr(net), {"Network": fm.Network}))


def test_networks_differ():
    assert len(set(NETWORKS)) == len(NETWORKS)
    for i, net in enumerate(NETWORKS):
        assert all(net != other for other in NETWORKS[i + 1 :])
    assert fm.Network([3, 2]) != "Network([3, 2])"


def test_the_way_of_writing_does_not_matter():
    net = fm.Network([3, 4, 4, 2])
    for other in (
        fm.Network((3, 4, 4, 2), hidden=["relu", "relu"]),
        fm.Network(np.array([3, 4, 4, 2]), hidden=("relu", "relu"), output="identity"),
        fm.Network([3, 4, 4, 2], loss="squared_error", bias=True, dtype=np.dtype("float32")),
    ):
        assert other == net
        assert hash(other) == hash(net)
        assert repr(other) == repr(net)
    assert all(type(width) is int for width in fm.Network(np.array([3, 2])).widths)


@pytest.mark.parametrize(
    "name",
    [
        "widths",
        "activations",
        "loss_function",
        "loss_name",
        "bias",
        "dtype",
        "n_layers",
        "n_params",
    ],
)
def test_immutable(name):
    net = fm.Network([3, 4, 2])
    before = getattr(net, name)
    with pytest.raises(AttributeError):
        setattr(net, name, before)
    with pytest.raises(AttributeError):
        delattr(net, name)
    assert getattr(net, name) == before


def test_does_not_keep_the_callers_lists():
    widths, hidden = [3, 4, 2], ["tanh"]
    net = fm.Network(widths, hidden=hidden)
    widths[1], hidden[0] = 9, "relu"
    assert net == fm.Network([3, 4, 2], hidden="tanh")


# Layout --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("widths", "bias", "n_params"),
    [
        ([1, 1], True, 2),
        ([1, 1], False, 1),
        ([2, 16, 2], True, 82),
        ([5, 3, 3, 1], False, 27),
        ([784, 256, 128, 10], True, 235146),
        ([100_000, 100_000, 1], False, 10_000_100_000),
    ],
)
def test_n_params(widths, bias, n_params):
    assert fm.Network(widths, bias=bias).n_params == n_params


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bias", [True, False])
def test_layout(bias, dtype):
    net = fm.Network([3, 4, 1, 2], bias=bias, dtype=dtype)
    w = np.arange(net.n_params, dtype=dtype)
    weights, biases = net.weights(w), net.biases(w)
    assert [W.shape for W in weights] == [(3, 4), (4, 1), (1, 2)]
    assert [b.shape for b in biases] == ([(4,), (1,), (2,)] if bias else [])
    assert all(W.flags.c_contiguous for W in weights)
    pieces = zip(weights, biases, strict=True) if bias else ([W] for W in weights)
    assert_array_equal(np.concatenate([a.ravel() for piece in pieces for a in piece]), w)


def test_weights_and_biases_are_views():
    net = fm.Network([3, 4, 2])
    w = np.zeros(net.n_params, dtype=net.dtype)
    for number, view in enumerate([*net.weights(w), *net.biases(w)], start=1):
        assert np.shares_memory(view, w)
        view[...] = number
    assert_array_equal(w, np.repeat([1, 3, 2, 4], [12, 4, 8, 2]))


@pytest.mark.parametrize("method", ["weights", "biases"])
@pytest.mark.parametrize("n", [25, 27])
def test_views_need_the_whole_vector(method, n):
    net = fm.Network([3, 4, 2])
    with pytest.raises(ValueError, match=says("w", n, 26)):
        getattr(net, method)(np.zeros(n, dtype=net.dtype))


# Initialisation ------------------------------------------------------------------------------

N_IN, N_OUT = 400, 100
VARIANCES = {"he": 2 / N_IN, "glorot": 2 / (N_IN + N_OUT), "lecun": 1 / N_IN}


def kurtosis(values):
    """3 for normal numbers, 1.8 for uniform ones, 2.4 for normal ones cut off at 2 sigma."""
    return np.mean(values**4) / np.mean(values**2) ** 2


def check_distribution(values, variance, shape):
    values = np.ravel(values).astype(np.float64)
    assert abs(values.mean()) < 5 * np.sqrt(variance / values.size)
    assert_allclose(values.var(), variance, rtol=0.05)
    assert_allclose(kurtosis(values), {"normal": 3, "uniform": 1.8}[shape], atol=0.2)


@pytest.mark.parametrize("shape", ["normal", "uniform"])
@pytest.mark.parametrize("family", VARIANCES)
def test_scheme(family, shape):
    net = fm.Network([N_IN, N_OUT])
    (W,) = net.weights(net.init(rng=1, scheme=f"{family}_{shape}"))
    check_distribution(W, VARIANCES[family], shape)
    if shape == "uniform":
        assert np.abs(W).max() <= np.sqrt(3 * VARIANCES[family]) * (1 + 1e-6)


@pytest.mark.parametrize("shape", ["normal", "uniform"])
def test_plain_scheme(shape):
    """The scale of these two does not depend on the layer's widths."""
    net = fm.Network([N_IN, N_OUT, N_IN])
    first, second = net.weights(net.init(rng=2, scheme=shape))
    check_distribution(first, second.var(dtype=np.float64), shape)


@pytest.mark.parametrize(
    ("short", "full"),
    [("he", "he_normal"), ("glorot", "glorot_uniform"), ("lecun", "lecun_normal")],
)
def test_short_names(short, full):
    net = fm.Network([20, 30, 10])
    assert_array_equal(net.init(rng=3, scheme=short), net.init(rng=3, scheme=full))


@pytest.mark.parametrize(
    ("activation", "scheme"),
    [
        ("relu", "he"),
        ("sigmoid", "glorot"),
        ("tanh", "glorot"),
        ("softmax", "glorot"),
        ("identity", "lecun"),
        ("step", "lecun"),
        ("sign", "lecun"),
        ("leaky_relu", "he"),
        ("elu", "he"),
        ("gelu", "he"),
        ("silu", "he"),
        ("softplus", "he"),
        ("hard_sigmoid", "glorot"),
        ("hard_tanh", "glorot"),
        ("exp", "lecun"),
    ],
)
def test_default_scheme_by_activation(activation, scheme):
    net = fm.Network([20, 30], output=activation)
    assert_array_equal(net.init(rng=4), net.init(rng=4, scheme=scheme))


def test_default_scheme_layer_by_layer():
    net = fm.Network([400, 100, 400, 100], hidden=["relu", "identity"], output="tanh")
    relu, identity, tanh = net.weights(net.init(rng=5))
    check_distribution(relu, 2 / 400, "normal")
    check_distribution(identity, 1 / 100, "normal")
    check_distribution(tanh, 2 / 500, "uniform")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_init_returns_a_flat_vector_with_zero_biases(dtype):
    net = fm.Network([20, 30, 10], dtype=dtype)
    w = net.init(rng=6)
    assert w.shape == (net.n_params,)
    assert w.dtype == np.dtype(dtype)
    assert w.flags.c_contiguous
    assert w.flags.writeable
    assert np.isfinite(w).all()
    assert all((b == 0).all() for b in net.biases(w))
    assert all((W != 0).mean() > 0.99 for W in net.weights(w))


@pytest.mark.parametrize("scheme", [None, "glorot", "normal", "uniform"])
def test_seeds(scheme):
    net = fm.Network([20, 30, 10])
    w = net.init(rng=7, scheme=scheme)
    assert w.tobytes() == net.init(rng=7, scheme=scheme).tobytes()
    assert w.tobytes() == net.init(rng=np.random.default_rng(7), scheme=scheme).tobytes()
    assert (w != net.init(rng=8, scheme=scheme)).any()
    assert (net.init(scheme=scheme) != net.init(scheme=scheme)).any()


def test_a_generator_moves_on():
    net, rng = fm.Network([20, 30]), np.random.default_rng(9)
    assert (net.init(rng=rng) != net.init(rng=rng)).any()


def test_unknown_scheme():
    known = [f"{family}_{shape}" for family in VARIANCES for shape in ("normal", "uniform")]
    with pytest.raises(ValueError, match=says("scheme", "magic", *known)):
        fm.Network([3, 2]).init(rng=0, scheme="magic")
