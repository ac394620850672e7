"""The naive twin of training against torch.optim, torch's clipping, and finite differences."""

from itertools import chain

import numpy as np
import pytest
from numpy.testing import assert_allclose

import naive
import naive_rules
from cases_rules import EVERY_RULE, IDS, naive_rule, torch_optimiser, torch_parameters

NET = naive.Net((3, 4, 2), ("tanh", "identity"), "half_squared_error")


def flat(weights, biases):
    return naive.pack(
        NET,
        [(W.detach().numpy(), b.detach().numpy()) for W, b in zip(weights, biases, strict=True)],
    )


@pytest.mark.parametrize(("name", "options", "kind", "torch_options"), EVERY_RULE, ids=IDS)
def test_rules_are_torchs(name, options, kind, torch_options, rng):
    torch = pytest.importorskip("torch")
    w = rng.standard_normal(naive.n_params(NET))
    weights, biases = torch_parameters(torch, NET, w)
    optimiser = torch_optimiser(torch, kind, torch_options, weights, biases, 0.01)
    rule = naive_rule(name, options, NET)
    for k in range(50):
        step = 0.01 / (1 + 0.1 * k)
        g = rng.standard_normal(w.size) + 0.5
        for group in optimiser.param_groups:
            group["lr"] = step
        for tensor, gradient in zip(
            weights + biases, chain(*torch_parameters(torch, NET, g)), strict=True
        ):
            tensor.grad = gradient
        optimiser.step()
        before, w = w, rule.update(w, g, step)
        assert_allclose(w, flat(weights, biases), rtol=1e-13, atol=1e-13)
        assert abs(w - before).max() > 1e-5


def test_rprop_meets_its_bounds(rng):
    rule = naive_rules.Rprop(smallest=0.004, largest=0.02)
    w = np.zeros(2)
    for k in range(20):
        w = rule.update(w, np.array([1.0, (-1.0) ** k]), 0.01)
    assert_allclose(rule.sizes, [0.02, 0.004])


def loss_with_masks(w, X, y, s, masks):
    _, e = naive_rules.batch_gradient(NET, w, X, y, s, masks)
    return s @ e


def test_masked_gradients(rng):
    w, X, y = (
        rng.standard_normal(naive.n_params(NET)),
        rng.normal(size=(5, 3)),
        rng.normal(size=(5, 2)),
    )
    ones = np.ones(5)
    g, e = naive_rules.batch_gradient(NET, w, X, y, ones, [1.0, 1.0])
    assert_allclose(g, naive.gradient(NET, w, X, y, "sum"), rtol=1e-13)
    assert_allclose(e, naive.sample_losses(NET, w, X, y), rtol=1e-13)
    s, masks = rng.random(5), [2.0 * (rng.random((5, n)) < 0.5) for n in (3, 4)]
    assert_allclose(
        naive_rules.batch_gradient(NET, w, X, y, s, masks)[0],
        naive.finite_difference_gradient(lambda v: loss_with_masks(v, X, y, s, masks), w),
        rtol=1e-7, atol=1e-9,
    )  # fmt: skip


@pytest.mark.parametrize("clipping", ["clip_value", "clip_norm"])
def test_training_is_torchs(clipping, rng):
    torch = pytest.importorskip("torch")
    w, X, y = (
        rng.standard_normal(naive.n_params(NET)),
        rng.normal(size=(8, 3)),
        rng.normal(size=(8, 2)),
    )
    weights, biases = torch_parameters(torch, NET, w)
    for tensor in weights + biases:
        tensor.requires_grad_()
    optimiser = torch_optimiser(torch, "SGD", {"momentum": 0.9}, weights, biases, 0.05)
    inputs, truth = torch.tensor(X), torch.tensor(y)
    for k in range(12):
        rows = slice(4 * (k % 2), 4 * (k % 2) + 4)
        optimiser.zero_grad()
        out = torch.tanh(inputs[rows] @ weights[0] + biases[0]) @ weights[1] + biases[1]
        (((out - truth[rows]) ** 2).sum() / 2 / 4).backward()
        if clipping == "clip_value":
            torch.nn.utils.clip_grad_value_(weights + biases, 0.1)
        else:
            norm = torch.nn.utils.clip_grad_norm_(weights + biases, 0.1)
            assert norm > 0.1
        with torch.no_grad():
            for W in weights:
                W.grad += 0.02 * W + 0.03 * torch.sign(W)
        optimiser.step()
        with torch.no_grad():
            for W in weights:
                W.copy_(torch.renorm(W, 2, 1, 0.8))
    trained = naive_rules.train(
        NET, X, y, w, np.tile(np.arange(8), (6, 1)), [0.05] * 12, 4, naive_rules.Momentum(),
        l1=0.03, l2=0.02, max_norm=0.8, **{clipping: 0.1},
    )  # fmt: skip
    # torch adds 1e-6 to the norm, and 1e-7 to a column's.
    assert_allclose(trained.iterate, flat(weights, biases), rtol=1e-4)
    norms = [np.linalg.norm(W, axis=0) for W, _ in naive.unpack(NET, trained.iterates[1])]
    assert max(map(np.max, norms)) == pytest.approx(0.8, rel=1e-12)
    assert min(map(np.min, norms)) < 0.79
