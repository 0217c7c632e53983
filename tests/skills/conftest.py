"""A server of answers, and two tasks without games or a model."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from types import ModuleType

import pytest

from sdar_cli.envs.base import Observation, Step, Task
from skills.build.llm_server import KEY, Server

from .material import word_tokenizer

TASKS = [
    Task("train/heat-0", "pick_heat_then_place_in_recep", "train"),
    Task("train/look-0", "look_at_obj_in_light", "train"),
]
ACTIONS = ("go to desk 1", "help", "look")


class TwoTasks:
    """An environment that only resets."""

    failure: str | None = None
    closed = 0

    def __enter__(self):
        return self

    def __exit__(self, *error):
        TwoTasks.closed += 1

    def tasks(self, split):
        return TASKS if split == "train" else []

    def preflight(self, tasks):
        assert set(tasks) <= set(TASKS)

    def reset(self, assignment):
        seen = Observation("You see a [bold]desk[/] 1.", "look at mug under the desklamp", ACTIONS)
        return {slot: Step(seen, 0.0, False, False, self.failure) for slot in assignment}


@pytest.fixture
def offline(monkeypatch):
    """No games and no model: two tasks, and a tokenizer of words.  Gives what was opened and loaded."""
    asked = []
    environments, loading = ModuleType("env"), ModuleType("loading")
    environments.open_environment = lambda config, reporter: asked.append(config) or TwoTasks()
    loading.load_tokenizer = lambda config: asked.append(config.name) or word_tokenizer()
    monkeypatch.setitem(sys.modules, "sdar_cli.envs.alfworld.env", environments)
    monkeypatch.setitem(sys.modules, "sdar_cli.models.loading", loading)
    return asked


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    running = Server()
    thread = threading.Thread(target=running.http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.setenv("OPENAI_BASE_URL", running.url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    yield running
    running.http.shutdown()
    running.http.server_close()
