"""Settings from files and flags, checked, with errors that say what to write instead."""

from __future__ import annotations

import contextlib
import csv
import difflib
import glob
import json
import os
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from fastmlp.experiments import describing
from fastmlp.experiments.settings import FULL_BATCH, OF_SCHEDULES, SECTIONS, Settings

_PATHS = ("train", "test", "validation")


class SettingsError(ValueError):
    """Settings that cannot be used; `problems` has a line for each reason."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(dict.fromkeys(problems))
        super().__init__("\n".join(self.problems))


class Override(NamedTuple):
    """A setting from elsewhere than the file."""

    name: str  # "solver.step"
    value: Any
    source: str  # what errors call it: "--solver.step"


def parsed(name: str, text: str) -> Any:
    """Return what a flag's text means: the first of these that the setting of the name may be.

    A value of TOML, a list without brackets, a bare word, a list of bare words.
    """
    meanings = [*_toml(text), *(_toml(f"[{text}]") if text.strip() else ()), text]
    words = [
        value if isinstance(value, int) else word
        for word in next(csv.reader(text.splitlines(), skipinitialspace=True), [text])
        for value in _toml(word) or [word]
    ]
    section, _, setting = name.partition(".")
    if section in SECTIONS and setting in SECTIONS[section].model_fields:
        for value in (*meanings, words):
            with contextlib.suppress(ValidationError):
                SECTIONS[section].model_validate({setting: value})
                return value
    return meanings[0]


def _toml(text: str) -> list[Any]:
    """Return the value that TOML has for a text, if any."""
    try:
        tree = tomllib.loads(f"x = {text}")
    except tomllib.TOMLDecodeError:
        return []
    return [tree["x"]] if tree.keys() == {"x"} else []


def assignment(text: str) -> Override:
    """Return the override that `--set name=value` asks for."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise SettingsError([f"--set: expected name=value, such as solver.step=0.01; got {text!r}"])
    return Override(name.strip(), parsed(name.strip(), value.strip()), "--set")


def read(path: Path | None, overrides: Iterable[Override] = ()) -> Settings:
    """Return the settings of a file, some of them overridden.

    Parameters
    ----------
    path : Path or None
        None: all are defaults but the overrides.
    overrides : iterable of Override
        Later ones win.

    Raises
    ------
    SettingsError
        For a file that cannot be read, and settings that are unknown, wrong, or do not go together.
    """
    tree = {} if path is None else _file(path)
    source = "settings" if path is None else str(path)
    _find_paths(tree, Path() if path is None else path.parent)
    settings = _checked(tree, overrides, source)
    return settings if path is None else _named(settings, path.stem)


def changed(settings: Settings, overrides: Iterable[Override]) -> Settings:
    """Return settings some of which are others; errors are those of `read`."""
    return _checked(settings.model_dump(exclude_none=True), overrides, "settings")


def _checked(tree: dict[str, Any], overrides: Iterable[Override], source: str) -> Settings:
    origins: dict[str, str] = {}
    for one in overrides:
        *outer, name = one.name.split(".")
        place = tree
        for key in outer:
            place = place.setdefault(key, {})
            if not isinstance(place, dict):
                raise SettingsError([f"{one.source}: {_unknown(one.name)}"])
        place[name] = one.value
        if outer == ["data"] and name in _PATHS:
            place[name] = _found(one.value, Path())
        elif one.name == "sweep.parameters":
            _find_paths({"sweep": {"parameters": one.value}}, Path())
        origins[".".join(one.name.split(".")[:2])] = one.source
        origins.setdefault(one.name.split(".")[0], one.source)
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        problems = [_told(found["loc"], found["type"], tree) for found in error.errors()]
    else:
        problems = list(_conflicts(settings))
        if not problems:
            return settings
    raise SettingsError(f"{origins.get(name, source)}: {what}" for name, what in problems)


def _named(settings: Settings, name: str) -> Settings:
    """Return settings whose run has a name, this one if it has none."""
    if settings.run.name is not None:
        return settings
    return settings.model_copy(update={"run": settings.run.model_copy(update={"name": name})})


