"""What tells how training goes: a progress bar, logs in files, TensorBoard."""

from __future__ import annotations

import contextlib
import csv
import json
import math
import os
import time
import uuid
import warnings
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any

from fastmlp.callbacks.base import Callback, optional_count
from fastmlp.files import checked_path, replacing, require_place
from fastmlp.progress import progress_bar

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

# What each row of a log holds besides its counts, as the state's history calls it.
_EACH_ROW = ("loss", "step", "seconds")


def _further_values(state: OptimizeResult) -> dict[str, float]:
    """Return what only some runs have in their history, of the last epoch; NaN before the first."""
    further = {name: values for name, values in state.history.items() if name not in _EACH_ROW}
    return {name: float(v[-1]) if len(v) else math.nan for name, v in further.items()}


def _done(state: OptimizeResult) -> tuple[int, int] | None:
    """Return the epochs and updates made before, where a run goes on from a checkpoint.

    At the start of others no step has been made, if updates have: those of an earlier run.
    """
    if math.isnan(state.get("step", math.nan)) and not state.get("is_told_again", False):
        return None
    return int(state.n_epochs), int(state.nit)


class ProgressBar(Callback):
    """A tqdm progress bar on standard error, with the loss.

    Give the solver ``progress=False`` besides, or there are two.

    Parameters
    ----------
    every_n_steps : int, optional
        Count updates, and move on after each so many; by default count epochs.

    Examples
    --------
    >>> import fastmlp as fm
    >>> net, bar = fm.Network([2, 1]), fm.callbacks.ProgressBar()
    >>> result = fm.sgd(net, [[0.0, 1.0]], [1.0], net.init(rng=0), epochs=3, callback=[bar])
    >>> result.message
    'All 3 epochs done.'
    """

    def __init__(self, every_n_steps: int | None = None) -> None:
        self.every_n_steps = optional_count("every_n_steps", every_n_steps)

    def on_start(self, state: OptimizeResult) -> None:
        """Show a bar, empty unless a run goes on."""
        epochs, updates = _done(state) or (0, 0)
        if self.every_n_steps is None:
            self._bar = progress_bar(True, state.get("epochs"), "epochs", epochs)
        else:
            self._bar = progress_bar(True, state.get("n_steps"), "updates", updates)

    def on_steps(self, state: OptimizeResult) -> None:
        """Move on to so many updates."""
        self._move(state.nit, loss=state.fun)

    def on_epoch_end(self, state: OptimizeResult) -> None:
        """Move on to so many epochs, or updates."""
        n = state.n_epochs if self.every_n_steps is None else state.nit
        self._move(n, loss=state.fun, **_further_values(state))

    def on_end(self, result: OptimizeResult) -> None:
        """Leave the bar where it is."""
        self._bar.close()
        del self._bar

    def _move(self, n: int, **values: float) -> None:
        shown = {name: f"{value:.4g}" for name, value in values.items()}
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update(n - self._bar.n)


class _Log(Callback):
    """Writes a row of named numbers after each epoch, and after so many updates."""

    def __init__(self, every_n_steps: int | None) -> None:
        self.every_n_steps = optional_count("every_n_steps", every_n_steps)

    def on_start(self, state: OptimizeResult) -> None:
        """Open the file."""
        self._further = dict.fromkeys(_further_values(state))
        names = ["n_epochs", "nit", *_EACH_ROW, *self._further]
        self._file: Any = self._opened(names, _done(state))
        try:
            self._file.flush()
        except OSError:
            self._abandon()
            raise

    def on_steps(self, state: OptimizeResult) -> None:
        """Write a row without validation."""
        self._record(state, self._further)

    def on_epoch_end(self, state: OptimizeResult) -> None:
        """Write a row."""
        self._record(state, _further_values(state))

    def on_end(self, result: OptimizeResult) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _record(self, state: OptimizeResult, further: Mapping[str, float | None]) -> None:
        if self._file is None:
            return
        numbers = (state.fun, state.step, state.seconds)
        row: dict[str, float | None] = {"n_epochs": int(state.n_epochs), "nit": int(state.nit)}
        row |= {name: float(value) for name, value in zip(_EACH_ROW, numbers, strict=True)}
        try:
            self._write({**row, **further})
            self._file.flush()
        except OSError as error:  # a full disk shall not cost the run
            self._abandon()
            message = f"{type(self).__name__} ends here, and training goes on: {error}"
            warnings.warn(message, RuntimeWarning, stacklevel=2)

    def _abandon(self) -> None:
        """Close a file that cannot be written to."""
        file, self._file = self._file, None
        with contextlib.suppress(OSError):
            file.close()

    def _opened(self, names: list[str], done: tuple[int, int] | None) -> Any:
        """Return a file, to be flushed and closed, for rows of these names.

        `done` are the epochs and updates that were made before, where a run goes on.
        """
        raise NotImplementedError

    def _write(self, row: dict[str, float | None]) -> None:
        raise NotImplementedError


