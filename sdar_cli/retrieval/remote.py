"""A retriever behind HTTP: our server, Search-R1's, or the SDAR release's, at one address or several.

A server is asked for ``/info`` first, and again after a failure; one that has none is tried with many queries per
request, and with one after a 422.  Connection errors, timeouts and the statuses 429, 500, 502, 503 and 504 are tried
again, at the next address first, until the budget is spent; a server that failed rests for some
seconds.  Responses that are no results (broken JSON, a wrong number of lists) are tried once more.  All addresses must
serve the same corpus.  Nothing of an error is ever a passage.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import isfinite
from typing import Any, NamedTuple, TypeVar

import httpx

from sdar_cli.base.errors import ConfigError
from sdar_cli.base.retry import AGAIN, BUDGET, TryAgainError, retry_with_deadline
from sdar_cli.base.text import mask, whole_characters
from sdar_cli.retrieval.passages import Passage, RetrieverUnavailableError, no_answer
from sdar_cli.retrieval.wire import read_result

CONNECT, READ = 2.0, 10.0
"""Seconds without a connection, and without a byte of the answer, after which a try has failed."""
PER_REQUEST = 256
"""Queries per request."""
AT_ONCE = 16
"""Requests at once to a server that takes one query each."""
REST = 5.0
"""Seconds a server that failed is asked last."""
LARGEST = 64 << 20
"""Bytes of an answer; a longer one is refused."""
LONGEST_INFO = 200
"""Characters of a text in ``/info`` that are kept."""
AUTH = "SDAR_RETRIEVER_AUTH"
"""Environment variable with USER:PASSWORD for servers behind a gateway; a configuration may not hold one."""
GARBLED = 2
"""Unreadable responses to one search after which it is given up."""
Found = TypeVar("Found")


@dataclass
class _Server:
    url: str
    many: bool | None = None
    """Whether it takes many queries per request; None until that is known."""
    asked: bool = False
    """Whether it has been asked for /info since its last failure."""
    rests_until: float = 0.0


class Response(NamedTuple):
    """What came over HTTP, whole."""

    status: int
    body: bytes


class RemoteRetriever:
    """A client of one or several servers of the same corpus.

    urls: base addresses, without ``/retrieve``.  budget: seconds per request with all its tries; connect, read: of
    one try.
    """

    def __init__(
        self, urls: Sequence[str], *, budget: float = BUDGET, connect: float = CONNECT, read: float = READ
    ) -> None:
        if not urls:
            raise ValueError("no address")
        self._servers = [_Server(url.rstrip("/").removesuffix("/retrieve")) for url in urls]
        self._turn = itertools.count()
        self._budget, self._connect, self._read = budget, connect, read
        self._client = httpx.Client(trust_env=False, auth=credentials())
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self._corpus: object = None

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        """At most ``k`` passages per query.  Raises RetrieverUnavailableError once the budget is spent."""
        out: list[list[Passage]] = []
        for start in range(0, len(queries), PER_REQUEST):
            out += self._request(list(queries[start : start + PER_REQUEST]), k)
        return out

    def info(self) -> Mapping[str, object]:
        """What the first server that answers reports of itself; little where it is not ours."""
        body = retry_with_deadline(
            lambda until: self._round(lambda server: self._get_info(server, until)), self._budget, no_answer
        )
        unknown = {"engine": "remote", "passages": None, "corpus_sha256": None}
        return {**unknown, **body, "urls": [mask(server.url) for server in self._servers]}

    def healthy(self) -> dict[str, bool]:
        """Whether each address answers now."""
        found = {}
        for server in self._servers:
            try:
                self._get_info(server, time.monotonic() + self._connect + self._read)
                found[server.url] = True
            except TryAgainError:
                found[server.url] = False
        return found

    def close(self) -> None:
        """Close the connections."""
        self._pool.shutdown(wait=False)
        self._client.close()

    def _request(self, queries: list[str], k: int) -> list[list[Passage]]:
        garbled = 0

        def ask(server: _Server, until: float) -> list[list[Passage]]:
            nonlocal garbled
            try:
                return self._ask(server, queries, k, until)
            except (ValueError, RecursionError) as error:
                garbled += 1
                if garbled >= GARBLED:
                    raise RetrieverUnavailableError(
                        f"{server.url} does not answer as a retriever", why=str(error), fix="check what listens there"
                    ) from error
                raise TryAgainError(str(error)) from error

        return retry_with_deadline(
            lambda until: self._round(lambda server: ask(server, until)), self._budget, no_answer
        )

    def _round(self, ask: Callable[[_Server], Found]) -> Found:
        """The first answer of any server.  Raises TryAgainError that names what each of them did."""
        failures = []
        for server in self._in_turn():
            try:
                answer = ask(server)
            except TryAgainError as error:
                server.rests_until = time.monotonic() + REST
                server.asked = False
                failures.append(f"{server.url}: {error}")
            else:
                server.rests_until = 0.0
                return answer
        raise TryAgainError("; ".join(failures))

    def _in_turn(self) -> list[_Server]:
        """Every server, another one first each time; those that rest come last."""
        start = next(self._turn) % len(self._servers)
        turned = self._servers[start:] + self._servers[:start]
        now = time.monotonic()
        return sorted(turned, key=lambda server: server.rests_until > now)

    def _ask(self, server: _Server, queries: list[str], k: int, until: float) -> list[list[Passage]]:
        """One try.  Raises TryAgainError, ValueError for a response that is no result, or the final error."""
        if not server.asked:
            self._get_info(server, until)
        if server.many is not False:
            response = self._post(server, {"queries": queries, "topk": k, "return_scores": True}, until)
            if response.status != 422 or server.many:
                found = self._parse(server, response, len(queries), k)
                server.many = True
                return found
            server.many = False
        bodies = [{"query": query, "topk": k, "return_scores": True} for query in queries]
        responses = self._pool.map(lambda body: self._post(server, body, until), bodies)
        return [self._parse(server, response, 1, k)[0] for response in responses]

    def _get_info(self, server: _Server, until: float) -> Mapping[str, object]:
        """The server's ``/info``, empty where it has none.  Raises RetrieverUnavailableError for another corpus."""
        response = self._send("GET", f"{server.url}/info", until)
        body = _read_info(response.body) if response.status == 200 else {}
        corpus = body.get("corpus_sha256")
        if corpus and self._corpus and corpus != self._corpus:
            raise RetrieverUnavailableError(
                f"{server.url} serves another corpus",
                why=f"sha256 {str(corpus)[:12]}…; another address, or this one before, had {str(self._corpus)[:12]}…",
                fix="serve the same index at every address, and start again",
            )
        self._corpus = self._corpus or corpus
        server.asked = True
        server.many = True if body else server.many
        return body

    def _post(self, server: _Server, body: Mapping[str, object], until: float) -> Response:
        return self._send("POST", f"{server.url}/retrieve", until, body)

    def _send(self, method: str, url: str, until: float, body: Mapping[str, object] | None = None) -> Response:
        """One request.  An answer that trickles is given up at ``until``."""
        read = max(0.05, min(self._read, until - time.monotonic()))
        timeout = httpx.Timeout(read, connect=min(self._connect, read))
        parts, size = [], 0
        try:
            with self._client.stream(method, url, json=body, timeout=timeout) as response:
                for part in response.iter_bytes():
                    parts.append(part)
                    size += len(part)
                    if size > LARGEST:
                        raise RetrieverUnavailableError(
                            f"{url} does not answer as a retriever",
                            why=f"its answer is longer than {LARGEST >> 20} MB",
                            fix="check what listens there",
                        )
                    if time.monotonic() > until:
                        raise TryAgainError("the answer took too long")
        except httpx.RequestError as error:
            raise TryAgainError(f"{type(error).__name__}: {error}") from error
        except httpx.InvalidURL as error:
            raise RetrieverUnavailableError(f"{url} is no address", why=str(error)) from error
        if response.status_code in AGAIN:
            raise TryAgainError(f"HTTP {response.status_code}")
        return Response(response.status_code, b"".join(parts))

    def _parse(self, server: _Server, response: Response, queries: int, k: int) -> list[list[Passage]]:
        if response.status != 200:
            raise RetrieverUnavailableError(
                f"{server.url} refused the request: HTTP {response.status}",
                why=response.body[:200].decode("utf-8", "replace"),
            )
        return read_result(json.loads(response.body), queries, k)


