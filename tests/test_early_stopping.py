"""Stopping when nothing improves any more."""

import math

import pytest
from numpy.testing import assert_array_equal

from cases_callbacks import N_STEPS, Interrupting, drive
from fastmlp.callbacks import EarlyStopping

NAN, INF = math.nan, math.inf

# Early stopping ------------------------------------------------------------------------------


def test_stops_after_patience():
    stop = EarlyStopping(patience=2)
    result = drive(stop, 8, validation_loss=[5, 4, 6, 3, 4, 3, 1, 1])
    assert (result.status, result.n_epochs) == (1, 6)
    assert result.message == "No improvement of the validation loss in 2 epochs."
    assert (result.best_epoch, result.best_value) == (stop.best_epoch, stop.best_value) == (4, 3)
    assert_array_equal(result.x, 4 * N_STEPS)
    assert result.fun == 1 / 6  # the last epoch's


def test_patience_of_one_epoch():
    result = drive(EarlyStopping(1), loss=[3, 3, 2])
    assert result.message == "No improvement of the training loss in 1 epoch."


BOTH = {"validation_loss": [5, 4, 3, 2], "validation_score": [0.1, 0.3, 0.2, 0.2]}


@pytest.mark.parametrize(
    ("monitor", "further", "epoch"),
    [
        (None, BOTH, 2),
        ("validation_score", BOTH, 2),
        ("validation_loss", BOTH, 4),
        ("loss", BOTH, 3),
        (None, {"validation_loss": BOTH["validation_loss"]}, 4),
        (None, {}, 3),
    ],
)
def test_what_is_monitored(monitor, further, epoch):
    stop = EarlyStopping(monitor=monitor)
    result = drive(stop, 4, loss=[4, 3, 1, 2], **further)
    assert stop.best_epoch == epoch
    assert result.best_epoch == epoch
    if monitor == "loss" or not further:  # no parameters belong to it
        assert_array_equal(result.x, 4 * N_STEPS)
    else:
        assert_array_equal(result.x, epoch * N_STEPS)


@pytest.mark.parametrize(
    ("least", "n_epochs", "best_epoch"), [(0.5, 3, 2), (0.25, 6, 6), (0.125, 7, 7)]
)
@pytest.mark.parametrize(("name", "sign"), [("validation_score", 1), ("validation_loss", -1)])
def test_least_improvement(name, sign, least, n_epochs, best_epoch):
    """Over the best so far, which counts as such however small its gain."""
    values = [sign * v for v in (1, 1.5, 1.25, 2.25, 2.5, 2.75, 9)]
    result = drive(EarlyStopping(2, least), 7, **{name: values})
    assert (result.n_epochs, result.best_epoch) == (n_epochs, best_epoch)
    assert result.best_value == values[best_epoch - 1]


def test_nan_is_no_improvement():
    stop = EarlyStopping(2)
    result = drive(stop, 9, validation_loss=[NAN, 3, NAN, 2, NAN, NAN, 1, 1, 1])
    assert (result.n_epochs, result.best_epoch) == (6, 4)
    result = drive(stop, 9, validation_loss=[NAN] * 9)
    assert (result.n_epochs, result.best_epoch) == (2, 0)
    assert math.isnan(result.best_value)
    assert_array_equal(result.x, 2 * N_STEPS)


def test_infinities():
    result = drive(EarlyStopping(2), 6, validation_loss=[INF, INF, 1, -INF, -INF, -INF])
    assert (result.n_epochs, result.best_epoch) == (6, 4)


def test_restores_whatever_ends_the_run():
    values = {"validation_loss": [2, 1, 3]}
    assert_array_equal(drive(EarlyStopping(), **values).x, 2 * N_STEPS)
    result = drive(EarlyStopping(), update=Interrupting(11), **values)
    assert_array_equal(result.x, 2 * N_STEPS)
    assert (result.status, result.best_epoch) == (2, 2)
    result = drive(EarlyStopping(), update=Interrupting(3), **values)
    assert_array_equal(result.x, 3)
    assert (result.status, result.best_epoch) == (2, 0)


def test_without_restoring():
    result = drive(EarlyStopping(1, restore_best=False), 3, validation_loss=[1, 2, 3])
    assert_array_equal(result.x, 2 * N_STEPS)
    assert (result.best_epoch, result.best_value) == (1, 1)


def test_early_stopping_in_two_runs():
    stop = EarlyStopping(2)
    for _ in range(2):
        assert drive(stop, 9, validation_loss=[1, 2, 3, 0, 0, 0, 0, 0, 0]).n_epochs == 3
    result = drive(stop, 3, validation_loss=[5, 4, 3])
    assert (result.status, result.best_epoch) == (0, 3)
    assert drive(stop, 3).status == 0


def test_early_stopping_refuses():
    for bad in (0, -1):
        with pytest.raises(ValueError, match=r"^patience must be at least 1"):
            EarlyStopping(bad)
    with pytest.raises(TypeError, match=r"^patience must be an integer"):
        EarlyStopping(2.5)
    for bad in (-1.0, NAN, INF):
        with pytest.raises(ValueError, match=r"^min_improvement must be finite, 0 or more"):
            EarlyStopping(min_improvement=bad)
    with pytest.raises(ValueError, match=r"^monitor must be one of 'validation_score', .*'loss'; "):
        EarlyStopping(monitor="val_loss")


def test_early_stopping_refuses_what_is_not_computed():
    for name in ("validation_score", "validation_loss"):
        with pytest.raises(ValueError, match=rf"^monitor must be one of 'loss'; got '{name}'"):
            drive(EarlyStopping(monitor=name))
