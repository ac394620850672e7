"""Examples worked out by hand, and the naive twin against finite differences."""

import re

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastmlp as fm
import naive

TOLERANCE = {"float64": 1e-12, "float32": 2e-5}


@pytest.fixture(params=TOLERANCE)
def dtype(request):
    return request.param


def close(actual, expected, dtype):
    assert_allclose(actual, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def uniform(shape, dtype, seed=0):
    """Numbers in [-1, 1) that float32 holds exactly, so that both types see the same problem."""
    values = np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)
    return values.astype(dtype)


# By hand -------------------------------------------------------------------------------------


def test_forward_by_hand(dtype):
    W1 = [[1, 2, 1], [2.5, 5, 3], [2, 2, 4], [2.5, 1, 3], [1, 2, 1]]
    W2 = [[1, 2, 1], [2, 3, 2], [3, 1, 1]]
    W3 = [[4], [2], [3]]
    W1, W2, W3 = (np.ravel(W).astype(dtype) for W in (W1, W2, W3))
    x = np.array([[1, -1, 3, -1, -2]], dtype=dtype)

    def network(widths, hidden, output="identity"):
        return fm.Network(widths, hidden=hidden, output=output, bias=False, dtype=dtype)

    def predict(net, *layers):
        return net.predict(np.concatenate(layers), x)

    assert_array_equal(predict(network([5, 3], ()), W1), [[0, -2, 5]])
    assert_array_equal(predict(network([5, 3], (), "relu"), W1), [[0, 0, 5]])
    assert_array_equal(predict(network([5, 3, 3], ["relu"]), W1, W2), [[15, 5, 5]])
    assert_array_equal(predict(network([5, 3, 3], ["relu"], "sign"), W1, W2), [[1, 1, 1]])
    assert_array_equal(predict(network([5, 3, 3, 1], ["relu", "sign"]), W1, W2, W3), [[9]])


@pytest.mark.parametrize(("name", "expected"), [("step", [0, 1, 1]), ("sign", [-1, 0, 1])])
def test_jumps_at_zero(name, expected, dtype):
    net = fm.Network([1, 1], output=name, bias=False, dtype=dtype)
    X = np.array([[-0.5], [0], [0.5]], dtype=dtype)
    assert_array_equal(net.predict(np.ones(1, dtype=dtype), X)[:, 0], expected)


@pytest.mark.parametrize("y", [0.0, 0.25, 1.0])
def test_one_sigmoid_unit(y, dtype):
    net = fm.Network([3, 1], output="sigmoid", loss="half_squared_error", dtype=dtype)
    w, b, x = uniform(3, dtype, 1), uniform(1, dtype, 2), uniform(3, dtype, 3)
    flat = np.concatenate([w, b])
    X, target = x[None], np.array([y], dtype=dtype)

    a = sigmoid(x.astype(float) @ w.astype(float) + b.astype(float)[0])
    d_b = (a - y) * a * (1 - a)
    close(net.predict(flat, X), [[a]], dtype)
    close(net.loss(flat, X, target), (y - a) ** 2 / 2, dtype)
    close(net.gradient(flat, X, target), [*(d_b * x.astype(float)), d_b], dtype)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("loss", "factor"), [("half_squared_error", 1), ("squared_error", 2)])
