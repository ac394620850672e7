"""Checkpoints: a run's whole state on disk, from which it goes on to the same bits."""

from __future__ import annotations

import contextlib
import math
import os
import reprlib
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import fastmlp
from fastmlp import files, validation
from fastmlp.files import FormatError, checked_path
from fastmlp.solvers import descriptions
from fastmlp.solvers.identity import require_same

if TYPE_CHECKING:
    from fastmlp.network import Network

KIND = "checkpoint"


@dataclass(frozen=True)
class Checkpoints:
    """Where a solver writes checkpoints, when, and how many it keeps.

    Solvers take it, or the path alone, as `checkpoint`. A checkpoint is written when it is time, at
    the end of the run and after Ctrl-C; where the run diverges or an error ends it, the last one
    stays. `fastmlp.load` returns the model in it, and `resume` of the solvers goes on with the run.

    Parameters
    ----------
    path : str or os.PathLike
        The file of the newest checkpoint, in a folder that exists. Of one run at a time.
    every : int, timedelta or None, default=1
        After each so many epochs (iterations of full-batch solvers), or when so much time has
        passed since the last one; None: at the end only.
    every_n_steps : int, optional
        Also after each so many updates.
    keep : int, default=1
        How many to keep: earlier ones are `path` with ".1" (the last before the newest), ".2" ...
        at its end.
    keep_best : bool, default=False
        Whether to keep the best epoch's as well, as `path` with ".best" at its end: of the greatest
        validation score, else of the least validation loss, or else mean training loss.

    Raises
    ------
    TypeError, ValueError
        For arguments that do not fit.

    Examples
    --------
    >>> import fastmlp as fm
    >>> net, X, y = fm.Network([2, 1]), [[0.0, 1.0]] * 100, [1.0] * 100
    >>> kept = fm.Checkpoints("run.ckpt", every=2, keep=3)
    >>> result = fm.minibatch_sgd(net, X, y, net.init(rng=0), epochs=5, rng=0, checkpoint=kept)
    >>> further = fm.minibatch_sgd(
    ...     net, X, y, net.init(rng=0), epochs=9, rng=0, checkpoint=kept, resume=True
    ... )
    >>> further.n_epochs
    9
    """

    path: Path
    every: int | timedelta | None = 1
    every_n_steps: int | None = None
    keep: int = 1
    keep_best: bool = False

    def __post_init__(self) -> None:
        """Check the arguments."""
        object.__setattr__(self, "path", checked_path("path", self.path))
        for name in ("every", "every_n_steps", "keep"):
            value = getattr(self, name)
            if isinstance(value, timedelta) and name == "every":
                if value <= timedelta(0):
                    raise ValueError(f"every must be positive; got {value!r}")
            elif name == "every" and not isinstance(value, (int, np.integer, type(None))):
                expected = "an integer, a datetime.timedelta or None"
                raise TypeError(f"every must be {expected}; got {reprlib.repr(value)}")
            elif value is not None or name == "keep":  # NumPy's integers are no int
                object.__setattr__(self, name, validation.count(name, value))
        if not isinstance(self.keep_best, (bool, np.bool_)):
            raise TypeError(f"keep_best must be True or False; got {self.keep_best!r}")


@dataclass(frozen=True)
class Resumed:
    """A checkpoint that a run goes on from: the file, and what it holds."""

    path: Path
    tree: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        with self.reading():
            return self.tree[name]

    def forget(self) -> None:
        """Let go of what has been read: it is as large as what the run holds itself."""
        self.tree.clear()

    def reading(self) -> contextlib.AbstractContextManager[None]:
        """Raise FormatError where the tree is not as it should be."""
        return files.understanding(self.path, "is no checkpoint of this kind of run")


