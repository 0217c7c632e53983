"""The configuration: names, ranges, unknown keys.  What its fields must agree on: ``test_checks.py``."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from sdar_cli.algo.registry import GATE, OBJECTIVE
from sdar_cli.config.schema import RunConfig


def make(**sections: Any) -> RunConfig:
    return RunConfig.model_validate(sections)


def test_json_round_trip() -> None:
    config = make(name="a.b-1", seed=3, algo={"gate": "pkg.mod:fn", "dual_clip": None}, train={"lr": 1e-6})
    assert RunConfig.model_validate(json.loads(json.dumps(config.model_dump(mode="json")))) == config


def test_unknown_keys_are_refused_and_values_are_frozen() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        make(algo={"gat": "gap"})
    with pytest.raises(ValidationError, match="frozen"):
        RunConfig().algo.coef = 1.0  # type: ignore[misc]


@pytest.mark.parametrize("gate", [*GATE.builtin(), "my_gates:soft", "a.b.c:fn_2"])
def test_gates_are_names_or_import_paths(gate: str) -> None:
    assert make(algo={"gate": gate}).algo.gate == gate


@pytest.mark.parametrize("field, value", [("gate", "gapp"), ("gate", "a.b:"), ("gate", ":fn"), ("objective", "kl")])
def test_other_names_are_refused_with_the_choice(field: str, value: str) -> None:
    expected = (GATE if field == "gate" else OBJECTIVE).builtin()
    with pytest.raises(ValidationError) as caught:
        make(algo={field: value})
    assert ", ".join(expected) in str(caught.value)


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "a b", "x" * 200])
def test_run_names_stay_inside_the_runs_directory(name: str) -> None:
    with pytest.raises(ValidationError):
        make(name=name)


def test_the_names_are_those_of_the_registries() -> None:
    from sdar_cli.algo import gates, objectives

    assert tuple(gates.GATES) == GATE.builtin()
    assert tuple(objectives.OBJECTIVES) == OBJECTIVE.builtin()
