"""A retriever behind HTTP: our server, Search-R1's, or the SDAR release's, at one address or several.

A server is asked for ``/info`` once; one that has none is tried with many queries per request, and with one after a
422.  Connection errors, timeouts and the statuses 429, 500, 502, 503 and 504 are tried again, at the next address
first, until the budget is spent (45 seconds: longer than a restart); a server that failed rests for some seconds.
Responses that are no results (broken JSON, a wrong number of lists) are tried once more.  Nothing of an error is ever
a passage.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx

from sdar_cli.retrieval.types import Passage, RetrieverUnavailableError
from sdar_cli.retrieval.wire import read_result

BUDGET = 45.0
"""Seconds a search may take, all tries together."""
CONNECT, READ = 2.0, 10.0
PER_REQUEST = 256
"""Queries per request."""
AT_ONCE = 16
"""Requests at once to a server that takes one query each."""
AGAIN = frozenset({429, 500, 502, 503, 504})
REST = 5.0
"""Seconds a server that failed is asked last."""
GARBLED = 2
"""Unreadable responses to one search after which it is given up."""
FIRST_WAIT, LONGEST_WAIT = 0.2, 4.0


class TryAgainError(Exception):
    """A failure that may pass."""


@dataclass
class _Server:
    url: str
    many: bool | None = None
    """Whether it takes many queries per request; None until that is known."""
    rests_until: float = 0.0


class RemoteRetriever:
    """A client of one or several servers of the same corpus.

    urls: base addresses, without ``/retrieve``.  budget, connect, read: seconds.
    """

    def __init__(
        self, urls: Sequence[str], *, budget: float = BUDGET, connect: float = CONNECT, read: float = READ
    ) -> None:
        if not urls:
            raise ValueError("no address")
        self._servers = [_Server(url.rstrip("/").removesuffix("/retrieve")) for url in urls]
        self._turn = itertools.count()
        self._budget = budget
        self._client = httpx.Client(timeout=httpx.Timeout(read, connect=connect), trust_env=False)
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self._rng = random.Random()

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        """At most ``k`` passages per query.  Raises RetrieverUnavailableError once the budget is spent."""
        until = time.monotonic() + self._budget
        out: list[list[Passage]] = []
        for start in range(0, len(queries), PER_REQUEST):
            out += self._persist(list(queries[start : start + PER_REQUEST]), k, until)
        return out

    def info(self) -> dict[str, Any]:
        """What the first server that answers says of itself; little where it is not ours."""
        until = time.monotonic() + self._budget
        body = self._until(lambda server: self._info(server), until)
        return {
            "engine": "remote",
            "passages": None,
            "corpus_sha256": None,
            **body,
            "urls": [s.url for s in self._servers],
        }

    def healthy(self) -> dict[str, bool]:
        """Whether each address answers now."""
        found = {}
        for server in self._servers:
            try:
                self._info(server)
                found[server.url] = True
            except TryAgainError:
                found[server.url] = False
        return found

    def close(self) -> None:
        """Close the connections."""
        self._pool.shutdown(wait=False)
        self._client.close()

    def _persist(self, queries: list[str], k: int, until: float) -> list[list[Passage]]:
        garbled = 0

        def ask(server: _Server) -> list[list[Passage]]:
            nonlocal garbled
            try:
                return self._ask(server, queries, k)
            except ValueError as error:
                garbled += 1
                if garbled >= GARBLED:
                    raise RetrieverUnavailableError(
                        f"{server.url} does not answer as a retriever", why=str(error), fix="check what listens there"
                    ) from error
                raise TryAgainError(str(error)) from error

        return self._until(ask, until)

    def _until(self, ask: Any, until: float) -> Any:
        """The first answer of any server before ``until``; the last failure after it."""
        wait, last = FIRST_WAIT, ""
        while True:
            for server in self._in_turn():
                try:
                    answer = ask(server)
                except TryAgainError as error:
                    server.rests_until = time.monotonic() + REST
                    last = f"{server.url}: {error}"
                else:
                    server.rests_until = 0.0
                    return answer
            pause = wait * self._rng.uniform(0.75, 1.25)
            if time.monotonic() + pause > until:
                raise RetrieverUnavailableError(
                    f"no retriever answered within {self._budget:g} s",
                    why=last,
                    fix="sdar retriever serve --index DIR, or give another address",
                )
            time.sleep(pause)
            wait = min(2 * wait, LONGEST_WAIT)

    def _in_turn(self) -> list[_Server]:
        """Every server, another one first each time; those that rest come last."""
        start = next(self._turn) % len(self._servers)
        turned = self._servers[start:] + self._servers[:start]
        now = time.monotonic()
        return sorted(turned, key=lambda server: server.rests_until > now)

    def _ask(self, server: _Server, queries: list[str], k: int) -> list[list[Passage]]:
        """One try.  Raises TryAgainError, ValueError for a response that is no result, or the final error."""
        if server.many is None:
            body = self._info(server)
            server.many = True if body else None
        if server.many is not False:
            response = self._post(server, {"queries": queries, "topk": k, "return_scores": True})
            if response.status_code != 422 or server.many:
                found = self._read(server, response, len(queries), k)
                server.many = True
                return found
            server.many = False
        bodies = [{"query": query, "topk": k, "return_scores": True} for query in queries]
        responses = self._pool.map(lambda body: self._post(server, body), bodies)
        return [self._read(server, response, 1, k)[0] for response in responses]

    def _info(self, server: _Server) -> dict[str, Any]:
        """The server's ``/info``; empty where it has none."""
        response = self._send("GET", f"{server.url}/info")
        if response.status_code != 200:
            return {}
        try:
            body = response.json()
        except ValueError:
            return {}
        return body if isinstance(body, dict) else {}

    def _post(self, server: _Server, body: dict[str, Any]) -> httpx.Response:
        return self._send("POST", f"{server.url}/retrieve", json=body)

    def _send(self, method: str, url: str, **more: Any) -> httpx.Response:
        try:
            response = self._client.request(method, url, **more)
        except httpx.TransportError as error:
            raise TryAgainError(f"{type(error).__name__}: {error}") from error
        except httpx.InvalidURL as error:
            raise RetrieverUnavailableError(f"{url} is no address", why=str(error)) from error
        if response.status_code in AGAIN:
            raise TryAgainError(f"HTTP {response.status_code}")
        return response

    def _read(self, server: _Server, response: httpx.Response, queries: int, k: int) -> list[list[Passage]]:
        if response.status_code != 200:
            raise RetrieverUnavailableError(
                f"{server.url} refused the request: HTTP {response.status_code}", why=response.text[:200]
            )
        return read_result(response.json(), queries, k)
