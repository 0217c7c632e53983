"""A retriever in a process of its own that is killed in the middle of a rollout and comes back on the same port."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import toy
from search_material import write_data

from sdar_cli.envs.base import StopReason
from sdar_cli.envs.registry import open_environment
from sdar_cli.envs.search.options import SearchOptions
from sdar_cli.models.engine import Sampling
from sdar_cli.models.engines.scripted import ScriptedEngine
from sdar_cli.retrieval.index import build_index
from sdar_cli.rollout.collect import Collector


class Server:
    """``sdar retriever serve`` that can be killed and started again."""

    def __init__(self, index: Path) -> None:
        self.index, self.port = index, 0
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> str:
        """Its address, once it listens."""
        words = ["retriever", "serve", "--index", str(self.index), "--port", str(self.port), "--json"]
        command = [sys.executable, "-m", "sdar_cli", *words]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        url = str(json.loads(self.process.stdout.readline())["url"])
        self.port = int(url.rpartition(":")[2])
        return url

    def kill(self) -> None:
        assert self.process is not None and self.process.stdout is not None
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@contextmanager
def serving(index: Path) -> Iterator[tuple[Server, str]]:
    server = Server(index)
    url = server.start()
    try:
        yield server, url
    finally:
        server.kill()


@pytest.mark.parametrize("seconds", [1.0, pytest.param(30.0, marks=pytest.mark.slow)])
def test_no_episode_is_lost_to_an_outage(tmp_path: Path, tokenizer: Any, seconds: float) -> None:
    """Six episodes of two tasks search, lose their server, search again, and all of them win."""
    data = write_data(tmp_path / "data")
    build_index(data / "corpus.jsonl", tmp_path / "index")
    with serving(tmp_path / "index") as (server, url):
        config = toy.config(
            env={"name": "search", "source": "real", "data": str(data), "retriever": url, "max_turns": 4, "history": 4}
        )
        went_down: list[float] = []
        back = threading.Timer(seconds, server.start)

        def respond(prompt: str) -> str:
            question = prompt.partition("Question: Where was ")[2].partition(" ")[0]
            searches = prompt.count("Search: ")
            if searches == 1 and not went_down:
                server.kill()
                back.start()
                went_down.append(time.monotonic())
            return f"<search>{question} {searches}</search>" if searches < 2 else f"<answer>{_town(prompt)}</answer>"

        with open_environment(SearchOptions.model_validate(config.env.model_dump())) as environment:
            tasks = environment.tasks("train")[:2]
            environment.preflight(tasks)
            collector = Collector(config, environment, ScriptedEngine(tokenizer, respond), tokenizer)
            out = collector.collect(
                toy.assigned([(t, g) for g, t in enumerate(tasks) for _ in range(3)]), Sampling(400)
            )
        assert time.monotonic() - went_down[0] > seconds
        back.join()
    assert [e.stop for e in out.episodes] == [StopReason.WON] * 6
    assert [len(e.turns) for e in out.episodes] == [3] * 6


def _town(prompt: str) -> str:
    person = prompt.partition("Where was ")[2].partition(" ")[0]
    return prompt.partition(f"{person} was born in ")[2].partition(".")[0]


def test_a_budget_that_an_outage_outlasts_masks_and_counts(tmp_path: Path, tokenizer: Any) -> None:
    data = write_data(tmp_path / "data")
    build_index(data / "corpus.jsonl", tmp_path / "index")
    with serving(tmp_path / "index") as (server, url):
        config = SearchOptions(name="search", source="real", data=str(data), retriever=url, step_timeout=1.0)
        with open_environment(config) as environment:
            environment.reset(dict(enumerate(environment.tasks("train")[:2])))
            server.kill()
            steps = environment.step({0: "<search>x</search>", 1: "<answer>x</answer>"})
    assert steps[0].failure is not None and url in steps[0].failure
    assert (steps[0].observation.text, steps[0].done) == ("", True)
    assert steps[1].failure is None
