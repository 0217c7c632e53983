"""Dense retrieval (extra ``[dense]``): sentence-transformers encodes, a flat faiss index finds by inner product.

Vectors have length one.  E5 models get the prefixes ``query: `` and ``passage: `` that they were trained with, others
none.  An ``e5_Flat.index`` that Search-R1's scripts wrote is read where it lies, by memory map: its vector i must
be of the corpus's passage i.  Searching a flat index reads all of it for every batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sdar_cli.errors import PrerequisiteError
from sdar_cli.retrieval.store import PassageStore
from sdar_cli.retrieval.types import Passage

VECTORS = "vectors.faiss"
MODEL = "intfloat/e5-base-v2"
BATCH = 64
MAX_TOKENS = 256
INSTALL = "pip install 'sdar[dense]'"


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
        """With the prefixes of E5 where the model's name says that it is one."""
        is_e5 = "e5" in Path(model).name.lower().split("-")
        prefixes = ("query: ", "passage: ") if is_e5 else ("", "")
        return cls(model, *prefixes, str(index.resolve()) if index else None)

    def as_dict(self) -> dict[str, Any]:
        """For the manifest."""
        return asdict(self)


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
            self._model = SentenceTransformer(parameters.model, device=None if device == "auto" else device)
        except (OSError, ValueError) as error:
            why = str(error).strip().splitlines()[0]
            raise PrerequisiteError(
                f"cannot load the encoder {parameters.model}", why=why, fix="--model FOLDER"
            ) from error
        self._model.max_seq_length = parameters.max_tokens
        self._parameters = parameters

    def passages(self, passages: Sequence[Passage]) -> np.ndarray:
        """Vectors of passages, title first."""
        return self._encode([f"{self._parameters.passage_prefix}{p.title}\n{p.text}" for p in passages])

    def queries(self, queries: Sequence[str]) -> np.ndarray:
        """Vectors of questions."""
        return self._encode([self._parameters.query_prefix + query for query in queries])

    def _encode(self, texts: list[str]) -> np.ndarray:
        vectors = self._model.encode(
            texts, batch_size=BATCH, normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False
        )
        return np.ascontiguousarray(vectors, dtype=np.float32)


def build_vectors(
    folder: Path, store: PassageStore, encoder: Encoder, advance: Callable[[int], None], chunk: int = 2048
) -> None:
    """Encode every passage into ``folder``'s flat index, a chunk of texts in memory at a time."""
    faiss = _faiss()
    index = None
    for start in range(0, len(store), chunk):
        numbers = range(start, min(start + chunk, len(store)))
        vectors = encoder.passages([store.get(number) for number in numbers])
        index = index or faiss.IndexFlatIP(vectors.shape[1])
        index.add(vectors)
        advance(len(numbers))
    faiss.write_index(index, str(folder / VECTORS))


class Dense:
    """The dense engine of an index folder.  device: of the encoder; ``auto`` takes a GPU when there is one."""

    def __init__(self, folder: Path, store: PassageStore, parameters: DenseParameters, device: str = "auto") -> None:
        faiss = _faiss()
        path = Path(parameters.index) if parameters.index else folder / VECTORS
        if not path.is_file():
            raise PrerequisiteError(f"no vectors at {path}", fix="build the index again: sdar retriever index …")
        self._index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
        if self._index.ntotal != len(store):
            raise PrerequisiteError(
                f"{path} holds {self._index.ntotal} vectors and the corpus {len(store)} passages",
                why="vector number i must be of passage i",
                fix="give the corpus that the vectors were made of, without skipped rows",
            )
        self._store = store
        self._encoder = Encoder(parameters, device)

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


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise PrerequisiteError("dense retrieval needs faiss", why=str(error), fix=INSTALL) from error
    return faiss
