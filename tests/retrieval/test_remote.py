"""The client against servers of both releases, and against servers that fail."""

from __future__ import annotations

import json
import socket
import threading
import time
from typing import Any

import pytest
from retrieval_material import Site, hit, listening, raw, released_many, released_one

from sdar_cli.base import retry
from sdar_cli.base.errors import ConfigError
from sdar_cli.retrieval import remote
from sdar_cli.retrieval.passages import Passage, RetrieverUnavailableError
from sdar_cli.retrieval.remote import RemoteRetriever


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.02)
    monkeypatch.setattr(retry, "LONGEST_WAIT", 0.05)
    monkeypatch.setattr(remote, "REST", 0.2)


def client(*urls: str, budget: float = 1.0, read: float = 0.5) -> RemoteRetriever:
    return RemoteRetriever(urls, budget=budget, connect=0.5, read=read)


def free_url() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.mark.parametrize("server", [released_many, released_one])
def test_both_releases_are_understood(server: Any) -> None:
    with listening(server) as site:
        retriever = client(site.url)
        found = retriever.search(["who", "where"], 2)
        assert found[0] == [Passage("who-0", "T who", "text 0", 9.0), Passage("who-1", "T who", "text 1", 8.0)]
        assert [passage.id for passage in found[1]] == ["where-0", "where-1"]
        asked = len(site.posts())
        retriever.search(["who", "where"], 2)
        assert len(site.posts()) - asked == (1 if server is released_many else 2)  # the dialect is known by now
        assert retriever.info()["corpus_sha256"] is None


def test_many_queries_are_cut_into_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PER_REQUEST", 3)
    with listening(released_many) as site:
        found = client(site.url).search([f"q{n}" for n in range(8)], 1)
        assert [len(body["queries"]) for body in site.posts()] == [3, 3, 2]
        assert [hits[0].id for hits in found] == [f"q{n}-0" for n in range(8)]


def test_bare_documents_and_documents_without_ids() -> None:
    def answer(path: str, body: Any) -> tuple[int, bytes]:
        docs = [{"title": '"A"', "text": "b", "contents": "x"}, {"contents": '"C"\nd\ne'}]
        return 200, json.dumps({"result": [docs]}).encode()

    with listening(answer) as site:
        first, second = client(site.url).search(["q"], 5)[0]
        assert (first.title, first.text, second.title, second.text) == ("A", "b", "C", "d\ne")
        assert first.score > second.score
        assert first.id and second.id and first.id != second.id


def test_more_documents_than_wanted_are_cut() -> None:
    with listening(lambda p, b: (200, json.dumps({"result": [[hit("q", n) for n in range(9)]]}).encode())) as site:
        assert len(client(site.url).search(["q"], 4)[0]) == 4


def test_a_dead_server_costs_the_budget_and_is_named() -> None:
    url = free_url()
    began = time.monotonic()
    with pytest.raises(RetrieverUnavailableError, match=r"no retriever answered within 0\.3 s") as caught:
        client(url, budget=0.3).search(["q"], 3)
    assert url in caught.value.why and "ConnectError" in caught.value.why
    assert 0.1 < time.monotonic() - began < 5


def test_a_hanging_server_costs_the_budget() -> None:
    release = threading.Event()

    def hang(path: str, body: Any) -> tuple[int, bytes]:
        release.wait(10)
        return 200, b"{}"

    with listening(hang) as site:
        try:
            with pytest.raises(RetrieverUnavailableError) as caught:
                client(site.url, budget=0.4, read=0.1).search(["q"], 3)
            assert "ReadTimeout" in caught.value.why
        finally:
            release.set()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n"


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"", "RemoteProtocolError"),
        (HEAD + b'\r\n{"result": [[', "RemoteProtocolError"),  # closed in the middle
        (b"\x16\x03\x01 no HTTP\r\n\r\n", "RemoteProtocolError"),
        (HEAD + b"Content-Encoding: gzip\r\n\r\n" + b"x" * 1000, "DecodingError"),
    ],
)
def test_what_is_no_http_answer_is_tried_again(sent: bytes, words: str) -> None:
    connections = []

    def answer(connection: socket.socket) -> None:
        connections.append(1)
        connection.sendall(sent)

    with raw(answer) as url, pytest.raises(RetrieverUnavailableError) as caught:
        client(url, budget=0.2).search(["q"], 3)
    assert words in caught.value.why and len(connections) > 1


