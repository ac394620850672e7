"""Validation, scores, patience and weights of samples in sgd and minibatch_sgd."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import metrics

import fastmlp as fm
from cases import parameters, same_bits
from cases_curves import sample_weight

N, N_VAL = 90, 40
SOLVERS = {"sgd": fm.sgd, "minibatch_sgd": fm.minibatch_sgd}


@pytest.fixture(params=SOLVERS)
def solver(request):
    return SOLVERS[request.param]


def classification(rng, dtype="float32", n=N, n_classes=3):
    """A network, a start, and samples to train and to validate on, so noisy that it overfits."""
    net = fm.Network([4, 12, n_classes], hidden="tanh", output="softmax", dtype=dtype)
    X = rng.standard_normal((n + N_VAL, 4)).astype(dtype)
    Z = X @ rng.standard_normal((4, n_classes)) + rng.standard_normal((len(X), n_classes))
    y = Z.argmax(axis=1)
    y[:n_classes] = np.arange(n_classes)
    return net, parameters(net, rng), X[:n], y[:n], X[n:], y[n:]


def train(solver, net, X, y, w, **options):
    if solver is fm.minibatch_sgd:
        options.setdefault("batch_size", 16)
    return solver(net, X, y, w, **{"step": 0.05, "epochs": 6, "rng": 0, **options})


class Recorder:
    """A callback that keeps the parameters after each epoch."""

    def __init__(self):
        self.x, self.states = [], []

    def __call__(self, state):
        self.x.append(state.x.copy())
        self.states.append(state)


# Curves --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weighted", [False, True])
def test_curves_are_the_losses_and_scores_of_each_epoch(solver, weighted, dtype, rng):
    net, w, X, y, X_val, y_val = classification(rng, dtype)
    weights = {"sample_weight": sample_weight(N_VAL, rng)} if weighted else {}
    each = Recorder()
    validation = (X_val, y_val, *weights.values())
    result = train(solver, net, X, y, w, validation=validation, scoring="f1_macro", callback=each)
    history = result.history
    assert len(history.validation_loss) == len(history.validation_score) == 6
    for x, loss, score in zip(
        each.x, history.validation_loss, history.validation_score, strict=True
    ):
        assert loss == net.loss(x, X_val, y_val, **weights)
        labels = net.predict(x, X_val).argmax(axis=1)
        assert_allclose(score, metrics.f1_score(y_val, labels, average="macro"), rtol=1e-14)
    assert len(np.unique(history.validation_loss)) == 6


def test_validation_changes_no_bit_of_training(solver, rng):
    net, w, X, y, X_val, y_val = classification(rng)
    plain = train(solver, net, X, y, w)
    result = train(solver, net, X, y, w, validation=(X_val, y_val), scoring="accuracy")
    assert same_bits(result.x, plain.x)
    assert_array_equal(result.history.loss, plain.history.loss)
    assert not {"validation_loss", "validation_score"} & plain.history.keys()


def test_callbacks_see_the_curves(solver, rng):
    net, w, X, y, X_val, y_val = classification(rng)
    each = Recorder()
    result = train(
        solver, net, X, y, w, validation=(X_val, y_val), scoring="accuracy", callback=each
    )
    for number, state in enumerate(each.states, start=1):
        for name in ("loss", "validation_loss", "validation_score"):
            assert_array_equal(state.history[name], result.history[name][:number])
    without = Recorder()
    train(solver, net, X, y, w, validation=(X_val, y_val), callback=without)
    assert "validation_score" not in without.states[0].history


def test_a_scorer_of_one_s_own(solver, rng):
    net, w, X, y, X_val, y_val = classification(rng)
    seen = []

    def own(model, X, y):
        seen.append((model.w.copy(), X, y))
        return np.nan if len(seen) == 2 else float(len(seen))

    each = Recorder()
    result = train(solver, net, X, y, w, validation=(X_val, y_val), scoring=own, callback=each)
    assert_array_equal(result.history.validation_score, [1, np.nan, 3, 4, 5, 6])
    for x, (w_seen, X_seen, y_seen) in zip(each.x, seen, strict=True):
        assert same_bits(w_seen, x)
        assert X_seen is X_val
        assert_array_equal(y_seen, y_val)


def test_the_same_seed_gives_the_same_bits(solver, rng):
    net, w, X, y, *_ = classification(rng)
    options = {"validation": 0.3, "scoring": "accuracy"}
    one, again, other = (train(solver, net, X, y, w, **options, rng=k) for k in (1, 1, 2))
    assert same_bits(one.x, again.x)
    for name in ("loss", "validation_loss", "validation_score"):
        assert_array_equal(one.history[name], again.history[name])
    assert not np.array_equal(one.history.validation_loss, other.history.validation_loss)


# A share set apart ---------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("layout", ["in place", "converted"])
def test_what_is_set_apart_is_not_trained_on(solver, labels, layout, rng):
    """Move one sample at a time: those set apart change the validation's curve and nothing else."""
    n, share = 21, 1 / 3
    net, w, X, y, *_ = classification(rng, n=n)
    if not labels:
        y = np.eye(3)[y]
    if layout == "converted":
        X = np.asfortranarray(X, np.float64)
    plain = train(solver, net, X, y, w, validation=share)
    held_out = []
    for i in range(n):
        moved = X.copy(order="K")
        moved[i] *= 1e3
        result = train(solver, net, moved, y, w, validation=share)
        apart = not np.array_equal(result.history.validation_loss, plain.history.validation_loss)
        if same_bits(result.x, plain.x):
            assert_array_equal(result.history.loss, plain.history.loss)
            assert apart
            held_out.append(i)
        else:
            assert not np.array_equal(result.history.loss, plain.history.loss)
    assert len(held_out) == round(share * n)
    assert plain.history.validation_loss[-1] == net.loss(plain.x, X[held_out], y[held_out])
    if labels:
        exact = share * np.bincount(y)
        assert (abs(np.bincount(y[held_out], minlength=3) - exact) < 1).all()


