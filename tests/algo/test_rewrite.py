"""The changes that the mutation tests are written in."""

from __future__ import annotations

import ast

import pytest

from .rewrite import Mutation, SelectorError, mutate

CODE = ast.parse('''
class A:
    def f(self, x):
        """A docstring."""
        for part in x:
            total = 2.0 * total + part.detach()  # a comment
            print(total)
        return total

def g(a, b):
    if a == "left":
        return h(a - b)
    return h(a - b) + h(b - b)
''')


def changed(where: str, old: str, new: str, times: int = 1) -> str:
    """The lines of the result that are not in CODE."""
    before = ast.unparse(CODE).splitlines()
    after = ast.unparse(mutate(CODE, Mutation("m", where, old, new, times))).splitlines()
    return "\n".join(line.strip() for line in after if line not in before)


@pytest.mark.parametrize(
    ("where", "old", "new", "line"),
    [
        ("file.A.f", "X.detach()", "X", "total = 2.0 * total + part"),
        ("file.A.f", "X + 2.0 * Y", "X - Y", "total = part.detach() - total"),  # a sum may stand the other way round
        ("file", "2.0 * X", "X", "total = total + part.detach()"),
        ("file.g", "h(X) + Y", "Y", "return h(b - b)"),
        ("file.g", "X - X", "X", "return h(a - b) + h(b)"),  # the same letter, the same expression
        ("file.g", "if X == 'left':\n    return h(Y)", "if X:\n    return Y", "if a:\nreturn a - b"),
        (
            "file.A.f",
            "for X in Y:\n    Z = W\n    ...",
            "for X in Y[::-1]:\n    Z = W\n    ...",
            "for part in x[::-1]:",
        ),
        ("file.A.f", "print(X)", "None", "None"),
    ],
)
def test_one_place_is_changed(where: str, old: str, new: str, line: str) -> None:
    assert changed(where, old, new) == line
    assert "detach" in ast.unparse(CODE), "the tree that was given stays as it is"


def test_as_many_places_as_said() -> None:
    assert changed("file.g", "h(X)", "X", times=3) == "return a - b\nreturn a - b + (b - b)"


@pytest.mark.parametrize(
    ("where", "old", "message"),
    [
        ("file.g", "X.detach()", "1 times and is there 0 times"),
        ("file.g", "h(X)", "1 times and is there 3 times"),
        ("file.g", "X - Y", "1 times and is there 3 times"),
        ("file.g.x", "X", "file.g.x is there 0 times"),
        ("file.B", "X", "file.B is there 0 times"),
    ],
)
def test_a_place_that_is_not_there_or_not_alone_is_an_error(where: str, old: str, message: str) -> None:
    with pytest.raises(SelectorError, match=message):
        mutate(CODE, Mutation("m", where, old, "None"))


def test_places_within_places_count() -> None:
    tree = ast.parse("y = 1 - (1 - x)")
    with pytest.raises(SelectorError, match="is there 2 times"):
        mutate(tree, Mutation("m", "file", "1 - X", "X"))
