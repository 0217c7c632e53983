"""Keywords learnt from goals choose the goals' types."""

from __future__ import annotations

from sdar_cli.skills.bank import Bank
from sdar_cli.skills.choose.strategies import match_keyword
from sdar_cli.skills.keywords import learn_keywords

OBJECTS = ("apple", "egg", "mug", "plate", "cup")
PLACES = ("fridge", "shelf", "desk")
TEMPLATES = {
    "simple": ("put a {o} in {p}", "put some {o} on {p}"),
    "look": ("look at {o} under the desklamp", "examine the {o} with the desklamp"),
    "heat": ("put a hot {o} in {p}", "heat some {o} and put it in {p}"),
    "two": ("put two {o} in {p}", "find two {o} and put them in {p}"),
}
GOALS = {
    kind: [t.format(o=o, p=p) for t in templates for o in OBJECTS for p in PLACES]
    for kind, templates in TEMPLATES.items()
}


def bank_of(learnt) -> Bank:
    return Bank("b", "1", "alfworld", "x", "", (), learnt)


def test_the_list_chooses_the_type_of_goals_it_has_not_seen():
    bank = bank_of(learn_keywords(GOALS))
    for kind, templates in TEMPLATES.items():
        for template in templates:
            match = match_keyword(bank, template.format(o="tomato", p="garbagecan"))
            assert match and match[0] == kind, template


def test_words_are_those_of_the_type_and_no_things():
    learnt = learn_keywords(GOALS)
    assert learnt["look"] == ("desklamp",)
    assert learnt["two"] == ("two",)
    assert learnt["heat"] == ("hot", "heat") or learnt["heat"] == ("heat", "hot")
    words = {word for keywords in learnt.values() for keyword in keywords for word in keyword.split()}
    assert not words & {*OBJECTS, *PLACES}


def test_a_later_category_may_use_a_word_of_an_earlier_one():
    learnt = learn_keywords(
        {"a": ["boil red tea", "boil green tea"], "b": ["buy red tea", "buy green tea"], "c": ["red tea"]}
    )
    assert list(learnt)[-1] == "c" and learnt["c"] in (("tea",), ("red",))


def test_goals_of_no_type_are_kept_out():
    learnt = learn_keywords({"a": ["buy red tea", "buy red soap"]}, ["buy blue tea"])
    assert learnt == {"a": ("red",)}
    assert learn_keywords({"a": ["buy red tea", "buy red soap"]}) == {"a": ("buy",)}


def test_goals_without_a_phrase_of_their_own_get_no_keyword():
    learnt = learn_keywords({"a": ["the same words"], "b": ["the same words"]})
    assert sorted(learnt.values()) == [(), ("same",)], "the second to be tried owns what is left"


def test_function_words_are_no_keywords():
    assert learn_keywords({"a": ["it is for you"], "b": ["to the"]}) == {"a": (), "b": ()}
