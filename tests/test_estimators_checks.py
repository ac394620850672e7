"""scikit-learn's checks of what calls itself an estimator, for every solver."""

from __future__ import annotations

import warnings

import pytest
from sklearn.utils.estimator_checks import check_estimator

import fastmlp
from cases_twins import NAMES
from fastmlp.estimators.rules import DIRECTIONS
from fastmlp.estimators.rules import NAMES as SOLVERS

# Those that skip scikit-learn's own classes as well.
DO_NOT_APPLY = {
    "check_array_api_input",  # where the array API is not asked for
    "check_classifiers_multilabel_output_format_decision_function",  # there is none
}


@pytest.mark.parametrize("solver", sorted(SOLVERS))
@pytest.mark.parametrize("name", NAMES)
def test_estimator(name: str, solver: str) -> None:
    # Full-batch descent with exact line search gets nowhere new in more iterations.
    fewer = {"max_iter": 20} if solver in DIRECTIONS else {}
    mlp = getattr(fastmlp, name)(solver=solver, **fewer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # checks look for the warnings that they mean
        results = check_estimator(mlp, on_skip=None, on_fail="raise")
    skipped = {result["check_name"] for result in results if result["status"] == "skipped"}
    assert skipped <= DO_NOT_APPLY
    assert len(results) > 50
