"""scikit-learn's own tests of its classes, run on ours."""

from __future__ import annotations

import importlib.util
from types import ModuleType
from typing import Any
from unittest import mock

import pytest
from sklearn import neural_network

import fastmlp

# Their tests let convergence warnings pass, and look for others themselves.
pytestmark = pytest.mark.filterwarnings("ignore")

OF_PRIVATES = {
    "test_fit": "makes a fitted estimator by hand, by setting private attributes",
    "test_gradient": "calls the private _loss_grad_lbfgs",
}


class MLPClassifier(fastmlp.MLPClassifier):
    """With a private attribute that their tests read."""

    @property
    def _no_improvement_count(self) -> int:
        return self._optimizer.no_improvement  # type: ignore[union-attr]


def their_tests() -> ModuleType:
    """Return scikit-learn's test module, with our classes for its own."""
    spec = importlib.util.find_spec("sklearn.neural_network.tests.test_mlp")
    if spec is None or spec.loader is None:
        pytest.skip("scikit-learn is installed without its tests", allow_module_level=True)
    module = importlib.util.module_from_spec(spec)
    ours = {"MLPClassifier": MLPClassifier, "MLPRegressor": fastmlp.MLPRegressor}
    with mock.patch.multiple(neural_network, **ours):
        spec.loader.exec_module(module)
    return module


@pytest.fixture
def global_random_seed() -> int:
    """Stand in for the fixture of scikit-learn's conftest.py."""
    return 42


TESTS: dict[str, Any] = {
    name: test for name, test in vars(their_tests()).items() if name.startswith("test_")
}
globals().update({name: test for name, test in TESTS.items() if name not in OF_PRIVATES})


def test_they_are_there() -> None:
    """A test that is left out is still one of theirs, and the others are collected."""
    assert TESTS.keys() > OF_PRIVATES.keys()
    assert len(TESTS) > 30
