"""Environments in turns and without waiting: each is made of the other."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import pytest
import toy
from toy import task

from sdar_cli.envs.base import Step, Task
from sdar_cli.envs.continuous import Adapter, InTurns, continuous


def test_an_environment_in_turns_answers_at_once() -> None:
    environment = continuous(toy.Corridor())
    assert environment.ready(None) == {}
    environment.start({0: task(1), 3: task(0)})
    assert set(environment.ready(0)) == {0, 3} and environment.ready(None) == {}
    environment.send({3: toy.TAKE})
    environment.send({0: "go on"})
    steps = environment.ready(None)
    assert steps[3].won and not steps[0].done and set(steps) == {0, 3}


class Server(toy.Corridor):
    """A corridor on another machine, which answers when ``opened``."""

    waits = True

    def __init__(self) -> None:
        super().__init__()
        self.opened = threading.Event()
        self.threads: set[int] = set()

    def step(self, actions: Mapping[int, str]) -> dict[int, Step]:
        self.threads.add(threading.get_ident())
        assert self.opened.wait(10)
        return super().step(actions)


def test_one_that_waits_runs_beside_and_takes_together_what_came_meanwhile() -> None:
    server = Server()
    environment = continuous(server)
    environment.start({slot: task(2) for slot in range(4)})
    assert set(environment.ready(0)) == {0, 1, 2, 3}
    for slot in range(4):
        environment.send({slot: "go on"})
    assert environment.ready(0) == {} == environment.ready(0.01)
    server.opened.set()
    first, rest = environment.ready(None), environment.ready(None)
    assert (set(first), set(rest)) == ({0}, {1, 2, 3})
    assert server.stepped == [(0,), (1, 2, 3)] and server.threads.isdisjoint({threading.get_ident()})


def test_an_error_beside_comes_with_the_answer() -> None:
    class Down(Server):
        def step(self, actions):
            raise OSError("gone")

    environment = continuous(Down())
    environment.start({0: task(1)})
    environment.send({0: "go on"})
    environment.ready(0)
    with pytest.raises(OSError, match="gone"):
        environment.ready(None)


def test_an_answer_for_other_slots_is_an_error() -> None:
    class Silent(toy.Corridor):
        def step(self, actions):
            return {slot: step for slot, step in super().step(actions).items() if slot}

    environment = Adapter(Silent())
    environment.start({0: task(1), 1: task(1)})
    with pytest.raises(ValueError, match=r"answers for the slots \[1\], and was asked about \[0, 1\]"):
        environment.send({0: "go on", 1: "go on"})


class Dripping(InTurns):
    """One step per call of ``ready``, the highest slot first."""

    def __init__(self) -> None:
        self.inner = toy.Corridor()
        self.steps: dict[int, Step] = {}

    def start(self, assignment: Mapping[int, Task]) -> None:
        self.steps |= self.inner.reset(assignment)

    def send(self, actions: Mapping[int, str]) -> None:
        self.steps |= self.inner.step({slot: action for slot, action in actions.items() if action != "lost"})

    def ready(self, timeout: float | None) -> dict[int, Step]:
        return {slot: self.steps.pop(slot) for slot in sorted(self.steps)[-1:]}


def test_one_that_need_not_wait_plays_in_turns_too() -> None:
    environment = Dripping()
    assert continuous(environment) is environment  # type: ignore[arg-type]
    first = environment.reset({0: task(1), 1: task(0)})
    assert list(first) == [0, 1] and not first[0].done
    assert environment.step({1: toy.TAKE})[1].won
    with pytest.raises(RuntimeError, match=r"slots \[0\]"):
        environment.step({0: "lost"})
