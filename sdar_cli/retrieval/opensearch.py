"""OpenSearch as the engine past one machine (extra ``[opensearch]``): BM25 over its index, a ``_msearch`` per batch.

The index has text fields ``title`` and ``text`` (or ``contents`` alone); a document's ``_id`` is the passage's id.
Connection errors, timeouts, busy statuses and missing shards are tried again until the budget is spent.
Not run against a live cluster: tested against answers in the documented format.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

from sdar_cli.base.errors import ConfigError, PrerequisiteError
from sdar_cli.base.retry import AGAIN, BUDGET, TryAgainError, retry_with_deadline
from sdar_cli.retrieval.passages import Passage, RetrieverUnavailableError, no_answer

SCHEME = "opensearch+"
FIELDS = ("title^0.5", "text", "contents")
TIMEOUT = 10.0
PER_REQUEST = 256
"""Queries per ``_msearch``."""
Answer = TypeVar("Answer")


class OpenSearchRetriever:
    """Passages of the index at ``opensearch+http://HOST:PORT/INDEX``.  budget: seconds per request with its tries."""

    def __init__(self, where: str, budget: float = BUDGET) -> None:
        try:
            from opensearchpy import OpenSearch
        except ImportError as error:
            raise PrerequisiteError(
                "an OpenSearch index needs its client", why=str(error), fix="pip install 'sdar[opensearch]'"
            ) from error
        address = urlsplit(where.removeprefix(SCHEME))
        self._index = address.path.strip("/")
        if not self._index or not address.hostname:
            raise ConfigError(f"{where} names no index", fix=f"{SCHEME}http://HOST:9200/INDEX")
        self._budget = budget
        self._client = OpenSearch(f"{address.scheme}://{address.netloc}", timeout=TIMEOUT, max_retries=0)

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        """At most ``k`` passages per query.  Raises RetrieverUnavailableError."""
        out: list[list[Passage]] = []
        for start in range(0, len(queries), PER_REQUEST):
            out += self._ask(partial(self._msearch, queries[start : start + PER_REQUEST], k))
        return out

    def _msearch(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        body: list[Mapping[str, object]] = []
        for query in queries:
            match = {"multi_match": {"query": query, "fields": list(FIELDS), "type": "most_fields"}}
            body += [{"index": self._index}, {"size": k, "query": match}]
        return read_msearch(self._client.msearch(body=body), len(queries))

    def info(self) -> Mapping[str, object]:
        """Number of passages, and the index's name; its content has no hash."""
        count = self._ask(lambda: self._client.count(index=self._index)["count"])
        return {"engine": "opensearch", "index": self._index, "passages": count, "corpus_sha256": None}

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _ask(self, ask: Callable[[], Answer]) -> Answer:
        from opensearchpy.exceptions import ConnectionError, OpenSearchException, TransportError

        def once(until: float) -> Answer:
            try:
                return ask()
            except ConnectionError as error:  # a timeout is one, too
                raise TryAgainError(f"{type(error).__name__}: {str(error)[:200]}") from error
            except OpenSearchException as error:
                status = error.status_code if isinstance(error, TransportError) else None
                if status in AGAIN:
                    raise TryAgainError(f"HTTP {status}") from error
                raise RetrieverUnavailableError("OpenSearch refused the request", why=str(error)[:200]) from error

        return retry_with_deadline(once, self._budget, no_answer)


def read_msearch(answer: Any, queries: int) -> list[list[Passage]]:
    """The passages of a ``_msearch`` answer.  Part of an answer is none.

    Raises TryAgainError where a search was rejected, timed out, or misses shards; RetrieverUnavailableError where it
    is wrong, or the answer is no answer.
    """
    responses = answer.get("responses") if isinstance(answer, dict) else None
    if not isinstance(responses, list) or len(responses) != queries:
        raise RetrieverUnavailableError("OpenSearch gave no answer to every query", why=str(answer)[:200])
    for response in responses:
        if "error" in response:
            why = f"HTTP {response.get('status')}: {response['error']}"[:200]
            if response.get("status") in AGAIN:
                raise TryAgainError(why)
            raise RetrieverUnavailableError("a search failed in OpenSearch", why=why)
        if response.get("timed_out") or response.get("_shards", {}).get("failed"):
            raise TryAgainError("a search timed out" if response.get("timed_out") else f"shards: {response['_shards']}")
    try:
        return [[_passage(hit) for hit in response["hits"]["hits"]] for response in responses]
    except (KeyError, TypeError, AttributeError) as error:
        why = f"{type(error).__name__}: {error}; documents need title and text, or contents"
        raise RetrieverUnavailableError("OpenSearch's hits are no passages", why=why) from error


def _passage(hit: Mapping[str, Any]) -> Passage:
    source = hit["_source"]
    if "text" in source:
        return Passage(str(hit["_id"]), source.get("title") or "", source["text"], float(hit["_score"]))
    head, _, text = source["contents"].partition("\n")
    return Passage(str(hit["_id"]), head.strip().strip('"'), text, float(hit["_score"]))
