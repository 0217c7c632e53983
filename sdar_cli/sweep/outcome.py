"""What one finished run says: success at the end and at its best, without and with the skill, and how early it rose."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdar_cli.comparison.evaluations import EARLY_STEPS, early_training, evaluated_steps
from sdar_cli.runs import RunDir


@dataclass(frozen=True)
class Outcome:
    """Rates are fractions, None where they were not measured.

    success, with_skill, score: on the panel after the last step; before training for a run without steps; the score
    without the skill.  early: mean success of the training episodes over ``early_steps`` (the area under the curve over
    its width); curve: over all steps.  best: the highest success without skill of an evaluation after training began,
    at ``best_step``; None where only the last step was evaluated.
    """

    run: str
    steps: int
    success: float | None
    with_skill: float | None
    score: float | None
    early: float | None
    early_steps: int
    curve: float | None
    best: float | None
    best_step: int | None
    panel_sha256: str
    seconds: float


def outcome_of(run: RunDir) -> Outcome:
    """Read a finished run."""
    status = run.status()
    steps = status["summary"]["steps"]
    without, shown = rates(run, steps)
    early = min(EARLY_STEPS, steps)
    trained = [(step, rates(run, step)[0].get("success")) for step in evaluated_steps(run) if step]
    known = [(rate, -step) for step, rate in trained if rate is not None]
    best, at = max(known) if len(known) > 1 else (None, None)
    return Outcome(
        run=run.name,
        steps=steps,
        success=without.get("success"),
        with_skill=shown.get("success"),
        score=without.get("score"),
        early=early_training(run, early) if steps else None,
        early_steps=early,
        curve=early_training(run, steps) if steps else None,
        best=best,
        best_step=None if at is None else -at,
        panel_sha256=status["summary"]["panel_sha256"],
        seconds=status["seconds"],
    )


def rates(run: RunDir, step: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The evaluation after a step, without and with the skill; empty where it was not made."""
    path = evaluation_path(run, step)
    if not path.is_file():
        return {}, {}
    found: dict[bool, dict[str, Any]] = {False: {}, True: {}}
    for result in json.loads(path.read_text(encoding="utf-8"))["results"]:
        found[result["with_skill"]] = result["overall"]
    return found[False], found[True]


def evaluation_path(run: RunDir, step: int) -> Path:
    """The evaluation that training makes after a step."""
    return run.eval / f"step-{step:06d}.json"
