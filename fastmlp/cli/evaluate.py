"""`fastmlp evaluate`: how good a saved model is on rows of files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastmlp.cli import data, show
from fastmlp.cli.common import EXIT_CODES, ended_by_signals, errors_in_one_line

if TYPE_CHECKING:
    import numpy as np

    from fastmlp.cli.saved import SavedModel
    from fastmlp.sources import FileSource

MOST_CLASSES_SHOWN = 20
HELP = f"""
Evaluate a saved model on rows of files, however many.

MODEL is a file of fastmlp.save, a checkpoint, or the folder of a run of fastmlp train. Of
classifiers the scores are accuracy, its mean over classes, the mean F1 and the log loss, with a
table of what is taken for what; of regressors r2, the root of the mean squared error and the mean
absolute error. The loss is the network's own, without penalties.

\b
    fastmlp evaluate runs/first-001 test.csv --target label
    fastmlp evaluate model.safetensors "test-*.npy" --target -1 --json
{EXIT_CODES}"""


def evaluate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="The model.", show_default=False)],
    files: data.Files,
    target: Annotated[
        str,
        typer.Option(
            help="The column of what is to be predicted: its name, or its number, negative from "
            "the end.",
            show_default=False,
        ),
    ],
    columns: data.Columns = None,
    file_format: data.Format = None,
    format_option: data.FormatOptions = None,
    on_missing: data.OnMissing = "error",
    memory_limit: data.MemoryLimit = "1 GB",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    output: Annotated[
        Path | None, typer.Option(help="Also write it as JSON to a file.", show_default=False)
    ] = None,
) -> None:
    """See HELP."""
    with errors_in_one_line(), ended_by_signals():
        from fastmlp import files as writing
        from fastmlp.cli.saved import SavedModel

        if output is not None:
            writing.require_place(output, "--output")
        saved = SavedModel(model)
        if output is not None:
            data.require_apart(output, [*files, saved.path])
        source = data.open_for(
            saved, files, target=target, columns=columns, file_format=file_format,
            options=format_option, on_missing=on_missing, memory_limit=memory_limit,
        )  # fmt: skip
        result = _evaluated(saved, source)
        if output is not None:
            with writing.replacing(output) as file:
                file.write(f"{show.json_text(result)}\n".encode())
        if json:
            show.as_json(result)
        else:
            _print(result, files)


def _evaluated(saved: SavedModel, source: FileSource) -> dict[str, Any]:
    """Return what is printed, as JSON has it."""
    from fastmlp import labels
    from fastmlp.cli.scores import ClassScores, NumberScores

    y = source.y
    if y is None:
        raise ValueError("there are no targets in these files")
    classes = saved.classes
    scores: ClassScores | NumberScores
    if classes is None:
        _require_numbers(saved, y)
        places, scores = y, NumberScores(y)
    else:
        places = labels.known_places(y, classes, source.where, f"{saved.path} has seen")
        scores = ClassScores(len(classes))
    loss = 0.0
    for start, X in data.blocks(source, "evaluating"):
        truth = places[start : start + len(X)]
        outputs = saved.outputs(X)
        if isinstance(scores, ClassScores):
            scores.add(truth, saved.places(outputs), saved.probabilities(outputs))
        else:
            scores.add(truth, outputs[:, 0])
        loss += saved.loss(X, truth)
    result = {
        "model": str(saved.path),
        "rows": len(source),
        "dropped": source.n_dropped,
        "loss_function": saved.network.loss_name,
        "loss": loss / len(source),
        **{name: value for name, value in scores.scores().items() if value is not None},
    }
    if isinstance(scores, ClassScores) and classes is not None:
        result["classes"], result["confusion"] = classes.tolist(), scores.confusion.tolist()
    return result


def _require_numbers(saved: SavedModel, y: np.ndarray) -> None:
    if (n_out := saved.network.widths[-1]) != 1:
        raise ValueError(f"{saved.path} predicts {n_out} numbers a row, the targets are one a row")
    if y.dtype.kind == "U":
        raise ValueError(f"{saved.path} predicts numbers; the targets are words such as {y[0]!r}")


def _print(result: dict[str, Any], files: list[str]) -> None:
    confusion, classes = result.pop("confusion", None), result.pop("classes", None)
    function = result.pop("loss_function")
    show.heading(f"{result.pop('model')} on {', '.join(files)}")
    if not result["dropped"]:
        del result["dropped"]
    result["loss"] = f"{show.text(result['loss'])} ({function})"
    show.pairs(result)
    if confusion is not None and len(classes) <= MOST_CLASSES_SHOWN:
        show.heading("Rows by their class, and by what they are taken for:")
        rows = [[label, *counts] for label, counts in zip(classes, confusion, strict=True)]
        show.table(["class", *map(str, classes)], rows)
