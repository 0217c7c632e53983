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
from .rewrite import Mutation, mutate

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
