"""The evolution hook: when ``drop`` drops, and how a hook is named."""

from __future__ import annotations

import inspect

import pytest
import toy

from sdar_cli.base.errors import ConfigError
from sdar_cli.config.plugs import EVOLVE
from sdar_cli.config.schema import SkillsConfig
from sdar_cli.skills.bank import load_bank
from sdar_cli.skills.choose.evolve import EVOLUTIONS, Change, Group, drop

SKILLS = load_bank("alfworld").skills
SETTINGS = SkillsConfig(evolve="drop", evolve_min_uses=3, evolve_threshold=-0.1)


def after(gaps, skills=SKILLS[:1], kind="heat", memory=None) -> list[list[Change]]:
    """What ``drop`` asks for after each of these groups."""
    memory = {} if memory is None else memory
    return [
        list(drop(toy.task(1, 0, kind), skills, Group(step, (), 0.0, gap, SETTINGS, memory)))
        for step, gap in enumerate(gaps)
    ]


def test_it_drops_after_that_many_low_gaps_in_a_row() -> None:
    assert [len(changes) for changes in after([-0.2, -0.2, -0.11, -0.2])] == [0, 0, 1, 0]
    (change,) = after([-0.2, -0.2, -0.5])[2]
    assert change == Change("general", "gap below -0.1 in 3 groups in a row, now -0.500") and change.rewritten is None


def test_one_better_group_starts_the_count_again() -> None:
    assert [len(c) for c in after([-0.2, -0.2, -0.1, -0.2, -0.2])] == [0] * 5, "the threshold itself is not below it"
    assert not any(after([0.3, -0.05, 0.1, 0.2]))


def test_groups_without_a_teacher_count_nothing() -> None:
    assert [len(c) for c in after([-0.2, None, -0.2, None, -0.2])] == [0, 0, 0, 0, 1]


def test_types_and_skills_are_counted_apart_and_remembered() -> None:
    memory: dict = {}
    after([-0.2, -0.2], kind="heat", memory=memory)
    assert not any(after([-0.2], kind="cool", memory=memory))
    assert not any(after([-0.2, -0.2], skills=SKILLS[1:2], kind="heat", memory=memory))
    found = after([-0.2], skills=SKILLS[:2], kind="heat", memory=memory)[0]
    assert [change.skill for change in found] == [SKILLS[0].id, SKILLS[1].id]


def test_names() -> None:
    assert EVOLVE.bind("drop") is drop
    assert inspect.unwrap(EVOLVE.bind("sdar_cli.skills.choose.evolve:drop")) is drop
    assert set(EVOLVE.names()) == {"none", *EVOLUTIONS}
    with pytest.raises(ConfigError, match="did you mean 'drop'"):
        EVOLVE.bind("drops")
