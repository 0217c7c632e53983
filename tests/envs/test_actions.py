"""Reading an action out of a response, under the three rules of what is valid."""

from __future__ import annotations

import random
import re

import pytest

from sdar_cli.base.blocks import all_blocks, without_blocks
from sdar_cli.envs.actions import ParsedAction, parse_action
from sdar_cli.envs.search.actions import parse_action as search_action
from sdar_cli.envs.webshop.prompt import ANY_SEARCH, ActionList
from sdar_cli.envs.webshop.store.shop import read_action

ADMISSIBLE = ("go to shelf 1", "look", "take apple 1 from shelf 1")
RULES = ("admissible", "format", "released")
THOUGHT = "<think>find apple</think>"


@pytest.mark.parametrize(
    "response, action, valid_under",
    [
        (f"{THOUGHT}<action>look</action>", "look", {"admissible", "format", "released"}),
        # Not on the list: only the rule that reads the list minds.
        (f"{THOUGHT}<action>dance</action>", "dance", {"format", "released"}),
        # The thought is in the prompt, or was never asked for: only the released rule minds.
        ("<action>look</action>", "look", {"admissible", "format"}),
        ("find apple</think><action>look</action>", "look", {"admissible", "format"}),
        ("<think>find apple<action>look</action>", "look", {"admissible", "format"}),
        # Nothing between the tags is no action; the released rule takes the tags for one.
        (f"{THOUGHT}<action> \n </action>", "", {"released"}),
        # CJK anywhere in the response, first and last character of the range, and just outside it.
        ("<think>\u4e00</think><action>look</action>", "look", {"admissible", "format"}),
        (f"{THOUGHT}<action>look</action>\u9fff", "look", {"admissible", "format"}),
        ("<think>\u4dff\ua000</think><action>look</action>", "look", {"admissible", "format", "released"}),
        # An open block is no block.
        (f"{THOUGHT}<action>look", "find apple</think><action>look", set()),
        ("", "", set()),
    ],
)
def test_validity_by_rule(response: str, action: str, valid_under: set[str]) -> None:
    parsed = {rule: parse_action(response, ADMISSIBLE, rule) for rule in RULES}
    assert {rule for rule in RULES if parsed[rule].valid} == valid_under
    assert {p.text for p in parsed.values()} == {action}
    assert {p.admissible for p in parsed.values()} == {action in ADMISSIBLE}


def test_first_block_lower_case_and_white_space() -> None:
    response = f"{THOUGHT}<ACTION>\n  Go  TO\nshelf 1 </Action> and then <action>look</action>"
    for rule in RULES:
        assert parse_action(response, ADMISSIBLE, rule) == ParsedAction("go to shelf 1", True, True)


def test_without_a_block_the_last_30_characters_are_sent_and_invalid() -> None:
    tail = "TAKE apple 1 from shelf 1 12345"[-30:]  # 31 characters: the T falls off
    for rule in RULES:
        assert parse_action("x" * 50 + tail, ADMISSIBLE, rule) == ParsedAction(tail.lower(), False, False)
    # Even when those characters happen to be a legal action.
    assert parse_action("look", ADMISSIBLE, "admissible") == ParsedAction("look", valid=False, admissible=True)


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="strict"):
        parse_action("<action>look</action>", ADMISSIBLE, "strict")


OLD_BLOCK = re.compile(r"<action>(.*?)</action>", re.DOTALL | re.IGNORECASE)


def test_blocks_are_those_of_the_lazy_pattern() -> None:
    rng = random.Random(0)
    parts = ["<action>", "</action>", "</ACTION>", "<Action>", "a", "\n"]
    for _ in range(3000):
        text = "".join(rng.choice(parts) for _ in range(rng.randrange(9)))
        assert all_blocks(text, "action") == OLD_BLOCK.findall(text)


@pytest.mark.parametrize("part", ["<action>", "<search>", "<answer>", "search[", "[", "<think>", "<think></think>"])
def test_a_long_response_is_read_in_time_proportional_to_its_length(part: str) -> None:
    """A megabyte; in quadratic time this test would take minutes."""
    text = part * (1_000_000 // len(part))
    parse_action(text, (), "released")
    search_action(text, (), "released")
    all_blocks(text, "answer")
    read_action(text)
    assert text not in ActionList([ANY_SEARCH])
    without_blocks(text, "think")


def test_shop_actions_and_thoughts_are_those_of_the_patterns() -> None:
    rng = random.Random(1)
    action, search = re.compile(r"(.+)\[(.+)\]"), re.compile(r"search\[[^\[\n]*[^\[\]\s][^\[\n]*\]")
    thought = re.compile(r"<think>.*?</think>", re.DOTALL)
    for _ in range(3000):
        text = "".join(rng.choice(["[", "]", "a", " ", "\n", "search["]) for _ in range(rng.randrange(9)))
        found = action.match(text)
        assert read_action(text) == (found.groups() if found else None)
        assert (text in ActionList([ANY_SEARCH])) == bool(search.fullmatch(text))
        text = "".join(rng.choice(["<think>", "</think>", "a"]) for _ in range(rng.randrange(9)))
        assert without_blocks(text, "think") == thought.sub("", text)
