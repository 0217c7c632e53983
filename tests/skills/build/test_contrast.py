"""Rules from episodes written by hand, their counts by eye, and rules that must not appear."""

from __future__ import annotations

import random
from functools import partial

import pytest

from sdar_cli.base.errors import ConfigError, RunFailedError
from sdar_cli.skills.build.build import Wanted, build_bank
from sdar_cli.skills.build.contrast import Limits, contrast
from sdar_cli.skills.build.traces import Traces, read_traces
from sdar_cli.skills.choose.strategies import match_keyword
from skills.episodes import GOAL, HEAT, LATE, LOST, UNHEATED, WIN, demonstration, trained, write

COOL = "pick_cool_then_place_in_recep"


def read(tmp_path, records) -> Traces:
    return read_traces(write(tmp_path / "episodes.jsonl", records))


def played(won: int, tasks: int = 1) -> list[dict]:
    """Per task ``won`` won episodes, as many that did not heat, and as many that searched in a circle."""
    lines = []
    for number in range(tasks):
        for actions, result in ((WIN, True), (UNHEATED, False), (LOST, False)):
            lines += [demonstration(actions, result, f"t{number}")] * won
    return lines


def test_the_procedure_is_found_in_order_with_its_counts(tmp_path):
    (general, skill), warnings = contrast(read(tmp_path, played(6)).episodes, "alfworld", Limits())
    assert warnings == []
    assert skill.brief == "take it, heat it with the microwave, then move it to the target."
    assert "1. Take the object: 6 of 6 won, 6 of 12 lost." in skill.text
    assert "2. Heat the object with the microwave: 6 of 6 won, 0 of 12 lost." in skill.text
    assert "Found by comparing 6 won and 12 lost episodes." in skill.text
    assert skill.sources == ("episodes.jsonl:1-18",)
    assert (skill.id, skill.category, skill.kind) == (HEAT, HEAT, "skill")
    assert GOAL in skill.when
    assert (
        general.brief == "search every place."
        and "Go to a place again while searching: 0 of 6 won, 6 of 12 lost" in general.text
    )


def test_an_order_that_separates_is_a_rule(tmp_path):
    """All lost ones that moved had not heated before; those that heated did so too late."""
    lines = [demonstration(WIN, True)] * 5 + [demonstration(LATE, False)] * 5
    (skill,), _ = contrast(read(tmp_path, lines).episodes, "alfworld", Limits())
    rule = "- Heat the object with the microwave before you move the object to the target: 5 of 5 won, 0 of 5 lost."
    assert rule in skill.text


def test_steps_of_both_are_no_rules(tmp_path):
    """Everyone takes the object first: it separates nothing.  Everyone moves it, but the lost ones too early."""
    lines = [demonstration(WIN, True)] * 5 + [demonstration(UNHEATED, False)] * 5
    (skill,), _ = contrast(read(tmp_path, lines).episodes, "alfworld", Limits())
    assert skill.brief == "heat it with the microwave, then move it to the target."


def test_a_step_of_few_won_episodes_is_no_part_of_the_procedure(tmp_path):
    bare = [demonstration(UNHEATED, True)] * 2
    lines = [demonstration(WIN, True)] * 8 + bare + [demonstration(LOST, False)] * 10
    found, _ = contrast(read(tmp_path, lines).episodes, "alfworld", Limits(core=0.9))
    assert found[-1].brief == "take it, then move it to the target.", "8 of 10 won ones heated it"
    found, _ = contrast(read(tmp_path, lines).episodes, "alfworld", Limits(core=0.8))
    assert "heat it with the microwave" in found[-1].brief


def test_too_few_won_episodes_give_no_skill_and_a_warning(tmp_path):
    skills, warnings = contrast(read(tmp_path, played(2)).episodes, "alfworld", Limits(support=3))
    assert [s.category for s in skills] in ([], ["general"])
    assert f"{HEAT}: 2 of 6 episodes won, too few for a skill" in warnings


def test_chance_makes_no_skill(tmp_path):
    """Outcomes drawn whatever was done: nothing separates, in 20 draws."""
    for seed in range(20):
        rng = random.Random(seed)
        lines = [demonstration(rng.choice([WIN, UNHEATED, LOST]), rng.random() < 0.5, f"t{i % 4}") for i in range(60)]
        skills, warnings = contrast(read(tmp_path, lines).episodes, "alfworld", Limits(alpha=0.001))
        assert skills == [] and "no step separates" in warnings[0]


