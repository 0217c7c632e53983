"""SkillRL's JSON: entries with title, principle and when_to_apply, general ones and by task type, and mistakes.

One of its files calls the section of task types ``query_type_skills``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sdar_cli.base.files import write_json_atomic
from sdar_cli.skills.bank import GENERAL, Bank, Skill
from sdar_cli.skills.convert.parts import Header, as_draft, bad_import, brief_of, placed, read_json
from sdar_cli.skills.write import Draft, one_line

SECTIONS = {
    "general_skills": ("gen", "skill"),
    "task_specific_skills": ("", "skill"),
    "query_type_skills": ("", "skill"),
    "common_mistakes": ("err", "mistake"),
}
"""Section to (prefix of ids that are not given, kind)."""
MISTAKE = ("description", "why_it_happens", "how_to_avoid")
KNOWN = {"skill_id", "mistake_id", "id", "title", "principle", "when_to_apply", "brief", *MISTAKE}


def read_claude(path: Path, header: Header) -> tuple[Draft, list[str]]:
    """SkillRL's JSON.  A brief is the first words of a principle, unless the entry has a ``brief``."""
    data = read_json(path)
    skills: list[Skill] = []
    warnings = [f"{path.name}: the key {key!r} was left out" for key in data if key not in SECTIONS]
    if not any(key in data for key in SECTIONS):
        raise bad_import(
            path, f"it has none of {', '.join(SECTIONS)}; its keys are {', '.join(data)[:200] or '(none)'}"
        )
    for section, (prefix, kind) in SECTIONS.items():
        for category, entries in _groups(data.get(section, []), section, path):
            for number, entry in enumerate(entries, 1):
                where = f"{section}.{category}[{number - 1}]"
                identity = f"{prefix or category}_{number:03d}"
                skills += placed(_entry(entry, identity, kind, path, where, warnings), category, header.rename)
    categories: dict[str, tuple[str, ...]] = {s.category: () for s in skills if s.category != GENERAL}
    return as_draft(header, categories, skills, warnings), warnings


def write_claude(bank: Bank, out: Path) -> list[str]:
    out.parent.mkdir(parents=True, exist_ok=True)
    mistakes = [skill for skill in bank.skills if skill.kind == "mistake"]
    general = [skill for skill in bank.of(GENERAL) if skill.kind == "skill"]
    specific = {kind: [s for s in bank.of(kind) if s.kind == "skill"] for kind in bank.categories}
    record: dict[str, object] = {
        "general_skills": [_as_entry(skill) for skill in general],
        "task_specific_skills": {kind: [_as_entry(s) for s in skills] for kind, skills in specific.items() if skills},
    }
    if any(skill.category != GENERAL for skill in mistakes):
        kinds = dict.fromkeys(skill.category for skill in mistakes)
        record["common_mistakes"] = {k: [_as_mistake(s) for s in mistakes if s.category == k] for k in kinds}
    else:
        record["common_mistakes"] = [_as_mistake(skill) for skill in mistakes]
    write_json_atomic(out, record)
    lost = [f"{kind}: its keywords are not in this format" for kind, words in bank.categories.items() if words]
    return lost + [f"{skill.id}: its sources are not in this format" for skill in bank.skills if skill.sources]


def _entry(entry: Any, identity: str, kind: str, path: Path, where: str, warnings: list[str]) -> Skill:
    """One entry: title, principle and when_to_apply, or a mistake with description, why and how."""
    if not isinstance(entry, dict):
        raise bad_import(path, f"{where} is no object")
    values = {key: entry[key] for key in KNOWN & entry.keys() if entry[key] is not None}
    wrong = [key for key, value in values.items() if not isinstance(value, str)]
    if wrong:
        raise bad_import(path, f"{where}.{wrong[0]} is no text")
    warnings += [f"{where}: the key {key!r} was left out" for key in entry if key not in KNOWN]
    mistake = "description" in values
    title = one_line(values.get("description" if mistake else "title", ""))
    body = _body(values, mistake)
    if not title or not body:
        raise bad_import(path, f"{where} needs a title and a principle, or a description and how_to_avoid")
    return Skill(
        id=one_line(values.get("skill_id") or values.get("mistake_id") or values.get("id") or identity),
        category=GENERAL,
        when=one_line(values.get("when_to_apply", "")) or "Always.",
        brief=one_line(values.get("brief", "")) or brief_of(body),
        text=f"# {title}\n\n{body}",
        path="",
        kind="mistake" if mistake or kind == "mistake" else "skill",
    )


def _body(values: Mapping[str, str], mistake: bool) -> str:
    if not mistake:
        return values.get("principle", "").strip()
    why, how = (values.get(key, "").strip() for key in MISTAKE[1:])
    return "\n\n".join(part for part in (f"Why it happens: {why}" if why else "", how and f"Instead: {how}") if part)


def _as_entry(skill: Skill) -> dict[str, str]:
    title, body = _titled(skill)
    entry = {"skill_id": skill.id, "title": title, "principle": body, "when_to_apply": skill.when}
    return entry if skill.brief == brief_of(body) else {**entry, "brief": skill.brief}


def _as_mistake(skill: Skill) -> dict[str, str]:
    title, body = _titled(skill)
    found = re.fullmatch(r"(?:Why it happens: (.+?)\n\n)?Instead: (.+)", body, re.DOTALL)
    if found:
        entry = {
            "mistake_id": skill.id,
            "description": title,
            "why_it_happens": found[1] or "",
            "how_to_avoid": found[2],
        }
    else:
        entry = {"mistake_id": skill.id, "title": title, "principle": body}
    if skill.when != "Always.":
        entry["when_to_apply"] = skill.when
    return entry if skill.brief == brief_of(body) else {**entry, "brief": skill.brief}


def _titled(skill: Skill) -> tuple[str, str]:
    """(heading, the rest); without a heading the id and the whole text."""
    first, _, rest = skill.text.partition("\n")
    if first.startswith("# ") and rest.strip():
        return first[2:].strip(), rest.strip()
    return skill.id, skill.text


def _groups(value: Any, section: str, path: Path) -> Iterable[tuple[str, list[Any]]]:
    """(category, entries) of a section that is a list (general) or an object by task type."""
    if isinstance(value, list):
        return [(GENERAL, value)]
    if isinstance(value, dict) and all(isinstance(entries, list) for entries in value.values()):
        return list(value.items())
    raise bad_import(path, f"{section} is neither a list of entries nor lists by task type")
