"""Skill banks in the formats other projects released, read and written.

``claude``: SkillRL's JSON with ``general_skills``, ``task_specific_skills`` (by task type) and ``common_mistakes``.
``mapping``: a folder with ``skill_mapping.json`` and Markdown files, as in SDAR's release.  Warnings list what a
format cannot hold and what an import left out.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from sdar_cli.base.errors import ConfigError
from sdar_cli.base.files import refuse_taken
from sdar_cli.skills.bank import Bank
from sdar_cli.skills.convert.claude import read_claude, write_claude
from sdar_cli.skills.convert.mapping import MAPPING, read_mapping, write_mapping
from sdar_cli.skills.convert.parts import Header
from sdar_cli.skills.write import Draft

Format = Literal["claude", "mapping"]


def read_foreign(source: Path, header: Header) -> tuple[Draft, list[str]]:
    """(draft, warnings) of a bank in either format; a folder or its ``skill_mapping.json`` is ``mapping``, another file
    ``claude``.

    Raises ConfigError for a file that is neither, or bad.
    """
    mapping = source / MAPPING if source.is_dir() else source
    if mapping.name == MAPPING and mapping.is_file():
        return read_mapping(mapping, header)
    if not source.is_file():
        raise ConfigError(
            f"nothing to import at {source}",
            why=f"it is neither a JSON file nor a folder with {MAPPING}",
            fix="sdar skills import FILE.json --out BANK",
        )
    return read_claude(source, header)


def write_foreign(bank: Bank, form: Format, out: Path) -> list[str]:
    """Export a bank; returns warnings.  Raises ConfigError where ``out`` is taken."""
    refuse_taken(out)
    return WRITERS[form](bank, out)


WRITERS: dict[Format, Callable[[Bank, Path], list[str]]] = {"claude": write_claude, "mapping": write_mapping}
