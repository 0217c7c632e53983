"""What one finished run says: success at the end and at its best, without and with the skill, and how early it rose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sdar_cli.runs.curves import EARLY_STEPS, early_training
from sdar_cli.runs.rundir import RunDir, result_of


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
    trained = [(step, rates(run, step)[0].get("success")) for step in run.evaluated_steps() if step]
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
    played = run.evaluation(step)
    without, shown = result_of(played, False), result_of(played, True)
    return without["overall"] if without else {}, shown["overall"] if shown else {}
