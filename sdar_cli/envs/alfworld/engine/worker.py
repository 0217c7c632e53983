"""What runs in a worker process: engines for its slots, and an answer for each message.

An engine's failure is data: it is sent back with the game file's name, and the engine is thrown away.
The process ends when its pipe closes, so it never outlives the process that started it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from sdar_cli.envs.alfworld.engine.engine import Answer, GameEngine
from sdar_cli.envs.alfworld.engine.speedup import mismatch, speed_up

SIGN_OF_LIFE = 0.05
"""Seconds after which a long answer is sent in parts: no slot waits long for the others, and slow is not taken for
stuck."""


class Outcome(NamedTuple):
    """An engine's answer, or why there is none."""

    answer: Answer | None
    failure: str | None = None


class Ready(NamedTuple):
    """A worker's first message: why it cannot run, or else what is to be known about it; both may be empty."""

    error: str
    notice: str


class Part(NamedTuple):
    """A part of an answer, by slot; ``last`` ends it."""

    outcomes: dict[int, Outcome]
    last: bool


class Reset(NamedTuple):
    """Start these games, one per slot; ``dropped`` slots are no longer played here."""

    games: dict[int, Path]
    dropped: tuple[int, ...] = ()


class Act(NamedTuple):
    """One command per slot."""

    commands: dict[int, str]


@dataclass
class Host:
    """The engines of one process.  A finished game's engine is used again, best for the same game."""

    playing: dict[int, tuple[Path, GameEngine]] = field(default_factory=dict)
    idle: list[tuple[Path, GameEngine]] = field(default_factory=list)

    def answers(self, message: Reset | Act) -> Iterator[tuple[int, Outcome]]:
        """Carry out a message, slot by slot."""
        if isinstance(message, Act):
            yield from ((slot, self._act(slot, command)) for slot, command in message.commands.items())
            return
        self._release([*message.dropped, *message.games])
        wanted = set(message.games.values())
        self.idle.sort(key=lambda pair: pair[0] in wanted)
        yield from ((slot, self._start(slot, path)) for slot, path in message.games.items())

    def _start(self, slot: int, path: Path) -> Outcome:
        same = next((i for i, (loaded, _) in enumerate(self.idle) if loaded == path), 0)
        engine = self.idle.pop(same)[1] if self.idle else GameEngine()
        try:
            engine.load(path)
            observation, admissible, won = engine.reset()
        except (Exception, SystemExit) as error:
            engine.close()
            return Outcome(None, f"game file {path} does not load: {_describe(error)}")
        self.playing[slot] = (path, engine)
        if won:
            self._release([slot])
        return Outcome(Answer(observation, float(won), won, won, admissible))

    def _act(self, slot: int, command: str) -> Outcome:
        path, engine = self.playing[slot]
        try:
            answer = engine.step(command)
        except (Exception, SystemExit) as error:
            del self.playing[slot]
            engine.close()
            return Outcome(None, f"game file {path} broke at {command!r}: {_describe(error)}")
        if answer.done:
            self._release([slot])
        return Outcome(answer)

    def _release(self, slots: Iterable[int]) -> None:
        self.idle.extend(self.playing.pop(slot) for slot in slots if slot in self.playing)


def serve(connection: Connection) -> None:
    """Say ``Ready``, then answer each ``Reset`` or ``Act`` with ``Part`` messages until the pipe closes.

    The process then ends at once: taking down a million small objects one by one would take half a second.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["OMP_NUM_THREADS"] = "1"
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        ready = _get_ready()
        connection.send(ready)
        host = Host()
        while not ready.error:
            _answer(connection, host, connection.recv())
    os._exit(0)


def _get_ready() -> Ready:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Ready("", "" if speed_up() else mismatch())
    except ImportError as error:
        return Ready(_describe(error), "")


def _answer(connection: Connection, host: Host, message: Reset | Act) -> None:
    part: dict[int, Outcome] = {}
    sent = time.monotonic()
    for slot, outcome in host.answers(message):
        part[slot] = outcome
        if time.monotonic() - sent > SIGN_OF_LIFE:
            connection.send(Part(part, False))
            part, sent = {}, time.monotonic()
    connection.send(Part(part, True))


def _describe(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
