"""Where a resumed run continues, and what it must share with the run it continues."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sdar_cli.base import distributed
from sdar_cli.base.errors import RunConflictError, RunFailedError
from sdar_cli.config.schema import RunConfig
from sdar_cli.runs.checkpoints import list_checkpoints, problems, remove_unfinished, step_of
from sdar_cli.runs.folder import step_in
from sdar_cli.runs.metrics import MetricsWriter, missing_steps
from sdar_cli.runs.results import OLDER_HASHES
from sdar_cli.runs.rundir import RunDir

if TYPE_CHECKING:
    from sdar_cli.base.display import Reporter

IDENTITY = (
    "panel_sha256",
    "train_tasks_sha256",
    "skill_bank_sha256",
    "model_commit",
    "chat_template_sha256",
    "corpus_sha256",
)
"""Entries of the provenance that a resumed run must not change."""
TASKS = {"panel_sha256", "train_tasks_sha256"}


def starting_point(run: RunDir, config: RunConfig, resume: bool, reporter: Reporter) -> Path | None:
    """The checkpoint to continue from: the newest that is whole and whose steps are all in ``metrics.jsonl``.

    A newer one that is passed over is warned of.  Nothing is removed (``forget_after`` does that).
    Raises RunConflictError where the run has more steps than ``train.steps``, RunFailedError where no checkpoint is
    whole.
    """
    if not resume:
        return None
    start = _newest_whole(run, reporter) if distributed.is_main() else None
    start = distributed.from_main(start)
    step = step_of(start) if start else 0
    if step > config.train.steps:
        raise RunConflictError(f"the run has {step} steps, more than train.steps={config.train.steps}")
    return start


def _newest_whole(run: RunDir, reporter: Reporter) -> Path | None:
    damaged: dict[Path, str] = {}
    gaps: dict[Path, str] = {}
    chosen = None
    for path in reversed(list_checkpoints(run.checkpoints)):
        if found := problems(path):
            damaged[path] = "; ".join(found)
        elif absent := missing_steps(run.metrics, step_of(path)):
            gaps[path] = f"{run.metrics.name} has no line of step {', '.join(map(str, absent))}"
        else:
            chosen = path
            break
    if chosen is None and gaps:  # no checkpoint is older than the gap
        chosen = next(iter(gaps))
        reporter.warn(f"{gaps.pop(chosen)}: the record of the run keeps this gap")
    if chosen is None and damaged:
        listed = "".join(f"\n  - {path.name}: {text}" for path, text in damaged.items())
        raise RunFailedError(
            f"no checkpoint of run {run.name} is whole",
            why=f"{listed}\n  (a resumed run would train other weights than an uninterrupted one)",
            fix=f"copy {run.checkpoints} again from where it was whole, or start a new run",
        )
    for path, text in {**damaged, **gaps}.items():
        if chosen is not None and step_of(path) > step_of(chosen):
            reporter.warn(f"{path.name} is passed over ({text}): the run goes on from {chosen.name}")
    return chosen


def forget_after(run: RunDir, step: int) -> None:
    """Remove what was recorded after a step, and what a kill left half written."""
    remove_unfinished(run.checkpoints)
    for path in (run.metrics, run.skills):
        if path.exists():
            MetricsWriter(path).truncate_after(step)
    for path in [*run.episodes.iterdir(), *run.eval.iterdir()]:
        if (step_in(path) or 0) > step:
            path.unlink()


def refuse_other_data(run: RunDir, now: Mapping[str, object]) -> None:
    """A resumed run must continue with the same tasks, skills and model.

    Raises RunConflictError that names what differs.
    """
    before = run.provenance()
    changed = [key for key in IDENTITY if before.get(key) not in (None, now.get(key))]
    if changed:
        listed = "".join(f"\n  - {key}: {before[key]} in the run, {now.get(key)} now" for key in changed)
        listed += "" if set(changed) - TASKS else f"\n  ({OLDER_HASHES})"
        raise RunConflictError(
            f"run {run.name} was started with other data", why=listed, fix="restore them, or start a new run"
        )
