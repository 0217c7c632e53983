"""The comparison itself: every measure of every arm with its interval, and the tests that belong to what is compared.

- One arm: intervals, no test.
- Arms of one checkpoint each: the exact paired test on tasks.  It compares checkpoints, not methods.
- Arms of two seeds or more: Welch's test on seed means and the two-level bootstrap, both; and the paired test seed by
  seed where both arms ran the same ones on the same training tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from sdar_cli.analysis.compare import notes
from sdar_cli.analysis.compare.arms import Arm
from sdar_cli.analysis.compare.comparison import (
    TESTS,
    ArmReport,
    ArmValue,
    Comparison,
    Corrected,
    Estimate,
    MeasureReport,
    Pair,
)
from sdar_cli.analysis.compare.evaluations import Evaluation, read_evaluations, step_of
from sdar_cli.analysis.compare.measures import Measure, measures_of
from sdar_cli.runs.curves import EARLY_STEPS
from sdar_cli.stats import (
    MIN_SEEDS,
    Difference,
    PairedDifference,
    holm,
    paired,
    seed_by_seed,
    seeds_needed,
    t_interval,
    tasks_needed,
    two_level,
    welch,
    wilson,
)

Seeds = list[tuple[int, str | None]]
GAIN = 0.05
"""The difference for which the needed seeds and tasks are given."""


def compare(
    arms: Sequence[Arm], *, evaluation: str | None = None, early: int = EARLY_STEPS, against_first: bool = False
) -> Comparison:
    """Everything that is reported of the arms.  Success and differences are fractions.

    evaluation: the name of the evaluation in eval/; None, the training's last.  against_first: every other arm with the
    first, in place of all pairs.  Raises SdarError subclasses for missing or unlike evaluations.
    """
    evaluations = read_evaluations(arms, evaluation)
    measures = measures_of(arms, evaluations, early)
    pairs = [(0, j) for j in range(1, len(arms))] if against_first else list(combinations(range(len(arms)), 2))
    kind = kind_of(arms)
    seeds = [_seeds(arm) for arm in arms]
    matches = [_same_seeds(seeds[i], seeds[j]) for i, j in pairs]
    listed = [*notes.notes(arms, evaluations, kind), *notes.spreads(arms, measures)]
    return Comparison(
        kind=kind,
        panel=evaluations[0][0].report.panel,
        arms=[_arm(arm, group) for arm, group in zip(arms, evaluations, strict=True)],
        measures=[_measure(measure, arms, pairs, matches) for measure in measures],
        differences=notes.setting_differences(arms),
        notes=listed,
    )


def kind_of(arms: Sequence[Arm]) -> str:
    """``one`` arm, ``checkpoints`` (one each), ``methods`` (two seeds or more each), or ``mixed``."""
    sizes = [len(arm.members) for arm in arms]
    if len(arms) == 1:
        return "one"
    return "checkpoints" if max(sizes) == 1 else "methods" if min(sizes) > 1 else "mixed"


def _arm(arm: Arm, group: Sequence[Evaluation]) -> ArmReport:
    """Where the numbers come from, and success by task type in every setting."""
    labels = [label for label in group[0].results if all(label in each.results for each in group)]
    return ArmReport(
        label=arm.label,
        members=[each.member.title for each in group],
        seeds=[run.config().seed for run in arm.runs],
        steps=[step_of(each) for each in group],
        evaluations=[str(each.path) for each in group],
        types={label: {kind: _type(group, label, kind) for kind in group[0].results[label].types} for label in labels},
    )


def _type(group: Sequence[Evaluation], label: str, kind: str) -> Estimate:
    rates = [each.results[label].types[kind] for each in group]
    if len(rates) == 1:
        return Estimate(rates[0].success, rates[0].low, rates[0].high, "Wilson")
    return _over_seeds([rate.success for rate in rates])


def _seeds(arm: Arm) -> Seeds | None:
    """The seed and the training tasks of every member; None where that is not known, or too little to be paired."""
    if len(arm.runs) < max(MIN_SEEDS, len(arm.members)):
        return None
    found = [(run.config().seed, run.provenance().get("train_tasks_sha256")) for run in arm.runs]
    alike = len({tasks for _, tasks in found}) == 1
    return found if alike and len(set(found)) == len(found) else None


def _same_seeds(first: Seeds | None, second: Seeds | None) -> list[int] | None:
    """Where each seed of the first arm stands in the second; None where their seeds or training tasks differ."""
    if first is None or second is None or set(first) != set(second):
        return None
    return [second.index(seed) for seed in first]


def _measure(
    measure: Measure, arms: Sequence[Arm], pairs: Sequence[tuple[int, int]], matches: Sequence[list[int] | None]
) -> MeasureReport:
    tested = [_tests(measure, i, j, match) for (i, j), match in zip(pairs, matches, strict=True)]
    found: list[dict[str, Corrected]] = [{} for _ in pairs]
    for test in TESTS:
        where = [index for index, tests in enumerate(tested) if test in tests]
        for index, p in zip(where, holm([tested[index][test].p for index in where]), strict=True):
            result = tested[index][test]
            found[index][test] = Corrected(result, p, _tasks_needed(result))
    several = any(len(arm.members) > 1 for arm in arms)
    return MeasureReport(
        title=measure.title,
        unit=measure.unit,
        arms=[ArmValue(arm.label, measure.values[n], _interval(measure, n)) for n, arm in enumerate(arms)],
        pairs=[
            Pair(arms[i].label, arms[j].label, _mean(measure.values[j]) - _mean(measure.values[i]), tests)
            for (i, j), tests in zip(pairs, found, strict=True)
        ],
        seeds_needed=seeds_needed(measure.values, GAIN) if several else None,
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _tasks_needed(result: Difference) -> int | None:
    if not isinstance(result, PairedDifference):
        return None
    return tasks_needed((result.better + result.worse) / result.tasks, GAIN)


def _interval(measure: Measure, index: int) -> Estimate:
    values = measure.values[index]
    if len(values) > 1:
        return _over_seeds(values, measure.unit == "%")
    if measure.wins is None:
        return Estimate(values[0], None, None, None)
    tasks = len(measure.wins[index][0])
    return Estimate(values[0], *wilson(values[0] * tasks, tasks), "Wilson, sampling error of tasks only")


def _over_seeds(values: Sequence[float], share: bool = True) -> Estimate:
    """The t interval, that of a share cut to what one can be; none where all seeds came out the same, which leaves no
    spread."""
    found = t_interval(values)
    if len(set(values)) == 1:
        return Estimate(found.estimate, None, None, None)
    low, high = (max(0.0, found.low), min(1.0, found.high)) if share else (found.low, found.high)
    return Estimate(found.estimate, low, high, "t over seeds")


def _tests(measure: Measure, i: int, j: int, match: list[int] | None) -> dict[str, Difference]:
    """The tests that apply to a pair, before any correction."""
    first, second = measure.values[i], measure.values[j]
    found: dict[str, Difference] = {}
    if len(first) == len(second) == 1 and measure.wins is not None:
        found["paired"] = paired(measure.wins[i][0], measure.wins[j][0], measure.plays)
    if min(len(first), len(second)) > 1:
        found["welch"] = welch(first, second)
        if measure.outcomes is not None and min(len(first), len(second)) >= MIN_SEEDS:
            found["two_level"] = two_level(measure.outcomes[i], measure.outcomes[j])
    if match is not None:
        found["seed_by_seed"] = seed_by_seed(first, [second[index] for index in match])
    return found


def worse_arms(comparison: Comparison, margin: float) -> list[str]:
    """Sentences on the arms that are worse than the first by more than ``margin`` (a fraction), with confidence.

    That is: the whole 95 % Welch interval of the difference on the first measure lies below -margin; with several arms
    at the level that Bonferroni asks for.
    """
    measure = comparison.measures[0]
    baseline, *others = measure.arms
    level = 1 - 0.05 / max(1, len(others))
    found = []
    for arm in others:
        difference = welch(baseline.values, arm.values, level)
        if difference.high < -margin:
            found.append(
                f"{arm.label} is worse than {baseline.label} by {-100 * difference.estimate:.1f} points, "
                f"interval [{-100 * difference.high:.1f}, {-100 * difference.low:.1f}] ({measure.title})"
            )
    return found
