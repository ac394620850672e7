"""Update rules against their naive twins and against torch; what they refuse."""

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fastmlp as fm
import naive
import naive_rules
from cases import problem, same_bits
from cases_rules import (
    EVERY_RULE,
    IDS,
    TOLERANCE,
    check_same_path,
    naive_rule,
    sequential,
    step_size,
    torch_optimiser,
    torch_parameters,
)

NAMES = {
    "sgd": "SGD", "momentum": "Momentum", "nesterov": "Nesterov", "adagrad": "Adagrad",
    "rmsprop": "RMSprop", "adam": "Adam", "amsgrad": "AMSGrad", "adamw": "AdamW", "rprop": "Rprop",
}  # fmt: skip
N = 23
# Networks whose widths lie around the edges of vectors and tiles, and batch sizes for 23 samples.
NETWORKS = [
    ({"widths": [1, 1]}, 1),
    ({"widths": [7, 8, 9], "hidden": "tanh", "loss": "half_squared_error"}, 7),
    ({"widths": [15, 16, 17, 2], "hidden": ["tanh", "sigmoid"], "bias": False}, 40),
    ({"widths": [47, 48, 49], "hidden": "tanh", "output": "softmax"}, 5),
    ({"widths": [300, 1], "output": "sigmoid"}, 13),
]
LEAST_EPS = {"float64": 0.0, "float32": 0.05}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("name", "options"), [case[:2] for case in EVERY_RULE], ids=IDS)
def test_rules_follow_their_twins(name, options, dtype, rng):
    if "eps" in {field.name for field in dataclasses.fields(getattr(fm.rules, name))}:
        default = getattr(fm.rules, name)().eps
        options = {**options, "eps": max(options.get("eps", default), LEAST_EPS[dtype])}
    rule = getattr(fm.rules, name)(**options)
    for made, batch_size in NETWORKS:
        if name == "Rprop":
            batch_size = None
        net = fm.Network(**made, dtype=dtype)
        w, X, y = problem(net, N, rng)
        result = fm.minibatch_sgd(
            net, X, y, w, batch_size=batch_size, rule=rule, step=step_size, epochs=4,
            order="sequential",
        )  # fmt: skip
        twin = naive.twin(net)
        steps = [step_size(k) for k in range(4 * N)]
        trained = naive_rules.train(
            twin, X, y, w, sequential(4, N), steps, batch_size or N, naive_rule(name, options, twin)
        )
        check_same_path(result, trained, w)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_weighted_batches_follow_the_twin(reduction, dtype, rng):
    net = fm.Network([5, 9, 3], hidden="tanh", output="softmax", dtype=dtype)
    w, X, y = problem(net, N, rng)
    s = np.where(np.arange(N) % 4 == 1, 0, rng.uniform(0.1, 2, N)).astype(dtype)
    for name, options, batch_size in [
        ("SGD", {}, 5), ("SGD", {}, 1), ("Momentum", {}, 1), ("Adam", {"eps": 0.05}, 5),
        ("Rprop", {}, N),
    ]:  # fmt: skip
        result = fm.minibatch_sgd(
            net, X, y, w, batch_size=batch_size, rule=getattr(fm.rules, name)(**options), step=0.01,
            epochs=4, order="sequential", reduction=reduction, sample_weight=s,
        )  # fmt: skip
        trained = naive_rules.train(
            naive.twin(net), X, y, w, sequential(4, N), [0.01] * 4 * N, batch_size,
            getattr(naive_rules, name)(**options), reduction=reduction, sample_weight=s,
        )  # fmt: skip
        check_same_path(result, trained, w)


