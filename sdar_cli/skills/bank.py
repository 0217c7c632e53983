"""Skill banks: a folder with ``bank.toml`` and Markdown files, read, checked and hashed.

A file is TOML front matter between two ``+++`` lines, then the text.  ``bank.toml`` lists the categories
with their keywords, in the order in which keyword retrieval tries them.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails

from sdar_cli.base.errors import ConfigError
from sdar_cli.base.resources import resource_dir
from sdar_cli.base.section import Section
from sdar_cli.envs.registry import bank_folder
from sdar_cli.skills.files import HEADER, bad, content_hash, read_folder

GENERAL = "general"
"""The category of skills that belong to every task."""
FENCE = "+++"

Line = Annotated[str, Field(min_length=1, pattern=r"^\S[^\r\n]*$")]
"""One line of text that is not blank."""
Kind = Literal["skill", "mistake"]


@dataclass(frozen=True)
class Skill:
    """One Markdown file.  ``brief`` is one line; ``text`` the body without surrounding blank lines;
    ``path`` is relative to the bank's folder, with forward slashes.

    ``sources``: where it came from, such as ``runs/a/episodes/step-000001.jsonl:3,7-9`` (lines, from 1).
    ``kind``: a ``mistake`` is about what to avoid; it is shown like any other skill.
    """

    id: str
    category: str
    when: str
    brief: str
    text: str
    path: str
    sources: tuple[str, ...] = ()
    kind: Kind = "skill"


class Origin(Section):
    """How a bank was made.  ``files``: the episode files it was made from, to their SHA-256."""

    builder: Line
    sdar: Line
    episodes: int = Field(ge=0)
    won: int = Field(ge=0)
    files: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True)
class Bank:
    """``skills``: general ones first, then in the order of ``categories``, then by path.  ``categories``:
    task type to keywords, in priority order.  ``types``: the environment's other names for a task type.  ``routes``:
    task type to category as the released code chooses.  ``sha256``: of all file names and bytes."""

    name: str
    version: str
    environment: str
    licence: str
    sha256: str
    skills: tuple[Skill, ...]
    categories: Mapping[str, tuple[str, ...]]
    types: Mapping[str, str] = field(default_factory=dict)
    routes: Mapping[str, str] = field(default_factory=dict)
    origin: Origin | None = None

    def of(self, category: str) -> tuple[Skill, ...]:
        """The skills of one category."""
        return self._by_category.get(category, ())

    def category_of(self, kind: str) -> str:
        """The category of a task type, under whatever name the environment has for it; perhaps none of the bank."""
        return self.types.get(kind, kind)

    @cached_property
    def _by_category(self) -> dict[str, tuple[Skill, ...]]:
        groups: dict[str, list[Skill]] = {}
        for skill in self.skills:
            groups.setdefault(skill.category, []).append(skill)
        return {category: tuple(skills) for category, skills in groups.items()}


class _Category(Section):
    keywords: tuple[Line, ...] = ()
    types: tuple[Line, ...] = ()


class _BankHeader(Section):
    name: Line
    version: Line
    environment: Line
    licence: Line
    categories: dict[Line, _Category] = Field(min_length=1)
    routes: dict[Line, Line] = Field(default_factory=dict)
    origin: Origin | None = None


class _SkillHeader(Section):
    id: Line
    category: Line
    when: Line
    brief: Line
    sources: tuple[Line, ...] = ()
    kind: Kind = "skill"


Header = TypeVar("Header", bound=Section)


def bank_names() -> list[str]:
    """The bundled banks, sorted."""
    root = resource_dir("skillbanks")
    return sorted(path.parent.name for path in root.glob(f"*/{HEADER}")) if root.is_dir() else []


def load_bank(name_or_path: str | Path) -> Bank:
    """The bank of that name, or in that folder.

    Raises ConfigError for an unknown bank, and for a bad one with the file at fault.
    """
    return read_bank(find_bank(name_or_path))


def read_bank(folder: Path) -> Bank:
    """The bank in a folder.  Raises ConfigError for a bad one with the file at fault."""
    where = folder / HEADER
    if not where.is_file() and not where.is_symlink():
        raise bad(folder, f"it holds no {HEADER}", "write it with name, version, environment, licence, categories")
    files = read_folder(folder)
    header = _validated(_BankHeader, _toml(_decoded(files[HEADER], where), where), where)
    skills = [_skill(folder / name, name, data) for name, data in files.items() if name != HEADER]
    _check(folder, header, skills)
    order = {name: number for number, name in enumerate([GENERAL, *header.categories])}
    return Bank(
        name=header.name,
        version=header.version,
        environment=header.environment,
        licence=header.licence,
        sha256=content_hash(files),
        skills=tuple(sorted(skills, key=lambda skill: (order[skill.category], skill.path))),
        categories={name: category.keywords for name, category in header.categories.items()},
        types={kind: name for name, category in header.categories.items() for kind in category.types},
        routes=header.routes,
        origin=header.origin,
    )


def find_bank(name_or_path: str | Path) -> Path:
    """The folder of a bundled bank (bundled names win), of an installed environment's bank, or the given folder."""
    text = str(name_or_path)
    known = bank_names()
    if text in known:
        return resource_dir("skillbanks") / text
    if (guest := bank_folder(text)) is not None:
        return guest
    folder = Path(text).expanduser()
    if folder.is_dir():
        return folder
    close = difflib.get_close_matches(text, known, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise ConfigError(
        f"no skill bank {text!r}",
        why=f"{hint}bundled banks: {', '.join(known) or 'none'}; anything else must be a folder",
        fix=f"sdar skills inspect {close[0] if close else (known or ['FOLDER'])[0]}",
    )


def _skill(path: Path, name: str, data: bytes) -> Skill:
    lines = _decoded(data, path).split("\n")
    if lines[0].rstrip() != FENCE or FENCE not in (line.rstrip() for line in lines[1:]):
        raise bad(path, f"it has no front matter between two {FENCE} lines", "begin it with id, category, when, brief")
    end = next(number for number, line in enumerate(lines[1:], 1) if line.rstrip() == FENCE)
    header = _validated(_SkillHeader, _toml("\n".join(lines[1:end]), path), path)
    text = "\n".join(lines[end + 1 :]).strip()
    if not text:
        raise bad(path, "it has no text after the front matter", "write the skill, or remove the file")
    return Skill(text=text, path=name, **dict(header))


def _check(folder: Path, header: _BankHeader, skills: list[Skill]) -> None:
    """What can be checked only on the whole bank: unique ids, known categories, no empty category."""
    where = folder / HEADER
    if GENERAL in header.categories:
        raise bad(where, f"{GENERAL!r} is not a task type", "remove its table: general skills need no keywords")
    seen: dict[str, str] = {}
    for skill in skills:
        if skill.id in seen:
            raise bad(folder / skill.path, f"the id {skill.id!r} is also that of {seen[skill.id]}", "give it another")
        seen[skill.id] = skill.path
        if skill.category != GENERAL and skill.category not in header.categories:
            known = ", ".join([GENERAL, *header.categories])
            raise bad(folder / skill.path, f"unknown category {skill.category!r}", f"use one of: {known}")
    astray = [f"{kind} to {name}" for kind, name in header.routes.items() if name not in header.categories]
    if astray:
        raise bad(where, f"routes to no category: {', '.join(astray)}", f"use {', '.join(header.categories)}")
    filled = {skill.category for skill in skills}
    empty = [name for name in header.categories if name not in filled]
    if empty:
        raise bad(where, f"no skill for {', '.join(empty)}", "add a file of that category, or remove the table")


def _decoded(data: bytes, path: Path) -> str:
    """UTF-8 text with ``\\n`` line ends, without a byte-order mark."""
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise bad(path, f"it is not UTF-8 (byte {error.start})", "save it as UTF-8") from error


def _toml(text: str, path: Path) -> Mapping[str, object]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise bad(path, f"bad TOML: {error}", "correct that line") from error
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, nesting without end
        raise bad(path, f"TOML that cannot be read: {error}", "write plain strings and lists of strings") from error


def _problem(error: ErrorDetails) -> str:
    key = ".".join(map(str, error["loc"]))
    return f"the key {key} is missing" if error["type"] == "missing" else f"{key}: {error['msg']}"


def _validated(model: type[Header], data: Mapping[str, object], path: Path) -> Header:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        if "include" in data:
            raise bad(path, "include: a bank includes nothing", "copy the skills into the bank's folder") from error
        problems = [_problem(e) for e in error.errors()]
        raise bad(path, "; ".join(problems), f"correct the keys; known: {', '.join(model.model_fields)}") from error
