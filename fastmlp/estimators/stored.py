"""Fitted estimators as trees of plain values, and back, for files."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastmlp import descriptions, files
from fastmlp.estimators.base import BaseMLP
from fastmlp.estimators.classifier import MLPClassifier
from fastmlp.estimators.labels import Labels
from fastmlp.estimators.problem import Course
from fastmlp.estimators.regressor import MLPRegressor
from fastmlp.estimators.rules import AdamEpsilonHat, StepMomentum, StepNesterov
from fastmlp.estimators.stochastic import Optimizer
from fastmlp.files import FormatError
from fastmlp.losses import Loss
from fastmlp.network import Network
from fastmlp.solvers import schedules
from fastmlp.solvers.checkpoints import copy_into
from fastmlp.solvers.rules import Rule
from fastmlp.solvers.trainers import State

KIND = "estimator"
CLASSES: dict[str, type[BaseMLP]] = {one.__name__: one for one in (MLPClassifier, MLPRegressor)}
_RULES = {rule.__name__: rule for rule in (AdamEpsilonHat, StepMomentum, StepNesterov)}
MOST_CHARACTERS = 2**20
_LABEL_KINDS = ("binary", "multiclass", "multilabel")


def tree(estimator: Any, optimizer: bool = True) -> dict[str, Any]:
    """Return what a file holds of a fitted estimator.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
    optimizer : bool, default=True
        Whether to hold what `partial_fit` and warm starts go on with.

    Warns
    -----
    UserWarning
        Where a parameter cannot be held, as a function: it will have its default.

    Raises
    ------
    sklearn.exceptions.NotFittedError
    TypeError
        For another estimator, and for labels that no file can hold.
    """
    if type(estimator) not in CLASSES.values():
        raise TypeError(f"a file cannot hold a {type(estimator).__name__}, nor a subclass of ours")
    check_is_fitted(estimator)
    left_out = []
    settings = {}
    for name, value in estimator.get_params(deep=False).items():
        try:
            settings[name] = _setting(value)
        except TypeError:
            left_out.append(name)
    state = None
    if optimizer and estimator._optimizer is not None:
        try:
            state = optimizer_tree(estimator._optimizer)
        except TypeError:
            left_out.append("the optimizer's state")
    if left_out:
        warnings.warn(
            f"the file does not hold {', '.join(left_out)} of the {type(estimator).__name__}: a "
            "loaded one has defaults",
            UserWarning,
            stacklevel=3,
        )
    labels = getattr(estimator, "_labels", None)
    names = getattr(estimator, "feature_names_in_", None)
    return {
        "kind": KIND,
        "class": type(estimator).__name__,
        "settings": settings,
        "network": descriptions.of(estimator.network_),
        "parameters": estimator._parameters,
        "course": dict(vars(estimator._course)),
        "labels": None if labels is None else _labels_tree(labels),
        "feature_names_in": None if names is None else strings_or_numbers(names),
        "optimizer": state,
    }


def _setting(value: Any) -> Any:
    """Return a parameter of an estimator as a file holds it."""
    if isinstance(value, np.random.RandomState):
        return {"object": "RandomState", "state": value.get_state(legacy=False)}
    described = descriptions.of(value)
    files.encoded(described, {})  # raises for what is no plain value
    return described


def _labels_tree(labels: Labels) -> dict[str, Any]:
    classes = strings_or_numbers(labels.classes)
    return {"classes": classes, "kind": labels.kind, "is_sparse": labels.is_sparse}


def strings_or_numbers(values: np.ndarray) -> Any:
    """Return an array of one dimension as a file holds it."""
    if values.dtype.kind in "biuf":
        return values
    listed = values.tolist()
    if not all(isinstance(value, str) for value in listed):
        raise TypeError(f"a file holds numbers and strings; got an array of {values.dtype}")
    return {"strings": listed, "is_object": values.dtype == object}


def optimizer_tree(optimizer: Optimizer) -> dict[str, Any]:
    """Return what a file holds of an optimiser."""
    rule, steps, state = optimizer.rule, optimizer.steps, optimizer.state
    if type(rule) in _RULES.values():
        rule_tree = {"own": type(rule).__name__, **dataclasses.asdict(rule)}
    else:
        rule_tree = descriptions.of(rule)
    return {
        **{name: value for name, value in vars(optimizer).items() if name not in _OBJECTS},
        "rule": rule_tree,
        "schedule": None if steps is None else descriptions.of(steps.schedule),
        "steps": None if steps is None else steps.state_dict(),
        "state": None if state is None else [state.n_updates, state.vectors],
    }


_OBJECTS = ("rule", "steps", "state")


# Back -----------------------------------------------------------------------------------------


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
        For what `tree` does not return.
    """
    chosen = CLASSES.get(str(tree["class"]))
    if chosen is None:
        raise FormatError(f"it holds an estimator of unknown class {str(tree['class'])[:40]!r}")
    network, parameters = descriptions.network(tree["network"], tree["parameters"], loss)
    settings = {name: _setting_back(value, loss) for name, value in tree["settings"].items()}
    estimator = chosen(**settings)
    course = _course(tree["course"])
    estimator.__dict__.update(estimator._fitted_at(parameters, course, network))
    estimator.n_features_in_ = network.widths[0]
    if chosen is MLPClassifier:
        labels = _labels(tree["labels"], network.widths[-1])
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
        random_state.set_state(value["state"])
        return random_state
    return descriptions.back(value, loss)


