"""What a run learns of its skills: choices, rewards and changes in ``skills.jsonl``, checkpoints, audit."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import toy

from sdar_cli.base.errors import RunFailedError
from sdar_cli.rollout.episode import Episode
from sdar_cli.rollout.samples import make_samples
from sdar_cli.runs.checkpoints import checkpoint_path, list_checkpoints
from sdar_cli.runs.metrics import read_metrics
from sdar_cli.session import SKILLS_FILE
from sdar_cli.skills.bank import load_bank
from sdar_cli.skills.choose.evolve import Change, Group
from sdar_cli.skills.choose.retriever import Choice, Retriever
from sdar_cli.train.run import _Run
from sdar_cli.train.skills import SkillLearning, audit_summary
from sdar_cli.train.teacher import TeacherPrompts

from .toyruns import assert_same_record, config, play

BANK = load_bank("alfworld")
HEAT = "pick_heat_then_place_in_recep"
STEPS = 3


class Messages:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.infos: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def info(self, text: str) -> None:
        self.infos.append(text)


def episode(kind: str, group: int, index: int, reward: float, gaps: list[float] | None) -> Episode:
    turn = toy.make_turn([5] * len(gaps or [0]))
    turn.token_gap, turn.token_gate = gaps, None if gaps is None else [0.5 + gap for gap in gaps]
    return Episode(toy.task(1, group, kind), group, index, [turn], reward, reward == 1.0)


def learning(folder: Path, **sections: Any) -> tuple[SkillLearning, Retriever, Messages]:
    made, messages = toy.config(**sections), Messages()
    retriever = Retriever(BANK, made.skills, made.seed)
    return SkillLearning(made, retriever, folder / "skills.jsonl", messages), retriever, messages  # type: ignore[arg-type]


def test_one_update_per_group_with_its_mean_reward(tmp_path: Path) -> None:
    """Two groups of a type in one step: both were given the first skill, and it gets both rewards."""
    learner, retriever, _ = learning(tmp_path, skills={"retrieval": "ucb"})
    episodes = [
        episode(HEAT, 0, 0, 1.0, [0.1, -0.3]), episode(HEAT, 0, 1, 0.0, [-0.1]),
        episode(HEAT, 1, 2, 1.0, [0.2]), episode(HEAT, 1, 3, 1.0, [0.2]),
    ]  # fmt: skip
    chosen = retriever.choose_for_groups(episodes, {"ucb"}, 1)
    assert learner.after_step(1, episodes, chosen, taught=True) == {}
    assert retriever.state()["ucb"] == {HEAT: {"general": [2, 1.5]}}
    first, second = read_metrics(tmp_path / "skills.jsonl")
    assert first == {
        "step": 1, "group": 0, "task": episodes[0].task.id, "type": HEAT, "strategy": "ucb", "views": [0],
        "policy": False, "skills": ["general"], "scores": dict.fromkeys(sorted(s.id for s in BANK.skills)),
        "candidates": 7, "episodes": 2, "reward": 0.5, "success": 0.5, "gap": pytest.approx(-0.1),
        "gate": pytest.approx(0.4), "changes": [],
    }  # fmt: skip
    assert (second["group"], second["reward"], second["gap"]) == (1, 1.0, pytest.approx(0.2))


def test_broken_episodes_count_for_nothing(tmp_path: Path) -> None:
    from sdar_cli.envs.base import StopReason

    learner, retriever, _ = learning(tmp_path, skills={"retrieval": "ucb"})
    episodes = [episode(HEAT, 0, 0, 1.0, [0.1]), episode(HEAT, 0, 1, 0.0, None), episode(HEAT, 1, 2, 0.0, None)]
    for broken in episodes[1:]:
        broken.stop = StopReason.ENV_FAILED
    learner.after_step(1, episodes, retriever.choose_for_groups(episodes, {"ucb"}, 1), taught=True)
    assert retriever.state()["ucb"] == {HEAT: {"general": [1, 1.0]}}
    lines = read_metrics(tmp_path / "skills.jsonl")
    assert [(line["episodes"], line["reward"], line["gap"]) for line in lines] == [(1, 1.0, 0.1), (0, None, None)]


def test_views_and_the_policy_have_strategies_of_their_own(tmp_path: Path) -> None:
    """A line per strategy; the gap is the first view's and belongs to its strategy only; one update of the bandit."""
    views = [{"retrieval": "keyword"}, {"retrieval": "ucb"}, {"retrieval": "ucb", "form": "full"}]
    sections = {"skills": {"retrieval": "random"}, "train": {"with_skill": True}, "teacher": {"views": views}}
    learner, retriever, _ = learning(tmp_path, **sections)
    episodes = [episode(HEAT, 0, 0, 1.0, [0.1])]
    chosen = retriever.choose_for_groups(episodes, {"keyword", "ucb", "random"}, 1)
    learner.after_step(1, episodes, chosen, taught=True)
    lines = {line["strategy"]: line for line in read_metrics(tmp_path / "skills.jsonl")}
    assert {name: (line["views"], line["policy"]) for name, line in lines.items()} == {
        "keyword": ([0], False), "ucb": ([1, 2], False), "random": ([], True),
    }  # fmt: skip
    assert [lines[name]["gap"] for name in ("keyword", "random", "ucb")] == [0.1, None, None]
    assert sum(n for arms in retriever.state()["ucb"].values() for n, _ in arms.values()) == 1


