"""Networks, losses, rules and schedules as trees of plain values, and back, for files.

Only what is listed here can come out of a file: objects are made by the library's own functions,
which check their arguments.
"""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import numpy as np

from fastmlp import losses
from fastmlp.files import FormatError
from fastmlp.losses import Loss
from fastmlp.network import Network
from fastmlp.solvers import rules, schedules, step_sizes
from fastmlp.solvers.rules import Rule
from fastmlp.solvers.step_sizes import Schedule

# More layers than any network has; a file of a megabyte could ask for a million objects.
MOST_LAYERS = 10_000
_RULES = {rule.__name__: rule for rule in rules.RULES.values()}
_SCHEDULES = {
    kind.name: getattr(schedules, kind.name)
    for kind in vars(step_sizes).values()
    if isinstance(kind, type) and issubclass(kind, Schedule) and hasattr(kind, "name")
}


def of(value: Any) -> Any:
    """Return a tree that `files.write` takes, from which `back` makes an equal value.

    Parameters
    ----------
    value : object
        A network, loss, rule, schedule or dtype; a dict with any keys; or a tuple or list of
        these. Anything else is returned as it is.

    Raises
    ------
    TypeError
        For what contains a user's functions, but for losses.
    """
    if isinstance(value, (list, tuple)):
        return type(value)([of(one) for one in value])
    if isinstance(value, dict):
        return {"object": "dict", "items": [[of(key), of(one)] for key, one in value.items()]}
    if isinstance(value, Network):
        *hidden, output = value.activations
        return {
            "object": "Network", "widths": list(value.widths), "hidden": hidden, "output": output,
            "loss": of(value.loss_function), "bias": value.bias, "dtype": value.dtype.name,
        }  # fmt: skip
    if isinstance(value, Loss):
        name = "custom" if value.functions else value.name
        return {"object": "Loss", "name": name, "parameter": value.parameter}
    if type(value) in _RULES.values():
        return {"object": "Rule", "name": type(value).__name__, **_fields(value)}
    if isinstance(value, Schedule) and hasattr(value, "name"):
        fields = {name: of(one) for name, one in _fields(value).items()}
        return {"object": "Schedule", "name": value.name, **fields}
    if isinstance(value, (Rule, Schedule)) or callable(value):
        raise TypeError(f"a file cannot hold {value!r}")
    return value


def _fields(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def back(tree: Any, loss: Loss | None = None) -> Any:
    """Return the value that a tree describes.

    Parameters
    ----------
    tree : object
        What `of` returned, or anything from a file.
    loss : Loss, optional
        The user's own loss, in place of one whose functions no file holds.

    Raises
    ------
    FormatError
        For what `of` does not return.
    """
    if isinstance(tree, (list, tuple)):
        return type(tree)([back(one, loss) for one in tree])
    if not isinstance(tree, dict):
        return tree
    values = {key: back(one, loss) for key, one in tree.items() if key != "object"}
    try:
        return _made(tree.get("object"), values, loss)
    except FormatError:
        raise
    except (TypeError, ValueError, LookupError, OverflowError) as error:
        raise FormatError(f"the description of a {tree.get('object')} is wrong: {error}") from None


def _made(kind: Any, values: dict[str, Any], loss: Loss | None) -> Any:
    if kind == "dict":
        return dict(values["items"])
    if kind == "Network":
        if len(values["widths"]) > MOST_LAYERS:
            raise ValueError(f"it has {len(values['widths'])} layers")
        return Network(values.pop("widths"), **values)
    name = values.pop("name", None)
    if kind == "Loss":
        return _loss(name, loss, **values)
    makers: dict[str, Any] = {"Rule": _RULES, "Schedule": _SCHEDULES}.get(kind, {})
    if name not in makers:
        raise FormatError(f"the description has an unknown object: {kind!r} {name!r}")
    return makers[name](**values)


def _loss(name: Any, own: Loss | None, parameter: float) -> Loss:
    if name == "custom":
        if own is None:
            raise FormatError(
                "the network has a loss of the user's own, whose functions no file holds: give it "
                "as loss=fastmlp.losses.custom(...)"
            )
        return own
    known = losses.resolve(name)
    maker = getattr(losses, name, None)
    if maker is None or not inspect.signature(maker).parameters:
        return known
    made: Loss = maker(parameter)
    return made


def network(tree: Any, parameters: Any, loss: Loss | None = None) -> tuple[Network, np.ndarray]:
    """Return the network that a tree describes, and its parameters, checked."""
    net = back(tree, loss)
    if not isinstance(net, Network):
        raise FormatError("the description has no network")
    if not isinstance(parameters, np.ndarray) or parameters.shape != (net.n_params,):
        shape = getattr(parameters, "shape", None)
        raise FormatError(f"the parameters have shape {shape}, the network's ({net.n_params},)")
    if parameters.dtype != net.dtype:
        raise FormatError(f"the parameters are {parameters.dtype}, the network's {net.dtype}")
    return net, parameters
