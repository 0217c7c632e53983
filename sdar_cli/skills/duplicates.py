"""Skills with the same content: equal texts, and texts that differ in a few words.

A text is remembered by the smallest hashes of its runs of words, and compared only with the first text that had one of
them, so the work grows with the number of texts and not with its square.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

RUN = 4
"""Words that are hashed together."""
SKETCH = 8
"""Hashes a text is remembered by."""
NEAR = 90.0
"""Similarity of words, in per cent, from which two texts are near-duplicates."""
WORDS = re.compile(r"\w+")


class Pair(NamedTuple):
    """Two texts by their index, the later one first, and their similarity in per cent (100: the same words)."""

    later: int
    earlier: int
    similarity: float


def similar_pairs(texts: Sequence[str], near: float = NEAR) -> list[Pair]:
    """For every text that repeats an earlier one, the most similar of those it was compared with."""
    from rapidfuzz.distance import Indel

    words = [WORDS.findall(text.lower()) for text in texts]
    best: dict[int, Pair] = {}
    for later, earlier in candidates(words):
        # Compared word by word; a cutoff lets far ones stop early.
        score = 100 * Indel.normalized_similarity(words[later], words[earlier], score_cutoff=near / 100)
        if score >= near and (later not in best or score > best[later].similarity):
            best[later] = Pair(later, earlier, score)
    return [best[later] for later in sorted(best)]


def candidates(words: Sequence[Sequence[str]]) -> Iterator[tuple[int, int]]:
    """(later, earlier) of texts that share a hash; at most ``SKETCH`` pairs per text."""
    first: dict[int, int] = {}
    for number, sketch in enumerate(_sketches(words)):
        yield from ((number, earlier) for earlier in sorted({first[h] for h in sketch if h in first}))
        for value in sketch:
            first.setdefault(value, number)


class _Codes(dict[str, int]):
    """A word's hash, the same in every process."""

    def __missing__(self, word: str) -> int:
        self[word] = code = zlib.crc32(word.encode())
        return code


def _sketches(words: Sequence[Sequence[str]]) -> Iterator[set[int]]:
    """The ``SKETCH`` smallest hashes of every text's runs of words; texts shorter than a run are hashed whole."""
    import numpy as np

    known = _Codes()
    for text in words:
        codes = np.array([known[word] for word in text], dtype=np.uint64)
        runs = max(1, len(codes) - RUN + 1)
        hashes = np.zeros(runs, dtype=np.uint64)
        for offset in range(min(RUN, len(codes))):  # a polynomial in the words' codes, modulo 2^64
            hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + codes[offset : offset + runs]
        hashes ^= hashes >> np.uint64(29)
        hashes *= np.uint64(0xBF58476D1CE4E5B9)
        hashes.sort()
        yield set(hashes[:SKETCH].tolist())
