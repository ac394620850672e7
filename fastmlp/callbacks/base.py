"""What a callback is, and checks that the ready ones share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastmlp import validation

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult


class Callback:
    """What a solver calls while it trains; each method does nothing unless overridden.

    The solvers call any object with some of these methods: inheriting is a convenience.
    `on_steps` and `on_epoch_end` stop the run by returning True or raising StopIteration;
    ``StopIteration("why")`` puts that sentence into ``result.message``. Of several callbacks all
    are called, in order, even if one asks to stop. Another exception ends the run and is raised.

    The state is an OptimizeResult of ``x`` (the live parameters: copy them to keep them), ``fun``
    (the mean training loss of the epoch so far, or of the epoch just ended), ``nit`` (updates
    made), ``n_epochs`` (complete epochs), ``step`` (the last step size), ``seconds`` since the
    start, and ``history``: arrays of one entry for each complete epoch, ``loss``, ``step`` and
    ``seconds``, with ``validation_loss`` and ``validation_score`` where the solver computes them.

    A callback with both methods ``state_dict()``, which returns a dict of plain values and arrays,
    and ``load_state_dict(state)`` has its state in checkpoints. Where a run goes on from one, it is
    given back after `on_start`; to raise StopIteration there is to say that the run had ended.

    Attributes
    ----------
    every_n_steps : int or None
        `on_steps` is called after each so many updates, counted from the run's start; None: never.
        Solvers read it before `on_start`.

    Examples
    --------
    >>> import fastmlp as fm
    >>> class Norms(fm.callbacks.Callback):
    ...     every_n_steps = 10
    ...
    ...     def on_start(self, state):
    ...         self.norms = []
    ...
    ...     def on_steps(self, state):
    ...         self.norms.append(float(state.x @ state.x))
    >>> net = fm.Network([2, 1])
    >>> X, y, norms = [[0.0, 1.0]] * 100, [1.0] * 100, Norms()
    >>> result = fm.sgd(net, X, y, net.init(rng=0), callback=norms)
    >>> len(norms.norms)
    10
    """

    every_n_steps: int | None = None

    def on_start(self, state: OptimizeResult) -> None:
        """Do what comes before the first update; a second run begins here as well."""

    def on_steps(self, state: OptimizeResult) -> object:
        """Look on after each `every_n_steps` updates, before the epoch's end if that is due too."""

    def on_epoch_end(self, state: OptimizeResult) -> object:
        """Look on after each epoch."""

    def on_end(self, result: OptimizeResult) -> None:
        """Do what comes last: always called once if `on_start` has returned.

        So also after Ctrl-C, divergence or an exception (then ``result.status`` is 6). The result
        is the one to be returned, with ``status`` and ``message``; changes to it count.
        """


def optional_count(name: str, value: int | None) -> int | None:
    """Return None, or a positive count."""
    return None if value is None else validation.count(name, value)
