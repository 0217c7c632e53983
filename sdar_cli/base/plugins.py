"""Plugs: what a name in the configuration stands for, whether it ships here or comes from a guest's package.

One rule for every kind.  A name is

1. a key of the kind's table, a dict literal in the module that holds the functions; else
2. an entry point of the group ``sdar.<kind>``, from any installed package; else
3. an import path ``package.module:attribute``.  The current folder is importable for such paths.

Names are listed without importing the functions: the table's keys are read from the module's source.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import json
import sys
import traceback
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sdar_cli.base.errors import ConfigError, RunFailedError, SdarError

PATH_FORM = "package.module:attribute"


@dataclass(frozen=True)
class Kind:
    """One kind of plug.

    name: the word in errors and in the group of entry points.  module, table: where the dict literal of built-in ones
    stands; its values are the things themselves, or import paths to them.  given: names of the positional arguments
    that a function of this kind is called with.  optional: ``none`` is a name too, for no function at all; it is never
    loaded.
    """

    name: str
    module: str
    table: str
    given: tuple[str, ...] = ()
    optional: bool = False

    @property
    def group(self) -> str:
        """The group of its entry points."""
        return f"sdar.{self.name}"

    def builtin(self) -> tuple[str, ...]:
        """Names that ship here, in the table's order, after ``none`` where that is legal; nothing is imported."""
        keys = _table_keys(self.module, self.table)
        return ("none", *keys) if self.optional else keys

    def names(self) -> tuple[str, ...]:
        """Built-in names, then those of installed packages; nothing is imported."""
        return (*self.builtin(), *(name for name in _entries(self.group) if name not in self.builtin()))

    def check_name(self, name: str) -> str:
        """The name, if it is known or has the form of an import path; nothing is imported.  Raises ValueError."""
        if name in self.builtin() or is_path(name) or name in _entries(self.group):
            return name
        raise ValueError(f"should be one of {', '.join(self.names())}, or an import path {PATH_FORM}{self._hint(name)}")

    def load(self, name: str) -> Any:
        """What a name stands for.

        Raises ConfigError for an unknown name, with the nearest one, and for what cannot be imported.
        """
        if name in self.builtin():
            value = getattr(importlib.import_module(self.module), self.table)[name]
            return _import(self.name, name, value) if isinstance(value, str) else value
        if (entry := _entries(self.group).get(name)) is not None:
            return _import(self.name, name, entry.value)
        if ":" in name:
            return _import(self.name, name, name)
        raise ConfigError(
            f"unknown {self.name} {name!r}{self._hint(name)}",
            why=f"the names are: {', '.join(self.names())}",
            fix=f"choose one of them, or name your own as {PATH_FORM}",
        )

    def bind(self, name: str, arguments: Mapping[str, Any] | None = None) -> Callable[..., Any]:
        """The function of a name with its keyword arguments from the configuration.

        An error inside a guest's function names its file and line.
        Raises ConfigError where the name is unknown, it is not callable, or the arguments do not fit its signature.
        """
        function = self.load(name)
        if not callable(function):
            raise ConfigError(
                f"cannot load {self.name} {name!r}",
                why=f"it is a {type(function).__name__}, not a function",
                fix=f"name a function as {PATH_FORM}",
            )
        values = self.check_arguments(name, function, arguments or {})
        bound = functools.partial(function, **values) if values else function
        if values:
            functools.update_wrapper(bound, function)  # keeps marks such as full_vocabulary
        return bound if name in self.builtin() else _guarded(f"{self.name} {name!r}", function, bound)

    def check_arguments(
        self, name: str, function: Callable[..., Any], arguments: Mapping[str, Any]
    ) -> dict[str, object]:
        """The keyword arguments with the types that the signature asks for.  Raises ConfigError where they do not fit.

        The positional arguments ``given`` must fit too.
        """
        signature = inspect.signature(function)
        shown = f"{self.name} {name!r}"
        try:
            signature.bind(*self.given, **arguments)
        except TypeError as error:
            own = [
                p.name for p in list(signature.parameters.values())[len(self.given) :] if p.kind is not p.VAR_KEYWORD
            ]
            unknown = [key for key in arguments if key not in own]
            near = get_close_matches(unknown[0], own, n=1) if unknown else []
            raise ConfigError(
                f"the arguments of {shown} do not fit: {error}{f'; did you mean {near[0]!r}?' if near else ''}",
                why=f"it is called as {self.name}({', '.join(self.given)}"
                f"{', ' if self.given else ''}**arguments) and its signature is {signature}",
                fix=f"its own arguments are: {', '.join(own) or 'none'}",
            ) from error
        return _typed(shown, function, arguments)

    def blame(self, name: str, error: BaseException) -> RunFailedError:
        """An error of what a guest's function has made, naming file and line."""
        return error if isinstance(error, RunFailedError) else blame(f"{self.name} {name!r}", error)

    def missing_module(self, name: str) -> str | None:
        """The top module of an import path that is not installed; None where nothing is missing."""
        if name in self.builtin() or not is_path(name):
            return None
        top = name.partition(":")[0].partition(".")[0]
        with_current_folder()
        return None if find_spec(top) else top

    def _hint(self, name: str) -> str:
        near = get_close_matches(name.lower(), self.names(), n=1, cutoff=0.5)
        return f"; did you mean {near[0]!r}?" if near else ""


