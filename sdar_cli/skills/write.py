"""Skill banks written to a folder: what importers and builders make, and ``read_bank`` reads back."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from sdar_cli.base.errors import ConfigError
from sdar_cli.base.files import refuse_taken
from sdar_cli.skills.bank import FENCE, Bank, Origin, Skill, read_bank
from sdar_cli.skills.files import HEADER

PLAIN = re.compile(r"[A-Za-z0-9_-]+")
"""A TOML key that needs no quotes."""


@dataclass(frozen=True)
class Draft:
    """A bank that is not written yet.  The skills' ``path`` is ignored: files are named after the ids."""

    name: str
    version: str
    environment: str
    licence: str
    categories: Mapping[str, tuple[str, ...]]
    skills: Sequence[Skill]
    origin: Origin | None = None
    types: Mapping[str, str] = field(default_factory=dict)
    routes: Mapping[str, str] = field(default_factory=dict)


def write_bank(draft: Draft, out: Path) -> Bank:
    """Write a bank whole or not at all, and load it.  Raises ConfigError where ``out`` is taken or the draft is no
    legal bank."""
    refuse_taken(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.parent / f".{out.name}.{os.getpid()}.tmp"
    temporary.mkdir()
    try:
        (temporary / HEADER).write_text(header_text(draft), encoding="utf-8")
        for name, skill in zip(file_names(draft.skills), draft.skills, strict=True):
            (temporary / name).write_text(skill_file(skill), encoding="utf-8")
        read_bank(temporary)
        if out.exists():
            out.rmdir()
        temporary.rename(out)
    except ConfigError as error:
        raise ConfigError(error.what.replace(str(temporary), str(out)), why=error.why, fix=error.fix) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return read_bank(out)


def file_names(skills: Sequence[Skill]) -> list[str]:
    """A distinct Markdown name for each skill, made of its id."""
    names: list[str] = []
    taken: set[str] = set()
    for skill in skills:
        base = re.sub(r"[^A-Za-z0-9_-]+", "-", skill.id).strip("-")[:80] or "skill"
        name, number = base, 2
        while name.lower() in taken:  # some file systems do not distinguish a from A
            name, number = f"{base}-{number}", number + 1
        taken.add(name.lower())
        names.append(f"{name}.md")
    return names


def header_text(draft: Draft) -> str:
    """The text of ``bank.toml``."""
    lines = [f"{key} = {quoted(getattr(draft, key))}" for key in ("name", "version", "environment", "licence")]
    for category, keywords in draft.categories.items():
        names = [kind for kind, owner in draft.types.items() if owner == category]
        lines += ["", f"[categories.{_key(category)}]", *([f"types = {_listed(names)}"] if names else [])]
        lines.append(f"keywords = {_listed(keywords)}")
    if draft.routes:
        lines += ["", "[routes]", *(f"{_key(kind)} = {quoted(name)}" for kind, name in draft.routes.items())]
    if draft.origin:
        fields = draft.origin.model_dump()
        files = fields.pop("files")
        lines += ["", "[origin]"]
        lines += [f"{key} = {value if isinstance(value, int) else quoted(value)}" for key, value in fields.items()]
        if files:
            lines += ["", "[origin.files]", *(f"{quoted(name)} = {quoted(digest)}" for name, digest in files.items())]
    return "\n".join(lines) + "\n"


def skill_file(skill: Skill) -> str:
    """The text of one skill's file."""
    lines = [f"{key} = {quoted(getattr(skill, key))}" for key in ("id", "category", "when", "brief")]
    if skill.kind != "skill":
        lines.append(f"kind = {quoted(skill.kind)}")
    if skill.sources:
        lines.append(f"sources = {_listed(skill.sources)}")
    return "\n".join([FENCE, *lines, FENCE, skill.text, ""])


def quoted(text: str) -> str:
    """A TOML basic string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    escaped = re.sub(r"[\x00-\x1f\x7f]", lambda found: f"\\u{ord(found[0]):04x}", escaped)
    return f'"{escaped}"'


def one_line(text: str) -> str:
    """Text with every run of white space as one space."""
    return " ".join(text.split())


def renamed(bank: Bank, **changes: object) -> Draft:
    """A loaded bank as a draft, with changes."""
    draft = Draft(**{each.name: getattr(bank, each.name) for each in fields(Draft)})
    return replace(draft, **changes)  # type: ignore[arg-type]


def _key(name: str) -> str:
    return name if PLAIN.fullmatch(name) else quoted(name)


def _listed(values: Sequence[str]) -> str:
    if len(values) < 2:
        return f"[{', '.join(map(quoted, values))}]"
    return "[\n" + "".join(f"    {quoted(value)},\n" for value in values) + "]"
