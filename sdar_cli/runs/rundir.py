"""Run directories: where everything about a run lies, and what may be in the way of a new one.

``config.json`` (accepted back by ``--config``), ``provenance.json``, ``code.diff``, ``status.json``,
``metrics.jsonl``, ``skills.jsonl``, ``episodes/``, ``eval/``, ``checkpoints/``, ``logs/``.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from sdar_cli.base import locks
from sdar_cli.base.errors import ConfigError, RunConflictError, RunFailedError
from sdar_cli.base.files import (
    check_types,
    read_json_object,
    remove_temporary,
    rewrite_json,
    write_json_atomic,
    write_text_atomic,
)
from sdar_cli.base.text import mask
from sdar_cli.config.merge import flatten, suggest
from sdar_cli.config.older import to_file
from sdar_cli.config.schema import RUN_NAME, RunConfig
from sdar_cli.runs.folder import (
    CONFIG,
    DIFF,
    FOLDERS,
    LOCK,
    METRICS,
    PROVENANCE,
    SKILLS,
    STATUS,
    is_free,
    looks_like_run,
    step_in,
)
from sdar_cli.runs.metrics import read_steps
from sdar_cli.runs.results import EvaluationReport, read_report
from sdar_cli.runs.status import CONFIG_TYPES, PROVENANCE_TYPES, STATUS_TYPES, Overview, Status

RUNS_DIR = Path("runs")


class RunDir:
    """One run's directory.  Paths are properties; everything written here is written atomically."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._locked: locks.Lock | None = None
        self._begun: Status = {}
        """The status that ``start`` wrote."""

    @property
    def name(self) -> str:
        """The directory's own name."""
        return self.path.name

    @property
    def config_path(self) -> Path:
        return self.path / CONFIG

    @property
    def provenance_path(self) -> Path:
        return self.path / PROVENANCE

    @property
    def diff_path(self) -> Path:
        return self.path / DIFF

    @property
    def status_path(self) -> Path:
        return self.path / STATUS

    @property
    def metrics(self) -> Path:
        return self.path / METRICS

    @property
    def skills(self) -> Path:
        return self.path / SKILLS

    @property
    def episodes(self) -> Path:
        return self.path / "episodes"

    @property
    def eval(self) -> Path:
        return self.path / "eval"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def log_path(self) -> Path:
        return self.logs / "train.log"

    @classmethod
    def create(cls, runs_dir: Path, config: RunConfig, argv: Sequence[str] = ()) -> RunDir:
        """A new run: its folders, config.json, provenance.json and code.diff.

        Raises RunConflictError where ``config.name`` names a directory that is not empty.
        """
        from sdar_cli.runs.provenance import collect_provenance, working_tree_diff

        provenance, diff = collect_provenance(config, argv), working_tree_diff()
        run = cls(_claim(runs_dir, config))
        busy = RunConflictError(f"another process is making {run.path}", fix="choose another --name")
        with locks.locked(run.path / LOCK, busy):
            cls.check_free(run.path.parent, run.name)  # again: another process may have made it in between
            remove_temporary(run.path)
            for folder in FOLDERS:
                (run.path / folder).mkdir(exist_ok=True)
            write_json_atomic(run.provenance_path, provenance)
            write_text_atomic(run.diff_path, diff)
            write_json_atomic(run.config_path, to_file(config))  # last: it makes the folder a run
        return run

    @staticmethod
    def check_free(runs_dir: Path, name: str | None) -> None:
        """Raises RunConflictError where ``name`` is taken: by anything but what a start that was killed leaves."""
        path = runs_dir / name if name else None
        if path is None or is_free(path):
            return
        resume = f"sdar train --resume {path}, or " if looks_like_run(path) else ""
        raise RunConflictError(
            f"{path} exists and is not empty",
            why="a run never writes into another's directory" if resume else "it is no run, and a run needs its own",
            fix=f"{resume}choose another --name" + ("" if resume else ", or remove it"),
        )

    @classmethod
    def open(cls, reference: str | Path, runs_dir: Path = RUNS_DIR) -> RunDir:
        """An existing run, by name under ``runs_dir`` or by directory.  Raises ConfigError where there is none."""
        for path in (runs_dir / reference, Path(reference).expanduser()):
            if looks_like_run(path):
                return cls(path)
        names = [run.name for run in list_runs(runs_dir)]
        raise ConfigError(
            f"no run {str(reference)!r}{suggest(str(reference), names, '/')}",
            why=f"neither {runs_dir / reference} nor {reference} holds {CONFIG} and the {PROVENANCE} of a run",
            fix=f"sdar runs list --runs-dir {runs_dir}",
        )

    @classmethod
    def latest(cls, runs_dir: Path = RUNS_DIR) -> RunDir:
        """The run created last.  Raises ConfigError where there is none."""
        runs = list_runs(runs_dir)
        if not runs:
            raise ConfigError(f"no run under {runs_dir}", fix="sdar train")
        return runs[-1]

    def config(self) -> RunConfig:
        """The run's configuration.  Raises ConfigError where the file does not fit this version."""
        from sdar_cli.config.presets import resolve

        return resolve(config_file=self.config_path).config

    def benchmark(self) -> tuple[str | None, str | None]:
        """Name and source of the environment it was trained on, read without the rest of the configuration."""
        env = self._settings().get("env") or {}
        return env.get("name"), env.get("source")

    def provenance(self) -> dict[str, Any]:
        """What is known about the run's origin.  Raises RunFailedError where the file is damaged."""
        return check_types(self.provenance_path, read_json_object(self.provenance_path), PROVENANCE_TYPES)

    def update_provenance(self, **values: Any) -> None:
        """Add or replace entries, for what is known only once the run is under way."""
        write_json_atomic(self.provenance_path, {**self.provenance(), **values})

    def status(self) -> Status:
        """The last status written; {} before the first.  ``state`` is ``lost`` where the process is gone.

        Raises RunFailedError where the file is damaged.
        """
        if not self.status_path.is_file():
            return {}
        status = self._read_status()
        if status.get("state") == "running" and not self._is_locked():
            status["state"] = "lost"
        return status

    def _read_status(self) -> Status:
        return cast(Status, check_types(self.status_path, read_json_object(self.status_path), STATUS_TYPES))

    def _settings(self) -> Mapping[str, Any]:
        """The configuration as it stands in the file."""
        return check_types(self.config_path, read_json_object(self.config_path), CONFIG_TYPES)

    def evaluation_path(self, step: int) -> Path:
        """The evaluation that training makes after a step (0: before); its episodes lie next to it as ``.jsonl``."""
        return self.eval / f"step-{step:06d}.json"

    def evaluated_steps(self) -> list[int]:
        """The steps after which training evaluated, in order."""
        return sorted(step for path in self.eval.glob("*.json") if (step := step_in(path)) is not None)

    def evaluation(self, step: int) -> EvaluationReport | None:
        """What training measured on the panel after a step; None where it did not.  Raises RunFailedError."""
        path = self.evaluation_path(step)
        return read_report(path) if path.is_file() else None

    def episode_files(self) -> dict[int, Path]:
        """The files of the episodes trained on, by step."""
        paths = sorted(self.episodes.glob("*.jsonl"))
        return {step: path for path in paths if (step := step_in(path)) is not None}

    def _lock(self) -> bool:
        """Hold the run for this process until it ends, however it ends; False where another one holds it."""
        lock = locks.try_lock(self.path / LOCK)
        if lock is None:
            return False
        self._locked = lock
        return True

    def _is_locked(self) -> bool:
        """Whether some process holds the run."""
        return self._locked is not None or locks.is_locked(self.path / LOCK)

    def start(self) -> None:
        """``status.json``: running, in this process.  A resumed run keeps its first start and its seconds.

        Raises RunConflictError while another process runs it.
        """
        if not self._lock():
            raise RunConflictError(f"run {self.name} is still running", fix="wait for it or end it first")
        remove_temporary(self.path)
        old = self._read_status() if self.status_path.is_file() else Status()
        now = _now()
        self._begun = {
            "state": "running",
            "started": old.get("started", now),
            "attempt_started": now,
            "attempts": old.get("attempts", 0) + 1,
            "seconds": old.get("seconds", 0.0),
            "pid": os.getpid(),
            "host": socket.gethostname(),
        }
        write_json_atomic(self.status_path, self._begun)

    def finish(self, state: str, **values: Any) -> None:
        """``status.json``: done, failed or interrupted; all attempts' seconds; ``values`` such as error or summary."""
        begun, now = self._begun, _now()
        ended = {
            "state": state,
            "started": begun["started"],
            "attempt_started": begun["attempt_started"],
            "attempts": begun["attempts"],
            "ended": now,
            "seconds": round(begun["seconds"] + _seconds_between(begun["attempt_started"], now), 3),
            **values,
        }
        rewrite_json(self.status_path, ended)
        if self._locked is not None:
            self._locked.close()
            self._locked = None

    def add_to_summary(self, **values: Any) -> None:
        """Put into a finished run's summary what was measured apart from it."""
        status = self._read_status()
        write_json_atomic(self.status_path, {**status, "summary": {**(status.get("summary") or {}), **values}})

    def resume(self, argv: Sequence[str], config: RunConfig) -> None:
        """Note another start in the provenance and store the configuration it continues with.

        Raises RunConflictError while the run's process is still alive.
        """
        from sdar_cli.runs.provenance import code_state

        status = self.status()
        if status.get("state") == "running":
            raise RunConflictError(
                f"run {self.name} is still running",
                why=f"process {status.get('pid')} on {status.get('host')} writes to {self.path}",
                fix="wait for it or end it first",
            )
        starts = [
            *self.provenance().get("resumed", []),
            {"time": _now(), "argv": [mask(word) for word in argv], **code_state()},
        ]
        self.update_provenance(resumed=starts)
        write_json_atomic(self.config_path, to_file(config))

    def overview(self) -> Overview:
        """One row of ``sdar runs list``: status, method, steps, each step's success, held-out success at both ends."""
        config = self._settings()
        status = self.status()
        steps = read_steps(self.metrics)
        summary = status.get("summary") or {}
        return {
            "name": self.name,
            "path": str(self.path),
            "status": status.get("state", "created"),
            "method": config.get("method"),
            "model": (config.get("model") or {}).get("name"),
            "seed": config.get("seed"),
            "steps_done": max((metrics.step for metrics in steps), default=0),
            "steps": (config.get("train") or {}).get("steps"),
            "curve": [metrics.success for metrics in steps if metrics.success is not None],
            "success_before": summary.get("success_before"),
            "success_after": summary.get("success_after"),
            "started": status.get("started"),
            "seconds": status.get("seconds"),
        }


