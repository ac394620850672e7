"""What MLPClassifier and MLPRegressor do beyond scikit-learn's: solvers, layers, losses, ..."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.special import expit, ndtr
from sklearn.utils.class_weight import compute_sample_weight

import fastmlp as fm
from cases_estimators import (
    FULL_BATCH,
    STOCHASTIC,
    TARGETS,
    WEIGHTS,
    Y01,
    Y3,
    Y_MANY,
    X,
    Y,
    classifier,
    regressor,
    same_bits,
)
from fastmlp.estimators.rules import DIRECTIONS

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning", "ignore:Got `batch_size`:UserWarning"
)


ORDINALS = np.searchsorted(["a", "b", "c"], Y3)


# Solvers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", [*FULL_BATCH, *STOCHASTIC])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_each_solver_learns(solver, dtype):
    model = classifier(solver=solver, max_iter=60, learning_rate_init=0.03).fit(X.astype(dtype), Y)
    assert model.loss_curve_[-1] < 0.8 * model.loss_curve_[0]
    assert model.score(X, Y) > 0.85
    assert model.parameters_.dtype == dtype
    assert model.n_iter_ == len(model.loss_curve_) <= 60
    assert model.best_loss_ == min(model.loss_curve_)


@pytest.mark.parametrize(
    "rule",
    [fm.rules.RMSprop(momentum=0.5, centered=True), fm.rules.Nesterov(0.8), fm.rules.AdamW()],
    ids=lambda rule: type(rule).__name__,
)
def test_rule_as_solver_updates_as_minibatch_sgd_does(rule):
    options = {"batch_size": 16, "shuffle": False, "alpha": 0.0, "learning_rate_init": 0.02}
    model = regressor(solver=rule, max_iter=3, **options).fit(X, TARGETS)
    result = fm.minibatch_sgd(
        model.network_, X, TARGETS, _initial(model.network_), rule=rule, batch_size=16, step=0.02,
        epochs=3, order="sequential",
    )  # fmt: skip
    assert same_bits(model.parameters_, result.x)


@pytest.mark.parametrize("solver", sorted(DIRECTIONS))
def test_descent_never_rises_and_is_gradient_descent(solver):
    model = regressor(solver=solver, alpha=0.3, max_iter=25, tol=0.0).fit(X, TARGETS, WEIGHTS)
    assert np.all(np.diff(model.loss_curve_) <= 0)
    net = fm.Network([5, 6, 1], loss="half_squared_error", dtype="float64")
    w = _initial(net)
    objective = fm.Objective(net, X, TARGETS, sample_weight=WEIGHTS, l2=0.3 / WEIGHTS.sum())
    result = fm.gradient_descent(
        objective, w, direction=DIRECTIONS[solver], line_search="exact", tol=0.0, max_iter=25
    )
    assert model.n_iter_ == result.nit
    np.testing.assert_allclose(model.parameters_, result.x, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(model.loss_curve_, result.history.value[1:], rtol=1e-9)
    assert model.loss_ == pytest.approx(result.fun, rel=1e-9)


def _initial(net):
    """Return what scikit-learn's MLPs with relu begin with, of seed 0."""
    w, random = np.empty(net.n_params), np.random.RandomState(0)
    for W, b in zip(net.weights(w), net.biases(w), strict=True):
        bound = np.sqrt(6 / sum(W.shape))
        W[:] = random.uniform(-bound, bound, W.shape)
        b[:] = random.uniform(-bound, bound, b.shape)
    return w


def test_alpha_of_adamw_is_decoupled_decay():
    """A step of Adam has the size of the rate: what is left of W besides is its decay."""
    kept = classifier(solver="adamw", alpha=0.0, max_iter=1).fit(X, Y)
    decayed = classifier(solver="adamw", alpha=20.0, max_iter=1).fit(X, Y)
    decay = kept.network_.weights(0.001 * 20.0 * _initial(kept.network_))
    for W, W_decayed, D in zip(kept.coefs_, decayed.coefs_, decay, strict=True):
        np.testing.assert_allclose(W - W_decayed, D, rtol=1e-9, atol=1e-15)
    for b, b_decayed in zip(kept.intercepts_, decayed.intercepts_, strict=True):
        assert same_bits(b, b_decayed)
    assert kept.loss_curve_ == decayed.loss_curve_  # a decay is no part of the loss