def test_backpropagation_as_in_the_lectures(loss, factor, bias, dtype):
    """Weights are (out, in) here, samples columns, and delta^l = d e / d a^l."""
    net = fm.Network(
        [2, 2, 2, 1], hidden="sigmoid", output="sigmoid", loss=loss, bias=bias, dtype=dtype
    )
    w = uniform(net.n_params, dtype, 4)
    W1, W2, W3 = (W.T.astype(float) for W in net.weights(w))
    b1, b2, b3 = (b.astype(float) for b in net.biases(w)) if bias else (0, 0, 0)
    a0, y = np.array([0.5, -1.5]), 0.75

    a1 = sigmoid(W1 @ a0 + b1)
    a2 = sigmoid(W2 @ a1 + b2)
    a3 = sigmoid(W3 @ a2 + b3)
    slope1, slope2, slope3 = (np.diag(a * (1 - a)) for a in (a1, a2, a3))
    V2, V3 = W2.T @ slope2, W3.T @ slope3
    delta3 = factor * (a3 - y)
    delta2 = V3 @ delta3
    delta1 = V2 @ V3 @ delta3

    gradient = net.gradient(w, a0[None].astype(dtype), np.array([[y]], dtype=dtype))
    d_W1, d_W2, d_W3 = (d_W.T for d_W in net.weights(gradient))
    close(d_W1, np.outer(slope1 @ delta1, a0), dtype)
    close(d_W2, np.outer(slope2 @ delta2, a1), dtype)
    close(d_W3, np.outer(slope3 @ delta3, a2), dtype)
    if bias:
        d_b1, d_b2, d_b3 = net.biases(gradient)
        close(d_b1, slope1 @ delta1, dtype)
        close(d_b2, slope2 @ delta2, dtype)
        close(d_b3, slope3 @ delta3, dtype)


class TestFourPoints:
    """(-3, -3) -> 1, (-2, -2) -> 1, (4, 4) -> 0, (2, -5) -> 0; one sigmoid unit, squared error."""

    X = np.array([[-3.0, -3], [-2, -2], [4, 4], [2, -5]])
    y = np.array([1.0, 1, 0, 0])

    @pytest.mark.parametrize("reduction", ["mean", "sum"])
    @pytest.mark.parametrize(
        "w", [(0, 0, 0), (-1, -1, 0.5), (1, 1, 0), (0.25, -0.75, 2), (-6, 5, -3)]
    )
    @pytest.mark.parametrize("bias", [True, False])
    def test_closed_form(self, bias, w, reduction, dtype):
        net = fm.Network([2, 1], output="sigmoid", loss="squared_error", bias=bias, dtype=dtype)
        w = np.array(w if bias else w[:2], dtype=float)
        inputs = np.column_stack([self.X, np.ones(4)]) if bias else self.X
        a = sigmoid(inputs @ w)
        reduce = {"mean": np.mean, "sum": np.sum}[reduction]
        value = reduce((a - self.y) ** 2)
        slopes = reduce((2 * (a - self.y) * a * (1 - a))[:, None] * inputs, axis=0)

        arguments = w.astype(dtype), self.X.astype(dtype), self.y.astype(dtype)
        close(net.loss(*arguments, reduction=reduction), value, dtype)
        close(net.gradient(*arguments, reduction=reduction), slopes, dtype)

    def test_numbers_at_zero(self, dtype):
        net = fm.Network([2, 1], output="sigmoid", loss="squared_error", dtype=dtype)
        arguments = np.zeros(3, dtype=dtype), self.X.astype(dtype), self.y.astype(dtype)
        close(net.loss(*arguments, reduction="sum"), 1.0, dtype)
        close(net.gradient(*arguments, reduction="sum"), [2.75, 1.0, 0.0], dtype)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("loss", ["squared_error", "half_squared_error"])
def test_collapse_of_a_linear_network(loss, bias, dtype):
    net = fm.Network([4, 6, 5, 3], hidden="identity", loss=loss, bias=bias, dtype=dtype)
    w, X = uniform(net.n_params, dtype, 5), uniform((7, 4), dtype, 6)
    linear, v = net.collapse(w)
    assert linear == fm.Network([4, 3], output="identity", loss=loss, bias=bias, dtype=dtype)
    assert v.shape == (linear.n_params,) == (4 * 3 + 3 * bias,)
    assert v.dtype == net.dtype
    close(linear.predict(v, X), net.predict(w, X), dtype)
    close(v, naive.collapse(naive.twin(net), w)[1], dtype)


