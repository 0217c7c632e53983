"""The manifest of an index folder: what it was built from, and a digest of every file and of itself.

A damaged file is found when the index is opened: before tantivy reads it, which would panic, or answer with other
passages.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NotRequired, TypedDict, cast

from sdar_cli.base.digests import FileDigest, digest_of, problems_of
from sdar_cli.base.errors import PrerequisiteError, RunFailedError
from sdar_cli.base.files import read_json_object, write_json_atomic
from sdar_cli.retrieval.bm25 import Bm25Parameters, parameters
from sdar_cli.retrieval.dense import DenseRecord

FORMAT = 2
MANIFEST = "manifest.json"
SEALS = ("files", "digest")
"""Keys of the manifest that say whether the folder is whole: the digests of its files, and that of the manifest."""
LOCKS = ".lock"
"""tantivy's files that mean nothing once an index is built."""
FIX = "build it again: sdar retriever index CORPUS --out DIR"


ENGINES = ("bm25", "dense", "fused")
EngineName = Literal["bm25", "dense", "fused"]


class IndexSettings(TypedDict):
    """What an index is built with; ``dense`` and ``fusion`` where its engine has them."""

    format: int
    engine: EngineName
    bm25: Bm25Parameters
    dense: NotRequired[DenseRecord]
    fusion: NotRequired[str]


class Manifest(IndexSettings):
    """``manifest.json``: also what was indexed.  canary: share of sampled passages that their titles find."""

    corpus_sha256: str
    passages: int
    rows_left_out: int
    canary: float


def seal(folder: Path, manifest: Manifest) -> None:
    """Write the manifest with the digests of the folder's files, and of vectors that lie elsewhere."""
    paths = [path for path in folder.rglob("*") if path.is_file() and _counts(path)]
    files = {path.relative_to(folder).as_posix(): digest_of(path) for path in sorted(paths)}
    vectors = manifest["dense"]["index"] if "dense" in manifest else None
    if vectors:
        files[vectors] = digest_of(Path(vectors))
    sealed = {**manifest, "files": {name: digest.to_json() for name, digest in files.items()}}
    write_json_atomic(folder / MANIFEST, {**sealed, "digest": _digest(sealed)})


def _counts(path: Path) -> bool:
    return path.suffix != LOCKS and path.name not in (MANIFEST, "building.json") and not path.name.endswith(".tmp")


def open_manifest(folder: Path, verify: bool = False) -> Manifest:
    """The manifest of a whole index that this version can read.

    verify: every byte of every file is read; else sizes, small files and samples of large ones.
    Raises PrerequisiteError.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise PrerequisiteError(f"{folder} is no passage index", why=f"it has no {MANIFEST}", fix=FIX)
    try:
        manifest = read_json_object(path)
        found = {"format": manifest["format"], **{key: manifest["bm25"][key] for key in ("analyzer", "tantivy")}}
    except (RunFailedError, KeyError, TypeError) as error:
        why = error.why if isinstance(error, RunFailedError) else f"it has other keys: {error}"
        what = f"the index {folder} is damaged: its {MANIFEST} is no manifest"
        raise PrerequisiteError(what, why=why, fix=FIX) from error
    if ("digest" in manifest or found["format"] == FORMAT) and manifest.get("digest") != _digest(manifest):
        raise damaged(folder, f"{MANIFEST} holds other values than were written")
    ours = parameters()
    wanted = {"format": FORMAT, "analyzer": ours["analyzer"], "tantivy": ours["tantivy"]}
    other = [f"{key} {found[key]}, here {wanted[key]}" for key in wanted if found[key] != wanted[key]]
    if other:
        raise PrerequisiteError(f"{folder} was built by another version", why="; ".join(other), fix=FIX)
    try:
        files = {name: FileDigest.from_json(row) for name, row in manifest["files"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise damaged(folder, f"{MANIFEST} has no digests") from error
    if problems := problems_of(folder, files, whole=verify):
        raise damaged(folder, "; ".join(problems))
    return cast(Manifest, manifest)


def flaw_of(folder: Path) -> str | None:
    """What is wrong with an index folder; None for one that can be opened."""
    try:
        open_manifest(folder)
    except PrerequisiteError as error:
        return f"{error.what} ({error.why})"
    return None


def damaged(folder: Path, why: str) -> PrerequisiteError:
    """The error of an index whose files are not what was written."""
    return PrerequisiteError(f"the index {folder} is damaged", why=why, fix=FIX)


def _digest(manifest: Mapping[str, object]) -> str:
    own = {key: value for key, value in manifest.items() if key != "digest"}
    return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()
