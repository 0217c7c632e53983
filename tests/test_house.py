"""The rules of the house: which room of sdar_cli/ may use which, what stands where, and how long a file may be.

A room is a folder of sdar_cli/ or one of its few modules.  An arrow runs from a room to another that it imports.
Every import statement counts: at the top of a file, inside a function, under TYPE_CHECKING.  Names in strings do not
count: ``Kind("gate", "sdar_cli.algo.gates", ...)``, ``"sdar_cli.sweep.ray:run"`` and ``importlib.import_module(...)``
are the doors through which plugs are found by name.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CODE = ROOT / "sdar_cli"

# Lower rooms first: a room may use itself and the rooms before it.
ROOMS = (
    "__init__", "base", "stats", "algo", "retrieval", "envs", "config", "models", "runs", "rollout", "skills",
    "session", "evaluation", "train", "tiny", "sweep", "analysis", "commands", "cli", "__main__",
)  # fmt: skip
MOST_ROOMS, MOST_ARROWS, LONGEST_FILE, LONGEST_FUNCTION = 20, 100, 400, 60
LOOSE_FILES = {"__init__.py", "__main__.py", "cli.py", "session.py"}

# The arrows that exist.  Add one only if the room needs it; delete one when its last import goes.
ARROWS: dict[str, set[str]] = {
    "algo": {"base"},
    "retrieval": {"base"},
    "envs": {"base", "retrieval"},
    "config": {"base", "algo", "envs"},
    "models": {"base", "envs", "config"},
    "runs": {"__init__", "base", "stats", "envs", "config"},
    "rollout": {"base", "algo", "envs", "config", "models", "runs"},
    "skills": {"__init__", "base", "stats", "retrieval", "envs", "config", "models", "runs", "rollout"},
    "session": {"base", "envs", "config", "models", "runs", "rollout", "skills"},
    "evaluation": {"__init__", "base", "stats", "envs", "config", "models", "runs", "rollout", "skills", "session"},
    "train": {"base", "algo", "envs", "config", "models", "runs", "rollout", "skills", "session", "evaluation"},
    "tiny": {"base", "envs", "config", "skills"},
    "sweep": {"base", "config", "runs", "train"},
    "analysis": {"base", "stats", "config", "models", "runs", "rollout", "evaluation", "sweep"},
    "commands": {"base", "algo", "retrieval", "envs", "config", "models", "runs", "rollout", "skills", "session",
        "evaluation", "train", "tiny", "sweep", "analysis"},
    "cli": {"__init__", "base", "commands"},
    "__main__": {"cli"},
}  # fmt: skip

# Folders of tests/ that look at more than one room.
COMMON_TESTS = {"benchmarks", "docs", "faults", "invariants", "older"}


@cache
def _modules() -> dict[str, Path]:
    """Dotted name -> file, of every module of the package."""
    paths = [path for path in CODE.rglob("*.py") if "_resources" not in path.parts]
    return {".".join(_parts(path)): path for path in paths}


def _parts(path: Path) -> tuple[str, ...]:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _imports(path: Path) -> Iterator[tuple[str, int]]:
    """(dotted name, line) of all that a file imports; of ``from a import b`` it is ``a.b``, module or not."""
    package = _parts(path) if path.name == "__init__.py" else _parts(path)[:-1]
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            source = ".".join(part for part in (above, node.module) if part)
            yield from ((f"{source}.{alias.name}", node.lineno) for alias in node.names)


def _own_imports(path: Path) -> Iterator[tuple[str, int]]:
    """(module of sdar_cli, line) of all that a file imports from the package."""
    for name, line in _imports(path):
        if name.split(".")[0] == "sdar_cli":
            yield (name if name in _modules() else name.rpartition(".")[0] or name), line


def _room(module: str) -> str:
    return ([*module.split("."), "__init__"])[1]


@cache
def _arrows() -> dict[tuple[str, str], list[str]]:
    """(room, room it uses) -> the imports, as ``file:line``."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for module, path in sorted(_modules().items()):
        for used, line in _own_imports(path):
            if _room(used) != _room(module):
                arrows.setdefault((_room(module), _room(used)), []).append(f"{path.relative_to(ROOT)}:{line}")
    return arrows


