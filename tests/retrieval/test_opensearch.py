"""OpenSearch: answers in the layout its documentation prints, and a server that gives them.  No cluster was asked."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from retrieval_material import listening

from sdar_cli.base import retry
from sdar_cli.base.errors import ConfigError, PrerequisiteError
from sdar_cli.base.retry import TryAgainError
from sdar_cli.retrieval.open import open_retriever
from sdar_cli.retrieval.opensearch import read_msearch
from sdar_cli.retrieval.passages import Passage, RetrieverUnavailableError


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.01)


def response(*hits: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "took": 1473,
        "timed_out": False,
        "_shards": {"total": 5, "successful": 5, "skipped": 0, "failed": 0},
        "hits": {"total": {"value": 10000, "relation": "gte"}, "max_score": 7.5 if hits else None, "hits": list(hits)},
        "status": 200,
        **more,
    }


def failed(kind: str, status: int) -> dict[str, Any]:
    cause = {"type": kind, "reason": "reason of it", "index": "wiki", "index_uuid": "_na_"}
    return {"error": {"root_cause": [cause], **cause}, "status": status}


HITS = (
    {"_index": "wiki", "_id": "12", "_score": 7.5, "_source": {"title": "A", "text": "b"}},
    {"_index": "wiki", "_type": "_doc", "_id": "13", "_score": 7.25, "_source": {"contents": '"C"\nd'}},
)
MISSING = response(_shards={"total": 5, "successful": 4, "skipped": 0, "failed": 1, "failures": [{"shard": 2}]})


def test_an_msearch_answer_becomes_passages() -> None:
    found = read_msearch({"took": 2150, "responses": [response(*HITS), response()]}, 2)
    assert found == [[Passage("12", "A", "b", 7.5), Passage("13", "C", "d", 7.25)], []]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"responses": [response(*HITS)]}, RetrieverUnavailableError),
        ({"error": "no"}, RetrieverUnavailableError),
        (None, RetrieverUnavailableError),
        ({"responses": [response(), failed("index_not_found_exception", 404)]}, RetrieverUnavailableError),
        ({"responses": [response(), {"status": 200}]}, RetrieverUnavailableError),
        ({"responses": [response(), response({"_id": "1", "_score": 1.0, "_source": {}})]}, RetrieverUnavailableError),
        ({"responses": [response(), response({"_id": "1", "_source": {"text": "x"}})]}, RetrieverUnavailableError),
        ({"responses": [response(), failed("rejected_execution_exception", 429)]}, TryAgainError),
        ({"responses": [response(), failed("search_phase_execution_exception", 503)]}, TryAgainError),
        ({"responses": [response(), response(timed_out=True)]}, TryAgainError),
        ({"responses": [response(), MISSING]}, TryAgainError),
    ],
)
def test_part_of_an_answer_is_none(answer: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        read_msearch(answer, 2)


def cluster(*answers: tuple[int, Any]) -> Any:
    """Answers ``_count``, and each ``_msearch`` with the next of ``answers``, the last one again and again."""
    left = list(answers)

    def answer(path: str, body: Any) -> tuple[int, bytes]:
        if path.endswith("/_count"):
            return 200, b'{"count": 2, "_shards": {"total": 5, "successful": 5, "skipped": 0, "failed": 0}}'
        status, value = left.pop(0) if len(left) > 1 else left[0]
        return status, value if isinstance(value, bytes) else json.dumps(value).encode()

    return answer


def test_the_client_sends_one_msearch_per_batch() -> None:
    pytest.importorskip("opensearchpy")
    with listening(cluster((200, {"took": 1, "responses": [response(*HITS), response()]}))) as site:
        retriever = open_retriever(f"opensearch+{site.url}/wiki")
        assert retriever.info()["passages"] == 2
        assert [len(hits) for hits in retriever.search(["who", "where"], 2)] == [2, 0]
        path, lines = site.asked[-1]
        assert retriever.search([], 2) == []
    assert path == "/_msearch" and len(lines) == 4
    assert (lines[0], lines[1]["size"]) == ({"index": "wiki"}, 2)
    assert [line["query"]["multi_match"]["query"] for line in lines[1::2]] == ["who", "where"]


def test_what_passes_is_tried_again_and_what_stays_is_not() -> None:
    pytest.importorskip("opensearchpy")
    good = {"took": 1, "responses": [response(*HITS)]}
    passing = [(503, b"busy"), (429, b"busy"), (200, {"responses": [MISSING]}), (200, good)]
    with listening(cluster(*passing)) as site:
        assert len(open_retriever(f"opensearch+{site.url}/wiki").search(["who"], 2)[0]) == 2
        assert len(site.asked) == 1 + 4
    for status, value in (
        (400, {"error": {"type": "parsing_exception"}, "status": 400}),
        (200, b'{"responses": [{"took'),
        (200, {"took": 1, "responses": []}),
    ):
        with listening(cluster((status, value))) as site:
            with pytest.raises(RetrieverUnavailableError):
                open_retriever(f"opensearch+{site.url}/wiki").search(["who"], 2)
            assert len(site.asked) == 2
    with listening(cluster((503, b"busy"))) as site:
        retriever = open_retriever(f"opensearch+{site.url}/wiki", budget=0.1)
        with pytest.raises(RetrieverUnavailableError, match=r"within 0\.1 s") as caught:
            retriever.search(["who"], 2)
        assert "HTTP 503" in caught.value.why
    with pytest.raises(RetrieverUnavailableError) as caught:
        open_retriever(f"opensearch+{site.url}/wiki", budget=0.1)
    assert "ConnectionError" in caught.value.why


def test_an_address_without_an_index() -> None:
    pytest.importorskip("opensearchpy")
    with pytest.raises(ConfigError, match="names no index"):
        open_retriever("opensearch+http://127.0.0.1:9200")


def test_without_the_extra_its_installation_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opensearchpy", None)
    with pytest.raises(PrerequisiteError, match="needs its client") as caught:
        open_retriever("opensearch+http://127.0.0.1:9200/wiki")
    assert caught.value.fix == "pip install 'sdar[opensearch]'"
