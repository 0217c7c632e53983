"""Rewards: comparisons and factors by hand; every part of the original's 2,000 in test_verify."""

from __future__ import annotations

import dataclasses

import pytest

from sdar_cli.envs.webshop.catalogue.records import Product
from sdar_cli.envs.webshop.store.goals import Goal
from sdar_cli.envs.webshop.store.reward import COLORS, attributes_met, color_of, options_met, score, similar, type_match

PRODUCT = Product(
    docid=0,
    asin="A",
    title="Oak Table",
    description="Has a USB Port inside",
    bullets=("EASY CLEAN - wipes", "off. Steel", "frame"),
    attributes=("solid wood",),
    options={},
    category="garden",
    query="tables",
    product_category="Home › Tables › Side",
    pricing=(20.0,),
    price_tag="$20.0",
)
GOAL = Goal(
    index=0,
    asin="A",
    instruction="",
    attributes=("solid wood", "long lasting"),
    options=("red", "large"),
    price_upper=30.0,
    weight=1.0,
    category="garden",
    query="tables",
    product_category="Home › Tables › Side",
    title="Oak Table",
)


def words(title: str) -> list[str]:
    return title.lower().split()


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("7", "7.5", True),  # one's words are all in the other's
        ("grey | black", "black | grey", True),
        ("x-large", "xx-large", True),
        ("large", "xlarge", True),  # 2 * 5 / 11 = 91
        ("red", "blue", False),
        ("", "", False),
        ("???", "!!!", False),  # nothing is left of either
        ("größe", "gre", True),  # U+0080 to U+00FF are dropped
        ("gr\u0151\u0161e", "gre", False),  # later letters are kept
        ("☆ red", "red", True),
        ("a" * 17 + "bbb", "a" * 17 + "ccc", False),  # 2 * 17 / 40 = 85, and more is needed
        ("a" * 47 + "b" * 8, "a" * 47 + "c" * 8, False),  # 2 * 47 / 110 = 85.45, rounded to 85
        ("aaaaaab", "aaaaaac", True),  # 2 * 6 / 14 = 85.7, rounded to 86
    ],
)
def test_similar(first: str, second: str, same: bool) -> None:
    assert similar(first, second) is same


def test_colors_are_found_anywhere_in_the_order_of_the_list() -> None:
    assert len(COLORS) == len(set(COLORS)) == 102
    assert color_of("navy blue") == "blue"
    assert color_of("titanium") == "tan"
    assert color_of("washed denim") == "ash"
    assert color_of("large") == "large"
    assert color_of(("color", "navy blue")) == ("color", "navy blue")  # in a pair only a whole element counts
    assert color_of(("color", "red")) == "red"


def test_options_of_pairs_also_match_by_their_name() -> None:
    assert options_met(["red"], [("color", "red")]) == 1
    assert options_met(["color"], [("color", "army green")]) == 1
    assert options_met(["sea green"], [("color", "army green")]) == 1  # 'green' is a word of the pair
    assert options_met(["teal"], [("color", "army green")]) == 0
    assert options_met(["xx-large"], [("size", "xx-large")]) == 1
    assert options_met([], ["red"]) == 0
    assert options_met(["red", "red", "blue"], ["dark red"]) == 0  # 'dark' comes before 'red' in the list


def test_attributes_are_looked_for_in_all_texts() -> None:
    wanted = ["wood solid", "usb port", "easy clean", "off. steel", "oak table", "none such"]
    assert attributes_met(PRODUCT, wanted) == 5
    assert attributes_met(PRODUCT, ["USB Port"]) == 0  # the goal's own case is kept
    assert attributes_met(PRODUCT, []) == 0


@pytest.mark.parametrize(
    ("query", "category", "title", "factor"),
    [
        ("tables", "x", "oak table", 1.0),
        ("rugs", "Side › Home", "oak a b c d", 1.0),  # two categories in common, 1/5 of the nouns
        ("rugs", "Side › x", "oak table a b c", 1.0),  # 2/5 of the nouns
        ("rugs", "Side › x", "oak a b c d", 0.5),  # 1/5 is not above 0.2
        ("tables", "x", "oak " + "a " * 10, 0.1),  # 1/11
        ("tables", "x", "nothing alike", 0.0),
        ("rugs", "x", "", 0.5),  # no nouns count as 0.2
        ("tables", "x", "", 1.0),
    ],
)
def test_the_factor_of_the_type(query: str, category: str, title: str, factor: float) -> None:
    goal = dataclasses.replace(GOAL, query=query, product_category=category, title=title)
    assert type_match(PRODUCT, goal, words).r_type == factor


def test_a_goals_nouns_count_as_often_as_they_come() -> None:
    goal = dataclasses.replace(GOAL, title="oak oak table chair")
    assert type_match(PRODUCT, goal, words).title_score == 2 / 4


def test_a_reward_is_the_share_of_what_was_asked() -> None:
    found = score(PRODUCT, GOAL, 20.0, {"color": "dark red", "size": "large"}, words)
    # 1 of 2 attributes, 1 of 2 options ('dark red' is dark), the price: 3 of 5
    assert (found.total, found.attr_matches, found.option_matches, found.r_price) == (3 / 5, 1, 1, True)
    assert (found.r_att, found.w_att, found.r_option, found.w_option, found.w_price) == (0.5, 0.4, 0.5, 0.4, 0.2)
    assert score(PRODUCT, GOAL, 30.0, {}, words).r_price
    assert not score(PRODUCT, GOAL, 30.01, {}, words).r_price


def test_a_goal_without_options_has_no_part_for_them() -> None:
    found = score(PRODUCT, dataclasses.replace(GOAL, options=()), 20.0, {"color": "red"}, words)
    assert found.total == 2 / 3
    assert found.r_option is None
    assert "r_option" not in found.info()
    assert "w_option" not in found.info()
