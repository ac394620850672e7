"""Settings in words: what each may be and means, and a file of them all."""

from __future__ import annotations

import textwrap
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import tomli_w
from pydantic.fields import FieldInfo

from fastmlp.experiments.settings import DURATION, SECTIONS, SIZE, Section

_PLAIN = {
    bool: "true or false", str: "a text", int: "a whole number", float: "a number", Any: "anything",
}  # fmt: skip
_BOUNDS = {
    "gt": "above {}", "ge": "at least {}", "lt": "below {}", "le": "at most {}",
}  # fmt: skip
_PATTERNS = {
    SIZE: 'a size such as "1 GB"',
    DURATION: 'a time such as "30 s" or "5 min"',
}


class Setting(NamedTuple):
    """One setting in words."""

    name: str  # with its section's: "solver.step"
    expected: str
    meaning: str
    default: Any  # None for none
    example: Any


def settings() -> Iterator[Setting]:
    """Yield all settings, in order."""
    for section, model in SECTIONS.items():
        for name, field in model.model_fields.items():
            yield Setting(
                f"{section}.{name}",
                expected(field),
                " ".join((field.description or "").split()),
                field.get_default(call_default_factory=True),
                (field.examples or [None])[0],
            )


def expected(field: FieldInfo) -> str:
    """Return what a setting may be: "a number above 0"."""
    return _kind(field.annotation, field.metadata)


def _kind(kind: Any, metadata: Any = ()) -> str:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _kind(arguments[0], [*arguments[1:], *metadata])
    if origin in (Union, types.UnionType):
        kinds = [_kind(one, metadata) for one in arguments if one is not type(None)]
        if len(arguments) > 1 and get_origin(arguments[0]) is Literal:
            kinds = [kind.replace(f"a list of {kinds[0]}", "a list of these") for kind in kinds]
        return " or ".join(kinds)
    if origin is Literal:
        quoted = [f'"{one}"' for one in arguments]
        return quoted[0] if len(quoted) == 1 else f"one of {', '.join(quoted)}"
    if origin is list:
        return f"a list of {_several(_kind(arguments[0]))}"
    if origin is dict:
        return "a table"
    if isinstance(kind, type) and issubclass(kind, Section):
        return f"a table of {', '.join(kind.model_fields)}"
    return _with_bounds(_PLAIN[kind], metadata)


def _several(kind: str) -> str:
    for one, many in (("a whole number", "whole numbers"), ("a number", "numbers")):
        if kind.startswith(one):
            return many + kind.removeprefix(one)
    return {"a text": "texts", "a text or a whole number": "texts or whole numbers"}.get(kind, kind)


def _with_bounds(kind: str, metadata: Any) -> str:
    found: dict[str, Any] = {}
    for one in metadata:
        for bound in getattr(one, "metadata", [one]):
            pattern = getattr(bound, "pattern", None)
            if pattern is not None:
                return _PATTERNS.get(pattern, "a text fit for the name of a file")
            found |= {
                key: getattr(bound, key) for key in _BOUNDS if getattr(bound, key, None) is not None
            }
    words = [_BOUNDS[key].format(value) for key, value in found.items()]
    return f"{kind} {' and '.join(words)}".rstrip()


def template() -> str:
    """Return an experiment file with every setting, its default and its meaning.

    A setting without a default is commented out, with an example; so are the paths but that of the
    rows to train on.
    """
    lines = [
        "# An experiment of fastmlp: fastmlp train experiment.toml",
        "# What is left out has the value that is here, or none where it is commented out.",
        "# Paths are relative to this file's folder, but run.folder.",
    ]
    for section, model in SECTIONS.items():
        lines += ["", f"[{section}]  # {(model.__doc__ or '').strip()}"]
        for setting in settings():
            owner, name = setting.name.split(".")
            if owner == section:
                text = f"{setting.meaning} {setting.expected[0].upper()}{setting.expected[1:]}."
                lines += textwrap.wrap(text, 96, initial_indent="# ", subsequent_indent="# ")
                lines.append(_line(setting, name))
    return "\n".join(lines) + "\n"


def _line(setting: Setting, name: str) -> str:
    value = setting.default
    if setting.name == "data.train" or value is None or value == {}:
        value = setting.example if setting.example is not None else value
    is_set = setting.default is not None or setting.name == "data.train"
    shown = toml_value(value)
    return f"{name} = {shown}" if is_set and setting.default != {} else f"# {name} = {shown}"


def toml_value(value: Any) -> str:
    """Return a value as a line of TOML has it."""
    if isinstance(value, dict):
        pairs = [f"{tomli_w.dumps({k: 0})[:-5]} = {toml_value(v)}" for k, v in value.items()]
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml_value(one) for one in value) + "]"
    return tomli_w.dumps({"x": value}).removeprefix("x = ").rstrip("\n")
