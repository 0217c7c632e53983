"""Writes the files of a search index: an inverted index of any size in bounded memory, whole or not at all.

Documents are counted into runs of RUN_POSTINGS postings (a posting: one term in one document), each sorted by
term and put on disk; the runs are then merged term by term.  Memory: about 150 MB for the largest run, plus 16
bytes a distinct term, 4 bytes a term of a run, and 50 bytes a document while the keys are sorted; for 1.2
million products that is below 500 MB.  Disk while building: about 12 bytes a posting, half of which stays.

Files (numpy arrays, little-endian): ``terms`` (UTF-8, sorted, end to end) with ``term_ends``; ``posting_ends``
of each term; ``docs`` and ``codes`` of each posting, documents ascending; ``pair_freqs`` and ``pair_norms``, the
frequency in and the length norm of the document that a code stands for; ``order``, the documents by key, and
``ranks``, its inverse; and ``manifest.json``.
"""

from __future__ import annotations

import errno
import hashlib
import heapq
import itertools
import json
import os
import shutil
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypedDict

import numpy as np
import numpy.typing as npt

from sdar_cli.base.errors import RunConflictError, RunFailedError
from sdar_cli.base.files import write_json_atomic
from sdar_cli.envs.webshop.lucene.analyzer import analyze

FORMAT = 1
MANIFEST = "manifest.json"
RUN_POSTINGS = 2_000_000
NARROW_CODES = 1 << 16
"""Up to this many kinds of (frequency, norm) take two bytes a posting, more take four."""
EXACT = 24
"""Lengths below this are kept as they are in a byte norm."""

Array = npt.NDArray[Any]


def length_norm(length: int) -> int:
    """The byte Lucene keeps of a document's number of terms (SmallFloat.intToByte4): 4 leading bits, rounded down."""
    if length < EXACT:
        return length
    rest = length - EXACT
    shift = rest.bit_length() - 4
    return EXACT + (rest if shift < 0 else (rest >> shift) & 7 | (shift + 1) << 3)


def norm_length(norm: int) -> int:
    """The length that a byte norm stands for: the least with that norm."""
    if norm < EXACT:
        return norm
    shift, bits = divmod(norm - EXACT, 8)
    return EXACT + (bits if shift == 0 else (bits | 8) << (shift - 1))


@dataclass(slots=True)
class _Run:
    """A stretch of documents on disk, sorted by term.  ``ids`` are the numbers of its terms in the whole index."""

    terms: Path
    counts: Array
    docs: Path
    codes: Path
    ids: array[int] = field(default_factory=lambda: array("I"))


@dataclass(slots=True)
class Totals:
    """What is counted while the documents stream by; ``filled`` are those with at least one term."""

    documents: int = 0
    filled: int = 0
    tokens: int = 0
    postings: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    def digest_text(self, text: str) -> None:
        """Each text enters as its length in bytes (8, little-endian) and its UTF-8."""
        data = text.encode("utf-8", "surrogatepass")
        self.digest.update(len(data).to_bytes(8, "little") + data)


