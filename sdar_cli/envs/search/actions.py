"""Search-QA's actions: ``<search>…</search>`` and ``<answer>…</answer>``, read as the SDAR release reads them.

A response is cut behind its first ``</search>``, else behind its first ``</answer>``; the first search block is the
action, else the first answer block, else there is none (the empty action).  Tags are lower-cased, contents stripped.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

from sdar_cli.base.blocks import first_block
from sdar_cli.envs.actions import ParsedAction

SEARCH, ANSWER = "search", "answer"
_TAGS = {name: re.compile(rf"<{name}>", re.IGNORECASE) for name in (SEARCH, ANSWER)}
_ENDS = {name: re.compile(rf"</{name}>", re.IGNORECASE) for name in (SEARCH, ANSWER)}
LONGEST_QUERY = 512
"""Characters of a query; the rest is cut off."""


class Action(NamedTuple):
    """``kind``: search, answer, or empty for none."""

    kind: str
    content: str


def read_action(text: str) -> Action:
    """The action in a text."""
    end = _ENDS[SEARCH].search(text) or _ENDS[ANSWER].search(text)
    kept = text[: end.end()] if end else text
    for name in (SEARCH, ANSWER):
        content = first_block(kept, name)
        if content is not None:
            return Action(name, content.strip())
    return Action("", "")


def parse_action(response: str, admissible: Collection[str], rule: str) -> ParsedAction:
    """What is sent to the environment, and whether it was valid; ``admissible`` (the list) is not used.

    ``released``: a block, not both kinds of tags and none twice, in the whole response.  ``format`` and ``admissible``,
    which are the same where every text is an action: also that there is something between the tags.  As released, an
    invalid action that can be read is executed all the same.
    """
    action = read_action(response)
    counts = {name: len(tag.findall(response)) for name, tag in _TAGS.items()}
    released = bool(action.kind) and max(counts.values()) == 1 and min(counts.values()) == 0
    executable = bool(action.content)
    if rule == "released":
        valid = released
    elif rule in ("format", "admissible"):
        valid = released and executable
    else:
        raise ValueError(f"unknown rule {rule!r}; one of admissible, format, released")
    text = f"<{action.kind}>{action.content}</{action.kind}>" if action.kind else ""
    return ParsedAction(text=text, valid=valid, admissible=executable)
