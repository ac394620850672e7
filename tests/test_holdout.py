"""What is validated on: samples given, or a share of the training samples set apart."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.model_selection import train_test_split

import fastmlp as fm
from cases import PAIRS, parameters, problem, same_bits, small_network
from cases_curves import sample_weight
from fastmlp import validation, weights
from fastmlp.solvers import scoring
from fastmlp.solvers.holdout import Holdout
from fastmlp.workspace import Workspace

law = settings(deadline=None, max_examples=60)
LABELS = {"cross_entropy": 3, "binary_cross_entropy": 2, "hinge": 2, "perceptron": 2}


def hold_out(net, share, X, y, *, scorer=None, weight=None, class_weight=None, rng=0):
    """The Holdout of unchecked samples."""
    X = validation.features(net, X)
    y = validation.truth(net, y, len(X))
    combined = weights.combined(net, weight, class_weight, y, "mean")
    rng = np.random.default_rng(rng)
    return Holdout(net, share, scorer, X, y, combined, rng, class_weight)


def held_out_rows(holdout, n):
    assert holdout.train_rows.dtype == np.int64
    assert (np.diff(holdout.train_rows) > 0).all()
    return np.setdiff1d(np.arange(n), holdout.train_rows, assume_unique=True)


def labelled(loss, places, rng):
    """A network and samples whose labels are at these places among the classes."""
    n_out = LABELS[loss] if loss == "cross_entropy" else 1
    net = fm.Network([4, 5, n_out], hidden="tanh", loss=loss)
    y = 2 * places - 1 if loss in ("hinge", "perceptron") else places
    return net, parameters(net, rng), rng.standard_normal((len(places), 4)), y


# Samples given -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("output", "loss"), PAIRS)
def test_samples_given(output, loss, dtype, rng):
    net = small_network(output, loss, dtype=dtype)
    w, X, y = problem(net, 11, rng)
    _, X_val, y_val = problem(net, 37, rng)
    s = sample_weight(37, rng)
    for samples in ((X_val, y_val), [X_val, y_val], (X_val[:1], y_val[:1])):
        holdout = hold_out(net, samples, X, y)
        assert holdout.train_rows is None
        for point in (w, 2 * w):
            value, score = holdout.evaluate(point)
            assert value == net.loss(point, *samples)
            assert np.isnan(score)
    value, _ = hold_out(net, (X_val, y_val, s), X, y).evaluate(w)
    assert value == net.loss(w, X_val, y_val, sample_weight=s)
    assert hold_out(net, (X_val, y_val, None), X, y).evaluate(w)[0] == net.loss(w, X_val, y_val)


def test_samples_of_other_dtypes_and_layouts(rng):
    net = fm.Network([5, 9, 3], output="softmax")
    w, X, y = problem(net, 301, rng)
    expected = net.loss(w, X, y)
    for X_val, y_val in (
        (X.astype(np.float64), y.astype(np.uint8)),
        (np.asfortranarray(X), y.astype(np.float64)),
        (X.tolist(), y.tolist()),
    ):
        assert hold_out(net, (X_val, y_val), X[:7], y[:7]).evaluate(w)[0] == expected


@pytest.mark.parametrize("loss", LABELS)
def test_weights_of_classes(loss, rng):
    places = np.r_[0, 1, LABELS[loss] - 1, rng.integers(LABELS[loss], size=30)]
    net, w, X, y = labelled(loss, places, rng)
    first, s = min(y), sample_weight(13, rng)
    for own in ((), (s,)):
        samples = X[:13], y[:13], *own
        options = {"sample_weight": s if own else None}
        holdout = hold_out(net, samples, X, y, class_weight={first: 3})
        expected = net.loss(w, *samples[:2], class_weight={first: 3}, **options)
        assert holdout.evaluate(w)[0] == expected
        counts = np.unique(y, return_counts=True)[1]
        balanced = dict(zip(np.unique(y), len(y) / (len(counts) * counts), strict=True))
        holdout = hold_out(net, samples, X, y, class_weight="balanced")
        expected = net.loss(w, *samples[:2], class_weight=balanced, **options)
        assert holdout.evaluate(w)[0] == expected


def test_labels_only_validated_on_weigh_1(rng):
    net, w, X, y = labelled("cross_entropy", np.repeat([0, 1], [6, 3]), rng)
    y_val = np.array([0, 2, 1, 2, 2])
    value, _ = hold_out(net, (X[:5], y_val), X, y, class_weight="balanced").evaluate(w)
    assert value == net.loss(w, X[:5], y_val, class_weight={0: 0.75, 1: 1.5})


def test_samples_given_draw_nothing(rng):
    net = fm.Network([5, 3])
    _, X, y = problem(net, 7, rng)
    generator = np.random.default_rng(1)
    before = generator.bit_generator.state
    hold_out(net, (X, y), X, y, rng=generator)
    hold_out(net, None, X, y, rng=generator)
    assert generator.bit_generator.state == before


def test_nothing_to_validate_on(rng):
    net = fm.Network([5, 3])
    w, X, y = problem(net, 7, rng)
    holdout = hold_out(net, None, X, y)
    assert holdout.train_rows is None
    assert np.isnan(holdout.evaluate(w)).all()


def test_memory(rng):
    net = fm.Network([1000, 4])
    X, y = np.zeros((20_000, 1000), np.float32), np.zeros((20_000, 4), np.float32)
    for share in ((X, y), 1e-3):
        tracemalloc.start()
        hold_out(net, share, X, y).evaluate(net.init(0))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 0.3 * X.nbytes


def test_buffers_are_kept(rng, monkeypatch):
    net = fm.Network([5, 9, 3], output="softmax")
    w, X, y = problem(net, 50, rng)
    holdout = hold_out(net, 0.3, X, y, scorer="accuracy")
    first = holdout.evaluate(w)
    monkeypatch.setattr(Workspace, "__init__", None)
    assert holdout.evaluate(w) == first


# A share set apart ---------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 10, 101])
@pytest.mark.parametrize("share", [1e-9, 0.1, 0.25, 1 / 3, 0.5, 0.95, 1 - 1e-9, np.float32(0.2)])
@pytest.mark.parametrize("weighted", [False, True])
def test_share_set_apart(share, n, weighted, rng):
    net = fm.Network([5, 9, 3], hidden="tanh")
    w, X, y = problem(net, n, rng)
    s = rng.random(n) + 0.1 if weighted else None
    holdout = hold_out(net, share, X, y, weight=s)
    rows = held_out_rows(holdout, n)
    assert len(rows) == min(max(round(float(share) * n), 1), n - 1)
    options = {"sample_weight": s[rows]} if weighted else {}
    assert holdout.evaluate(w)[0] == net.loss(w, X[rows], y[rows], **options)


def test_the_share_is_the_generator_s(rng):
    net = fm.Network([5, 9, 3], output="softmax")
    _, X, y = problem(net, 60, rng)
    for truth in (y, np.eye(3)[y]):
        first, again, other = (hold_out(net, 0.4, X, truth, rng=k).train_rows for k in (1, 1, 2))
        assert_array_equal(first, again)
        assert not np.array_equal(first, other)


@pytest.mark.parametrize("output", ["softmax", "identity"])
def test_each_sample_is_as_likely(output, rng):
    net = fm.Network([1, 2], output=output)
    X, y = np.zeros((10, 1)), np.repeat([0, 1], [4, 6])
    y = y if output == "softmax" else np.zeros((10, 2))
    trained = [hold_out(net, 0.5, X, y, rng=rng).train_rows for _ in range(2000)]
    counts = np.bincount(np.concatenate(trained), minlength=10)
    assert (abs(counts - 1000) < 6 * np.sqrt(2000 / 4)).all()


# Labels in proportion ------------------------------------------------------------------------


def per_label(loss, counts, share, rng, seed=0):
    """How many of each label are set apart, of so many of each in random order."""
    places = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    net, _, X, y = labelled(loss, places, rng)
    rows = held_out_rows(hold_out(net, share, X, y, rng=seed), len(places))
    return np.bincount(places[rows], minlength=len(counts))


@pytest.mark.parametrize("loss", LABELS)
@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_exact_proportions(loss, share, rng):
    counts = np.array([50, 30, 20][: LABELS[loss]])
    assert_array_equal(per_label(loss, counts, share, rng), share * counts)


@law
@given(st.lists(st.integers(0, 40), min_size=3, max_size=3), st.floats(0.01, 0.99))
@example([0, 1, 1], 0.5)
@example([3, 3, 3], 0.66)
@example([1, 1, 30], 0.9)
def test_proportions(counts, share):
    """Hamilton's method: the total is right, each is its proportion rounded down or up."""
    counts = np.array(counts)
    n = counts.sum()
    if n < 2:
        return
    size = min(max(round(share * n), 1), n - 1)
    rng = np.random.default_rng(int(n))
    kept = np.count_nonzero(counts > 1)
    if size > n - kept:
        with pytest.raises(
            ValueError, match=f"validation={share} .* {n - size} of {n} .* {kept} labels"
        ):
            per_label("cross_entropy", counts, share, rng)
        return
    found = per_label("cross_entropy", counts, share, rng)
    assert found.sum() == size
    assert (found >= 0).all()
    assert (found[counts > 1] < counts[counts > 1]).all()
    exact = counts * size / n
    assert (found >= np.floor(exact)).all()
    if (np.ceil(exact) <= np.where(counts > 1, counts - 1, counts)).all():
        assert (found <= np.ceil(exact)).all()
        up = found > np.floor(exact)
        remainders = counts * size % n
        assert not up.any() or up.all() or remainders[up].min() >= remainders[~up].max()


