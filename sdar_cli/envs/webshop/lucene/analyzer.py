"""The words Lucene sees in a text: the English analyzer of anserini 0.14.3 (Lucene 8.11), token for token.

The chain is word breaking, loss of the possessive 's, lower case, loss of 33 stop words, Porter's stemmer.  Each
character becomes the letter of its class, and a regular expression finds the tokens among the classes.  Left
out: the kinds and positions of tokens, which no score needs.
"""

from __future__ import annotations

import bisect
import functools
import re
import sys

from sdar_cli.envs.webshop.lucene.analyzer_tables import CLASSES, OTHER
from sdar_cli.envs.webshop.lucene.porter import stem

MAX_TOKEN = 255
"""Longest token, in UTF-16 units; what is longer is cut there and broken anew."""
_STOP_WORDS = """
a an and are as at be but by for if in into is it no not of on or such that the their then there these they this to
was will with
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
POSSESSIVES = ("'s", "'S", "’s", "’S", "＇s", "＇S")
WIDE = 0x10000
"""The first code point that takes two UTF-16 units."""


def _word_pattern() -> str:
    """Words, over the classes of analyzer_tables: the rules of Unicode's Annex 29, as far as Lucene follows them.

    Marks stay with what they follow.  What binds two letters or two numbers must stand between the two; a double
    quote binds a Hebrew letter to one more only.
    """
    x = "[xVvZsC]*+"
    letters = f"[aeh]{x}(?:[LQS]{x}[aeh]{x})*"
    numbers = f"[nd]{x}(?:[NQS]{x}[nd]{x})*"
    hebrew = f"h{x}(?:D{x}h{x}|S{x})"
    core = f"(?:(?:k{x})+|(?:{hebrew}|{letters}|{numbers})+)"
    return f"(?:_{x})*+{core}(?:(?:_{x})+{core})*(?:_{x})*+|(?:[ts]{x})+|[ij]{x}"


def _emoji_pattern() -> str:
    """Emoji, over the same classes: what Lucene makes of the sequences in Unicode's Technical Standard 51.

    One with its variation selector or skin tone, several held together by joiners, a keycap, a flag.
    """
    y = "[xZsC]*+"
    plain, toned, tone = f"[EBe]{y}V?", f"B{y}m{y}", f"m{y}"
    joined = f"(?:(?:(?<=V)Z|(?<=Z))(?:{toned}|{plain}|{tone})|(?<=V)Z++(?:{toned}|{plain}))*"
    keycap, flag = f"#[xZsC]*V?C{y}", "R[xVvZsC]*R[xVvZsC]*"
    return f"(?:Z*+(?:{toned}|{plain})|{tone}){joined}|{keycap}|{flag}"


WORD = re.compile(_word_pattern())
EMOJI = re.compile(_emoji_pattern())
TOKEN = re.compile(f"({_word_pattern()}|{_emoji_pattern()})|_[_xVvC]*+")
"""A token, or a match without a group: a stretch of joiners in which none starts."""


class _ClassTable(dict[int, str]):
    """Code point to class, as str.translate wants it; each is looked up among the ranges once."""

    def __init__(self) -> None:
        super().__init__()
        ranges = []
        for name, listed in CLASSES.items():
            for part in listed.split():
                first, _, last = part.partition("-")
                ranges.append((int(first, 16), int(last or first, 16), name))
        self.ranges = sorted(ranges)

    def __missing__(self, code: int) -> str:
        place = bisect.bisect(self.ranges, (code, sys.maxunicode, "")) - 1
        first, last, name = self.ranges[place] if place >= 0 else (0, -1, OTHER)
        self[code] = name if first <= code <= last else OTHER
        return self[code]


CLASS_OF = _ClassTable()


def analyze(text: str) -> list[str]:
    """The index terms of a text, in order, repeats kept.  Any string will do; lone surrogates are in no term."""
    terms = map(_term, tokenize(text))
    return [term for term in terms if term]


def tokenize(text: str) -> list[str]:
    """Lucene's StandardTokenizer: the words of a text as they are written."""
    classes = text.translate(CLASS_OF)
    spans = [match.span() for match in TOKEN.finditer(classes) if match.lastindex]
    if "e" in classes or any(end - start > MAX_TOKEN // 2 for start, end in spans):
        spans = _cut_spans(text, classes)
    return [text[start:end] for start, end in spans]


def _cut_spans(text: str, classes: str) -> list[tuple[int, int]]:
    """The tokens as Lucene finds them: the longer of word and emoji, in at most MAX_TOKEN units from its start."""
    spans, position = [], 0
    while found := TOKEN.search(classes, position):
        start, position = found.span()
        if found.lastindex:
            limit = _limit(text, start)
            matches = (pattern.match(classes, start, limit) for pattern in (WORD, EMOJI))
            position = max((match.end() for match in matches if match), default=start)
            if position > start:
                spans.append((start, position))
            else:
                position = start + 1
    return spans


def _limit(text: str, start: int) -> int:
    """Where MAX_TOKEN UTF-16 units from ``start`` end, in characters."""
    units = 0
    for position in range(start, min(start + MAX_TOKEN, len(text))):
        units += 2 if ord(text[position]) >= WIDE else 1
        if units > MAX_TOKEN:
            return position
    return min(start + MAX_TOKEN, len(text))


@functools.lru_cache(maxsize=1 << 17)
def _term(token: str) -> str:
    """A token's term; empty for a stop word.  The cache holds about 20 MB when full."""
    word = _lower(token[:-2] if token.endswith(POSSESSIVES) else token)
    return "" if word in STOP_WORDS else stem(word)


def _lower(token: str) -> str:
    """Lower case character by character, as Java's Character.toLowerCase: no final sigma, İ becomes i."""
    if token.isascii():
        return token.lower()
    return "".join("i" if letter == "İ" else letter.lower() for letter in token)