def test_what_to_avoid_is_compared_within_a_task(tmp_path):
    """The hard task is lost and needs a detour, the easy one is won without: no rule against detours."""
    detour = ("go to shelf 1", "go to shelf 2", "go to shelf 1")
    lines = [demonstration(WIN, True, "easy")] * 8 + [demonstration((*detour, *LOST), False, "hard")] * 8
    skills, warnings = contrast(read(tmp_path, lines).episodes, "alfworld", Limits())
    assert [skill.category for skill in skills] == [HEAT]
    assert "**Avoid**" not in skills[0].text
    assert warnings[-1].startswith("no task was both won and lost")


def test_only_the_turns_of_a_won_episode_count_against_a_lost_one(tmp_path):
    """Lost episodes are long: what they do after a won one would have ended is no fault."""
    for turns, found_rule in ((len(WIN) - 2, True), (len(WIN) - 1, False)):
        lost = [("go to shelf 1", *["look"] * n, "go to shelf 1") for n in [1] + [turns] * 7]
        lines = [demonstration(WIN, True)] * 8 + [demonstration(each, False) for each in lost]
        found, _ = contrast(read(tmp_path, lines).episodes, "alfworld", Limits())
        assert ("Go to a place again" in found[-1].text) is found_rule


def test_demonstrations_without_a_loss_give_what_they_share(tmp_path):
    (skill,), warnings = contrast(read(tmp_path, [demonstration(WIN, True)] * 4).episodes, "alfworld", Limits())
    assert skill.brief == "take it, heat it with the microwave, then move it to the target."
    assert "not what separates" in warnings[0]
    assert "4 of 4 won, 0 of 0 lost" in skill.text


def test_goals_that_are_not_understood_name_the_line(tmp_path):
    lines = [demonstration(WIN, True), demonstration(WIN, True, goal="fly to the moon")]
    with pytest.raises(ConfigError, match=r"episodes.jsonl, line 2: the goal is not understood"):
        contrast(read(tmp_path, lines).episodes, "alfworld", Limits())


def test_a_bank_is_written_with_keywords_and_origin(tmp_path):
    goals = ("cool some {} and put it in sink", "put a cool {} in sink")
    things = ("apple", "egg", "cup")
    lines = played(4)
    for thing in things:
        for goal in goals:
            won = (f"take {thing} 1 from shelf 1", f"cool {thing} 1 with fridge 1", f"move {thing} 1 to sink 1")
            lines.append(demonstration(won, True, thing, COOL, goal.format(thing)))
            lines.append(demonstration(won[:1], False, thing, COOL, goal.format(thing)))
    traces = read(tmp_path, lines)
    wanted = Wanted("b", "alfworld", "MIT", tmp_path / "out")
    bank, _ = build_bank(traces, partial(contrast, limits=Limits()), "contrast", wanted)
    assert bank.of(COOL)[0].brief == "cool it with the fridge, then move it to the target."
    assert bank.origin and (bank.origin.builder, bank.origin.episodes, bank.origin.won) == ("contrast", 24, 10)
    assert bank.origin.files == traces.files
    assert match_keyword(bank, "put a cool potato in fridge") == (COOL, "cool")
    assert (bank.name, bank.licence, bank.environment) == ("b", "MIT", "alfworld")


def test_types_without_a_skill_are_reported(tmp_path):
    traces = read(tmp_path, [*played(4), demonstration(LOST, False, "c", COOL, "cool some egg and put it in sink")])
    wanted = Wanted("b", "alfworld", "MIT", tmp_path / "out")
    bank, warnings = build_bank(traces, partial(contrast, limits=Limits()), "contrast", wanted)
    assert COOL not in bank.categories
    assert f"no skill of {COOL}: retrieval=task-type refuses such tasks, keyword does not" in warnings


def test_episodes_of_another_environment_are_refused(tmp_path):
    record = trained(WIN, True)
    record["turns"][0]["view"]["env"] = "webshop"
    traces = read(tmp_path, [*played(4), record])
    with pytest.raises(ConfigError, match="1 of 13 episodes are of webshop, not of alfworld") as caught:
        build_bank(
            traces, partial(contrast, limits=Limits()), "contrast", Wanted("b", "alfworld", "MIT", tmp_path / "out")
        )
    assert "line 13" in caught.value.why


def test_nothing_found_is_an_error_and_writes_nothing(tmp_path):
    wanted = Wanted("b", "alfworld", "MIT", tmp_path / "out")
    with pytest.raises(RunFailedError, match="no skill was found"):
        build_bank(read(tmp_path, [demonstration(LOST, False)]), partial(contrast, limits=Limits()), "contrast", wanted)
    assert not (tmp_path / "out").exists()
