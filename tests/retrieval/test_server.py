"""The server: both dialects, limits, and requests that become one batch."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from retrieval_material import write_corpus
from starlette.testclient import TestClient

from sdar_cli.base.errors import PrerequisiteError
from sdar_cli.retrieval import server
from sdar_cli.retrieval.connections import OneLine, bounded_protocol, most_connections
from sdar_cli.retrieval.index import IndexRetriever, build_index
from sdar_cli.retrieval.passages import Passage
from sdar_cli.retrieval.server import THREADS, Asked, Batcher, make_app


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("served")
    build_index(write_corpus(folder / "c.jsonl"), folder / "i")
    with TestClient(make_app(IndexRetriever(folder / "i"))) as client:
        yield client


def retrieve(web: TestClient, **body: Any) -> Any:
    answer = web.post("/retrieve", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


def test_search_r1s_client_is_served(web: TestClient) -> None:
    lists = retrieve(web, queries=["Where was Ada Brindle born?", "river Tarn"], topk=2, return_scores=True)
    assert [len(hits) for hits in lists] == [2, 2]
    best = lists[0][0]
    assert (
        best["document"]["contents"] == '"Ada Brindle"\nAda Brindle was born in Velmora in 1931 and became a painter.'
    )
    assert best["document"]["id"] == "p2" and best["score"] > lists[0][1]["score"]


def test_the_releases_client_is_served(web: TestClient) -> None:
    lists = retrieve(web, query="river Tarn", topk=1, return_scores=True)
    assert [[h["document"]["title"] for h in hits] for hits in lists] == [["River Tarn"]]


def test_bare_documents_for_any_number_of_queries(web: TestClient) -> None:
    for number in (1, 2, 3):  # the original fails here, and with two queries answers wrongly
        lists = retrieve(web, queries=["river Tarn"] * number)
        assert [hits[0]["id"] for hits in lists] == ["p3"] * number
    assert len(retrieve(web, query="painter Velmora Tarn hills")[0]) == 3  # the default
    assert len(retrieve(web, query="painter Velmora Tarn hills", topk=0)[0]) == 3
    assert retrieve(web, query="") == [[]]
    assert retrieve(web, queries=[]) == []


def test_our_client_and_our_server_agree(web: TestClient) -> None:
    found = retrieve(web, queries=["painter"], topk=3, return_scores=True)
    from sdar_cli.retrieval.wire import read_result

    assert [p.id for p in read_result({"result": found}, 1, 3)[0]] == [h["document"]["id"] for h in found[0]]
    assert web.get("/health").json() == {"status": "ok"}
    info = web.get("/info").json()
    assert (info["engine"], info["passages"], len(info["corpus_sha256"]), info["dialects"]) == (
        "bm25",
        5,
        64,
        ["queries", "query"],
    )


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"queries": ["a"], "query": "a"},
        {"queries": "a"},
        {"queries": [1]},
        {"query": ["a"]},
        {"query": "a", "topk": 51},
        {"query": "a", "topk": -1},
        {"query": "a", "topk": 2.5},
        {"query": "a", "topk": True},
        {"query": "a", "topk": "3"},
        {"queries": ["a"] * 1025},
        {"query": "a" * 4097},
        [1],
    ],
)
def test_bad_requests_are_422(web: TestClient, body: Any) -> None:
    answer = web.post("/retrieve", json=body)
    assert answer.status_code == 422 and answer.json()["detail"]


def test_bad_bodies(web: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert web.post("/retrieve", content=b"{nope").status_code == 422
    assert web.post("/retrieve", content=b"\xff").status_code == 422
    assert web.post("/retrieve", content=rb'{"query": "half \ud800 of a pair"}').status_code == 422
    assert web.get("/retrieve").status_code == 405
    monkeypatch.setattr(server, "LARGEST_BODY", 100)
    assert web.post("/retrieve", json={"query": "a" * 200}).status_code == 413


class Slow:
    """A retriever that can be held, and counts its batches."""

    def __init__(self) -> None:
        self.batches: list[tuple[list[str], int]] = []
        self.broken = False

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        self.batches.append((list(queries), k))
        if self.broken:
            raise OSError("disk gone: /secret/path")
        return [[Passage(f"{query}{n}", "", query, -n) for n in range(k)] for query in queries]

    def info(self) -> dict[str, Any]:
        return {"engine": "slow", "passages": 0, "corpus_sha256": None}

    def close(self) -> None:
        pass


def test_requests_that_wait_become_one_batch() -> None:
    inner = Slow()
    batcher = Batcher(inner)

    async def all_at_once() -> list[list[list[Passage]]]:
        asked = [Asked([f"q{n}", f"r{n}"], 1 + n % 3, False) for n in range(20)]
        return await asyncio.gather(*(batcher.search(each) for each in asked))

    answers = asyncio.run(all_at_once())
    assert len(inner.batches) <= 1 + THREADS and sum(len(queries) for queries, _ in inner.batches) == 40
    for n, lists in enumerate(answers):
        assert [[p.id for p in hits] for hits in lists] == [[f"{q}{n}{i}" for i in range(1 + n % 3)] for q in "qr"]


def test_a_batch_is_not_larger_than_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "PER_BATCH", 5)
    inner = Slow()
    batcher = Batcher(inner)

    async def all_at_once() -> None:
        await asyncio.gather(*(batcher.search(Asked(["a", "b"], 1, False)) for _ in range(4)))

    asyncio.run(all_at_once())
    assert max(len(queries) for queries, _ in inner.batches) == 4


def test_a_failing_search_is_a_500_without_details(capsys: pytest.CaptureFixture[str]) -> None:
    inner = Slow()
    inner.broken = True
    with TestClient(make_app(inner)) as web:
        answer = web.post("/retrieve", json={"query": "a"})
        assert answer.status_code == 500 and "secret" not in json.dumps(answer.json())
        assert "disk gone" in capsys.readouterr().err  # in the server's log
        inner.broken = False
        assert web.post("/retrieve", json={"query": "a"}).status_code == 200


def test_what_is_served_and_how(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}

    def run(self: uvicorn.Server, sockets: list[socket.socket]) -> None:
        seen.update(config=self.config, bound=sockets[0].getsockname(), protocol=sockets[0].proto)
        sockets[0].close()

    monkeypatch.setattr(uvicorn.Server, "run", run)
    server.serve(Slow(), "127.0.0.1", 0, lambda url: seen.update(url=url))
    assert seen["url"] == "http://127.0.0.1:{}".format(seen["bound"][1])
    assert seen["protocol"] == socket.IPPROTO_TCP  # or answers wait 40 ms for Nagle's algorithm
    assert seen["config"].limit_concurrency == most_connections()


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(PrerequisiteError, match="cannot listen on"):
            server.serve(Slow(), "127.0.0.1", taken.getsockname()[1], print)


def test_requests_that_do_not_arrive_give_their_place_back() -> None:
    """Half requests fill every place; a whole one is answered, and each half one is dropped in time."""

    async def scenario() -> tuple[bytes, list[bytes]]:
        config = uvicorn.Config(
            make_app(Slow()), http=bounded_protocol(3, arrival=0.5), lifespan="off", log_config=None, ws="none"
        )
        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        task = asyncio.create_task(server_of(config).serve(sockets=[listening]))
        address = listening.getsockname()
        await asyncio.sleep(0.1)
        held = [await asyncio.open_connection(*address) for _ in range(6)]
        for _, writer in held:
            writer.write(b"POST /retrieve HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 3)
        ends = [await asyncio.wait_for(end_of(each), 3) for each, _ in held]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return answer, ends

    answer, ends = asyncio.run(scenario())
    assert answer.startswith(b"HTTP/1.1 200") and ends == [b""] * 6


async def end_of(reader: asyncio.StreamReader) -> bytes:
    """What the server says until it closes or resets the connection."""
    try:
        return await reader.read()
    except ConnectionError:
        return b""


def server_of(config: uvicorn.Config) -> uvicorn.Server:
    made = uvicorn.Server(config)
    made.install_signal_handlers = lambda: None  # type: ignore[method-assign,attr-defined]
    return made


def test_the_log_has_a_line_for_each_event() -> None:
    record = logging.LogRecord("asyncio", logging.ERROR, "", 0, "lost\n\x1b[2J %s", ("http://u:pw@h",), None)
    try:
        raise OSError("a\nb")
    except OSError:
        record.exc_info = sys.exc_info()
    assert OneLine().format(record) == "error: lost [2J http://***@h (OSError('a\\nb'))"
