"""Dotted keys of the configuration, and the merging of values that remember where they came from."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from sdar_cli.base.errors import ConfigError
from sdar_cli.config.schema import RunConfig, env_options
from sdar_cli.envs.registry import ENVIRONMENT, benchmark, built_in

SHOWN = 200
"""Characters of a wrong value in a message."""
DEEPEST = 20
"""Dots of the longest key that is looked at."""


def fields_of(model: type[BaseModel], prefix: str = "") -> dict[str, FieldInfo]:
    """Every dotted key of a section and its field; a section's own fields in place of the section."""
    table: dict[str, FieldInfo] = {}
    for name, info in model.model_fields.items():
        section = info.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            table |= fields_of(section, f"{prefix}{name}.")
        else:
            table[prefix + name] = info
    return table


@cache
def field_table(env: str | None = None) -> dict[str, FieldInfo]:
    """Every dotted key of the configuration of an environment and its field; without one, of all that ship here."""
    names = built_in() if env is None else (env,)
    own = {key: info for name in names for key, info in fields_of(benchmark(name).options, "env.").items()}
    table: dict[str, FieldInfo] = {}
    for key, info in fields_of(RunConfig).items():
        table |= own if key.startswith("env.") else {key: info}
    return table


def owners_of(key: str) -> list[str]:
    """The environments that ship here and have a setting."""
    return [name for name in built_in() if key in field_table(name)]


def flatten(config: RunConfig) -> dict[str, object]:
    """Dotted key to value, in the order of the configuration."""

    def lookup(key: str) -> Any:
        value: Any = config
        for part in key.split("."):
            value = getattr(value, part)
        return value

    return {key: lookup(key) for key in field_table(config.env.name)}


def default_values(env: str) -> dict[str, object]:
    """Dotted key to default value in the configuration of an environment."""
    return flatten(RunConfig(env=env_options({"name": env})))


def suggest(word: str, candidates: Sequence[str], separator: str = ".") -> str:
    """``; did you mean 'x'?`` or nothing.  A name without its section, or in a wrong one, finds the whole key."""

    def leaf(name: str) -> str:
        return name.rpartition(separator)[2]

    near = [name for name in candidates if leaf(name) == leaf(word)]
    near = near or get_close_matches(word, candidates, n=2, cutoff=0.75)
    if not near:
        close = get_close_matches(leaf(word), [leaf(name) for name in candidates], n=2, cutoff=0.7)
        near = [name for name in candidates if leaf(name) in close]
    return f"; did you mean {' or '.join(repr(name) for name in near[:3])}?" if near else ""


def _kinds_of(info: FieldInfo) -> tuple[Any, ...]:
    """The plain types a field takes: ``str | None`` gives (str, NoneType)."""
    members = get_args(info.annotation)
    parts = members if type(None) in members else (info.annotation,)
    return tuple(get_args(part)[0] if hasattr(part, "__metadata__") else part for part in parts)


def parse_value(text: str, info: FieldInfo | None) -> Any:
    """A TOML value, else the bare text; for a text field always the text (``revision=1234567``).

    Raises ConfigError for a number or a nesting that no TOML reader takes.
    """
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, lists thousands deep
        raise ConfigError(f"{shortened(text)} cannot be read as a value", why=str(error).split(";")[0]) from error
    wants_text = info is not None and str in _kinds_of(info)
    return text if wants_text and not isinstance(value, str) else value