def test_epochs_are_those_of_the_samples_left(solver, rng):
    net, w, X, y, *_ = classification(rng)
    result = train(solver, net, X, y, w, validation=0.3, epochs=2)
    n_left = N - round(0.3 * N)
    assert result.nit == 2 * (n_left if solver is fm.sgd else -(-n_left // 16))


@pytest.mark.parametrize("order", ["shuffled", "replacement", "sequential"])
def test_samples_set_apart_are_never_taken(solver, order):
    """Samples are unit vectors: each moves a weight of its own, from 0."""
    n = 30
    net = fm.Network([n, 1], bias=False)
    options = {"validation": 0.3, "order": order, "step": 0.01, "epochs": 40}
    result = train(solver, net, np.eye(n), np.ones(n), np.zeros(n), **options)
    assert np.count_nonzero(result.x == 0) == 9
    assert_array_equal(result.history.validation_loss, np.ones(40))


@pytest.mark.parametrize("order", ["shuffled", "sequential"])
def test_each_of_many_samples_is_trained_or_validated_on(order, rng):
    """As parameters hardly move, the two losses add up to that of all samples."""
    n = 100_003
    net = fm.Network([1, 1], bias=False, dtype="float64")
    X, y = rng.standard_normal((n, 1)), rng.standard_normal(n)
    options = {"batch_size": 1000, "order": order, "step": 1e-30, "epochs": 2}
    result = train(fm.minibatch_sgd, net, X, y, np.zeros(1), validation=0.2, **options)
    n_val = round(0.2 * n)
    total = (n - n_val) * result.history.loss + n_val * result.history.validation_loss
    assert_allclose(total, (y**2).sum(), rtol=1e-11)


# Patience ------------------------------------------------------------------------------------


def overfit(solver, rng, **options):
    """Train long on few samples, so that the validation's curve turns."""
    net, w, X, y, X_val, y_val = classification(rng, n=20)
    options = {"step": 0.3, "epochs": 200, "validation": (X_val, y_val), **options}
    each = Recorder()
    return train(solver, net, X, y, w, callback=each, **options), each


@pytest.mark.parametrize("patience", [1, 4])
def test_patience(solver, patience, rng):
    result, each = overfit(solver, rng, patience=patience)
    losses = result.history.validation_loss
    assert (result.status, result.success) == (1, True)
    assert "validation loss" in result.message
    assert f"{patience} epoch" in result.message
    assert len(losses) == result.n_epochs == len(each.x) < 200
    best = int(np.argmin(losses))
    assert result.best_epoch == best + 1  # epochs are counted from 1, as n_epochs does
    assert result.n_epochs == result.best_epoch + patience
    assert same_bits(result.x, each.x[best])
    records = np.flatnonzero(losses <= np.minimum.accumulate(losses))
    assert (np.diff(records) <= patience).all()  # it waited no longer before


def test_patience_with_scores(solver, rng):
    result, each = overfit(solver, rng, patience=5, scoring="accuracy")
    scores = result.history.validation_score
    assert result.status == 1
    best = int(np.argmax(scores))  # the first of equal ones
    assert result.best_epoch == best + 1
    assert result.n_epochs == result.best_epoch + 5
    assert same_bits(result.x, each.x[best])


def test_no_score_is_no_improvement(solver, rng):
    scores = iter([np.nan, 1.0, np.nan, np.nan, np.nan, 2.0])
    result, each = overfit(
        solver, rng, patience=3, scoring=lambda model, X, y: next(scores), epochs=6
    )
    assert (result.n_epochs, result.best_epoch, result.status) == (5, 2, 1)
    assert same_bits(result.x, each.x[1])


def test_improvements_too_small_do_not_count(solver, rng):
    scores = iter([1.0, 1.0625, 1.25, 1.3125, 1.34375, 9.0])
    result, _ = overfit(
        solver, rng, patience=2, min_improvement=0.125, epochs=6,
        scoring=lambda model, X, y: next(scores),
    )  # fmt: skip
    assert (result.status, result.n_epochs) == (1, 5)
    result, _ = overfit(solver, rng, patience=3, min_improvement=1e9)
    assert (result.status, result.n_epochs) == (1, 4)


def test_patience_that_is_not_needed(solver, rng):
    result, each = overfit(solver, rng, patience=10**6, epochs=5)
    assert (result.status, result.n_epochs) == (0, 5)
    best = int(np.argmin(result.history.validation_loss))
    assert result.best_epoch == best + 1
    assert same_bits(result.x, each.x[best])


def test_patience_with_a_share(solver, rng):
    net, w, X, y, *_ = classification(rng, n=40)
    options = {"step": 0.3, "epochs": 300, "validation": 0.5, "patience": 3}
    each = Recorder()
    result = train(solver, net, X, y, w, callback=each, **options)
    assert result.status == 1
    assert same_bits(result.x, each.x[int(np.argmin(result.history.validation_loss))])


# Weights -------------------------------------------------------------------------------------


def full_batch(net, X, y, w, **options):
    return train(fm.minibatch_sgd, net, X, y, w, batch_size=None, order="sequential", **options)


def check_close(one, other, dtype):
    tolerance = {"float32": 2e-5, "float64": 1e-12}[dtype]
    assert_allclose(one.x, other.x, rtol=tolerance, atol=tolerance)
    assert_allclose(one.history.loss, other.history.loss, rtol=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_weight_zero_leaves_a_sample_out(reduction, dtype, rng):
    net, w, X, y, *_ = classification(rng, dtype)
    s = rng.integers(0, 3, N).astype(float)
    options = {"reduction": reduction, "step": 0.05 if reduction == "mean" else 5e-4}
    found = full_batch(net, X, y, w, sample_weight=s, **options)
    left = full_batch(net, X[s > 0], y[s > 0], w, sample_weight=s[s > 0], **options)
    check_close(found, left, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_whole_weights_repeat_samples(reduction, dtype, rng):
    net, w, X, y, *_ = classification(rng, dtype)
    s = rng.integers(0, 4, N)
    options = {"reduction": reduction, "step": 0.05 if reduction == "mean" else 5e-4}
    found = full_batch(net, X, y, w, sample_weight=s, **options)
    repeated = full_batch(net, np.repeat(X, s, axis=0), np.repeat(y, s), w, **options)
    check_close(found, repeated, dtype)


def test_samples_of_weight_zero_do_not_matter(solver, rng):
    """Whatever is in them, and also where a batch has no others."""
    net, w, X, y, *_ = classification(rng)
    s = sample_weight(N, rng)
    s[:40] = 0
    other = X.copy()
    other[s == 0] *= 100
    options = {"sample_weight": s, "order": "sequential"}
    found, expected = (train(solver, net, rows, y, w, **options) for rows in (other, X))
    assert np.isfinite(found.x).all()
    assert same_bits(found.x, expected.x)
    assert_array_equal(found.history.loss, expected.history.loss)


def test_the_history_has_the_weighted_mean(solver, rng):
    net, w, X, y, *_ = classification(rng, "float64")
    s = sample_weight(N, rng)
    result = train(solver, net, X, y, w, sample_weight=s, step=1e-12, epochs=2)
    expected = net.loss(w, X, y, sample_weight=s)
    assert_allclose(result.history.loss, expected, rtol=1e-9)


@pytest.mark.parametrize("class_weight", [{0: 0.3, 2: 5.0}, "balanced"], ids=str)
def test_class_weights_are_sample_weights(solver, class_weight, rng):
    net, w, X, y, X_val, y_val = classification(rng)
    counts = np.bincount(y)
    given = {"balanced": N / (3 * counts)}.get(str(class_weight), np.array([0.3, 1, 5]))
    own = sample_weight(N, rng)
    for weights, factors in (({}, 1.0), ({"sample_weight": own}, own)):
        validation = {"validation": (X_val, y_val)}
        found = train(solver, net, X, y, w, class_weight=class_weight, **weights, **validation)
        validation = {"validation": (X_val, y_val, given[y_val])}
        expected = train(solver, net, X, y, w, sample_weight=factors * given[y], **validation)
        assert same_bits(found.x, expected.x)
        for name in ("loss", "validation_loss"):
            assert_array_equal(found.history[name], expected.history[name])


@pytest.mark.parametrize("scale", [2.0**-70, 2.0**90])
def test_scale_of_weights_of_a_mean(scale, rng):
    net, w, X, y, *_ = classification(rng)
    s = sample_weight(N, rng)
    one = train(fm.minibatch_sgd, net, X, y, w, sample_weight=s)
    scaled = train(fm.minibatch_sgd, net, X, y, w, sample_weight=scale * s)
    assert same_bits(one.x, scaled.x)
    assert_array_equal(one.history.loss, scaled.history.loss)


def test_weights_of_one_change_no_bit(solver, rng):
    net, w, X, y, *_ = classification(rng)
    one = train(solver, net, X, y, w)
    weighted = train(solver, net, X, y, w, sample_weight=np.ones(N))
    assert same_bits(one.x, weighted.x)
    assert_array_equal(one.history.loss, weighted.history.loss)


def test_the_share_set_apart_is_weighted(solver, rng):
    net, w, X, y, *_ = classification(rng)
    s = np.ones(N)
    plain = train(solver, net, X, y, w, validation=0.5, sample_weight=s)
    weighted = train(solver, net, X, y, w, validation=0.5, class_weight={0: 1e-3, 1: 1e-3})
    only = y == 2
    s[~only] = 1e-3
    same = train(solver, net, X, y, w, validation=0.5, sample_weight=s)
    assert_array_equal(weighted.history.validation_loss, same.history.validation_loss)
    assert not np.array_equal(weighted.history.validation_loss, plain.history.validation_loss)


# Errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"scoring": "accuracy"}, ValueError, "scoring .*validation"),
        ({"validation": 1.5}, ValueError, "validation .*1.5"),
        ({"validation": (np.ones((3, 5)), [0, 1, 2])}, ValueError, "validation.*5 features"),
        ({"validation": 0.5, "scoring": "acuracy"}, ValueError, "scoring .*'acuracy'"),
        ({"validation": 0.5, "patience": 0}, ValueError, "patience .*0"),
        ({"validation": 0.5, "patience": 1.5}, (TypeError, ValueError), "patience .*1.5"),
        ({"validation": 0.5, "patience": 1, "min_improvement": -1}, ValueError, "min_improvement"),
        ({"sample_weight": np.ones(3)}, ValueError, r"sample_weight .*\(3,\)"),
        ({"sample_weight": -np.ones(N)}, ValueError, "sample_weight .*-1"),
        ({"class_weight": {7: 1.0}}, ValueError, "class_weight .*7"),
        ({"class_weight": "uniform"}, ValueError, "class_weight .*'uniform'"),
    ],
    ids=lambda value: str(list(value)) if isinstance(value, dict) else "",
)
def test_bad_options(solver, options, error, message, rng):
    net, w, X, y, *_ = classification(rng)
    before = w.copy()
    with pytest.raises(error, match=message):
        train(solver, net, X, y, w, **options)
    assert same_bits(w, before)


def test_class_weight_of_targets(solver, rng):
    net = fm.Network([4, 3])
    X, y = rng.standard_normal((N, 4)), rng.standard_normal((N, 3))
    with pytest.raises(ValueError, match=r"class_weight needs labels.*'squared_error'"):
        train(solver, net, X, y, net.init(0), class_weight="balanced")
