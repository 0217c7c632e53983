"""SDAR's released layout: ``skill_mapping.json`` with ``skill_files`` (name to Markdown file), ``task_to_skill`` (task
type to name) and, not always, ``task_keywords``; the file called ``general_skills`` is shown with every task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sdar_cli.base.files import write_json_atomic, write_text_atomic
from sdar_cli.skills.bank import GENERAL, Bank, Skill
from sdar_cli.skills.convert.parts import Header, as_draft, bad_import, brief_of, placed, read_json, read_text
from sdar_cli.skills.files import MAX_BYTES
from sdar_cli.skills.write import Draft, file_names, one_line

MAPPING = "skill_mapping.json"
GENERAL_NAME = "general_skills"
KEYS = ("skill_files", "task_to_skill", "task_keywords")


def read_mapping(path: Path, header: Header) -> tuple[Draft, list[str]]:
    """SDAR's ``skill_mapping.json`` and its files.  A file that serves several types becomes a skill of each."""
    data = read_json(path)
    files = _texts(data.get("skill_files"), "skill_files", path)
    chosen = _texts(data.get("task_to_skill"), "task_to_skill", path)
    keywords = data.get("task_keywords", {})
    if not isinstance(keywords, dict):
        raise bad_import(path, "task_keywords is no object")
    warnings = [f"{path.name}: the key {key!r} was left out" for key in data if key not in KEYS]
    bodies = {name: _markdown(path.parent, file) for name, file in files.items()}
    skills = []
    if GENERAL_NAME in bodies:
        skills.append(_whole(GENERAL, GENERAL, bodies[GENERAL_NAME], files[GENERAL_NAME]))
    categories: dict[str, tuple[str, ...]] = {}
    for kind, name in chosen.items():
        if name not in bodies:
            raise bad_import(path, f"task_to_skill.{kind} names {name!r}, which skill_files does not have")
        skill = _whole(kind, kind, bodies[name], files[name])
        for found in placed(skill, kind, header.rename):
            skills.append(found)
            categories[found.category] = _words(keywords.get(kind, []), f"task_keywords.{kind}", path)
    idle = bodies.keys() - set(chosen.values()) - {GENERAL_NAME}
    warnings += [f"{path.name}: no task type uses {name!r}; it was left out" for name in sorted(idle)]
    order = [k for old in keywords for k in header.rename.get(old, (old,)) if k in categories]
    ordered = {kind: categories[kind] for kind in dict.fromkeys([*order, *categories])}
    return as_draft(header, ordered, skills, warnings), warnings


def write_mapping(bank: Bank, out: Path) -> list[str]:
    """One file per category; categories with the same text share one."""
    out.mkdir(parents=True, exist_ok=True)
    texts = {kind: "\n\n".join(s.text for s in bank.of(kind)) for kind in [GENERAL, *bank.categories] if bank.of(kind)}
    shared: dict[str, list[str]] = {}
    for kind, text in texts.items():
        shared.setdefault(text, []).append(kind)
    names = {text: _mapping_name(bank, kinds) for text, kinds in shared.items()}
    stand_ins = [replace(bank.skills[0], id=name) for name in names.values()]
    files = dict(zip(names.values(), file_names(stand_ins), strict=True))
    for text, name in names.items():
        write_text_atomic(out / files[name], text + "\n")
    types = {kind: names[text] for kind, text in texts.items() if kind != GENERAL}
    keywords = {kind: list(words) for kind, words in bank.categories.items() if words}
    write_json_atomic(out / MAPPING, {"skill_files": files, "task_to_skill": types, "task_keywords": keywords})
    several = [kind for kind in texts if len(bank.of(kind)) > 1]
    inside = [w for words in bank.categories.values() for w in words if len(w) < 4]
    lost = [f"{kind}: its {len(bank.of(kind))} skills became one text" for kind in several]
    if inside:
        lost.append(
            f"readers of this format match inside words: short keywords such as {inside[0]!r} may match by chance"
        )
    return [*lost, "ids, when, briefs and sources are not in this format"]


def _mapping_name(bank: Bank, kinds: Sequence[str]) -> str:
    """``general_skills``, the file's old name where it came from one, else the first task type."""
    if GENERAL in kinds:
        return GENERAL_NAME
    sources = {source for kind in kinds for skill in bank.of(kind) for source in skill.sources}
    only = sources.pop() if len(sources) == 1 else ""
    return only.removesuffix(".md") if only.endswith(".md") else kinds[0]


def _whole(identity: str, category: str, text: str, file: str) -> Skill:
    """A Markdown file as one skill."""
    first = next(line for line in text.splitlines() if line.strip())
    body = "\n".join(line for line in text.splitlines() if not line.startswith("#")).strip()
    when = "Every task." if category == GENERAL else f"Tasks of type {category}."
    return Skill(identity, category, when, brief_of(body or first.strip("# ")), text, "", (file,))


def _texts(value: Any, key: str, path: Path) -> dict[str, str]:
    if isinstance(value, dict) and all(isinstance(text, str) for text in value.values()):
        return value
    raise bad_import(path, f"{key} is no object of texts")


def _words(value: Any, key: str, path: Path) -> tuple[str, ...]:
    if isinstance(value, list) and all(isinstance(word, str) and word.strip() for word in value):
        return tuple(dict.fromkeys(map(one_line, value)))
    raise bad_import(path, f"{key} is no list of words")


def _markdown(folder: Path, name: str) -> str:
    path = folder / name
    if "\0" in name:
        raise bad_import(path, "a file's name holds a NUL character")
    if not path.resolve().is_relative_to(folder.resolve()):
        raise bad_import(path, "it leads outside the folder")
    text = read_text(path, MAX_BYTES).strip()
    if not text:
        raise bad_import(path, "it is empty")
    return text
