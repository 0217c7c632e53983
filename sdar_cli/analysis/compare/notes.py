"""What a reader must know before believing a comparison, found in the runs themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sdar_cli.analysis.compare.arms import Arm
from sdar_cli.analysis.compare.comparison import SettingDifference
from sdar_cli.analysis.compare.evaluations import Evaluation, step_of
from sdar_cli.analysis.compare.measures import Measure, taggers
from sdar_cli.config.merge import flatten
from sdar_cli.runs.rundir import RunDir
from sdar_cli.stats import MIN_SEEDS

ONE_SEED = "this compares two checkpoints, not two methods"
NO_SETTING = ("name", "seed")


def setting_differences(arms: Sequence[Arm]) -> list[SettingDifference]:
    """Settings in which the arms' runs differ: the key and its value in each arm; several values where runs differ."""
    if not all(arm.runs for arm in arms):
        return []
    tables = [[flatten(run.config()) for run in arm.runs] for arm in arms]
    rows = []
    for key in tables[0][0]:
        values = [list(dict.fromkeys(_shown_value(table[key]) for table in group)) for group in tables]
        if key not in NO_SETTING and any(each != values[0] for each in values):
            rows.append(SettingDifference(key, [", ".join(each) for each in values]))
    return rows


def _shown_value(value: Any) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def notes(arms: Sequence[Arm], evaluations: Sequence[Sequence[Evaluation]], kind: str) -> list[str]:
    """Sentences, the most important first."""
    found = []
    if kind == "checkpoints":
        found.append(f"{ONE_SEED}: each arm is one seed, and another seed may differ by more than what is shown")
    if kind == "mixed":
        single = ", ".join(arm.label for arm in arms if len(arm.members) == 1)
        found.append(f"no test of {single}: one seed says nothing of a method; give it two seeds or more")
    few = [arm.label for arm in arms if 1 < len(arm.members) < MIN_SEEDS]
    if few and kind == "methods":
        found.append(f"no two-level bootstrap of {', '.join(few)}: it needs {MIN_SEEDS} seeds, and so should you")
    if kind == "one" and len(arms[0].members) == 1:
        found.append("one seed: the intervals speak of the sampling of tasks only")
    for arm in arms:
        found += _within(arm)
    judges = taggers([each for group in evaluations for each in group])
    if len(judges) > 1:
        found.append(f"scores are left out: they were judged by {' and '.join(sorted(map(str, judges)))}")
    return [*found, *_shown(arms), *_untrained(arms), *_steps(evaluations), *_unfinished(arms), *_banks(arms)]


def _within(arm: Arm) -> list[str]:
    """An arm's runs should differ in their seed and in nothing else."""
    if len(arm.runs) < 2:
        return []
    found, configs = [], [run.config() for run in arm.runs]
    seeds = [config.seed for config in configs]
    if len(set(seeds)) < len(seeds):
        listed = ", ".join(map(str, seeds))
        found.append(f"arm {arm.label} has runs of one seed ({listed}): they are not independent")
    tables = [flatten(config) for config in configs]
    keys = [k for k in tables[0] if k not in NO_SETTING and any(t[k] != tables[0][k] for t in tables)]
    if keys:
        found.append(f"the runs of arm {arm.label} differ in more than their seed: {', '.join(keys)}")
    return found


def shown_the_skill(arms: Sequence[Arm]) -> list[str]:
    """Labels of the arms whose policy trains with the skill in its own prompt, where others train without."""
    found = [arm.label for arm in arms if any(run.config().train.with_skill for run in arm.runs)]
    return found if len(found) < len(arms) else []


def _shown(arms: Sequence[Arm]) -> list[str]:
    labels = ", ".join(shown_the_skill(arms))
    text = f"early speed of {labels} is no match for the others': the policy is shown the skill while it trains"
    return [text] if labels else []


def _untrained(arms: Sequence[Arm]) -> list[str]:
    labels = [arm.label for arm in arms if arm.runs and all(run.config().train.steps == 0 for run in arm.runs)]
    if not labels or len(labels) == len(arms):
        return []
    return [f"no early speed is compared, because {', '.join(labels)} did not train: leave it out to see that"]


def _steps(evaluations: Sequence[Sequence[Evaluation]]) -> list[str]:
    flat = [each for group in evaluations for each in group]
    asked = any(each.member.step is not None for each in flat)
    steps = sorted({step for each in flat if (step := step_of(each)) is not None})
    if asked or len(steps) < 2:
        return []
    return [f"the last evaluations are after different steps: {', '.join(map(str, steps))} (RUN@STEP chooses one)"]


def _unfinished(arms: Sequence[Arm]) -> list[str]:
    states = {run.name: run.status().get("state", "created") for arm in arms for run in arm.runs}
    return [f"run {name} is not finished: {state}" for name, state in states.items() if state != "done"]


def _banks(arms: Sequence[Arm]) -> list[str]:
    runs: list[RunDir] = [run for arm in arms for run in arm.runs]
    banks = {run.provenance().get("skill_bank_sha256") for run in runs} - {None}
    return ["the runs were shown different skill banks"] if len(banks) > 1 else []


def spreads(arms: Sequence[Arm], measures: Sequence[Measure]) -> list[str]:
    """Seeds that all have the same value leave nothing to judge a difference by."""
    found = []
    for measure in measures:
        flat = [arm.label for arm, v in zip(arms, measure.values, strict=True) if len(v) > 1 and len(set(v)) == 1]
        if flat:
            found.append(f"{measure.title}: all seeds of {', '.join(flat)} came out the same: no spread")
    return found