def test_rule_with_decay_of_its_own_leaves_alpha_unused():
    a, b = (classifier(solver=fm.rules.AdamW(), alpha=alpha).fit(X, Y) for alpha in (0.0, 9.0))
    assert same_bits(a.parameters_, b.parameters_)
    assert a.loss_curve_ == b.loss_curve_


def test_rprop_takes_all_samples():
    model = classifier(solver="rprop", batch_size=60).fit(X, Y)
    assert same_bits(model.parameters_, classifier(solver="rprop").fit(X, Y).parameters_)
    with pytest.raises(ValueError, match=r"solver='rprop' needs all 60 samples.*got 59"):
        classifier(solver="rprop", batch_size=59).fit(X, Y)
    with pytest.raises(ValueError, match=r"solver='rprop' needs the same units.*dropout=0.5"):
        classifier(solver="rprop", dropout=0.5).fit(X, Y)


# Layers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [list, tuple, np.array])
def test_one_activation_for_each_layer(kind):
    names = ["sigmoid", "gelu", "hard_tanh"]
    model = classifier(hidden_layer_sizes=(4, 3, 2), activation=kind(names)).fit(X, Y3)
    assert model.network_.activations == (*names, "softmax")
    assert all(type(name) is str for name in model.network_.activations)
    A = X
    phi = [expit, lambda z: z * ndtr(z), lambda z: np.clip(z, -1, 1)]
    for layer, (W, b) in enumerate(zip(model.coefs_[:3], model.intercepts_[:3], strict=True)):
        A = phi[layer](A @ W + b)
        np.testing.assert_allclose(model.hidden_activations(X, layer), A, rtol=1e-9, atol=1e-12)
        assert same_bits(model.hidden_activations(X, layer), model.hidden_activations(X, layer - 3))
    assert same_bits(model.transform(X), model.hidden_activations(X, 2))


def test_logistic_is_sigmoid():
    by_name = [classifier(activation=name) for name in ("logistic", "sigmoid")]
    mixed = classifier(activation=["logistic"])
    bits = [model.fit(X, Y).parameters_.tobytes() for model in (*by_name, mixed)]
    assert len(set(bits)) == 1


@pytest.mark.parametrize(
    ("activation", "message"),
    [
        (["relu", "tanh"], "activation has 2 names, hidden_layer_sizes has 1"),
        ([], "activation has 0 names, hidden_layer_sizes has 1"),
        (["nope"], "activation must be one of 'elu', .*got 'nope'"),
        (["step"], "activation must be one of .*got 'step'"),
        ([["relu"]], "activation must be one of .*got \\['relu'\\]"),
        ([None], "activation must be one of .*got None"),
        ("sign", "'activation' parameter of MLPClassifier"),
    ],
)
def test_activations_that_do_not_fit(activation, message):
    with pytest.raises(ValueError, match=message):
        classifier(activation=activation).fit(X, Y)


@pytest.mark.parametrize("layer", [2, -3, 1.0, True, "0", None])
def test_transform_to_a_layer_that_is_none(layer):
    model = classifier(hidden_layer_sizes=(3, 2)).fit(X, Y)
    with pytest.raises((ValueError, TypeError), match="layer must be"):
        model.hidden_activations(X, layer)


def test_transform_without_hidden_layers():
    with pytest.raises(ValueError, match="hidden_layer_sizes is empty"):
        classifier(hidden_layer_sizes=()).fit(X, Y).transform(X)


# Losses --------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["adam", "gd"])
@pytest.mark.parametrize(
    ("loss", "network_loss"),
    [
        ("absolute_error", "absolute_error"),
        ("log_cosh", "log_cosh"),
        ("huber", fm.losses.huber()),
        (fm.losses.huber(0.3), fm.losses.huber(0.3)),
        (fm.losses.quantile(0.9), fm.losses.quantile(0.9)),
    ],
    ids=str,
)
def test_losses_of_the_regressor(loss, network_loss, solver):
    model = regressor(loss=loss, solver=solver, alpha=0.0, batch_size=60).fit(X, TARGETS)
    net = fm.Network([5, 6, 1], loss=network_loss, dtype="float64")
    model.set_params(warm_start=True, max_iter=1)
    expected = net.loss(model.parameters_, X, TARGETS)
    if solver == "gd":
        assert model.loss_ == pytest.approx(expected)
    else:  # shown before its update
        assert model.fit(X, TARGETS).loss_curve_[-1] == pytest.approx(expected)


