"""Checkpoints of a run: ``checkpoints/step-000004``, whole or not there.

A checkpoint is written under another name and renamed when complete, so a kill at any moment leaves only
whole ones.  Everything random is derived from (seed, step); there is no hidden state to save.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

PREFIX = "step-"


def checkpoint_path(folder: Path, step: int) -> Path:
    """The folder of the checkpoint after ``step`` steps."""
    return folder / f"{PREFIX}{step:06d}"


def step_of(path: Path) -> int:
    """The number of steps a checkpoint folder stands for."""
    return int(path.name.removeprefix(PREFIX))


def list_checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(folder.glob(f"{PREFIX}[0-9]*"), key=step_of) if folder.is_dir() else []


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint, or None."""
    found = list_checkpoints(folder)
    return found[-1] if found else None


def publish(written: Path, step: int, keep: int) -> Path:
    """Make a fully written folder the checkpoint of ``step``; drop the oldest beyond ``keep`` and leftovers."""
    final = checkpoint_path(written.parent, step)
    _sync(written)
    if final.exists():
        _remove(final)
    written.rename(final)
    for old in list_checkpoints(written.parent)[:-keep]:
        _remove(old)
    return final


def _remove(checkpoint: Path) -> None:
    """Under another name first: a kill while deleting leaves no half checkpoint."""
    shutil.rmtree(checkpoint.rename(checkpoint.with_name(f"checkpoint-old-{checkpoint.name}")))


def remove_unfinished(folder: Path) -> None:
    """Delete what a kill left half written."""
    for path in folder.glob("checkpoint-*"):
        shutil.rmtree(path)


def _sync(folder: Path) -> None:
    for path in [p for p in folder.rglob("*") if p.is_file()]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