@pytest.mark.parametrize("solver", [fm.sgd, fm.minibatch_sgd])
@pytest.mark.parametrize("name", NAMES)
def test_names_and_default_steps(name, solver, rng):
    if name == "rprop" and solver is fm.sgd:
        pytest.skip("needs all samples in a batch")
    net = fm.Network([5, 9, 3], hidden="tanh")
    w, X, y = problem(net, N, rng)
    rule = getattr(fm.rules, NAMES[name])()
    assert rule.default_step == (0.001 if "ad" in name and name != "adagrad" else 0.01)
    results = [
        solver(net, X, y, w, rule=given, step=step, epochs=2, order="sequential")
        for given, step in [(name, None), (rule, None), (name, rule.default_step)]
    ]
    assert results[0].history.step[-1] == rule.default_step
    for result in results[1:]:
        assert same_bits(result.x, results[0].x)
        assert same_bits(result.history.loss, results[0].history.loss)
    assert not same_bits(results[0].x, w)


@pytest.mark.parametrize("name", NAMES.values())
def test_rules_are_values(name):
    kind = getattr(fm.rules, name)
    rule = kind()
    assert rule == kind()
    assert hash(rule) == hash(kind())
    assert eval(repr(rule), {name: kind}) == rule
    twin = getattr(naive_rules, name)
    defaults = {field.name: field.default for field in dataclasses.fields(twin) if field.init}
    defaults.pop("is_weight", None)
    assert dataclasses.asdict(rule) == defaults
    for option in defaults:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(rule, option, 0.5)


# Against torch -------------------------------------------------------------------------------

TORCH_RULES = [0, 1, 3, 5, 11, 12, 15, 18, 20]


@pytest.mark.parametrize("case", TORCH_RULES, ids=[IDS[case] for case in TORCH_RULES])
def test_training_is_torchs(case, rng):
    torch = pytest.importorskip("torch")
    name, options, kind, torch_options = EVERY_RULE[case]
    net = fm.Network([9, 17, 4], hidden="tanh", output="softmax", dtype="float64")
    w, X, y = problem(net, N, rng)
    batch_size = N if name == "Rprop" else 8
    weights, biases = torch_parameters(torch, naive.twin(net), w)
    for tensor in weights + biases:
        tensor.requires_grad_()
    optimiser = torch_optimiser(torch, kind, torch_options, weights, biases, 0.01)
    inputs, truth = torch.tensor(X), torch.tensor(y)
    for _ in range(4):
        for start in range(0, N, batch_size):
            rows = slice(start, start + batch_size)
            out = torch.tanh(inputs[rows] @ weights[0] + biases[0]) @ weights[1] + biases[1]
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(out, truth[rows]).backward()
            optimiser.step()
    result = fm.minibatch_sgd(
        net, X, y, w, batch_size=batch_size, rule=getattr(fm.rules, name)(**options), step=0.01,
        epochs=4, order="sequential",
    )  # fmt: skip
    for found, expected in zip(
        [*net.weights(result.x), *net.biases(result.x)], weights + biases, strict=True
    ):
        assert_allclose(found, expected.detach().numpy(), rtol=0, atol=1e-11)


# Errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "option", "bad"),
    [
        ("Momentum", "momentum", -0.1), ("Momentum", "momentum", float("nan")),
        ("Nesterov", "momentum", -1), ("Nesterov", "momentum", float("inf")),
        ("Adagrad", "eps", -1e-9), ("Adagrad", "eps", float("inf")),
        ("RMSprop", "decay", 1.0), ("RMSprop", "decay", -0.1), ("RMSprop", "eps", -1e-9),
        ("RMSprop", "momentum", -0.1),
        *((name, *bad) for name in ("Adam", "AMSGrad", "AdamW") for bad in [
            ("beta1", 1), ("beta1", -0.1), ("beta2", 1.0), ("beta2", -0.1), ("beta2", 1.5),
            ("beta1", float("nan")), ("eps", -1e-9), ("eps", float("nan")),
        ]),
        ("AdamW", "weight_decay", -0.1), ("AdamW", "weight_decay", float("inf")),
        ("Rprop", "increase", 0.9), ("Rprop", "decrease", 1.1), ("Rprop", "decrease", 0),
        ("Rprop", "smallest", -1e-6), ("Rprop", "largest", -1), ("Rprop", "largest", float("nan")),
    ],
)  # fmt: skip
def test_values_that_no_rule_takes(name, option, bad):
    with pytest.raises(ValueError, match=rf"\b{option}\b.*{bad!r}".replace("+", r"\+")):
        getattr(fm.rules, name)(**{option: bad})


