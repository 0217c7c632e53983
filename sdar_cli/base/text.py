"""Text on its way to a terminal, a log or a record: no control characters, no passwords."""

from __future__ import annotations

import re

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Control characters but tab and newline: text of a model or a server must not steer the terminal."""
SURROGATES = re.compile(r"[\ud800-\udfff]")
"""Halves of character pairs: JSON can hold them, UTF-8 cannot."""
CREDENTIALS = re.compile(r"(?<=://)[^/\s\"'<>]*@")
"""User and password of an address."""
MASK = "***@"


def clean(text: str) -> str:
    """Text without control characters other than tab and newline."""
    return CONTROL.sub("", text)


def mask(text: str) -> str:
    """Text whose addresses name no user and no password.

    >>> mask("http://me:secret@host:8000/retrieve")
    'http://***@host:8000/retrieve'
    """
    return CREDENTIALS.sub(MASK, text)


def presentable(text: str) -> str:
    """Text for a terminal or a log: ``clean`` and ``mask``."""
    return mask(clean(text))


def whole_characters(text: str) -> str:
    """Text that UTF-8 can hold: halves of character pairs become the replacement character."""
    return SURROGATES.sub("\ufffd", text)
