"""An index folder: passages, engines and a manifest; built aside and moved into place when it is whole.

An interrupted build is resumed: a large corpus is committed now and then, and the next build of the same corpus
and settings compares the passages it has with the file's and adds the rest.  Errors are PrerequisiteError and
RunConflictError.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast

from sdar_cli.base.errors import PrerequisiteError, RunConflictError, RunFailedError
from sdar_cli.base.files import read_json_object, write_json_atomic
from sdar_cli.base.locks import locked
from sdar_cli.retrieval.bm25 import TITLE_WEIGHT, Bm25, Bm25Writer, parameters
from sdar_cli.retrieval.corpus import BadRows, read_corpus
from sdar_cli.retrieval.dense import MODEL, Dense, DenseParameters, Encoder, build_vectors, open_vectors
from sdar_cli.retrieval.fusion import FUSIONS, Fused
from sdar_cli.retrieval.manifest import FORMAT, SEALS, EngineName, IndexSettings, Manifest, damaged, open_manifest, seal
from sdar_cli.retrieval.passages import Passage
from sdar_cli.retrieval.store import PassageStore, StoreWriter, encode

if TYPE_CHECKING:
    from sdar_cli.base.display import Reporter

STATE = "building.json"
COMMIT_EVERY = 200_000
"""Passages between two commits of a build."""
CANARY = 100
"""Passages that are looked for by their titles when an index is finished."""
CANARY_LOW = 0.5
LOW_WHY = "are titles missing, or are the vectors of another corpus or encoder?"
DISK_FACTOR = 3
"""Free disk asked for, in sizes of the corpus file."""


class BuildState(TypedDict):
    """``building.json``: what an interrupted build was building, and how far it came."""

    settings: IndexSettings
    corpus: str
    passages: int


def build_index(
    corpus: Path,
    out: Path,
    *,
    engine: EngineName = "bm25",
    title_weight: float = TITLE_WEIGHT,
    dense: DenseParameters | None = None,
    fusion: str = FUSIONS[0],
    device: str = "auto",
    skip_bad: bool = False,
    reporter: Reporter | None = None,
    commit_every: int = COMMIT_EVERY,
) -> Manifest:
    """Index a corpus file into the new folder ``out``; returns the manifest.

    dense: the encoder, for the engines ``dense`` and ``fused``; fusion: of ``fusion.FUSIONS``, for ``fused``.
    Raises RunConflictError when ``out`` holds anything, PrerequisiteError for bad rows (``corpus.BadRows``).
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunConflictError(f"{out} is not empty", fix="choose another --out, or remove it")
    if not corpus.is_file():
        raise PrerequisiteError(f"no corpus file {corpus}", fix="give JSON lines, parquet or TSV")
    settings: IndexSettings = {"format": FORMAT, "engine": engine, "bm25": parameters(title_weight)}
    if engine != "bm25":
        settings["dense"] = (dense or DenseParameters.of(MODEL)).record()
    if engine == "fused":
        settings["fusion"] = fusion
    building = out.with_name(f".{out.name}.building")
    bad = BadRows(skip_bad)
    with _locked(building):
        encoder = _encoder(settings, device)
        manifest = _build(building, corpus, settings, encoder, bad, reporter, commit_every)
        if out.is_dir():
            out.rmdir()
        building.rename(out)
        (out / STATE).unlink()
    if reporter:
        for row in bad.first:
            reporter.warn(f"left out: {row}")
        if manifest["canary"] < CANARY_LOW:
            reporter.warn(f"only {manifest['canary']:.0%} of sampled passages are found by their titles: {LOW_WHY}")
    return manifest


def _build(
    building: Path,
    corpus: Path,
    settings: IndexSettings,
    encoder: Encoder | None,
    bad: BadRows,
    reporter: Reporter | None,
    commit_every: int,
) -> Manifest:
    """Everything of an index but its place."""
    state = _start(building, corpus, settings, reporter)
    sha256 = _add_passages(building, corpus, state, bad, reporter, commit_every)
    if bad.unread and reporter:
        reporter.info(f"keys of {corpus} that are not read: {', '.join(sorted(bad.unread)[:20])}")
    store = PassageStore(building)
    if encoder and reporter:
        used = encoder.parameters
        reporter.info(f"encoder {used.model}, prefixes {used.query_prefix!r} and {used.passage_prefix!r}")
    if encoder and not encoder.parameters.index:
        with _progress(reporter, "encoding passages", len(store)) as advance:
            build_vectors(building, store, encoder, advance)
    canary = _canary(_engine(building, store, settings, encoder), store)
    store.close()
    manifest: Manifest = {
        **settings,
        "corpus_sha256": sha256,
        "passages": state["passages"],
        "rows_left_out": bad.count,
        "canary": canary,
    }
    seal(building, manifest)
    return manifest


@contextmanager
def _locked(building: Path) -> Iterator[None]:
    """The folder, made if need be, for this process alone.  Raises RunConflictError."""
    building.mkdir(parents=True, exist_ok=True)
    busy = RunConflictError(f"another process is building in {building}", fix="wait for it, or end it")
    with locked(building, busy):
        yield