def list_runs(runs_dir: Path = RUNS_DIR) -> list[RunDir]:
    """Every run under a directory, the oldest first; damaged ones too."""
    if not runs_dir.is_dir():
        return []
    paths = [path for path in runs_dir.iterdir() if looks_like_run(path)]
    return [RunDir(path) for path in sorted(paths, key=lambda path: (_created(path), path.name))]


def differences(old: RunConfig, new: RunConfig) -> dict[str, tuple[Any, Any]]:
    """Dotted keys whose values differ; the run's name is not a setting."""
    before, after = flatten(old), flatten(new)
    return {key: (before[key], after[key]) for key in before if key != "name" and before[key] != after[key]}


def default_name(config: RunConfig, when: datetime) -> str:
    """``ENV-sdar-gap-s0-20261122-221500``: environment, method, gate, seed and time; without a gate where none acts."""
    gated = config.algo.coef > 0 and config.algo.shaping == "none"
    gate = [config.algo.gate.rpartition(":")[2]] if gated else []
    parts = [config.env.name, config.method, *gate, f"s{config.seed}", f"{when:%Y%m%d-%H%M%S}"]
    return "-".join("".join(c if RUN_NAME.fullmatch("x" + c) else "_" for c in part) for part in parts)


def _claim(runs_dir: Path, config: RunConfig) -> Path:
    """Make the directory.  A default name is made unique; a given one must be free or empty."""
    if config.name is not None:
        RunDir.check_free(runs_dir, config.name)
        path = runs_dir / config.name
        path.mkdir(parents=True, exist_ok=True)
        return path
    base = default_name(config, datetime.now())
    for number in range(1, 1000):
        path = runs_dir / (base if number == 1 else f"{base}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        return path
    raise RunConflictError(f"1,000 runs named {base} exist under {runs_dir}", fix="choose a --name")


def _created(path: Path) -> str:
    provenance = path / "provenance.json"
    try:
        return str(read_json_object(provenance).get("created", ""))
    except RunFailedError:
        return ""  # a damaged run sorts first; showing it reports the damage


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _seconds_between(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