def shortened(value: Any) -> str:
    """How a value is shown in a message: at most ``SHOWN`` characters of it."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({len(text)} characters)"


def nest(flat: Mapping[str, object]) -> Mapping[str, object]:
    """``{"a.b": 1}`` to ``{"a": {"b": 1}}``."""
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *sections, leaf = key.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        node[leaf] = value
    return tree


@dataclass(frozen=True)
class _Text:
    """A value as it was written on the command line; its field decides how it is read."""

    text: str


def table_above(key: str, env: str | None = None) -> str | None:
    """The field that holds a table and has ``key`` below it: ``algo.gate_args`` for ``algo.gate_args.threshold``."""
    above = key.rpartition(".")[0]
    while above:
        info = field_table(env).get(above)
        if info is not None:
            return above if get_origin(info.annotation) is dict else None
        above = above.rpartition(".")[0]
    return None


def _with_entry(table: object, entry: Sequence[str], value: object) -> dict[str, object]:
    """A copy of a table with one entry, which may lie in a table below it, set."""
    first, *rest = entry
    kept = dict(table) if isinstance(table, Mapping) else {}
    return {**kept, first: _with_entry(kept.get(first), rest, value) if rest else value}


@dataclass
class _Settled:
    """Dotted key to value, dotted key to where the value comes from, and what was wrong."""

    values: dict[str, object]
    sources: dict[str, str]
    problems: list[str]


class Merger:
    """Values by dotted key, weakest source first; ``problems`` collects every mistake met on the way.

    Which keys exist depends on the environment, and any source may name it: values are collected first, and read when
    all of them are there.
    """

    def __init__(self) -> None:
        self._given: list[tuple[str, Any, str, bool]] = []
        self._settled: _Settled | None = None
        self._problems: list[str] = []

    @property
    def env(self) -> str:
        """The environment: the last one named that exists, else the default."""
        named = [_plain(value) for key, value, *_ in self._given if key == "env.name"]
        known = [name for name in named if isinstance(name, str) and _is_environment(name)]
        return known[-1] if known else built_in()[0]

    @property
    def values(self) -> Mapping[str, object]:
        """Dotted key to value: the defaults, and what was put over them."""
        return self._settle().values

    @property
    def sources(self) -> dict[str, str]:
        """Dotted key to where its value comes from."""
        return self._settle().sources

    @property
    def problems(self) -> list[str]:
        """Every mistake so far."""
        return [*self._problems, *self._settle().problems]

    def complain(self, problem: str) -> None:
        """Add a mistake."""
        self._problems.append(problem)

    def put(self, key: str, value: Any, source: str, literal: bool = False) -> None:
        """One value.  ``none`` and ``null`` unset what may be unset, since TOML has no null; not where it is
        ``literal``, a flag's: a folder may be called so.

        A key below a field that holds a table (``algo.gate_args.threshold``) sets that entry.
        """
        if key.count(".") > DEEPEST:
            self.complain(f"{source}: {key[:60]}…: no key has more than {DEEPEST} dots")
            return
        self._given.append((key, value, source, literal))
        self._settled = None

    def put_tree(self, tree: Mapping[str, Any], source: str, prefix: str = "") -> None:
        """A nested table; ``env.data`` before ``env.source``, so that an explicit source wins."""
        for name, value in sorted(tree.items(), key=lambda item: item[0] == "source"):
            if isinstance(value, Mapping) and prefix + name not in field_table() and prefix.count(".") <= DEEPEST:
                self.put_tree(value, source, f"{prefix}{name}.")
            else:
                self.put(prefix + name, value, source)

    def put_assignment(self, assignment: str) -> None:
        """One ``--set a.b=value``."""
        key, equals, text = assignment.partition("=")
        if not equals:
            self.complain(f"--set {assignment}: write KEY=VALUE, for example train.lr=1e-4")
            return
        self.put(key.strip(), _Text(text.strip()), "--set")

    def _settle(self) -> _Settled:
        """What was given, read as the environment's configuration."""
        if self._settled is None:
            env = self.env
            values, problems = default_values(env), list[str]()
            sources = dict.fromkeys(values, "default")
            for key, given, source, literal in self._given:
                above = table_above(key, env)
                if above is None and (problem := _unknown(key, env)):
                    problems.append(f"{source}: {problem}")
                    continue
                info = None if above else field_table(env)[key]
                try:
                    value = parse_value(given.text, info) if isinstance(given, _Text) else given
                except ConfigError as error:
                    problems.append(f"{source}: {key}: {error.what} ({error.why})")
                    continue
                if above:
                    entry = key.removeprefix(f"{above}.").split(".")
                    values[above], sources[above] = _with_entry(values[above], entry, value), source
                    continue
                optional = info is not None and type(None) in _kinds_of(info)
                values[key] = None if optional and not literal and value in ("none", "null") else value
                sources[key] = source
                if key == "env.data" and values[key] is not None:
                    values["env.source"] = "real"
                    sources["env.source"] = f"{source} (env.data implies it)"
            self._settled = _Settled(values, sources, problems)
        return self._settled

    def build(self, training: bool = True) -> RunConfig:
        """The configuration; ``training``: whether it is of a training, whose settings must fit each other.

        Raises one ConfigError with every problem, found here or before."""
        invalid: set[str] = set()
        config = self._validate(invalid, training)
        if config is None and invalid:  # check the fields that are right against each other
            defaults = default_values(self.env)
            self._settle().values.update({key: defaults[key] for key in invalid})
            self._validate(invalid, training)
        if config is None or self.problems:
            raise problems_error(self.problems)
        return config

    def _validate(self, invalid: set[str], training: bool) -> RunConfig | None:
        """Adds problems, and to ``invalid`` the keys whose own value is wrong."""
        known_bad = frozenset(invalid)
        try:
            return RunConfig.model_validate(nest(self.values), context={"training": training})
        except ValidationError as error:
            for item in error.errors(include_url=False):
                if item["type"] == "cross_field":
                    self._report_contradictions(item["ctx"]["problems"], known_bad)
                    continue
                key = ".".join(str(part) for part in item["loc"])
                inside = ""
                while key not in self.sources:  # inside a list
                    key, _, last = key.rpartition(".")
                    inside = f"{last}.{inside}" if inside else last
                invalid.add(key)
                message = item["msg"].removeprefix("Value error, ")
                message = message[:1].lower() + message[1:]
                where = f" at {inside}" if inside else ""
                self._problems.append(f"{self.sources[key]}: {key} = {shortened(self.values[key])}:{where} {message}")
        return None

    def _report_contradictions(self, found: Sequence[Any], known_bad: frozenset[str]) -> None:
        for problem in found:
            if not known_bad.intersection(problem.keys):
                origin = ", ".join(f"{key} from {self.sources[key]}" for key in problem.keys)
                self._problems.append(f"{problem.text} ({origin})")


