"""Laws that update rules obey, and the minima that they reach."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import fastmlp as fm
import naive
from cases import problem, same_bits
from cases_rules import EVERY_RULE, IDS

seeds = st.integers(0, 2**32 - 1)
dtypes = st.sampled_from(["float32", "float64"])
widths = st.lists(st.integers(1, 20), min_size=2, max_size=4)
examples = settings(max_examples=25)


def make(widths, dtype, seed, n=23, **given):
    net = fm.Network(widths, dtype=dtype, **{"hidden": "tanh", **given})
    return net, *problem(net, n, np.random.default_rng(seed))


def train(net, w, X, y, rule, **given):
    options = {"batch_size": 8, "step": 0.01, "epochs": 3, "order": "sequential", **given}
    return fm.minibatch_sgd(net, X, y, w, rule=rule, **options)


@examples
@given(widths, dtypes, seeds)
def test_no_momentum_is_plain_descent(widths, dtype, seed):
    problem = make(widths, dtype, seed)
    plain = train(*problem, "sgd")
    for rule in (fm.rules.Momentum(0.0), fm.rules.Nesterov(0.0)):
        found = train(*problem, rule)
        assert same_bits(found.x, plain.x)
        assert same_bits(found.history.loss, plain.history.loss)


@examples
@given(widths, dtypes, seeds)
def test_rules_that_are_others_where_an_option_is_off(widths, dtype, seed):
    problem = make(widths, dtype, seed)
    rules = fm.rules
    assert same_bits(
        train(*problem, rules.AdamW(weight_decay=0)).x, train(*problem, rules.Adam()).x
    )
    # The largest squares so far are at first the only ones.
    one = {"batch_size": 23, "epochs": 1}
    assert same_bits(
        train(*problem, rules.AMSGrad(), **one).x, train(*problem, rules.Adam(), **one).x
    )
    # Adam without memory is the sign of the gradient.
    signs = train(*problem, rules.Adam(beta1=0, beta2=0, eps=0), **one, step=2**-7)
    expected = -np.sign(problem[0].gradient(problem[1], *problem[2:])) * 2.0**-7
    assert_allclose(signs.x - problem[1], expected, rtol=1e-4)


@examples
@given(dtypes, seeds, st.integers(-12, 12))
def test_scaled_losses_change_no_bit_where_eps_is_zero(dtype, seed, power):
    net, w, X, y = make([7, 9, 3], dtype, seed, n=16)
    rules = fm.rules
    for rule in (
        rules.Adam(eps=0), rules.AMSGrad(eps=0), rules.Adagrad(eps=0), rules.RMSprop(eps=0),
        rules.RMSprop(eps=0, centered=True), rules.RMSprop(eps=0, momentum=0.9),
        rules.AdamW(eps=0, weight_decay=0.1),
    ):  # fmt: skip
        mean = train(net, w, X, y, rule)  # of batches of 8 = 2^3
        scaled = train(net, w, X, y, rule, reduction="sum", sample_weight=np.full(16, 2.0**power))
        assert mean.success
        assert same_bits(scaled.x, mean.x)


@examples
@given(widths, dtypes, seeds)
def test_rprop_sees_nothing_but_signs(widths, dtype, seed):
    problem = make(widths, dtype, seed)
    mean, total = (
        train(*problem, "rprop", batch_size=23, reduction=reduction, epochs=6)
        for reduction in ("mean", "sum")
    )
    assert same_bits(total.x, mean.x)
    assert_allclose(total.history.loss, mean.history.loss)
    moves = train(*problem, "rprop", batch_size=23, epochs=1, step=2**-6).x - problem[1]
    gradient = problem[0].gradient(problem[1], *problem[2:])
    assert_array_equal(np.sign(moves), -np.sign(gradient))
    assert_allclose(abs(moves)[moves != 0], 2**-6, rtol=1e-4)


@examples
@given(widths, seeds)
def test_the_rule_of_a_number_sees_its_own_gradient_only(widths, seed):
    """Two outputs of a linear network are two networks."""
    n_in = widths[0]
    net, w, X, y = make([n_in, 2], "float64", seed)
    single = fm.Network([n_in, 1], dtype="float64")
    for name, options, *_ in EVERY_RULE:
        rule = getattr(fm.rules, name)(**options)
        both = train(net, w, X, y, rule, batch_size=23).x
        for unit in (0, 1):
            own = [net.weights(w)[0][:, unit], net.biases(w)[0][[unit]]]
            alone = train(single, np.concatenate(own), X, y[:, [unit]], rule, batch_size=23).x
            assert same_bits(net.weights(both)[0][:, unit].copy(), alone[:-1])
            assert both[-2 + unit] == alone[-1]


def denominators(rule, gradients):
    """What a rule without a mean divides each gradient by, but for its correction.

    One weight, whose gradient is w - y: w moves by less than its last digits.
    """
    net = fm.Network([1, 1], bias=False, loss="half_squared_error", dtype="float64")
    X, step = np.ones((len(gradients), 1)), 1e-9
    w = [
        train(net, [0.0], X[:k], -gradients[:k], rule, batch_size=1, epochs=1, step=step).x[0]
        for k in range(1, len(gradients) + 1)
    ]
    corrections = np.sqrt(1 - rule.beta2 ** np.arange(1, len(gradients) + 1))
    return -step * gradients / np.diff([0.0, *w]) * corrections


@examples
@given(st.lists(st.floats(0.1, 10), min_size=4, max_size=12), st.sampled_from([0.0, 0.5, 0.9]))
def test_amsgrads_denominators_never_shrink(gradients, beta2):
    rule = fm.rules.AMSGrad(beta1=0.0, beta2=beta2, eps=0.0)
    assert (np.diff(denominators(rule, np.array(gradients))) >= -1e-5).all()


def test_adams_denominators_do_shrink():
    rule = fm.rules.Adam(beta1=0.0, beta2=0.5, eps=0.0)
    assert_allclose(denominators(rule, np.array([4.0, 1.0, 1.0])) ** 2, [8, 4.5, 2.75], rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "options"), [case[:2] for case in EVERY_RULE], ids=IDS)
def test_no_gradient_no_move(name, options, dtype, rng):
    """X is 0 and y the biases: every gradient is 0. Only decay moves anything."""
    net = fm.Network([9, 17], dtype=dtype)
    w = rng.standard_normal(net.n_params).astype(dtype)
    X, y = np.zeros((7, 9)), np.tile(net.biases(w)[0], (7, 1))
    rule = getattr(fm.rules, name)(**options)
    result = train(net, w, X, y, rule, batch_size=7, epochs=20, step=0.1)
    assert same_bits(result.x[-17:], w[-17:])
    if name == "AdamW":
        left = (1 - 0.1 * rule.weight_decay) ** 20
        assert_allclose(result.x[:-17], left * w[:-17], rtol=100 * np.finfo(dtype).eps)
    else:
        assert same_bits(result.x, w)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_no_root_of_a_negative_spread(momentum, dtype, rng):
    """The gradient stays the same for so long that its spread is rounding errors alone."""
    net, w, X, y = make([9, 17, 3], dtype, 0)
    rule = fm.rules.RMSprop(decay=0.5, eps=1.0, centered=True, momentum=momentum)
    found = train(net, w, X, y, rule, batch_size=23, epochs=200, step=lambda k: 0.1 * (k == 199))
    assert found.success
    gradient = net.gradient(w, X, y).astype("f8") / (1 - momentum)
    assert_allclose(found.x - w, -0.1 * gradient, atol=1e-3 * abs(gradient).max())


# Minima --------------------------------------------------------------------------------------


def cooling(step, updates, factor=1e-4):
    """From step to step * factor, by a constant factor: a rule of fixed moves comes to rest."""
    return lambda k: step * factor ** (k / updates)


UPDATES = 1500
# A rule, its options, step sizes, and how near the minimum it must come, of 0.5 and more: to
# rounding errors, but where moves do not shrink with the gradient (Rprop's least is 1e-6) or
# shrink by the largest gradient ever.
TO_THE_MINIMUM = [
    ("SGD", {}, 0.15, 1e-10),
    ("Momentum", {}, 0.05, 1e-10),
    ("Nesterov", {}, 0.05, 1e-10),
    ("Adagrad", {}, 0.7, 1e-10),
    ("RMSprop", {}, cooling(0.1, UPDATES), 1e-10),
    ("Adam", {"beta2": 0.99}, cooling(0.1, UPDATES), 1e-10),
    ("AMSGrad", {"beta2": 0.99}, cooling(0.1, UPDATES), 1e-6),
    ("Rprop", {}, 0.1, 1e-5),
]
MINIMA = pytest.mark.parametrize(
    ("name", "options", "step", "tolerance"),
    TO_THE_MINIMUM,
    ids=[case[0] for case in TO_THE_MINIMUM],
)


@MINIMA
def test_least_squares(name, options, step, tolerance, rng):
    net = fm.Network([4, 2], dtype="float64")
    w, X, y = problem(net, 60, rng)
    solution, *_ = np.linalg.lstsq(np.column_stack([X, np.ones(60)]), y, rcond=None)
    rule = getattr(fm.rules, name)(**options)
    result = train(net, w, X, y, rule, batch_size=None, epochs=UPDATES, step=step)
    assert abs(w - solution.ravel()).max() > 0.5
    assert_allclose(result.x, solution.ravel(), rtol=0, atol=tolerance)


def newton(objective, w):
    """The minimum of a convex twin objective."""
    for _ in range(30):
        H = np.array([objective.hessian_vector(w, e) for e in np.eye(w.size)])
        w = w - np.linalg.solve(H, objective.gradient(w))
    assert abs(objective.gradient(w)).max() < 1e-14
    return w


@MINIMA
def test_logistic_regression(name, options, step, tolerance, rng):
    net = fm.Network([4, 1], output="sigmoid", dtype="float64")
    w, X, y = problem(net, 60, rng)
    solution = newton(naive.Objective(naive.twin(net), X, y, l2=0.2), 0 * w)
    rule = getattr(fm.rules, name)(**options)
    larger = step if callable(step) or name == "Rprop" else 4 * step
    result = train(net, w, X, y, rule, batch_size=None, epochs=UPDATES, step=larger, l2=0.2)
    assert abs(w - solution).max() > 0.3
    assert_allclose(result.x, solution, rtol=0, atol=tolerance)