def _circles(uses: Mapping[str, Iterable[str]]) -> list[str]:
    """Each knot of a graph as ``a, b, c``: its nodes reach each other."""
    reach: dict[str, set[str]] = {}
    for start in uses:
        seen: set[str] = set()
        front = list(uses[start])
        while front:
            if (node := front.pop()) not in seen:
                seen.add(node)
                front += uses.get(node, ())
        reach[start] = seen
    knots = {frozenset(b for b in reach[a] if a in reach.get(b, ())) for a in uses if a in reach[a]}
    return sorted(", ".join(sorted(knot)) for knot in knots)


def _refuse(found: Iterable[str], reason: str) -> None:
    """Fails where violations are found, with what to do about them."""
    assert not (every := sorted(set(found))), f"{reason}:\n  " + "\n  ".join(every)


def test_the_top_holds_rooms_only() -> None:
    names = {path.name for path in CODE.iterdir() if path.name not in ("__pycache__", "_resources")}
    loose = {name for name in names if (CODE / name).is_file()} - LOOSE_FILES
    assert not loose, f"files outside the rooms; put each into the room that it belongs to: {sorted(loose)}"
    unknown = {name.removesuffix(".py") for name in names} - set(ROOMS)
    assert not unknown, f"a new room has to be written into ROOMS, above all that it uses: {sorted(unknown)}"
    assert len(ROOMS) <= MOST_ROOMS, f"{len(ROOMS)} rooms, at most {MOST_ROOMS}: find it a place in one that exists"


def test_a_room_uses_lower_rooms_only() -> None:
    upward = {
        f"{a} -> {b}: {place}"
        for (a, b), places in _arrows().items()
        if ROOMS.index(b) > ROOMS.index(a)
        for place in sorted({place.rpartition(":")[0] for place in places})
    }
    _refuse(upward, "imports from a higher room; move the thing down, or hand it over as an argument")


def test_the_arrows_are_the_written_ones() -> None:
    written = {(a, b) for a, used in ARROWS.items() for b in used}
    new = [
        f"{a} -> {b}: {', '.join(places[:3])}"
        for (a, b), places in sorted(_arrows().items())
        if (a, b) not in written and ROOMS.index(b) < ROOMS.index(a)
    ]
    assert not new, "new arrows; do without, or write them into ARROWS:\n  " + "\n  ".join(new)
    unused = sorted(f"{a} -> {b}" for a, b in written - set(_arrows()))
    assert not unused, "arrows that no import needs any more; take them out of ARROWS:\n  " + "\n  ".join(unused)
    assert len(written) <= MOST_ARROWS, f"{len(written)} arrows between the rooms, at most {MOST_ARROWS}"


def test_no_circle_between_rooms() -> None:
    uses: dict[str, set[str]] = {}
    for a, b in _arrows():
        uses.setdefault(a, set()).add(b)
    assert not _circles(uses), f"rooms that need each other: {_circles(uses)}"


def test_no_circle_of_modules_in_a_room() -> None:
    uses = {name: {used for used, _ in _own_imports(path)} - {name} for name, path in _modules().items()}
    _refuse(_circles(uses), "modules that need each other; move what both use into one of its own")


# -- benchmarks have their own rooms ---------------------------------------------------------------------------------

NAMED = re.compile(r"alfworld|webshop|search[-_ ]?qa", re.IGNORECASE)
# "search" is a benchmark where it stands alone in quotes, before a colon, in a command line or in a module's path.
SEARCH_WRITTEN = re.compile(r"^search$|^search/|\bsearch: |\btiny-search\b|(?:make|verify|play|--env) search\b")
SEARCH_IDENTIFIER = re.compile(r"^SEARCH$|^_?search_|_search$|_search_")