def _plain(value: Any) -> Any:
    return value.text if isinstance(value, _Text) else value


def _is_environment(name: str) -> bool:
    try:
        ENVIRONMENT.check_name(name)
    except ValueError:
        return False
    return True


def _unknown(key: str, env: str) -> str:
    """What is wrong with a key; empty where it is one of the environment's configuration."""
    table = field_table(env)
    if key in table:
        return ""
    inside = [name for name in table if name.startswith(key + ".")]
    if inside:
        hint = f"; it is a section, with {', '.join(inside[:3])}, …"
    elif owners := owners_of(key):
        hint = f" for the environment {env}; it is a setting of {' and '.join(owners)}"
    else:
        hint = suggest(key, list(table))
    return f"unknown key {key!r}{hint}"


def problems_error(problems: Sequence[str]) -> ConfigError:
    """All problems as one error."""
    fix = "correct the values above; sdar train --dry-run without them shows every key, its value and its source"
    if len(problems) == 1:
        return ConfigError(problems[0], fix=fix)
    listed = "".join(f"\n  - {problem}" for problem in problems)
    return ConfigError(f"{len(problems)} problems in the configuration", why=listed, fix=fix, problems=problems)


def changed_keys(config: RunConfig) -> set[str]:
    """Keys whose value is not the default."""
    defaults = {**default_values(config.env.name), "env.name": built_in()[0]}
    return {key for key, value in flatten(config).items() if value != defaults[key]}
