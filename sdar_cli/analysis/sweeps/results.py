"""What a sweep found: points over their seeds, the tests of ``sdar compare``, who won if anybody did; results.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sdar_cli.analysis.compare.arms import Arm, Member
from sdar_cli.analysis.compare.build import compare
from sdar_cli.analysis.compare.comparison import TESTS, Comparison, MeasureReport, Pair
from sdar_cli.analysis.compare.notes import ONE_SEED, shown_the_skill
from sdar_cli.analysis.compare.render import SIGNIFICANT, power_lines, scaled
from sdar_cli.analysis.sweeps.plot import forest
from sdar_cli.analysis.sweeps.records import PointResult, SeedMeans, SweepResults, Verdict
from sdar_cli.base.display import Reporter
from sdar_cli.base.errors import ConfigError
from sdar_cli.base.files import write_json_atomic, write_text_atomic
from sdar_cli.evaluation.metrics import METRICS
from sdar_cli.runs.rundir import RunDir
from sdar_cli.stats import t_interval
from sdar_cli.sweep.grid import Point
from sdar_cli.sweep.outcome import Outcome, outcome_of
from sdar_cli.sweep.state import SweepDir

MEASURES = {
    "success": f"{METRICS['success'].title}, no skill",
    "with_skill": "with skill",
    "score": f"{METRICS['score'].title}, no skill",
    "early": "early speed",
    "best": "best, no skill",
}
"""Columns of the table, before those of further metrics.  ``curve`` is in results.json alone."""
EARLY = "early speed: training"
JUDGED = ("success, no skill", EARLY)
"""Beginnings of the measures for which a winner may be named."""


def collect(sweep: SweepDir) -> SweepResults:
    """All results of the finished runs; also written to ``results.json``."""
    states = {job.run: sweep.state(job) for job in sweep.jobs}
    outcomes = {job.run: outcome_of(sweep.run_dir(job)) for job in sweep.jobs if states[job.run] == "done"}
    _share_evaluations(sweep, outcomes)
    points = [_point(sweep, point, outcomes) for point in sweep.points]
    arms = [
        Arm(point.label, tuple(Member(sweep.run_dir(job)) for job in sweep.runs_of(point) if job.run in outcomes))
        for point, found in zip(sweep.points, points, strict=True)
        if found.steps
    ]
    early = min((outcome.early_steps for outcome in outcomes.values() if outcome.steps), default=0)
    comparison, verdicts, why = _tested(arms, early)
    results = SweepResults(
        sweep=sweep.name,
        seeds=sweep.seeds,
        early_steps=early,
        points=points,
        comparison=comparison,
        verdicts=verdicts,
        not_compared=why,
        metrics=list(dict.fromkeys(label for outcome in outcomes.values() for label in outcome.labels)),
        paper_note=sweep.record["paper"].get("note"),
        unfinished={run: state for run, state in states.items() if state != "done"},
    )
    write_json_atomic(sweep.results_path, results.to_json())
    return results


def _point(sweep: SweepDir, point: Point, outcomes: Mapping[str, Outcome]) -> PointResult:
    found = [outcomes[job.run] for job in sweep.runs_of(point) if job.run in outcomes]
    before = outcomes.get(sweep.baselines[point.label] or "")
    names = dict.fromkeys(name for outcome in found for name in outcome.metrics)
    return PointResult(
        point=point.label,
        **{measure: over_seeds([getattr(each, measure) for each in found]) for measure in (*MEASURES, "curve")},
        metrics={name: over_seeds([each.metrics.get(name) for each in found]) for name in names},
        settings=dict(point.settings),
        steps=found[0].steps if found else None,
        before={"success": before.success if before else None, "with_skill": before.with_skill if before else None},
        runs=found,
        paper=sweep.record["paper"].get("values", {}).get(point.figure),
    )


def _share_evaluations(sweep: SweepDir, outcomes: Mapping[str, Outcome]) -> None:
    """Give every run, and its summary, the evaluation before training that was made once, saying whose it is."""
    for job in sweep.jobs:
        base = sweep.baselines.get(job.point or "")
        if base is None or base not in outcomes or job.run not in outcomes:
            continue
        run, source = sweep.run_dir(job), RunDir(sweep.runs / base)
        path, played, report = run.evaluation_path(0), source.evaluation_path(0), source.evaluation(0)
        if report is not None and not path.exists():
            write_text_atomic(path.with_suffix(".jsonl"), played.with_suffix(".jsonl").read_text(encoding="utf-8"))
            write_json_atomic(path, replace(report, shared_from=base).to_json())
            before = outcomes[base]
            run.add_to_summary(success_before=before.success, with_skill_before=before.with_skill)


def over_seeds(values: Sequence[float | None]) -> SeedMeans | None:
    """Mean and t interval over seeds (no bounds for one); None where a run has not got the measure."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    interval = t_interval(known)
    return SeedMeans(len(known), interval.estimate, interval.low, interval.high, known)


