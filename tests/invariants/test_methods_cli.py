"""Methods that are the same must train the same, through the command line: metrics, episodes and weights.

And every method's preset must train at all.  The games are the corridor's, the policy one that walks it badly; the
methods on ALFWorld with the bundled policy are a sweep (``tests/sweep/test_real_sweep.py``).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import toy
from choosing import retrieve
from train.toyruns import comparable, record

from sdar_cli.config.presets import list_presets
from sdar_cli.runs.checkpoints import list_checkpoints, step_of
from sdar_cli.runs.metrics import read_metrics
from sdar_cli.runs.rundir import RunDir
from sdar_cli.skills.bank import load_bank
from sdar_cli.skills.choose.strategies import skill_text

from .conftest import TASKS, Command

STEPS = 2
SET = "--set"


def metrics_of(run: Path) -> list[dict[str, Any]]:
    return [comparable(row) for row in read_metrics(RunDir(run).metrics)]


def episodes_of(run: Path, step: int = 1) -> list[dict[str, Any]]:
    lines = (run / "episodes" / f"step-{step:06d}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def assert_same_run(found: Path, expected: Path, apart: tuple[str, ...] = ()) -> None:
    """Metrics (some of them ``apart``), episodes, evaluations and final weights, bit for bit."""
    (texts, weights), (wanted_texts, wanted_weights) = record(found, STEPS), record(expected, STEPS)
    for each in (texts, wanted_texts):
        each["metrics"] = [{key: row[key] for key in row if key not in apart} for row in each["metrics"]]
    assert texts == wanted_texts
    assert_same_weights(weights, wanted_weights)


def assert_same_weights(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys() and found
    assert [name for name in found if not bool((found[name] == expected[name]).all())] == []


def weights_of(run: Path) -> dict[str, Any]:
    return record(run, STEPS)[1]


def differ(one: Path, other: Path) -> bool:
    ours, theirs = weights_of(one), weights_of(other)
    return any(bool((ours[name] != theirs[name]).any()) for name in ours)


@pytest.mark.parametrize("method", ["sdar", "opsd-paper", "skill-sd", "rlsd", "agentopsd", "grsd"])
def test_without_a_coefficient_every_method_is_grpo(trained: Command, method: str) -> None:
    """Those whose loss is the policy's too; the teacher's own settings do not matter then."""
    alone = ("--set", "algo.policy_coef=1") if method == "opsd-paper" else ()
    assert_same_run(trained("--method", method, "--coef", "0", *alone), trained("--method", "grpo"))


def test_atod_without_a_coefficient_is_grpo_with_its_growing_weight(trained: Command) -> None:
    growing = (SET, "algo.policy_coef_end=2.0")
    assert_same_run(trained("--method", "atod", "--coef", "0"), trained("--method", "grpo", *growing))
    assert differ(trained("--method", "grpo", *growing), trained("--method", "grpo"))


def test_the_teacher_makes_a_difference_here(trained: Command) -> None:
    """Else the equalities above and below would say nothing."""
    grpo = trained("--method", "grpo")
    for method in ("sdar", "rlsd", "opsd"):
        assert differ(trained("--method", method), grpo)
    rows = metrics_of(grpo)
    assert any(0 < row["success"] < 1 for row in rows), "every group agrees: nothing is learned from rewards"


def test_no_gate_is_a_gate_of_one(trained: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An outsider's gate, imported by its path; and a constant 1/2 at twice the coefficient is the same weights."""
    (tmp_path / "gate_of_one.py").write_text(
        "import torch\n\n\ndef one(batch, beta):\n    return torch.ones_like(batch.student)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    none = trained("--method", "sdar", "--coef", "0.25", "--gate", "none")
    assert_same_run(trained("--method", "sdar", "--coef", "0.25", "--gate", "gate_of_one:one"), none)
    assert metrics_of(none)[0]["gate_mean"] == 1.0
    half = trained("--method", "sdar", "--coef", "0.5", "--beta", "0")
    assert_same_weights(weights_of(half), weights_of(none))
    assert metrics_of(half)[0]["gate_mean"] == 0.5


@pytest.mark.parametrize(
    "one, other",
    [
        (("--method", "opsd"), ("--method", "grpo-opsd-signed", SET, "algo.policy_coef=0")),
        (("--method", "sdar", SET, "algo.policy_coef=0"), ("--method", "opsd-released")),
        (("--method", "sdar", "--beta", "0"), ("--method", "grpo-opsd")),
        (("--method", "rlsd-released", SET, "algo.coef_schedule=constant", SET, "algo.coef_steps=0"),
         ("--method", "rlsd")),
        (("--method", "skill-grpo", SET, "train.with_skill=false"), ("--method", "grpo")),
    ],
    ids=["opsd", "opsd-released", "grpo-opsd", "rlsd-released", "skill-grpo"],
)  # fmt: skip
def test_a_method_reduces_to_another(trained: Command, one: tuple[str, ...], other: tuple[str, ...]) -> None:
    """As their presets say under ``reduces_to``."""
    assert_same_run(trained(*one), trained(*other))


def test_released_rlsd_ends_as_grpo(trained: Command) -> None:
    """With a warm-down over one step the teacher is gone from the first one on."""
    down = trained("--method", "rlsd-released", SET, "algo.coef_steps=1")
    assert_same_run(down, trained("--method", "grpo"), apart=("coef",))
    assert [row["coef"] for row in metrics_of(down)] == [0.0, 0.0]


def test_opsd_does_not_read_the_reward(trained: Command) -> None:
    """Other rewards and penalties change what is logged and not what is learned; with GRPO they change it."""
    other = (SET, "env.win_reward=-3", SET, "algo.invalid_penalty=0.5")
    one, two = trained("--method", "opsd"), trained("--method", "opsd", *other)
    assert_same_weights(weights_of(two), weights_of(one))
    assert [row["reward"] for row in metrics_of(one)] != [row["reward"] for row in metrics_of(two)]
    assert differ(trained("--method", "grpo", *other), trained("--method", "grpo"))


def test_skill_prompt_trains_nothing_and_evaluates_both_ways(trained: Command) -> None:
    run = trained("--method", "skill-prompt")
    assert not list((run / "checkpoints").iterdir()) and not list((run / "episodes").iterdir())
    assert metrics_of(run) == []
    assert [path.name for path in sorted((run / "eval").glob("*.json"))] == ["step-000000.json"]
    report = json.loads((run / "eval" / "step-000000.json").read_text())
    assert [result["with_skill"] for result in report["results"]] == [False, True]
    summary = RunDir(run).status()["summary"]
    assert summary["success_before"] is not None and summary["with_skill_before"] is not None
    assert summary["success_after"] is None and summary["checkpoint"] == "none"
    # The evaluation is that of an untrained skill-grpo.
    other = trained("--method", "skill-grpo")
    for name in ("step-000000.json", "step-000000.jsonl"):
        assert (run / "eval" / name).read_text() == (other / "eval" / name).read_text()


def test_rank_zero_is_refused(command: Callable[..., int], place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert command("--name", "rank-zero", "--lora", "0") == 2
    assert "leave the flag out for full fine-tuning" in capfd.readouterr().err
    assert not (place / "runs" / "rank-zero").exists()


def test_skill_grpo_shows_the_policy_its_skill_and_grpo_does_not(
    trained: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In training, as the record of the episodes has it; the skill is that of the episode's own task type."""
    from sdar_cli.models.loading import load_tokenizer

    bank = load_bank("alfworld")
    by_id = {task.id: task for task in TASKS}

    def shown(run: Path) -> list[tuple[bool, int]]:
        tokenizer = load_tokenizer(RunDir(run).config().model)
        found = []
        for step in range(1, STEPS + 1):
            for episode in episodes_of(run, step):
                skill = skill_text(retrieve(bank, by_id[episode["task"]["id"]], toy.GOAL, "task-type"), "brief")
                for turn in episode["turns"]:
                    text = tokenizer.decode(turn["prompt_ids"])
                    found.append((skill in text, len(turn["prompt_ids"])))
        return found

    skilled, plain = shown(trained("--method", "skill-grpo")), shown(trained("--method", "grpo"))
    assert skilled and all(seen for seen, _ in skilled)
    assert plain and not any(seen for seen, _ in plain)


@pytest.mark.parametrize("method", list_presets("methods"))
def test_every_method_trains(trained: Command, method: str) -> None:
    """Its preset as it is: a finished run with a line per step, a checkpoint, and the signal where it says."""
    run = trained("--method", method)
    config, status = RunDir(run).config(), RunDir(run).status()
    assert status["state"] == "done" and config.method == method
    rows = metrics_of(run)
    assert [row["step"] for row in rows] == list(range(1, config.train.steps + 1))
    if not config.train.steps:
        return
    assert [step_of(path) for path in list_checkpoints(run / "checkpoints")] == [STEPS]
    assert differ(run, trained("--method", "grpo")) is (method != "grpo")
    for row in rows:
        assert all(value == value for value in row.values()), "a metric is not a number"
        taught = config.algo.coef > 0 and row["coef"] > 0
        assert ("gap_mean" in row) is taught
        assert ("distill_loss" in row) is (taught and config.algo.shaping == "none")
        assert ("shaping_change" in row) is (taught and config.algo.shaping != "none")
    both = [result["with_skill"] for result in json.loads((run / "eval/step-000002.json").read_text())["results"]]
    assert both == [False, True]
