"""A small corpus, and HTTP servers that behave and misbehave on purpose."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROWS = [
    {"id": "p1", "contents": '"Velmora"\nVelmora is a port town on the river Tarn.'},
    {"id": "p2", "contents": '"Ada Brindle"\nAda Brindle was born in Velmora in 1931 and became a painter.'},
    {"id": "p3", "contents": '"River Tarn"\nThe river Tarn runs for 90 miles through the hills.'},
    {"id": "p4", "contents": '"Carl Dorrik"\nCarl Dorrik, a botanist, was born in 1940. He admired painters.'},
    {"id": "p5", "contents": '"Café Solbrek"\nA café in the hills that painters visit.'},
]


def write_corpus(path: Path, rows: list[Any] | None = None) -> Path:
    """A JSON-lines corpus of ``rows`` (texts are written as they are)."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in (ROWS if rows is None else rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


Answer = Callable[[str, Any], tuple[int, bytes]]
"""(path, the request's JSON or None) to (status, body)."""


class Site:
    """A server whose answers are a function that a test may change; ``asked`` holds the requests."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[tuple[str, Any]] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._reply(None)

            def do_POST(self) -> None:
                lines = self.rfile.read(int(self.headers["Content-Length"])).splitlines()
                values = [json.loads(line) for line in lines]
                self._reply(values[0] if len(values) == 1 else values)

            def _reply(self, body: Any) -> None:
                site.asked.append((self.path, body))
                status, data = site.answer(self.path, body)
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def posts(self) -> list[Any]:
        """The bodies of requests to /retrieve."""
        return [body for path, body in self.asked if path == "/retrieve"]


@contextmanager
def listening(answer: Answer) -> Iterator[Site]:
    """A site that serves while the block runs."""
    site = Site(answer)
    thread = threading.Thread(target=site.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        site.server.shutdown()
        site.server.server_close()
        thread.join(5)


@contextmanager
def raw(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """The address of a server that answers every connection by ``answer``, then closes it."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def work() -> None:
            with suppress(OSError):  # closed below
                while True:
                    connection, _ = server.accept()
                    with connection, suppress(OSError):
                        connection.recv(65536)
                        answer(connection)

        threading.Thread(target=work, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


def hit(query: str, number: int) -> dict[str, Any]:
    """A scored document about a query, in the layout of the releases."""
    return {"document": {"id": f"{query}-{number}", "contents": f'"T {query}"\ntext {number}'}, "score": 9.0 - number}


def released_many(path: str, body: Any) -> tuple[int, bytes]:
    """Search-R1's server: no /info, many queries."""
    if path != "/retrieve":
        return 404, b'{"detail":"Not Found"}'
    if "queries" not in body:
        return 422, b'{"detail":"queries"}'
    found = [[hit(query, n) for n in range(body["topk"])] for query in body["queries"]]
    return 200, json.dumps({"result": found}).encode()


def released_one(path: str, body: Any) -> tuple[int, bytes]:
    """The SDAR release's server: no /info, one query, one inner list."""
    if path != "/retrieve":
        return 404, b'{"detail":"Not Found"}'
    if "query" not in body:
        return 422, b'{"detail":"query"}'
    return 200, json.dumps({"result": [[hit(body["query"], n) for n in range(body["topk"])]]}).encode()
