"""`fastmlp inspect`: what files of models, of rows, and folders of runs hold."""

from __future__ import annotations

import contextlib
import json as json_module
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from fastmlp.cli import data, show
from fastmlp.cli.common import EXIT_CODES, errors_in_one_line

HELP = f"""
Show what a model, a checkpoint, a file of rows or the folder of a run holds.

Of models: the network, its parameters layer by layer, classes, settings, and the last epochs of
training; of checkpoints also how far the run has come, and what it is of. Of files of rows: how
many, their columns, the first ones, and with --statistics each column's mean, deviation and range.

\b
    fastmlp inspect model.safetensors
    fastmlp inspect runs/first-001/checkpoint.safetensors --epochs 20
    fastmlp inspect train.csv --target label --statistics
{EXIT_CODES}"""


def inspect(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...", help="Models, checkpoints, files of rows, folders of runs.",
            show_default=False,
        ),
    ],
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object; of several files a list.")
    ] = False,
    epochs: Annotated[int, typer.Option(min=0, help="How many of the last epochs to show.")] = 5,
    rows: Annotated[int, typer.Option(min=0, help="How many of the first rows to show.")] = 5,
    statistics: Annotated[
        bool, typer.Option("--statistics", help="Read all rows for each column's statistics.")
    ] = False,
    target: data.Target = None,
    columns: data.Columns = None,
    file_format: data.Format = None,
    format_option: data.FormatOptions = None,
    memory_limit: data.MemoryLimit = "1 GB",
) -> None:  # fmt: skip
    """See HELP."""
    with errors_in_one_line():
        options = {
            "target": target, "columns": columns, "file_format": file_format,
            "options": format_option, "memory_limit": memory_limit, "on_missing": "drop",
        }  # fmt: skip
        held = []
        for file in files:
            one = _summary(file, options, rows, statistics)
            held.append(one)
            if not json:
                if len(held) > 1:
                    typer.echo()
                _print(one, epochs)
        if json:
            show.as_json(held[0] if len(held) == 1 else held)


def _summary(
    file: str, options: dict[str, Any], n_first: int, with_statistics: bool
) -> dict[str, Any]:
    from fastmlp.cli import data_summary, model_summary

    path = Path(file)
    if path.is_dir():
        return _run(path)
    if options["file_format"] is None and _is_of_model(path):
        return model_summary.summary(path)
    with contextlib.closing(data.open_source([file], **options)) as source:
        held = data_summary.summary(source, n_first, with_statistics)
    n_bytes = path.stat().st_size if path.is_file() else None
    return {"file": file, "bytes": n_bytes, "kind": "rows", **held}


def _is_of_model(path: Path) -> bool:
    """Return whether a file is one of ours by its content, or by its name if it is damaged."""
    if ".safetensors" in path.name or ".ckpt" in path.name:
        return True
    try:
        with path.open("rb") as file:
            beginning = file.read(9)
    except OSError:
        return False
    is_long = int.from_bytes(beginning[:8], "little") < path.stat().st_size
    return is_long and beginning[8:] == b"{"


def _run(folder: Path) -> dict[str, Any]:
    """Return what the folder of a run holds."""
    import tomllib

    from fastmlp.cli import model_summary

    settings, metrics = folder / "settings.toml", folder / "metrics.json"
    if not settings.is_file():
        raise FileNotFoundError(f"{folder} holds no run: it has no settings.toml")
    held: dict[str, Any] = {
        "file": str(folder),
        "kind": "run",
        "status": "running, or killed",
        "settings": _parsed(settings, tomllib.loads),
    }
    if metrics.is_file():
        held["metrics"] = _parsed(metrics, json_module.loads)
        held["status"] = held["metrics"].get("status")
    for name in ("model", "checkpoint"):
        if (path := folder / f"{name}.safetensors").is_file():
            held["model"] = model_summary.summary(path)
            break
    return held