def resolve(checkpoint: Any, every: Any, resume: Any) -> tuple[Checkpoints | None, Resumed | None]:
    """Return what a solver's arguments ask for: what to write, and what to go on from.

    Parameters
    ----------
    checkpoint : None, str, os.PathLike or Checkpoints
    every : None, int or timedelta
        Of a mere path.
    resume : bool, str or os.PathLike
    """
    if checkpoint is not None and not isinstance(checkpoint, Checkpoints):
        checked_path("checkpoint", checkpoint)
        checkpoint = Checkpoints(checkpoint, 1 if every is None else every)
    elif every is not None:
        where = (
            "checkpoint=None" if checkpoint is None else "fastmlp.Checkpoints, which has its own"
        )
        raise ValueError(f"every={every!r} goes with a path as checkpoint; got {where}")
    if checkpoint is not None:
        files.require_place(checkpoint.path, "checkpoint")
        if not os.access(checkpoint.path.parent, os.W_OK):
            raise PermissionError(
                f"checkpoint must be in a folder that can be written to; got {checkpoint.path}"
            )
    path: Path | None
    if isinstance(resume, (bool, np.bool_)):
        if resume and checkpoint is None:
            raise ValueError("resume=True needs a checkpoint; got checkpoint=None")
        path = checkpoint.path if resume else None
        if path is not None and not path.exists():
            if files.earlier(path).exists():
                raise FileNotFoundError(
                    f"{path} is missing, but {files.earlier(path)} is there: resume from that one, "
                    "or remove it"
                )
            path = None
    else:
        path = checked_path("resume", resume)
    if path is None:
        return checkpoint, None
    try:
        kind, tree = files.read(path)
    except FormatError as error:
        if files.earlier(path).exists():
            hint = f"the one before it is {files.earlier(path)}, which resume= takes as well"
            raise FormatError(f"{error}; {hint}") from None
        raise
    if kind != KIND:
        raise FormatError(f"resume must be a checkpoint; {path} holds a {kind}")
    return checkpoint, Resumed(path, tree)