@pytest.mark.parametrize(
    ("hidden", "output", "culprit"),
    [
        ("relu", "identity", "relu"),
        (["identity", "tanh"], "identity", "tanh"),
        ("identity", "sigmoid", "sigmoid"),
        ("identity", "softmax", "softmax"),
        ("identity", "sign", "sign"),
    ],
)
def test_only_linear_networks_collapse(hidden, output, culprit):
    net = fm.Network([4, 3, 3, 2], hidden=hidden, output=output)
    with pytest.raises(ValueError, match=re.compile(rf"\b{culprit}\b")):
        net.collapse(net.init(rng=0))


# The twin against finite differences ---------------------------------------------------------

SMOOTH_LOSSES = [
    ("identity", "squared_error"),
    ("relu", "half_squared_error"),
    ("tanh", "squared_error"),
    ("sigmoid", "half_squared_error"),
    ("softmax", "squared_error"),
    ("softmax", "half_squared_error"),
    ("sigmoid", "binary_cross_entropy"),
    ("softmax", "cross_entropy"),
]


def close_to_differences(actual, differences):
    assert_allclose(actual, differences, rtol=1e-7, atol=1e-9)


def problem(output, loss, hidden=("tanh", "relu"), bias=True, seed=7):
    """A small network of the twin's, parameters, rows and targets that suit the loss."""
    net = naive.Net((3, 5, 4, 3), (*hidden, output), loss, bias)
    rng = np.random.default_rng(seed)
    w, X = rng.normal(size=naive.n_params(net)), rng.normal(size=(6, 3))
    y = rng.dirichlet(np.ones(3), size=6)
    return net, w, X, y


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("output", "loss"), SMOOTH_LOSSES)
def test_twin_gradient(output, loss, bias, reduction):
    net, w, X, y = problem(output, loss, bias=bias)
    differences = naive.finite_difference_gradient(lambda v: naive.loss(net, v, X, y, reduction), w)
    close_to_differences(naive.gradient(net, w, X, y, reduction), differences)


@pytest.mark.parametrize("hidden", ["identity", "relu", "sigmoid", "tanh"])
def test_twin_hidden_activations(hidden):
    net, w, X, y = problem("identity", "squared_error", (hidden, hidden))
    differences = naive.finite_difference_gradient(lambda v: naive.loss(net, v, X, y), w)
    close_to_differences(naive.gradient(net, w, X, y), differences)


@pytest.mark.parametrize(("output", "loss"), SMOOTH_LOSSES)
def test_twin_per_sample(output, loss):
    net, w, X, y = problem(output, loss)
    differences = naive.finite_difference_gradient(lambda v: naive.sample_losses(net, v, X, y), w)
    close_to_differences(naive.sample_gradients(net, w, X, y), differences)
    differences = naive.finite_difference_gradient(lambda v: naive.predict(net, v, X), w)
    close_to_differences(naive.jacobian(net, w, X), differences)


