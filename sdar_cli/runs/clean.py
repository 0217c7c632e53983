"""What ``sdar runs clean`` would remove, and its removal.  Nothing that is not in the plan is touched."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sdar_cli.base.errors import RunConflictError, SdarError
from sdar_cli.runs.checkpoints import list_checkpoints
from sdar_cli.runs.rundir import RunDir

UNFINISHED = ("failed", "interrupted", "lost", "created")
"""States of runs that ended without a result."""


@dataclass(frozen=True)
class Removal:
    """One folder to remove: its size in bytes, and why."""

    path: Path
    size: int
    why: str


def plan_removals(runs: Sequence[RunDir], *, named: bool, checkpoints: bool) -> list[Removal]:
    """What to remove of these runs.

    checkpoints: of every run all checkpoints but the last one, and nothing else.  Otherwise whole runs: those that
    ended without a result or, where the user ``named`` them, all of them.  What is running is never touched; a named
    run that is raises RunConflictError.
    """
    out = []
    for run in runs:
        state = _state(run)
        if state == "running":
            if named:
                raise RunConflictError(f"run {run.name} is still running", fix="wait for it, or end it first")
            continue
        if checkpoints:
            older = list_checkpoints(run.checkpoints)[:-1]
            out += [Removal(path, _size(path), "not the last checkpoint") for path in older]
        elif named or state in UNFINISHED:
            out.append(Removal(run.path, _size(run.path), f"run, {state}"))
    return out


def remove(plan: Sequence[Removal]) -> int:
    """Remove what was planned; the bytes given back.  Raises OSError where a file cannot be removed."""
    for removal in plan:
        shutil.rmtree(removal.path)
    return sum(removal.size for removal in plan)


def _state(run: RunDir) -> str:
    """Its state; ``damaged`` runs are removed only when they are named."""
    try:
        return str(run.status().get("state", "created"))
    except SdarError:
        return "damaged"


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
