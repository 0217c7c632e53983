"""Outcomes, verdicts and the plot, on runs whose every figure is known."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.compare.comparison_material import make_run, wins
from sdar_cli.analysis.compare.comparison import ArmValue, Corrected, Estimate, MeasureReport, Pair
from sdar_cli.analysis.sweeps.plot import MEAN, SEED, SKILLED, WIDTH, forest
from sdar_cli.analysis.sweeps.records import PointResult, SeedMeans
from sdar_cli.analysis.sweeps.results import over_seeds, verdict
from sdar_cli.runs.rundir import RunDir
from sdar_cli.stats import Difference
from sdar_cli.sweep.outcome import outcome_of

TASKS = 20


def done(folder: Path, counts: dict[int, int], training: list[float], **more: Any) -> RunDir:
    """A finished run that won so many of 20 tasks after each step."""
    path = make_run(
        folder, "a", {step: wins(count, TASKS) for step, count in counts.items()}, training=training, **more
    )
    summary = {"steps": max(counts), "panel_sha256": "p"}
    (path / "status.json").write_text(json.dumps({"state": "done", "seconds": 5.0, "summary": summary}))
    return RunDir(path)


def test_early_speed_is_the_mean_success_of_six_steps(tmp_path: Path) -> None:
    found = outcome_of(done(tmp_path, {0: 2, 8: 10}, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 1.0, 1.0]))
    assert found.early == pytest.approx(0.35)  # 2.1 / 6
    assert found.curve == pytest.approx(4.1 / 8)
    assert (found.early_steps, found.success, found.best) == (6, 0.5, None)


def test_a_short_run_has_its_own_early_steps(tmp_path: Path) -> None:
    found = outcome_of(done(tmp_path, {0: 2, 2: 10}, [0.2, 0.4]))
    assert (found.early, found.early_steps) == (pytest.approx(0.3), 2)


def test_the_best_evaluation_is_named_with_its_step_and_the_first_of_equals(tmp_path: Path) -> None:
    found = outcome_of(done(tmp_path, {0: 19, 2: 12, 4: 15, 6: 15, 8: 9}, [0.5] * 8, with_skill=wins(18, TASKS)))
    assert (found.best, found.best_step) == (0.75, 4)  # that before training does not count
    assert (found.success, found.with_skill) == (0.45, 0.9)


def test_scores_are_kept(tmp_path: Path) -> None:
    assert outcome_of(done(tmp_path, {0: 2, 1: 2}, [0.0], scores=[0.25] * TASKS)).score == pytest.approx(0.25)


def test_a_run_without_steps_is_what_was_before(tmp_path: Path) -> None:
    found = outcome_of(done(tmp_path, {0: 7}, []))
    assert (found.success, found.early, found.curve, found.best) == (0.35, None, None, None)


def test_one_seed_has_no_interval_and_a_missing_value_no_mean(tmp_path: Path) -> None:
    one = outcome_of(done(tmp_path, {0: 2, 1: 5}, [0.5]))
    assert over_seeds([one.success]) == SeedMeans(n=1, mean=0.25, low=-math.inf, high=math.inf, values=[0.25])
    assert over_seeds([one.with_skill]) is None and over_seeds([0.5, None]) is None and over_seeds([]) is None


def measure(estimates: dict[str, float], **ps: tuple[float, float]) -> MeasureReport:
    """ps: pair ``a_b`` to the corrected p of Welch's test and of the bootstrap."""
    pairs = [
        Pair(*pair.split("_"), 0.0, {"welch": corrected(p), "two_level": corrected(q)}) for pair, (p, q) in ps.items()
    ]
    arms = [ArmValue(label, [], Estimate(value, None, None, None)) for label, value in estimates.items()]
    return MeasureReport("m", "%", arms, pairs)


def corrected(p: float) -> Corrected:
    return Corrected(Difference(0.0, 0.0, 0.0, p), p)


def test_a_winner_differs_from_every_other_point_by_both_tests() -> None:
    estimates = {"a": 0.3, "b": 0.6, "c": 0.2}
    clear = verdict(measure(estimates, a_b=(0.01, 0.02), a_c=(0.9, 0.9), b_c=(0.03, 0.04)), "methods")
    assert (clear.winner, clear.alike) == ("b", [])
    assert clear.text == "m: the winner is b (60.0 %); it differs from every other point"
    for ps in ((0.06, 0.01), (0.01, 0.06)):
        unclear = verdict(measure(estimates, a_b=(0.01, 0.02), a_c=(0.9, 0.9), b_c=ps), "methods")
        assert (unclear.winner, unclear.alike) == (None, ["c"])
        assert "no winner; highest is b (60.0 %), which cannot be distinguished from c" in unclear.text


def test_without_a_test_there_is_no_winner() -> None:
    found = measure({"a": 0.3, "b": 0.6}, a_b=(0.01, 0.01))
    found = replace(found, pairs=[Pair("a", "b", 0.3, {})])  # one of them has one seed
    assert verdict(found, "mixed").winner is None
    early = measure({"a": 0.3, "b": 0.6}, a_b=(0.01, 0.01))
    early = replace(early, pairs=[Pair("a", "b", 0.3, {"welch": corrected(0.01)})])  # early speed has no tasks to draw
    assert verdict(early, "methods").winner == "b"


def test_points_shown_the_skill_are_not_judged_with_the_others() -> None:
    """Their early success is that of another task."""
    found = measure({"a": 0.3, "b": 0.6, "shown": 0.9}, a_b=(0.01, 0.01), a_shown=(0.01, 0.01), b_shown=(0.01, 0.01))
    judged = verdict(found, "methods", ["shown"])
    assert judged.winner == judged.highest == "b"
    assert judged.text.startswith("m (without shown, whose policy is shown the skill): the winner is b (60.0 %)")


def point(name: str, values: list[float], low: float, high: float, skilled: float | None) -> PointResult:
    found = SeedMeans(len(values), sum(values) / len(values), low, high, values)
    return PointResult(name, found, SeedMeans(1, skilled, 0.0, 1.0, []) if skilled else None)


def test_the_plot_has_every_mark_where_it_belongs() -> None:
    lines = forest([point("a", [0.2, 0.4], 0.1, 0.5, 0.9), point("bb", [0.5], -math.inf, math.inf, None)])
    assert lines[1].startswith("a  │") and lines[2].startswith("bb │")
    a, b = (line[4:-1] for line in lines[1:3])
    assert len(a) == len(b) == WIDTH + 1 == 57
    # 0 to 100 % in 56 steps: 10 % is 5.6, 20 % 11.2, 30 % 16.8, 40 % 22.4, 50 % 28, 90 % 50.4
    where = {mark: [n for n, c in enumerate(a) if c == mark] for mark in f"├┤{SEED}{MEAN}{SKILLED}"}
    assert where == {"├": [6], "┤": [28], SEED: [11, 22], MEAN: [17], SKILLED: [50]}
    assert b == " " * 28 + MEAN + " " * 28
    assert lines[3].endswith("100 %") and lines[3][4 + 28 - 1 : 4 + 29] in (" 50", "50 ", "50")


def test_the_plot_ends_where_the_figures_do_and_cuts_what_is_below_zero() -> None:
    lines = forest([point("a", [0.02, 0.04], -0.1, 0.16, None)])
    assert lines[-1].endswith("25 %") and lines[1][3] == "├"
    assert forest([PointResult("a")]) == []
