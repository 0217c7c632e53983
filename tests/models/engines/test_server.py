"""The server engine against a small HTTP server: what it sends, what it reads, and how it fails."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import torch

from sdar_cli.base.errors import ConfigError, PrerequisiteError, RunFailedError
from sdar_cli.config.schema import EngineConfig
from sdar_cli.models.engine import Sampling, generate
from sdar_cli.models.engines.server import ServerEngine


class Fake(ThreadingHTTPServer):
    """Answers with the prompt's last token, then token 2; ``slow``: seconds by prompt length."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.models: Any = {"data": [{"id": "tiny", "root": "/models/tiny", "max_model_len": 200}]}
        self.bodies: list[dict[str, Any]] = []
        self.answer: Any = None
        self.status = 200
        self.slow: dict[int, float] = {}
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Fake

    def do_GET(self) -> None:
        self.reply(self.server.models)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.bodies.append(body)
        time.sleep(self.server.slow.get(len(body["prompt"]), 0.0))
        ids = [body["prompt"][-1], 2]
        good = {"choices": [{"token_ids": ids, "logprobs": {"token_logprobs": [-0.5, -0.25]}}]}
        self.reply(self.server.answer or good)

    def reply(self, content: Any) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *words: Any) -> None:
        """Nothing on the screen."""


@pytest.fixture
def server() -> Iterator[Fake]:
    with Fake() as made:
        thread = threading.Thread(target=made.serve_forever, daemon=True)
        thread.start()
        yield made
        made.shutdown()


@pytest.fixture
def connect(server, model, tokenizer):
    def made(served: str | None = "tiny", **settings: Any) -> ServerEngine:
        given = {"name": "server", "url": server.url, "max_len": 100, "timeout": 20.0, **settings}
        return ServerEngine(model, tokenizer, EngineConfig(**given), served=served)

    return made


def test_what_is_asked_and_what_is_read(server, connect) -> None:
    engine = connect()
    replies = generate(engine, [[5, 6], [7]], Sampling(4, 0.7), [11, 1 << 62])
    assert [(r.ids, r.logprobs, r.weight_version) for r in replies] == [
        ([6, 2], [-0.5, -0.25], 0),
        ([7, 2], [-0.5, -0.25], 0),
    ]
    assert engine.tokens_generated == 4 and not engine.busy
    body = next(each for each in server.bodies if each["prompt"] == [5, 6])
    assert body == {
        "model": "tiny", "prompt": [5, 6], "max_tokens": 4, "temperature": 0.7, "top_p": 1.0, "top_k": 0, "seed": 11,
        "logprobs": 0, "stop_token_ids": sorted(engine.ends), "return_token_ids": True,
    }  # fmt: skip
    generate(engine, [[5]], Sampling(4, greedy=True), [0])
    assert server.bodies[-1]["temperature"] == 0.0


def test_nobody_waits_for_a_slow_request(server, connect) -> None:
    engine, server.slow = connect(), {1: 0.5}
    engine.submit("slow", [5], Sampling(4), 0)
    engine.submit("quick", [5, 6], Sampling(4), 0)
    engine.submit("gone", [5, 6, 7], Sampling(4), 0)
    engine.abort(["gone", "unknown"])
    assert [reply.key for reply in engine.poll(block=True)] == ["quick"]
    assert engine.busy and engine.poll(block=False) == []
    assert [reply.key for reply in engine.poll(block=True)] == ["slow"]
    assert engine.poll(block=True) == []


def test_a_model_is_known_by_its_folder_too(connect) -> None:
    assert connect("/models/tiny").served == "tiny"


def test_no_address(model, tokenizer) -> None:
    with pytest.raises(ConfigError, match="needs the address"):
        ServerEngine(model, tokenizer, EngineConfig(name="server"))


def test_a_server_that_is_down(server, connect) -> None:
    with pytest.raises(PrerequisiteError, match="no vLLM server answers"):
        connect(url="http://127.0.0.1:9")
    server.models = {"object": "list"}
    with pytest.raises(PrerequisiteError, match="no vLLM server answers"):
        connect()


def test_one_that_goes_down_later(server, connect) -> None:
    engine = connect()
    server.shutdown()
    server.server_close()
    engine.submit("a", [5], Sampling(4), 0)
    with pytest.raises(RunFailedError, match="did not answer a request"):
        engine.poll(block=True)


def test_another_model_or_a_shorter_context(server, connect) -> None:
    with pytest.raises(ConfigError, match="serves tiny, not large"):
        connect("large")
    with pytest.raises(ConfigError, match="takes 200 tokens, and 201 are needed"):
        connect(max_len=201)


def test_a_slow_server(server, connect) -> None:
    engine, server.slow = connect(timeout=0.2), {1: 1.0}
    engine.submit("a", [5], Sampling(4), 0)
    with pytest.raises(RunFailedError, match=r"did not answer a request within 0.2 s"):
        engine.poll(block=True)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"<html>", "another form"),
        ({"choices": []}, "another form"),
        ({"choices": [{"text": "hello"}]}, "'token_ids'"),
        ({"choices": [{"token_ids": [1], "logprobs": None}]}, "another form"),
        ({"choices": [{"token_ids": [1, 2], "logprobs": {"token_logprobs": [0.0]}}]}, "2 tokens and 1 log-probs"),
        ({"choices": [{"token_ids": [1] * 9, "logprobs": {"token_logprobs": [0.0] * 9}}]}, "9 tokens"),
        ({"choices": [{"token_ids": [10**6], "logprobs": {"token_logprobs": [0.0]}}]}, "outside"),
    ],
)
def test_an_answer_that_makes_no_sense(server, connect, answer: Any, why: str) -> None:
    engine, server.answer = connect(), answer
    engine.submit("a", [5], Sampling(4), 0)
    with pytest.raises(RunFailedError, match="did not answer a request") as stopped:
        engine.poll(block=True)
    assert why in stopped.value.why


def test_an_error_of_the_server_is_shown(server, connect) -> None:
    engine = connect()
    server.status, server.answer = 400, {"message": "the prompt is too long"}
    engine.submit("a", [5], Sampling(4), 0)
    with pytest.raises(RunFailedError) as stopped:
        engine.poll(block=True)
    assert "400" in stopped.value.why and "the prompt is too long" in stopped.value.why


def test_weights_that_cannot_be_sent_stop_the_run(connect) -> None:
    """There is no GPU here: TRL's client refuses, and no version is pushed."""
    engine = connect()
    with pytest.raises(RunFailedError, match="weights cannot be sent"):
        engine.push(iter([("a", torch.zeros(1))]), 1)
    assert engine.weight_version == 0


def test_weights_are_sent_one_by_one_and_the_cache_forgets(connect) -> None:
    class Client:
        def __init__(self) -> None:
            self.calls: list[str] = []

        def __enter__(self) -> None:
            self.calls.append("begin")

        def __exit__(self, *words: Any) -> None:
            self.calls.append("end")

        def weight_update(self) -> Client:
            return self

        def update_named_param(self, name: str, tensor: torch.Tensor) -> None:
            self.calls.append(name)

        def reset_prefix_cache(self) -> None:
            self.calls.append("forget")

    engine = connect()
    client = engine.__dict__["_client"] = Client()
    engine.push(iter([("a", torch.zeros(1)), ("b", torch.zeros(1))]), 4)
    assert client.calls == ["begin", "a", "b", "end", "forget"] and engine.weight_version == 4
