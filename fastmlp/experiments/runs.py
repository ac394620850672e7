"""The folder of a run, and the files in it."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tomli_w

from fastmlp.experiments import reading
from fastmlp.experiments.reading import Override, SettingsError
from fastmlp.experiments.settings import FULL_BATCH, Settings
from fastmlp.files import replacing

SETTINGS = "settings.toml"
ENVIRONMENT = "environment.json"
LOG = "log.jsonl"
METRICS = "metrics.json"
CHECKPOINT = "checkpoint.safetensors"
MODEL = "model.safetensors"
CURVES = "curves.png"

# What may change where a run goes on: what decides no number but how long it lasts.
MAY_CHANGE = ("solver.epochs", "run.threads", "run.checkpoint_every", "run.keep", "run.plots")


def create(folder: Path) -> Path:
    """Make the folder of a run, which must not exist.

    Raises
    ------
    SettingsError
        Where it does.
    """
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise SettingsError(
            [f"--folder: {folder} exists already; go on with the run in it by --resume {folder}"]
        ) from None
    return folder


def create_next(folder: Path, name: str) -> Path:
    """Make and return the next folder of a name: first-001, first-002 ..., of no other process."""
    folder.mkdir(parents=True, exist_ok=True)
    pattern = re.compile(rf"{re.escape(name)}-(\d+)")
    found = [pattern.fullmatch(path.name) for path in folder.iterdir()]
    number = max((int(match[1]) for match in found if match), default=0)
    while True:
        number += 1
        path = folder / f"{name}-{number:03d}"
        try:
            path.mkdir()
        except FileExistsError:  # another process was quicker
            continue
        return path


def write_settings(folder: Path, settings: Settings) -> None:
    """Write all settings of a run, to go on with."""
    write_bytes(folder / SETTINGS, tomli_w.dumps(as_tree(settings)).encode())


def as_tree(settings: Settings) -> dict[str, Any]:
    """Return the settings of a run as TOML has them, which knows no None."""
    return settings.model_dump(exclude_none=True, exclude={"sweep"})


def read_settings(folder: Path, overrides: list[Override] | None = None) -> Settings:
    """Return the settings of the run in a folder, to go on with.

    Raises
    ------
    SettingsError
        Where there is none, and for overrides of what must stay as it is.
    """
    path = folder / SETTINGS
    if not path.is_file():
        what = "holds no run: it has no settings.toml" if folder.is_dir() else "is no folder"
        raise SettingsError([f"--resume: {folder} {what}"])
    before = reading.read(path)
    may_change = (
        *MAY_CHANGE, *(("solver.tol",) if before.solver.name in FULL_BATCH else ()),
    )  # fmt: skip
    wrong = [one for one in overrides or [] if one.name not in may_change]
    if wrong:
        raise SettingsError(
            f"{one.source}: {one.name} cannot change where a run goes on; what may is "
            f"{', '.join(may_change)}"
            for one in wrong
        )
    return reading.read(path, overrides or [])


def write_json(path: Path, tree: Any) -> None:
    """Write a tree as JSON, as a whole or not at all."""
    write_bytes(path, (json.dumps(tree, indent=2, allow_nan=False) + "\n").encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file as a whole or not at all."""
    with replacing(path) as file:
        file.write(content)


def read_json(path: Path) -> dict[str, Any]:
    """Return what a file of JSON has by names; nothing where there is none, or it is damaged."""
    try:
        tree = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return tree if isinstance(tree, dict) else {}


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a folder from other processes, until this one is done with it, or ends.

    Raises
    ------
    OSError
        Where another process has it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(f"{folder} is in use by another process") from None
        except OSError:  # not all file systems have locks
            pass
        yield
    finally:
        os.close(descriptor)
