"""ALFWorld episodes as steps, and steps as briefs."""

from __future__ import annotations

import pytest

from sdar_cli.envs.alfworld.steps import brief, general_brief, steps
from sdar_cli.envs.base import Act, Trace
from sdar_cli.skills.bank import load_bank

HEAT = "heat some apple and put it in fridge"
TWO = "find two pen and put them in desk"
LOOK = "look at mug under the desklamp"


def steps_of(goal: str, *actions: str | Act) -> list[str]:
    acts = tuple(act if isinstance(act, Act) else Act(act) for act in actions)
    return [step for _, step in steps(Trace("f", 1, "t", "k", goal, True, acts))]


def test_the_procedure_of_a_treatment():
    found = steps_of(
        HEAT, "go to shelf 1", "take apple 2 from shelf 1", "go to microwave 1", "heat apple 2 with microwave 1",
        "go to fridge 1", "open fridge 1", "move apple 2 to fridge 1",
    )  # fmt: skip
    assert found == ["take the object", "heat the object with the microwave", "move the object to the target"]
    assert brief(found) == load_bank("alfworld").of("pick_heat_then_place_in_recep")[0].brief


def test_two_objects_and_what_goes_wrong_with_them():
    moved = "move the object to the target"
    first = ("take pen 1 from bed 1", "move pen 1 to desk 1", "take pen 2 from shelf 1")
    assert steps_of(TWO, *first, "move pen 2 to desk 1")[1:] == [
        moved, "take a second object", "move the second object to the same target",
    ]  # fmt: skip
    assert steps_of(TWO, *first, "move pen 2 to desk 2")[-1] == "move the second object to another target"
    assert steps_of(TWO, *first[:2], "take pen 1 from desk 1")[-1] == "take an object out of the target"
    order = steps_of(TWO, *first, "move pen 2 to desk 1")
    assert brief(order) == load_bank("alfworld").of("pick_two_obj_and_place")[0].brief


def test_the_lamp_needs_the_object_in_hand():
    assert steps_of(LOOK, "use desklamp 1", "take mug 1 from desk 1", "use desklamp 1") == [
        "use the desklamp without the object",
        "take the object",
        "use the desklamp while holding the object",
    ]
    assert brief(steps_of(LOOK, "take mug 1 from desk 1", "use desklamp 1")) == (
        "take it, then go to the desklamp and use it while holding it."
    )


def test_other_things_and_other_places():
    assert steps_of(HEAT, "take egg 1 from shelf 1", "heat egg 1 with microwave 1", "move egg 1 to fridge 1") == [
        "take something else",
        "heat something else with the microwave",
        "put something else down",
    ]
    assert steps_of(HEAT, "take apple 1 from shelf 1", "move apple 1 to shelf 2")[-1] == "put the object down elsewhere"


def test_searching():
    again, unopened = "go to a place again while searching", "leave a closed place unopened while searching"
    closed = Act("go to shelf 2", admissible=("open drawer 1", "go to shelf 2"))
    assert steps_of(HEAT, "go to drawer 1", closed) == [unopened]
    assert steps_of(HEAT, "go to drawer 1", Act("open drawer 1", admissible=("open drawer 1",)), "go to shelf 1") == []
    assert steps_of(HEAT, "go to shelf 1", "go to shelf 2", "go to shelf 1") == [again]
    carrying = ("go to shelf 1", "take apple 1 from shelf 1", "go to shelf 2", "go to shelf 1")
    assert steps_of(HEAT, *carrying) == ["take the object"], "with the object in hand one may go back"
    assert general_brief([], [again, unopened]) == load_bank("alfworld").of("general")[0].brief
    assert general_brief([], [again]) == "search every place."
    assert general_brief([], [unopened]) == "open closed places."
    assert general_brief(["take the object"], []) == ""


def test_what_was_not_possible_changes_nothing():
    assert steps_of(HEAT, Act("take apple 1 from shelf 1", acted=False), "take apple 1 from shelf 1") == [
        "send a command that is not listed",
        "take the object",
    ]
    assert steps_of(HEAT, Act("")) == ["send a command that is not listed"]


def test_turns_are_counted_and_unknown_goals_refused():
    acts = (Act("go to shelf 1"), Act("take apple 1 from shelf 1"))
    assert steps(Trace("f", 1, "t", "k", HEAT, True, acts)) == [(1, "take the object")]
    with pytest.raises(ValueError, match="no known goal"):
        steps(Trace("f", 1, "t", "k", "fly to the moon", True, ()))
