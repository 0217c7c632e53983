"""One rule for every plug: names without imports, entry points, paths, arguments, errors that name file and line."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from places import ROOT

from sdar_cli.base import plugins
from sdar_cli.base.errors import ConfigError, RunFailedError
from sdar_cli.base.plugins import Kind, is_path

TABLE = '''
"""Things."""
import heavy_module_that_is_missing

def one(x): return x + 1
def two(x, *, by: float = 2.0): return x * by

THINGS: dict = {
    "one": one,
    "two-fold": two,
}
'''
GUEST = """
from pathlib import Path

def double(x, *, by: float, names: tuple[str, ...] = (), where: Path | None = None):
    return x * by, names, where

def broken(x):
    low = x - 1
    return x / low

class Made:
    def __init__(self, x, *, size: int = 3) -> None:
        self.value = x, size

double.mark = True
number = 5
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A current folder with a table whose module cannot be imported, and a guest's module."""
    (tmp_path / "plug_table.py").write_text(TABLE)
    (tmp_path / "plug_guest.py").write_text(GUEST)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    plugins._table_keys.cache_clear()
    yield tmp_path
    for name in ("plug_table", "plug_guest"):
        sys.modules.pop(name, None)


@pytest.fixture
def kind(place: Path) -> Kind:
    return Kind("thing", "plug_table", "THINGS", ("x",))


@pytest.fixture
def installed(place: Path) -> Iterator[Callable[[str], None]]:
    """Installs a package with these entry points, as a folder of metadata."""

    def forget() -> None:
        plugins._all_entries.cache_clear()
        plugins._entries.cache_clear()

    def install(lines: str) -> None:
        info = place / "guest-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: guest\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(lines)
        forget()

    yield install
    forget()


def test_names_are_read_without_importing(kind: Kind) -> None:
    assert kind.builtin() == kind.names() == ("one", "two-fold")
    assert kind.check_name("two-fold") == "two-fold" and "plug_table" not in sys.modules
    with pytest.raises(ModuleNotFoundError, match="heavy_module"):  # an error of the import is not hidden
        kind.load("one")


