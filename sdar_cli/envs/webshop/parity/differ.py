"""Two JSON values compared: where they differ, in words that fit on a line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

WIDTH = 100
"""Characters shown of a text."""
BEFORE = 30
"""Of these, before the place where two texts part."""
ABSENT = "nothing"


class Finding(NamedTuple):
    """A difference, or (documented) a step on which only the original fails."""

    what: str
    expected: str
    found: str
    documented: bool = False


Findings = Iterator[Finding]
"""Of one record, the most informative first."""


def differences(what: str, expected: Any, found: Any) -> Findings:
    """The differences of two JSON values: one per field of an object, the first one of a list."""
    if expected == found:
        return
    if isinstance(expected, dict) and isinstance(found, dict):
        for name in [*expected, *(name for name in found if name not in expected)]:
            yield from differences(f"{what} {name}", expected.get(name), found.get(name))
    elif isinstance(expected, list) and isinstance(found, list):
        place = _parting(expected, found)
        if place < min(len(expected), len(found)):
            yield from differences(f"{what}[{place}]", expected[place], found[place])
        else:
            yield Finding(f"{what}[{place}:]", shown(expected[place:]), shown(found[place:]))
    elif isinstance(expected, str) and isinstance(found, str):
        start = max(0, _parting(expected, found) - BEFORE)
        yield Finding(what, shown(expected, start), shown(found, start))
    else:
        yield Finding(what, shown(expected), shown(found))


def _parting(first: Sequence[Any], second: Sequence[Any]) -> int:
    """The place of the first item that differs."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((place for place, pair in pairs if pair[0] != pair[1]), min(len(first), len(second)))


def shown(value: Any, start: int = 0) -> str:
    """A value in words: of a text the part from ``start``, of anything else its beginning."""
    if value is None:
        return ABSENT
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    part = text[start : start + WIDTH]
    shown = json.dumps(part, ensure_ascii=False) if isinstance(value, str) else part
    return ("…" if start else "") + shown + ("…" if start + WIDTH < len(text) else "")
