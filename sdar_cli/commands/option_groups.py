"""Options that belong together as one parameter of a command: a frozen dataclass whose fields are options.

``@expand_groups`` shows Typer every field as an option of its own, in the place of the parameter, and gives the command
the filled dataclass:

    @dataclass(frozen=True)
    class Where:
        slots: Annotated[int, typer.Option(help="Runs at a time.")] = 1

    @expand_groups
    def sweep(where: Where, as_json: Json = False) -> None: ...
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_args, get_type_hints


class Without:
    """``Annotated[Settings, Without("config")]``: fields that are no options here and keep their defaults."""

    def __init__(self, *names: str) -> None:
        self.names = names


def expand_groups(command: Callable[..., None]) -> Callable[..., None]:
    """The command as Typer should see it: each parameter that is a dataclass replaced by one option per field.

    Raises ValueError where two options have one name, and for a name in ``Without`` that is no field.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, tuple[type, list[str]]] = {}
    shown: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        group, omitted = _group(hints[name])
        if group is None:
            shown.append(parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY))
        else:
            own = list(_options(group, omitted))
            groups[name] = (group, [option.name for option in own])
            shown += own

    @functools.wraps(command)
    def expanded(**given: Any) -> None:
        for name, (group, names) in groups.items():
            given[name] = group(**{each: given.pop(each) for each in names})
        command(**given)

    expanded.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    expanded.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
    return expanded


def _group(hint: Any) -> tuple[type | None, tuple[str, ...]]:
    """The dataclass a parameter is annotated with, and which of its fields the command leaves out."""
    parts = get_args(hint) if hasattr(hint, "__metadata__") else (hint,)
    if not (isinstance(parts[0], type) and is_dataclass(parts[0])):
        return None, ()
    omitted = tuple(name for part in parts[1:] if isinstance(part, Without) for name in part.names)
    unknown = set(omitted) - {field.name for field in fields(parts[0])}
    if unknown:
        raise ValueError(f"{parts[0].__name__} has no field {', '.join(sorted(unknown))}")
    return parts[0], omitted


def _options(group: type, omitted: tuple[str, ...]) -> Iterator[inspect.Parameter]:
    """One keyword parameter per field, in the order of the fields."""
    hints = get_type_hints(group, include_extras=True)
    for field in fields(group):
        if field.name not in omitted:
            default = inspect.Parameter.empty if field.default is MISSING else field.default
            kind = inspect.Parameter.KEYWORD_ONLY
            yield inspect.Parameter(field.name, kind, default=default, annotation=hints[field.name])
