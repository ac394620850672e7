"""Fits that are killed and go on from checkpoints, and what they have to come to."""

import warnings

import pytest

import fastmlp as fm
from cases_estimators import X_VAL, Y_VAL, state


class Killed(Exception):
    """What ends a fit."""


class KillAt:
    """Raises after an epoch, before its checkpoint is written; takes note of those it is told."""

    def __init__(self, epoch=None, error=Killed):
        self.epoch, self.error, self.told = epoch, error, []

    def __call__(self, state):
        self.told.append(int(state.n_epochs))
        if state.n_epochs == self.epoch:
            raise self.error


def fitted(estimator, *besides):
    """Return what a fit leaves, as something to compare bit for bit."""
    held = state(estimator)
    return {name: value for name, value in held.items() if name not in ("callbacks", *besides)}


def warned(call):
    """Return what a call returns, and the warnings it gives."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = call()
    return result, [(one.category, str(one.message)) for one in caught]


def kill(make, data, path, at, every_n_steps=None, **fit):
    """Have a fit end in an error after so many epochs; go on first where there is a checkpoint."""
    kept = fm.Checkpoints(path, every_n_steps=every_n_steps)
    with pytest.raises(Killed):
        make(callbacks=KillAt(at)).fit(*data, checkpoint=kept, resume=True, **fit)


def check_resumes(make, data, folder, stops=(1, 2, 4), every_n_steps=3, **fit):
    """Fail unless a fit that is killed time and again ends as one that never was.

    Parameters
    ----------
    make : callable
        Returns a new estimator, with the given parameters besides its own.
    stops : sequence of int
        The epochs after which it is killed in a row; from each it also goes on to its end.

    Returns
    -------
    expected, resumed : estimators
    """
    expected, warnings_before = warned(lambda: make().fit(*data, **fit))
    path = folder / "fit.ckpt"
    for at in stops:
        kill(make, data, path, at, every_n_steps, **fit)
        if not path.exists():  # an epoch of one update
            continue
        watch = KillAt()
        resumed, warnings_now = warned(
            lambda watch=watch: make(callbacks=watch).fit(*data, resume=path, **fit)
        )
        assert fitted(resumed) == fitted(expected)
        assert warnings_now == warnings_before
        assert watch.told == [*range(watch.told[0], expected.n_iter_ + 1)]
    if expected.solver != "lbfgs":  # whose callbacks are told everything again
        assert watch.told[0] == stops[-1]
    return expected, resumed


VALIDATION = {"X_val": X_VAL, "y_val": Y_VAL}
