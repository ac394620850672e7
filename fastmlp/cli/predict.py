"""`fastmlp predict`: what a saved model says about rows of files."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastmlp.cli import data
from fastmlp.cli.common import EXIT_CODES, ended_by_signals, errors_in_one_line

if TYPE_CHECKING:
    from fastmlp.cli.saved import SavedModel
    from fastmlp.cli.tables import Part, Write

HELP = f"""
Predict the labels or numbers of rows of files, however many.

MODEL is a file of fastmlp.save, a checkpoint, or the folder of a run of fastmlp train. Predictions
are in the order of the rows. CSV, Parquet and Arrow files have a column "prediction" and, with
--probabilities, one for each class; an .npy file holds the predictions, or else the probabilities
(rows, classes). The file appears when it is whole.

\b
    fastmlp predict runs/first-001 new.csv --output predictions.csv
    fastmlp predict model.safetensors new.csv --probabilities | head
{EXIT_CODES}"""


def predict(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="The model.", show_default=False)
    ],
    files: data.Files,
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o",
            help="The file to write: .csv, .npy, .parquet or .arrow; - prints CSV.",
        ),
    ] = "-",
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Write the probability of each class as well.")
    ] = False,
    target: Annotated[
        str | None,
        typer.Option(
            help="A column of targets in the files, which is left out.", show_default=False
        ),
    ] = None,
    columns: data.Columns = None,
    file_format: data.Format = None,
    format_option: data.FormatOptions = None,
    on_missing: data.OnMissing = "error",
    memory_limit: data.MemoryLimit = "1 GB",
) -> None:  # fmt: skip
    """See HELP."""
    with errors_in_one_line(), ended_by_signals():
        from fastmlp import files as writing
        from fastmlp.cli.saved import SavedModel
        from fastmlp.cli.tables import require_suffix

        path = None if output == "-" else Path(output)
        if path is not None:
            require_suffix(path)
            writing.require_place(path, "--output")
            data.require_apart(path, files)
        elif sys.stdout is None:
            raise ValueError("--output is missing, and there is no standard output")
        saved = SavedModel(model)
        source = data.open_for(
            saved, files, target=target, columns=columns, file_format=file_format,
            options=format_option, on_missing=on_missing, memory_limit=memory_limit,
        )  # fmt: skip
        parts = _parts(saved, probabilities)
        only_last = path is not None and path.suffix == ".npy"
        with _opened(path, parts[-1:] if only_last else parts, len(source)) as write:
            for _, X in data.blocks(source, "predicting"):
                outputs = saved.outputs(X)
                blocks: list[Any] = [saved.predictions(outputs)]
                if probabilities:
                    blocks.append(saved.probabilities(outputs))
                write(*(blocks[-1:] if only_last else blocks))
        _tell(path, len(source), source.n_dropped)


def _parts(saved: SavedModel, with_probabilities: bool) -> list[Part]:
    """Return the columns of predictions."""
    import numpy as np

    from fastmlp.cli.tables import Part

    outputs = np.zeros((1, saved.network.widths[-1]), saved.network.dtype)
    if saved.classes is not None:
        classes = saved.classes
        dtype = classes.astype(str).dtype if classes.dtype.kind in "UO" else classes.dtype
        parts = [Part(["prediction"], dtype, is_vector=True)]
    else:
        one = saved.predictions(outputs)
        several = [f"prediction_{number}" for number in range(outputs.shape[1])]
        parts = [Part(["prediction"] if one.ndim == 1 else several, one.dtype, one.ndim == 1)]
    if with_probabilities:
        given = saved.probabilities(outputs)
        if given is None:
            raise ValueError(f"{saved.path} gives no probabilities; leave out --probabilities")
        names: Sequence[object] = (
            range(given.shape[1]) if saved.classes is None else saved.classes.tolist()
        )
        parts.append(Part([f"probability_{name}" for name in names], given.dtype))
    return parts


@contextmanager
def _opened(path: Path | None, parts: Sequence[Part], n_rows: int) -> Iterator[Write]:
    """Open the file, or where results are printed."""
    from fastmlp.cli.tables import csv_text, writing

    if path is not None:
        with writing(path, parts, n_rows) as write:
            yield write
        return
    with csv_text(sys.stdout.buffer, parts) as write:
        yield write
    sys.stdout.buffer.flush()


def _tell(path: Path | None, n_rows: int, n_dropped: int) -> None:
    """Say on stderr what has been written."""
    dropped = f"; {n_dropped} with something missing left out" if n_dropped else ""
    if path is not None:
        typer.echo(f"{path}: predictions of {n_rows} rows{dropped}", err=True)
    elif dropped:
        typer.echo(f"predictions of {n_rows} rows{dropped}", err=True)