def _tokens(path: Path) -> Iterator[tuple[int, str, str]]:
    """(line, kind, text): the names, comments and strings of a file, without their quotes."""
    source = path.read_text(encoding="utf-8")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        kind = tokenize.tok_name[token.type]
        text = re.sub(r"""^[rbfuRBFU]*["']{1,3}|["']{1,3}$""", "", token.string) if kind == "STRING" else token.string
        if kind in ("NAME", "COMMENT") or "STRING" in kind:
            yield token.start[0], kind, text


def _benchmarks_named(path: Path) -> Iterator[str]:
    """``line: text`` wherever a file names a benchmark."""
    searches = _room(".".join(_parts(path))) == "retrieval"  # passage search is its subject
    for line, kind, text in _tokens(path):
        as_word = SEARCH_IDENTIFIER if kind == "NAME" else SEARCH_WRITTEN
        if NAMED.search(text) or (as_word.search(text) and not (kind == "NAME" and searches)):
            yield f"{line}: {' '.join(text.split())[:60]}"
    for name, line in _imports(path):
        if re.match(r"sdar_cli\.(envs|tiny)\.search\b", name):
            yield f"{line}: {name}"


def test_only_the_environments_name_a_benchmark() -> None:
    found: dict[str, list[str]] = {}
    for path in sorted(CODE.rglob("*")):
        file = path.relative_to(ROOT)
        if file.parts[1] in ("envs", "tiny", "_resources") or path.suffix not in (".py", ".j2"):
            continue
        named = list(_benchmarks_named(path)) if path.suffix == ".py" else NAMED.findall(path.read_text())
        if NAMED.search(path.stem) or SEARCH_IDENTIFIER.search(path.stem):
            named.append("the file's name")
        if named:
            found[str(file)] = named
    for file in sorted(found):
        print(f"{file}\n    " + "\n    ".join(found[file]))  # shown where the test fails
    _refuse(found, "they name a benchmark; let the environment's record say it (sdar_cli/envs)")


# -- sizes -----------------------------------------------------------------------------------------------------------


def _sources() -> list[Path]:
    return [*_modules().values(), *(path for name in ("tests", "benchmarks") for path in (ROOT / name).rglob("*.py"))]


def test_no_file_is_long() -> None:
    lengths = {path.relative_to(ROOT): len(path.read_text(encoding="utf-8").splitlines()) for path in _sources()}
    long = [str(file) for file, length in lengths.items() if length > LONGEST_FILE]
    _refuse(long, f"over {LONGEST_FILE} lines; split them by what they do")


def test_no_function_is_long() -> None:
    long = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for path in _sources()
        for node in ast.walk(_tree(path))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (node.end_lineno or node.lineno) - node.lineno >= LONGEST_FUNCTION
    ]
    _refuse(long, f"over {LONGEST_FUNCTION} lines; give its steps names of their own")


# -- records have types ----------------------------------------------------------------------------------------------

UNTYPED, MOST_UNTYPED = "dict[str, Any]", 20


def _untyped(tree: ast.Module) -> Iterator[tuple[int, bool]]:
    """(line, whether it is given another name there) of every ``dict[str, Any]``."""
    values = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Assign | ast.AnnAssign)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and ast.unparse(node) == UNTYPED:
            yield node.lineno, id(node) in values


def test_records_have_types() -> None:
    files = _modules().values()
    found = [(f"{path.relative_to(ROOT)}:{at}", named) for path in files for at, named in _untyped(_tree(path))]
    assert len(found) <= MOST_UNTYPED, f"only for JSON as it is read; name the keys elsewhere: {found}"
    assert not [place for place, named in found if named], f"another name for {UNTYPED} hides it: {found}"