class _TextLog(_Log):
    """A log of one line for each row."""

    def __init__(self, path: Any, every_n_steps: int | None = None, append: bool = False) -> None:
        super().__init__(every_n_steps)
        self.path, self.append = checked_path("path", path), append

    def _opened(self, names: list[str], done: tuple[int, int] | None) -> Any:
        require_place(self.path)
        last, keeps_rows = b"", self.append or done is not None
        if keeps_rows and self.path.exists():
            with self.path.open("rb") as before:
                first = before.readline().decode(errors="replace")
            if done is None or first.endswith("\n"):  # it goes on without half a first line
                self._check_first_line(first, names)
            if done is not None:
                self._cut(done)
            with self.path.open("rb") as before:
                before.seek(max(0, before.seek(0, os.SEEK_END) - 1))
                last = before.read()
        mode = "a" if keeps_rows else "w"
        file = self.path.open(mode, encoding="utf-8", newline="")
        if last == b"":
            self._begin(file, names)
        elif last != b"\n":
            file.write("\n")  # after the half row that a killed run has left
        return file

    def _cut(self, done: tuple[int, int]) -> None:
        """Remove the last rows that are beyond what was done: they will be written again."""
        lines = self.path.read_bytes().splitlines(keepends=True)
        kept = len(lines)
        if lines and not lines[-1].endswith(b"\n"):
            kept -= 1
        after: tuple[float, float] = (math.inf, math.inf)
        while kept > 0:
            counts = self._counts_of(lines[kept - 1])
            # Rows that an earlier run has appended are kept: counts begin anew with each run.
            if counts is None or not done < counts <= after or counts[1] < done[1]:
                break
            if counts == after and not self._are_twins(counts):
                break
            # A third one of the same counts would be of another run.
            after = (counts[0], counts[1] - 0.5) if counts == after else counts
            kept -= 1
        if kept < len(lines):
            with replacing(self.path) as file:
                file.write(b"".join(lines[:kept]))

    def _are_twins(self, counts: tuple[int, int]) -> bool:
        """Return whether a run writes two rows of these: full-batch solvers do."""
        n_epochs, nit = counts
        return n_epochs == nit and self.every_n_steps is not None and nit % self.every_n_steps == 0

    def _counts_of(self, line: bytes) -> tuple[int, int] | None:
        try:
            return self._counts(line.decode())
        except (ValueError, LookupError, TypeError):
            return None

    def _counts(self, line: str) -> tuple[int, int]:
        """Return the epochs and updates that a row is of."""
        raise NotImplementedError

    def _check_first_line(self, line: str, names: list[str]) -> None:
        """Raise where rows of these names cannot be appended."""

    def _begin(self, file: IO[str], names: list[str]) -> None:
        """Write what comes first in a file."""