def _start(building: Path, corpus: Path, settings: IndexSettings, reporter: Reporter | None) -> BuildState:
    """The state of an interrupted build with the same settings, or a new one's; other remains are removed."""
    new: BuildState = {"settings": settings, "corpus": str(corpus.resolve()), "passages": 0}
    if (building / STATE).is_file():
        old = _old_state(building / STATE)
        if old is not None and {**old, "passages": 0} == new:
            if reporter:
                reporter.info(f"resuming an interrupted build: {old['passages']} passages are done")
            return old
        if reporter:
            reporter.info("an interrupted build with another corpus or other settings is removed")
    _empty(building)
    needed, free = DISK_FACTOR * corpus.stat().st_size, shutil.disk_usage(building).free
    if free < needed:
        why = f"{free / 1e9:.1f} GB are free, and about {needed / 1e9:.1f} GB are needed"
        raise PrerequisiteError(
            f"too little room for an index in {building.parent}", why=why, fix="choose another --out"
        )
    write_json_atomic(building / STATE, new)
    return new


def _old_state(path: Path) -> BuildState | None:
    """The state of an interrupted build; None for a file that is damaged, whose build is then begun again."""
    try:
        row = read_json_object(path)
    except RunFailedError:
        return None
    return cast(BuildState, row) if isinstance(row.get("passages"), int) else None


def _empty(folder: Path, but: str = "") -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != but:
            path.unlink()


def _add_passages(
    building: Path, corpus: Path, state: BuildState, bad: BadRows, reporter: Reporter | None, commit_every: int
) -> str:
    """Store and index every passage that is not there yet; the corpus's sha256."""
    writer = Bm25Writer(building)
    if writer.committed > state["passages"]:  # stopped between the two: what is beyond is not known to be right
        writer.release()
        _empty(building, but=STATE)
        writer = Bm25Writer(building)
    try:
        return _index_rows(building, corpus, state, bad, reporter, commit_every, writer)
    finally:
        writer.release()


def _index_rows(
    building: Path,
    corpus: Path,
    state: BuildState,
    bad: BadRows,
    reporter: Reporter | None,
    commit_every: int,
    writer: Bm25Writer,
) -> str:
    kept = writer.committed
    before = PassageStore(building) if kept else None
    store = StoreWriter(building, kept)
    with _progress(reporter, "indexing passages", None) as advance:
        number = -1
        for number, row in enumerate(read_corpus(corpus, bad)):
            advance(1)
            if before is not None and number < kept:
                if before.line(number) != encode(row):
                    raise RunConflictError(
                        f"{corpus} has changed since the build that was interrupted (passage {number})",
                        fix=f"remove {building} and start again",
                    )
                continue
            store.add(row)
            writer.add(number, row)
            if store.passages % commit_every == 0:
                _commit(building, state, store, writer)
    if number + 1 < kept:
        raise RunConflictError(
            f"{corpus} is shorter than at the build that was interrupted", fix=f"remove {building} and start again"
        )
    _commit(building, state, store, writer)
    writer.close()
    return store.close()


def _commit(building: Path, state: BuildState, store: StoreWriter, writer: Bm25Writer) -> None:
    store.sync()
    writer.commit()
    state["passages"] = store.passages
    write_json_atomic(building / STATE, state)


@contextmanager
def _progress(reporter: Reporter | None, what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    if reporter is None:
        yield lambda done: None
        return
    with reporter.progress(what, total) as work:
        yield work.advance


Engine = Bm25 | Dense | Fused


def _encoder(settings: IndexSettings, device: str) -> Encoder | None:
    """The encoder of an index that has one.  Vectors that lie elsewhere must fit it."""
    if "dense" not in settings:
        return None
    encoder = Encoder(DenseParameters(**settings["dense"]), device)
    if encoder.parameters.index:
        open_vectors(Path(encoder.parameters.index), encoder)
    return encoder


def _engine(folder: Path, store: PassageStore, settings: IndexSettings, encoder: Encoder | None) -> Engine:
    bm25 = Bm25(folder, store, settings["bm25"]["title_weight"])
    if bm25.passages != len(store):
        raise damaged(folder, "index and passages differ in number")
    if encoder is None:
        return bm25
    dense = Dense(folder, store, encoder)
    return dense if settings["engine"] == "dense" else Fused(bm25, dense, store, settings["fusion"])


def _canary(engine: Engine, store: PassageStore) -> float:
    """Share of sampled titled passages among the first three when their title is asked for."""
    step = max(1, len(store) // CANARY)
    asked = [p for p in (store.get(number) for number in range(0, len(store), step)) if p.title][:CANARY]
    found = engine.search([p.title for p in asked], 3)
    titles = [p.title in [hit.title for hit in hits] for p, hits in zip(asked, found, strict=True)]
    return round(sum(titles) / len(titles), 4) if titles else 1.0


class IndexRetriever:
    """The retriever of an index folder.

    Its files are compared with the digests of the manifest: small ones and samples of large ones, or with ``verify``
    every byte.  Raises PrerequisiteError for a folder that is damaged or no index.
    """

    def __init__(self, folder: Path, device: str = "auto", *, verify: bool = False) -> None:
        self._manifest = open_manifest(folder, verify)
        self._store = PassageStore(folder)
        self._engine = _engine(folder, self._store, self._manifest, _encoder(self._manifest, device))

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        """At most ``k`` passages per query, best first."""
        return self._engine.search(queries, k)

    def info(self) -> Mapping[str, object]:
        """The manifest, without the digests of the files."""
        return {key: value for key, value in self._manifest.items() if key not in SEALS}

    def close(self) -> None:
        """Unmap the files."""
        self._store.close()
