"""What a sweep varies: an axis from presets/sweeps or from ``--grid KEY=V1,V2``, and the points of their product."""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sdar_cli.base.errors import ConfigError
from sdar_cli.base.resources import resource_dir
from sdar_cli.config.merge import field_table, parse_value, suggest, table_above

PRESET_KEYS = ("env", "model", "method")
"""Axes that choose a preset: the values are what ``--env``, ``--model`` and ``--method`` take."""
SECTION = "sweeps"


class Choice(NamedTuple):
    """One value of an axis: its text, the settings that stand for it, and its name in the paper's figures."""

    text: str
    settings: Mapping[str, Any]
    figure: str = ""


@dataclass(frozen=True)
class Axis:
    """A key and what it takes.  ``factors`` multiply the value that the presets give, in place of choices."""

    key: str
    choices: tuple[Choice, ...] = ()
    factors: tuple[float, ...] = ()

    @property
    def leaf(self) -> str:
        """``beta`` of ``algo.beta``."""
        return self.key.rpartition(".")[2]


@dataclass(frozen=True)
class SweepPreset:
    """A file of presets/sweeps.  paper: environment to {value: figure}, and ``note``, where the figures are from."""

    name: str
    description: str
    axis: Axis
    seeds: int
    instead: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    paper: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Point:
    """One combination.  label: for people; slug: part of its runs' names; figure: its name in the paper's figures."""

    label: str
    slug: str
    settings: Mapping[str, Any]
    figure: str = ""


def list_sweeps() -> list[str]:
    """Names of the shipped sweeps, sorted."""
    return sorted(path.stem for path in (resource_dir("presets") / SECTION).glob("*.toml"))


def load_sweep(name: str) -> SweepPreset:
    """A shipped sweep.  Raises ConfigError for an unknown name."""
    if name not in list_sweeps():
        raise ConfigError(
            f"unknown sweep {name!r}{suggest(name, list_sweeps())}",
            why=f"the sweeps are {', '.join(list_sweeps())}",
            fix="sdar sweep NAME, or sdar sweep --grid KEY=V1,V2",
        )
    raw = tomllib.loads((resource_dir("presets") / SECTION / f"{name}.toml").read_text(encoding="utf-8"))
    instead = raw.get("instead", {})
    axis = Axis(raw["key"], choices(raw["key"], raw.get("values", ()), instead), tuple(raw.get("factors", ())))
    return SweepPreset(name, raw["description"], axis, raw["seeds"], instead, raw.get("paper", {}))


def choices(key: str, values: Sequence[Any], instead: Mapping[str, Mapping[str, Any]]) -> tuple[Choice, ...]:
    """Values of a key as choices."""
    return tuple(Choice(text, instead.get(text, {key: value}), text) for value in values for text in [text_of(value)])


def text_of(value: Any) -> str:
    """``5`` for 5.0, ``0.001``, ``gap``."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def parse_values(key: str, text: str) -> list[Any]:
    """``1,2.5,[a, b]`` as values of a key; commas inside brackets and quotes belong to a value."""
    info = field_table().get(key)
    parts = [part.strip() for part in re.findall(r"(?:\[[^\]]*\]|\{[^}]*\}|\"[^\"]*\"|'[^']*'|[^,])+", text)]
    return [part if key in PRESET_KEYS else parse_value(part, info) for part in parts if part]


def parse_grid(text: str) -> Axis:
    """``--grid KEY=V1,V2``.  Raises ConfigError for an unknown key or no values."""
    key, equals, listed = (part.strip() for part in text.partition("="))
    if key not in PRESET_KEYS and key not in field_table() and table_above(key) is None:
        hint = suggest(key, [*field_table(), *PRESET_KEYS])
        raise ConfigError(f"--grid {text}: unknown key {key!r}{hint}", fix="sdar train --dry-run shows every key")
    if key in ("seed", "name"):
        raise ConfigError(f"--grid {text}: {key} is no axis", fix="--seeds N runs every point with seeds 0 to N - 1")
    values = parse_values(key, listed)
    if not equals or not values:
        raise ConfigError(f"--grid {text}: no values", fix=f"--grid {key or 'KEY'}=V1,V2")
    return Axis(key, choices(key, values, {}))


def points(axes: Sequence[Axis]) -> list[Point]:
    """The product of the axes, the first one slowest.  Raises ConfigError for an axis or a value given twice."""
    keys = [axis.key for axis in axes]
    problems = [f"{key} is varied twice" for key in dict.fromkeys(keys) if keys.count(key) > 1]
    for axis in axes:
        texts = [choice.text for choice in axis.choices]
        problems += [f"{axis.key} has {text} twice" for text in dict.fromkeys(texts) if texts.count(text) > 1]
    if problems:
        raise ConfigError("; ".join(problems), fix="name each key and each value once")
    leaves = [axis.leaf for axis in axes]
    names = [axis.leaf if leaves.count(axis.leaf) == 1 else axis.key for axis in axes]
    made = []
    for combination in itertools.product(*(axis.choices for axis in axes)):
        settings = {key: value for choice in combination for key, value in choice.settings.items()}
        label = ", ".join(
            choice.text if axis.key == "method" and len(axes) == 1 else f"{name}={choice.text}"
            for name, axis, choice in zip(names, axes, combination, strict=True)
        )
        made.append(Point(label, re.sub(r"[^A-Za-z0-9.]+", "-", label).strip("-."), settings, combination[0].figure))
    return _distinct(made)


def _distinct(made: Sequence[Point]) -> list[Point]:
    """Points whose names for files are equal get a number."""
    slugs = [point.slug for point in made]
    return [
        Point(point.label, f"{point.slug}-{index}", point.settings, point.figure)
        if slugs.count(point.slug) > 1 or len(point.slug) > 90 or not point.slug
        else point
        for index, point in enumerate(made, start=1)
    ]
