"""Game files on disk: where they are, which tasks a split holds, and whether each can be used.

Real and generated games lie in the same layout, ``json_2.1.1/<split>/<type>-<…>/<trial>/game.tw-pddl``, and are
read by the same functions.  Only ``game.tw-pddl`` is needed, and a task's content is a digest of it.  The checks here
read text; what only the engine can find (a grammar that does not parse) fails the episode that loads it.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sdar_cli.base.errors import PrerequisiteError, SdarError
from sdar_cli.base.files import parse_json, read_regular
from sdar_cli.envs.alfworld.engine.expressions import unknown_expressions
from sdar_cli.envs.alfworld.games.layout import TASK_TYPES
from sdar_cli.envs.alfworld.games.made import check_made
from sdar_cli.envs.base import Task

ROOT_NAME = "json_2.1.1"
GAME_FILE = "game.tw-pddl"
OUTSIDE_BENCHMARK = ("movable", "Sliced")
"""Trials whose folder names one of these are in the ALFRED data but not in ALFWorld."""
NEEDED = {"pddl_domain": str, "grammar": str, "pddl_problem": str, "solvable": bool}
KEYWORDS = frozenset({"and", "or", "not", "exists", "forall", "when", "imply", "="})
SHOWN = 10
DIGEST = 16
"""Hexadecimal digits of a game's digest."""
GET_GAMES = "get the games with `alfworld-download`, or leave out --data to use generated games"
GET_AGAIN = "get the games again with `alfworld-download --force`, or remove the folder of each file named"
UNTRUSTED = "use games from a source you trust: textworld runs such expressions as Python code"
DOWNLOADED = Path("~/.cache/alfworld")
"""Where ``alfworld-download`` puts the games by default."""
PARENTHESIS = re.compile(r"[()]")
WORD = re.compile(r"[^\s()]+")
NAME_AFTER_PARENTHESIS = re.compile(r"\(\s*([^\s()?]+)")
COMMENT = re.compile(r";[^\n]*")


def find_root(path: str | Path) -> Path:
    """The folder ``json_2.1.1`` at or in ``path``.  Raises PrerequisiteError when there is none with games."""
    given = Path(os.path.expandvars(path)).expanduser()
    if not given.exists():
        raise PrerequisiteError(f"{given} does not exist", why="it should hold the ALFWorld games", fix=GET_GAMES)
    root = given / ROOT_NAME if (given / ROOT_NAME).is_dir() else given
    if next(root.glob(f"*/*/*/{GAME_FILE}"), None) is None:
        raise PrerequisiteError(
            f"no ALFWorld games in {given}",
            why=f"it holds no {ROOT_NAME}/<split>/<task>/<trial>/{GAME_FILE}",
            fix=GET_GAMES,
        )
    return root


def real_root(data: str | None) -> Path:
    """The released games: ``data``, else ``$ALFWORLD_DATA``, else where ``alfworld-download`` puts them.

    Raises PrerequisiteError when they are not there.
    """
    named = data or os.environ.get("ALFWORLD_DATA")
    if named:
        return find_root(named)
    if DOWNLOADED.expanduser().is_dir():
        return find_root(DOWNLOADED)
    raise PrerequisiteError(
        "no folder of real ALFWorld games is named",
        why=f"neither --data nor $ALFWORLD_DATA is set, and there is no {DOWNLOADED}",
        fix=f"name the folder with --data DIR; {GET_GAMES}",
    )


def list_splits(root: Path) -> list[str]:
    """Splits that hold at least one game, sorted."""
    return sorted(folder.name for folder in root.iterdir() if next(folder.glob(f"*/*/{GAME_FILE}"), None))


def list_tasks(root: Path, split: str) -> list[Task]:
    """Every task of a split, sorted by id; the id is the game's folder under ``root``.

    Raises PrerequisiteError where there is none, where games of a set that was made here are missing or changed, and
    for a file that cannot be read.
    """
    tasks = []
    for file in (root / split).glob(f"*/*/{GAME_FILE}"):
        name = file.parent.relative_to(root).as_posix()
        if not any(word in name for word in OUTSIDE_BENCHMARK):
            tasks.append(Task(id=name, type=_type_of(file), split=split, content=_content(file)))
    if not tasks:
        found = ", ".join(list_splits(root))
        raise PrerequisiteError(
            f"no games of split {split!r} in {root}",
            why=f"it holds: {found}",
            fix=f"choose one of {found}, or {GET_GAMES}",
        )
    check_made(root, split, tasks)
    return sorted(tasks, key=lambda task: task.id)


def _content(path: Path) -> str:
    """A digest of a game's file."""
    try:
        return hashlib.sha256(read_regular(path)).hexdigest()[:DIGEST]
    except OSError as error:
        raise _bad(path, f"it cannot be read: {error.strerror}") from error


