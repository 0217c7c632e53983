"""Names to functions: a dict literal for what ships here, ``package.module:function`` for everybody else."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from sdar_cli.base.errors import ConfigError

Function = TypeVar("Function", bound=Callable[..., Any])


def resolve(kind: str, registry: Mapping[str, Function], name: str) -> Function:
    """The function called ``name``: a key of ``registry`` or an import path.  ``kind`` is the word used in errors.

    Raises ConfigError for an unknown name (with the nearest one and the whole list) or a path that cannot be loaded.
    """
    if name in registry:
        return registry[name]
    if ":" in name:
        return _load(kind, name)
    near = difflib.get_close_matches(name.lower(), list(registry), n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    raise ConfigError(
        f"unknown {kind} '{name}'{hint}",
        why=f"the {kind}s are: {', '.join(registry)}",
        fix="choose one of them, or name your own function as package.module:function",
    )


def _load(kind: str, path: str) -> Any:
    module_name, _, attribute = path.partition(":")
    wrong = f"cannot load {kind} '{path}'"
    fix = "write package.module:function, with the package installed or on PYTHONPATH"
    if not module_name or not attribute:
        raise ConfigError(wrong, why="a part before or after the colon is missing", fix=fix)
    try:
        function = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(wrong, why=str(error), fix=fix) from error
    if not callable(function):
        raise ConfigError(wrong, why=f"it is a {type(function).__name__}, not a function", fix=fix)
    return function
