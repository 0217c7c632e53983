"""Actions read as the SDAR release reads them, and what counts as valid."""

from __future__ import annotations

import pytest

from sdar_cli.envs.actions import ParsedAction
from sdar_cli.envs.search.actions import Action, parse_action, read_action

RULES = ("admissible", "format", "released")


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("<search>ada brindle</search>", Action("search", "ada brindle")),
        ("<think>hm</think><SEARCH>\n Ada \n</Search> tail", Action("search", "Ada")),
        ("<answer>Velmora</answer>", Action("answer", "Velmora")),
        # cut behind the first </search>: the answer that follows is not seen
        ("<search>a</search><answer>b</answer>", Action("search", "a")),
        # a search block wins over an answer that stands before it
        ("<answer>b</answer><search>a</search>", Action("search", "a")),
        # cut behind the first </answer> where no </search> is
        ("<answer>a</answer><answer>b</answer>", Action("answer", "a")),
        ("<search>a</search><search>b</search>", Action("search", "a")),
        # a closing tag alone is no block, but cuts
        ("</search><answer>b</answer>", Action("", "")),
        ("<search>a", Action("", "")),
        ("Velmora", Action("", "")),
        ("<search> </search>", Action("search", "")),
        ("<answer>two\nlines</answer>", Action("answer", "two\nlines")),
    ],
)
def test_the_first_search_wins_then_the_first_answer(text: str, action: Action) -> None:
    assert read_action(text) == action


@pytest.mark.parametrize(
    ("response", "sent", "valid"),
    [
        ("<think>born</think><search>ada</search>", "<search>ada</search>", True),
        ("<answer> Velmora </answer>", "<answer>Velmora</answer>", True),
        ("<search>a</search><search>b</search>", "<search>a</search>", False),
        ("<search>a</search><answer>b</answer>", "<search>a</search>", False),
        ("<answer>a</answer> or <answer>b</answer>", "<answer>a</answer>", False),
        ("<Search>a</search> <ANSWER>", "<search>a</search>", False),
        ("no tags", "", False),
        ("", "", False),
    ],
)
def test_an_invalid_action_that_can_be_read_is_sent_all_the_same(response: str, sent: str, valid: bool) -> None:
    for rule in RULES:
        assert parse_action(response, (), rule) == ParsedAction(sent, valid, bool(sent))


def test_an_empty_block_is_valid_by_the_released_rule_alone() -> None:
    assert [parse_action("<search> </search>", (), rule).valid for rule in RULES] == [False, False, True]
    assert not parse_action("<search> </search>", (), "released").admissible


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="strict"):
        parse_action("", (), "strict")
