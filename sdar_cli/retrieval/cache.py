"""Answers remembered by corpus, engine, number of passages and query; within a batch every query is asked once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from sdar_cli.retrieval.passages import Passage, Retriever

ANSWERS = 20_000
"""Answers kept, the latest used."""


class CachedRetriever:
    """A retriever that does not ask the same thing twice.  The episodes of a group begin with the same questions.

    ``asked`` and ``answered`` count queries that came in, and those that went to the retriever behind.
    """

    def __init__(self, inner: Retriever, answers: int = ANSWERS) -> None:
        self._inner = inner
        self._size = answers
        self._known: OrderedDict[tuple[str, int, str], list[Passage]] = OrderedDict()
        self._corpus = ""
        self.asked = 0
        self.answered = 0

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        """As the retriever behind.  Answers of another corpus are forgotten when ``info`` reports one."""
        keys = [(self._corpus, k, " ".join(query.split())) for query in queries]
        new = [key for key in dict.fromkeys(keys) if key not in self._known]
        self.asked += len(keys)
        self.answered += len(new)
        fresh = dict(zip(new, self._inner.search([key[2] for key in new], k), strict=True)) if new else {}
        out = []
        for key in keys:
            if key in fresh:
                out.append(fresh[key])
            else:
                self._known.move_to_end(key)
                out.append(self._known[key])
        self._known.update(fresh)
        while len(self._known) > self._size:
            self._known.popitem(last=False)
        return [list(passages) for passages in out]

    def info(self) -> Mapping[str, object]:
        """As the retriever behind; its corpus and settings name the answers from now on."""
        info = self._inner.info()
        self._corpus = repr(sorted((key, str(value)) for key, value in info.items()))
        return info

    def close(self) -> None:
        """Close the retriever behind."""
        self._inner.close()
