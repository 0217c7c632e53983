"""Runs of a sweep as processes of this machine: so many slots, each with its share of the cores or with one GPU.

What goes wrong in one run does not touch the others.  A run that is still running when the sweep is resumed (its
driver was killed and it was not) is waited for.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sdar_cli.config import RunConfig
from sdar_cli.errors import ConfigError
from sdar_cli.runs import RunDir
from sdar_cli.sweep.board import Board
from sdar_cli.sweep.plan import Job
from sdar_cli.sweep.state import SweepDir

POLL = 0.5
"""Seconds between two looks at the processes."""
HOPELESS = (2, 3)
"""Exit codes that a second try cannot change: wrong settings, missing prerequisites."""


@dataclass(frozen=True)
class Slots:
    """How many runs at a time; the GPU of each where there are any; engine workers and torch threads of each."""

    count: int
    threads: int
    gpus: tuple[str, ...] = ()

    def environment(self, slot: int) -> dict[str, str]:
        """What a process in this slot is told.  An OMP_NUM_THREADS that is set already stays."""
        own = {"OMP_NUM_THREADS": str(self.threads), **os.environ}
        return {**own, "CUDA_VISIBLE_DEVICES": self.gpus[slot % len(self.gpus)]} if self.gpus else own


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible_gpus() -> tuple[str, ...]:
    """Names for CUDA_VISIBLE_DEVICES, found without loading torch."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return tuple(part.strip() for part in given.split(",") if part.strip() not in ("", "-1"))
    return tuple(str(n) for n in range(sum(p.name[6:].isdigit() for p in Path("/dev").glob("nvidia[0-9]*"))))


def make_slots(configs: Sequence[RunConfig], asked: int | None) -> Slots:
    """A slot per GPU, or per core where no run wants a GPU.  Raises ConfigError for fewer than one."""
    if asked is not None and asked < 1:
        raise ConfigError(f"--slots {asked}", why="at least one run must go on at a time", fix="--slots 1")
    gpus = visible_gpus() if any(config.model.device != "cpu" for config in configs) else ()
    count = asked or len(gpus) or cores()
    return Slots(min(count, max(1, len(configs))), max(1, cores() // count), gpus)


def command(sweep: SweepDir, job: Job, workers: int | None = None) -> list[str]:
    """The words that start the job's run, or continue it where there is one."""
    words = [sys.executable, "-m", "sdar_cli.cli", "train", "--runs-dir", str(sweep.runs), "--json"]
    if sweep.run_dir(job).config_path.is_file():
        return [*words, "--resume", str(sweep.run_dir(job).path)]
    return [*words, "--config", str(sweep.config_path(job)),
            *(["--set", f"env.workers={workers}"] if workers else [])]  # fmt: skip


class Attempt(Protocol):
    """A run that goes on."""

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""

    def signal(self, number: int) -> None:
        """Send a signal."""


class Started:
    """A process of this driver, in a process group of its own: the terminal's Ctrl-C reaches the driver alone."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                words, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
            )

    def poll(self) -> int | None:
        return self._process.poll()

    def signal(self, number: int) -> None:
        if self._process.poll() is not None:
            return
        if number == signal.SIGKILL:
            os.killpg(self._process.pid, number)
        else:
            self._process.send_signal(number)


class Adopted:
    """A run that an earlier driver started and that outlived it."""

    def __init__(self, run: RunDir) -> None:
        self._run = run

    def poll(self) -> int | None:
        state = self._run.status().get("state")
        return None if state == "running" else int(state != "done")

    def signal(self, number: int) -> None:
        status = self._run.status()
        if status.get("state") == "running" and status.get("host") == socket.gethostname():
            os.kill(status["pid"], number)


class LocalExecutor:
    """Runs jobs in slots, failed ones up to ``tries`` times."""

    def __init__(self, sweep: SweepDir, slots: Slots, tries: int, board: Board) -> None:
        self.sweep = sweep
        self.slots = slots
        self.tries = tries
        self.board = board
        self.running: dict[int, tuple[Job, Attempt]] = {}
        self.waiting: deque[Job] = deque()
        self.tried: Counter[str] = Counter()
        self.stopping = False

    def run(self, jobs: Sequence[Job]) -> None:
        """Run all of them.  Raises KeyboardInterrupt once every process has ended after Ctrl-C."""
        self.waiting = deque(jobs)
        with self._interrupts():
            while self.running or (self.waiting and not self.stopping):
                self._fill()
                self.board.refresh([job for job, _ in self.running.values()])
                time.sleep(POLL)
                self._collect()
        self.board.refresh([])
        if self.stopping:
            raise KeyboardInterrupt

    def _fill(self) -> None:
        for slot in range(self.slots.count):
            if slot not in self.running and self.waiting and not self.stopping:
                job = self.waiting.popleft()
                self.running[slot] = (job, self._start(job, slot))

    def _start(self, job: Job, slot: int) -> Attempt:
        state = self.sweep.state(job)
        if state == "running":
            self.board.say(f"{job.title}: already running, waiting for it")
            return Adopted(self.sweep.run_dir(job))
        self.tried[job.run] += 1
        if self.sweep.clear_halfmade(job):
            self.board.say(f"{job.title}: removed the folder of a start that left no run")
        self.board.say(f"{job.title}: {'started' if state == 'waiting' else f'continued, was {state}'}")
        words = command(self.sweep, job, self._workers(job))
        return Started(words, self.slots.environment(slot), self.sweep.logs / f"{job.run}.log")

    def _workers(self, job: Job) -> int | None:
        """Engine processes for a run that takes one per core; results do not depend on their number."""
        return self.slots.threads if self.slots.count > 1 and not self.sweep.config(job).env.workers else None

    def _collect(self) -> None:
        for slot, (job, attempt) in list(self.running.items()):
            code = attempt.poll()
            if code is None:
                continue
            del self.running[slot]
            state = self.sweep.state(job)
            if state == "done":
                self.board.finished(job)
            elif self.stopping:
                self.board.say(f"{job.title}: {state}")
            elif code in HOPELESS or self.tried[job.run] >= self.tries:
                self.board.failed(job, code, "given up")
            else:
                self.board.failed(job, code, f"try {self.tried[job.run] + 1} of {self.tries} follows")
                self.waiting.append(job)

    @contextmanager
    def _interrupts(self) -> Iterator[None]:
        """First Ctrl-C: every run stops at its next safe point.  Second: all are killed."""

        def handler(number: int, frame: Any) -> None:
            last = self.stopping
            self.stopping = True
            for _, attempt in self.running.values():
                attempt.signal(signal.SIGKILL if last else signal.SIGINT)
            if not last:
                self.board.say("stopping: the runs save at their next safe point; press Ctrl-C again to kill them")

        try:
            previous = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not the main thread, which alone receives signals
            yield
            return
        try:
            yield
        finally:
            for number, old in previous.items():
                signal.signal(number, old)