def test_an_answer_that_trickles_ends_with_the_budget() -> None:
    stopped = threading.Event()

    def answer(connection: socket.socket) -> None:
        connection.sendall(HEAD + b"\r\n")
        while not stopped.wait(0.02):
            connection.sendall(b" ")

    with raw(answer) as url:
        with pytest.raises(RetrieverUnavailableError) as caught:
            client(url, budget=0.4, read=10).search(["q"], 3)  # every byte comes within the timeout of a read
        stopped.set()
    assert "the answer took too long" in caught.value.why


def test_every_address_that_failed_is_named() -> None:
    dead = free_url()
    with listening(lambda path, body: (503, b"")) as busy, pytest.raises(RetrieverUnavailableError) as caught:
        client(dead, busy.url, budget=0.2).search(["q"], 1)
    assert f"{dead}: ConnectError" in caught.value.why and f"{busy.url}: HTTP 503" in caught.value.why


def test_addresses_with_unlike_corpora_are_refused() -> None:
    def serving(corpus: str) -> Any:
        about = json.dumps({"engine": "bm25", "corpus_sha256": corpus * 64}).encode()
        return lambda path, body: (200, about) if path == "/info" else released_many(path, body)

    with listening(serving("a")) as first, listening(serving("a")) as second, listening(serving("b")) as third:
        retriever = client(first.url, second.url)
        assert [retriever.search(["q"], 1)[0][0].id for _ in range(4)] == ["q-0"] * 4
        retriever = client(first.url, third.url)
        retriever.search(["q"], 1)
        with pytest.raises(RetrieverUnavailableError, match=third.url + " serves another corpus") as caught:
            retriever.search(["q"], 1)
        assert "bbbbbbbbbbbb" in caught.value.why and "aaaaaaaaaaaa" in caught.value.why


def test_a_server_that_comes_back_with_another_corpus_is_refused() -> None:
    state = {"corpus": "a" * 64, "status": 200}

    def answer(path: str, body: Any) -> tuple[int, bytes]:
        if path == "/info":
            return 200, json.dumps({"engine": "bm25", "corpus_sha256": state["corpus"]}).encode()
        return (503, b"") if state["status"] == 503 else released_many(path, body)

    with listening(answer) as site:
        retriever = client(site.url, budget=0.2)
        retriever.search(["q"], 1)
        state.update(status=503)
        with pytest.raises(RetrieverUnavailableError, match="no retriever answered"):
            retriever.search(["q"], 1)
        state.update(status=200, corpus="b" * 64)
        with pytest.raises(RetrieverUnavailableError, match="serves another corpus"):
            retriever.search(["q"], 1)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_passing_failure_is_tried_again(status: int) -> None:
    failures = [status] * 3

    def answer(path: str, body: Any) -> tuple[int, bytes]:
        if path == "/retrieve" and failures:
            return failures.pop(), b"busy"
        return released_many(path, body)

    with listening(answer) as site:
        assert client(site.url).search(["q"], 1)[0][0].id == "q-0"
        assert len(site.posts()) == 4


