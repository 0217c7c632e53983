"""Whether the fields of a dataclass that was read from JSON hold what their annotations say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

_HINTS: dict[type, Mapping[str, object]] = {}
"""Annotations by class: resolving them takes longer than the check."""


def check_fields(record: Any) -> None:
    """Check a dataclass and those inside it.  Raises TypeError that names the field with another value."""
    kind = type(record)
    hints = _HINTS.get(kind) or _HINTS.setdefault(kind, get_type_hints(kind))
    for field in fields(record):
        value = getattr(record, field.name)
        if not _fits(value, hints[field.name]):
            raise TypeError(f"{field.name} of {type(record).__name__} is {str(value)[:40]!r}")


def _fits(value: Any, hint: Any) -> bool:
    """An int will do for a float, a list for a tuple; True and False are no numbers."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, UnionType):
        return any(_fits(value, each) for each in inner)
    if origin is Mapping:
        return isinstance(value, Mapping) and all(_fits(each, inner[1]) for each in value.values())
    if origin in (tuple, Sequence):
        if not isinstance(value, list | tuple):
            return False
        if origin is tuple and Ellipsis not in inner:
            return len(value) == len(inner) and all(map(_fits, value, inner))
        return all(_fits(each, inner[0]) for each in value)
    if hint is float or hint is int:
        return isinstance(value, int if hint is int else int | float) and not isinstance(value, bool)
    if not isinstance(value, hint):
        return False
    if is_dataclass(value):
        check_fields(value)
    return True
