"""What a sweep found: points over their seeds, the tests of ``sdar compare``, who won if anybody did; results.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sdar_cli.analysis.compare.arms import Arm, Member
from sdar_cli.analysis.compare.build import TESTS, compare
from sdar_cli.analysis.compare.notes import ONE_SEED, shown_the_skill
from sdar_cli.analysis.compare.render import SIGNIFICANT, power_lines
from sdar_cli.analysis.sweeps.plot import forest
from sdar_cli.base.display import Reporter
from sdar_cli.base.errors import ConfigError
from sdar_cli.base.files import write_json_atomic, write_text_atomic
from sdar_cli.runs.rundir import RunDir
from sdar_cli.stats import t_interval
from sdar_cli.sweep.outcome import Outcome, outcome_of
from sdar_cli.sweep.state import SweepDir

MEASURES = {
    "success": "success, no skill",
    "with_skill": "with skill",
    "score": "score, no skill",
    "early": "early speed",
    "best": "best, no skill",
}
"""Columns of the table.  ``curve`` is in results.json alone."""
EARLY = "early speed: training"
JUDGED = ("success, no skill", EARLY)
"""Beginnings of the measures for which a winner may be named."""


def collect(sweep: SweepDir) -> dict[str, Any]:
    """Everything the finished runs say; also written to ``results.json``."""
    states = {job.run: sweep.state(job) for job in sweep.jobs}
    outcomes = {job.run: outcome_of(sweep.run_dir(job)) for job in sweep.jobs if states[job.run] == "done"}
    _share_evaluations(sweep, outcomes)
    figures = sweep.record["paper"].get("values", {})
    points, arms = [], []
    for point in sweep.points:
        jobs = [job for job in sweep.runs_of(point) if job.run in outcomes]
        found = [outcomes[job.run] for job in jobs]
        before = outcomes.get(sweep.baselines[point.label] or "")
        if found and found[0].steps:
            arms.append(Arm(point.label, tuple(Member(sweep.run_dir(job)) for job in jobs)))
        points.append({
            "point": point.label,
            "settings": dict(point.settings),
            "steps": found[0].steps if found else None,
            "before": {"success": before and before.success, "with_skill": before and before.with_skill},
            "runs": [asdict(outcome) for outcome in found],
            **{measure: over_seeds(found, measure) for measure in (*MEASURES, "curve")},
            "paper": figures.get(point.figure),
        })  # fmt: skip
    early = min((outcome.early_steps for outcome in outcomes.values() if outcome.steps), default=0)
    results = {
        "sweep": sweep.name,
        "seeds": sweep.seeds,
        "early_steps": early,
        "points": points,
        **_tested(arms, early),
        "paper_note": sweep.record["paper"].get("note"),
        "unfinished": {run: state for run, state in states.items() if state != "done"},
    }
    write_json_atomic(sweep.results_path, results)
    return results


def _share_evaluations(sweep: SweepDir, outcomes: dict[str, Outcome]) -> None:
    """Give every run, and its summary, the evaluation before training that was made once, saying whose it is."""
    for job in sweep.jobs:
        base = sweep.baselines.get(job.point or "")
        if base not in outcomes or job.run not in outcomes:
            continue
        run, source = sweep.run_dir(job), RunDir(sweep.runs / base)
        path, played = run.evaluation_path(0), source.evaluation_path(0)
        if not path.exists():
            write_text_atomic(path.with_suffix(".jsonl"), played.with_suffix(".jsonl").read_text(encoding="utf-8"))
            write_json_atomic(path, {**source.evaluation(0), "shared_from": base})
            before = outcomes[base]
            run.add_to_summary(success_before=before.success, with_skill_before=before.with_skill)


def over_seeds(outcomes: Sequence[Outcome], measure: str) -> dict[str, Any] | None:
    """Mean and t interval over seeds (no bounds for one); None where a run has not got the measure."""
    values = [getattr(outcome, measure) for outcome in outcomes]
    if not values or None in values:
        return None
    interval = t_interval(values)
    return {"n": len(values), "mean": interval.estimate, "low": interval.low, "high": interval.high, "values": values}


def _tested(arms: Sequence[Arm], early: int) -> dict[str, Any]:
    """The comparison of all trained points, and what it says of a winner; why there is none where there is none."""
    if len(arms) < 2:
        return {"comparison": None, "verdicts": []}
    try:
        comparison = compare(arms, early=early)
    except ConfigError as error:  # a sweep over panels or evaluation settings: nothing to test
        return {"comparison": None, "verdicts": [], "not_compared": error.render()}
    shown = shown_the_skill(arms)
    judged = [m for m in comparison["measures"] if m["measure"].startswith(JUDGED)]
    verdicts = []
    for measure in judged:
        apart = shown if measure["measure"].startswith(EARLY) else []
        if len(arms) - len(apart) > 1:
            verdicts.append(verdict(measure, comparison["kind"], apart))
    return {"comparison": comparison, "verdicts": verdicts}


def verdict(measure: dict[str, Any], kind: str, apart: Sequence[str] = ()) -> dict[str, Any]:
    """The highest point, and those that cannot be told from it; it is a winner if there are none.

    Two points are told apart where every test of the pair (Welch, and the two-level bootstrap where tasks are known) is
    below 5 % after Holm's correction over all pairs of points.  apart: points that are not judged with the others,
    because their policies were shown the skill in training.
    """
    arms = [arm for arm in measure["arms"] if arm["label"] not in apart]
    highest = max(arms, key=lambda arm: arm["estimate"])
    others = [arm["label"] for arm in arms if arm is not highest]
    rows = {frozenset((row["first"], row["second"])): row for row in measure["comparisons"]}
    alike = [label for label in others if not _told_apart(rows[frozenset((label, highest["label"]))])]
    name = measure["measure"] + (f" (without {', '.join(apart)}, whose policy is shown the skill)" if apart else "")
    top = f"{highest['label']} ({100 * highest['estimate']:.1f} %)"
    if kind == "checkpoints":
        text = f"{name}: highest is {top}; no winner is named: {ONE_SEED} (--seeds 3 or more)"
    elif alike:
        text = f"{name}: no winner; highest is {top}, which cannot be told from {', '.join(alike)}"
    else:
        text = f"{name}: the winner is {top}; it differs from every other point"
    winner = None if alike or kind == "checkpoints" else highest["label"]
    return {"measure": measure["measure"], "highest": highest["label"], "winner": winner, "alike": alike, "text": text}


def _told_apart(row: dict[str, Any]) -> bool:
    tests = [row[test]["p_holm"] for test in ("welch", "two_level") if row.get(test)]
    return bool(tests) and max(tests) < SIGNIFICANT


def point_table(results: dict[str, Any]) -> tuple[str, list[str], list[list[Any]]]:
    """(title, columns, rows): a row per point, with the paper's figures where it has them."""
    columns = {key: name for key, name in MEASURES.items() if any(point[key] for point in results["points"])}
    paper = any(point["paper"] for point in results["points"])
    rows = [
        [point["point"], len(point["runs"]), _before(point["before"]), *(_cell(point[key]) for key in columns),
         *([point["paper"]] * paper)]
        for point in results["points"]
    ]  # fmt: skip
    title = f"sweep {results['sweep']}: mean over seeds and 95 % t interval, %"
    return title, ["", "seeds", "before, no / with skill", *columns.values(), *(["the paper's"] * paper)], rows


