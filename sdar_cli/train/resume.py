"""Where a resumed run continues, and what it must share with the run it continues."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sdar_cli.base import distributed
from sdar_cli.base.errors import RunConflictError
from sdar_cli.config.schema import RunConfig
from sdar_cli.runs.checkpoints import latest_checkpoint, remove_unfinished, step_of
from sdar_cli.runs.metrics import MetricsWriter
from sdar_cli.runs.results import OLDER_HASHES
from sdar_cli.runs.rundir import RunDir

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


def starting_point(run: RunDir, config: RunConfig, resume: bool) -> Path | None:
    """The checkpoint to continue from; everything recorded after it is removed.

    Raises RunConflictError where the run has more steps than ``train.steps``.
    """
    if not resume:
        return None
    with distributed.main_first():
        if distributed.is_main():
            remove_unfinished(run.checkpoints)
        start = latest_checkpoint(run.checkpoints)
        step = step_of(start) if start else 0
        if step > config.train.steps:
            raise RunConflictError(f"the run has {step} steps, more than train.steps={config.train.steps}")
        if distributed.is_main():
            forget_after(run, step)
    return start


def forget_after(run: RunDir, step: int) -> None:
    """Remove what was recorded after a step."""
    for path in (run.metrics, run.skills):
        if path.exists():
            MetricsWriter(path).truncate_after(step)
    for path in [*run.episodes.glob("step-*.jsonl"), *run.eval.glob("step-*")]:
        if int(path.name.split("-")[1].split(".")[0]) > step:
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
