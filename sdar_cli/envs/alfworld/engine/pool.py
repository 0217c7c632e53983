"""Worker processes that run the games: one message per worker at a time, and a new process for a dead one.

The engine is never imported here: it swaps ``sys.argv`` and ``sys.stdout`` and is slow to import.  Slots of one
task stay on one worker, which translates the game once.  Results do not depend on the number of workers.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from collections import Counter
from collections.abc import Collection, Mapping
from multiprocessing.connection import Connection, wait
from pathlib import Path

from sdar_cli.base.errors import PrerequisiteError
from sdar_cli.envs.alfworld.engine.worker import Act, Outcome, Part, Ready, Reset, serve

START_SECONDS = 120.0
"""Time a new process has to import the engine."""
QUIT_SECONDS = 2.0
INSTALL = "pip install alfworld==0.4.2 textworld==1.7.0"


class Worker:
    """One process and the pipe to it."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs,), daemon=True)
        # A process inherits blocked signals: an interrupt that comes while it starts is the parent's alone.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        self.waiting: list[Reset | Act] = []
        """Messages to send when the present one is answered: a pipe that is full on both sides would block both."""
        self.answering = False
        self.awaited: set[int] = set()
        """Slots whose answer has not come yet."""
        self.heard = time.monotonic()

    def send(self, message: Reset | Act) -> None:
        """Send a message now or after the present one.  A dead worker is noticed when its answer is awaited."""
        last = self.waiting[-1] if self.waiting else None
        if isinstance(message, Act) and isinstance(last, Act):
            last.commands.update(message.commands)
        else:
            self.waiting.append(message)
        self.awaited |= set(message.games if isinstance(message, Reset) else message.commands)
        self._send_next()

    def receive(self) -> dict[int, Outcome]:
        """The next part of the answers.  Raises EOFError or ConnectionResetError when the process has ended."""
        part: Part = self.connection.recv()
        self.heard = time.monotonic()
        self.awaited -= set(part.outcomes)
        if part.last:
            self.answering = False
            self._send_next()
        return part.outcomes

    def _send_next(self) -> None:
        if self.answering or not self.waiting:
            return
        self.answering = True
        self.heard = time.monotonic()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send(self.waiting.pop(0))

    def stop(self, kill: bool = False) -> None:
        """End the process: it leaves when the pipe closes, and is killed when it does not."""
        self.connection.close()
        if not kill:
            self.process.join(QUIT_SECONDS)
        if self.process.is_alive():
            self.process.kill()
        self.process.join()