def test_the_real_names_and_the_help_import_no_torch() -> None:
    code = (
        "import sys\n"
        "from sdar_cli.config.plugs import BUILDER, PLUGS\n"
        "from sdar_cli.commands import completion\n"
        "names = [plug.kind.names() for plug in PLUGS] + [BUILDER.names()]\n"
        "assert all(names), names\n"
        "assert completion.plugs(PLUGS[0].kind)('so') == ['soft-or']\n"
        "import sdar_cli.cli\n"
        "heavy = {'torch', 'pydantic', 'transformers', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_tables_are_the_names() -> None:
    from importlib import import_module

    from sdar_cli.config.plugs import BUILDER, PLUGS

    for each in [*(plug.kind for plug in PLUGS), BUILDER]:
        table = getattr(import_module(each.module), each.table)
        assert each.builtin() == (("none",) if each.optional else ()) + tuple(table)
        for name in table:
            found, entry = each.bind(name), table[name]
            assert found is entry or f"{found.__module__}:{found.__qualname__}" == entry
            each.check_arguments(name, found, {})  # what it is called with fits


def test_entry_points_have_names_after_the_built_in_ones(kind: Kind, installed: Callable[[str], None]) -> None:
    assert kind.names() == ("one", "two-fold")
    installed(
        "[sdar.thing]\nzoom = plug_guest:double\none = plug_guest:broken\n[sdar.other]\nelse = plug_guest:double\n"
    )
    assert kind.names() == ("one", "two-fold", "zoom") and "plug_guest" not in sys.modules
    assert kind.check_name("zoom") == "zoom"
    assert kind.bind("zoom", {"by": 3})(2)[0] == 6.0
    with pytest.raises(ConfigError, match="did you mean 'zoom'"):
        kind.load("zooom")


def test_an_import_path_finds_modules_of_the_current_folder(
    kind: Kind, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = place / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "plug_here.py").write_text("def f(x):\n    return -x\n")
    assert kind.missing_module("plug_here:f") == "plug_here"
    monkeypatch.chdir(elsewhere)
    assert kind.missing_module("plug_here:f") is None
    assert kind.bind("plug_here:f")(4) == -4
    del sys.modules["plug_here"]


@pytest.mark.parametrize("name", ["a:b", "a.b.c:d", "_x:y2"])
def test_import_paths(name: str) -> None:
    assert is_path(name)


@pytest.mark.parametrize("name", ["a", "a:", ":b", "a b:c", "a.:b", "1a:b", "a:b-c", ""])
def test_what_is_no_import_path(name: str) -> None:
    assert not is_path(name)


@pytest.mark.parametrize("wrong, near", [("on", "one"), ("One", "one"), ("two_fold", "two-fold")])
def test_an_unknown_name_names_the_nearest_and_all(kind: Kind, wrong: str, near: str) -> None:
    with pytest.raises(ConfigError) as caught:
        kind.load(wrong)
    assert caught.value.what == f"unknown thing {wrong!r}; did you mean {near!r}?"
    assert caught.value.why == "the names are: one, two-fold"
    with pytest.raises(ValueError, match=f"one of one, two-fold, or an import path .*did you mean {near!r}"):
        kind.check_name(wrong)


def test_none_is_a_name_where_it_is_optional(place: Path) -> None:
    kind = Kind("thing", "plug_table", "THINGS", ("x",), optional=True)
    assert kind.names() == ("none", "one", "two-fold") and kind.check_name("none") == "none"
    with pytest.raises(ValueError, match="one of one"):
        Kind("thing", "plug_table", "THINGS", ("x",)).check_name("none")


def test_arguments_are_bound_with_their_types(kind: Kind) -> None:
    bound = kind.bind("plug_guest:double", {"by": 3, "names": ["a", "b"], "where": "x/y"})
    assert bound(2) == (6.0, ("a", "b"), Path("x/y"))
    assert bound.mark and inspect.unwrap(bound).__name__ == "double"  # marks of the function stay
    assert kind.bind("plug_guest:Made", {"size": 4})(1).value == (1, 4)


@pytest.mark.parametrize(
    "arguments, text",
    [
        ({}, "missing a required argument: 'by'"),
        ({"by": 1.0, "nmaes": []}, "did you mean 'names'?"),
        ({"by": 1.0, "x": 2}, "multiple values for argument 'x'"),
        ({"by": "3"}, "argument by = '3' of thing 'plug_guest:double': input should be a valid number"),
        ({"by": 1.0, "names": "ab"}, "argument names = 'ab'"),
        ({"by": 1.0, "names": [1]}, "argument names = [1]"),
    ],
)
def test_arguments_that_do_not_fit(kind: Kind, arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        kind.bind("plug_guest:double", arguments)
    assert text in caught.value.what


def test_a_class_is_checked_by_its_own_signature(kind: Kind) -> None:
    with pytest.raises(ConfigError, match=r"argument size = 1\.5"):
        kind.bind("plug_guest:Made", {"size": 1.5})
    with pytest.raises(ConfigError) as caught:
        kind.bind("plug_guest:Made", {"sise": 1})
    assert caught.value.fix == "its own arguments are: size"


def test_an_error_of_a_guest_names_its_file_and_line(kind: Kind, place: Path) -> None:
    with pytest.raises(RunFailedError) as caught:
        kind.bind("plug_guest:broken")(1)
    assert caught.value.what == "thing 'plug_guest:broken' failed: ZeroDivisionError: division by zero"
    line = GUEST.splitlines().index("    return x / low") + 1
    assert caught.value.why == f"{place / 'plug_guest.py'}, line {line}, in broken: return x / low"


def test_a_module_that_fails_when_imported_is_named(kind: Kind, place: Path) -> None:
    (place / "plug_bad.py").write_text("value = 1\nvalue.nothing\n\ndef f(x): return x\n")
    with pytest.raises(ConfigError, match="cannot load thing 'plug_bad:f'"):
        kind.load("plug_bad:f")
    (place / "plug_worse.py").write_text("\n1 / 0\n")
    with pytest.raises(RunFailedError) as caught:
        kind.load("plug_worse:f")
    assert f"{place / 'plug_worse.py'}, line 2" in caught.value.why


@pytest.mark.parametrize(
    "path, why",
    [
        ("plug_nowhere:f", "No module named"),
        ("plug_guest:nothing", "no attribute"),
        ("plug_guest:number", "it is a int"),
    ],
)
def test_what_cannot_be_loaded_says_why(kind: Kind, path: str, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        kind.bind(path)
    assert path in caught.value.what and why in caught.value.why and "package.module:attribute" in caught.value.fix