def remarks(results: dict[str, Any]) -> list[str]:
    """What early speed is, the verdicts and their tests, the seeds still needed, where the paper's figures are from."""
    found = []
    if results["early_steps"]:
        steps = results["early_steps"]
        found.append(f"early speed: mean success of the training episodes of steps 1 to {steps}")
    found += [told["text"] for told in results["verdicts"]]
    if results["comparison"]:
        how = " and ".join(TESTS[test] for test in ("welch", "two_level"))
        found.append(f"told apart: {how}, both below 5 % after Holm's correction over all pairs of points")
        for line in power_lines(results["comparison"])[:1]:
            found.append(f"{line}; {len(results['seeds'])} were run (--resume {results['sweep']} --seeds N adds more)")
    if results["paper_note"]:
        found.append(f"the paper: {results['paper_note']}")
    return found


def show(results: dict[str, Any], reporter: Reporter) -> None:
    """Table, plot and remarks."""
    reporter.table(*point_table(results))
    for line in [*forest(results["points"]), *remarks(results)]:
        reporter.info(line)
    if results.get("not_compared"):
        reporter.warn(f"the points were not tested against each other: {results['not_compared']}")


def _before(rates: dict[str, float | None]) -> str | None:
    shown = ["–" if rate is None else f"{100 * rate:.1f}" for rate in rates.values()]
    return None if set(shown) == {"–"} else " / ".join(shown)


def _cell(found: dict[str, Any] | None) -> str | None:
    if found is None:
        return None
    mean = f"{100 * found['mean']:.1f}"
    return mean if found["n"] == 1 else f"{mean} [{100 * found['low']:.0f}, {100 * found['high']:.0f}]"
