"""The configuration's own checks: names, ranges, contradictions, warnings."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from sdar_cli.checks import config_warnings
from sdar_cli.config import GATES, OBJECTIVES, RunConfig


def make(**sections: Any) -> RunConfig:
    return RunConfig.model_validate(sections)


def test_defaults_are_valid_and_raise_no_warning() -> None:
    assert config_warnings(RunConfig()) == []


def test_json_round_trip() -> None:
    config = make(name="a.b-1", seed=3, algo={"gate": "pkg.mod:fn", "dual_clip": None}, train={"lr": 1e-6})
    assert RunConfig.model_validate(json.loads(json.dumps(config.model_dump(mode="json")))) == config


def test_unknown_keys_are_refused_and_values_are_frozen() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        make(algo={"gat": "gap"})
    with pytest.raises(ValidationError, match="frozen"):
        RunConfig().algo.coef = 1.0  # type: ignore[misc]


@pytest.mark.parametrize("gate", [*GATES, "my_gates:soft", "a.b.c:fn_2"])
def test_gates_are_names_or_import_paths(gate: str) -> None:
    assert make(algo={"gate": gate}).algo.gate == gate


@pytest.mark.parametrize("field, value", [("gate", "gapp"), ("gate", "a.b:"), ("gate", ":fn"), ("objective", "kl")])
def test_other_names_are_refused_with_the_choice(field: str, value: str) -> None:
    expected = GATES if field == "gate" else OBJECTIVES
    with pytest.raises(ValidationError) as caught:
        make(algo={field: value})
    assert ", ".join(expected) in str(caught.value)


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "a b", "x" * 200])
def test_run_names_stay_inside_the_runs_directory(name: str) -> None:
    with pytest.raises(ValidationError):
        make(name=name)


CONTRADICTIONS = [
    ({"skills": {"retrieval": "none"}}, "equals the student's"),
    ({"algo": {"coef": 0, "policy_coef": 0}}, "no loss"),
    ({"env": {"games_train": 5}}, "exceeds env.games_train"),
    ({"train": {"updates_per_step": 37}}, "exceeds the 36 episodes"),
    ({"env": {"context": "transcript"}, "model": {"max_context_tokens": 535}}, "cannot hold one prompt"),
]


@pytest.mark.parametrize("sections, text", CONTRADICTIONS)
def test_contradictions_are_errors(sections: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        make(**sections)


AGREEMENTS = [
    {"skills": {"retrieval": "none"}, "algo": {"coef": 0}},
    {"env": {"games_train": 5, "source": "real"}},
    {"train": {"updates_per_step": 36}},
    {"env": {"context": "transcript"}, "model": {"max_context_tokens": 536}},  # 512 + 24
]


@pytest.mark.parametrize("sections", AGREEMENTS)
def test_the_nearest_agreeing_settings_are_accepted(sections: dict[str, Any]) -> None:
    make(**sections)


WARNINGS = [
    ({"algo": {"gate_beta": 0}}, "--gate none"),
    ({"algo": {"gate": "entropy", "gate_beta": 0}}, "constant 1/2"),
    ({"algo": {"gate": "none"}}, "expected gradient of zero"),
    ({"algo": {"coef": 0}}, "this run is GRPO"),
    ({"algo": {"coef": 1}}, "ruin the teacher"),
    ({"teacher": {"max_prompt_tokens": 500}}, "less history than the student"),
    ({"env": {"context": "transcript", "history": 4}}, "env.history is ignored"),
    ({"env": {"data": "x"}}, "env.data is ignored"),
    ({"env": {"source": "real"}}, "small generated houses"),
    ({"teacher": {"ema_decay": 0.5}}, "ema_decay is ignored"),
    ({"model": {"lora": {"alpha": 8}}}, "model.lora settings are ignored"),
    ({"eval": {"decoding": "greedy", "temperature": 1}}, "eval.temperature is ignored"),
    ({"eval": {"games": 67}}, "exceeds env.games_eval"),
    ({"train": {"warmup_steps": 24}}, "learning rate is never reached"),
]


@pytest.mark.parametrize("sections, text", WARNINGS)
def test_doubtful_settings_warn(sections: dict[str, Any], text: str) -> None:
    assert any(text in warning for warning in config_warnings(make(**sections)))


QUIET = [
    {"algo": {"gate": "none", "objective": "signed"}},
    {"algo": {"gate": "none", "gate_beta": 0, "objective": "signed"}},
    {"algo": {"coef": 1}, "teacher": {"weights": "frozen"}},
    {"method": "grpo", "algo": {"coef": 0, "gate_beta": 0}},
    {"env": {"context": "transcript"}},
    {"model": {"lora": {"rank": 4, "alpha": 8}}},
]


@pytest.mark.parametrize("sections", QUIET)
def test_sensible_settings_do_not_warn(sections: dict[str, Any]) -> None:
    assert config_warnings(make(**sections)) == []


def test_the_names_are_those_of_the_registries() -> None:
    from sdar_cli.algo import gates, objectives

    assert tuple(gates.GATES) == GATES
    assert tuple(objectives.OBJECTIVES) == OBJECTIVES
