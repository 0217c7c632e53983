"""What is shown while a sweep runs: one live table of the points, or lines where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from sdar_cli.base.display import Reporter, duration, format_metric
from sdar_cli.runs.metrics import read_steps
from sdar_cli.sweep.outcome import Outcome, outcome_of
from sdar_cli.sweep.plan import Job
from sdar_cli.sweep.state import SweepDir

PLAIN_INTERVAL = 60.0
"""Seconds between two lines on what is running."""
MARKS = {"done": "✓", "failed": "✗", "waiting": "·"}
LOG_LINES = 5


class Board:
    """Progress of one sweep."""

    def __init__(self, sweep: SweepDir, reporter: Reporter, slots: int) -> None:
        self.sweep = sweep
        self.reporter = reporter
        self.slots = slots
        self.outcomes: dict[str, Outcome] = {}
        self.given_up: set[str] = set()
        self.done_here: list[float] = []
        self._last_line = time.monotonic()
        for job in sweep.jobs:
            if sweep.state(job) == "done":
                self.outcomes[job.run] = outcome_of(sweep.run_dir(job))

    def report(self, text: str) -> None:
        """An event: a line where there is no live table, else only in the log."""
        if self.reporter.live_view:
            self.reporter.log(text)
        else:
            self.reporter.info(text)

    def finished(self, job: Job) -> None:
        """A run is done."""
        outcome = self.outcomes[job.run] = outcome_of(self.sweep.run_dir(job))
        if job.steps:
            self.done_here.append(outcome.seconds)
        ended = ", ".join(
            f"{name} {format_metric(value, '%')}"
            for name, value in (("success", outcome.success), ("with skill", outcome.with_skill))
            if value is not None
        )
        count = f"{len(self.outcomes)}/{len(self.sweep.jobs)}"
        self.report(f"[{count}] {job.title}: done in {duration(outcome.seconds)}, {ended}")

    def failed(self, job: Job, code: int, then: str) -> None:
        """A run ended otherwise; its error, or the end of its output, is the reason."""
        state = self.sweep.state(job)
        log = self.sweep.logs / f"{job.run}.log"
        error = self.sweep.run_dir(job).status().get("error") if state == "failed" else None
        output = error or log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
        lines = [line for line in output.splitlines() if line.strip()][-LOG_LINES:]
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        self.reporter.warn("\n    ".join([f"{job.title}: {state} ({how}), {then}; log {log}", *lines]))
        if then == "given up":
            self.given_up.add(job.run)

    def refresh(self, running: Sequence[Job]) -> None:
        """Show where the running jobs are."""
        at = {job.run: self._step(job) for job in running}
        if self.reporter.live_view:
            self.reporter.board(self._title(running, at), ["point", "runs", "success", "with skill"], self._rows(at))
        elif running and time.monotonic() - self._last_line >= PLAIN_INTERVAL:
            self._last_line = time.monotonic()
            parts = [f"{job.title} at step {at[job.run]} of {job.steps}" for job in running]
            self.reporter.info(f"{self._title(running, at)}: {'; '.join(parts)}")

    def _title(self, running: Sequence[Job], at: dict[str, int]) -> str:
        total = len(self.sweep.jobs)
        text = f"sweep {self.sweep.name}: {len(self.outcomes)} of {total} runs done"
        if not self.done_here or not running:
            return text
        trained = [job for job in self.sweep.jobs if job.steps and job.run not in {*self.outcomes, *self.given_up}]
        parts = [1 - at.get(job.run, 0) / job.steps for job in trained]
        left = sum(parts) * sum(self.done_here) / len(self.done_here) / self.slots
        return f"{text}, about {duration(left)} left"

    def _rows(self, at: dict[str, int]) -> list[list[Any]]:
        rows = []
        for point in self.sweep.points:
            jobs = self.sweep.runs_of(point)
            found = [self.outcomes[job.run] for job in jobs if job.run in self.outcomes]
            marks = " ".join(self._mark(job, at) for job in jobs)
            rows.append([point.label, marks, _mean([o.success for o in found]), _mean([o.with_skill for o in found])])
        return rows

    def _mark(self, job: Job, at: dict[str, int]) -> str:
        if job.run in at:
            return f"{at[job.run]}/{job.steps}" if job.steps else "▶"
        return MARKS["done" if job.run in self.outcomes else "failed" if job.run in self.given_up else "waiting"]

    def _step(self, job: Job) -> int:
        return max((metrics.step for metrics in read_steps(self.sweep.run_dir(job).metrics)), default=0)


def _mean(values: Sequence[float | None]) -> str | None:
    known = [value for value in values if value is not None]
    return format_metric(sum(known) / len(known), "%") if known else None
