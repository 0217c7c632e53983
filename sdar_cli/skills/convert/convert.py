"""Skill banks in the formats other projects released, read and written.

``claude``: SkillRL's JSON with ``general_skills``, ``task_specific_skills`` (by task type) and ``common_mistakes``.
``mapping``: a folder with ``skill_mapping.json`` and Markdown files, as in SDAR's release.  Warnings list what a
format cannot hold and what an import left out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Literal

from sdar_cli.base.errors import ConfigError
from sdar_cli.base.files import refuse_taken
from sdar_cli.envs.registry import ENVIRONMENTS, benchmark
from sdar_cli.skills.bank import Bank, load_bank
from sdar_cli.skills.convert.claude import read_claude, write_claude
from sdar_cli.skills.convert.mapping import MAPPING, read_mapping, write_mapping
from sdar_cli.skills.convert.parts import Header
from sdar_cli.skills.write import Draft

Format = Literal["claude", "mapping"]


def read_foreign(source: Path, header: Header) -> tuple[Draft, list[str]]:
    """(draft, warnings) of a bank in either format; a folder or its ``skill_mapping.json`` is ``mapping``, another file
    ``claude``.

    A header without an environment gets the one whose bank has the most of these task types.
    Raises ConfigError for a file that is neither, or bad, and where no single environment fits.
    """
    draft, warnings = _read(source, header)
    if not header.environment:
        draft = replace(draft, environment=_environment_of(draft.categories))
    return draft, warnings


def _environment_of(kinds: Collection[str]) -> str:
    """The environment that has the most of these task types.  Raises ConfigError for none, or for several."""
    shared: dict[str, int] = {}
    for name in ENVIRONMENTS:
        bank = load_bank(benchmark(name).bank)
        shared[name] = len({*bank.categories, *bank.types, *bank.routes} & set(kinds))
    most = max(shared.values(), default=0)
    fits = [name for name, number in shared.items() if number == most]
    if most == 0 or len(fits) > 1:
        raise ConfigError(
            "which environment the bank is for is not known",
            why=f"its task types are {', '.join(kinds)}; they are those of {' and '.join(fits) if most else 'none'}",
            fix=f"--env NAME, one of {', '.join(ENVIRONMENTS)}; --map OLD=NEW puts task types into others",
        )
    return fits[0]


def _read(source: Path, header: Header) -> tuple[Draft, list[str]]:
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