def _tested(arms: Sequence[Arm], early: int) -> tuple[Comparison | None, list[Verdict], str | None]:
    """(the comparison of all trained points, what it says of a winner, why there is none where points cannot be
    compared)."""
    if len(arms) < 2:
        return None, [], None
    try:
        comparison = compare(arms, early=early)
    except ConfigError as error:  # a sweep over panels or evaluation settings: nothing to test
        return None, [], error.render()
    shown = shown_the_skill(arms)
    verdicts = []
    for measure in comparison.measures:
        apart = shown if measure.title.startswith(EARLY) else []
        if measure.title.startswith(JUDGED) and len(arms) - len(apart) > 1:
            verdicts.append(verdict(measure, comparison.kind, apart))
    return comparison, verdicts, None


def verdict(measure: MeasureReport, kind: str, apart: Sequence[str] = ()) -> Verdict:
    """The highest point, and those that cannot be distinguished from it; it is a winner if there are none.

    Two points are distinguished where every test of the pair (Welch, and the two-level bootstrap where tasks are known)
    is below 5 % after Holm's correction over all pairs of points.  apart: points that are not judged with the others,
    because their policies were shown the skill in training.
    """
    arms = [arm for arm in measure.arms if arm.label not in apart]
    highest = max(arms, key=lambda arm: arm.found.estimate)
    others = [arm.label for arm in arms if arm is not highest]
    pairs = {frozenset((pair.first, pair.second)): pair for pair in measure.pairs}
    alike = [label for label in others if not _distinguished(pairs[frozenset((label, highest.label))])]
    name = measure.title + (f" (without {', '.join(apart)}, whose policy is shown the skill)" if apart else "")
    top = f"{highest.label} ({100 * highest.found.estimate:.1f} %)"
    if kind == "checkpoints":
        text = f"{name}: highest is {top}; no winner is named: {ONE_SEED} (--seeds 3 or more)"
    elif alike:
        text = f"{name}: no winner; highest is {top}, which cannot be distinguished from {', '.join(alike)}"
    else:
        text = f"{name}: the winner is {top}; it differs from every other point"
    winner = None if alike or kind == "checkpoints" else highest.label
    return Verdict(measure.title, highest.label, winner, alike, text)


def _distinguished(pair: Pair) -> bool:
    tests = [pair.tests[test].p_holm for test in ("welch", "two_level") if test in pair.tests]
    return bool(tests) and max(tests) < SIGNIFICANT


def point_table(results: SweepResults) -> tuple[str, list[str], list[list[object]]]:
    """(title, columns, rows): a row per point, with the paper's figures where it has them."""
    points = results.points
    columns = {key: name for key, name in MEASURES.items() if any(getattr(point, key) for point in points)}
    labels = [label for label in results.metrics if any(point.metrics.get(label.name) for point in points)]
    paper = any(point.paper for point in points)
    rows = [
        [point.point, len(point.runs), _before(point.before), *(_cell(getattr(point, key)) for key in columns),
         *(_cell(point.metrics.get(label.name), label.unit) for label in labels), *([point.paper] * paper)]
        for point in points
    ]  # fmt: skip
    title = f"sweep {results.sweep}: mean over seeds and 95 % t interval, %"
    further = [f"{label.title}{f' ({label.unit})' * (label.unit not in ('', '%'))}, no skill" for label in labels]
    head = ["", "seeds", "before, no / with skill", *columns.values(), *further]
    return title, [*head, *(["the paper's"] * paper)], rows


def remarks(results: SweepResults) -> list[str]:
    """What early speed is, the verdicts and their tests, the seeds still needed, where the paper's figures are from."""
    found = []
    if results.early_steps:
        found.append(f"early speed: mean success of the training episodes of steps 1 to {results.early_steps}")
    found += [each.text for each in results.verdicts]
    if results.comparison:
        how = " and ".join(TESTS[test] for test in ("welch", "two_level"))
        found.append(f"distinguished: {how}, both below 5 % after Holm's correction over all pairs of points")
        for line in power_lines(results.comparison)[:1]:
            found.append(f"{line}; {len(results.seeds)} were run (--resume {results.sweep} --seeds N adds more)")
    if results.paper_note:
        found.append(f"the paper: {results.paper_note}")
    return found


def show(results: SweepResults, reporter: Reporter) -> None:
    """Table, plot and remarks."""
    reporter.table(*point_table(results))
    for line in [*forest(results.points), *remarks(results)]:
        reporter.info(line)
    if results.not_compared:
        reporter.warn(f"the points were not tested against each other: {results.not_compared}")


def _before(rates: Mapping[str, float | None]) -> str | None:
    shown = ["–" if rate is None else f"{100 * rate:.1f}" for rate in rates.values()]
    return None if set(shown) == {"–"} else " / ".join(shown)


def _cell(found: SeedMeans | None, unit: str = "%") -> str | None:
    if found is None:
        return None
    mean = f"{scaled(found.mean, unit):.1f}"
    form = ".0f" if unit == "%" else ".1f"
    low, high = scaled(found.low, unit), scaled(found.high, unit)
    return mean if found.n == 1 else f"{mean} [{low:{form}}, {high:{form}}]"
