"""A flag for each setting of an experiment."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.markup import escape

from fastmlp.experiments import describing
from fastmlp.experiments.reading import Override, assignment, parsed

_PREFIX = "setting_"


def with_settings(function: Callable[..., None]) -> Callable[..., None]:
    """Return a command that has a flag for each setting, `--solver.step`, and `--set`.

    Parameters
    ----------
    function : callable
        The command, whose argument `overrides` gets what the flags say.
    """
    signature = inspect.signature(function, eval_str=True)
    own = [one for one in signature.parameters.values() if one.name != "overrides"]
    names: dict[str, str] = {}
    flags = []
    for setting in describing.settings():
        section, name = setting.name.split(".")
        parameter = f"{_PREFIX}{section}_{name}"
        names[parameter] = setting.name
        flags.append(_flag(parameter, setting, section))

    @functools.wraps(function)
    def command(**arguments: Any) -> None:
        given = {name: arguments.pop(name) for name in names}
        overrides = functools.partial(_overrides, arguments.pop("set_") or [], given, names)
        function(**arguments, overrides=overrides)

    set_ = inspect.Parameter(
        "set_",
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[
            list[str] | None,
            typer.Option(
                "--set",
                metavar="NAME=VALUE",
                help="A setting, as solver.step=0.01; may be given again and again.",
            ),
        ],
    )
    every = [*own, set_, *flags]
    command.__signature__ = signature.replace(parameters=every)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in every}
    return command


def _flag(parameter: str, setting: describing.Setting, section: str) -> inspect.Parameter:
    words = f"{setting.meaning} {setting.expected[0].upper()}{setting.expected[1:]}."
    if setting.default is not None and setting.default != {}:
        words += f" [default: {describing.toml_value(setting.default)}]"
    option = typer.Option(
        f"--{setting.name}",
        metavar="VALUE",
        help=escape(words),
        rich_help_panel=f"\\[{section}]",
        show_default=False,
    )
    return inspect.Parameter(
        parameter,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[str | None, option],
    )


def _overrides(
    assignments: list[str], given: dict[str, str | None], names: dict[str, str]
) -> list[Override]:
    """Return what the flags say; those of a setting's own come last."""
    return [
        *map(assignment, assignments),
        *(
            Override(names[key], parsed(names[key], text), f"--{names[key]}")
            for key, text in given.items()
            if text is not None
        ),
    ]
