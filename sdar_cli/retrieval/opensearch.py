"""OpenSearch as the engine past one machine (extra ``[opensearch]``): BM25 over its index, a ``_msearch`` per batch.

The index has text fields ``title`` and ``text`` (or ``contents`` alone); a document's ``_id`` is the passage's id.
Not run against a live cluster: tested against answers in the documented format.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from sdar_cli.errors import ConfigError, PrerequisiteError
from sdar_cli.retrieval.types import Passage, RetrieverUnavailableError

SCHEME = "opensearch+"
FIELDS = ("title^0.5", "text", "contents")
TIMEOUT = 10.0
RETRIES = 5


class OpenSearchRetriever:
    """Passages of the index at ``opensearch+http://HOST:PORT/INDEX``."""

    def __init__(self, where: str) -> None:
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
        self._client = OpenSearch(
            f"{address.scheme}://{address.netloc}", timeout=TIMEOUT, max_retries=RETRIES, retry_on_timeout=True
        )

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        """At most ``k`` passages per query.  Raises RetrieverUnavailableError."""
        from opensearchpy.exceptions import OpenSearchException

        if not queries:
            return []
        body: list[dict[str, Any]] = []
        for query in queries:
            match = {"multi_match": {"query": query, "fields": list(FIELDS), "type": "most_fields"}}
            body += [{"index": self._index}, {"size": k, "query": match}]
        try:
            answer = self._client.msearch(body=body)
        except OpenSearchException as error:
            raise RetrieverUnavailableError("OpenSearch did not answer", why=str(error)[:200]) from error
        return read_msearch(answer, len(queries))

    def info(self) -> dict[str, Any]:
        """Number of passages, and the index's name; its content has no hash."""
        count = self._client.count(index=self._index)["count"]
        return {"engine": "opensearch", "index": self._index, "passages": count, "corpus_sha256": None}

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def read_msearch(answer: Any, queries: int) -> list[list[Passage]]:
    """The passages of a ``_msearch`` answer.

    Raises RetrieverUnavailableError where a search failed, timed out, or lacks shards: part of an answer is none.
    """
    responses = answer.get("responses") if isinstance(answer, dict) else None
    if not isinstance(responses, list) or len(responses) != queries:
        raise RetrieverUnavailableError("OpenSearch gave no answer to every query")
    out = []
    for response in responses:
        shards = response.get("_shards", {})
        if "error" in response or response.get("timed_out") or shards.get("failed"):
            why = str(
                response.get("error") or ("timed out" if response.get("timed_out") else f"shards failed: {shards}")
            )
            raise RetrieverUnavailableError("a search failed in OpenSearch", why=why[:200])
        out.append([_passage(hit) for hit in response["hits"]["hits"]])
    return out


def _passage(hit: dict[str, Any]) -> Passage:
    source = hit["_source"]
    if "text" in source:
        return Passage(str(hit["_id"]), source.get("title") or "", source["text"], float(hit["_score"]))
    head, _, text = source["contents"].partition("\n")
    return Passage(str(hit["_id"]), head.strip().strip('"'), text, float(hit["_score"]))