def game_file(root: Path, task: Task) -> Path:
    """The file a task is loaded from."""
    return root / task.id / GAME_FILE


def walkthrough(path: Path) -> list[str]:
    """The commands stored with a game that win it; empty when none are stored."""
    return list(read_game(path).get("walkthrough") or [])


def read_game(path: Path) -> dict[str, Any]:
    """The game's JSON object.  Raises PrerequisiteError naming the file and what is wrong with it."""
    try:
        data = parse_json(read_regular(path))
    except OSError as error:
        raise _bad(path, f"it cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise _bad(path, f"it is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise _bad(path, f"it holds a JSON {type(data).__name__} instead of an object")
    return data


def check_game(path: Path) -> None:
    """Check what can be checked without the engine.  Raises PrerequisiteError with file, cause and fix.

    The engine itself would load a start state with misspelt predicates without a word.
    """
    data = read_game(path)
    missing = [key for key in NEEDED if key not in data]
    if missing:
        raise _bad(path, f"missing: {', '.join(missing)}")
    wrong = [key for key, kind in NEEDED.items() if not isinstance(data[key], kind)]
    if wrong:
        raise _bad(path, f"{', '.join(wrong)} should be {' and '.join(NEEDED[key].__name__ for key in wrong)}")
    if not data["solvable"]:
        raise _bad(path, "it is marked unsolvable")
    problem = COMMENT.sub("", data["pddl_problem"]) if ";" in data["pddl_problem"] else data["pddl_problem"]
    start = problem.lower().find("(:init")
    if start < 0:
        raise _bad(path, "its problem has no (:init …) section")
    used = {name.lower() for name in set(NAME_AFTER_PARENTHESIS.findall(problem, start))}
    unknown = sorted(name for name in used - declared_names(data["pddl_domain"]) - KEYWORDS if not name.startswith(":"))
    if unknown:
        raise _bad(path, f"its domain does not declare the predicates {', '.join(unknown)}")
    undefined = _undefined_names(problem.lower(), start, used)
    if undefined:
        raise _bad(path, f"its problem uses {', '.join(undefined[:5])} without declaring it under (:objects …)")
    if forbidden := unknown_expressions(data["grammar"]):
        raise _bad(path, f"its grammar holds an expression that is not allowed: {forbidden[0][:80]!r}", UNTRUSTED)


def _undefined_names(problem: str, start: int, predicates: set[str]) -> list[str]:
    """Names in the start state that are no declared object; the engine fails on them with a bare KeyError."""
    objects = problem.find("(:objects")
    declared = set(WORD.findall(_balanced(problem, objects))) if objects >= 0 else set()
    return sorted(set(WORD.findall(_balanced(problem, start))) - declared - predicates - KEYWORDS - {":init"})


@functools.lru_cache(maxsize=16)
def declared_names(domain: str) -> frozenset[str]:
    """Predicates and functions a PDDL domain declares, in lower case."""
    text = COMMENT.sub("", domain).lower()
    names: set[str] = set()
    for section in ("(:predicates", "(:functions"):
        start = text.find(section)
        if start >= 0:
            names.update(NAME_AFTER_PARENTHESIS.findall(_balanced(text, start)))
    return frozenset(names)


def preflight(tasks: Sequence[Task], root: Path, progress: Callable[[], None] | None = None) -> None:
    """Check every game a run will use (about 2 ms each).  Raises one PrerequisiteError that lists the bad ones."""
    bad = []
    for task in tasks:
        try:
            check_game(game_file(root, task))
        except SdarError as error:
            bad.append(f"{game_file(root, task)}: {error.why}")
        if progress:
            progress()
    if bad:
        more = [f"… and {len(bad) - SHOWN} more"] if len(bad) > SHOWN else []
        raise PrerequisiteError(
            f"{len(bad)} of {len(tasks)} game files cannot be used",
            why="\n  ".join([*bad[:SHOWN], *more]),
            fix=GET_AGAIN,
        )


def _type_of(file: Path) -> str:
    kind = file.parent.parent.name.partition("-")[0]
    if kind not in TASK_TYPES:
        raise _bad(file, f"its folder names no task type of ALFWorld: {kind}")
    return kind


def _balanced(text: str, start: int) -> str:
    depth = 0
    for match in PARENTHESIS.finditer(text, start):
        depth += 1 if match.group() == "(" else -1
        if depth == 0:
            return text[start : match.end()]
    return text[start:]


def _bad(path: Path, why: str, fix: str = GET_AGAIN) -> PrerequisiteError:
    return PrerequisiteError(f"game file {path} cannot be used", why=why, fix=fix)