def test_an_error_that_stays_is_not_tried_again() -> None:
    with listening(lambda path, body: (404 if path == "/info" else 401, b"who are you")) as site:
        with pytest.raises(RetrieverUnavailableError, match="HTTP 401") as caught:
            client(site.url).search(["q"], 1)
        assert caught.value.why == "who are you" and len(site.posts()) == 1


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"result": [[{"docu', "Unterminated"),
        (b"<html>", "Expecting value"),
        (b'{"result": [[], []]}', "2 results for 1 queries"),
        (b'{"result": []}', "0 results for 1 queries"),
        (b'{"result": {}}', "no list"),
        (b'[["a"]]', "no list"),
        (b'{"result": ["text"]}', "a result is no list"),
        (b'{"result": [["Search error: server on fire"]]}', "no document"),
        (b'{"result": [[{"document": {"id": 1}, "score": 1.0}]]}', "neither text nor contents"),
        (b'{"result": [[{"document": {"text": "x"}, "score": "high"}]]}', "no document with a score"),
    ],
)
def test_a_garbled_answer_is_tried_once_more_and_never_a_passage(body: bytes, words: str) -> None:
    answers = [body, body]

    def answer(path: str, asked: Any) -> tuple[int, bytes]:
        if path == "/retrieve" and answers:
            return 200, answers.pop()
        return released_many(path, asked)

    with listening(answer) as site:
        with pytest.raises(RetrieverUnavailableError) as caught:
            client(site.url).search(["q"], 1)
        assert words in caught.value.why and site.url in caught.value.what
        assert len(site.posts()) == 2
        answers.append(body)  # broken once: the second try counts
        assert client(site.url).search(["q"], 1)[0][0].id == "q-0"


def test_another_address_takes_over_and_the_first_comes_back() -> None:
    broken = threading.Event()
    broken.set()

    def sometimes(path: str, body: Any) -> tuple[int, bytes]:
        return (503, b"") if broken.is_set() else released_many(path, body)

    with listening(sometimes) as first, listening(released_many) as second:
        retriever = client(first.url, second.url)
        for _ in range(4):
            assert retriever.search(["q"], 1)[0][0].id == "q-0"
        assert len(second.posts()) == 4
        assert retriever.healthy() == {first.url: False, second.url: True}
        broken.clear()
        time.sleep(0.25)
        for _ in range(4):
            retriever.search(["q"], 1)
        assert len(first.posts()) >= 2


def test_an_outage_within_the_budget_loses_nothing() -> None:
    down = threading.Event()
    down.set()

    def answer(path: str, body: Any) -> tuple[int, bytes]:
        return (503, b"restarting") if down.is_set() else released_many(path, body)

    with listening(answer) as site:
        threading.Timer(0.5, down.clear).start()
        assert [hits[0].id for hits in client(site.url, budget=5).search(["a", "b"], 1)] == ["a-0", "b-0"]


def test_the_budget_of_a_run_outlasts_thirty_seconds() -> None:
    assert retry.BUDGET > 30 + retry.LONGEST_WAIT * 1.25 + remote.CONNECT


def test_an_address_that_is_none() -> None:
    with pytest.raises(RetrieverUnavailableError):
        client("http://[bad", budget=0.2).search(["q"], 1)
    with pytest.raises(ValueError, match="no address"):
        client()


def test_a_site_counts_its_requests() -> None:
    with listening(released_many) as site:
        assert isinstance(site, Site)
        client(site.url + "/retrieve").search(["q"], 1)
        assert [path for path, _ in site.asked] == ["/info", "/retrieve"]


@pytest.mark.parametrize("score", ["9" * 400, "9" * 5000, "NaN", "Infinity", "true", '"1"', "[" * 50_000])
def test_a_score_that_is_no_number_is_refused_by_address(score: str) -> None:
    body = b'{"result": [[{"document": {"id": "1", "text": "x"}, "score": ' + score.encode() + b"}]]}"
    with listening(lambda path, asked: (200, body)) as site:
        with pytest.raises(RetrieverUnavailableError) as caught:
            client(site.url).search(["q"], 1)
        assert site.url in str(caught.value)


def test_half_a_character_is_replaced() -> None:
    body = b'{"result": [[{"id": "\\udc00", "title": "\\ud83d", "text": "a\\ud83db"}]]}'
    with listening(lambda path, asked: (200, body)) as site:
        assert client(site.url).search(["q"], 1)[0] == [Passage("\ufffd", "\ufffd", "a\ufffdb", 0.0)]


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"corpus_sha256": ["x"], "passages": "many", "a": {"b": [1]}}', b"3"]
)
def test_odd_information_is_left_out(body: bytes) -> None:
    with listening(lambda path, asked: (200, body)) as site:
        info = client(site.url).info()
        assert (info["corpus_sha256"], info["passages"]) == (None, None)


def test_half_a_character_in_the_information_is_replaced() -> None:
    body = b'{"\xed\xa0\x80a": 1, "inner": {"\\udc00": "\\ud800"}}'
    with listening(lambda path, asked: (200, body)) as site:
        info = client(site.url).info()
        assert (info["\ufffda"], info["inner"]) == (1, {"\ufffd": "\ufffd"})


def test_an_endless_answer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "LARGEST", 1000)
    with (
        listening(lambda path, asked: (200, b" " * 2000)) as site,
        pytest.raises(RetrieverUnavailableError, match="does not answer as a retriever"),
    ):
        client(site.url).search(["q"], 1)


def test_a_password_comes_from_the_environment_and_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(remote.AUTH, "me:secret")
    assert remote.credentials() == ("me", "secret")
    monkeypatch.setenv(remote.AUTH, "secret")
    with pytest.raises(ConfigError, match="holds no colon"):
        remote.credentials()
    monkeypatch.delenv(remote.AUTH)
    with listening(released_many) as site:
        retriever = client(site.url.replace("//", "//me:secret@"))
        assert retriever.info()["urls"] == [site.url.replace("//", "//***@")]
