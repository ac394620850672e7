"""Per-sample and mini-batch stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastmlp import validation as checks
from fastmlp.solvers.checkpoints import resolve
from fastmlp.solvers.settings import Settings
from fastmlp.solvers.training import train
from fastmlp.solvers.updates import updates

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

    from fastmlp.network import Network


def sgd(
    net: Network,
    X: Any,
    y: Any,
    w: Any,
    *,
    rule: Any = "sgd",
    step: Any = None,
    epochs: int = 1,
    order: str = "shuffled",
    sample_weight: Any = None,
    class_weight: Any = None,
    l1: float = 0.0,
    l2: float = 0.0,
    dropout: float | Sequence[float] = 0.0,
    clip_value: float | None = None,
    clip_norm: float | None = None,
    max_norm: float | None = None,
    average: bool | int = False,
    validation: Any = None,
    scoring: Any = None,
    patience: int | None = None,
    min_improvement: float = 0.0,
    rng: Any = None,
    callback: Any = None,
    progress: bool | None = None,
    checkpoint: Any = None,
    every: Any = None,
    resume: Any = False,
) -> OptimizeResult:
    """Minimise the mean loss by stochastic gradient descent, one sample at a time.

    For one sample after the other: ``w <- w - step(k) * weight * gradient of its loss``, k = 0, 1,
    ..., or what the rule makes of that gradient. Where neither another rule nor any of `l1`, `l2`,
    `dropout`, `clip_value`, `clip_norm`, `max_norm` and `average` is given, a kernel of its own
    does it, which is faster on small networks.

    Parameters
    ----------
    net, X, y, w, rule, step, epochs, order, class_weight, l1, l2, dropout, clip_value, clip_norm, \
