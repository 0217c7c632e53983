"""``sdar compare`` through the command line, on run directories whose every outcome is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commands.support import Result, sdar

from analysis.compare.comparison_material import make_run, panel_of, wins, write_evaluation
from sdar_cli.analysis.compare import build
from sdar_cli.analysis.compare.arms import Places, resolve_arms
from sdar_cli.analysis.compare.render import difference_tables
from sdar_cli.stats import mcnemar, seed_by_seed, seeds_needed, t_interval, two_level, welch, wilson
from sdar_cli.sweep.plan import Request, make_plan
from sdar_cli.sweep.state import SweepDir

TASKS = 40
GRPO, SDAR = (16, 18, 20), (22, 26, 27)
"""Wins of 40 tasks, per seed."""


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two methods of three seeds, with the skill seen as well, after six steps."""
    for method, counts, coef in (("grpo", GRPO, 0), ("sdar", SDAR, 1)):
        for seed, count in enumerate(counts):
            training = [0.1 * (coef + step) + 0.01 * seed for step in range(6)]
            make_run(
                tmp_path, f"{method}-s{seed}", {0: wins(4, TASKS), 6: wins(count, TASKS)}, seed=seed, method=method,
                with_skill=wins(30 - 4 * coef + seed, TASKS), training=training,
            )  # fmt: skip
    return tmp_path


