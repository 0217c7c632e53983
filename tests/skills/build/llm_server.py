"""An OpenAI-compatible server on this machine that gives the answers of a test."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, HTTPServer

KEY = "sk-very-secret"
RULE = {
    "title": "Heat before moving",
    "when": "A hot object is asked for.",
    "brief": "heat it, then move it.",
    "advice": "Take it.\nHeat it in the microwave.\nOnly then move it to its target.",
    "evidence": [1, 3],
}
OTHER = {
    **RULE,
    "title": "Search once",
    "advice": "Visit every place once before you come back to any of them.",
    "evidence": [2],
}
GOOD = {"skills": [RULE, OTHER]}


def reply(content: object, **more: object) -> tuple[int, dict]:
    """An answer as OpenAI's API gives it."""
    text = content if isinstance(content, str | None) else json.dumps(content)
    return 200, {"choices": [{"message": {"role": "assistant", "content": text, **more}}]}


class Server:
    """Answers with ``answers`` in turn, the last one for ever, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: list[tuple] = []
        self.asked: list[dict] = []
        self.keys: list[str | None] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/chat/completions"
                outer.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                outer.keys.append(self.headers.get("Authorization"))
                status, body, *headers = outer.answers[min(len(outer.asked), len(outer.answers)) - 1]
                data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: object) -> None: ...

        self.http = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
