"""Reading an action out of a response, and three rules of what counts as valid.

The format asked for is ``<think>…</think><action>…</action>``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

_CJK = re.compile("[\u4e00-\u9fff]")
RELEASED_TAIL = 30
"""Characters the released implementation sends when the tags are missing (method.md 6.5)."""


class Block:
    """The tags of one name, in any capitals.  Reading takes time in proportion to the text, whatever tags it holds."""

    def __init__(self, name: str) -> None:
        self.opening = re.compile(rf"<{name}>", re.IGNORECASE)
        self.closing = re.compile(rf"</{name}>", re.IGNORECASE)

    def contents(self, text: str) -> Iterator[str]:
        """What stands between each opening tag and the first closing one after it, in order, without overlap."""
        at = 0
        while (start := self.opening.search(text, at)) and (end := self.closing.search(text, start.end())):
            yield text[start.end() : end.start()]
            at = end.end()

    def first(self, text: str) -> str | None:
        """The first of ``contents``; None where there is none."""
        return next(self.contents(text), None)


ACTION = Block("action")


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
    block = ACTION.first(response)
    text = " ".join((response[-RELEASED_TAIL:] if block is None else block).lower().split())
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
