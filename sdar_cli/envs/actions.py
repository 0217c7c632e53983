"""Reading an action out of a response, and three rules of what counts as valid.

The format asked for is ``<think>…</think><action>…</action>``.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from sdar_cli.base.blocks import first_block

_CJK = re.compile("[\u4e00-\u9fff]")
RELEASED_TAIL = 30
"""Characters the released implementation sends when the tags are missing (method.md 6.5)."""


@dataclass(frozen=True)
class ParsedAction:
    """``text`` is what is sent to the environment; ``valid`` by the chosen rule; ``admissible`` is
    membership in the list, whatever the rule."""

    text: str
    valid: bool
    admissible: bool


def parse_action(response: str, admissible: Collection[str], rule: str) -> ParsedAction:
    """The action in ``response``: lower-cased, white space collapsed, from the first action block.

    Without a block the last 30 characters are sent (and are invalid), as in the released code.

    rule:
        ``admissible``: a block whose action is in ``admissible``;
        ``format``: a non-empty block;
        ``released``: a block, both think tags in the response, no character U+4E00 to U+9FFF.
        Only ``released`` looks at think tags: a template that opens and closes the think block in
        the prompt (Qwen3 without thinking) leaves none in the response.
    """
    block = first_block(response, "action")
    text = " ".join((block if block is not None else response[-RELEASED_TAIL:]).lower().split())
    listed = text in admissible
    if rule == "admissible":
        valid = block is not None and listed
    elif rule == "format":
        valid = block is not None and bool(text)
    elif rule == "released":
        thought = "<think>" in response and "</think>" in response
        valid = block is not None and thought and not _CJK.search(response)
    else:
        raise ValueError(f"unknown rule {rule!r}; one of admissible, format, released")
    return ParsedAction(text=text, valid=valid, admissible=listed)