def compare(capsys: pytest.CaptureFixture[str], runs: Path, *words: str) -> dict[str, Any]:
    done = sdar(capsys, "compare", *words, "--runs-dir", str(runs), "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


def text(capsys: pytest.CaptureFixture[str], runs: Path, *words: str) -> Result:
    return sdar(capsys, "compare", *words, "--runs-dir", str(runs))


def test_methods_are_compared_over_their_seeds(runs, capsys) -> None:
    """Both tests, each on what it is for; the numbers are those of the functions on the counts above."""
    found = compare(capsys, runs, "grpo-s*", "sdar-s*")
    assert found["kind"] == "methods"
    assert found["panel"] == {"split": "eval", "tasks": TASKS, "sha256": panel_of(TASKS).sha256}
    success = found["measures"][0]
    assert success["measure"] == "success, no skill, sampled T=0.4"
    first, second = [c / TASKS for c in GRPO], [c / TASKS for c in SDAR]
    assert [arm["values"] for arm in success["arms"]] == [first, second]
    interval = t_interval(second)
    assert (success["arms"][1]["low"], success["arms"][1]["high"]) == pytest.approx((interval.low, interval.high))
    row = success["comparisons"][0]
    assert (row["first"], row["second"]) == ("grpo-s*", "sdar-s*")
    exact = welch(first, second)
    assert row["welch"]["p"] == row["welch"]["p_holm"] == pytest.approx(exact.p)
    assert (row["welch"]["low"], row["welch"]["high"]) == pytest.approx((exact.low, exact.high))
    # the seeds' outcomes by task id, which is the panel's order
    outcomes = [[wins(count, TASKS) for count in counts] for counts in (GRPO, SDAR)]
    boot = two_level(outcomes[0], outcomes[1])
    assert (row["two_level"]["estimate"], row["two_level"]["p"]) == pytest.approx((boot.estimate, boot.p))
    pairs = seed_by_seed(first, second)
    assert (row["seed_by_seed"]["estimate"], row["seed_by_seed"]["p"]) == pytest.approx((pairs.estimate, pairs.p))
    assert "paired" not in row
    needed = seeds_needed([first, second])
    assert (success["seeds_needed"]["seeds"], success["seeds_needed"]["sd"]) == (needed.seeds, needed.sd)


def test_success_with_the_skill_and_early_speed_stand_beside(runs, capsys) -> None:
    found = compare(capsys, runs, "grpo-s*", "sdar-s*")
    by_name = {m["measure"]: m for m in found["measures"]}
    assert list(by_name) == [
        "success, no skill, sampled T=0.4",
        "success, with skill, sampled T=0.4",
        "early speed: training success, steps 1 to 6",
        "early speed: held-out success, no skill, to step 6",
    ]
    skilled = by_name["success, with skill, sampled T=0.4"]
    assert [arm["values"][0] for arm in skilled["arms"]] == [30 / TASKS, 26 / TASKS]
    training = by_name["early speed: training success, steps 1 to 6"]
    # 0, 0.1, … 0.5: mean 0.25; a tenth more each for sdar; 0, 1 and 2 hundredths for the seeds
    assert [arm["estimate"] for arm in training["arms"]] == pytest.approx([0.26, 0.36])
    held_out = by_name["early speed: held-out success, no skill, to step 6"]
    # a line from 4 to 16 of 40: (0.1 + 0.4) / 2
    assert held_out["arms"][0]["values"][0] == pytest.approx(0.25)
    assert "two_level" not in training["comparisons"][0] and "welch" in training["comparisons"][0]


def test_seeds_are_paired_by_their_number_and_only_if_they_are_the_same(runs, capsys) -> None:
    listed = ("--arm", "g=grpo-s2,grpo-s0,grpo-s1", "--arm", "s=sdar-s1,sdar-s2,sdar-s0")
    row = compare(capsys, runs, *listed)["measures"][0]["comparisons"][0]
    assert row["seed_by_seed"]["p"] == pytest.approx(seed_by_seed(GRPO, SDAR).p)
    make_run(runs, "sdar-s7", {6: wins(25, TASKS)}, seed=7, method="sdar", with_skill=wins(26, TASKS))
    row = compare(capsys, runs, "grpo-s*", "sdar-s0,sdar-s1,sdar-s7")["measures"][0]["comparisons"][0]
    assert "welch" in row and "seed_by_seed" not in row
    path = runs / "sdar-s1" / "provenance.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "train_tasks_sha256": "other"}))
    row = compare(capsys, runs, "grpo-s*", "sdar-s0,sdar-s1,sdar-s2")["measures"][0]["comparisons"][0]
    assert "seed_by_seed" not in row


def test_early_speed_with_the_skill_in_the_prompt_is_no_match(runs, capsys) -> None:
    for seed in range(3):
        make_run(
            runs,
            f"shown-s{seed}",
            {6: wins(9 + seed, TASKS)},
            seed=seed,
            method="skill-grpo",
            with_skill=wins(30 + seed, TASKS),
        )
    assert compare(capsys, runs, "shown-s*")["notes"] == []
    notes = compare(capsys, runs, "grpo-s*", "shown-s*")["notes"]
    assert any(note.startswith("early speed of shown-s* is no match for the others'") for note in notes)


def test_many_arms_are_one_matrix_per_measure(runs, capsys) -> None:
    """Row minus column; the p is the largest of the pair's tests; no line per test."""
    for method, counts in (("rlsd", (30, 31, 29)), ("opsd", (12, 13, 11)), ("skill-sd", (16, 18, 20))):
        for seed, count in enumerate(counts):
            make_run(runs, f"{method}-s{seed}", {6: wins(count, TASKS)}, seed=seed, method=method)
    arms = [f"{name}-s*" for name in ("grpo", "sdar", "rlsd", "opsd", "skill-sd")]
    measure = compare(capsys, runs, *arms)["measures"][0]
    row = next(r for r in measure["comparisons"] if (r["first"], r["second"]) == ("rlsd-s*", "opsd-s*"))
    largest = max(row[test]["p_holm"] for test in ("welch", "two_level", "seed_by_seed"))
    table = difference_tables(build.compare(resolve_arms(arms, [], Places(runs))))[0]
    assert table.columns == ["", *arms] and "row minus column" in table.title
    shown = f"{largest:.3f}*" if largest >= 0.001 else "< 0.001*"
    assert largest < 0.05
    assert table.rows[2][4] == f"+45.0 {shown}" and table.rows[3][3] == f"-45.0 {shown}"
    assert table.rows[0][1] is None
    assert table.rows[0][5].startswith("+0.0 ") and not table.rows[0][5].endswith("*")
    printed = text(capsys, runs, *arms).out
    assert "row minus column" in printed and "Welch t on seeds" not in printed
    assert "Welch t on seeds" in text(capsys, runs, *arms, "--against-first").out


def test_an_arm_without_training_has_no_early_speed(runs, capsys) -> None:
    make_run(runs, "still", {0: wins(4, TASKS)}, sets=["train.steps=0"], with_skill=wins(30, TASKS))
    result = compare(capsys, runs, "grpo-s*", "still")
    assert not any(m["measure"].startswith("early") for m in result["measures"])
    assert any(note.startswith("no early speed is compared, because still did not train") for note in result["notes"])


def test_settings_that_differ_are_listed(runs, capsys) -> None:
    found = compare(capsys, runs, "grpo-s*", "sdar-s*")
    differing = {row["key"]: row["values"] for row in found["differences"]}
    assert differing["method"] == ["grpo", "sdar"]
    assert differing["algo.coef"][0] == "0" != differing["algo.coef"][1]
    assert "seed" not in differing and "name" not in differing
    assert found["notes"] == []


def test_what_a_person_sees(runs, capsys) -> None:
    done = text(capsys, runs, "--arm", "GRPO=grpo-s*", "--arm", "SDAR=sdar-s0,sdar-s1,sdar-s2")
    assert done.code == 0
    for words in ("Welch t on seeds", "two-level bootstrap", "SDAR minus GRPO", "settings that differ", "algo.coef"):
        assert words in done.out
    assert "look_at_obj_in_light" in done.out and "t over seeds" in done.out
    assert "seeds per arm at the observed spread" in done.out
    assert "p, Holm" not in done.out  # one comparison needs no correction


def test_one_seed_each_compares_checkpoints(runs, capsys) -> None:
    found = compare(capsys, runs, "grpo-s0", "sdar-s0")
    assert found["kind"] == "checkpoints"
    assert found["notes"][0].startswith("this compares two checkpoints, not two methods")
    row = found["measures"][0]["comparisons"][0]
    first, second = wins(GRPO[0], TASKS), wins(SDAR[0], TASKS)
    better = sum(b > a for a, b in zip(first, second, strict=True))
    worse = sum(b < a for a, b in zip(first, second, strict=True))
    assert (row["paired"]["better"], row["paired"]["worse"]) == (better, worse)
    assert row["paired"]["p"] == pytest.approx(mcnemar(better, worse))
    assert "welch" not in row and "two_level" not in row
    assert "seeds_needed" not in found["measures"][0]
    assert "this compares two checkpoints, not two methods" in text(capsys, runs, "grpo-s0", "sdar-s0").out


def test_two_checkpoints_of_one_run(runs, capsys) -> None:
    found = compare(capsys, runs, "grpo-s0@0", "grpo-s0@6")
    assert [arm["steps"] for arm in found["arms"]] == [[0], [6]]
    row = found["measures"][0]["comparisons"][0]
    assert row["difference"] == pytest.approx(12 / TASKS)  # the first 4 tasks are among the first 16
    assert (row["paired"]["better"], row["paired"]["worse"]) == (12, 0)
    assert found["differences"] == []


def test_one_run_has_intervals_of_its_tasks_only(runs, capsys) -> None:
    found = compare(capsys, runs, "grpo-s1")
    assert found["kind"] == "one" and found["measures"][0]["comparisons"] == []
    arm = found["measures"][0]["arms"][0]
    assert (arm["low"], arm["high"]) == pytest.approx(wilson(GRPO[1], TASKS))
    assert arm["interval"] == "Wilson, sampling error of tasks only"
    kinds = found["arms"][0]["types"]["no skill, sampled T=0.4"]
    assert set(kinds) == {"look_at_obj_in_light", "pick_and_place_simple"}
    assert all(kind["interval"] == "Wilson" for kind in kinds.values())
    assert "sampling error of tasks only" in text(capsys, runs, "grpo-s1").out


def test_several_arms_are_corrected(runs, capsys) -> None:
    for seed, count in enumerate((18, 19, 21)):
        make_run(runs, f"other-s{seed}", {6: wins(count, TASKS)}, seed=seed)
    found = compare(capsys, runs, "grpo-s*", "sdar-s*", "other-s*")
    rows = found["measures"][0]["comparisons"]
    assert [(row["first"][:4], row["second"][:4]) for row in rows] == [
        ("grpo", "sdar"), ("grpo", "othe"), ("sdar", "othe")
    ]  # fmt: skip
    smallest = min(rows, key=lambda row: row["welch"]["p"])
    assert smallest["welch"]["p_holm"] == pytest.approx(3 * smallest["welch"]["p"])
    assert max(row["welch"]["p_holm"] for row in rows) >= max(row["welch"]["p"] for row in rows)
    with_first = compare(capsys, runs, "grpo-s*", "sdar-s*", "other-s*", "--against-first")
    assert [row["second"][:4] for row in with_first["measures"][0]["comparisons"]] == ["sdar", "othe"]
    assert "p, Holm" in text(capsys, runs, "grpo-s*", "sdar-s*", "other-s*").out


def test_different_panels_are_refused_by_name(runs, capsys) -> None:
    make_run(runs, "odd", {6: wins(20, TASKS)}, prefix="x")
    done = text(capsys, runs, "grpo-s0", "odd")
    assert done.code == 2
    assert "grpo-s0 and odd were evaluated on different panels" in done.err
    assert panel_of(TASKS).sha256 in done.err and panel_of(TASKS, "x").sha256 in done.err


def test_fail_if_worse(runs, capsys) -> None:
    """grpo is worse than sdar by 17.5 points; Welch's interval decides by how much that is sure."""
    worst = -welch([c / TASKS for c in SDAR], [c / TASKS for c in GRPO]).high
    assert 0 < worst < 0.1
    done = text(capsys, runs, "sdar-s*", "grpo-s*", "--fail-if-worse")
    assert done.code == 5 and "grpo-s* is worse than sdar-s* by 17.5 points" in done.err
    assert text(capsys, runs, "grpo-s*", "sdar-s*", "--fail-if-worse").code == 0
    margin = str(100 * worst + 0.1)
    assert text(capsys, runs, "sdar-s*", "grpo-s*", "--fail-if-worse", "--margin", margin).code == 0
    margin = str(100 * worst - 0.1)
    assert text(capsys, runs, "sdar-s*", "grpo-s*", "--fail-if-worse", "--margin", margin).code == 5
    done = sdar(capsys, "compare", "sdar-s*", "grpo-s*", "--fail-if-worse", "--json", "--runs-dir", str(runs))
    assert done.code == 5 and len(json.loads(done.out)["worse"]) == 1


@pytest.mark.parametrize("arms", [("sdar-s0", "grpo-s0"), ("sdar-s*", "grpo-s0"), ("sdar-s*",)])
def test_fail_if_worse_refuses_a_single_seed(runs, capsys, arms) -> None:
    done = text(capsys, runs, *arms, "--fail-if-worse")
    assert done.code == 2 and "two seeds or more" in done.err


def test_margin_alone_is_a_mistake(runs, capsys) -> None:
    assert "--fail-if-worse" in text(capsys, runs, "sdar-s*", "grpo-s*", "--margin", "2").err


def test_a_single_seed_among_methods_is_not_tested(runs, capsys) -> None:
    found = compare(capsys, runs, "grpo-s*", "sdar-s0")
    row = found["measures"][0]["comparisons"][0]
    assert found["kind"] == "mixed" and set(row) == {"first", "second", "difference"}
    assert found["notes"][0].startswith("no test of sdar-s0")


def test_scores_are_compared_as_well(tmp_path, capsys) -> None:
    for name, low in (("a", 0.2), ("b", 0.4)):
        for seed in range(3):
            scores = [low + 0.1 * seed] * TASKS
            make_run(tmp_path, f"{name}{seed}", {6: wins(10, TASKS)}, seed=seed, scores=scores)
    found = compare(capsys, tmp_path, "a*", "b*")
    score = next(m for m in found["measures"] if m["measure"].startswith("score"))
    assert score["arms"][1]["values"] == pytest.approx([0.4, 0.5, 0.6])
    assert score["comparisons"][0]["two_level"]["estimate"] == pytest.approx(0.2)


def test_means_over_data_sets_are_measures(runs, capsys) -> None:
    """Search-QA's macro mean is the paper's figure: compared over seeds, like any other number of a run."""
    for name, macro in (("grpo-s0", 0.2), ("grpo-s1", 0.4), ("sdar-s0", 0.5), ("sdar-s1", 0.6)):
        path = runs / name / "eval" / "step-000006.json"
        report = json.loads(path.read_text())
        for result in report["results"]:
            result["means"] = {"macro mean": macro}
        path.write_text(json.dumps(report))
    found = compare(capsys, runs, "grpo-s0,grpo-s1", "sdar-s0,sdar-s1")
    mean = next(m for m in found["measures"] if m["measure"] == "macro mean, no skill, sampled T=0.4")
    assert [arm["estimate"] for arm in mean["arms"]] == pytest.approx([0.3, 0.55])
    assert mean["comparisons"][0]["welch"]["estimate"] == pytest.approx(0.25)


def test_scores_of_different_judges_are_left_out(tmp_path, capsys) -> None:
    for name, tagger in (("a", "spacy"), ("b", "words")):
        path = make_run(tmp_path, name, {6: wins(10, TASKS)}, scores=[0.5] * TASKS) / "eval" / "step-000006.json"
        report = json.loads(path.read_text())
        report["results"][0]["tagger"] = tagger
        path.write_text(json.dumps(report))
    found = compare(capsys, tmp_path, "a", "b")
    assert not any(m["measure"].startswith("score") for m in found["measures"])
    assert "scores are left out: they were judged by spacy and words" in found["notes"]


def test_what_makes_an_arm_doubtful_is_reported(runs, capsys) -> None:
    make_run(runs, "grpo-s3", {0: wins(4, TASKS), 4: wins(17, TASKS)}, seed=0, sets=["train.lr=1e-3"], state="failed")
    notes = " / ".join(compare(capsys, runs, "grpo-s*", "sdar-s*")["notes"])
    assert "arm grpo-s* has runs of one seed (0, 1, 2, 0)" in notes
    assert "differ in more than their seed: train.lr" in notes
    assert "different steps: 4, 6" in notes
    assert "run grpo-s3 is not finished: failed" in notes


def test_named_evaluations_and_their_files(runs, capsys) -> None:
    """``sdar eval --name wide`` leaves eval/wide.json in each run; a file may be named by itself."""
    for name, count in (("grpo-s0", 10), ("sdar-s0", 30)):
        write_evaluation(runs / name / "eval" / "wide.json", wins(count, 60))
    found = compare(capsys, runs, "grpo-s0", "sdar-s0", "--evaluation", "wide")
    assert found["panel"]["tasks"] == 60
    assert found["measures"][0]["comparisons"][0]["difference"] == pytest.approx(20 / 60)
    files = [str(runs / name / "eval" / "wide.json") for name in ("grpo-s0", "sdar-s0")]
    again = compare(capsys, runs, *files)
    assert again["measures"][0]["comparisons"][0]["paired"] == found["measures"][0]["comparisons"][0]["paired"]
    done = text(capsys, runs, "grpo-s1", "sdar-s0", "--evaluation", "wide")
    assert done.code == 3 and "step-000006" in done.err


@pytest.mark.parametrize(
    "words, message",
    [
        ((), "nothing to compare"),
        (("gpro-s0", "sdar-s0"), "did you mean"),
        (("nothing*",), "no run matches"),
        (("grpo-s0", "grpo-s0"), "compared with itself"),
        (("--arm", "A=grpo-s0,grpo-s*"), "in arm A more than once"),
        (("--arm", "grpo-s0"), "no label"),
        (("grpo-s0@last",), "is no step"),
        (("missing.json",), "no evaluation missing.json"),
    ],
)
def test_mistakes(runs, capsys, words, message) -> None:
    done = text(capsys, runs, *words)
    assert done.code == 2 and message in done.err


def test_a_step_without_evaluation(runs, capsys) -> None:
    done = text(capsys, runs, "grpo-s0@3")
    assert done.code == 3 and "step-000000, step-000006" in done.err


def test_a_damaged_evaluation(runs, capsys) -> None:
    (runs / "grpo-s0" / "eval" / "step-000006.json").write_text("{")
    done = text(capsys, runs, "grpo-s0")
    assert done.code == 1 and "cannot be read" in done.err


def test_seeds_that_do_not_differ(tmp_path, capsys) -> None:
    for name, count in (("a", 10), ("b", 20)):
        for seed in range(2):
            make_run(tmp_path, f"{name}{seed}", {6: wins(count, TASKS)}, seed=seed)
    found = compare(capsys, tmp_path, "a*", "b*")
    assert "needs 3 seeds" in found["notes"][0]
    assert "all seeds of a*, b* came out the same" in found["notes"][1]
    assert found["measures"][0]["arms"][0]["low"] is None
    row = found["measures"][0]["comparisons"][0]
    assert "welch" in row and "two_level" not in row


def test_intervals_of_shares_end_at_one(tmp_path, capsys) -> None:
    for seed, count in enumerate((38, 40)):
        make_run(tmp_path, f"a{seed}", {6: wins(count, TASKS)}, seed=seed)
    assert compare(capsys, tmp_path, "a*")["measures"][0]["arms"][0]["high"] == 1.0


def test_points_of_a_sweep(tmp_path, capsys) -> None:
    """The done runs of a point are its arm; a pattern is one arm per point."""
    made = make_plan(Request(grids=("algo.gate_beta=1,5",), seeds=2, sets=("train.steps=6",)))
    sweep = SweepDir.create(tmp_path / "sweeps" / "beta", made, {})
    for number, job in enumerate(sweep.jobs):
        if job.steps:
            make_run(sweep.runs, job.run, {6: wins(10 + number, TASKS)}, seed=job.seed)
    where = ("--sweeps-dir", str(tmp_path / "sweeps"))
    found = compare(capsys, tmp_path, "beta:*", *where)
    assert (
        [arm["label"] for arm in found["arms"]]
        == [point.label for point in sweep.points]
        == ["gate_beta=1", "gate_beta=5"]
    )
    assert [len(arm["members"]) for arm in found["arms"]] == [2, 2] and found["kind"] == "methods"
    one = compare(capsys, tmp_path, "beta:gate_beta=5", *where)
    assert one["arms"][0]["members"] == found["arms"][1]["members"]
    assert "no point" in text(capsys, tmp_path, "beta:gamma", *where).err
    assert "no sweep" in text(capsys, tmp_path, "alpha:1", *where).err
