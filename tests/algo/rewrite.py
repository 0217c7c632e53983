"""Changes to a syntax tree, written as two pieces of Python: what is found, and what takes its place.

    Mutation("gap reversed", "batch.gap", "X - Y", "Y - X")

In the function ``gap`` of ``batch.py``, the difference gets its operands swapped.  Single capital letters stand for any
expression, the same letter for the same one; ``...`` at the end of a block for its other statements; all else stands
for itself.  ``+`` and ``*`` match either way round.
Layout, comments, docstrings and the names behind the letters may change, and the mutation still finds its place.
"""

from __future__ import annotations

import ast
import copy
import re
from dataclasses import dataclass
from typing import Any

LETTER = re.compile("[A-Z]")
EITHER_WAY = (ast.Add, ast.Mult)
IGNORED = ("ctx", "type_comment", "kind")

REST = "..."

Bound = dict[str, Any]  # a letter's expression; of REST the statements


@dataclass(frozen=True)
class Mutation:
    """A mistake: in ``where``, ``file`` or ``file.function`` or ``file.Class.method``, ``old`` becomes ``new``.

    ``old`` and ``new`` are one expression or statement each; ``old`` must be found exactly ``times``.
    """

    name: str
    where: str
    old: str
    new: str
    times: int = 1

    @property
    def file(self) -> str:
        return self.where.partition(".")[0]


class SelectorError(AssertionError):
    """A mutation does not find what it is to change, or finds more."""


def mutate(tree: ast.Module, mutation: Mutation) -> ast.Module:
    """A changed copy of a file's tree.  Raises SelectorError unless ``old`` is there as often as it must be."""
    tree = copy.deepcopy(tree)
    old, scope = _parse(mutation.old), _scope(tree, mutation)
    found = [node for node in ast.walk(scope) if _match(old, node, {}) is not None]
    if len(found) != mutation.times:
        raise SelectorError(
            f"'{mutation.name}' looks for `{mutation.old}` in {mutation.where}: it must be there {mutation.times} "
            f"times and is there {len(found)} times.  Write in tests/algo/mutations*.py what the mistake looks like "
            f"in the code of today:\n{ast.unparse(scope)}"
        )
    _Change(old, _parse(mutation.new)).generic_visit(scope)
    return ast.fix_missing_locations(tree)


class _Change(ast.NodeTransformer):
    """Replaces what looks like ``old``, the outermost first."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> Any:
        bound = _match(self.old, node, {})
        return self.generic_visit(node) if bound is None else _Fill(bound).visit(copy.deepcopy(self.new))


class _Fill(ast.NodeTransformer):
    """Puts what was found where its letters and dots stand."""

    def __init__(self, bound: Bound) -> None:
        self.bound = bound

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if not LETTER.fullmatch(node.id):
            return node
        value = copy.deepcopy(self.bound[node.id])
        if hasattr(value, "ctx"):
            value.ctx = node.ctx
        return value

    def visit_Expr(self, node: ast.Expr) -> Any:
        return self.bound[REST] if _is_rest(node) else self.generic_visit(node)


def _is_rest(node: Any) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and node.value.value is ...


def _parse(text: str) -> ast.AST:
    """The expression or statement of a text."""
    (statement,) = ast.parse(text).body
    return statement.value if isinstance(statement, ast.Expr) else statement


def _scope(tree: ast.Module, mutation: Mutation) -> ast.AST:
    node: ast.AST = tree
    for name in mutation.where.split(".")[1:]:
        inside = [part for part in ast.walk(node) if getattr(part, "name", None) == name and part is not node]
        if len(inside) != 1:
            raise SelectorError(f"'{mutation.name}': {mutation.where} is there {len(inside)} times, not once")
        (node,) = inside
    return node


def _match(old: Any, node: Any, bound: Bound) -> Bound | None:
    """The letters' expressions where ``node`` looks like ``old``, given those bound already; None where it does not."""
    if isinstance(old, ast.Name) and LETTER.fullmatch(old.id):
        if not isinstance(node, ast.expr):
            return None
        if old.id in bound:
            return _match(bound[old.id], node, bound)
        return {**bound, old.id: node}
    if type(old) is not type(node):
        return None
    if isinstance(old, list):
        if old and _is_rest(old[-1]):
            length = len(old) - 1
            bound, old, node = {**bound, REST: node[length:]}, old[:length], node[:length]
        return _match_fields(old, node, bound) if len(old) == len(node) else None
    if not isinstance(old, ast.AST):
        return bound if old == node else None
    names = [name for name in old._fields if name not in IGNORED]
    ways = [names]
    if isinstance(old, ast.BinOp) and isinstance(old.op, EITHER_WAY):
        ways.append(["right", "op", "left"])
    for way in ways:
        matched = _match_fields([getattr(old, n, None) for n in names], [getattr(node, n, None) for n in way], bound)
        if matched is not None:
            return matched
    return None


def _match_fields(old: list[Any], nodes: list[Any], bound: Bound) -> Bound | None:
    matched: Bound | None = bound
    for part, node in zip(old, nodes, strict=True):
        if (matched := _match(part, node, matched)) is None:
            return None
    return matched
