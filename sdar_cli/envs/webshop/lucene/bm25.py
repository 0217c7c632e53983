"""The search of WebShop: BM25 as Lucene 8.11 computes it behind anserini 0.14.3, hit for hit.

A term of a document scores ``w - w / (1 + freq * n)`` in float32, where w is the term's idf times how often the
query names it, and n comes from a table over the document's length, kept in one byte.  A document's terms are
added in float64 and the sum is rounded to float32.  Equal scores are listed by key, as anserini does.  Left out:
Lucene's limit of 1,024 different words in a query.
"""

from __future__ import annotations

import bisect
import functools
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from sdar_cli.base.errors import PrerequisiteError
from sdar_cli.envs.webshop.lucene.analyzer import analyze
from sdar_cli.envs.webshop.lucene.bm25_build import (
    FORMAT,
    MANIFEST,
    Array,
    IndexManifest,
    IndexParameters,
    file_entry,
    norm_length,
    write_index,
)

K1 = 0.9
B = 0.4
ANALYZER = "anserini-0.14.3-english"
ARRAYS = ("terms", "term_ends", "posting_ends", "docs", "codes", "pair_freqs", "pair_norms", "order", "ranks")
REMEMBERED = 2048
"""Queries whose hits are kept, about 4 KB each: the environments of a group repeat one another's."""
SMALL = 16 << 20
"""An index of up to this many bytes is compared with its SHA-256 whenever it is opened (15 ms at most)."""
BUILD_AGAIN = "remove the folder; the index is built again when it is needed"


class Index:
    """A search index on disk, mapped into memory: processes that open it share one copy."""

    def __init__(self, folder: Path, manifest: IndexManifest, arrays: dict[str, Array]) -> None:
        self.folder = folder
        self.manifest = manifest
        self.documents: int = manifest["documents"]
        self._filled: int = manifest["documents_with_terms"]
        self._terms, self._term_ends = arrays["terms"], arrays["term_ends"]
        self._posting_ends, self._docs, self._codes = arrays["posting_ends"], arrays["docs"], arrays["codes"]
        self._order, self._ranks = arrays["order"], arrays["ranks"]
        norms = _inverse_norms(manifest["tokens"], self._filled)[arrays["pair_norms"]]
        self._saturations = np.float32(1) + arrays["pair_freqs"].astype(np.float32) * norms
        self._hits = functools.lru_cache(maxsize=REMEMBERED)(self._find_hits)

    @classmethod
    def build(
        cls,
        texts: Iterable[str],
        folder: Path,
        progress: Callable[[], None] | None = None,
        *,
        keys: Iterable[str] | None = None,
        source: str = "",
    ) -> Index:
        """Index ``texts`` in one pass; a document's number is its place among them.  ``progress`` is called for each.

        ``keys``, one a text, order documents of equal score (WebShop: the asin); without them it is the number.
        They are read after the last text, so a generator of texts may fill them.  ``source`` names what the texts
        come from, for ``open`` to compare.  An older index in ``folder`` is replaced when the new one is whole.
        Raises RunConflictError when ``folder`` is no index, RunFailedError when the disk is full.
        """
        parameters: IndexParameters = {"analyzer": ANALYZER, "k1": K1, "b": B, "source": source}
        write_index(texts, Path(folder), keys, parameters, progress)
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path, *, source: str | None = None, check: bool = False) -> Index:
        """Map an index.  ``source``: what it must come from; ``check``: compare every byte, whatever the size.

        Raises PrerequisiteError when it is missing, damaged, of another format or from another source.
        """
        folder = Path(folder)
        manifest = _read_manifest(folder)
        expected = {"format": FORMAT, "analyzer": ANALYZER, "k1": K1, "b": B}
        if source is not None:
            expected["source"] = source
        for name, value in expected.items():
            if manifest.get(name) != value:
                raise _bad(folder, f"its {name} is {manifest.get(name)!r} where {value!r} is needed")
        _check_files(folder, manifest, check)
        try:
            arrays = {name: np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in ARRAYS}
            return cls(folder, manifest, arrays)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _bad(folder, str(error)) from error

    def __reduce__(self) -> tuple[Any, ...]:
        return Index.open, (self.folder,)

    def search(self, query: str, k: int = 50) -> list[int]:
        """Numbers of the best ``k`` documents that hold a word of the query, best first."""
        return list(self._hits(query, k)[0])

    def search_scores(self, query: str, k: int = 50) -> list[tuple[int, float]]:
        """As ``search``, with Lucene's score of each (before anserini rounds it)."""
        return list(zip(*self._hits(query, k), strict=True))

    def _find_hits(self, query: str, k: int) -> tuple[tuple[int, ...], tuple[float, ...]]:
        if k < 1:
            return (), ()
        total = np.zeros(self.documents)
        for term, count in Counter(analyze(query)).items():
            start, end = self._postings(term.encode())
            if start < end:
                weight = np.float32(count) * _idf(end - start, self._filled)
                score = weight - weight / self._saturations
                total[self._docs[start:end]] += score[self._codes[start:end]]
        found = np.flatnonzero(total)
        scores = total[found].astype(np.float32)
        if len(found) > k:
            least = np.partition(scores, len(found) - k)[len(found) - k]
            found, scores = found[scores >= least], scores[scores >= least]
        return self._sorted(found, scores, k)

    def _sorted(self, found: Array, scores: Array, k: int) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """The first ``k`` by falling score, then by key.  A positive float32 and its bits have the same order."""
        places = (~scores.view(np.uint32)).astype(np.uint64) << 32 | self._ranks[found]
        if len(places) > k:
            places = np.partition(places, k - 1)[:k]
        places.sort()
        best = (~(places >> 32).astype(np.uint32)).view(np.float32)
        return tuple(self._order[places & 0xFFFFFFFF].tolist()), tuple(best.tolist())

    def _postings(self, term: bytes) -> tuple[int, int]:
        """Where a term's postings start and end; (0, 0) for an unknown term."""
        count = len(self._term_ends)
        place = bisect.bisect_left(range(count), term, key=self._term)
        if place == count or self._term(place) != term:
            return 0, 0
        return int(self._posting_ends[place - 1]) if place else 0, int(self._posting_ends[place])

    def _term(self, place: int) -> bytes:
        start = int(self._term_ends[place - 1]) if place else 0
        return self._terms[start : int(self._term_ends[place])].tobytes()