class CSVLog(_TextLog):
    """Comma-separated values: a row for each epoch.

    The columns are ``n_epochs``, ``nit`` (updates), ``loss``, ``step``, ``seconds``, and where the
    solver computes them ``validation_loss`` and ``validation_score``. Each row is written at once,
    so that a killed run loses none. Where a row cannot be written (the disk is full), the log
    warns and ends, and training goes on.

    Parameters
    ----------
    path : str or os.PathLike
        The file; its folder must exist.
    every_n_steps : int, optional
        Also a row after each so many updates, with the mean loss of the epoch so far and nothing
        in the validation columns. An epoch that ends there has its own row as well.
    append : bool, default=False
        Whether to keep the rows that the file has, which must have the same columns; otherwise
        each run begins anew, unless it goes on from a checkpoint: then the rows up to there stay.

    Raises
    ------
    FileNotFoundError, ValueError
        Before the first update: where the folder does not exist, or the columns differ.

    Examples
    --------
    >>> import fastmlp as fm
    >>> net, log = fm.Network([2, 1]), fm.callbacks.CSVLog("log.csv")
    >>> result = fm.sgd(net, [[0.0, 1.0]], [1.0], net.init(rng=0), epochs=3, callback=log)
    >>> with open("log.csv") as file:
    ...     file.readline().rstrip()
    'n_epochs,nit,loss,step,seconds'
    """

    def _check_first_line(self, line: str, names: list[str]) -> None:
        found = line.rstrip("\r\n")
        if line and found != ",".join(names):
            raise ValueError(
                f"path must be a log with the columns {','.join(names)} to append to; "
                f"{self.path} begins with {found!r}"
            )

    def _counts(self, line: str) -> tuple[int, int]:
        n_epochs, nit, *_ = line.split(",")
        return int(n_epochs), int(nit)

    def _begin(self, file: IO[str], names: list[str]) -> None:
        csv.writer(file, lineterminator="\n").writerow(names)

    def _write(self, row: dict[str, float | None]) -> None:
        csv.writer(self._file, lineterminator="\n").writerow(row.values())


class JSONLinesLog(_TextLog):
    """JSON lines: an object for each epoch, as `CSVLog` has rows.

    What is not finite, and validation where there is none, is null.

    Parameters
    ----------
    path, every_n_steps, append
        As in `CSVLog`; the lines a file has are not looked at.

    Raises
    ------
    FileNotFoundError
        Before the first update: where the folder does not exist.

    Examples
    --------
    >>> import json
    >>> import fastmlp as fm
    >>> net, log = fm.Network([2, 1]), fm.callbacks.JSONLinesLog("log.jsonl")
    >>> result = fm.sgd(net, [[0.0, 1.0]], [1.0], net.init(rng=0), epochs=3, callback=log)
    >>> with open("log.jsonl") as file:
    ...     [json.loads(line)["nit"] for line in file]
    [1, 2, 3]
    """

    def _counts(self, line: str) -> tuple[int, int]:
        row = json.loads(line)
        return int(row["n_epochs"]), int(row["nit"])

    def _write(self, row: dict[str, float | None]) -> None:
        finite = {k: v if v is not None and math.isfinite(v) else None for k, v in row.items()}
        self._file.write(json.dumps(finite, allow_nan=False) + "\n")


class TensorBoard(_Log):
    """Scalars for TensorBoard: ``loss``, ``step``, and what the validation gives.

    Written at once after each epoch, at the number of updates made. Needs tensorboardX, which
    ``pip install "fastmlp[tensorboard]"`` installs. Where a row cannot be written, it warns and
    ends, and training goes on.

    Parameters
    ----------
    folder : str or os.PathLike
        Created where it does not exist. Each run adds a file; give each its own folder to have
        curves of their own.
    every_n_steps : int, optional
        Also after each so many updates, with the mean loss of the epoch so far.

    Raises
    ------
    ImportError
        Where tensorboardX is not installed.

    Examples
    --------
    >>> import fastmlp as fm
    >>> board = fm.callbacks.TensorBoard("runs/first", every_n_steps=100)
    """

    def __init__(self, folder: Any, every_n_steps: int | None = None) -> None:
        super().__init__(every_n_steps)
        self.folder = checked_path("folder", folder)
        try:
            import tensorboardX  # noqa: F401
        except ImportError as error:
            hint = 'tensorboardX, which pip install "fastmlp[tensorboard]" installs'
            raise ImportError(f"TensorBoard needs {hint}: {error}") from error

    def _opened(self, names: list[str], done: tuple[int, int] | None) -> Any:
        # Not SummaryWriter: its rows wait in a queue, and where the disk is full it waits for ever.
        from tensorboardX.record_writer import RecordWriter

        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{int(time.time())}.{uuid.uuid4().hex}"
        file = RecordWriter(str(self.folder / name))
        file.write(self._event(file_version="brain.Event:2"))
        return file

    def _write(self, row: dict[str, float | None]) -> None:
        hidden = ("n_epochs", "nit", "seconds")
        values = [
            {"tag": name, "simple_value": value}
            for name, value in row.items()
            if name not in hidden and value is not None
        ]
        self._file.write(self._event(step=row["nit"], summary={"value": values}))

    def _event(self, **content: Any) -> bytes:
        from tensorboardX.proto.event_pb2 import Event

        event: bytes = Event(wall_time=time.time(), **content).SerializeToString()
        return event
