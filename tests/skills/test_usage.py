"""What a run did with its skills, from files written by hand."""

from __future__ import annotations

import json
import math

import pytest

from sdar_cli.base.errors import RunFailedError
from sdar_cli.config.schema import RunConfig
from sdar_cli.runs.rundir import RunDir
from sdar_cli.skills.usage import describe_run
from skills.episodes import HEAT, WIN, trained, write


def make_run(tmp_path, steps, choices=(), **skills) -> RunDir:
    config = RunConfig(skills=skills).model_dump(mode="json")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    run = RunDir(tmp_path / "run")
    run.provenance_path.write_text(json.dumps({"created": "2026"}))
    for number, episodes in enumerate(steps, 1):
        write(run.episodes / f"step-{number:06d}.jsonl", episodes)
    if choices:
        write(run.skills, choices)
    return run


def choice(step: int, skill: str, reward: float | None, kind: str = HEAT, strategy: str = "ucb", changes=()) -> dict:
    return {
        "step": step, "group": 0, "task": "t", "type": kind, "strategy": strategy, "skills": [skill], "reward": reward,
        "candidates": 7,
        "changes": list(changes),
    }  # fmt: skip


def test_means_over_tokens_and_success_over_episodes(tmp_path):
    """a: tokens 0.1, 0.3 and -0.4 (one without a value): mean 0.  Its groups: two; 1 of 3 episodes won."""
    first = [
        trained(WIN, True, 0, ["general", "a"], [[0.1, 0.3], [None]]),
        trained(WIN, False, 0, ["general", "a"], [[-0.4]]),
        trained(WIN, False, 1, ["general", "b"], [[0.2, 0.2]]),
    ]
    second = [trained(WIN, False, 0, ["a"]), {**trained(WIN, False, 1, ["a"], [[9.0]]), "failure": "engine died"}]
    record = describe_run(make_run(tmp_path, [first, second]))
    a, general = record["skills"]["a"], record["skills"]["general"]
    assert (a["groups"], a["episodes"], a["success"]) == (2, 3, pytest.approx(1 / 3))
    assert (a["gap"], a["gate"]) == (pytest.approx(0.0, abs=1e-12), pytest.approx(0.5))
    assert (general["groups"], general["episodes"]) == (2, 3)
    assert general["gap"] == pytest.approx((0.1 + 0.3 - 0.4 + 0.2 + 0.2) / 5)
    assert a["low"] < 1 / 3 < a["high"]
    assert record["without"] is None and record["bandit"] is None and record["retrieval"] == "task-type"


def test_intervals_count_groups_and_not_their_episodes(tmp_path):
    from sdar_cli.stats import wilson

    record = describe_run(make_run(tmp_path, [[trained(WIN, True, 0, ["a"])] * 10]))
    assert (record["skills"]["a"]["low"], record["skills"]["a"]["high"]) == wilson(1, 1)


def test_no_teacher_no_skill(tmp_path):
    record = describe_run(make_run(tmp_path, [[trained(WIN, True)]]))
    assert record["skills"] == {} and record["without"]["episodes"] == 1
    assert record["without"]["gap"] is None and record["without"]["success"] == 1.0


def test_the_bandit_is_the_log_played_again(tmp_path):
    """a: 1 and 0, b: 1; ln 3 = 1.0986.  c = 0.5."""
    log = [choice(1, "a", 1.0), choice(2, "a", 0.0), choice(2, "x", 1.0, strategy="random"), choice(3, "b", 1.0)]
    log += [choice(3, "c", None), choice(3, "a", 0.25, "other")]
    run = make_run(tmp_path, [[trained(WIN, True, 0, ["a"])]], log, retrieval="ucb", ucb_c=0.5)
    bandit = describe_run(run)["bandit"]
    assert [(row["skill"], row["n"], row["mean"]) for row in bandit[HEAT]] == [("b", 1, 1.0), ("a", 2, 0.5)]
    assert bandit[HEAT][0]["bound"] == pytest.approx(1 + 0.5 * math.sqrt(1.098612))
    assert bandit[HEAT][1]["bound"] == pytest.approx(0.5 + 0.5 * math.sqrt(1.098612 / 2))
    assert [row["skill"] for row in bandit["other"]] == ["a"]
    assert describe_run(run)["candidates"] == {HEAT: 7, "other": 7}


def test_changes_of_the_evolution_hook_are_listed(tmp_path):
    change = {"skill": "a", "effect": "dropped", "why": "gap below -0.2"}
    run = make_run(tmp_path, [[trained(WIN, True, 0, ["a"])]], [choice(4, "a", 1.0, changes=[change])])
    assert describe_run(run)["changes"] == [{"step": 4, "type": HEAT, **change}]


def test_runs_without_episodes_and_with_damaged_ones(tmp_path):
    run = make_run(tmp_path, [])
    with pytest.raises(RunFailedError, match="has no episodes"):
        describe_run(run)
    write(run.episodes / "step-000001.jsonl", [trained(WIN, True)])
    (run.episodes / "step-000001.jsonl").open("a").write("{\n")
    with pytest.raises(RunFailedError, match="line 2, is not JSON"):
        describe_run(run)
