"""Blocks between tags in a text that a model wrote, ``<name>…</name>``, in time that grows with its length.

A regular expression with ``.*?`` between the tags looks for the end again from every opening tag.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator


@functools.cache
def _tags(name: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    return re.compile(rf"<{name}>", re.IGNORECASE), re.compile(rf"</{name}>", re.IGNORECASE)


def first_block(text: str, name: str) -> str | None:
    """What stands between the first opening tag and the end that follows it; None where there is no such pair.

    Capitals of the tags do not matter.

    >>> first_block("a <b>one</b><b>two</b>", "b")
    'one'
    """
    return next((text[start:end] for _, start, end, _ in _spans(text, name)), None)


def all_blocks(text: str, name: str) -> list[str]:
    """What stands in every block of a name, in order.

    >>> all_blocks("<b>one</b> <b>two</b> <b>open", "b")
    ['one', 'two']
    """
    return [text[start:end] for _, start, end, _ in _spans(text, name)]


def without_blocks(text: str, name: str) -> str:
    """The text without any block of a name, tags included; what is not closed stays.

    >>> without_blocks("<t>no</t>yes<t>open", "t")
    'yes<t>open'
    """
    kept, at = [], 0
    for before, _, _, behind in _spans(text, name):
        kept.append(text[at:before])
        at = behind
    return "".join([*kept, text[at:]])


def _spans(text: str, name: str) -> Iterator[tuple[int, int, int, int]]:
    """Of every block: where its opening tag begins and ends, where its end tag begins and ends."""
    opening, closing = _tags(name)
    at = 0
    while (start := opening.search(text, at)) and (end := closing.search(text, start.end())):
        yield start.start(), start.end(), end.start(), end.end()
        at = end.end()
