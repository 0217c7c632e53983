"""What the fields of a configuration must agree on, and what it warns of; each with the nearest quiet settings."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from sdar_cli.base.errors import ConfigError
from sdar_cli.config.checks import UNTAUGHT, config_warnings, cross_field_problems
from sdar_cli.config.presets import list_presets, resolve
from sdar_cli.config.schema import RunConfig

NONE = {"retrieval": "none"}
FULL = {"retrieval": "full"}
SKILLED = {"with_skill": True}


def make(**sections: Any) -> RunConfig:
    return RunConfig.model_validate(sections)


def test_defaults_agree_and_raise_no_warning() -> None:
    assert cross_field_problems(RunConfig()) == []
    assert config_warnings(RunConfig()) == []


CONTRADICTIONS = [
    # (settings, part of the message, the keys it names)
    ({"skills": NONE}, "equals the student's", ("algo.coef", "skills.retrieval")),
    ({"teacher": {"views": [NONE, NONE]}}, "skills.retrieval is none", ("algo.coef", "skills.retrieval")),
    ({"skills": NONE, "algo": {"shaping": "rlsd"}}, "nothing to distil", ("algo.coef", "skills.retrieval")),
    ({"train": SKILLED}, "train.with_skill is true", ("algo.coef", "train.with_skill")),
    (
        {"train": SKILLED, "teacher": {"views": [{"form": "brief"}, {"retrieval": "task-type"}]}},
        "show the teacher another skill text",
        ("algo.coef", "train.with_skill"),
    ),
    (
        {"train": SKILLED, "skills": NONE, "algo": {"coef": 0}},
        "train.with_skill needs a skill",
        ("train.with_skill", "skills.retrieval"),
    ),
    ({"algo": {"coef": 0, "policy_coef": 0}}, "both 0: no loss", ("algo.coef", "algo.policy_coef")),
    (
        {"model": {"lora": {"rank": 4, "targets": "q_proj,lm_head"}}},
        "the output layer can have no adapter",
        ("model.lora.targets",),
    ),
    (
        {"algo": {"shaping": "grsd", "policy_coef": 0}},
        "through the policy term alone: no loss",
        ("algo.shaping", "algo.policy_coef"),
    ),
    (
        {"skills": {"retrieval": "embedding"}},
        "needs an encoder",
        ("skills.retrieval", "skills.embedding_model"),
    ),
    (
        {"teacher": {"views": [{"retrieval": "embedding"}]}},
        "needs an encoder",
        ("skills.retrieval", "skills.embedding_model"),
    ),
    ({"skills": {"evolve": "drop"}, "algo": {"coef": 0}}, "there is no teacher", ("skills.evolve", "algo.coef")),
    ({"env": {"games_train": 5}}, "exceeds env.games_train (5)", ("train.tasks_per_step", "env.games_train")),
    (
        {"train": {"updates_per_step": 37}},
        "exceeds the 36 episodes",
        ("train.updates_per_step", "train.tasks_per_step", "train.group_size"),
    ),
    (
        {"env": {"context": "transcript"}, "model": {"max_context_tokens": 535}},
        "cannot hold one prompt and response (536)",
        ("model.max_context_tokens", "model.max_prompt_tokens", "model.max_response_tokens", "env.context"),
    ),
    ({"train": {"steps": 0}, "eval": {"before": False}}, "nothing to do", ("train.steps", "eval.before")),
]


@pytest.mark.parametrize("sections, text, keys", CONTRADICTIONS)
def test_contradictions_are_errors(sections: dict[str, Any], text: str, keys: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError) as caught:
        make(**sections)
    (error,) = caught.value.errors()
    (problem,) = error["ctx"]["problems"]
    assert text in problem.text
    assert problem.keys == keys


AGREEMENTS = [
    {"skills": NONE, "algo": {"coef": 0}},
    {"skills": NONE, "teacher": {"weights": "frozen"}},  # a term towards the initial policy
    {"skills": NONE, "teacher": {"weights": "ema"}},
    {"skills": NONE, "teacher": {"views": [FULL]}},
    {"teacher": {"views": [NONE, {}]}},
    {"train": SKILLED, "algo": {"coef": 0}},
    {"train": SKILLED, "teacher": {"views": [FULL]}},
    {"train": SKILLED, "teacher": {"views": [{"form": "full"}]}},
    {"train": SKILLED, "teacher": {"views": [NONE]}},  # a teacher that knows less
    {"train": SKILLED, "teacher": {"weights": "frozen"}},
    {"train": {"steps": 0, **SKILLED}, "skills": NONE, "algo": {"coef": 0, "policy_coef": 0}},  # nothing is trained
    {"algo": {"policy_coef": 0}},
    {"algo": {"coef": 0, "policy_coef": 0.1}},
    {"algo": {"shaping": "grsd", "policy_coef": 0.1}},
    {"algo": {"shaping": "none", "policy_coef": 0}},
    {"skills": {"retrieval": "embedding", "embedding_model": "e5"}},
    {"skills": {"evolve": "drop"}, "algo": {"coef": 0.1}},
    {"skills": {"evolve": "my.hooks:grow"}, "algo": {"coef": 0}},
    {"train": {"steps": 0}},
    {"eval": {"before": False}},
    {"env": {"games_train": 6}},
    {"env": {"games_train": 5, "source": "real"}},
    {"train": {"updates_per_step": 36}},
    {"env": {"context": "transcript"}, "model": {"max_context_tokens": 536}},  # 512 + 24
    {"env": {"context": "window"}, "model": {"max_context_tokens": 535}},
]


@pytest.mark.parametrize("sections", AGREEMENTS)
def test_the_nearest_agreeing_settings_are_accepted(sections: dict[str, Any]) -> None:
    make(**sections)


def test_contradictions_are_reported_together_with_their_sources() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(sets=["env.games_train=5", "train.with_skill=true"], flags={"algo.shaping": ("nope", "--shaping")})
    text = caught.value.render()
    assert "3 problems" in text
    assert "algo.coef from preset models/tiny-alfworld.toml for sdar, train.with_skill from --set" in text
    assert "env.games_train from --set" in text
    assert "--shaping: algo.shaping = 'nope'" in text


WARNINGS = [
    # (settings, part of the message, the nearest settings without it)
    ({"algo": {"gate_beta": 0}}, "the gap gate a constant 1/2", {"algo": {"gate_beta": 0.1}}),
    ({"algo": {"gate": "entropy", "gate_beta": 0}}, "use --gate none", {"algo": {"gate": "entropy"}}),
    (
        {"algo": {"gate_beta": 0, "objective": "signed"}},
        "a constant 1/2",
        {"algo": {"gate": "none", "gate_beta": 0, "objective": "signed"}},
    ),
    ({"algo": {"gate": "none"}}, "expected gradient of zero", {"algo": {"gate": "none", "objective": "signed"}}),
    (
        {"algo": {"gate": "soft-or", "gate_beta": 0}},
        "expected gradient of zero",
        {"algo": {"gate": "mine:gate", "gate_beta": 0}},
    ),
    ({"algo": {"coef": 0}}, "this run is GRPO although its method is called sdar", {"algo": {"coef": 0.01}}),
    ({"method": "rlsd", "algo": {"coef": 0}}, "is called rlsd", {"method": "grpo", "algo": {"coef": 0}}),
    (
        {"method": "rlsd", "algo": {"coef": 0, "shaping": "rlsd"}},
        "this run is GRPO",
        {"method": "rlsd", "algo": {"shaping": "rlsd"}},
    ),
    ({"algo": {"coef": 1}}, "ruin the teacher", {"algo": {"coef": 1}, "teacher": {"weights": "frozen"}}),
    ({"algo": {"coef": 1}}, "ruin the teacher", {"algo": {"coef": 1, "shaping": "t-dur"}}),
    ({"algo": {"coef": 2}}, "ruin the teacher", {"algo": {"coef": 0.99}}),
    (
        {"teacher": {"views": [{"weight": 0.5}, {"weight": -0.5}]}},
        "add up to 0 or less",
        {"teacher": {"views": [{"weight": 0.5}, {"weight": -0.4}]}},
    ),
    (
        {"algo": {"shaping": "rlsd"}, "teacher": {"views": [{"weight": -1}]}},
        "may be reversed",
        {"algo": {"shaping": "rlsd"}, "teacher": {"views": [{"weight": 1}]}},
    ),
    (
        {"teacher": {"max_prompt_tokens": 511}},
        "less history than the student",
        {"teacher": {"max_prompt_tokens": 512}},
    ),
    (
        {"teacher": {"max_prompt_tokens": 511}, "algo": {"shaping": "grsd"}},
        "less history than the student",
        {"teacher": {"max_prompt_tokens": 511}, "method": "grpo", "algo": {"coef": 0}},
    ),
    (
        {"env": {"context": "transcript", "history": 4}},
        "env.history is ignored",
        {"env": {"context": "transcript"}},
    ),
    ({"env": {"data": "x"}}, "env.data is ignored", {"env": {"data": None}}),
    (
        {"engine": {"sleep": True, "memory": 0.9}},
        "engine.memory and engine.sleep ignored with engine.name = hf",
        {"engine": {"sleep": True, "memory": 0.9, "name": "vllm"}},
    ),
    (
        {"engine": {"batch": 8, "name": "vllm"}},
        "engine.batch ignored with engine.name = vllm",
        {"engine": {"batch": 8}},
    ),
    (
        {"algo": {"tis_distill": True}},
        "algo.tis_distill is ignored",
        {"algo": {"tis_distill": True, "tis": "token"}},
    ),
    (
        {"env": {"source": "real"}},
        "small generated houses",
        {"env": {"source": "real"}, "model": {"name": "someone/else"}},
    ),
    ({"env": {"size": "full"}}, "small generated houses", {"env": {"size": "small"}}),
    ({"teacher": {"ema_decay": 0.5}}, "ema_decay is ignored", {"teacher": {"ema_decay": 0.5, "weights": "ema"}}),
    (
        {"teacher": {"ema_decay": 0.5, "weights": "frozen"}},
        "ignored with teacher.weights = frozen",
        {"teacher": {"weights": "frozen"}},
    ),
    (
        {"algo": {"shaping": "rlsd", "gate": "none", "gate_beta": 1, "objective": "k3"}},
        "algo.gate and algo.gate_beta and algo.objective ignored: with algo.shaping = rlsd",
        {"algo": {"shaping": "rlsd"}},
    ),
    (
        {"algo": {"shaping": "rlsd", "objective": "k3"}},
        "algo.objective ignored",
        {"algo": {"objective": "k3"}},
    ),
    (
        {"algo": {"shaping_clip": 0.1}},
        "algo.shaping_clip is ignored",
        {"algo": {"shaping_clip": 0.1, "shaping": "belief"}},
    ),
    (
        {"algo": {"coef_end": 0.05, "coef_schedule": "warm-down"}},
        "algo.coef_end is ignored with algo.coef_schedule = warm-down",
        {"algo": {"coef_end": 0.05, "coef_schedule": "atod"}},
    ),
    (
        {"algo": {"coef_steps": 3}},
        "algo.coef_steps is ignored",
        {"algo": {"coef_steps": 3, "policy_coef_end": 2.0}},
    ),
    (
        {"method": "grpo", "algo": {"coef": 0, "coef_schedule": "linear", "coef_end": 0.1}},
        "no teacher at any step",
        {"algo": {"coef": 0.01, "coef_schedule": "linear", "coef_end": 0.1}},
    ),
    ({"algo": {"coef_end": 0.05}}, "algo.coef_end is ignored", {"algo": {"coef_end": 0.05, "coef_schedule": "linear"}}),
    (
        {"algo": {"coef_steps": 3}},
        "algo.coef_steps is ignored",
        {"algo": {"coef_steps": 3, "coef_schedule": "warm-down"}},
    ),
    (
        {"algo": {"gate_entropy": "log-vocab"}},
        "the gate gap reads no entropy",
        {"algo": {"gate_entropy": "log-vocab", "gate": "soft-or"}},
    ),
    (
        {"algo": {"gate_entropy": "log-vocab", "gate": "none", "objective": "signed"}},
        "the gate none reads no entropy",
        {"algo": {"gate_entropy": "log-vocab", "gate": "entropy"}},
    ),
    (
        {"model": {"lora": {"alpha": 8}}},
        "model.lora settings are ignored",
        {"model": {"lora": {"rank": 4, "alpha": 8}}},
    ),
    (
        {"model": {"lora": {"rank": 4, "dropout": 0.1}}},
        "the teacher without: the gap is noisier",
        {"model": {"lora": {"rank": 4}}},
    ),
    (
        {"model": {"dtype": "bfloat16"}, "train": {"lr": 1e-6}},
        "steps of 1e-06 vanish in bfloat16",
        {"model": {"dtype": "bfloat16", "lora": {"rank": 8}}, "train": {"lr": 1e-6}},
    ),
    (
        {"model": {"dtype": "float16"}, "train": {"lr": 9e-6}},
        "leave model.dtype at auto",
        {"model": {"dtype": "float16"}, "train": {"lr": 1e-5}},
    ),
    ({"eval": {"decoding": "greedy", "temperature": 1}}, "eval.temperature is ignored", {"eval": {"temperature": 1}}),
    ({"eval": {"games": 67}}, "exceeds env.games_eval", {"eval": {"games": 66}}),
    (
        {"skills": NONE, "method": "grpo", "algo": {"coef": 0}},
        "the evaluation with skill shows no skill",
        {"skills": NONE, "method": "grpo", "algo": {"coef": 0}, "eval": {"with_skill": False}},
    ),
    (
        {"skills": {"retrieval": "ucb"}, "env": {"win_reward": 10}},
        "skills.ucb_c is in units of the reward",
        {"skills": {"retrieval": "ucb", "ucb_c": 10}, "env": {"win_reward": 10}},
    ),
    (
        {"skills": {"ucb_c": 2, "evolve_min_uses": 3}},
        "skills.ucb_c and skills.evolve_min_uses ignored",
        {"skills": {"retrieval": "ucb", "ucb_c": 2, "evolve": "drop", "evolve_min_uses": 3}},
    ),
    (
        {"skills": {"embedding_model": "e5"}},
        "skills.embedding_model ignored",
        {"teacher": {"views": [{"retrieval": "embedding"}]}, "skills": {"embedding_model": "e5"}},
    ),
    (
        {"skills": {"evolve_threshold": -0.5}},
        "skills.evolve_threshold ignored",
        {"skills": {"evolve": "drop", "evolve_threshold": -0.5}},
    ),
    ({"train": {"warmup_steps": 24}}, "learning rate is never reached", {"train": {"warmup_steps": 23}}),
]


@pytest.mark.parametrize("sections, text, quiet", WARNINGS)
def test_doubtful_settings_warn_and_the_nearest_sensible_ones_do_not(
    sections: dict[str, Any], text: str, quiet: dict[str, Any]
) -> None:
    assert any(text in warning for warning in config_warnings(make(**sections)))
    assert config_warnings(make(**quiet)) == []


def test_an_evaluation_alone_is_not_told_about_its_training() -> None:
    quiet = {"method": "sdar", "algo": {"coef": 0}, "train": {"steps": 0, "warmup_steps": 3}}
    assert config_warnings(make(**quiet)) == []


def test_the_methods_without_a_teacher_are_those_whose_presets_have_none() -> None:
    without = {name for name in list_presets("methods") if resolve(method=name).config.algo.coef == 0}
    assert without == set(UNTAUGHT)