def _course(tree: dict[str, Any]) -> Course:
    known = {field.name for field in dataclasses.fields(Course)}
    if tree.keys() != known:
        raise FormatError("the course of its training is incomplete")
    for name, value in tree.items():
        numbers = value if isinstance(value, list) else [value]
        if not all(one is None or isinstance(one, (int, float)) for one in numbers):
            raise FormatError(f"the course of its training has a {name} that is no number")
    course = Course(**tree)
    course.loss = np.float64(course.loss)
    return course


def _labels(tree: dict[str, Any], n_outputs: int) -> Labels:
    kind = tree["kind"]
    if kind not in _LABEL_KINDS:
        raise FormatError(f"its labels are of an unknown kind: {str(kind)[:40]!r}")
    classes = array_back(tree["classes"])
    labels = Labels(classes, kind, bool(tree["is_sparse"]))
    fits = len(classes) in (1, 2) if kind == "binary" else len(classes) == n_outputs
    if labels.n_outputs != n_outputs or not fits:
        raise FormatError(f"it has {len(classes)} {kind} classes and {n_outputs} outputs")
    return labels


def array_back(value: Any, length: int | None = None) -> np.ndarray:
    """Return the array that `strings_or_numbers` was given, of that length if one is named."""
    if isinstance(value, dict):
        value = _strings(value["strings"], bool(value["is_object"]))
    if not isinstance(value, np.ndarray) or value.ndim != 1 or length not in (None, len(value)):
        raise FormatError("it has something else where an array of labels or names should be")
    return value


def _strings(listed: Any, is_object: bool) -> np.ndarray:
    if not (isinstance(listed, list) and all(isinstance(one, str) for one in listed)):
        raise FormatError("it has something else where strings should be")
    # All of a str array take as much memory as the longest.
    is_small = len(listed) * max(map(len, listed), default=0) <= MOST_CHARACTERS
    return np.array(listed, object if is_object or not is_small else str)


def optimizer_back(tree: dict[str, Any], network: Network) -> Optimizer:
    """Return the optimiser that a tree is of, for parameters of a network."""
    fields = dict(tree["rule"])
    own = fields.pop("own", None)
    rule = descriptions.back(tree["rule"]) if own is None else _RULES[own](**fields)
    if not isinstance(rule, Rule):
        raise FormatError("its optimizer has no rule")
    steps = None
    if tree["schedule"] is not None:
        steps = schedules.resolve(descriptions.back(tree["schedule"]))
        steps.load_state_dict(tree["steps"])
    state = None
    if tree["state"] is not None:
        n_updates, vectors = tree["state"]
        state = State(int(n_updates), _vector(vectors, network, rule.n_states))
    return Optimizer(
        rule,
        float(tree["learning_rate"]),
        float(tree["learning_rate_init"]),
        steps,
        state,
        int(tree["no_improvement"]),
        None if tree["best"] is None else _vector(tree["best"], network),
        bool(tree["has_stopped"]),
    )


def _vector(value: Any, network: Network, n: int = 1) -> np.ndarray:
    """Return an array of so many vectors of a network's parameters."""
    vector = np.empty(n * network.n_params, network.dtype)
    copy_into(vector, value)
    return vector