def test_rprops_bounds_in_the_wrong_order():
    with pytest.raises(ValueError, match=r"smallest.*largest"):
        fm.rules.Rprop(smallest=0.1, largest=0.01)


@pytest.mark.parametrize("name", [name for name in NAMES.values() if name != "SGD"])
@pytest.mark.parametrize("bad", ["0.9", None, True, [0.9], 1j])
def test_types_that_no_rule_takes(name, bad):
    for field in dataclasses.fields(getattr(fm.rules, name)):
        if field.name != "centered":
            with pytest.raises(TypeError, match=rf"\b{field.name}\b"):
                getattr(fm.rules, name)(**{field.name: bad})
    with pytest.raises(TypeError, match="centered"):
        fm.rules.RMSprop(centered=1.0)


@pytest.fixture
def refused(rng):
    """Check that a call is refused, and that nothing has happened by then."""
    net = fm.Network([5, 9, 3], hidden="tanh")
    w, X, y = problem(net, N, rng)

    def check(error, match, solver=fm.minibatch_sgd, **options):
        generator, before = np.random.default_rng(3), w.copy()
        state = generator.bit_generator.state
        with pytest.raises(error, match=match):
            solver(net, X, y, w, rng=generator, callback=lambda r: pytest.fail("began"), **options)
        assert same_bits(w, before)
        assert generator.bit_generator.state == state

    return check


@pytest.mark.parametrize("solver", [fm.sgd, fm.minibatch_sgd])
def test_unknown_rules(solver, refused):
    known = ".*".join(map(repr, NAMES))
    for bad in ("adamax", "", "Adam", "SGD"):
        refused(ValueError, f"rule must be.*{known}.*{bad!r}", solver, rule=bad)
    for bad in (3, None, ["adam"], {"adam": 1}):
        refused((TypeError, ValueError), f"rule must be.*{known}", solver, rule=bad)
    refused(TypeError, r"rule must be.*Adam\(\).*class", solver, rule=fm.rules.Adam)


def test_rprop_refuses_mini_batches(refused):
    for rule in ("rprop", fm.rules.Rprop()):
        refused(
            ValueError, "(?i)^rprop.* needs all samples in a batch", rule=rule, batch_size=N - 1
        )
        refused(ValueError, "(?i)^rprop.* needs all samples in a batch", fm.sgd, rule=rule)


@pytest.mark.parametrize("solver", [fm.sgd, fm.minibatch_sgd])
@pytest.mark.parametrize("option", ["l1", "l2", "clip_value", "clip_norm", "max_norm"])
def test_bad_regularisation(option, solver, refused):
    for bad in (-1e-9, float("nan"), float("inf")):
        refused(ValueError, rf"{option} must be.*{bad!r}", solver, **{option: bad})
    for bad in ("0.1", [0.1], True, 1j):
        refused(TypeError, f"{option} must be", solver, **{option: bad})
    if option in ("l1", "l2"):
        refused(TypeError, f"{option} must be", solver, **{option: None})
    else:
        refused(ValueError, f"{option} must be", solver, **{option: 0.0})


@pytest.mark.parametrize("solver", [fm.sgd, fm.minibatch_sgd])
def test_bad_clipping_and_averages(solver, refused):
    refused(ValueError, "clip_value.*clip_norm", solver, clip_value=1.0, clip_norm=1.0)
    refused(ValueError, "average must be", solver, average=-1)
    for bad in ("yes", 0.5, None, [1]):
        refused(TypeError, "average must be", solver, average=bad)
    for bad in ("0.1", 0, -0.1, float("nan")):
        refused((TypeError, ValueError), "step must be", solver, rule="adam", step=bad)
