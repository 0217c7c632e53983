"""The package of a new environment: the example that ships here, under another name."""

from __future__ import annotations

import re
from pathlib import Path

from sdar_cli.base.errors import ConfigError
from sdar_cli.base.files import refuse_taken
from sdar_cli.base.resources import resource_dir
from sdar_cli.envs.registry import ENVIRONMENT

EXAMPLE = "corridor"
NAME = re.compile(r"[a-z][a-z0-9_]*")


def write_package(name: str, folder: Path) -> list[str]:
    """Write the package of an environment ``name``; the names of its files, sorted.

    Raises ConfigError for a name that is no module's, one that is taken, and a folder that is not empty.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot name an environment",
            why="it names a Python module: lower-case letters, digits and _, a letter first",
            fix=f"sdar env new {re.sub('[^a-z0-9_]+', '_', name.lower()).strip('_0123456789') or 'maze'}",
        )
    if name in ENVIRONMENT.names():
        raise ConfigError(f"there is an environment {name} already", fix="sdar env list")
    refuse_taken(folder)
    source = resource_dir("examples") / EXAMPLE
    files = sorted(path for path in source.rglob("*") if path.is_file() and path.suffix in (".py", ".toml", ".md"))
    for path in files:
        target = folder / _renamed(path.relative_to(source).as_posix(), name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(_renamed(path.read_text(encoding="utf-8"), name), encoding="utf-8")
    return [_renamed(path.relative_to(source).as_posix(), name) for path in files]


def _renamed(text: str, name: str) -> str:
    """The example's name in all its spellings replaced by another."""
    title = "".join(part.capitalize() for part in name.split("_"))
    return text.replace(EXAMPLE, name).replace(EXAMPLE.capitalize(), title)
