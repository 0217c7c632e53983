"""Checkpoints of a run: ``checkpoints/step-000004``, whole or not there.

A checkpoint is written under another name and renamed when complete, so a kill at any moment leaves only
whole ones.  Its manifest, written last, has the digest of every file: what a disk or a copy damaged later is found
before it is loaded.  Everything random is derived from (seed, step); there is no hidden state to save.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import zipfile
import zlib
from pathlib import Path

from sdar_cli.base.digests import FileDigest, digest_of, problems_of
from sdar_cli.base.errors import RunFailedError, naming
from sdar_cli.base.files import read_json_object, write_json_atomic

PREFIX = "step-"
MANIFEST = "manifest.json"
SCHEMA = 1
"""Of the manifest."""
NEEDED = ("optimizer.pt", "scheduler.pt", "trainer_state.json")
"""Without these a resumed run would train other weights."""
WEIGHTS = "*.safetensors"


def checkpoint_path(folder: Path, step: int) -> Path:
    """The folder of the checkpoint after ``step`` steps."""
    return folder / f"{PREFIX}{step:06d}"


def step_of(path: Path) -> int:
    """The number of steps a checkpoint folder stands for."""
    return int(path.name.removeprefix(PREFIX))


def list_checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.glob(f"{PREFIX}*") if path.name[len(PREFIX) :].isdecimal()), key=step_of)


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint, or None."""
    found = list_checkpoints(folder)
    return found[-1] if found else None


def publish(written: Path, step: int, keep: int) -> Path:
    """Make a fully written folder the checkpoint of ``step``; drop the oldest beyond ``keep`` and leftovers."""
    final = checkpoint_path(written.parent, step)
    with naming(written):
        files = {path.relative_to(written).as_posix(): digest_of(path) for path in _files(written)}
        found = {name: digest.to_json() for name, digest in sorted(files.items())}
        write_json_atomic(written / MANIFEST, {"schema": SCHEMA, "step": step, "files": found})
        _sync(written)
    if final.exists():
        remove_checkpoint(final)
    written.rename(final)
    for old in list_checkpoints(written.parent)[:-keep]:
        remove_checkpoint(old)
    return final


def problems(checkpoint: Path, *, resuming: bool = True) -> list[str]:
    """What is wrong with a checkpoint, a text each; [] for one that is whole.

    resuming: also the files that only training needs count.  Every byte is read and compared with the manifest.  One of
    an earlier version has none: the checksums inside its files are looked at.
    """
    unread = () if resuming else NEEDED
    absent = [f"{name} is missing" for name in NEEDED if resuming and not (checkpoint / name).is_file()]
    if not (checkpoint / MANIFEST).is_file():
        absent += [] if any(checkpoint.glob(WEIGHTS)) else [f"{WEIGHTS} is missing"]
        return absent or [text for path in _files(checkpoint) if path.name not in unread and (text := _flaw(path))]
    try:
        manifest = read_json_object(checkpoint / MANIFEST)
        rows = {name: row for name, row in manifest["files"].items() if name not in unread}
        files = {name: FileDigest.from_json(row) for name, row in rows.items()}
    except (RunFailedError, KeyError, TypeError, ValueError, AttributeError):
        return [f"{MANIFEST} is damaged"]
    return absent or problems_of(checkpoint, files, whole=True)


def refuse_damaged(checkpoint: Path) -> None:
    """Before weights are read.  Raises RunFailedError for a checkpoint whose bytes are not those that were written."""
    if found := problems(checkpoint, resuming=False):
        what = f"the checkpoint {checkpoint} is damaged"
        raise RunFailedError(what, why="; ".join(found), fix="use another one: --checkpoint STEP, or copy it again")


def _flaw(path: Path) -> str | None:
    """What the file's own format says against it."""
    try:
        if path.suffix in (".pt", ".pth"):
            with zipfile.ZipFile(path) as archive:
                return f"{path.name} is damaged" if archive.testzip() else None
        if path.suffix == ".safetensors":
            with path.open("rb") as file:
                (head,) = struct.unpack("<Q", file.read(8))
                tensors = json.loads(file.read(min(head, path.stat().st_size)))
            ends = [entry["data_offsets"][1] for name, entry in tensors.items() if name != "__metadata__"]
            whole = path.stat().st_size == 8 + head + max(ends, default=0)
            return None if whole else f"{path.name} is cut"
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, KeyError, TypeError, struct.error, zipfile.BadZipFile, zlib.error, RecursionError) as error:
        return f"{path.name} is damaged: {error}"
    return None


def remove_checkpoint(checkpoint: Path) -> None:
    """Under another name first: a kill while deleting leaves no half checkpoint."""
    shutil.rmtree(checkpoint.rename(checkpoint.with_name(f"checkpoint-old-{checkpoint.name}")))


def remove_unfinished(folder: Path) -> None:
    """Delete what a kill left half written."""
    for path in folder.glob("checkpoint-*"):
        shutil.rmtree(path)


def _sync(folder: Path) -> None:
    for path in [*_files(folder), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
