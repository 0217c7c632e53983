"""The outcome of a run: success at the end and at its best, without and with the skill, and how early it rose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from sdar_cli.runs.curves import EARLY_STEPS, early_training
from sdar_cli.runs.results import EvaluationResult, MetricLabel
from sdar_cli.runs.rundir import RunDir


@dataclass(frozen=True)
class Outcome:
    """Rates are fractions, None where they were not measured.

    success, with_skill, score: on the panel after the last step; before training for a run without steps; the score
    without the skill.  early: mean success of the training episodes over ``early_steps`` (the area under the curve over
    its width); curve: over all steps.  best: the highest success without skill of an evaluation after training began,
    at ``best_step``; None where only the last step was evaluated.  metrics: the others that the evaluation shows,
    without the skill, by name; labels: how those are shown.
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
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    labels: tuple[MetricLabel, ...] = ()

    def to_json(self) -> Mapping[str, object]:
        """JSON-ready."""
        return {name: value for name, value in asdict(self).items() if name != "labels"}


def outcome_of(run: RunDir) -> Outcome:
    """Read a finished run."""
    status = run.status()
    steps = status["summary"]["steps"]
    without, shown = _result(run, steps, False), _result(run, steps, True)
    early = min(EARLY_STEPS, steps)
    trained = [(found.overall.success, -step) for step in run.evaluated_steps() if step
               if (found := _result(run, step, False))]  # fmt: skip
    best, at = max(trained) if len(trained) > 1 else (None, None)
    metrics = dict(without.overall.metrics) if without else {}
    return Outcome(
        run=run.name,
        steps=steps,
        success=without.overall.success if without else None,
        with_skill=shown.overall.success if shown else None,
        score=metrics.pop("score", None),
        early=early_training(run, early) if steps else None,
        early_steps=early,
        curve=early_training(run, steps) if steps else None,
        best=best,
        best_step=None if at is None else -at,
        panel_sha256=status["summary"]["panel_sha256"],
        seconds=status["seconds"],
        metrics=metrics,
        labels=tuple(label for label in (without.metrics if without else ()) if label.name in metrics),
    )


def _result(run: RunDir, step: int, with_skill: bool) -> EvaluationResult | None:
    """The evaluation after a step; None where it was not made."""
    report = run.evaluation(step)
    return report.result(with_skill) if report else None