class _Collector:
    """Counts documents into runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.totals = Totals()
        self.runs: list[_Run] = []
        self.pairs: defaultdict[int, int] = defaultdict()
        self.pairs.default_factory = self.pairs.__len__
        self._begin()

    def _begin(self) -> None:
        self.numbers: defaultdict[str, int] = defaultdict()
        self.numbers.default_factory = self.numbers.__len__
        self.terms, self.docs, self.codes = array("I"), array("I"), array("I")

    def add(self, text: str) -> None:
        """Count one document; when the run is full, write it."""
        totals, words = self.totals, analyze(text)
        totals.digest_text(text)
        counts = Counter(words)
        norm = length_norm(len(words))
        self.terms.extend([self.numbers[term] for term in counts])
        self.codes.extend([self.pairs[count << 8 | norm] for count in counts.values()])
        self.docs.extend(itertools.repeat(totals.documents, len(counts)))
        totals.documents += 1
        totals.filled += bool(words)
        totals.tokens += len(words)
        totals.postings += len(counts)
        if len(self.docs) >= RUN_POSTINGS:
            self.write_run()

    def write_run(self) -> None:
        """Sort the run by term, documents ascending within a term, and put it on disk."""
        names = sorted(self.numbers)
        place = np.empty(len(names), np.uint32)
        place[np.fromiter((self.numbers[name] for name in names), np.int64, len(names))] = np.arange(len(names))
        keys = place[np.frombuffer(self.terms, np.uint32)]
        sort = np.argsort(keys, kind="stable")
        stem = self.folder / f"run{len(self.runs)}"
        run = _Run(
            terms=stem.with_suffix(".terms"),
            counts=np.bincount(keys, minlength=len(names)).astype(np.uint32),
            docs=stem.with_suffix(".docs.npy"),
            codes=stem.with_suffix(".codes.npy"),
        )
        run.terms.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
        np.save(run.docs, np.frombuffer(self.docs, np.uint32)[sort])
        np.save(run.codes, np.frombuffer(self.codes, np.uint32)[sort])
        self.runs.append(run)
        self._begin()


class IndexParameters(TypedDict):
    """What the scores depend on, and what the texts come from."""

    analyzer: str
    k1: float
    b: float
    source: str


class FileEntry(TypedDict):
    """Size and SHA-256 of a file."""

    bytes: int
    sha256: str


class IndexManifest(IndexParameters):
    """What an index holds."""

    format: int
    documents: int
    documents_with_terms: int
    tokens: int
    postings: int
    input_sha256: str
    files: dict[str, FileEntry]


def write_index(
    texts: Iterable[str],
    folder: Path,
    keys: Iterable[str] | None,
    parameters: IndexParameters,
    progress: Callable[[], None] | None,
) -> None:
    """Build in a folder beside ``folder`` and rename it; whatever goes wrong, nothing of it is left.

    Raises RunConflictError when ``folder`` holds something else, RunFailedError when the disk is full.
    """
    refuse_foreign(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        _write(texts, temporary, keys, parameters, progress)
        _put(temporary, folder)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise RunFailedError(
                f"no room for the search index {folder}",
                why=f"{error.strerror}: while it is built it takes about 2 GB for a million products",
                fix="free some space, or put the index on another disk",
            ) from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def refuse_foreign(folder: Path) -> None:
    """Raise RunConflictError when ``folder`` is there and is not a search index."""
    if folder.exists() and not (folder / MANIFEST).is_file() and not (folder.is_dir() and not any(folder.iterdir())):
        raise RunConflictError(
            f"{folder} is in the way of a search index",
            why=f"it is there and holds no {MANIFEST}",
            fix="choose another folder, or move it away",
        )


def _put(temporary: Path, folder: Path) -> None:
    """Rename the finished folder; an older index goes when the new one is in its place.

    An equal index stays as it is: another process may have built it meanwhile, and have it open.
    """
    if _is_same(temporary, folder):
        return
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    if folder.exists():
        folder.rename(old)
    try:
        temporary.rename(folder)
    except OSError:
        if not _is_same(temporary, folder):
            raise
    shutil.rmtree(old, ignore_errors=True)


def _is_same(built: Path, folder: Path) -> bool:
    """Whether ``folder`` holds just what was built, unharmed."""
    if not (folder / MANIFEST).is_file() or (folder / MANIFEST).read_bytes() != (built / MANIFEST).read_bytes():
        return False
    files = json.loads((built / MANIFEST).read_bytes())["files"]
    return all((folder / name).is_file() and file_entry(folder / name) == entry for name, entry in files.items())


def _write(
    texts: Iterable[str],
    folder: Path,
    keys: Iterable[str] | None,
    parameters: IndexParameters,
    progress: Callable[[], None] | None,
) -> None:
    collector = _Collector(folder)
    for text in texts:
        collector.add(text)
        if progress:
            progress()
    collector.write_run()
    totals = collector.totals
    pairs = np.fromiter(collector.pairs, np.int64, len(collector.pairs))
    np.save(folder / "pair_freqs.npy", (pairs >> 8).astype(np.uint32))
    np.save(folder / "pair_norms.npy", (pairs & 255).astype(np.uint8))
    _write_order(folder, totals, keys)
    ends = _merge_terms(folder, collector.runs)
    _merge_postings(folder, collector.runs, ends, np.uint16 if len(pairs) <= NARROW_CODES else np.uint32)
    for left in folder.glob("run*"):
        left.unlink()
    manifest: IndexManifest = {
        "format": FORMAT,
        **parameters,
        "documents": totals.documents,
        "documents_with_terms": totals.filled,
        "tokens": totals.tokens,
        "postings": totals.postings,
        "input_sha256": totals.digest.hexdigest(),
        "files": {path.name: file_entry(path) for path in sorted(folder.iterdir())},
    }
    write_json_atomic(folder / MANIFEST, manifest)


def file_entry(path: Path) -> FileEntry:
    """Size in bytes and SHA-256 of a file."""
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _write_order(folder: Path, totals: Totals, keys: Iterable[str] | None) -> None:
    """The order in which documents of equal score are listed: by key in UTF-8, else as they came."""
    order = np.arange(totals.documents, dtype=np.uint32)
    if keys is not None:
        names = list(keys)
        if len(names) != totals.documents:
            raise ValueError(f"{len(names)} keys for {totals.documents} texts")
        for name in names:
            totals.digest_text(name)
        order = np.fromiter(sorted(range(len(names)), key=names.__getitem__), np.uint32, len(names))
    ranks = np.empty_like(order)
    ranks[order] = np.arange(len(order), dtype=np.uint32)
    np.save(folder / "order.npy", order)
    np.save(folder / "ranks.npy", ranks)


def _lines(run: _Run, number: int) -> Iterator[tuple[str, int]]:
    with run.terms.open(encoding="utf-8", newline="\n") as file:
        for line in file:
            yield line[:-1], number


def _merge_terms(folder: Path, runs: list[_Run]) -> Array:
    """Number the terms of all runs, write them, and return where each one's postings end."""
    term_ends, end = array("Q"), 0
    with _ArrayFile(folder / "terms.npy", np.uint8) as file:
        merged = heapq.merge(*(_lines(run, number) for number, run in enumerate(runs)))
        for number, (term, group) in enumerate(itertools.groupby(merged, key=lambda pair: pair[0])):
            for _, source in group:
                runs[source].ids.append(number)
            data = term.encode()
            end += len(data)
            term_ends.append(end)
            file.write(data)
    np.save(folder / "term_ends.npy", np.frombuffer(term_ends, np.uint64))
    counts = np.zeros(len(term_ends), np.uint64)
    for run in runs:
        counts[np.frombuffer(run.ids, np.uint32)] += run.counts
    ends = np.cumsum(counts, dtype=np.uint64)
    np.save(folder / "posting_ends.npy", ends)
    return ends