def _idf(documents_with: int, documents: int) -> np.float32:
    """``ln(1 + (N - n + 0.5) / (n + 0.5))``, in float64, then rounded."""
    return np.float32(math.log(1 + (documents - documents_with + 0.5) / (documents_with + 0.5)))


def _inverse_norms(tokens: int, documents: int) -> Array:
    """``1 / (k1 * ((1 - b) + b * length / mean length))`` of each byte norm, every step in float32."""
    one, k1, b = np.float32(1), np.float32(K1), np.float32(B)
    mean = np.float32(tokens / documents) if documents else one
    lengths = np.array([norm_length(norm) for norm in range(256)]).astype(np.float32)
    return one / (k1 * ((one - b) + b * lengths / mean))


def _read_manifest(folder: Path) -> IndexManifest:
    try:
        manifest: IndexManifest = json.loads((folder / MANIFEST).read_bytes())
    except FileNotFoundError as error:
        raise PrerequisiteError(
            f"there is no search index in {folder}", why=f"it holds no {MANIFEST}", fix="build it, or name its folder"
        ) from error
    except (OSError, ValueError) as error:
        raise _bad(folder, f"{MANIFEST} cannot be read: {error}") from error
    if not isinstance(manifest, dict):
        raise _bad(folder, f"{MANIFEST} holds no object")
    return manifest


def _check_files(folder: Path, manifest: IndexManifest, check: bool) -> None:
    """Compare sizes with the manifest, and contents of a small index or when asked to."""
    try:
        files = {f"{name}.npy": manifest["files"][f"{name}.npy"] for name in ARRAYS}
        check = check or sum(entry["bytes"] for entry in files.values()) <= SMALL
        for name, entry in files.items():
            size = (folder / name).stat().st_size
            if size != entry["bytes"]:
                raise _bad(folder, f"{name} has {size} bytes instead of {entry['bytes']}")
            if check and file_entry(folder / name) != entry:
                raise _bad(folder, f"the contents of {name} have changed since it was built")
    except OSError as error:
        raise _bad(folder, f"{error.filename} cannot be read: {error.strerror}") from error
    except (KeyError, TypeError) as error:
        raise _bad(folder, f"{MANIFEST} does not list its files: {error!r}") from error


def _bad(folder: Path, why: str) -> PrerequisiteError:
    return PrerequisiteError(f"the search index {folder} cannot be used", why=why, fix=BUILD_AGAIN)