def _parsed(path: Path, parse: Callable[[str], Any]) -> Any:
    try:
        return parse(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from None


# Printing -------------------------------------------------------------------------------------


def _print(held: dict[str, Any], n_epochs: int) -> None:
    kind = held["kind"]
    size = "" if held.get("bytes") is None else f", {show.size(held['bytes'])}"
    show.heading(f"{held['file']}: {_KINDS.get(kind, kind)}{size}")
    if kind == "run":
        _print_run(held, n_epochs)
    elif kind == "rows":
        _print_rows(held)
    else:
        _print_model(held, n_epochs)


_KINDS = {"network": "a network", "estimator": "an estimator", "rows": "rows", "run": "a run"}
_KINDS |= {"checkpoint": "a checkpoint", "pipeline": "a pipeline"}


def _print_run(held: dict[str, Any], n_epochs: int) -> None:
    show.pairs({"status": held["status"]})
    for name in ("settings", "metrics"):
        if name in held:
            show.heading(name.capitalize())
            show.pairs(_flat(held[name]))
    if "model" in held:
        _print(held["model"], n_epochs)


def _flat(tree: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Return a tree's leaves by dotted names."""
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            leaves |= _flat(value, f"{before}{name}.")
        else:
            leaves[f"{before}{name}"] = value
    return leaves


def _print_model(held: dict[str, Any], n_epochs: int) -> None:
    network, parameters = held["network"], held["parameters"]
    finite = "all finite" if parameters["finite"] else "NOT ALL FINITE"
    about: dict[str, Any] = {
        "written by": f"fastmlp {held['written_by']}",
        "class": held.get("class"),
        "steps": " -> ".join(held["steps"]) if "steps" in held else None,
        "network": f"{'-'.join(map(str, network['widths']))}, loss {network['loss']}"
        + ("" if network["bias"] else ", without biases"),
        "parameters": f"{parameters['count']} of {parameters['dtype']}, {finite}",
        "classes": _listed(held.get("classes")),
        "features": _listed(held.get("features")),
        "scaling": held.get("scaling"),
        "epochs": held.get("epochs"),
        "samples seen": held.get("samples_seen"),
        "best validation score": held.get("best_validation_score"),
        "optimizer": held["optimizer"] and ", ".join(
            f"{name} {show.text(value)}" for name, value in held["optimizer"].items()
            if value is not None
        ) if "optimizer" in held else None,
    }  # fmt: skip
    if "checkpoint" in held:
        names = ("epochs", "updates", "iterations", "seconds", "best", "is_best")
        about |= {name.replace("_", " "): held["checkpoint"][name] for name in names}
    show.pairs(about)
    show.heading("Layers")
    header = ("layer", "weights", "activation", "norm of weights", "norm of biases")
    show.table(header, [
        [layer["layer"], " x ".join(map(str, layer["weights"])), layer["activation"],
         layer["norm_of_weights"], layer["norm_of_biases"]]
        for layer in held["layers"]
    ])  # fmt: skip
    if "checkpoint" in held:
        show.heading("The run it is of")
        show.pairs(held["checkpoint"]["run"])
    elif "settings" in held:
        show.heading("Settings")
        show.pairs({name: repr(value) for name, value in held["settings"].items()})
    if held.get("history") and n_epochs:
        _print_history(held["history"], n_epochs)


def _print_history(history: dict[str, list[float]], n_epochs: int) -> None:
    length = len(next(iter(history.values())))
    first = max(0, length - n_epochs)
    show.heading(f"The last {length - first} of {length} epochs" if first else "Epochs")
    columns = [history[name][first:] for name in history]
    rows = [[first + number, *row] for number, row in enumerate(zip(*columns, strict=True), 1)]
    show.table(["epoch", *(name.replace("_", " ") for name in history)], rows)


def _print_rows(held: dict[str, Any]) -> None:
    target = held["target"]
    show.pairs({
        "rows": held["rows"],
        "rows with something missing": held["rows_with_missing"] or None,
        "columns": f"{held['columns']} of {held['dtype']}",
        "names": _listed(held["names"]),
        "target": None if target is None else _target_in_words(target),
    })  # fmt: skip
    if "statistics" in held:
        show.heading("Columns")
        show.table(
            ["column", "mean", "deviation", "least", "greatest"],
            [[name, *one.values()] for name, one in held["statistics"].items()],
        )
    if held["first_rows"]:
        show.heading("First rows")
        shown = [list(row.items()) for row in held["first_rows"]]
        shown = [[*row[:9], ("...", "..."), row[-1]] if len(row) > 11 else row for row in shown]
        show.table([name for name, _ in shown[0]], [[value for _, value in row] for row in shown])


def _target_in_words(target: dict[str, Any]) -> str:
    counts = target.get("counts")
    words = f"{target['distinct']} different, {target['dtype']}"
    if counts is not None:
        return f"{words}: " + ", ".join(f"{value} ({n} rows)" for value, n in counts.items())
    if "least" not in target:
        return words
    least, greatest, mean = (show.text(target[name]) for name in ("least", "greatest", "mean"))
    return f"{words}, from {least} to {greatest}, mean {mean}"


def _listed(values: list[Any] | None) -> str | None:
    """Return values in words, the first ones of many."""
    if values is None:
        return None
    first = ", ".join(map(str, values[:12]))
    return first if len(values) <= 12 else f"{first} ... ({len(values)} in all)"