def rewriting(task, skills, group: Group) -> list[Change]:
    """A hook: counts the groups of a type and writes the number into the skill's brief."""
    group.memory[task.type] = group.memory.get(task.type, 0) + 1
    return [Change(skills[-1].id, "as written", replace(skills[-1], brief=f"group {group.memory[task.type]}"))]


def test_a_hook_of_ones_own(tmp_path: Path) -> None:
    learner, retriever, messages = learning(tmp_path, skills={"evolve": f"{__name__}:rewriting"})
    for step in (1, 2):
        episodes = [episode(HEAT, 0, 0, 1.0, [0.1])]
        learner.after_step(step, episodes, retriever.choose_for_groups(episodes, {"task-type"}, step), taught=True)
    chosen = retriever.choose("task-type", toy.task(1, 0, HEAT), "", 3)
    assert [skill.brief for skill in chosen.skills][1] == "group 2"
    line = read_metrics(tmp_path / "skills.jsonl")[1]
    assert line["changes"] == [{"skill": HEAT, "effect": "rewritten", "why": "as written"}]
    assert retriever.memory == {HEAT: 2} and len(messages.infos) == 2


def test_the_last_of_a_category_is_kept_and_the_user_told_once(tmp_path: Path) -> None:
    drop = {"evolve": "drop", "evolve_min_uses": 2, "evolve_threshold": -0.1}
    learner, retriever, messages = learning(tmp_path, skills=drop)
    for step in range(1, 7):
        episodes = [episode(HEAT, 0, 0, 1.0, [-0.5])]
        metrics = learner.after_step(
            step, episodes, retriever.choose_for_groups(episodes, {"task-type"}, step), taught=True
        )
    assert metrics == {"skills/dropped": 0.0} and retriever.dropped == {}
    assert [text.partition(" is the last")[0] for text in messages.warnings] == [
        f"step 2: skill general of {HEAT}", f"step 2: skill {HEAT} of {HEAT}",
    ]  # fmt: skip
    effects = [[change["effect"] for change in line["changes"]] for line in read_metrics(tmp_path / "skills.jsonl")]
    assert effects == [[], ["kept", "kept"]] * 3


def test_two_groups_of_a_step_drop_a_skill_once(tmp_path: Path) -> None:
    drop = {"retrieval": "random", "evolve": "drop", "evolve_min_uses": 1, "evolve_threshold": -0.1}
    learner, _, _ = learning(tmp_path, skills=drop)
    other = next(skill for skill in BANK.skills if skill.category not in ("general", HEAT))
    episodes = [episode(HEAT, group, group, 1.0, [-0.5]) for group in range(2)]
    chosen = {group: {"random": Choice((other,))} for group in range(2)}
    assert learner.after_step(1, episodes, chosen, taught=True) == {"skills/dropped": 1.0}
    assert [len(line["changes"]) for line in read_metrics(tmp_path / "skills.jsonl")] == [1, 0]


