"""The driver of a sweep: starts jobs as places become free, tries failed ones again, and ends all on Ctrl-C.

What goes wrong in one run does not touch the others.  A run that is still running when the sweep is resumed (its
driver was killed and it was not) is waited for.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from sdar_cli.base.signals import handled
from sdar_cli.runs.rundir import RunDir
from sdar_cli.sweep.board import Board
from sdar_cli.sweep.plan import Job
from sdar_cli.sweep.state import SweepDir

POLL = 0.5
"""Seconds between two looks at the runs."""
FINAL = (2, 3)
"""Exit codes that another try cannot change: wrong settings, missing prerequisites."""


def command(sweep: SweepDir, job: Job, workers: int | None = None) -> list[str]:
    """The words that start the job's run, or continue it where there is one."""
    words = [sys.executable, "-m", "sdar_cli", "train", "--runs-dir", str(sweep.runs), "--json"]
    if sweep.run_dir(job).config_path.is_file():
        return [*words, "--resume", str(sweep.run_dir(job).path)]
    return [*words, "--config", str(sweep.config_path(job)),
            *(["--set", f"env.workers={workers}"] if workers else [])]  # fmt: skip


class Attempt(Protocol):
    """A run in progress."""

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""

    def signal(self, number: int) -> None:
        """Send a signal."""


class Executor(Protocol):
    """Where runs go: this machine, or a cluster."""

    @property
    def count(self) -> int:
        """Runs at a time."""

    def describe(self) -> str:
        """Where, how many at a time, and what each gets."""

    def launch(self, sweep: SweepDir, job: Job, slot: int) -> Attempt:
        """Start or continue a job's run; ``slot`` from 0 to ``count`` - 1 is free."""


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


class Driver:
    """Runs jobs in slots, failed ones up to ``tries`` times."""

    def __init__(self, sweep: SweepDir, executor: Executor, tries: int, board: Board) -> None:
        self.sweep = sweep
        self.executor = executor
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
        for slot in range(self.executor.count):
            if slot not in self.running and self.waiting and not self.stopping:
                job = self.waiting.popleft()
                attempt = self._start(job, slot)
                self.running[slot] = (job, attempt)
                if self.stopping:  # Ctrl-C came in between
                    attempt.signal(signal.SIGINT)

    def _start(self, job: Job, slot: int) -> Attempt:
        state = self.sweep.state(job)
        if state == "running":
            self.board.report(f"{job.title}: already running, waiting for it")
            return Adopted(self.sweep.run_dir(job))
        self.tried[job.run] += 1
        if self.sweep.remove_partial_run(job):
            self.board.report(f"{job.title}: removed the folder of a start that left no run")
        self.board.report(f"{job.title}: {'started' if state == 'waiting' else f'continued, was {state}'}")
        return self.executor.launch(self.sweep, job, slot)

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
                self.board.report(f"{job.title}: {state}")
            elif code in FINAL or self.tried[job.run] >= self.tries:
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
                self.board.report("stopping: the runs save at their next safe point; press Ctrl-C again to kill them")

        with handled(handler, signal.SIGINT, signal.SIGTERM):
            yield
