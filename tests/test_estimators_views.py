"""What the fitted parameters of estimators are views of."""

import copy
import pickle

import numpy as np
import pytest

from cases_estimators import X, Y, classifier, state

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
N_PARAMS = 5 * 6 + 6 + 6 * 1 + 1


def test_views_stay_views_while_training_goes_on():
    model = classifier().fit(X, Y)
    weights, biases, w = model.coefs_[0], model.intercepts_[1], model.parameters_
    before = w.copy()
    model.partial_fit(X, Y)
    assert not np.array_equal(w, before)
    assert model.parameters_ is w
    weights[:], biases[:] = 0, 1
    assert not model.coefs_[0].any()
    assert (model.intercepts_[1] == 1).all()
    model.fit(X, Y)  # a new model
    assert model.parameters_ is not w


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros(3), r"parameters_ has shape \(3,\)"),
        (np.full(N_PARAMS, np.nan), "parameters_ must be finite"),
        (np.zeros((1, N_PARAMS)), "parameters_ has shape"),
        (["a"] * N_PARAMS, "parameters_ must hold real numbers"),
    ],
)
def test_parameters_that_do_not_fit(value, message):
    model = classifier().fit(X, Y)
    held = state(model)
    with pytest.raises(ValueError, match=message):
        model.parameters_ = value
    assert state(model) == held


def test_parameters_of_another_dtype_are_copied():
    model = classifier().fit(X, Y)
    ones = np.ones(len(model.parameters_), np.int64)
    model.parameters_ = ones
    ones[:] = 0
    assert model.parameters_.dtype == np.float64
    assert (model.coefs_[0] == 1).all()
    with pytest.raises(AttributeError, match="before it is fitted"):
        classifier().parameters_ = ones


def test_copies_of_the_lists_of_views_are_plain():
    model = classifier().fit(X, Y)
    for copied in (copy.deepcopy(model.coefs_), pickle.loads(pickle.dumps(model.coefs_))):
        assert type(copied) is list
        assert all(map(np.array_equal, copied, model.coefs_))
        assert not np.shares_memory(copied[0], model.parameters_)
