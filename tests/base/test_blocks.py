"""Blocks between tags: what a regular expression would find, in time that grows with the length."""

from __future__ import annotations

import itertools
import re
import time

import pytest

from sdar_cli.base.blocks import all_blocks, first_block, without_blocks
from sdar_cli.envs.actions import parse_action
from sdar_cli.envs.search.actions import read_action
from sdar_cli.envs.search.answers import last_answer

PIECES = ("<b>", "</b>", "<B>", "x", "\n")
MEGABYTE = 1_000_000


def test_they_are_those_of_the_expression() -> None:
    pattern = re.compile("<b>(.*?)</b>", re.DOTALL | re.IGNORECASE)
    for pieces in itertools.product(PIECES, repeat=6):
        text = "".join(pieces)
        found = pattern.search(text)
        assert first_block(text, "b") == (found[1] if found else None)
        assert all_blocks(text, "b") == pattern.findall(text)
        assert without_blocks(text, "b") == pattern.sub("", text)


@pytest.mark.parametrize("head", ["", "</{0}>", "<{0}>", "</{0}></search>"])
@pytest.mark.parametrize("name", ["action", "search", "answer", "think"])
def test_a_stuck_policy_is_read_at_once(name: str, head: str) -> None:
    text = head.format(name) + f"<{name}>" * (MEGABYTE // (len(name) + 2))
    began = time.perf_counter()
    for tail in ("", "</search>"):
        parse_action(text + tail, (), "format")
        read_action(text + tail)
        last_answer(text + tail)
        without_blocks(text + tail, "think")
    assert time.perf_counter() - began < 2.0
