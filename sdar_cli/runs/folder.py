"""What makes a folder a run, what a start that was killed leaves of one, and which of its files are the run's own."""

from __future__ import annotations

import re
from pathlib import Path

from sdar_cli.base.errors import RunFailedError
from sdar_cli.base.files import TEMPORARY, read_json_object
from sdar_cli.runs.older import is_provenance

CONFIG, PROVENANCE, STATUS, DIFF = "config.json", "provenance.json", "status.json", "code.diff"
METRICS, SKILLS = "metrics.jsonl", "skills.jsonl"
LOCK = "lock"
"""Locked by the process that runs the run; the system lets go of it when that process ends."""
FOLDERS = ("episodes", "eval", "checkpoints", "logs")
FILES = (STATUS, DIFF, METRICS, SKILLS, "metrics.csv", "probe.json", LOCK, CONFIG, PROVENANCE)
"""Files that sdar writes into a run.  Those that make it one come last: a removal that is cut short can be repeated."""
SCHEMA = 1
"""Of ``provenance.json``.  Earlier versions wrote no number."""
STEP = re.compile(r"step-(\d+)(?:\..*)?")


def looks_like_run(path: Path) -> bool:
    """Whether a folder is a run or a damaged one: a configuration, and a provenance with a date or that is damaged.

    Enough to list it; a model's folder or somebody's data has a ``config.json`` too, and no such provenance.
    """
    try:
        if not (path / CONFIG).is_file() or not (path / PROVENANCE).is_file():
            return False
        return "created" in read_json_object(path / PROVENANCE)
    except RunFailedError:
        return True
    except OSError:  # a folder that may not be looked into
        return False


def is_run(path: Path) -> bool:
    """Whether a folder is surely a run: a configuration, and a provenance with our schema.  Enough to remove it."""
    try:
        return (path / CONFIG).is_file() and is_provenance(read_json_object(path / PROVENANCE))
    except (RunFailedError, OSError):
        return False


def is_free(path: Path) -> bool:
    """Whether a run may be made here: nothing is there, or only what a start leaves that was killed before the end."""
    if not path.exists():
        return not path.is_symlink()
    if not path.is_dir() or (path / CONFIG).exists():
        return False
    return all(_is_of_a_start(entry) for entry in path.iterdir())


def _is_of_a_start(entry: Path) -> bool:
    if entry.is_symlink():
        return False
    if entry.is_dir():
        return entry.name in FOLDERS and not any(entry.iterdir())
    return entry.name in (PROVENANCE, DIFF, LOCK) or entry.match(TEMPORARY)


def own_entries(path: Path) -> list[Path]:
    """What of a run's folder sdar wrote, in the order in which it may be removed.  Links are nobody's."""
    entries = [path / name for name in FOLDERS]
    entries += [*path.glob(TEMPORARY), *(path / name for name in FILES)]
    return [entry for entry in entries if entry.exists() and not entry.is_symlink()]


def foreign_entries(path: Path) -> list[Path]:
    """What of a run's folder sdar did not write."""
    own = set(own_entries(path))
    return sorted(entry for entry in path.iterdir() if entry not in own)


def step_in(path: Path) -> int | None:
    """The step in a name such as ``step-000004.jsonl``; None in another name."""
    found = STEP.fullmatch(path.name)
    return int(found[1]) if found else None