def test_custom_loss_of_the_regressor():
    fourth = fm.losses.custom(lambda p, t: (p - t) ** 4, lambda p, t: 4 * (p - t) ** 3)
    model = regressor(loss=fourth, solver="gd", alpha=0.0).fit(X, TARGETS)
    assert model.loss_ == pytest.approx(np.mean((model.predict(X) - TARGETS) ** 4))


@pytest.mark.parametrize("y", [Y, Y3], ids=["binary", "multiclass"])
def test_label_smoothing_of_the_classifier(y):
    smoothed = fm.losses.binary_cross_entropy if y is Y else fm.losses.cross_entropy
    model = classifier(loss=smoothed(0.2), solver="gd", alpha=0.0).fit(X, y)
    P = model.predict_proba(X)
    n_outcomes = P.shape[1]
    T = 0.8 * (y[:, None] == model.classes_) + 0.2 / n_outcomes
    assert model.loss_ == pytest.approx(-(T * np.log(P)).sum() / len(X))


@pytest.mark.parametrize(
    ("y", "loss", "message"),
    [
        (Y, fm.losses.cross_entropy(0.1), "binary_cross_entropy.* for binary labels"),
        (Y_MANY, fm.losses.cross_entropy(0.1), "binary_cross_entropy.* for multilabel labels"),
        (Y3, fm.losses.binary_cross_entropy(0.1), "losses.cross_entropy.* for multiclass labels"),
        (Y, fm.losses.huber(0.1), "got huber"),
        (Y, "squared_error", "'loss' parameter of MLPClassifier"),
        (Y, "cross_entropy", "'loss' parameter of MLPClassifier"),
    ],
)
def test_losses_that_do_not_fit_the_classifier(y, loss, message):
    with pytest.raises(ValueError, match=message):
        classifier(loss=loss).fit(X, y)


def test_losses_that_do_not_fit_the_regressor():
    with pytest.raises(ValueError, match="'loss' parameter of MLPRegressor"):
        regressor(loss="hinge").fit(X, TARGETS)
    with pytest.raises(ValueError, match="y must be 0 or more for poisson"):
        regressor(loss="poisson").fit(X, TARGETS)


# Dropout -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dropout", [0.4, [0.0, 0.4], (0.2, 0.4), np.array([0.2, 0.0])])
def test_dropout_is_drawn_from_random_state(dropout):
    fits = [classifier(dropout=dropout, random_state=seed).fit(X, Y) for seed in (0, 0, 1)]
    a, b, c = (fit.parameters_.tobytes() for fit in fits)
    assert a == b != c
    assert a != classifier().fit(X, Y).parameters_.tobytes()


@pytest.mark.parametrize("nothing", [0, 0.0, [0.0, 0.0]])
def test_no_dropout_draws_nothing(nothing):
    model = classifier(dropout=nothing, batch_size=16).fit(X, Y)
    assert same_bits(model.parameters_, classifier(batch_size=16).fit(X, Y).parameters_)


@pytest.mark.parametrize("solver", FULL_BATCH)
def test_dropout_needs_batches(solver):
    with pytest.raises(ValueError, match=r"dropout needs a stochastic solver.*solver='"):
        classifier(dropout=[0.0, 0.5], solver=solver).fit(X, Y)


@pytest.mark.parametrize(
    ("dropout", "message"),
    [
        (1.0, "'dropout' parameter"), (-0.1, "'dropout' parameter"), ("a", "'dropout' parameter"),
        ([0.5], "dropout has 1 numbers, expected 2"), ([0.1, 1.0], "dropout must be"),
        ([0.1, None], "dropout must be"),
    ],
)  # fmt: skip
def test_dropout_that_does_not_fit(dropout, message):
    with pytest.raises((ValueError, TypeError), match=message):
        classifier(dropout=dropout).fit(X, Y)


