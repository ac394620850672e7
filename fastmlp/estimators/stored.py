"""Fitted estimators from the trees of plain values that files hold."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastmlp import validation
from fastmlp.estimators import trees
from fastmlp.estimators.base import BaseMLP
from fastmlp.estimators.classifier import MLPClassifier
from fastmlp.estimators.labels import Labels
from fastmlp.estimators.problem import Course
from fastmlp.estimators.regressor import MLPRegressor
from fastmlp.estimators.scaling import Scaling
from fastmlp.estimators.stochastic import Optimizer
from fastmlp.files import FormatError
from fastmlp.losses import Loss
from fastmlp.network import Network
from fastmlp.solvers import descriptions, schedules
from fastmlp.solvers.checkpoints import parameters_of
from fastmlp.solvers.orders import set_random_state
from fastmlp.solvers.rules import Rule
from fastmlp.solvers.trainers import MOST_UPDATES, State

CLASSES: dict[str, type[BaseMLP]] = {one.__name__: one for one in (MLPClassifier, MLPRegressor)}
# Of an array of strings: how many characters, or how many for each that is there.
MOST_CHARACTERS, MOST_PADDING = 2**20, 16
_LABEL_KINDS = ("binary", "multiclass", "multilabel")


def tree(estimator: Any, optimizer: bool = True) -> tuple[dict[str, Any], list[str]]:
    """Return what `trees.of` does, for an estimator that `back` can make.

    Raises
    ------
    sklearn.exceptions.NotFittedError
    TypeError
        For another estimator, and as `trees.of`.
    """
    if type(estimator) not in CLASSES.values():
        raise TypeError(f"a file cannot hold a {type(estimator).__name__}, nor a subclass of ours")
    check_is_fitted(estimator)
    estimator._validate_params()  # they may have been set since
    return trees.of(estimator, optimizer)


def back(tree: dict[str, Any], loss: Loss | None = None) -> BaseMLP:
    """Return the estimator that a tree is of.

    Parameters
    ----------
    tree : dict
    loss : Loss, optional
        As `descriptions.back` takes it.

    Raises
    ------
    FormatError, TypeError, ValueError, LookupError, AttributeError
        For what `trees.of` does not return.
    """
    chosen = CLASSES.get(str(tree["class"]))
    if chosen is None:
        raise FormatError(f"it holds an estimator of unknown class {str(tree['class'])[:40]!r}")
    network, parameters = descriptions.network(tree["network"], tree["parameters"], loss)
    settings = {name: _setting_back(value, loss) for name, value in tree["settings"].items()}
    estimator = chosen(**settings)
    estimator._validate_params()
    course = Course()
    course.load(tree["course"])
    estimator.__dict__.update(estimator._fitted_at(parameters, course, network))
    estimator.n_features_in_ = network.widths[0]
    scaling = tree.get("scaling")  # files of early versions have none
    estimator.scaling_ = (
        None if scaling is None else Scaling.back(scaling, estimator.n_features_in_)
    )
    if chosen is MLPClassifier:
        labels = _labels(tree["labels"], network)
        estimator._labels, estimator.classes_ = labels, labels.classes
    if tree["feature_names_in"] is not None:
        names = array_back(tree["feature_names_in"], network.widths[0])
        estimator.feature_names_in_ = names
    optimizer = tree["optimizer"]
    estimator._optimizer = None if optimizer is None else optimizer_back(optimizer, network)
    return estimator


def _setting_back(value: Any, loss: Loss | None) -> Any:
    if isinstance(value, dict) and value.get("object") == "RandomState":
        random_state = np.random.RandomState()
        set_random_state(random_state, value["state"])
        return random_state
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return value[()]
    return descriptions.back(value, loss)


def _labels(tree: dict[str, Any], network: Network) -> Labels:
    kind = tree["kind"]
    if kind not in _LABEL_KINDS:
        raise FormatError(f"its labels are of an unknown kind: {str(kind)[:40]!r}")
    classes = array_back(tree["classes"])
    labels, n_outputs = Labels(classes, kind, bool(tree["is_sparse"])), network.widths[-1]
    fits = len(classes) in (1, 2) if kind == "binary" else len(classes) == n_outputs
    if labels.n_outputs != n_outputs or not fits:
        raise FormatError(f"it has {len(classes)} {kind} classes and {n_outputs} outputs")
    if not (classes[:-1] < classes[1:]).all():
        raise FormatError("its classes are not ascending")
    if network.activations[-1] != ("softmax" if kind == "multiclass" else "sigmoid"):
        raise FormatError(f"it has {kind} classes and the output {network.activations[-1]!r}")
    return labels


def array_back(value: Any, length: int | None = None) -> np.ndarray:
    """Return the array that `trees.strings_or_numbers` took, of that length if there is one."""
    if isinstance(value, dict):
        value = _strings(value["strings"], bool(value["is_object"]))
    if not isinstance(value, np.ndarray) or value.ndim != 1 or length not in (None, len(value)):
        raise FormatError("it has something else where an array of labels or names should be")
    return value


def _strings(listed: Any, is_object: bool) -> np.ndarray:
    if not (isinstance(listed, list) and all(isinstance(one, str) for one in listed)):
        raise FormatError("it has something else where strings should be")
    # All of a str array take as much memory as the longest.
    n_characters = len(listed) * max(map(len, listed), default=0)
    is_small = n_characters <= max(MOST_CHARACTERS, MOST_PADDING * sum(map(len, listed)))
    return np.array(listed, object if is_object or not is_small else str)


def optimizer_back(tree: dict[str, Any], network: Network) -> Optimizer:
    """Return the optimiser that a tree is of, for parameters of a network."""
    fields = dict(tree["rule"])
    own = fields.pop("own", None)
    if own is None:
        rule = descriptions.back(tree["rule"])
    else:
        numbers = {name: validation.not_negative(name, value) for name, value in fields.items()}
        rule = trees.RULES[own](**numbers)
    if not isinstance(rule, Rule):
        raise FormatError("its optimizer has no rule")
    steps = None
    if tree["schedule"] is not None:
        steps = schedules.resolve(descriptions.back(tree["schedule"]))
        steps.load_state_dict(tree["steps"])
    state = None
    if tree["state"] is not None:
        n_updates, vectors = tree["state"]
        if validation.count("n_updates", n_updates, least=0) >= MOST_UPDATES:
            raise FormatError(f"its optimizer has made {n_updates} updates")
        state = State(n_updates, parameters_of(network, vectors, rule.n_states))
    return Optimizer(
        rule,
        validation.not_negative("learning_rate", tree["learning_rate"]),
        validation.not_negative("learning_rate_init", tree["learning_rate_init"]),
        steps,
        state,
        validation.count("no_improvement", tree["no_improvement"], least=0),
        None if tree["best"] is None else parameters_of(network, tree["best"]),
        bool(tree["has_stopped"]),
    )
