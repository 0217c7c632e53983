"""What both foreign formats need: files read with care, and entries put into the environment's task types."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sdar_cli.base.errors import ConfigError
from sdar_cli.base.files import parse_json, read_regular
from sdar_cli.base.text import SURROGATES
from sdar_cli.skills.bank import Skill
from sdar_cli.skills.files import MAX_BYTES
from sdar_cli.skills.write import Draft, one_line

LARGEST = 64 * MAX_BYTES
"""Of a JSON file, in bytes."""
BRIEF_WORDS = 30


@dataclass(frozen=True)
class Header:
    """What neither format holds of a bank."""

    name: str
    version: str
    environment: str
    licence: str
    rename: Mapping[str, tuple[str, ...]]
    """Task types of the file to those of the environment."""


def as_draft(
    header: Header, categories: Mapping[str, tuple[str, ...]], skills: list[Skill], warnings: list[str]
) -> Draft:
    unused = [old for old in header.rename if not any(new in categories for new in header.rename[old])]
    warnings += [f"--map {old}: the file has no such task type" for old in unused]
    warnings += [
        f"{kind}: no keywords, so keyword retrieval never chooses it" for kind, w in categories.items() if not w
    ]
    if not categories:
        raise ConfigError("the file has no skill of any task type", fix="a bank needs at least one category")
    return Draft(header.name, header.version, header.environment, header.licence, categories, skills)


def placed(skill: Skill, category: str, rename: Mapping[str, tuple[str, ...]]) -> Iterable[Skill]:
    """The skill in its category, under its new name, or in several."""
    kinds = rename.get(category, (category,))
    for number, kind in enumerate(kinds):
        identity = kind if skill.id == category else skill.id if number == 0 else f"{skill.id}-{kind}"
        yield replace(skill, category=kind, id=identity)


def brief_of(text: str) -> str:
    """The first sentence on one line, at most ``BRIEF_WORDS`` words."""
    sentence = re.split(r"(?<=[.!?])\s", one_line(text), maxsplit=1)[0]
    words = sentence.split()
    return sentence if len(words) <= BRIEF_WORDS else " ".join(words[:BRIEF_WORDS])


def read_json(path: Path) -> dict[str, Any]:
    try:
        data = parse_json(read_text(path, LARGEST))
    except ValueError as error:
        raise bad_import(path, f"it is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise bad_import(path, "its top level is no object")
    if half := SURROGATES.search(json.dumps(data, ensure_ascii=False)):
        raise bad_import(path, f"it holds half of a character pair ({half[0]!a}), which no text file can hold")
    return data


def read_text(path: Path, largest: int) -> str:
    try:
        if path.stat().st_size > largest:
            raise bad_import(path, f"it is larger than {largest} bytes")
        return read_regular(path).decode("utf-8-sig").replace("\r\n", "\n")
    except OSError as error:
        raise bad_import(path, error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise bad_import(path, f"it is not UTF-8 (byte {error.start})") from error


def bad_import(path: Path, why: str) -> ConfigError:
    return ConfigError(f"{path} cannot be imported", why=why, fix="correct the file; docs/skills.md shows both formats")
