"""Dense retrieval (extra ``[dense]``): sentence-transformers encodes, a flat faiss index finds by inner product.

Vectors are means over tokens (or as the model's own folder sets), of length one.  E5 models get the prefixes
``query: `` and ``passage: `` that they were trained with, others none.  An ``e5_Flat.index`` that Search-R1's scripts
wrote is read where it lies, by memory map: its vector i must be of the corpus's passage i.  Searching a flat index
reads all of it for every batch, on the CPU; ``device`` is the encoder's.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from sdar_cli.base.errors import PrerequisiteError
from sdar_cli.retrieval.passages import Passage
from sdar_cli.retrieval.store import PassageStore

VECTORS = "vectors.faiss"
MODEL = "intfloat/e5-base-v2"
BATCH = 64
CHUNK = 2048
"""Passages encoded at once; in a chunk texts of like length share a batch."""
HEADER = struct.Struct("<4siqqq?iQ")
"""Of a flat faiss file: kind, dimensions, vectors, two unused, trained, metric (0: inner product), numbers."""
MAX_TOKENS = 256
INSTALL = "pip install 'sdar[dense]'"


class DenseRecord(TypedDict):
    """``DenseParameters`` as JSON."""

    model: str
    query_prefix: str
    passage_prefix: str
    index: str | None
    max_tokens: int


@dataclass(frozen=True)
class DenseParameters:
    """What dense ranking depends on.  ``index``: an existing faiss file; None for the one in the folder."""

    model: str = MODEL
    query_prefix: str = ""
    passage_prefix: str = ""
    index: str | None = None
    max_tokens: int = MAX_TOKENS

    @classmethod
    def of(cls, model: str, index: Path | None = None) -> DenseParameters:
        """With the prefixes of E5 where the model's name contains ``e5``."""
        is_e5 = "e5" in Path(model).name.lower().split("-")
        prefixes = ("query: ", "passage: ") if is_e5 else ("", "")
        return cls(model, *prefixes, str(index.resolve()) if index else None)

    def record(self) -> DenseRecord:
        """For the manifest."""
        return {
            "model": self.model,
            "query_prefix": self.query_prefix,
            "passage_prefix": self.passage_prefix,
            "index": self.index,
            "max_tokens": self.max_tokens,
        }


class Encoder:
    """Texts to vectors of length one, float32 (n, dimensions)."""

    def __init__(self, parameters: DenseParameters, device: str = "auto") -> None:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise PrerequisiteError(
                "dense retrieval needs sentence-transformers", why=str(error), fix=INSTALL
            ) from error
        try:
            self._model = SentenceTransformer(parameters.model, device=_device(device))
        except (OSError, ValueError) as error:
            why = str(error).strip().splitlines()[0]
            raise PrerequisiteError(
                f"cannot load the encoder {parameters.model}", why=why, fix="--model FOLDER"
            ) from error
        self._model.max_seq_length = parameters.max_tokens
        self.parameters = parameters

    @property
    def dimensions(self) -> int:
        """Of a vector."""
        return int(self.queries([""]).shape[1])

    def passages(self, passages: Sequence[Passage]) -> np.ndarray:
        """Vectors of passages, title first."""
        return self._encode([f"{self.parameters.passage_prefix}{p.title}\n{p.text}" for p in passages])

    def queries(self, queries: Sequence[str]) -> np.ndarray:
        """Vectors of questions."""
        return self._encode([self.parameters.query_prefix + query for query in queries])

    def _encode(self, texts: list[str]) -> np.ndarray:
        vectors = self._model.encode(
            texts, batch_size=BATCH, normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False
        )
        return np.ascontiguousarray(vectors, dtype=np.float32)


