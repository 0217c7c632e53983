"""What ``sdar runs clean`` would remove, and its removal.  Nothing that is not in the plan is touched.

Only what is surely a run of the runs folder is removed, and of it only what sdar wrote; links are never followed.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sdar_cli.base import locks
from sdar_cli.base.errors import ConfigError, RunConflictError, SdarError
from sdar_cli.runs.checkpoints import list_checkpoints, remove_checkpoint
from sdar_cli.runs.folder import LOCK, PROVENANCE, foreign_entries, is_run, own_entries
from sdar_cli.runs.rundir import RunDir

UNFINISHED = ("failed", "interrupted", "lost", "created")
"""States of runs that ended without a result."""


@dataclass(frozen=True)
class Removal:
    """A run, or one of its checkpoints, to remove: its size in bytes, why, and the entries that go."""

    run: RunDir
    path: Path
    size: int
    why: str
    entries: tuple[Path, ...]


def named_run(name: str, runs_dir: Path) -> RunDir:
    """A run of the runs folder by its name, for removal.

    Raises ConfigError for a name that leads elsewhere or to a link, and for what is not surely a run.
    """
    path = runs_dir / name
    if Path(name).is_absolute() and Path(name).parent.resolve() == runs_dir.resolve():
        path = Path(name)
    elif Path(name).parts[:-1] and Path(name).parent.resolve() == runs_dir.resolve():
        path = runs_dir / Path(name).name
    if path.name in ("", "..") or path.parent.resolve() != runs_dir.resolve() or path.resolve() == runs_dir.resolve():
        raise ConfigError(f"{name!r} is no name of a run in {runs_dir}", why="nothing outside that folder is removed",
                          fix=f"sdar runs list --runs-dir {runs_dir}")  # fmt: skip
    if path.is_symlink():
        raise ConfigError(f"{path} is a link", why="links are not followed", fix="remove it by hand")
    if not is_run(path):
        RunDir.open(name, runs_dir)  # its error, where there is nothing like a run
        raise ConfigError(f"{path} is not surely a run", why=f"its {PROVENANCE} is not readable as sdar's",
                          fix="look at it, and remove it by hand")  # fmt: skip
    return RunDir(path)


def plan_removals(runs: Sequence[RunDir], *, named: bool, checkpoints: bool) -> list[Removal]:
    """What to remove of these runs.

    checkpoints: of every run all checkpoints but the last one, and nothing else.  Otherwise whole runs: those that
    ended without a result or, where the user ``named`` them, all of them.  What is running is never touched; a named
    run that is raises RunConflictError.
    """
    out = []
    for run in runs:
        if run.path.is_symlink() or not is_run(run.path):
            continue
        state = _state(run)
        if state == "running":
            if named:
                raise RunConflictError(f"run {run.name} is still running", fix="wait for it, or end it first")
            continue
        if checkpoints:
            older = [] if run.checkpoints.is_symlink() else list_checkpoints(run.checkpoints)[:-1]
            out += [Removal(run, path, _size(path), "not the last checkpoint", (path,)) for path in older]
        elif named or state in UNFINISHED:
            entries = tuple(own_entries(run.path))
            kept = ", ".join(entry.name for entry in foreign_entries(run.path))
            why = f"run, {state}" + (f"; kept, as sdar did not write it: {kept}" if kept else "")
            out.append(Removal(run, run.path, sum(map(_size, entries)), why, entries))
    return out


def remove(plan: Sequence[Removal]) -> int:
    """Remove what was planned, holding each run; the bytes given back.

    Raises RunConflictError where a run has been started since, OSError where a file cannot be removed.
    """
    for removal in plan:
        busy = RunConflictError(f"run {removal.run.name} has been started", fix="wait for it, or end it first")
        with locks.locked(removal.run.path / LOCK, busy):
            for entry in removal.entries:
                _remove(entry)
        if removal.path == removal.run.path and not any(removal.path.iterdir()):
            removal.path.rmdir()
    return sum(removal.size for removal in plan)


def _remove(entry: Path) -> None:
    if not entry.is_dir():
        entry.unlink(missing_ok=True)
    elif entry.parent.name == "checkpoints":
        remove_checkpoint(entry)
    else:
        shutil.rmtree(entry)


def _state(run: RunDir) -> str:
    """Its state; ``damaged`` runs are removed only when they are named."""
    try:
        return str(run.status().get("state", "created"))
    except SdarError:
        return "damaged"


def _size(entry: Path) -> int:
    paths = entry.rglob("*") if entry.is_dir() else [entry]
    return sum(path.lstat().st_size for path in paths if not path.is_dir())
