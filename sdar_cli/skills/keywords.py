"""Keywords learnt from goals: a decision list, as keyword retrieval reads it.

Categories are tried in order and the first with a keyword in the goal is taken, so a category's keywords need only be
absent from the goals of the categories after it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

LONGEST = 3
"""Words of a keyword."""
SUPPORT = 2
"""Distinct goals a keyword must be in: names of things are no keywords."""

_FUNCTION_WORDS = """
a an and any are as at be by can do for from has have i i'm if in into is it its me my need of on or other please she so
some than that the their them then there these this to under up want was what when where which who will with would you
your
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
"""Words that do not identify a task by themselves; a phrase with another word in it may hold them."""


def learn_keywords(goals: Mapping[str, Sequence[str]], others: Sequence[str] = ()) -> dict[str, tuple[str, ...]]:
    """Task type to its keywords, types in the order in which they are to be tried.

    Each time the type comes next whose goals are best covered by phrases that no goal of the other remaining types
    has, nor any of ``others`` (goals of no type here).  A type whose goals have no such phrase comes last, perhaps with
    no keyword at all.
    """
    left = {kind: [_phrases(goal) for goal in sorted(set(texts))] for kind, texts in sorted(goals.items())}
    common = Counter(phrase for own in left.values() for goal in own for phrase in goal)
    strange = [_phrases(goal) for goal in sorted(set(others))]
    found: dict[str, tuple[str, ...]] = {}
    while left:
        options = {
            kind: _cover(own, [*strange, *(g for k, v in left.items() if k != kind for g in v)], common)
            for kind, own in left.items()
        }
        best = max(options, key=lambda kind: options[kind][1])  # the first of equals: sorted by name
        found[best] = options[best][0]
        del left[best]
    return found


def _cover(
    own: Sequence[frozenset[str]], others: Sequence[frozenset[str]], common: Counter[str]
) -> tuple[tuple[str, ...], float]:
    """Phrases that cover the goals ``own`` and are in none of ``others``, greedily, and the share they cover.  Of equal
    ones the one that is rarest in all goals (``common``), then the shortest."""
    foreign = frozenset().union(*others)
    open_goals = list(own)
    chosen: list[str] = []
    while open_goals:
        counts = Counter(phrase for goal in open_goals for phrase in goal - foreign)
        best = min(counts, key=lambda p: (-counts[p], common[p], len(p.split()), len(p), p), default=None)
        if best is None or counts[best] < min(SUPPORT, len(own)):
            break
        chosen.append(best)
        open_goals = [goal for goal in open_goals if best not in goal]
    return tuple(chosen), 1 - len(open_goals) / len(own)


def _phrases(goal: str) -> frozenset[str]:
    return frozenset(phrase for phrase in _ngrams(goal) if not FUNCTION_WORDS.issuperset(phrase.split()))


def _ngrams(goal: str) -> Iterator[str]:
    """Runs of up to ``LONGEST`` words with nothing but space between them."""
    for part in re.split(r"[^\w\s-]+", goal.lower()):
        words = part.split()
        for size in range(1, LONGEST + 1):
            yield from (" ".join(words[i : i + size]) for i in range(len(words) - size + 1))