def test_proportions_are_scikit_learn_s(rng):
    for _ in range(50):
        counts = rng.integers(3, 60, size=3)
        share = float(rng.uniform(0.1, 0.6))
        n = counts.sum()
        size = round(share * n)
        remainders = counts * size % n
        if len(np.unique(remainders)) < 3:
            continue  # ties are drawn
        y = np.repeat([0, 1, 2], counts)
        _, expected = train_test_split(y, test_size=size, stratify=y, random_state=0)
        found = per_label("cross_entropy", counts, share, rng)
        assert_array_equal(found, np.bincount(expected, minlength=3))


def test_equal_remainders_are_drawn(rng):
    found = [per_label("cross_entropy", [5, 5, 5], 0.5, rng, seed) for seed in range(30)]
    assert_array_equal(np.sum(found, axis=1), 8)
    assert_array_equal(np.unique(found, axis=0), [[2, 3, 3], [3, 2, 3], [3, 3, 2]])


def test_targets_are_not_labels(rng):
    """Rows of probabilities, soft targets and columns of 0 and 1 are drawn from as they come."""
    y = np.repeat([0, 1], 50)
    for net, truth in (
        (fm.Network([4, 2], output="softmax"), np.eye(2)[y]),
        (fm.Network([4, 1], output="sigmoid"), 0.1 + 0.8 * y),
        (fm.Network([4, 2], output="sigmoid"), np.eye(2)[y]),
        (fm.Network([4, 1]), y),
    ):
        X = np.zeros((100, 4))
        rows = [held_out_rows(hold_out(net, 0.2, X, truth, rng=k), 100) for k in range(10)]
        assert len({int(y[found].sum()) for found in rows}) > 1


