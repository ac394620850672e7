"""A run that does nothing but call back, as the stochastic solvers do."""

import math

import numpy as np
import pytest
from scipy.optimize import OptimizeResult

from fastmlp.solvers import reports
from fastmlp.solvers.reports import Callbacks, finished, warn_of

N_STEPS = 4  # of an epoch


def drive(callback, epochs=3, loss=None, update=None, **further):
    """Call back as a solver does; the update k makes the parameters 1 + k.

    The loss of an epoch, and what `further` names, are looked up in sequences.
    """
    callbacks = Callbacks(callback)
    losses = [1 / k for k in range(1, epochs + 1)] if loss is None else loss
    columns = {"loss": losses, "step": [0.5] * epochs, "seconds": [*range(1, epochs + 1)]}
    columns |= further
    x, nit, n_epochs = np.zeros(3), 0, 0

    def state(fun):
        history = {name: np.array(values[:n_epochs], float) for name, values in columns.items()}
        step = 0.5 if nit else math.nan
        return OptimizeResult(
            x=x, fun=fun, nit=nit, n_epochs=n_epochs, step=step, seconds=nit / N_STEPS,
            history=OptimizeResult(history), epochs=epochs, n_steps=epochs * N_STEPS,
        )  # fmt: skip

    def end(status, message):
        fun = losses[n_epochs - 1] if n_epochs else math.nan
        result = finished(state(fun), status, message, callbacks)
        warn_of(result, stacklevel=3)
        return result

    why = None
    try:
        callbacks.start(state(math.nan))
        while n_epochs < epochs and why is None:
            while nit < (n_epochs + 1) * N_STEPS and why is None:
                stop = callbacks.next_stop(nit)
                assert stop is None or stop > nit
                nit += 1
                x[:] = nit
                if update is not None:
                    update(nit)
                if nit == stop:
                    why = callbacks.steps(state(losses[n_epochs]))
            if nit == (n_epochs + 1) * N_STEPS:
                n_epochs += 1
                answer = callbacks.epoch_end(state(losses[n_epochs - 1]))
                why = why or answer
    except KeyboardInterrupt:
        with pytest.warns(RuntimeWarning, match=r"^Interrupted\.$"):
            return end(reports.INTERRUPTED, "Interrupted.")
    except BaseException as error:
        end(reports.FAILED, f"Failed: {error!r}")
        raise
    if why is not None:
        return end(reports.STOPPED, why)
    return end(reports.DONE, "Done.")


class Interrupting:
    """Ctrl-C after so many updates."""

    def __init__(self, at, error=KeyboardInterrupt):
        self.at, self.error = at, error

    def __call__(self, nit):
        if nit == self.at:
            raise self.error
