"""Every mistake of ``mutations*.py``, made in a copy of the package, must fail some check."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

import sdar_cli.algo

from . import mutations, mutations_shaping, mutations_vocabulary
from .checks import CHECKS, PARTS
from .material import load
from .rewrite import Mutation, SelectorError, mutate

TREES = {path.stem: ast.parse(path.read_text()) for path in Path(sdar_cli.algo.__file__).parent.glob("*.py")}
SOURCES = {name: ast.unparse(tree) for name, tree in TREES.items()}
MUTATIONS = mutations.MUTATIONS + mutations_vocabulary.MUTATIONS + mutations_shaping.MUTATIONS
MUTANT = "algo_mutant"

Build = Callable[[Mapping[str, str]], SimpleNamespace]


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Build]:
    """Writes sources as a package of another name, imports it, and forgets it afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(sources: Mapping[str, str]) -> SimpleNamespace:
        (tmp_path / MUTANT).mkdir()
        for name, text in sources.items():
            (tmp_path / MUTANT / f"{name}.py").write_text(text.replace("sdar_cli.algo", MUTANT))
        importlib.invalidate_caches()
        return load(MUTANT)

    yield write
    for name in [name for name in sys.modules if name.split(".")[0] == MUTANT]:
        del sys.modules[name]


def _failures(algo: SimpleNamespace, file: str = "") -> Iterator[str]:
    """Names of the checks that ``algo`` fails, one at a time, those of ``file`` first: the caller may stop at once."""
    for check in [*PARTS.get(file, []), *CHECKS]:
        try:
            check(algo)
        except Exception:  # a mutant may break in any way
            yield check.__name__


def test_the_unchanged_copy_passes_every_check(build: Build) -> None:
    assert list(_failures(build(SOURCES))) == []


def test_names_occur_once() -> None:
    names = [mutation.name for mutation in MUTATIONS]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mistake_is_noticed(build: Build, mutation: Mutation) -> None:
    changed = ast.unparse(mutate(TREES[mutation.file], mutation))
    assert changed != SOURCES[mutation.file], "the mutation changes nothing"
    mutant = build({**SOURCES, mutation.file: changed})
    assert next(_failures(mutant, mutation.file), None), "every check passes on this mutant"


class _Reword(ast.NodeTransformer):
    """Other names for the variables of a function, and the operands of sums and products the other way round."""

    def __init__(self, function: ast.FunctionDef) -> None:
        inside = list(ast.walk(function))
        self.names = {node.id for node in inside if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        self.names -= {node.arg for node in inside if isinstance(node, ast.arg)}

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(f"{node.id}_reworded", node.ctx) if node.id in self.names else node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.op, (ast.Add, ast.Mult)):
            node.left, node.right = node.right, node.left
        return node


def test_mistakes_are_found_in_reworded_code() -> None:
    for mutation in MUTATIONS:
        tree = ast.parse(SOURCES[mutation.file])
        for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]:
            _Reword(function).generic_visit(function)
        mutate(tree, mutation)


# -- the changes themselves -------------------------------------------------------------------------------------------

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


def _changed(where: str, old: str, new: str, times: int = 1) -> str:
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
    assert _changed(where, old, new) == line
    assert "detach" in ast.unparse(CODE), "the tree that was given stays as it is"


def test_as_many_places_as_stated() -> None:
    assert _changed("file.g", "h(X)", "X", times=3) == "return a - b\nreturn a - b + (b - b)"


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