# Scores --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["accuracy", "neg_log_loss", "f1_macro"])
def test_scores(name, rng):
    net = fm.Network([5, 9, 3], hidden="tanh", output="softmax")
    w, X, y = problem(net, 200, rng)
    score = scoring.scorer(name)
    for share in (0.4, (X[::2], y[::2])):
        holdout = hold_out(net, share, X, y, scorer=name)
        rows = np.arange(0, 200, 2) if share != 0.4 else held_out_rows(holdout, 200)
        for point in (w, -w):
            value, found = holdout.evaluate(point)
            assert value == net.loss(point, X[rows], y[rows])
            assert found == score(scoring.model(net, point), X[rows], y[rows])


def test_a_scorer_of_one_s_own(rng):
    net = fm.Network([5, 9, 1], hidden="tanh", output="sigmoid")
    w, X, y = parameters(net, rng), rng.standard_normal((50, 5)), rng.integers(2, size=50)
    seen = []

    def own(model, X, y):
        seen.append((model.w, X, y))
        return model.predict_proba(X)[:, 1].sum()

    X_val = X.astype(np.float32)
    found = hold_out(net, (X_val, y[:, None]), X, y, scorer=own).evaluate(w)[1]
    assert_allclose(found, net.predict(w, X).sum(), rtol=1e-6)
    ((w_seen, X_seen, y_seen),) = seen
    assert w_seen is w
    assert X_seen is X_val
    assert same_bits(y_seen, y)