UCB = config(
    train={"steps": STEPS},
    skills={"retrieval": "ucb", "evolve": "drop", "evolve_min_uses": 1, "evolve_threshold": -0.01},
)


@pytest.fixture(scope="module")
def whole(walker_model, tokenizer, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ucb")
    play(folder, UCB, walker_model, tokenizer)
    return folder


class Crash(Exception):
    """The end of a process."""


def test_a_run_with_state_is_continued_to_the_same_end(whole: Path, walker_model, tokenizer, tmp_path: Path) -> None:
    def dying(run: _Run) -> None:
        after = run._after_step

        def crash(trainer, step, metrics):
            after(trainer, step, metrics)
            if step == 2:
                shutil.rmtree(checkpoint_path(run.run.checkpoints, 2))  # as if killed before it was whole
                raise Crash
            return False

        run._after_step = crash  # type: ignore[method-assign]

    lines = read_metrics(whole / "skills.jsonl")
    assert len({line["skills"][0] for line in lines}) > 1 and any(line["changes"] for line in lines)
    with pytest.raises(Crash):
        play(tmp_path, UCB, walker_model, tokenizer, prepare=dying)
    assert max(line["step"] for line in read_metrics(tmp_path / "skills.jsonl")) == 2
    play(tmp_path, UCB, walker_model, tokenizer, resume=True)
    assert_same_record(tmp_path, whole, STEPS)


def test_the_episodes_show_what_the_log_says(whole: Path) -> None:
    for line in read_metrics(whole / "skills.jsonl"):
        text = (whole / "episodes" / f"step-{line['step']:06d}.jsonl").read_text()
        group = [e for e in map(json.loads, text.splitlines()) if e["group"] == line["group"]]
        assert {e["task"]["id"] for e in group} == {line["task"]} and len(group) == line["episodes"]
        assert all(e["skill_ids"] == line["skills"] for e in group)
        assert line["reward"] == sum(e["reward"] for e in group) / len(group)
        gaps = [gap for e in group for turn in e["turns"] for gap in turn["token_gap"]]
        assert line["gap"] == pytest.approx(sum(gaps) / len(gaps))


def test_the_statistics_are_those_of_the_log(whole: Path) -> None:
    found: dict[str, dict[str, list[float]]] = {}
    for line in read_metrics(whole / "skills.jsonl"):
        arm = found.setdefault(line["type"], {}).setdefault(line["skills"][0], [0, 0.0])
        arm[0], arm[1] = arm[0] + 1, arm[1] + line["reward"]
    state = json.loads((checkpoint_path(whole / "checkpoints", STEPS) / SKILLS_FILE).read_text())
    assert state["ucb"] == found


def test_without_its_state_a_run_is_not_continued(whole: Path, walker_model, tokenizer, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "run")
    for checkpoint in list_checkpoints(tmp_path / "run" / "checkpoints"):  # an older one would be taken in its place
        (checkpoint / SKILLS_FILE).unlink()
    more = UCB.model_copy(update={"train": UCB.train.model_copy(update={"steps": STEPS + 1})})
    with pytest.raises(RunFailedError, match="no checkpoint of run run is whole") as caught:
        play(tmp_path / "run", more, walker_model, tokenizer, resume=True)
    assert "skills.json is missing" in caught.value.why


def test_a_run_without_skills_logs_none(walker_model, tokenizer, tmp_path: Path) -> None:
    play(tmp_path / "grpo", config(train={"steps": 1}, algo={"coef": 0}), walker_model, tokenizer)
    assert not (tmp_path / "grpo" / "skills.jsonl").exists()
    shown = config(train={"steps": 1, "with_skill": True}, algo={"coef": 0}, skills={"retrieval": "ucb"})
    play(tmp_path / "skill-grpo", shown, walker_model, tokenizer)
    lines = read_metrics(tmp_path / "skill-grpo" / "skills.jsonl")
    assert len(lines) == 4 and all(line["policy"] and line["views"] == [] for line in lines)
    text = (tmp_path / "skill-grpo" / "episodes" / "step-000001.jsonl").read_text()
    brief = BANK.of("general")[0].brief
    for record in map(json.loads, text.splitlines()):
        assert brief in tokenizer.decode(record["turns"][0]["prompt_ids"]), "the policy saw what was chosen for it"


# The audit --------------------------------------------------------------------------------------------------------


def fill(tokenizer, kind: str, **sections: Any) -> TeacherPrompts:
    made = toy.config(**sections)
    episodes, _, _ = toy.collect(made, tokenizer, [(toy.task(1, 0, kind), 0)])
    maker = TeacherPrompts(made, Retriever(BANK, made.skills), tokenizer)
    samples, _ = make_samples(episodes, "window", made.algo)
    _, maker.stats = maker.add_prompts(samples, episodes, 1)  # type: ignore[attr-defined]
    return maker


def test_general_advice_alone_is_not_the_skill(tokenizer) -> None:
    """The corridor's goal has the keyword "put"; a bank whose keywords are others gives the general skill only."""
    stats = fill(tokenizer, HEAT, skills={"retrieval": "keyword"}).stats
    assert stats.metrics()["teacher/skill_present"] == 1.0 and stats.problem() == ""
    deaf = replace(BANK, categories=dict.fromkeys(BANK.categories, ("nothing like it",)))
    made = toy.config(skills={"retrieval": "keyword"})
    episodes, _, _ = toy.collect(made, tokenizer, [(toy.task(1, 0, HEAT), 0), (toy.task(1, 0, "alien"), 1)])
    samples, _ = make_samples(episodes, "window", made.algo)
    _, stats = TeacherPrompts(made, Retriever(deaf, made.skills), tokenizer).add_prompts(samples, episodes, 1)
    assert (stats.prompts, stats.expected) == (4, 2), "a type that is no category of the bank needs no skill"
    assert stats.metrics()["teacher/skill_present"] == 0.0
    assert stats.problem() == (
        f"2 of 2 teacher prompts show no skill of their task's category, first {HEAT}/1-0 ({HEAT}): "
        "keyword chose general"
    )


@pytest.mark.parametrize("retrieval", ["ucb", "random", "task-type", "full"])
def test_the_other_strategies_show_the_skill(tokenizer, retrieval: str) -> None:
    sections = {"skills": {"retrieval": retrieval}, "teacher": {"max_prompt_tokens": 4000}}
    stats = fill(tokenizer, HEAT, **sections).stats
    assert stats.expected == 2 and stats.metrics()["teacher/skill_present"] == 1.0


def test_a_cut_skill_is_reported(tokenizer) -> None:
    whole = fill(tokenizer, HEAT, teacher={"max_prompt_tokens": 4000})
    needed = len(whole.example.ids)  # type: ignore[union-attr]
    stats = fill(tokenizer, HEAT, teacher={"max_prompt_tokens": needed - 12}).stats
    assert stats.metrics()["teacher/skill_cut"] == 1.0
    assert "the skill is cut in 2 of 2 teacher prompts" in stats.problem()


def test_the_run_warns_once_and_the_summary_says_it(tmp_path: Path, tokenizer) -> None:
    learner, _, messages = learning(tmp_path)
    stats = fill(tokenizer, HEAT).stats
    learner.audit(stats)
    assert messages.warnings == []
    stats.with_skill -= 1
    stats.missing = "this one"
    for _ in range(3):
        learner.audit(stats)
    assert messages.warnings == ["1 of 2 teacher prompts show no skill of their task's category, first this one"]
    rows = [{"step": 1, "teacher/skill_present": 1.0}, {"step": 2, "teacher/skill_present": 0.25}, {"step": 3}]
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert audit_summary(metrics) == {"skill_present": 0.25, "skill_warning": "skills missing in 1 of 3 steps"}
    metrics.write_text(json.dumps({**rows[0], "teacher/skill_cut": 0.5}) + "\n")
    assert audit_summary(metrics) == {"skill_present": 1.0, "skill_warning": "cut in 1 of 1 steps"}
    metrics.write_text(json.dumps(rows[2]) + "\n")
    assert audit_summary(metrics) == {}
