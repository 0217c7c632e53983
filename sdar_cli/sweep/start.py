"""Beginning and resuming a sweep: its directory, its lock, where its runs go, and its results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sdar_cli.base.display import Reporter
from sdar_cli.base.errors import ConfigError, PrerequisiteError, RunFailedError
from sdar_cli.base.resources import core_count
from sdar_cli.config.schema import RunConfig
from sdar_cli.sweep import slurm as on_slurm
from sdar_cli.sweep.board import Board
from sdar_cli.sweep.drive import Driver, Executor
from sdar_cli.sweep.local import LocalExecutor, Slots, make_slots, wants_gpu
from sdar_cli.sweep.plan import Plan, missing_prerequisites
from sdar_cli.sweep.state import SweepDir, check_free


class Places(NamedTuple):
    """Where runs go: local, slurm or ray; how many at a time; starts of each; options for sbatch."""

    executor: str
    slots: int | None
    tries: int
    sbatch: tuple[str, ...]

    def open(self, configs: Sequence[RunConfig]) -> Executor:
        """This machine or the Ray cluster."""
        if self.executor == "ray":
            from sdar_cli.sweep.ray import connect

            return connect(configs, self.slots)
        return LocalExecutor(make_slots(configs, self.slots))

    def script(self, path: Path, tasks: Sequence[int], configs: Sequence[RunConfig]) -> str:
        """The script of the Slurm array of these runs."""
        return on_slurm.script(path, tasks, wants_gpu(configs), self.slots, self.tries, self.sbatch)


def begin(path: Path, plan: Plan, about: Mapping[str, Any], places: Places, reporter: Reporter) -> SweepDir | None:
    """A new sweep in a new directory; None where it was submitted.

    Raises PrerequisiteError where something is missing for a run.
    """
    check_free(path)
    absent = missing_prerequisites(plan.configs)
    if absent:
        what = "; ".join(item.what for item in absent)
        raise PrerequisiteError(f"missing: {what}", fix="; ".join(item.fix for item in absent))
    if places.executor == "slurm":
        on_slurm.require_sbatch()
    executor = None if places.executor == "slurm" else places.open(list(plan.configs.values()))
    for warning in plan.warnings:
        reporter.warn(warning)
    state = SweepDir.create(path, plan, about)
    return state if _run(state, executor, places, reporter) else None


def resume(state: SweepDir, seeds: int | None, argv: Sequence[str], places: Places, reporter: Reporter) -> bool:
    """Continue a sweep, with more seeds where asked; True where it has ended, False where it was submitted."""
    executor = None if places.executor == "slurm" else places.open([state.config(job) for job in state.jobs])
    with state.locked():
        state.extend(seeds or len(state.seeds))
        state.note_start(argv)
    return _run(state, executor, places, reporter)


def _run(state: SweepDir, executor: Executor | None, places: Places, reporter: Reporter) -> bool:
    """Run or submit what is not done; True where it has ended."""
    with state.locked():
        reporter.attach(state.logs / "sweep.log")
        todo = [job for job in state.jobs if state.state(job) != "done"]
        reporter.emit("launch", sweep=state.name, path=str(state.path), runs=len(state.jobs), todo=len(todo))
        reporter.info(
            f"sweep {state.path}: {len(state.points)} points x {len(state.seeds)} seeds, "
            f"{len(todo)} of {len(state.jobs)} runs to do"
        )
        if executor is None:
            return _submit(state, places, reporter)
        reporter.info(executor.describe())
        try:
            Driver(state, executor, places.tries, Board(state, reporter, executor.count)).run(todo)
        except KeyboardInterrupt:
            reporter.emit("done", sweep=state.name, path=str(state.path), status="interrupted")
            reporter.info(f"interrupted; resume with: sdar sweep --resume {state.path}")
            raise
        finally:
            reporter.end_live()
    return True


def _submit(state: SweepDir, places: Places, reporter: Reporter) -> bool:
    tasks = open_tasks(state)
    if not tasks:
        return True
    answer = on_slurm.submit(state.path, places.script(state.path, tasks, [state.config(job) for job in state.jobs]))
    reporter.info(f"{answer}; when it has ended: sdar sweep --show {state.path}")
    reporter.emit("done", sweep=state.name, path=str(state.path), status="submitted", sbatch=answer)
    return False


def open_tasks(state: SweepDir) -> list[int]:
    """Positions of the runs that are neither done nor running."""
    return [index for index, job in enumerate(state.jobs) if state.state(job) not in ("done", "running")]


def run_task(state: SweepDir, task: int, tries: int, reporter: Reporter) -> None:
    """One run, as a task of a Slurm array.  The run's own lock keeps two tasks apart."""
    if task >= len(state.jobs):
        raise ConfigError(f"sweep {state.name} has no run {task}", why=f"its runs are 0 to {len(state.jobs) - 1}")
    job = state.jobs[task]
    if state.state(job) == "done":
        reporter.info(f"{job.title}: done already")
        return
    executor = LocalExecutor(Slots(1, core_count()))
    Driver(state, executor, tries, Board(state, reporter, 1)).run([job])
    how = state.state(job)
    if how != "done":
        raise RunFailedError(f"run {job.run} of sweep {state.name} is not done: {how}",
                             why=f"log {state.logs / f'{job.run}.log'}")  # fmt: skip
