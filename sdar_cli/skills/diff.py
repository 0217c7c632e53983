"""What differs between two skill banks: ``sdar skills diff``."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, TypedDict

from sdar_cli.skills.bank import Bank, Skill

HEADER = ("name", "version", "environment", "licence")
FIELDS = ("category", "kind", "when", "brief", "text", "path", "sources")


class SkillDiff(TypedDict):
    """A skill of both banks: the fields that differ, each [old, new], and the text as a unified diff."""

    id: str
    fields: dict[str, list[Any]]
    diff: list[str]


class BankDiff(TypedDict):
    """What differs between two banks, JSON-ready; pairs are [old, new], None where one is missing.

    bank: fields of the header.  added, removed: skills.  keywords: by category.  types, routes: names that lead
    elsewhere.  order: the categories, where both have them in another order.
    """

    same: bool
    sha256: list[str]
    bank: dict[str, list[str]]
    added: list[dict[str, str]]
    removed: list[dict[str, str]]
    changed: list[SkillDiff]
    keywords: dict[str, dict[str, list[str]]]
    types: dict[str, list[str | None]]
    routes: dict[str, list[str | None]]
    order: list[list[str]] | None


def diff_banks(a: Bank, b: Bank) -> BankDiff:
    """What differs; skills are matched by id."""
    old, new = ({skill.id: skill for skill in bank.skills} for bank in (a, b))
    return {
        "same": a.sha256 == b.sha256,
        "sha256": [a.sha256, b.sha256],
        "bank": {key: [getattr(a, key), getattr(b, key)] for key in HEADER if getattr(a, key) != getattr(b, key)},
        "added": [_brief(new[name]) for name in new if name not in old],
        "removed": [_brief(old[name]) for name in old if name not in new],
        "changed": [change for name in old if name in new and (change := _changed(old[name], new[name]))],
        "keywords": _keywords(a, b),
        "types": _mapped(a.types, b.types),
        "routes": _mapped(a.routes, b.routes),
        "order": [list(a.categories), list(b.categories)] if _reordered(a, b) else None,
    }


def _brief(skill: Skill) -> dict[str, str]:
    return {"id": skill.id, "category": skill.category, "brief": skill.brief}


def _changed(old: Skill, new: Skill) -> SkillDiff | None:
    fields = {key: [getattr(old, key), getattr(new, key)] for key in FIELDS if getattr(old, key) != getattr(new, key)}
    if not fields:
        return None
    lines = difflib.unified_diff(old.text.splitlines(), new.text.splitlines(), old.path, new.path, lineterm="", n=1)
    return {"id": old.id, "fields": fields, "diff": list(lines)}


def _keywords(a: Bank, b: Bank) -> dict[str, dict[str, list[str]]]:
    """Category to the keywords it gained and lost."""
    found = {}
    for category in dict.fromkeys([*a.categories, *b.categories]):
        old, new = a.categories.get(category, ()), b.categories.get(category, ())
        if set(old) != set(new):
            added, removed = [k for k in new if k not in old], [k for k in old if k not in new]
            found[category] = {"added": added, "removed": removed}
    return found


def _mapped(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, list[str | None]]:
    """Names that lead elsewhere: each [old, new], None where it is missing."""
    names = dict.fromkeys([*old, *new])
    return {name: [old.get(name), new.get(name)] for name in names if old.get(name) != new.get(name)}


def _reordered(a: Bank, b: Bank) -> bool:
    """Whether the categories that both have are tried in another order."""
    return [c for c in a.categories if c in b.categories] != [c for c in b.categories if c in a.categories]
