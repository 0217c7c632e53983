"""Which expressions a game's grammar may hold.

textworld gives the text between braces in a grammar to Python's ``eval``, so a game file could run any code.  All
released games use a variable, its name, article or id, ``or`` and ``+`` with a text; nothing else is let through.
``guard`` is what protects: it stands before every ``eval``.  ``unknown_expressions`` reads the text only, so that a
bad game is named before anything is played.
"""

from __future__ import annotations

import ast
import functools
import re
from importlib import import_module
from typing import Any

ATTRIBUTES = frozenset({"id", "type", "name", "noun", "adj", "desc", "definite", "indefinite"})
"""Fields of an entity that an expression may read."""
LONGEST = 200
"""Characters of an expression."""
VARIABLE = re.compile(r"[a-z][a-z0-9]{0,15}")
IN_BRACES = re.compile(r"\{([^{}\[\]|\n<>]*)[|}]")
STRUCTURE = re.compile(r'\s*(?:$|"[\w .(),-]*"\s*:|#)')
"""What begins a JSON object, an empty one, or a reference to another rule."""


class ForbiddenExpressionError(Exception):
    """A grammar holds an expression that is not allowed."""


@functools.lru_cache(maxsize=4096)
def is_allowed(expression: str) -> bool:
    """Whether an expression consists of variables, their fields, texts, ``or`` and ``+``."""
    if len(expression) > LONGEST:
        return False
    try:
        tree = ast.parse(expression.strip(" \t"), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return _allowed(tree.body)


def _allowed(node: ast.expr) -> bool:
    match node:
        case ast.Name(id=name):
            return VARIABLE.fullmatch(name) is not None
        case ast.Attribute(value=ast.Name() as owner, attr=name):
            return name in ATTRIBUTES and _allowed(owner)
        case ast.Constant(value=str()):
            return True
        case ast.BoolOp(op=ast.Or(), values=parts):
            return all(map(_allowed, parts))
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _allowed(left) and _allowed(right)
    return False


def unknown_expressions(grammar: str) -> list[str]:
    """The expressions of a grammar's text that are not allowed, in order."""
    found = dict.fromkeys(IN_BRACES.findall(grammar))
    return [text for text in found if not STRUCTURE.match(text) and not is_allowed(text)]


def guard() -> None:
    """Let textworld make no expression that is not allowed; calling it again changes nothing.

    A grammar that holds another one then raises ForbiddenExpressionError where it is parsed.
    """
    symbol: Any = import_module("textworld.envs.pddl.textgen").EvalSymbol
    if getattr(symbol, "guarded", False):
        return
    made = symbol.__init__

    def checked(self: Any, expression: str, context: Any = None) -> None:
        if not is_allowed(expression):
            raise ForbiddenExpressionError(f"its grammar holds an expression that is not allowed: {expression[:80]!r}")
        made(self, expression, {} if context is None else context)

    symbol.__init__ = checked
    symbol.guarded = True