def test_twin_cross_entropies():
    """They agree with their definitions, labels with rows of ones, and far out they are finite."""
    labels = np.array([0, 2, 1, 1, 0, 2])
    net, w, X, y = problem("softmax", "cross_entropy")
    p = naive.predict(net, w, X)
    assert_allclose(p.sum(axis=1), 1)
    assert_allclose(naive.sample_losses(net, w, X, y), -(y * np.log(p)).sum(axis=1))
    assert_allclose(naive.sample_losses(net, w, X, labels), -np.log(p[np.arange(6), labels]))
    assert_array_equal(
        naive.gradient(net, w, X, labels), naive.gradient(net, w, X, np.eye(3)[labels])
    )
    net, w, X, y = problem("sigmoid", "binary_cross_entropy")
    p = naive.predict(net, w, X)
    expected = -(y * np.log(p) + (1 - y) * np.log(1 - p)).sum(axis=1)
    assert_allclose(naive.sample_losses(net, w, X, y), expected)

    far = np.array([[-2000.0]])
    binary = naive.Net((1, 1), ("sigmoid",), "binary_cross_entropy", bias=False)
    assert naive.loss(binary, [1.0], far, [1]) == 2000
    assert naive.loss(binary, [1.0], far, [0]) == 0
    many = naive.Net((1, 2), ("softmax",), "cross_entropy", bias=False)
    assert naive.loss(many, [1.0, 0.0], far, [0]) == 2000
    assert naive.loss(many, [1.0, 0.0], far, [1]) == 0


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("hidden", [("tanh", "relu"), ("sigmoid", "tanh"), ("relu", "identity")])
@pytest.mark.parametrize(("output", "loss"), SMOOTH_LOSSES)
def test_twin_objective(output, loss, hidden, bias, reduction):
    """Each derivative is that of the one before it, along the axes or a direction."""
    net, w, X, y = problem(output, loss, hidden, bias)
    rng = np.random.default_rng(8)
    s, d = rng.integers(0, 4, size=6), rng.normal(size=w.size)
    objective = naive.Objective(net, X, y, s, 0.3, reduction)

    weighted = s @ naive.sample_losses(net, w, X, y) / (s.sum() if reduction == "mean" else 1)
    squares = sum((W**2).sum() for W, _ in naive.unpack(net, w))
    assert_allclose(objective.value(w), weighted + 0.15 * squares)
    gradient = naive.finite_difference_gradient(objective.value, w)
    size = abs(gradient).max()
    assert_allclose(objective.gradient(w), gradient, rtol=1e-7, atol=1e-9 * size)
    slope = naive.finite_difference_gradient(lambda alpha: objective.value(w + alpha * d), [0.0])
    assert_allclose(objective.slope(w, d), slope[0], rtol=1e-7, atol=1e-9 * size)
    hessian = naive.finite_difference_gradient(objective.gradient, w)
    atol = 1e-9 * abs(hessian).max()
    assert_allclose(objective.hessian_vector(w, d), hessian @ d, rtol=1e-7, atol=atol)


def test_twin_objective_without_weights():
    net, w, X, y = problem("softmax", "cross_entropy")
    for reduction in ("mean", "sum"):
        objective = naive.Objective(net, X, y, reduction=reduction)
        assert_allclose(objective.value(w), naive.loss(net, w, X, y, reduction))
        assert_allclose(objective.gradient(w), naive.gradient(net, w, X, y, reduction))


def test_twin_descent():
    net, w, X, y = problem("softmax", "cross_entropy")
    order = np.array([[4, 1, 3, 0, 5, 2], [2, 2, 0, 1, 5, 5]])
    steps = 0.1 / np.arange(1, 13)
    v = w.copy()
    for i, step in zip(order.ravel(), steps, strict=True):
        v -= step * naive.sample_gradients(net, v, X, y)[i]
    end, losses = naive.sgd(net, X, y, w, order, steps)
    assert_allclose(end, v, rtol=1e-13)
    assert losses.shape == order.shape
    assert_allclose(losses[0, 0], naive.sample_losses(net, w, X, y)[4])
    assert_array_equal(naive.minibatch_sgd(net, X, y, w, order, steps, 1)[0], end)

    v = w.copy()
    for batch, step in zip(([4, 1, 3, 0], [5, 2]), steps[:2], strict=True):
        v -= step * naive.sample_gradients(net, v, X, y)[batch].mean(axis=0)
    end, losses = naive.minibatch_sgd(net, X, y, w, order[:1], steps, 4)
    assert_allclose(end, v, rtol=1e-13)
    assert_allclose(losses[0, :4], naive.sample_losses(net, w, X, y)[order[0, :4]])


def test_twin_collapse():
    net, w, X, _ = problem("identity", "squared_error", ("identity", "identity"))
    linear, v = naive.collapse(net, w)
    assert_allclose(naive.predict(linear, v, X), naive.predict(net, w, X), rtol=1e-12)
