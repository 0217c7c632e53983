"""A sweep's directory: ``sweep.json``, ``configs/``, ``runs/`` (ordinary run directories), ``logs/``, ``results.json``.

What has been done is read from the run directories alone, so that nothing else can disagree with them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sdar_cli.base import locks
from sdar_cli.base.errors import ConfigError, RunConflictError, RunFailedError
from sdar_cli.base.files import read_json_object, write_json_atomic
from sdar_cli.base.text import mask
from sdar_cli.config.merge import suggest
from sdar_cli.config.older import current_shape, to_file
from sdar_cli.config.schema import RUN_NAME, RunConfig
from sdar_cli.runs.rundir import RunDir
from sdar_cli.sweep.grid import Point
from sdar_cli.sweep.plan import Job, Plan, with_more_seeds

SWEEPS_DIR = Path("sweeps")
DRIVER_LOCK = "lock"


class SweepDir:
    """One sweep's directory.  Made by ``create`` or ``open``."""

    def __init__(self, path: Path, record: dict[str, Any]) -> None:
        self.path = path
        self.record = record
        try:
            self.points = [Point(**point) for point in record["points"]]
            self.jobs = [Job(**job) for job in record["jobs"]]
            self.seeds: list[int] = list(record["seeds"])
            self.baselines: dict[str, str | None] = dict(record["baselines"])
        except (KeyError, TypeError, ValueError) as error:
            why = f"it is no sweep's record: {type(error).__name__}: {error}"
            raise RunFailedError(f"{path / 'sweep.json'} cannot be read", why=why) from error
        outside = [job.run for job in self.jobs if not RUN_NAME.fullmatch(str(job.run))]
        if outside:
            raise RunFailedError(
                f"{path / 'sweep.json'} names runs outside the sweep", why=", ".join(map(repr, outside))
            )

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def runs(self) -> Path:
        return self.path / "runs"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def results_path(self) -> Path:
        return self.path / "results.json"

    @classmethod
    def create(cls, path: Path, plan: Plan, about: Mapping[str, Any]) -> SweepDir:
        """A new directory.  about: more entries of ``sweep.json``.  Raises RunConflictError where it is taken."""
        from sdar_cli.runs.provenance import code_state, package_versions

        check_free(path)
        for folder in ("configs", "runs", "logs"):
            (path / folder).mkdir(parents=True, exist_ok=True)
        _write_configs(path, plan.configs)
        record = {
            "name": path.name,
            "created": datetime.now(UTC).isoformat(timespec="milliseconds"),
            **about,
            **plan.record(),
            **code_state(),
            "packages": package_versions(),
        }
        write_json_atomic(path / "sweep.json", record)  # last: it makes the folder a sweep
        return cls(path, record)

    @classmethod
    def open(cls, reference: str, sweeps_dir: Path = SWEEPS_DIR) -> SweepDir:
        """An existing sweep, by name or directory.  Raises ConfigError where there is none."""
        for path in (sweeps_dir / reference, Path(reference).expanduser()):
            if (path / "sweep.json").is_file():
                return cls(path, read_json_object(path / "sweep.json"))
        names = [path.parent.name for path in sorted(sweeps_dir.glob("*/sweep.json"))]
        raise ConfigError(
            f"no sweep {reference!r}{suggest(reference, names, '/')}",
            why=f"the sweeps under {sweeps_dir} are {', '.join(names) or 'none'}",
            fix="sdar sweep NAME",
        )

    def config_path(self, job: Job) -> Path:
        """The configuration the job's run is started with."""
        return self.path / "configs" / f"{job.run}.json"

    def runs_of(self, point: Point) -> list[Job]:
        """A point's jobs; of a point without training the evaluation of its model."""
        own = [job for job in self.jobs if job.point == point.label]
        return own or [job for job in self.jobs if job.run == self.baselines[point.label]]

    def config(self, job: Job) -> RunConfig:
        """The same, read."""
        return RunConfig.model_validate(current_shape(read_json_object(self.config_path(job))))

    def run_dir(self, job: Job) -> RunDir:
        """The job's run, which need not exist yet."""
        return RunDir(self.runs / job.run)

    def state(self, job: Job) -> str:
        """``waiting`` before the first start, else the run's: running, done, failed, interrupted, lost, created."""
        run = self.run_dir(job)
        return run.status().get("state", "created") if run.config_path.is_file() else "waiting"

    def extend(self, seeds: int) -> None:
        """More seeds of every point.  Raises ConfigError for fewer than there are."""
        if seeds < len(self.seeds):
            have = len(self.seeds)
            raise ConfigError(f"sweep {self.name} has {have} seeds already", fix=f"--seeds {have} or more")
        configs = {job.run: self.config(job) for job in self.jobs}
        plan = Plan(self.points, self.seeds, self.jobs, configs, self.baselines, [], self.record["paper"])
        plan = with_more_seeds(plan, seeds)
        _write_configs(self.path, {run: config for run, config in plan.configs.items() if run not in configs})
        self.record.update(plan.record())
        write_json_atomic(self.path / "sweep.json", self.record)
        self.jobs, self.seeds = plan.jobs, plan.seeds

    def note_start(self, argv: Sequence[str]) -> None:
        """Record another start, with its command and the code's state."""
        from sdar_cli.runs.provenance import code_state

        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self.record.setdefault("resumed", []).append(
            {"time": now, "argv": [mask(word) for word in argv], **code_state()}
        )
        write_json_atomic(self.path / "sweep.json", self.record)

    def remove_partial_run(self, job: Job) -> bool:
        """Remove what a start left behind that was stopped before its directory was a run; whether there was any."""
        run = self.run_dir(job)
        if not run.path.exists() or run.config_path.is_file():
            return False
        shutil.rmtree(run.path)
        return True

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the sweep for this process, however it ends.  Raises RunConflictError where another one holds it."""
        busy = RunConflictError(f"sweep {self.name} is being run by another process", fix="wait for it or end it first")
        with locks.locked(self.path / DRIVER_LOCK, busy):
            yield


def check_free(path: Path) -> None:
    """Raises RunConflictError where the directory is not free."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RunConflictError(
            f"{path} exists and is not empty", fix=f"sdar sweep --resume {path.name}, or another --name"
        )


def named_path(sweeps_dir: Path, name: str) -> Path:
    """The directory of a new sweep.  Raises ConfigError for a name that could lead out of ``sweeps_dir``."""
    if not RUN_NAME.fullmatch(name):
        raise ConfigError(f"--name {name!r}: a name is made of letters, digits, '.', '_' and '-'",
                          fix="choose such a name; --sweeps-dir chooses the folder")  # fmt: skip
    return sweeps_dir / name


def default_path(sweeps_dir: Path, stem: str) -> Path:
    """``sweeps/beta-20261122-221500``, numbered where it is taken."""
    base = f"{stem}-{datetime.now():%Y%m%d-%H%M%S}"
    numbered = (sweeps_dir / (base if n == 1 else f"{base}-{n}") for n in range(1, 1000))
    return next(path for path in numbered if not path.exists())


def _write_configs(path: Path, configs: Mapping[str, RunConfig]) -> None:
    for name, config in configs.items():
        write_json_atomic(path / "configs" / f"{name}.json", to_file(config))
