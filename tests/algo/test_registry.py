"""Names of gates and objectives: registered, imported, misspelt."""

from __future__ import annotations

import inspect

import pytest

from sdar_cli.algo.gates import GATES, entropy_gate
from sdar_cli.algo.objectives import OBJECTIVES, jsd, needs_heads
from sdar_cli.algo.registry import GATE, OBJECTIVE, SCHEDULE, SHAPING
from sdar_cli.algo.schedule import SCHEDULES
from sdar_cli.algo.shaping import SHAPINGS
from sdar_cli.base.errors import ConfigError


def test_every_registered_name_resolves_to_its_function() -> None:
    assert {name: GATE.bind(name) for name in ("gap", "entropy", "soft-or", "none")} == GATES
    assert {name: OBJECTIVE.bind(name) for name in OBJECTIVE.builtin()} == OBJECTIVES
    assert {name: SHAPING.bind(name) for name in SHAPING.builtin() if name != "none"} == SHAPINGS
    assert {name: SCHEDULE.bind(name) for name in SCHEDULE.builtin()} == SCHEDULES


def test_an_import_path_resolves() -> None:
    assert inspect.unwrap(GATE.bind("sdar_cli.algo.gates:entropy_gate")) is entropy_gate
    assert inspect.unwrap(OBJECTIVE.bind("sdar_cli.algo.objectives:k3")) is OBJECTIVES["k3"]


def test_an_objective_of_the_whole_vocabulary_is_known_by_name_path_and_mark() -> None:
    assert needs_heads(OBJECTIVE.bind("jsd")) and needs_heads(OBJECTIVE.bind("sdar_cli.algo.objectives:jsd"))
    assert not needs_heads(OBJECTIVE.bind("k3"))
    guest = OBJECTIVE.bind(f"{__name__}:guest", {"share": 0.5})
    assert needs_heads(guest)


def guest(batch, weight, share: float):
    return share * jsd(batch, weight)


guest.full_vocabulary = True  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("wrong", "near"), [("gapp", "gap"), ("soft_or", "soft-or"), ("Entropy", "entropy"), ("non", "none")]
)
def test_a_misspelt_gate_names_the_nearest_and_all(wrong: str, near: str) -> None:
    with pytest.raises(ConfigError) as caught:
        GATE.bind(wrong)
    assert f"unknown gate '{wrong}'; did you mean '{near}'?" in caught.value.what
    assert caught.value.why == "the names are: gap, entropy, soft-or, none"


def test_a_name_like_no_other_gets_no_suggestion() -> None:
    with pytest.raises(ConfigError) as caught:
        OBJECTIVE.bind("xyz")
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
        GATE.bind(path)
    assert path in caught.value.what and why in caught.value.why and "package.module:attribute" in caught.value.fix
