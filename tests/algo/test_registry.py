"""Names of gates and objectives: registered, imported, misspelt."""

from __future__ import annotations

import pytest

from sdar_cli.algo.gates import GATES, entropy_gate, resolve_gate
from sdar_cli.algo.objectives import OBJECTIVES, resolve_objective
from sdar_cli.algo.schedule import SCHEDULES, resolve_schedule
from sdar_cli.algo.shaping import SHAPINGS, resolve_shaping
from sdar_cli.base.errors import ConfigError
from sdar_cli.config import schema as config


def test_every_registered_name_resolves_to_its_function() -> None:
    assert {name: resolve_gate(name) for name in ("gap", "entropy", "soft-or", "none")} == GATES
    assert {name: resolve_objective(name) for name in config.OBJECTIVES} == OBJECTIVES
    assert {name: resolve_shaping(name) for name in config.SHAPINGS if name != "none"} == SHAPINGS
    assert {name: resolve_schedule(name) for name in config.SCHEDULES} == SCHEDULES


def test_an_import_path_resolves() -> None:
    assert resolve_gate("sdar_cli.algo.gates:entropy_gate") is entropy_gate
    assert resolve_objective("sdar_cli.algo.objectives:k3") is OBJECTIVES["k3"]


@pytest.mark.parametrize(
    ("wrong", "near"), [("gapp", "gap"), ("soft_or", "soft-or"), ("Entropy", "entropy"), ("non", "none")]
)
def test_a_misspelt_gate_names_the_nearest_and_all(wrong: str, near: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_gate(wrong)
    assert f"unknown gate '{wrong}'; did you mean '{near}'?" in caught.value.what
    assert caught.value.why == "the gates are: gap, entropy, soft-or, none"


def test_a_name_like_no_other_gets_no_suggestion() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_objective("xyz")
    assert caught.value.what == "unknown objective 'xyz'"
    assert "surrogate, signed, k1, k3" in caught.value.why


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("no_such_package.gates:mine", "No module named"),
        ("sdar_cli.algo.gates:mine", "has no attribute 'mine'"),
        ("sdar_cli.algo.gates:GATES", "it is a dict, not a function"),
        (":mine", "before or after the colon"),
        ("sdar_cli.algo.gates:", "before or after the colon"),
    ],
)
def test_a_path_that_cannot_be_loaded_says_why(path: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_gate(path)
    assert path in caught.value.what and why in caught.value.why and "package.module:function" in caught.value.fix
