"""Runs of a sweep as processes of this machine: so many slots, each with its share of the cores or with one GPU."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sdar_cli.base.resources import core_count
from sdar_cli.config.schema import RunConfig
from sdar_cli.sweep.drive import command
from sdar_cli.sweep.plan import Job
from sdar_cli.sweep.state import SweepDir


@dataclass(frozen=True)
class Slots:
    """How many runs at a time; the GPU of each where there are any; engine workers and torch threads of each."""

    count: int
    threads: int
    gpus: tuple[str, ...] = ()

    def environment(self, slot: int) -> dict[str, str]:
        """Environment variables of a process in this slot.  An OMP_NUM_THREADS that is set already stays."""
        own = {"OMP_NUM_THREADS": str(self.threads), **os.environ}
        return {**own, "CUDA_VISIBLE_DEVICES": self.gpus[slot % len(self.gpus)]} if self.gpus else own


def wants_gpu(configs: Sequence[RunConfig]) -> bool:
    """Whether some run would use a GPU."""
    return any(config.model.device != "cpu" for config in configs)


def visible_gpus() -> tuple[str, ...]:
    """Names for CUDA_VISIBLE_DEVICES, found without loading torch."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return tuple(part.strip() for part in given.split(",") if part.strip() not in ("", "-1"))
    return tuple(str(n) for n in range(sum(p.name[6:].isdigit() for p in Path("/dev").glob("nvidia[0-9]*"))))


def make_slots(configs: Sequence[RunConfig], wanted: int | None) -> Slots:
    """As many as wanted; else one per GPU, or per core where no run wants a GPU.  Never more than runs."""
    gpus = visible_gpus() if wants_gpu(configs) else ()
    count = min(wanted or len(gpus) or core_count(), max(1, len(configs)))
    return Slots(count, max(1, core_count() // count), gpus)


@dataclass(frozen=True)
class LocalExecutor:
    """Runs as processes of this machine."""

    slots: Slots

    @property
    def count(self) -> int:
        return self.slots.count

    def describe(self) -> str:
        gpus = f", GPUs {' '.join(self.slots.gpus)}" if self.slots.gpus else ""
        return f"{self.count} at a time here, threads of each: {self.slots.threads}{gpus}"

    def launch(self, sweep: SweepDir, job: Job, slot: int) -> Started:
        """Start or continue a job's run."""
        words = command(sweep, job, workers_of(sweep, job, self.slots.threads))
        return Started(words, self.slots.environment(slot), sweep.logs / f"{job.run}.log")


def workers_of(sweep: SweepDir, job: Job, threads: int) -> int | None:
    """Engine processes for a run that would take one per core; results do not depend on their number."""
    return None if sweep.config(job).env.workers else threads


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
