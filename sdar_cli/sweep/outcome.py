"""What one finished run says: success at the end and at its best, without and with the skill, and how early it rose."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdar_cli.runs import RunDir
from sdar_cli.track import read_metrics

EARLY_STEPS = 6


@dataclass(frozen=True)
class Outcome:
    """Success rates are fractions, None where they were not measured.

    success, with_skill: on the panel at the end; before training for a run without steps.
    early: mean success of the training episodes over steps 1 to 6 (all steps, if there are fewer), which is the area
    under the success curve over its width; curve: over all steps.  best: the highest evaluation without skill after
    training began, at ``best_step``; the last one where it is the only one.
    """

    run: str
    steps: int
    success: float | None
    with_skill: float | None
    early: float | None
    curve: float | None
    best: float | None
    best_step: int | None
    panel_sha256: str | None
    seconds: float


def outcome_of(run: RunDir) -> Outcome:
    """Read a finished run."""
    status = run.status()
    summary = status["summary"]
    trained = summary["steps"] > 0
    when = "after" if trained else "before"
    success = [row["success"] for row in read_metrics(run.metrics)]
    best = best_evaluation(run.eval) if trained else None
    return Outcome(
        run=run.name,
        steps=summary["steps"],
        success=summary[f"success_{when}"],
        with_skill=summary[f"with_skill_{when}"],
        early=mean(success[:EARLY_STEPS]),
        curve=mean(success),
        best=best[1] if best else None,
        best_step=best[0] if best else None,
        panel_sha256=summary["panel_sha256"],
        seconds=status["seconds"],
    )


def mean(values: Sequence[float]) -> float | None:
    """None for none."""
    return sum(values) / len(values) if values else None


def best_evaluation(folder: Path) -> tuple[int, float] | None:
    """(step, success without skill) of the best evaluation after a step of training, the earliest of equals."""
    found = []
    for path in sorted(folder.glob("step-*.json")):
        step = int(path.stem.removeprefix("step-"))
        rate = without_skill(json.loads(path.read_text(encoding="utf-8")))
        if step and rate is not None:
            found.append((step, rate))
    return max(found, key=lambda item: (item[1], -item[0]), default=None)


def without_skill(report: Mapping[str, Any]) -> float | None:
    """Success without the skill in an evaluation's report."""
    rates = [result["overall"]["success"] for result in report["results"] if not result["with_skill"]]
    return rates[0] if rates else None
