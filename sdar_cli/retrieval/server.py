"""``sdar retriever serve``: an index behind HTTP, in both ``/retrieve`` dialects (``wire``), with /health and /info.

While one batch is searched, the requests that arrive wait and then become the next batch: many clients with one query
each are served like one client with many.  It has no authentication; it binds to 127.0.0.1 by default.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

from sdar_cli.base.errors import PrerequisiteError
from sdar_cli.retrieval.corpus import SURROGATES
from sdar_cli.retrieval.passages import MAX_K, Passage, Retriever
from sdar_cli.retrieval.wire import result

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request

DEFAULT_K = 3
MOST_QUERIES = 1024
"""Per request."""
LONGEST_QUERY = 4096
"""Characters."""
LARGEST_BODY = 8 << 20
"""Bytes."""
MOST_AT_ONCE = 2048
"""Connections and requests in work; what comes beyond them is a 503, which clients try again."""
PER_BATCH = 1024
"""Queries searched at once."""


class BadRequestError(Exception):
    """A request that is refused.  ``status``: HTTP."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class Asked(NamedTuple):
    """A checked request."""

    queries: list[str]
    k: int
    with_scores: bool


def read_request(body: bytes, default_k: int = DEFAULT_K) -> Asked:
    """A request's body.  Raises BadRequestError."""
    try:
        values = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(422, f"the body is not JSON: {error}") from error
    if not isinstance(values, dict) or ("query" in values) == ("queries" in values):
        raise BadRequestError(422, "give either queries, a list of texts, or query, a text")
    queries = values["queries"] if "queries" in values else [values["query"]]
    if not isinstance(queries, list) or not all(isinstance(query, str) for query in queries):
        raise BadRequestError(422, "queries must be texts")
    if len(queries) > MOST_QUERIES:
        raise BadRequestError(422, f"{len(queries)} queries, at most {MOST_QUERIES} per request")
    if any(len(query) > LONGEST_QUERY for query in queries):
        raise BadRequestError(422, f"a query is longer than {LONGEST_QUERY} characters")
    if any(SURROGATES.search(query) for query in queries):
        raise BadRequestError(422, "a query is not Unicode text: it holds half of a character pair")
    k = values.get("topk") or default_k
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= MAX_K:
        raise BadRequestError(422, f"topk must be 1 to {MAX_K}")
    return Asked(queries, k, bool(values.get("return_scores", False)))


class Batcher:
    """Searches in one thread, with everything that has arrived since the last search."""

    def __init__(self, retriever: Retriever) -> None:
        self._retriever = retriever
        self._waiting: list[tuple[Asked, asyncio.Future[list[list[Passage]]]]] = []
        self._thread = ThreadPoolExecutor(1)
        self._task: asyncio.Task[None] | None = None
        self.searches = 0

    async def search(self, asked: Asked) -> list[list[Passage]]:
        """The passages of one request."""
        answer: asyncio.Future[list[list[Passage]]] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, answer))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        return await answer

    async def _work(self) -> None:
        while self._waiting:
            batch, self._waiting = self._next()
            queries = [query for asked, _ in batch for query in asked.queries]
            most = max(asked.k for asked, _ in batch)
            try:
                found = await asyncio.get_running_loop().run_in_executor(self._thread, self._find, queries, most)
            except Exception as error:  # reported to every client of the batch, and logged by the endpoint
                for _, answer in batch:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            at = 0
            for asked, answer in batch:
                if not answer.done():
                    answer.set_result([hits[: asked.k] for hits in found[at : at + len(asked.queries)]])
                at += len(asked.queries)

    def _next(self) -> tuple[list[Any], list[Any]]:
        """The requests of the next batch, and the rest."""
        total, taken = 0, 0
        for asked, _ in self._waiting:
            if taken and total + len(asked.queries) > PER_BATCH:
                break
            total += len(asked.queries)
            taken += 1
        return self._waiting[:taken], self._waiting[taken:]

    def _find(self, queries: list[str], k: int) -> list[list[Passage]]:
        self.searches += 1
        return self._retriever.search(queries, k)


def make_app(retriever: Retriever, default_k: int = DEFAULT_K) -> Starlette:
    """The ASGI application."""
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    batcher = Batcher(retriever)
    info = retriever.info()

    async def retrieve(request: Request) -> JSONResponse:
        try:
            asked = read_request(await _body(request), default_k)
        except BadRequestError as error:
            return JSONResponse({"detail": str(error)}, error.status)
        try:
            found = await batcher.search(asked) if asked.queries else []
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            return JSONResponse({"detail": f"the search failed: {type(error).__name__}"}, 500)
        return JSONResponse({"result": result(found, asked.with_scores)})

    async def health(request: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    async def about(request: Request) -> JSONResponse:
        return JSONResponse({**info, "dialects": ["queries", "query"], "default_topk": default_k, "max_topk": MAX_K})

    routes = [Route("/retrieve", retrieve, methods=["POST"]), Route("/health", health), Route("/info", about)]
    return Starlette(routes=routes)


async def _body(request: Request) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > LARGEST_BODY:
            raise BadRequestError(413, f"the body is larger than {LARGEST_BODY} bytes")
        parts.append(part)
    return b"".join(parts)


def serve(retriever: Retriever, host: str, port: int, ready: Callable[[str], None], default_k: int = DEFAULT_K) -> None:
    """Serve until interrupted.  port 0 takes a free one; ``ready`` gets the address once it listens.

    Raises PrerequisiteError where the port is taken.
    """
    import uvicorn

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns off Nagle's delay, 40 ms per request, only where the socket names its protocol.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        fix = "choose another --port, or 0 for a free one"
        raise PrerequisiteError(f"cannot listen on {host}:{port}", why=str(error), fix=fix) from error
    listening.listen(1024)
    shown = f"[{host}]" if ":" in host else host
    ready(f"http://{shown}:{listening.getsockname()[1]}")
    config = uvicorn.Config(
        make_app(retriever, default_k),
        log_level="warning",
        access_log=False,
        lifespan="off",
        limit_concurrency=MOST_AT_ONCE,
    )
    uvicorn.Server(config).run(sockets=[listening])
