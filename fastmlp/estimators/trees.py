"""Fitted estimators as trees of plain values, for files."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp import files
from fastmlp.estimators.labels import Labels
from fastmlp.estimators.rules import AdamEpsilonHat, StepMomentum, StepNesterov
from fastmlp.solvers import descriptions

if TYPE_CHECKING:
    from fastmlp.estimators.stochastic import Optimizer

KIND = "estimator"
# The rules that are made of an estimator's parameters, which `fastmlp.rules` has not.
RULES = {rule.__name__: rule for rule in (AdamEpsilonHat, StepMomentum, StepNesterov)}
_OBJECTS = ("rule", "steps", "state")  # of an optimiser


def of(estimator: Any, optimizer: bool = True) -> tuple[dict[str, Any], list[str]]:
    """Return what a file holds of a fitted estimator, and the names of what it cannot hold.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
    optimizer : bool, default=True
        Whether to hold what `partial_fit` and warm starts go on with.

    Returns
    -------
    tree : dict
    left_out : list of str
        Parameters that are functions or other objects, and the like.

    Raises
    ------
    TypeError
        For labels that no file can hold.
    """
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
    labels, scaling = getattr(estimator, "_labels", None), estimator.scaling_
    names = getattr(estimator, "feature_names_in_", None)
    tree = {
        "kind": KIND,
        "class": type(estimator).__name__,
        "settings": settings,
        "network": descriptions.of(estimator.network_),
        "parameters": estimator._parameters,
        "course": estimator._course.tree(),
        "scaling": None if scaling is None else scaling.tree(),
        "labels": None if labels is None else _labels_tree(labels),
        "feature_names_in": None if names is None else strings_or_numbers(names),
        "optimizer": state,
    }
    return tree, left_out


def _setting(value: Any) -> Any:
    """Return a parameter of an estimator as a file holds it."""
    if isinstance(value, np.random.RandomState):
        state = value.get_state(legacy=False)
        if state["bit_generator"] != "MT19937":
            raise TypeError("a file cannot hold a RandomState of another bit generator")
        return {"object": "RandomState", "state": state}
    if isinstance(value, (np.number, np.bool_)):  # float32 is computed with as such
        value = np.array(value)
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
    if type(rule) in RULES.values():
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
