"""Starting and continuing a training run: its directory, its status whatever happens, and what is reported."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from sdar_cli.base import distributed
from sdar_cli.base.display import Reporter, duration
from sdar_cli.base.errors import PrerequisiteError, RunConflictError, RunFailedError, SdarError, place_error
from sdar_cli.base.signals import handled
from sdar_cli.config.presets import Resolved
from sdar_cli.config.schema import RunConfig
from sdar_cli.runs.checkpoints import remove_unfinished
from sdar_cli.runs.rundir import RunDir, differences
from sdar_cli.train.preflight import missing, require

Train = Callable[[RunConfig, RunDir, Reporter, bool], Mapping[str, object]]


def start_run(resolved: Resolved, runs_dir: Path, argv: Sequence[str], reporter: Reporter) -> None:
    """A new run in a new directory.  Raises SdarError, also for an unexpected failure of the training."""
    config = resolved.config
    _require(config)
    train = _load_training()
    require(resolved, runs_dir, resumed=False)
    path = distributed.from_main(str(RunDir.create(runs_dir, config, argv).path) if distributed.is_main() else "")
    run = RunDir(Path(path))
    _execute(train, resolved, run, reporter, resume=False)


def continue_run(run: RunDir, resolved: Resolved, argv: Sequence[str], reporter: Reporter) -> None:
    """Continue a run with its own configuration.  Raises RunConflictError where the configuration differs."""
    note = check_resume(run, resolved)
    _require(resolved.config)
    train = _load_training()
    require(resolved, run.path.parent, resumed=True)
    if distributed.is_main():
        run.resume(argv, resolved.config)
    if note:
        reporter.info(note)
    _execute(train, resolved, run, reporter, resume=True)


def check_resume(run: RunDir, resolved: Resolved) -> str:
    """Whether the run may continue with this configuration; returns a note on a raised number of steps.

    Raises RunConflictError naming every differing key with both values.
    """
    old, new = run.config(), resolved.config
    changed = differences(old, new)
    raised = new.train.steps > old.train.steps
    if raised:
        del changed["train.steps"]
    if changed:
        listed = "".join(
            f"\n  - {key}: {before!r} in the run, {after!r} now ({resolved.sources[key]})"
            for key, (before, after) in changed.items()
        )
        raise RunConflictError(
            f"run {run.name} was started with other settings",
            why=f"{listed}\n  (train.steps may be raised; nothing else may change)",
            fix=f"sdar train --resume {run.path} without these settings, or without --resume for a new run",
        )
    if run.status().get("state") == "done" and not raised:
        raise RunConflictError(
            f"run {run.name} has already done its {old.train.steps} steps",
            fix=f"sdar train --resume {run.path} --steps {2 * old.train.steps}",
        )
    if not raised:
        return ""
    algo = new.algo
    over_all = algo.coef_steps == 0 and (algo.coef_schedule != "constant" or algo.policy_coef_end is not None)
    names: list[str] = [new.train.lr_schedule] if new.train.lr_schedule != "constant" else []
    names += ["coefficients'"] if over_all else []
    stretched = f"; the {' and the '.join(names)} schedule is stretched" if names else ""
    return f"train.steps raised from {old.train.steps} to {new.train.steps}{stretched}"


def _require(config: RunConfig) -> None:
    """Raises PrerequisiteError where something is not there, before a directory is made."""
    absent = missing(config)
    if absent:
        what = "; ".join(item.what for item in absent)
        raise PrerequisiteError(f"missing: {what}", fix="; ".join(item.fix for item in absent))


def _load_training() -> Train:
    """The training function, whose import takes seconds."""
    try:
        from sdar_cli.train.run import train
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("sdar_cli"):
            raise
        raise PrerequisiteError(f"Python package {error.name!r} is missing", fix="sdar doctor") from error
    return train


def _execute(train: Train, resolved: Resolved, run: RunDir, reporter: Reporter, resume: bool) -> None:
    config = resolved.config
    if not distributed.is_main():
        train(config, run, reporter, resume)
        return
    run.start()
    reporter.attach(run.log_path)
    reporter.info(f"run {run.path}, log {run.log_path}")
    for warning in resolved.warnings:
        reporter.warn(warning)
    reporter.emit("launch", run=run.name, path=str(run.path), resumed=resume, config=config.model_dump(mode="json"))
    try:
        with terminate_as_interrupt():
            summary = train(config, run, reporter, resume)
    except KeyboardInterrupt:
        run.finish("interrupted")
        reporter.emit("done", run=run.name, path=str(run.path), status="interrupted")
        reporter.info(f"interrupted; continue with: sdar train --resume {run.path}")
        raise
    except OSError as error:
        failure = place_error(error, sys.argv[1:], run.path)
        failure.__cause__ = error
        _record_failure(failure, run, reporter)
        raise failure from error
    except Exception as error:
        _record_failure(error, run, reporter)
        if isinstance(error, SdarError):
            raise
        raise RunFailedError(
            f"run {run.name} failed: {type(error).__name__}: {error}".splitlines()[0],
            why=f"the log has the details: {run.log_path}",
            fix="rerun with --debug for the traceback",
        ) from error
    run.finish("done", summary=summary)
    reporter.emit("done", run=run.name, path=str(run.path), status="done", summary=summary)
    _show_summary(run, summary, reporter)


def _record_failure(error: Exception, run: RunDir, reporter: Reporter) -> None:
    reporter.log("".join(traceback.format_exception(error)))
    text = error.render() if isinstance(error, SdarError) else f"{type(error).__name__}: {error}"
    try:
        remove_unfinished(run.checkpoints)  # half a checkpoint is worth nothing, and its room may be needed
        run.finish("failed", error=text)
    except OSError as second:  # the first error is the one to show
        reporter.warn(f"{run.status_path} still says that the run is running: {second.strerror}")
    reporter.emit("done", run=run.name, path=str(run.path), status="failed", error=text)


def _show_summary(run: RunDir, summary: Mapping[str, object], reporter: Reporter) -> None:
    rows = [
        (key.replace("_", " "), _shown(key, value)) for key, value in summary.items() if not isinstance(value, dict)
    ]
    reporter.table(f"run {run.name}", ["", "value"], rows)


def _shown(key: str, value: Any) -> Any:
    if isinstance(value, float):
        is_share = key.startswith(("success", "with_skill", "skill_present"))
        return f"{100 * value:.1f}%" if is_share else duration(value) if key == "seconds" else f"{value:.4g}"
    return value


@contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """SIGTERM (a scheduler's) takes the same way out as Ctrl-C: save, note the state, end."""

    def forward(number: int, frame: FrameType | None) -> None:
        if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # started in the background of a shell
            raise KeyboardInterrupt
        signal.raise_signal(signal.SIGINT)

    with handled(forward, signal.SIGTERM):
        yield