def test_diverged_parameters_are_not_scored(rng):
    net = fm.Network([5, 3])
    w, X, y = problem(net, 20, rng)
    w[0] = np.nan
    value, score = hold_out(net, 0.5, X, y, scorer="r2").evaluate(w)
    assert np.isnan([value, score]).all()


# Errors --------------------------------------------------------------------------------------

X, Y = np.random.default_rng(0).standard_normal((12, 4)), np.arange(12) % 3


def replaced(array, value, at):
    array = array.astype(float)
    array[at] = value
    return array


@pytest.mark.parametrize(
    ("share", "error", "message"),
    [
        (0, ValueError, "validation must be .* between 0 and 1; got 0"),
        (1, ValueError, "validation must be .* got 1"),
        (1.0, ValueError, "validation must be .* got 1.0"),
        (-0.2, ValueError, "validation must be .* got -0.2"),
        (np.nan, ValueError, "validation must be .* got nan"),
        (True, ValueError, "validation must be .* got True"),
        ("0.2", ValueError, "validation must be .* got '0.2'"),
        (X, ValueError, r"validation must be .* got an array of shape \(12, 4\)"),
        ((X,), ValueError, "validation must be .* got a tuple of 1"),
        ([X, Y, None, 1], ValueError, "validation must be .* got a list of 4"),
        ((X[:, :3], Y), ValueError, "validation.*X_val.*X has 3 features.* expects 4"),
        ((X[0], Y), ValueError, "validation.*X_val.*X must be 2-D"),
        ((X[:0], Y[:0]), ValueError, "validation.*X_val.*X is empty"),
        ((replaced(X, np.nan, (3, 1)), Y), ValueError, r"validation.*X_val.*X\[3, 1\] is nan"),
        ((X, Y[:7]), ValueError, "validation.*y_val.*y has 7 samples, X has 12"),
        ((X, Y + 1), ValueError, r"validation.*y_val.*labels 0 \.\. 2.* got 3"),
        ((X, replaced(Y, 0.5, 2)), ValueError, "validation.*y_val.*labels.* got 0.5"),
        ((X, None), ValueError, "validation.*y_val.*y must hold real numbers"),
        ((X, Y, np.ones(3)), ValueError, r"validation.*sample_weight has shape \(3,\)"),
        ((X, Y, -np.ones(12)), ValueError, "validation.*sample_weight must be 0 or more"),
        ((X, Y, np.zeros(12)), ValueError, "validation.*sample_weight must not be all zero"),
    ],
    ids=lambda value: "" if isinstance(value, type) else str(value)[:40],
)
def test_bad_validation(share, error, message):
    net = fm.Network([4, 3], output="softmax")
    with pytest.raises(error, match=f"(?s){message}"):
        hold_out(net, share, X, Y)


def test_too_few_samples():
    net = fm.Network([4, 3], output="softmax")
    with pytest.raises(ValueError, match=r"validation=0\.5 needs at least 2 samples; X has 1"):
        hold_out(net, 0.5, X[:1], Y[:1])
    with pytest.raises(ValueError, match=r"validation=0\.9 .* 1 of 12 .* 3 labels"):
        hold_out(net, 0.9, X, Y)


def test_only_weights_of_zero():
    net = fm.Network([4, 3])
    y, s = np.zeros((12, 3)), np.ones(12)
    rows = held_out_rows(hold_out(net, 0.5, X, y), 12)
    for left, message in (
        (rows, "to train on"),
        (np.delete(np.arange(12), rows), "to validate on"),
    ):
        s = np.zeros(12)
        s[left] = 1
        with pytest.raises(ValueError, match=f"validation=0.5 .*weight 0 {message}"):
            hold_out(net, 0.5, X, y, weight=s)


def test_scoring_without_validation():
    net = fm.Network([4, 3], output="softmax")
    with pytest.raises(ValueError, match=r"scoring .*validation"):
        hold_out(net, None, X, Y, scorer="accuracy")
    with pytest.raises(ValueError, match=r"scoring .*'acuracy'"):
        hold_out(net, 0.5, X, Y, scorer="acuracy")
