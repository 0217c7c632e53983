"""Runs of a sweep as tasks of a Ray cluster.  The nodes share a file system and have sdar installed.

``RAY_ADDRESS`` names the cluster, as for any Ray program; without it Ray starts one on this machine.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdar_cli.base.errors import PrerequisiteError
from sdar_cli.config.schema import RunConfig
from sdar_cli.sweep.drive import POLL, command
from sdar_cli.sweep.local import Started, wants_gpu, workers_of
from sdar_cli.sweep.plan import Job
from sdar_cli.sweep.state import SweepDir

INTERRUPTED = 130


def run_on_node(path: str, run: str, threads: int) -> int:
    """Start or continue one run of a sweep on this node; its exit code.  A cancelled task lets its run save first."""
    sweep = SweepDir.open(path)
    job = next(job for job in sweep.jobs if job.run == run)
    words = command(sweep, job, workers_of(sweep, job, threads))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # blocked in Ray's workers, and the run inherits that
    attempt = Started(words, {**os.environ, "OMP_NUM_THREADS": str(threads)}, sweep.logs / f"{job.run}.log")
    try:
        while (code := attempt.poll()) is None:
            time.sleep(POLL)
    except KeyboardInterrupt:
        attempt.signal(signal.SIGINT)
        while (code := attempt.poll()) is None:
            time.sleep(POLL)
    return code


class Task:
    """A run on some node."""

    def __init__(self, ray: Any, reference: Any, sweep: SweepDir, job: Job) -> None:
        self._ray = ray
        self._reference = reference
        self._sweep = sweep
        self._job = job

    def poll(self) -> int | None:
        """Its exit code; None while it runs, also while a cancelled one still saves.  1 where its node was lost."""
        if not self._ray.wait([self._reference], timeout=0)[0]:
            return None
        try:
            return self._ray.get(self._reference)
        except self._ray.exceptions.TaskCancelledError:
            return None if self._sweep.state(self._job) == "running" else INTERRUPTED
        except self._ray.exceptions.RayError as error:
            with (self._sweep.logs / f"{self._job.run}.log").open("a", encoding="utf-8") as log:
                log.write(f"{type(error).__name__}: {error}\n")
            return 1

    def signal(self, number: int) -> None:
        """Ctrl-C lets the run save; SIGKILL ends the task, and a run that outlives it is waited for when resumed."""
        self._ray.cancel(self._reference, force=number == signal.SIGKILL)


@dataclass(frozen=True)
class RayExecutor:
    """``count`` tasks at a time, each with so many CPUs and GPUs of the cluster."""

    ray: Any
    count: int
    cpus: int
    gpus: int
    nodes: int

    def describe(self) -> str:
        each = f"{self.cpus} CPU" + (f" and {self.gpus} GPU" if self.gpus else "")
        return f"{self.count} at a time on {self.nodes} Ray node{'s' if self.nodes > 1 else ''}, each with {each}"

    def launch(self, sweep: SweepDir, job: Job, slot: int) -> Task:
        """Start or continue a job's run wherever there is room."""
        remote = self.ray.remote(run_on_node).options(
            num_cpus=self.cpus, num_gpus=self.gpus, max_retries=0, name=job.run
        )
        return Task(self.ray, remote.remote(str(Path(sweep.path).resolve()), job.run, self.cpus), sweep, job)


def connect(configs: Sequence[RunConfig], slots: int | None) -> RayExecutor:
    """Join the cluster, or start one here.  Raises PrerequisiteError without the package or without a wanted GPU."""
    try:
        import ray
    except ModuleNotFoundError as error:
        raise PrerequisiteError("Python package 'ray' is missing", fix="pip install ray") from error
    if not ray.is_initialized():
        ray.init(logging_level=logging.WARNING, log_to_driver=False)
    has = ray.cluster_resources()
    cpus, gpus = int(has.get("CPU", 0)), int(has.get("GPU", 0))
    gpu = int(wants_gpu(configs) and gpus > 0)
    count = max(1, min(slots or (gpus if gpu else cpus), max(1, len(configs))))
    nodes = [node for node in ray.nodes() if node["Alive"]]
    smallest = min(int(node["Resources"].get("CPU", 0)) for node in nodes)
    return RayExecutor(ray, count, max(1, min(cpus // count, smallest)), gpu, len(nodes))
