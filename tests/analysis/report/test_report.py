"""The report: its numbers, its episodes, its caveats, and that nothing a model wrote becomes part of the page."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from commands.support import sdar
from report_material import SKILL, episode, make_run

from sdar_cli.analysis.compare.arms import Arm, Member
from sdar_cli.analysis.report.build import build_report, render_html
from sdar_cli.analysis.report.episodes import shade, shown_episodes
from sdar_cli.analysis.report.sections import facts, signal
from sdar_cli.analysis.report.series import metrics_of, panel_series, training_series, turn_series
from sdar_cli.base.errors import ConfigError
from sdar_cli.runs.rundir import RunDir
from sdar_cli.stats import wilson

HOSTILE = "</span></pre><script>alert(1)</script><img src=x onerror=alert(2)>&amp;\x1b[31m"


def arm(label: str, *runs: RunDir) -> Arm:
    return Arm(label, tuple(Member(run) for run in runs))


def test_one_run_is_its_own_line_and_two_have_a_t_interval(tmp_path: Path) -> None:
    first, second = make_run(tmp_path, "a", success=(0.2, 0.4)), make_run(tmp_path, "b", seed=1, success=(0.4, 0.4))
    single = training_series("x", metrics_of(arm("x", first)), "success")
    assert (single.x, single.y, single.low) == ([1, 2], [0.2, 0.4], None)
    both = training_series("x", metrics_of(arm("x", first, second)), "success")
    assert both.y == pytest.approx([0.3, 0.4])
    assert both.low is not None and both.high is not None
    half = 12.7062 * math.sqrt(0.02) / math.sqrt(2)  # t quantile of one degree of freedom, sd of (.2, .4) is sqrt(.02)
    assert both.low[0] == pytest.approx(0.3 - half, abs=1e-4)
    assert both.high[1] == pytest.approx(0.4)


def test_the_band_of_one_run_on_its_panel_is_wilsons(tmp_path: Path) -> None:
    found = panel_series(arm("x", make_run(tmp_path, held_out=((0, 1, 5), (2, 4, 6)))), False, "without skill")
    assert (found.x, found.y) == ([0, 2], [0.1, 0.4])
    assert found.low is not None
    assert found.low[1] == pytest.approx(wilson(4, 10)[0])


def test_a_turns_mean_is_over_steps(tmp_path: Path) -> None:
    run = make_run(tmp_path, metrics=[{"gap_by_turn": [-0.1, None]}, {"gap_by_turn": [-0.3, -0.5]}])
    found = turn_series("x", metrics_of(arm("x", run)), "gap_by_turn")
    assert found.x == [1, 2]
    assert found.y == pytest.approx([-0.2, -0.5])


def test_the_kl_per_turn_is_k3_of_the_recorded_gaps(tmp_path: Path) -> None:
    section = signal([arm("x", make_run(tmp_path, episodes=[episode()]))])
    assert section is not None
    chart = next(chart for chart in section.charts if chart.title.startswith("KL"))
    assert chart.series[0].y == pytest.approx([math.exp(0.25) - 1 - 0.25])


def test_a_gate_becomes_a_shade_of_its_side() -> None:
    assert [shade(gate) for gate in (0.0, 0.4, 0.5, 0.6, 1.0, None)] == [-5, -1, 0, 1, 5, None]


def test_episodes_show_every_token_and_what_the_teacher_read(tmp_path: Path) -> None:
    made = [episode(0), episode(1, won=True), episode(2), episode(3, kind="cool", taught=False)]
    shown = shown_episodes(make_run(tmp_path, episodes=made), 3)
    assert [(each.kind, each.won) for each in shown] == [("cool", False), ("heat", True), ("heat", False)]
    taught = shown[1].turns[0]
    assert "".join(token.text for token in taught.tokens) == made[1].turns[0].response
    assert [taught.tokens[0].shade, taught.tokens[1].shade, taught.tokens[-1].shade] == [4, 0, -4]
    assert "gate 0.900" in taught.tokens[0].tip and "gap +0.250" in taught.tokens[0].tip
    assert taught.prompt[1] == SKILL
    assert "Task: heat look" in taught.prompt[2]
    assert shown[0].turns[0].prompt[1] == ""
    assert shown[0].turns[0].tokens[0].shade is None


def test_nothing_a_model_wrote_becomes_markup(tmp_path: Path) -> None:
    page = render_html(build_report([arm(HOSTILE, make_run(tmp_path, episodes=[episode(text=HOSTILE)]))], HOSTILE))
    assert "<script" not in page
    assert "<img" not in page
    assert "\x1b" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "&amp;amp;" in page


def test_the_page_fetches_nothing(tmp_path: Path) -> None:
    page = render_html(build_report([arm("a", make_run(tmp_path, episodes=[episode()]))], "a"))
    for sign in ("http:", "https:", "src=", "@import", "url(", "<script", "<link"):
        assert sign not in page
    assert 'content="default-src ' in page
    assert "prefers-color-scheme: dark" in page and "@media print" in page and "width=device-width" in page


def test_caveats_are_found_in_the_runs(tmp_path: Path) -> None:
    poor = make_run(
        tmp_path, "poor", state="failed", held_out=((0, 1, 8), (2, 4, 5)),
        metrics=[{"teacher/skill_present": 0.5, "teacher/truncated_prompts": 0.25, "failed_episodes": 3,
                  "mixed_group_ratio": 0.125}],
    )  # fmt: skip
    caveats = "\n".join(build_report([arm("x", poor)], "t").caveats)
    for part in (
        "one seed",
        "50 % held one",
        "25 %",
        "3 episodes",
        "not finished (failed)",
        "from 80.0 to 50.0 %",
        "only 12 % of the groups",
    ):
        assert part in caveats
    good = [make_run(tmp_path, f"g{n}", seed=n) for n in range(2)]
    clean = "\n".join(build_report([arm("y", *good)], "t").caveats)
    assert "one seed" not in clean and "not finished" not in clean and "fell" not in clean


def test_the_headline_is_the_mean_over_seeds(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, f"r{n}", seed=n, held_out=((0, 1, 5), (2, won, 6))) for n, won in enumerate((3, 5))]
    shown = dict(facts([arm("x", *runs)]))
    assert shown["without skill"].startswith("40.0 ±")


def test_arms_of_different_panels_are_refused(tmp_path: Path) -> None:
    arms = [arm("a", make_run(tmp_path, "a")), arm("b", make_run(tmp_path, "b", panel="e" * 64))]
    with pytest.raises(ConfigError, match="different panels"):
        build_report(arms, "t")


def test_several_arms_are_tested_and_their_settings_compared(tmp_path: Path) -> None:
    arms = []
    for label, beta, won in (("flat", 0.0, 1), ("sharp", 5.0, 8)):
        runs = [
            make_run(tmp_path, f"{label}{n}", seed=n, held_out=((2, won + n, 5),), algo={"gate_beta": beta})
            for n in range(2)
        ]
        arms.append(arm(label, *runs))
    report = build_report(arms, "flat against sharp")
    sections = {section.anchor: section for section in report.sections}
    tests = next(table for table in sections["tests"].tables if table.title.startswith("differences"))
    assert tests.rows[0][1:3] == ["sharp minus flat", "Welch t on seeds"]
    assert tests.rows[0][3].startswith("+70.0")
    assert sections["settings"].tables[0].rows == [["algo.gate_beta", "0", "5"]]
    page = render_html(report)
    assert "After training, without skill" in page


def test_several_arms_carry_the_notes_of_their_comparison(tmp_path: Path) -> None:
    mixed = [make_run(tmp_path, f"m{n}", seed=n, train={"lr": 10.0**-n}) for n in (3, 4)]
    stopped = make_run(tmp_path, "stopped", state="interrupted")
    caveats = "\n".join(build_report([arm("two", *mixed), arm("lone", stopped)], "t").caveats)
    assert "The runs of arm two differ in more than their seed: train.lr." in caveats
    assert "No test of lone: one seed says nothing of a method" in caveats
    assert caveats.count("is not finished") == 1


def test_the_command_writes_a_page_or_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "runs", "a", episodes=[episode()])
    assert sdar(capsys, "report").code == 0
    assert Path("report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    text = sdar(capsys, "report", "a", "--terminal").out
    assert "Success of training episodes" in text and "▁█" in text and "40.0 %" in text
    missing = sdar(capsys, "report", "nosuch")
    assert missing.code == 2 and "no run 'nosuch'" in missing.err


def test_the_paper_is_quoted_and_marked(tmp_path: Path) -> None:
    report = build_report([arm("a", make_run(tmp_path, method="sdar"))], "a")
    table = next(section for section in report.sections if section.anchor == "paper").tables[0]
    assert ["sdar", "Qwen2.5-3B", "84.4", "43.4", "85.0", "68.0"] in [list(row) for row in table.rows]
    assert "not comparable" in table.note


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path, episodes=[episode()])
    path = run.episodes / "step-000001.jsonl"
    path.write_text(path.read_text() + "{", encoding="utf-8")
    with pytest.raises(Exception, match=r"step-000001.jsonl, line 2"):
        shown_episodes(run, 3)
    assert json.loads(path.read_text().splitlines()[0])["skill_text"] == SKILL