class WorkerPool:
    """``count`` workers, started when first needed.

    timeout: seconds a worker may be silent while an answer is expected, before it is killed.
    """

    def __init__(self, count: int, timeout: float) -> None:
        self.count = count
        self.timeout = timeout
        self.notices: list[str] = []
        """What a worker reported about itself, such as a slower engine."""
        self._workers: dict[int, Worker] = {}
        self._place: dict[int, int] = {}
        """Slot to the worker that plays it; a slot without one has no game."""
        self._lost: dict[int, Outcome] = {}
        """Outcomes of commands whose game was gone already."""

    def start(self, games: Mapping[int, Path]) -> None:
        """Start a game in each slot.  A worker that still owes a slot's answer, which nobody waits for, is replaced."""
        for index in [index for index, worker in self._workers.items() if worker.awaited & games.keys()]:
            self._discard(index)
        before = {slot: self._place.pop(slot) for slot in games if slot in self._place}
        self._assign(games)
        messages = {self._place[slot]: Reset({}, ()) for slot in games}
        for slot, path in games.items():
            messages[self._place[slot]].games[slot] = path
        for index in set(before.values()) & set(self._workers):
            left = tuple(slot for slot in before if before[slot] == index != self._place[slot])
            if left:
                messages[index] = Reset(messages[index].games if index in messages else {}, left)
        self._start([index for index in messages if index not in self._workers])
        for index, message in messages.items():
            self._workers[index].send(message)

    def send(self, commands: Mapping[int, str]) -> None:
        """Run a command in each slot.  A slot whose worker died earlier fails."""
        messages: dict[int, Act] = {}
        for slot, command in commands.items():
            if slot in self._place:
                messages.setdefault(self._place[slot], Act({})).commands[slot] = command
            else:
                self._lost[slot] = Outcome(None, "its engine worker ended during another episode's turn")
        for index, message in messages.items():
            self._workers[index].send(message)

    def ready(self, timeout: float | None) -> dict[int, Outcome]:
        """The outcomes that have come; waits for the first at most ``timeout`` seconds (None: without end).

        Nothing where no slot is being waited for.  On an interrupt, workers that have not answered are killed.
        """
        out, self._lost = self._lost, {}
        until = None if timeout is None else time.monotonic() + timeout
        try:
            while pending := [index for index, worker in self._workers.items() if worker.answering]:
                left = None if until is None else max(0.0, until - time.monotonic())
                out |= self._gather(pending, 0.0 if out else left)
                if out or left == 0.0:
                    break
        except BaseException:
            for index in pending:
                self._discard(index)
            raise
        for slot, outcome in out.items():
            if outcome.answer is None or outcome.answer.done:
                self._place.pop(slot, None)
        return out

    def close(self) -> None:
        """Stop all workers."""
        for worker in self._workers.values():
            worker.connection.close()
        for worker in self._workers.values():
            worker.stop()
        self._workers.clear()
        self._place.clear()

    def _assign(self, games: Mapping[int, Path]) -> None:
        """Each game's slots together, to the worker that plays the fewest."""
        groups: dict[Path, list[int]] = {}
        for slot in sorted(games):
            groups.setdefault(games[slot], []).append(slot)
        load = Counter(self._place.values())
        for slots in groups.values():
            index = min(range(self.count), key=lambda i: (load[i], i))
            load[index] += len(slots)
            self._place.update(dict.fromkeys(slots, index))

    def _gather(self, pending: Collection[int], timeout: float | None) -> dict[int, Outcome]:
        """Wait for parts of answers of these workers; one that has ended or gone silent is replaced."""
        limit = max(0.0, min(self._workers[index].heard for index in pending) + self.timeout - time.monotonic())
        ready = wait(
            [self._workers[index].connection for index in pending], limit if timeout is None else min(timeout, limit)
        )
        out: dict[int, Outcome] = {}
        for index in sorted(pending):
            worker = self._workers[index]
            why = ""
            if worker.connection in ready:
                try:
                    out |= worker.receive()
                except (EOFError, ConnectionResetError):
                    worker.process.join(QUIT_SECONDS)
                    why = f"its process ended with exit code {worker.process.exitcode}"
            elif time.monotonic() - worker.heard >= self.timeout:
                why = f"no answer within {self.timeout:g} s"
            if why:
                self._discard(index)
                out |= dict.fromkeys(worker.awaited, Outcome(None, f"engine worker {index} was replaced: {why}"))
        return out

    def _discard(self, index: int) -> None:
        """Kill a worker; all its slots lose their games."""
        self._workers.pop(index).stop(kill=True)
        self._place = {slot: place for slot, place in self._place.items() if place != index}

    def _start(self, indices: list[int]) -> None:
        """Start processes side by side and wait until each has imported the engine."""
        for index in indices:
            self._workers[index] = Worker()
        for index in indices:
            ready = self._first_message(self._workers[index].connection)
            if ready.error:
                self.close()
                raise PrerequisiteError("the ALFWorld engine does not start", why=ready.error, fix=INSTALL)
            if ready.notice and ready.notice not in self.notices:
                self.notices.append(ready.notice)

    def _first_message(self, connection: Connection) -> Ready:
        if not connection.poll(START_SECONDS):
            return Ready(f"a worker process gave no sign for {START_SECONDS:g} s", "")
        try:
            ready: Ready = connection.recv()
        except (EOFError, ConnectionResetError):
            return Ready("a worker process ended while it started", "")
        return ready