def _merge_postings(folder: Path, runs: list[_Run], ends: Array, code_type: type[np.unsignedinteger[Any]]) -> None:
    """Bring the postings of each term together, in blocks of about RUN_POSTINGS."""
    starts = np.concatenate(([0], ends)).astype(np.int64)
    with _ArrayFile(folder / "docs.npy", np.uint32) as docs, _ArrayFile(folder / "codes.npy", code_type) as codes:
        first = 0
        while first < len(ends):
            last = max(first + 1, int(np.searchsorted(ends, starts[first] + RUN_POSTINGS, side="right")))
            block_docs, block_codes = _block(runs, starts, first, last)
            docs.write(block_docs.tobytes())
            codes.write(block_codes.astype(code_type).tobytes())
            first = last


def _block(runs: list[_Run], starts: Array, first: int, last: int) -> tuple[Array, Array]:
    """Documents and codes of the terms ``first`` up to ``last``: each run fills its stretch of every term."""
    size = int(starts[last] - starts[first])
    docs, codes = np.empty(size, np.uint32), np.empty(size, np.uint32)
    free = starts[first:last] - starts[first]
    for run in runs:
        ids = np.frombuffer(run.ids, np.uint32)
        low, high = np.searchsorted(ids, [first, last])
        counts = run.counts[low:high].astype(np.int64)
        skipped, taken = int(run.counts[:low].sum(dtype=np.int64)), int(counts.sum())
        terms = ids[low:high] - first
        inside = np.arange(taken) - np.repeat(np.cumsum(counts) - counts, counts)
        places = np.repeat(free[terms], counts) + inside
        free[terms] += counts
        docs[places] = np.load(run.docs, mmap_mode="r")[skipped : skipped + taken]
        codes[places] = np.load(run.codes, mmap_mode="r")[skipped : skipped + taken]
    return docs, codes


class _ArrayFile:
    """A one-dimensional ``.npy`` file written piece by piece: its length is filled in at the end."""

    HEADER = 128

    def __init__(self, path: Path, kind: type[np.generic]) -> None:
        self.path = path
        self.dtype = np.dtype(kind)

    def __enter__(self) -> IO[bytes]:
        self.file = self.path.open("wb")
        self.file.write(b" " * self.HEADER)
        return self.file

    def __exit__(self, *_: object) -> None:
        with self.file as file:
            length = (file.tell() - self.HEADER) // self.dtype.itemsize
            file.seek(0)
            np.lib.format.write_array_header_1_0(
                file, {"descr": self.dtype.str, "fortran_order": False, "shape": (length,)}
            )
            if file.tell() != self.HEADER:
                raise AssertionError(f"the header of a .npy file took {file.tell()} bytes instead of {self.HEADER}")
