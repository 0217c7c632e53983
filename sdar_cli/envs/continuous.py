"""Episodes that do not wait for each other: actions go in as they come, and steps come out as they are ready.

An environment offers ``reset`` and ``step``, which return when every slot has its answer, or ``start``, ``send`` and
``ready``, which do not wait.  Here each is made of the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Protocol

from sdar_cli.envs.base import Environment, Step, Task


class Continuous(Protocol):
    """Many episodes at once, one per integer slot."""

    def start(self, assignment: Mapping[int, Task]) -> None:
        """Start one episode per slot; other slots go on.  ``ready`` returns each one's first step."""
        ...

    def send(self, actions: Mapping[int, str]) -> None:
        """Act in these slots, whose last step has been returned by ``ready`` and did not end the episode."""
        ...

    def ready(self, timeout: float | None) -> dict[int, Step]:
        """The steps that have come since.  Waits for the first at most ``timeout`` seconds (None: without end); nothing
        where no slot is being waited for.  A slot that takes too long gets a failed step."""
        ...


class InTurns(Continuous):
    """``reset`` and ``step`` for an environment that has ``start``, ``send`` and ``ready``: its base class."""

    def reset(self, assignment: Mapping[int, Task]) -> dict[int, Step]:
        """See ``Environment``; no slot may be waited for."""
        self.start(assignment)
        return _wait_for(self, assignment.keys())

    def step(self, actions: Mapping[int, str]) -> dict[int, Step]:
        """See ``Environment``; no other slot may be waited for."""
        self.send(actions)
        return _wait_for(self, actions.keys())


def _wait_for(environment: Continuous, slots: Set[int]) -> dict[int, Step]:
    found: dict[int, Step] = {}
    while len(found) < len(slots):
        if not (steps := environment.ready(None)):
            raise RuntimeError(f"no answer is coming for the slots {sorted(slots - found.keys())}")
        found |= steps
    return {slot: found[slot] for slot in slots}


class Adapter:
    """``start``, ``send`` and ``ready`` for an environment that has ``reset`` and ``step``.

    They are called at once.  With an attribute ``waits`` that is true (its steps wait for another machine), the
    environment runs in a thread of its own instead, one call at a time: what is sent meanwhile is one call afterwards.
    """

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self._thread = ThreadPoolExecutor(1, "environment") if getattr(environment, "waits", False) else None
        self._running: Future[Mapping[int, Step]] | None = None
        self._sent: dict[int, str] = {}
        self._steps: dict[int, Step] = {}

    def start(self, assignment: Mapping[int, Task]) -> None:
        """See ``Continuous``."""
        if self._thread is None:
            self._steps |= self._reset(assignment)
        else:
            self._steps |= self._thread.submit(self._reset, assignment).result()

    def send(self, actions: Mapping[int, str]) -> None:
        """See ``Continuous``."""
        if self._thread is None:
            self._steps |= self._step(actions)
        else:
            self._sent |= actions
            self._run()

    def ready(self, timeout: float | None) -> dict[int, Step]:
        """See ``Continuous``."""
        if self._running is not None:
            wait([self._running], 0.0 if self._steps else timeout)
            if self._running.done():
                done, self._running = self._running, None
                self._steps |= done.result()
                self._run()
        steps, self._steps = self._steps, {}
        return steps

    def _run(self) -> None:
        if self._thread is not None and self._running is None and self._sent:
            actions, self._sent = self._sent, {}
            self._running = self._thread.submit(self._step, actions)

    def _reset(self, assignment: Mapping[int, Task]) -> Mapping[int, Step]:
        return _checked(self.environment.reset(assignment), assignment.keys())

    def _step(self, actions: Mapping[int, str]) -> Mapping[int, Step]:
        return _checked(self.environment.step(actions), actions.keys())


def _checked(steps: Mapping[int, Step], slots: Set[int]) -> Mapping[int, Step]:
    if steps.keys() != slots:
        raise ValueError(f"it answers for the slots {sorted(steps)}, and was asked about {sorted(slots)}")
    return steps


def continuous(environment: Environment) -> Continuous:
    """The environment itself where it is made for it (``InTurns``), else an adapter."""
    return environment if isinstance(environment, InTurns) else Adapter(environment)