# Class weights -------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("sample_weight", [None, WEIGHTS], ids=["", "sample_weight"])
@pytest.mark.parametrize(
    ("y", "class_weight"),
    [
        (Y, {"no": 3.0, "yes": 0.5}), (Y, {"no": 3.0}), (Y3, "balanced"), (Y_MANY, "balanced"),
        (Y_MANY, [{0: 1, 1: 2}, {0: 1, 1: 3}, {0: 0.5, 1: 1}]), (Y3, {"a": 0, "b": 1, "c": 2}),
    ],
    ids=["dict", "part", "balanced", "balanced labels", "list", "zero"],
)  # fmt: skip
def test_class_weight_multiplies_sample_weight(solver, sample_weight, y, class_weight):
    by_class = compute_sample_weight(class_weight, y)
    product = by_class if sample_weight is None else by_class * sample_weight
    a = classifier(class_weight=class_weight, solver=solver).fit(X, y, sample_weight)
    b = classifier(solver=solver).fit(X, y, product)
    assert same_bits(a.parameters_, b.parameters_)
    assert a.loss_curve_ == b.loss_curve_


@pytest.mark.parametrize(
    ("y", "class_weight", "message"),
    [
        (Y3, {"z": 2.0}, "not in class_weight"),
        (Y, {"no": 0, "yes": 0}, "class_weight must not be all zero"),
        (Y, {"no": -1, "yes": 1}, "class_weight must be 0 or more; got -1"),
        (Y, {"no": np.nan, "yes": 1}, "class_weight must be finite"),
        (Y_MANY, {0: 1, 1: 2}, "list of dicts"),
        (Y, "unbalanced", "'class_weight' parameter"),
    ],
)
@pytest.mark.parametrize("solver", ["adam", "lbfgs", "gd"])
def test_class_weights_that_do_not_fit(solver, y, class_weight, message):
    with pytest.raises(ValueError, match=message):
        classifier(class_weight=class_weight, solver=solver).fit(X, y)


def test_class_weight_in_partial_fit():
    model = classifier(class_weight={"a": 5.0})
    for part in (Y3 != "a", Y3 == "a", Y3 == "b"):  # batches that lack classes
        model.partial_fit(X[part], Y3[part], classes=["a", "b", "c"])
    weighted = classifier()
    for part in (Y3 != "a", Y3 == "a", Y3 == "b"):
        weights = np.where(Y3[part] == "a", 5.0, 1.0)
        weighted.partial_fit(X[part], Y3[part], weights, classes=["a", "b", "c"])
    assert same_bits(model.parameters_, weighted.parameters_)


def test_balanced_needs_all_samples():
    with pytest.raises(ValueError, match="'balanced' is not supported for partial_fit"):
        classifier(class_weight="balanced").partial_fit(X, Y, classes=["no", "yes"])


@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_sparse_multilabel_targets(class_weight):
    models = [
        classifier(class_weight=class_weight).fit(X, labels, X_val=X, y_val=labels)
        for labels in (Y_MANY, csr_matrix(Y_MANY))
    ]
    assert same_bits(models[0].parameters_, models[1].parameters_)
    assert models[0].validation_scores_ == models[1].validation_scores_


# What is in between --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "y", "truth"),
    [(classifier(), Y, Y01), (classifier(), Y3, ORDINALS), (classifier(), Y_MANY, Y_MANY),
     (regressor(), TARGETS, TARGETS), (regressor(), X[:, :2], X[:, :2]),
     (classifier(warm_start=True), Y3, ORDINALS)],
    ids=["binary", "multiclass", "multilabel", "one target", "targets", "warm start"],
)  # fmt: skip
def test_sample_gradients(model, y, truth):
    model.fit(X, y)
    gradients = model.sample_gradients(X, y)
    assert gradients.shape == (60, model.parameters_.size)
    mean = model.network_.gradient(model.parameters_, X, truth)
    np.testing.assert_allclose(gradients.mean(axis=0), mean, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(model.sample_gradients(X[3:4], y[3:4]), gradients[3:4], rtol=1e-12)


def test_sample_gradients_of_what_is_unknown():
    model = classifier().fit(X, Y)
    with pytest.raises(ValueError, match="classes not in"):
        model.sample_gradients(X, Y3)
    with pytest.raises(ValueError, match="3 features, but MLPClassifier is expecting 5"):
        model.sample_gradients(X[:, :3], Y)