def credentials() -> tuple[str, str] | None:
    """User and password of ``$SDAR_RETRIEVER_AUTH``; None where it is not set.  Raises ConfigError without a colon."""
    given = os.environ.get(AUTH)
    if not given:
        return None
    user, colon, password = given.partition(":")
    if not colon:
        raise ConfigError(f"${AUTH} holds no colon", fix=f"export {AUTH}=USER:PASSWORD")
    return user, password


def _read_info(body: bytes) -> Mapping[str, object]:
    """What a server says of itself, as far as it can be recorded: numbers, short texts, and objects of those.

    {} for what is no JSON object: other servers have no ``/info``.
    """
    try:
        row = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(row, dict):
        return {}
    kept = _plain_items(row)
    for key, kind in (("engine", str), ("passages", int), ("corpus_sha256", str)):
        if not isinstance(kept.get(key), kind):
            kept.pop(key, None)
    return {key: value for key, value in kept.items() if value is not None}


def _plain_items(row: Mapping[str, Any]) -> dict[str, Any]:
    return {whole_characters(key[:LONGEST_INFO]): _plain(value) for key, value in row.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        inner = _plain_items({key: each for key, each in value.items() if not isinstance(each, dict | list)})
        return {key: each for key, each in inner.items() if each is not None}
    if isinstance(value, str):
        return whole_characters(value[:LONGEST_INFO])
    return value if isinstance(value, bool | int) or (isinstance(value, float) and isfinite(value)) else None