class VectorWriter:
    """A flat inner-product faiss file that grows on disk, ``CHUNK`` passages in memory at a time.

    A file of an interrupted build is resumed; what follows its last whole vector is cut off.
    """

    def __init__(self, path: Path, dimensions: int) -> None:
        self._bytes = 4 * dimensions
        self._dimensions = dimensions
        size = path.stat().st_size if path.is_file() else 0
        self.vectors = max(0, size - HEADER.size) // self._bytes
        self._file = path.open("r+b" if self.vectors else "wb")
        self._end()

    def _end(self) -> None:
        """Write the head for what is there, cut off the rest, and stand at the end."""
        many = self.vectors
        self._file.seek(0)
        self._file.write(
            HEADER.pack(b"IxFI", self._dimensions, many, 1 << 20, 1 << 20, True, 0, many * self._dimensions)
        )
        self._file.truncate(HEADER.size + many * self._bytes)
        self._file.seek(0, os.SEEK_END)

    def add(self, vectors: np.ndarray) -> None:
        """Append vectors (n, dimensions), float32; they survive a crash."""
        self._file.write(np.ascontiguousarray(vectors, dtype="<f4").data)
        self._file.flush()
        os.fsync(self._file.fileno())
        self.vectors += len(vectors)

    def close(self) -> None:
        """Write the number of vectors."""
        self._end()
        self._file.close()


def build_vectors(folder: Path, store: PassageStore, encoder: Encoder, advance: Callable[[int], None]) -> None:
    """Encode every passage that ``folder``'s flat index does not hold yet."""
    writer = VectorWriter(folder / VECTORS, encoder.dimensions)
    advance(writer.vectors)
    while writer.vectors < len(store):
        numbers = range(writer.vectors, min(writer.vectors + CHUNK, len(store)))
        writer.add(encoder.passages([store.get(number) for number in numbers]))
        advance(len(numbers))
    writer.close()


class Dense:
    """The dense engine of an index folder."""

    def __init__(self, folder: Path, store: PassageStore, encoder: Encoder) -> None:
        path = Path(encoder.parameters.index or folder / VECTORS)
        self._index = open_vectors(path, encoder)
        if self._index.ntotal != len(store):
            raise PrerequisiteError(
                f"{path} holds {self._index.ntotal} vectors and the corpus {len(store)} passages",
                why="vector number i must be of passage i",
                fix="give the corpus that the vectors were made of, without skipped rows",
            )
        self._store = store
        self._encoder = encoder

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        """At most ``k`` passages per query by inner product."""
        return [[self._store.get(n, score) for n, score in hits] for hits in self.ranked_batch(queries, k)]

    def ranked_batch(self, queries: Sequence[str], k: int) -> list[list[tuple[int, float]]]:
        """(number, score) of the best passages of each query."""
        if not queries:
            return []
        scores, numbers = self._index.search(self._encoder.queries(queries), min(k, len(self._store)))
        return [
            [(int(n), float(s)) for n, s in zip(row, values, strict=True) if n >= 0]
            for row, values in zip(numbers, scores, strict=True)
        ]


def open_vectors(path: Path, encoder: Encoder) -> Any:
    """A faiss file of inner products, mapped into memory.  Raises PrerequisiteError for one that does not fit."""
    faiss = _faiss()
    if not path.is_file():
        raise PrerequisiteError(f"no vectors at {path}", fix="give a faiss file, or build the index again")
    try:
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)  # IO_FLAG_MMAP reads a flat file whole
    except RuntimeError as error:
        why = str(error).strip().splitlines()[-1]
        raise PrerequisiteError(f"{path} is no faiss index", why=why, fix="give a file like e5_Flat.index") from error
    dimensions = encoder.dimensions
    problem = f"its vectors have {index.d} numbers, those of {encoder.parameters.model} {dimensions}"
    if index.metric_type != faiss.METRIC_INNER_PRODUCT:
        problem = f"it is not of inner products, but of metric {index.metric_type}"
    elif index.d == dimensions:
        return index
    raise PrerequisiteError(f"{path} does not fit", why=problem, fix="give the --model that the vectors were made by")


def _device(device: str) -> str | None:
    """For sentence-transformers; None lets it choose.  Raises PrerequisiteError where there is no such device."""
    if device == "auto":
        return None
    import torch

    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        why = str(error).splitlines()[0]
        raise PrerequisiteError(f"no device {device} here", why=why, fix="--device auto, cpu or cuda") from error
    return device


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise PrerequisiteError("dense retrieval needs faiss", why=str(error), fix=INSTALL) from error
    return faiss