class Keeper:
    """Writes the checkpoints of one run, and tells whether one is of the same run.

    Parameters
    ----------
    settings : Checkpoints or None
        None: nothing is written.
    resumed : Resumed or None
    about : dict
        What the run is, in words: data and settings that decide its numbers, by their names.
    start : object
        The state of the random generator at the start of the run, for the one that goes on.
    has_seed : bool
        Whether the user has chosen that state.

    Raises
    ------
    ValueError
        Where the checkpoint is of other data or settings.
    """

    def __init__(
        self,
        settings: Checkpoints | None,
        resumed: Resumed | None,
        about: dict[str, str],
        start: Any = None,
        has_seed: bool = True,
    ) -> None:
        self.settings, self.about, self.start = settings, about, start
        self.best, self._is_best = math.inf, False  # the least value, and whether it is unwritten
        self._was_best = False  # the checkpoint that the run goes on from
        if resumed is not None:
            version = resumed["version"]
            is_ours = version == fastmlp.__version__
            require_same(resumed.path, resumed["about"], about, has_seed, is_ours)
            self.about = resumed["about"]
            if not is_ours:
                warnings.warn(
                    f"{resumed.path} was written by fastmlp {version}, and this is "
                    f"{fastmlp.__version__}: the run may end on other bits",
                    RuntimeWarning,
                    stacklevel=2,
                )
            self.best, self._was_best = _number(resumed["best"]), bool(resumed["is_best"])
        self._written: tuple[int, int] | None = None  # epochs and updates, of the last one
        self._last = time.monotonic()
        self._is_new = resumed is None  # and has written nothing yet
        if settings is not None:  # it stays there, wherever a callback may change to
            self.path = Path(os.path.realpath(settings.path))
            files.remove_leftovers(self.path)

    def go_on(self, path: Path, n_epochs: int, n_updates: int) -> None:
        """Take note of what the checkpoint is of that the run goes on from: not to write again."""
        if self.settings is not None and os.path.realpath(path) == str(self.path):
            self._written = n_epochs, n_updates
            if self._was_best:  # it may have been killed before it was kept as such
                self._copy_best()

    def next_stop(self, n_updates: int) -> int | None:
        """Return how many updates are made when a checkpoint is next due, or None."""
        if self.settings is None or self.settings.every_n_steps is None:
            return None
        return (n_updates // self.settings.every_n_steps + 1) * self.settings.every_n_steps

    def is_due_after_update(self, n_updates: int) -> bool:
        """Return whether to write a checkpoint within an epoch."""
        settings = self.settings
        if settings is None:
            return False
        every = settings.every_n_steps
        return (every is not None and n_updates % every == 0) or self._is_time()

    def is_due_after_epoch(self, n_epochs: int, value: float) -> bool:
        """Return whether to write a checkpoint after an epoch of this value, best if least."""
        settings = self.settings
        if settings is None:
            return False
        self._is_best = value < self.best
        self.best = min(self.best, value)  # in this order NaN is not taken
        by_epochs = isinstance(settings.every, int) and n_epochs % settings.every == 0
        return by_epochs or self._is_time() or (self._is_best and settings.keep_best)

    def is_due_after_iteration(self, n_epochs: int, n_updates: int, value: float) -> bool:
        """Return whether to write one after an epoch, and the update that it ends with."""
        is_due = self.is_due_after_epoch(n_epochs, value)
        return is_due or self.is_due_after_update(n_updates)

    def _is_time(self) -> bool:
        assert self.settings is not None
        every = self.settings.every
        if not isinstance(every, timedelta):
            return False
        return time.monotonic() - self._last >= every.total_seconds()

    def write(self, run: Callable[[], dict[str, Any]], n_epochs: int, n_updates: int) -> None:
        """Write a checkpoint, unless the last one is of now; where that fails, warn.

        Parameters
        ----------
        run : callable
            Returns the tree of the run's state: "model", and what the solver puts beside it.
        """
        settings, now = self.settings, (n_epochs, n_updates)
        if settings is None or self._written == now:
            return
        if self._is_new and self.path.is_file():  # of a run that this one does not go on from
            self._try(lambda: files.copy(self.path, self.path.with_name(f"{self.path.name}.old")))
        self._is_new = False
        tree = {
            **run(), "about": self.about, "start": self.start, "best": self.best,
            "is_best": self._is_best, "version": fastmlp.__version__,
        }  # fmt: skip
        if self._try(lambda: files.write(self.path, KIND, tree, settings.keep)):
            if self._is_best:
                self._copy_best()
            self._written = now
        self._is_best, self._last = False, time.monotonic()

    def _copy_best(self) -> None:
        if self.settings is not None and self.settings.keep_best:
            self._try(lambda: files.copy(self.path, _best(self.path)))

    def _try(self, call: Callable[[], None]) -> bool:
        try:
            call()
        except (OSError, TypeError, ValueError) as error:  # a full disk shall not cost the run
            why = error.strerror if isinstance(error, OSError) and error.strerror else error
            message = f"Checkpoint not written, and training goes on: {self.path}: {why}"
            warnings.warn(message, RuntimeWarning, stacklevel=2)
            return False
        return True


def _best(path: Path) -> Path:
    return path.with_name(f"{path.name}.best")


def _number(value: Any) -> float:
    if not isinstance(value, (int, float)):
        raise FormatError(f"the checkpoint has {value!r} where a number should be")
    return float(value)


def model(net: Network, parameters: np.ndarray) -> dict[str, Any]:
    """Return the tree of a network and its parameters, which `fastmlp.load` reads."""
    return {"kind": "network", "network": descriptions.of(net), "parameters": parameters}


def copy_into(target: np.ndarray, value: Any) -> None:
    """Write an array from a checkpoint over another of its shape and dtype."""
    if not isinstance(value, np.ndarray):
        raise FormatError(f"the checkpoint has {type(value).__name__} where an array should be")
    if value.shape != target.shape or value.dtype != target.dtype:
        raise FormatError(
            f"the checkpoint has an array of {value.shape} {value.dtype} where one of "
            f"{target.shape} {target.dtype} should be"
        )
    target[...] = value


def parameters_of(net: Network, value: Any, n: int = 1) -> np.ndarray:
    """Return a copy of so many vectors of a network's parameters, from a checkpoint."""
    vector = np.empty(n * net.n_params, net.dtype)
    copy_into(vector, value)
    return vector