def test_untyped_records_are_found() -> None:
    tree = ast.parse("Json = dict[str, Any]\ndef f(a: dict[str, int]) -> dict[str, Any]: ...\n")
    assert sorted(_untyped(tree)) == [(1, True), (2, False)]


# -- tests stand where the code stands -------------------------------------------------------------------------------

TESTS = ROOT / "tests"


@cache
def _rooms_tested(path: Path) -> frozenset[str]:
    """Rooms that a test file names: in imports and in strings such as "sdar_cli.algo", its own and its helpers'."""
    rooms: set[str] = set()
    waiting = [path, *(file for file in [path.parent / "conftest.py"] if file.exists())]
    seen = set(waiting)
    while waiting:
        file = waiting.pop()
        rooms |= {_room(module) for module, _ in _own_imports(file)}
        rooms |= set(re.findall(r"""["']sdar_cli\.(\w+)""", file.read_text(encoding="utf-8")))
        found = {helper for name, _ in _imports(file) for helper in _helpers(file, name)} - seen
        seen |= found
        waiting += found
    return frozenset(rooms)


def _helpers(file: Path, name: str) -> list[Path]:
    """The files of tests/ that an import may mean: from the root, from tests/, or next to the importing file."""
    parts = name.split(".")
    bases = (ROOT, TESTS, file.parent)
    places = [base.joinpath(*some).with_suffix(".py") for base in bases for some in (parts, parts[:-1]) if some]
    return [place for place in places if place.is_file() and TESTS in place.parents]


def test_every_folder_of_tests_is_a_room() -> None:
    folders = {path.parent.relative_to(TESTS) for path in TESTS.rglob("test_*.py")} - {Path()}
    strange = [str(f) for f in folders if f.parts[0] not in COMMON_TESTS and not (CODE / f).is_dir()]
    assert not strange, f"folders of tests/ with no folder of the same name in sdar_cli/: {sorted(strange)}"
    loose = {path.stem.removeprefix("test_") for path in TESTS.glob("test_*.py")} - {*ROOMS, "house"}
    assert not loose, f"tests outside the rooms; put each into its room's folder: {sorted(loose)}"


def test_tests_of_a_room_use_the_room() -> None:
    strange = []
    for path in sorted(TESTS.rglob("test_*.py")):
        folder = path.relative_to(TESTS).parts[0]
        wanted = {"commands", "cli"} if folder == "commands" else {folder}
        if path.parent != TESTS and folder not in COMMON_TESTS and not wanted & _rooms_tested(path):
            strange.append(str(path.relative_to(ROOT)))
    _refuse(strange, "tests that never name the room of their folder")


# -- the checks themselves can fail ----------------------------------------------------------------------------------


def test_circles_are_found() -> None:
    assert _circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == ["b, c"]
    assert _circles({"a": {"b", "c"}, "b": {"c"}}) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("name = 'search'", True), ("# played in WebShop", True), ("def _search_warnings(): ...", True),
        ("'webshop: pages; search: passages'", True), ("from sdar_cli.envs.search.env import A", True),
        ("from sdar_cli.envs import search", True), ("'tiny-search'", True), ("import re\nre.search('a', 'b')", False),
        ("# research; a search of passages", False), ("bm25.search(query)", False),
    ],
)  # fmt: skip
def test_benchmarks_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, found: bool) -> None:
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    file = tmp_path / "sdar_cli" / "runs" / "x.py"
    file.parent.mkdir(parents=True)
    file.write_text(source + "\n")
    assert bool(list(_benchmarks_named(file))) == found


def test_imports_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    file = tmp_path / "sdar_cli" / "runs" / "x.py"
    file.parent.mkdir(parents=True)
    file.write_text("import a.b\ndef f():\n    from .y import z\n    from ..base import q\n")
    assert [name for name, _ in _imports(file)] == ["a.b", "sdar_cli.runs.y.z", "sdar_cli.base.q"]