max_norm, average, validation, scoring, patience, min_improvement, rng, callback, progress, \
checkpoint, every, resume
        As in `minibatch_sgd`, with batches of one sample.
    sample_weight : array-like of shape (n_samples,), optional
        Not negative, not all zero. They multiply the samples' gradients; one of weight 0 changes
        nothing, though it counts as an update for the step size.

    Returns
    -------
    scipy.optimize.OptimizeResult
        As in `minibatch_sgd`.

    Warns
    -----
    RuntimeWarning
        Where interrupted or diverged.

    Raises
    ------
    ValueError, TypeError
        For arguments that do not fit, before anything is done.

    References
    ----------
    Robbins and Monro, "A stochastic approximation method", Annals of Mathematical Statistics 22,
    1951.
    """
    checkpoints, resumed = resolve(checkpoint, every, resume)
    settings = Settings(
        updates=updates(rule, l1, l2, clip_value, clip_norm, max_norm, average),
        reduction="sum",
        batch_size=1,
        per_sample=True,
        step=step,
        epochs=epochs,
        order=order,
        sample_weight=sample_weight,
        class_weight=class_weight,
        dropout=dropout,
        validation=validation,
        scoring=scoring,
        patience=patience,
        min_improvement=min_improvement,
        rng=rng,
        callback=callback,
        progress=progress,
        checkpoints=checkpoints,
        resumed=resumed,
    )
    return train(net, X, y, w, settings)


def minibatch_sgd(
    net: Network,
    X: Any,
    y: Any,
    w: Any,
    *,
    batch_size: int | None = 128,
    rule: Any = "sgd",
    step: Any = None,
    epochs: int = 1,
    order: str = "shuffled",
    reduction: str = "mean",
    sample_weight: Any = None,
    class_weight: Any = None,
    l1: float = 0.0,
    l2: float = 0.0,
    dropout: float | Sequence[float] = 0.0,
    clip_value: float | None = None,
    clip_norm: float | None = None,
    max_norm: float | None = None,
    average: bool | int = False,
    validation: Any = None,
    scoring: Any = None,
    patience: int | None = None,
    min_improvement: float = 0.0,
    rng: Any = None,
    callback: Any = None,
    progress: bool | None = None,
    checkpoint: Any = None,
    every: Any = None,
    resume: Any = False,
) -> OptimizeResult:
    """Minimise the mean loss by stochastic gradient descent, a mini-batch at a time.

    For one batch after the other: ``w <- w - step(k) * gradient of its mean (or summed) loss``, or
    what the rule makes of that gradient.

    Parameters
    ----------
    net : Network
    X : {array-like, sparse matrix, Source} of shape (n_samples, n_0)
        Used in place where it has the network's dtype and C order; otherwise converted in small
        runs, never as a whole. Memory maps are fine, and sparse matrices (best in CSR format).
    y : array-like of shape (n_samples,) or (n_samples, n_L)
        As in `Network.loss`.
    w : array-like of shape (n_params,)
        Where to start; not modified.
    batch_size : int or None, default=128
        The last batch of an epoch is smaller where the number of samples is no multiple. None: all
        samples.
    rule : str or rule, default="sgd"
        "sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "amsgrad", "adamw" or "rprop"
        (for batches of all samples), or one of `fastmlp.rules` with parameters of its own.
    step : float, schedule or callable, optional
        The step size: a number, one of `fastmlp.schedules`, or a function of the step number k. By
        default 0.001 for Adam and its kind, else 0.01.
    epochs : int, default=1
        Passes over the samples.
    order : {"shuffled", "replacement", "sequential", "buffered"}, default="shuffled"
        A new permutation in each epoch, independent draws, or as they are. "buffered": runs of
        2^18 / n_0 consecutive samples in a new random order in each epoch, and the samples of 32
        runs at a time permuted; "shuffled" means that for sources without random access.
    reduction : {"mean", "sum"}, default="mean"
        Of the losses of a batch: ``sum_i s_i e_i / sum_i s_i`` or ``sum_i s_i e_i``, with the
        weights s_i of its samples.
    sample_weight : array-like of shape (n_samples,), optional
        Not negative, not all zero. Weight 0 equals leaving the sample out of its batch; a batch in
        which all have it changes nothing, though it counts as an update.
    class_weight : dict or "balanced", optional
        For labels: a weight for each, 1 where none is given, or "balanced" for weights inversely
        proportional to the classes' frequencies. Multiplies `sample_weight`.
    l1, l2 : float, default=0.0
        Strengths of the penalties ``l1 * sum |W|`` and ``l2 / 2 * sum W^2`` of the weights; biases
        are not penalised. They are added to the gradient before the rule sees it (for weight decay
        apart from the rule see `rules.AdamW`), and are no part of the losses reported.
    dropout : float or sequence of float, default=0.0
        The probability that an activation is set to 0 in an update, the others being divided by
        what is left: a number for all hidden layers, or one for the inputs and each hidden layer.
        The units are a function of the seed and the update's number; nothing is dropped when losses
        are validated.
    clip_value : float, optional
        The entries of the loss's gradient are brought into [-clip_value, clip_value].
    clip_norm : float, optional
        A gradient of the loss whose Euclidean norm, over all parameters, is larger is scaled to it.
    max_norm : float, optional
        After each update, the weights into a unit are scaled to this Euclidean norm where theirs
        is larger.
    average : bool or int, default=False
        Whether the result is the mean of the iterates: True for all, an int for those after so many
        updates.
    validation : tuple (X, y), tuple (X, y, sample_weight) or float, optional
        Samples to compute the loss of after each epoch, or the fraction of the samples to set apart
        for it, drawn by `rng`: of each class its part where y are labels.
    scoring : str or callable, optional
        A score of the validation samples, the greater the better: the name of a scikit-learn
        scorer, or ``scorer(model, X, y)`` with a model that has ``predict`` and, for probabilities,
        ``predict_proba``. Weights are not passed to it.
    patience : int, optional
        Stop after so many epochs without an improvement of the validation score, the validation
        loss or, without validation, the mean training loss. With validation, the best epoch's
        parameters are returned.
    min_improvement : float, default=0.0
        The least change for the better that counts as one.
    rng : None, int or numpy.random.Generator
        For the order, dropout and the validation samples, as in SPEC 7.
    callback : callable, callback or sequence of them, optional
        A function called after each epoch with an OptimizeResult of ``x`` (a view: copy it to keep
        it), ``fun``, ``nit``, ``n_epochs``, ``step``, ``seconds`` and ``history``; to stop, it
        returns True or raises StopIteration. Or one of `fastmlp.callbacks`.
    progress : bool, optional
        Whether to show a progress bar; by default on a terminal, if it takes longer than a second.
    checkpoint : str, os.PathLike or Checkpoints, optional
        The file to write the run's whole state to as it goes, or `fastmlp.Checkpoints` for more
        choices. Where it cannot be written, a warning says so and training goes on.
    every : int or datetime.timedelta, optional
        After how many epochs, or what time, to write it; by default each epoch.
    resume : bool, str or os.PathLike, default=False
        True: go on from `checkpoint` if there is one, else begin. A path: go on from that one. The
        run ends on the same bits as one that was never stopped. All arguments are to be those of
        the checkpoint, but `epochs`, `callback` and `progress`; where `rng` is None, `w` and `rng`
        are the checkpoint's.

    Returns
    -------
    scipy.optimize.OptimizeResult
        ``x`` parameters; ``fun`` mean training loss of the last complete epoch, each sample's loss
        taken just before the update it takes part in: so not the loss at ``x``, least of all where
        ``x`` is of an earlier epoch or a mean; ``nit`` updates made; ``n_epochs`` complete epochs;
        ``status`` 0: all epochs done, 1: stopped by a callback or for want of improvement, 2:
        interrupted by Ctrl-C, 3: diverged (a loss or parameter was not finite); ``success`` whether
        status is 0 or 1; ``message``; ``history`` with arrays of one entry for each complete epoch:
        ``loss``, ``step`` (the last step size), ``seconds`` (since the start), ``validation_loss``
        and ``validation_score`` where there are any. With `average`, ``iterate`` is the last
        iterate; with `patience`, ``best_epoch`` (from 1) and ``best_value`` tell of the best epoch.
        The same seed gives the same bits, for any number of threads.

    Warns
    -----
    RuntimeWarning
        Where interrupted or diverged.

    Raises
    ------
    ValueError, TypeError
        For arguments that do not fit, and for a checkpoint of other data or settings, before
        anything is done.
    fastmlp.FormatError
        For a file to resume from that is no checkpoint, or damaged.
    OSError
        For a checkpoint's folder that does not exist, or a file that cannot be read.

    References
    ----------
    Bottou, Curtis and Nocedal, "Optimization methods for large-scale machine learning", SIAM Review
    60, 2018. Srivastava et al., "Dropout: a simple way to prevent neural networks from
    overfitting", 2014 (dropout, max_norm). Pascanu, Mikolov and Bengio, "On the difficulty of
    training recurrent neural networks", 2013 (clip_norm). Polyak and Juditsky, "Acceleration of
    stochastic approximation by averaging", 1992 (average).
    """
    checkpoints, resumed = resolve(checkpoint, every, resume)
    settings = Settings(
        updates=updates(rule, l1, l2, clip_value, clip_norm, max_norm, average),
        reduction=checks.one_of("reduction", reduction, checks.REDUCTIONS),
        batch_size=batch_size,
        per_sample=False,
        step=step,
        epochs=epochs,
        order=order,
        sample_weight=sample_weight,
        class_weight=class_weight,
        dropout=dropout,
        validation=validation,
        scoring=scoring,
        patience=patience,
        min_improvement=min_improvement,
        rng=rng,
        callback=callback,
        progress=progress,
        checkpoints=checkpoints,
        resumed=resumed,
    )
    return train(net, X, y, w, settings)
