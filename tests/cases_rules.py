"""Update rules with many settings, their twins, and torch's names for them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.testing import assert_allclose

import fastmlp as fm
import naive_rules

# Of each rule: its class, options and torch.optim's class and options for the same.
EVERY_RULE = [
    ("SGD", {}, "SGD", {}),
    ("Momentum", {}, "SGD", {"momentum": 0.9}),
    ("Momentum", {"momentum": 0.5}, "SGD", {"momentum": 0.5}),
    ("Nesterov", {}, "SGD", {"momentum": 0.9, "nesterov": True}),
    ("Nesterov", {"momentum": 0.3}, "SGD", {"momentum": 0.3, "nesterov": True}),
    ("Adagrad", {}, "Adagrad", {}),
    ("Adagrad", {"eps": 0.1}, "Adagrad", {"eps": 0.1}),
    ("RMSprop", {}, "RMSprop", {}),
    ("RMSprop", {"decay": 0.7, "eps": 0.05}, "RMSprop", {"alpha": 0.7, "eps": 0.05}),
    ("RMSprop", {"momentum": 0.8}, "RMSprop", {"momentum": 0.8}),
    ("RMSprop", {"centered": True}, "RMSprop", {"centered": True}),
    (
        "RMSprop", {"decay": 0.9, "eps": 0.01, "momentum": 0.6, "centered": True},
        "RMSprop", {"alpha": 0.9, "eps": 0.01, "momentum": 0.6, "centered": True},
    ),
    ("Adam", {}, "Adam", {}),
    (
        "Adam", {"beta1": 0.5, "beta2": 0.8, "eps": 0.02},
        "Adam", {"betas": (0.5, 0.8), "eps": 0.02},
    ),
    ("Adam", {"beta1": 0.0}, "Adam", {"betas": (0.0, 0.999)}),
    ("AMSGrad", {}, "Adam", {"amsgrad": True}),
    (
        "AMSGrad", {"beta1": 0.6, "beta2": 0.5, "eps": 0.02},
        "Adam", {"betas": (0.6, 0.5), "eps": 0.02, "amsgrad": True},
    ),
    ("AdamW", {}, "AdamW", {}),
    (
        "AdamW", {"beta1": 0.8, "beta2": 0.9, "eps": 0.02, "weight_decay": 0.7},
        "AdamW", {"betas": (0.8, 0.9), "eps": 0.02, "weight_decay": 0.7},
    ),
    ("Rprop", {}, "Rprop", {}),
    (
        "Rprop", {"increase": 1.7, "decrease": 0.3, "smallest": 0.004, "largest": 0.02},
        "Rprop", {"etas": (0.3, 1.7), "step_sizes": (0.004, 0.02)},
    ),
]  # fmt: skip
IDS = [f"{name}{options or ''}" for name, options, *_ in EVERY_RULE]


N = 101  # samples
# Options that go with any rule.
REGULARISED = {
    "penalties": {"l1": 0.01, "l2": 0.02},
    "clip_value": {"clip_value": 0.01},
    "clip_norm": {"clip_norm": 0.05},
    "max_norm": {"max_norm": 0.7},
    "average": {"average": True},
    "dropout": {"dropout": 0.3},
    "weights": {"sample_weight": np.linspace(0.1, 2, N)},
    "all": {
        "l1": 0.01, "l2": 0.02, "clip_norm": 0.05, "max_norm": 0.7, "average": 3, "dropout": 0.3,
        "sample_weight": np.linspace(0.1, 2, N),
    },
}  # fmt: skip
RULES = dict(zip(IDS, [case[:2] for case in EVERY_RULE], strict=True))
TRAININGS = [*RULES, *REGULARISED]


def options_of(training):
    """A rule and options; full batches for Rprop."""
    if training in REGULARISED:
        return {"rule": fm.rules.Adam(), "batch_size": 37, **REGULARISED[training]}
    name, options = RULES[training]
    batch_size = None if name == "Rprop" else 37
    return {"rule": getattr(fm.rules, name)(**options), "batch_size": batch_size}


def naive_rule(name, options, net):
    """The twin of a rule, for parameters of this network's layout."""
    if name == "AdamW":
        options = {**options, "is_weight": naive_rules.is_weight(net)}
    return getattr(naive_rules, name)(**options)


def torch_optimiser(torch, kind, options, weights, biases, step):
    """torch's optimiser of two groups of parameters; only weights decay by themselves."""
    groups = [{"params": weights}]
    if biases:
        groups.append({"params": biases, **({"weight_decay": 0.0} if kind == "AdamW" else {})})
    return getattr(torch.optim, kind)(groups, lr=step, **options)


def torch_parameters(torch, net, w):
    """The weights (n_in, n_out) and the biases of a naive.Net, tensors of float64."""
    weights, biases, at = [], [], 0
    for n_in, n_out in pairwise(net.widths):
        weights.append(torch.tensor(w[at : at + n_in * n_out].reshape(n_in, n_out)))
        at += n_in * n_out
        biases.append(torch.tensor(w[at : at + n_out]))
        at += n_out
    return weights, biases


# Comparisons --------------------------------------------------------------------------------

# Of the largest change of a parameter. A rule that divides by the gradient's size magnifies the
# errors of small gradients: 1e3 or 1e4 times for the smallest of some thousand numbers in float64;
# in float32 eps is set above the errors, and what is left are about a hundred roundings. Besides,
# each update rounds the parameters, at worst all in one direction.
TOLERANCE = {"float64": 1e-11, "float32": 2e-5}


def step_size(k):
    return 0.01 / (1 + 0.1 * k)


def sequential(epochs, n):
    return np.tile(np.arange(n), (epochs, 1))


def check_same_path(result, trained, w):
    """Compare the last parameters and the epochs' losses with the twin's."""
    tolerance, n_updates = TOLERANCE[result.x.dtype.name], len(trained.iterates) - 1
    change = abs(trained.iterate - w).max()
    rounding = n_updates * np.finfo(result.x.dtype).eps / 2 * abs(trained.iterates).max()
    assert change > 100 * rounding
    assert_allclose(result.x, trained.iterate, rtol=0, atol=tolerance * change + rounding)
    assert_allclose(result.history.loss, trained.losses, rtol=tolerance)
    assert result.nit == n_updates