def _file(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError([f"{path}: no valid TOML: {error}"]) from None
    except UnicodeDecodeError:
        raise SettingsError([f"{path}: no text in UTF-8"]) from None
    except OSError as error:
        raise SettingsError([f"{path}: {(error.strerror or str(error)).lower()}"]) from None


def _find_paths(tree: dict[str, Any], folder: Path) -> None:
    """Have the paths of the data start at the root, seen from a folder; those to try likewise."""
    sweep = tree.get("sweep")
    tried = sweep.get("parameters") if isinstance(sweep, dict) else None
    for table, prefix in ((tree.get("data"), ""), (tried, "data.")):
        if isinstance(table, dict):
            for name in _PATHS:
                if prefix + name in table:
                    table[prefix + name] = _found(table[prefix + name], folder)


def _found(value: Any, folder: Path) -> Any:
    """Return paths, of which there may be lists, seen from a folder; other values as they are."""
    if isinstance(value, list):
        return [_found(one, folder) for one in value]
    if not isinstance(value, str) or not value:
        return value
    path = (folder / value).absolute()
    if glob.has_magic(value) and not path.exists():  # what is special in the folder's name is not
        return os.path.join(glob.escape(str(folder.absolute())), value)
    return str(path)


def _told(place: tuple[Any, ...], kind: str, tree: Any) -> tuple[str, str]:
    """Return the name of what is wrong, and what is wrong with it."""
    if kind == "extra_forbidden" and len(place) <= 2:
        name = ".".join(map(str, place))
        return name, _unknown(name)
    name = ".".join(map(str, place[:2]))
    for key in place[:2]:
        tree = tree[key]
    if len(place) == 1:
        return name, f"{name} must be a section, [{name}]; got {_shown(tree)}"
    section, setting = place[:2]
    expected = describing.expected(SECTIONS[section].model_fields[setting])
    return name, f"{name} must be {expected}; got {_shown(tree)}"


def _unknown(name: str) -> str:
    """Return that there is no such setting or section, and which was meant."""
    section, _, setting = name.partition(".")
    by_name = {one.split(".")[1]: one for one in reversed(names())}
    close: list[str] = []
    if not setting and section not in by_name:
        close = difflib.get_close_matches(section, SECTIONS)
    if not close and (setting or section) in by_name:
        close = [by_name[setting or section]]
    if not close and section in SECTIONS:
        found = difflib.get_close_matches(setting, SECTIONS[section].model_fields)
        close = [f"{section}.{one}" for one in found]
    if not close:
        close = [by_name[one] for one in difflib.get_close_matches(setting or section, by_name)]
    return f"{name} is not a {'setting' if setting else 'section'}{_meant(close)}"


def _meant(close: list[str]) -> str:
    if close:
        return f"; did you mean {close[0]}?"
    return "; fastmlp train --template shows all settings"


def names() -> list[str]:
    """Return the names of all settings."""
    return [f"{section}.{name}" for section in SECTIONS for name in SECTIONS[section].model_fields]


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _conflicts(settings: Settings) -> Iterable[tuple[str, str]]:
    """Yield what does not go together, with the name of the setting to change."""
    data, network, solver = settings.data, settings.network, settings.solver
    schedule = settings.schedule
    if not data.train:
        yield "data.train", "data.train is missing: which file, or files, to train on"
    for name in ("activation", "dropout"):
        value = getattr(network, name)
        n = len(network.hidden) + (name == "dropout")
        if isinstance(value, list) and len(value) != n:
            yield (
                f"network.{name}",
                f"network.{name} must be one, or a list of {n} for {len(network.hidden)} hidden "
                f"layers; got {len(value)}",
            )
    is_full = solver.name in FULL_BATCH
    if is_full and schedule.kind != "none":
        yield "schedule.kind", f"schedule.kind must be none for solver.name = {solver.name}"
    if solver.early_stopping and is_full:
        yield (
            "solver.early_stopping",
            f"solver.early_stopping is not for solver.name = {solver.name}",
        )
    if solver.early_stopping and data.validation is None:
        yield "solver.early_stopping", "solver.early_stopping needs data.validation; got none"
    for name in sorted({*sum(OF_SCHEDULES.values(), ())} - {*OF_SCHEDULES[schedule.kind]}):
        if getattr(schedule, name) is not None:
            yield f"schedule.{name}", f"schedule.{name} is not for schedule.kind = {schedule.kind}"
    if schedule.kind == "exponential" and schedule.decay is None:
        yield "schedule.decay", "schedule.decay is missing, which schedule.kind = exponential needs"
    if schedule.kind == "step_decay":
        if (schedule.every is None) == (schedule.milestones is None):
            yield "schedule.every", "give either schedule.every or schedule.milestones"
        elif schedule.every is not None and schedule.every != int(schedule.every):
            yield "schedule.every", "schedule.every must be a whole number for step_decay"
    yield from _conflicts_of_sweep(settings)


def _conflicts_of_sweep(settings: Settings) -> Iterable[tuple[str, str]]:
    sweep, known = settings.sweep, [n for n in names() if not n.startswith("sweep.")]
    for name, values in sweep.parameters.items():
        place = f"sweep.parameters {name!r}"
        if name.startswith("run."):
            yield "sweep.parameters", f"{place}: settings of [run] stay; for seeds: sweep.seeds"
        elif name not in known:
            close = difflib.get_close_matches(name, known)
            yield "sweep.parameters", f"{place} is not a setting{_meant(close)}"
        elif not isinstance(values, list):
            if sweep.method == "grid":
                yield "sweep.parameters", f'{place}: a range is for sweep.method = "random"'
            if not values.low < values.high or (values.log and values.low <= 0):
                yield (
                    "sweep.parameters",
                    f"{place}: low must be below high, and above 0 with log; "
                    f"got {values.low:g} and {values.high:g}",
                )