def is_path(name: str) -> bool:
    """Whether a name has the form ``package.module:attribute``."""
    module, colon, attribute = name.partition(":")
    return bool(colon) and attribute.isidentifier() and all(part.isidentifier() for part in module.split("."))


def with_current_folder() -> None:
    """Let import paths name modules of the current folder; what is installed comes first."""
    folder = str(Path.cwd())
    if folder not in sys.path and "" not in sys.path:
        sys.path.append(folder)


def blame(what: str, error: BaseException, file: str | None = None) -> RunFailedError:
    """An error inside a guest's code, naming file and line.  ``file``: the guest's, where it is known; else the deepest
    frame is named."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == file] or list(frames)
    where = f"{own[-1].filename}, line {own[-1].lineno}, in {own[-1].name}: {own[-1].line}" if own else ""
    first = f"{what} failed: {type(error).__name__}: {error}".splitlines()[0]
    return RunFailedError(first, why=where, fix="fix it there; --debug shows the whole traceback")


def _guarded(what: str, function: Callable[..., Any], bound: Callable[..., Any]) -> Callable[..., Any]:
    file = getattr(sys.modules.get(getattr(function, "__module__", "")), "__file__", None)

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        try:
            return bound(*arguments, **named)
        except SdarError:
            raise
        except Exception as error:
            raise blame(what, error, file) from error

    return call


def _typed(what: str, function: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, object]:
    """Arguments converted to their annotated types, as JSON values (``"3"`` for an int is refused, 3 for a float and a
    list for a tuple are not)."""
    if not arguments:
        return {}
    from pydantic import PydanticSchemaGenerationError, TypeAdapter, ValidationError

    try:
        hints = typing.get_type_hints(function.__init__ if inspect.isclass(function) else function)
    except Exception:  # annotations that name what only a type checker imports: their values are taken as they are
        hints = {}
    out = {}
    for key, value in arguments.items():
        if key not in hints:
            out[key] = value
            continue
        try:
            out[key] = TypeAdapter(hints[key]).validate_json(json.dumps(value), strict=True)
        except PydanticSchemaGenerationError as error:
            raise ConfigError(
                f"argument {key} = {value!r} of {what}: its type {hints[key]} cannot be written in a configuration"
            ) from error
        except ValidationError as error:
            raise ConfigError(f"argument {key} = {value!r} of {what}: {error.errors()[0]['msg'].lower()}") from error
    return out


def _import(kind: str, name: str, path: str) -> Any:
    wrong = f"cannot load {kind} {name!r}"
    fix = f"write {PATH_FORM}, with the package installed or in the current folder"
    module_name, _, attribute = path.partition(":")
    if not module_name or not attribute:
        raise ConfigError(wrong, why="a part before or after the colon is missing", fix=fix)
    with_current_folder()
    try:
        found: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ConfigError(wrong, why=str(error), fix=fix) from error
    except Exception as error:
        raise blame(f"importing {module_name} for {kind} {name!r}", error) from error
    return found


@functools.cache
def _entries(group: str) -> dict[str, EntryPoint]:
    """Entry points of a group by name, sorted."""
    return {entry.name: entry for entry in sorted(_all_entries().select(group=group), key=lambda entry: entry.name)}


@functools.cache
def _all_entries() -> Any:
    """Those of every installed package: reading them takes tens of milliseconds, so once.

    Its type depends on the version of Python; all can ``select``.
    """
    return entry_points()


@functools.cache
def _table_keys(module: str, table: str) -> tuple[str, ...]:
    """The keys of a dict literal at the top level of a module, read from its source.

    Raises LookupError where there is no such literal.
    """
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise LookupError(f"no module {module}")
    for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
        target = (
            node.target
            if isinstance(node, ast.AnnAssign)
            else node.targets[0]
            if isinstance(node, ast.Assign)
            else None
        )
        if isinstance(target, ast.Name) and target.id == table:
            value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
            if isinstance(value, ast.Dict):
                return tuple(ast.literal_eval(key) for key in value.keys if key is not None)
    raise LookupError(f"{module} has no dict literal {table}")
