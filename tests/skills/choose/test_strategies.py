"""Which skills are chosen for a task, and the text made of them."""

from __future__ import annotations

import pytest
from choosing import choose, retrieve
from pydantic import ValidationError

from sdar_cli.base.errors import ConfigError
from sdar_cli.config.plugs import RETRIEVAL
from sdar_cli.config.schema import SkillsConfig
from sdar_cli.envs.base import Task
from sdar_cli.skills.bank import load_bank
from sdar_cli.skills.choose.strategies import RETRIEVALS, match_keyword, skill_text

BANK = load_bank("alfworld")
TEMPLATES = {
    "pick_and_place_simple": ["put a {obj} in {recep}", "put some {obj} on {recep}"],
    "look_at_obj_in_light": ["look at {obj} under the desklamp", "examine the {obj} with the desklamp"],
    "pick_clean_then_place_in_recep": ["put a clean {obj} in {recep}", "clean some {obj} and put it in {recep}"],
    "pick_heat_then_place_in_recep": ["put a hot {obj} in {recep}", "heat some {obj} and put it in {recep}"],
    "pick_cool_then_place_in_recep": ["put a cool {obj} in {recep}", "cool some {obj} and put it in {recep}"],
    "pick_two_obj_and_place": ["put two {obj} in {recep}", "find two {obj} and put them in {recep}"],
}
OBJECTS = [
    "potato",
    "cloth",
    "heater",
    "dishsponge",
    "spraybottle",
    "hotdog",
    "coolbag",
    "cleaner",
    "computer",
    "desklamp",
]
PLACES = ["toilet", "microwave", "fridge", "sinkbasin", "diningtable", "network", "shot-glass holder"]
GOALS = [(kind, template) for kind, templates in TEMPLATES.items() for template in templates]


def task(kind: str) -> Task:
    return Task(id=f"{kind}-0", type=kind, split="train")


@pytest.mark.parametrize(("kind", "template"), GOALS)
@pytest.mark.parametrize("obj", OBJECTS)
def test_keyword_finds_the_one_category_of_every_goal(kind, template, obj):
    for place in PLACES:
        goal = template.format(obj=obj, recep=place)
        chosen = retrieve(BANK, task("unused"), goal, "keyword")
        assert [skill.category for skill in chosen] == ["general", kind], goal


def test_keyword_agrees_with_the_benchmark_on_every_object_and_place():
    """The templates above are those of the engine, and no real name contains a keyword as a word."""
    library = pytest.importorskip("alfworld.gen.goal_library")
    constants = pytest.importorskip("alfworld.gen.constants")
    for kind, templates in TEMPLATES.items():
        written = [t.replace("{toggle}", "desklamp") for t in library.gdict[kind]["templates"]]
        assert written == templates
        for template in templates:
            for obj in constants.OBJECTS:
                for place in constants.RECEPTACLES:
                    goal = template.format(obj=obj.lower(), recep=place.lower())
                    match = match_keyword(BANK, goal)
                    assert match, goal
                    assert match[0] == kind, goal


@pytest.mark.parametrize(
    "goal",
    [
        "",
        "sell the computer",
        "move the heater",
        "a network of toilets",
        "cloth for potatoes",
        "photograph the cleanser",
        "overlook attics",
        "put-down",
        "wheat on a snapshot input",
        "red-hot",
    ],
)
def test_keywords_do_not_match_inside_words(goal):
    assert match_keyword(BANK, goal) is None
    assert [skill.id for skill in retrieve(BANK, task("unused"), goal, "keyword")] == ["general"]


@pytest.mark.parametrize(
    ("goal", "category", "keyword"),
    [
        ("Put TWO apple in fridge.", "pick_two_obj_and_place", "two"),
        ("look  at\nthe mug", "look_at_obj_in_light", "look at"),
        ("bring the hot, sliced apple", "pick_heat_then_place_in_recep", "hot"),
        ("find two clean mug and put them in cabinet", "pick_two_obj_and_place", "two"),
    ],
)
def test_keyword_reads_case_space_and_order(goal, category, keyword):
    assert match_keyword(BANK, goal) == (category, keyword)


@pytest.mark.parametrize("kind", TEMPLATES)
def test_task_type_gives_general_and_the_type(kind):
    chosen = retrieve(BANK, task(kind), "the goal is not read", "task-type")
    assert [skill.category for skill in chosen] == ["general", kind]


def test_task_type_never_loses_a_skill_silently():
    with pytest.raises(ConfigError, match="no skill for the task type 'pick_three'"):
        retrieve(BANK, task("pick_three"), "put two apple in fridge", "task-type")


def test_full_and_none():
    kind = task("pick_and_place_simple")
    assert retrieve(BANK, kind, "", "full") == BANK.skills
    assert retrieve(BANK, kind, "", "none") == ()


def test_unknown_strategy_and_form_name_the_choices():
    with pytest.raises(ConfigError) as caught:
        retrieve(BANK, task("x"), "", "tasktype")
    assert "task-type, keyword, ucb, embedding, random, full, none" in caught.value.why
    with pytest.raises(ConfigError, match="unknown form"):
        skill_text(BANK.skills, "short")


def test_configuration_offers_exactly_the_registry():
    assert RETRIEVAL.builtin() == tuple(RETRIEVALS)
    assert all(SkillsConfig(retrieval=name).retrieval == name for name in RETRIEVALS)
    with pytest.raises(ValidationError, match="did you mean 'keyword'"):
        SkillsConfig(retrieval="keywords")


def test_skill_text_puts_general_first_whatever_the_order():
    heat = BANK.of("pick_heat_then_place_in_recep")
    skills = heat + BANK.of("general")
    assert skill_text(skills, "brief") == (
        "search every place and open closed ones. take it, heat it with the microwave, then move it to the target."
    )
    assert skill_text(skills, "full") == f"{BANK.skills[0].text}\n\n{heat[0].text}"
    assert skill_text((), "brief") == ""
    assert skill_text((), "full") == ""


def test_reasons_name_what_decided():
    kind = "pick_heat_then_place_in_recep"
    general, heat = (skill.id for skill in retrieve(BANK, task(kind), "", "task-type"))
    goal = "put a hot egg in fridge"
    why = {strategy: choose(BANK, task(kind), goal, strategy).why for strategy in ("keyword", "task-type", "full")}
    assert why["keyword"] == {general: "shown with every task", heat: 'the goal contains "hot"'}
    assert why["task-type"] == {general: "shown with every task", heat: f"the task's type is {kind}"}
    assert why["full"] == dict.fromkeys((skill.id for skill in BANK.skills), "the whole bank is shown")
    (best,) = choose(BANK, task(kind), goal, "ucb").why.values()
    assert best == "the best mean reward so far; before any, the first id"
    assert list(choose(BANK, task(kind), goal, "random").why.values()) == ["drawn at random"]
