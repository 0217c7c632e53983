"""What is noted of a set of games that was made here, so that a game that is missing or changed is not passed over.

The note lies beside a split's folder: the parameters, how many games there are, and the hash of their panel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from sdar_cli.base.errors import PrerequisiteError
from sdar_cli.base.files import parse_json, read_regular, write_json_atomic
from sdar_cli.envs.base import Task
from sdar_cli.envs.panels import make_panel

RELEASED = {"train": 3553, "valid_seen": 140, "valid_unseen": 134}
"""Games of each released split."""
RELEASED_TRIAL = "/trial_T"
"""How the folder of a released game is called."""


def note_path(root: Path, split: str) -> Path:
    """Where a split's note is."""
    return root / f"{split}.json"


def write_note(root: Path, split: str, parameters: Mapping[str, object], tasks: Sequence[Task]) -> None:
    """Note a set that is complete."""
    about = {"games": len(tasks), "sha256": make_panel(tasks).sha256}
    write_json_atomic(note_path(root, split), {**parameters, **about})


def read_note(root: Path, split: str) -> dict[str, object]:
    """A split's note; empty where there is none.  Raises PrerequisiteError for one that cannot be read."""
    path = note_path(root, split)
    if not path.exists():
        return {}
    try:
        noted = parse_json(read_regular(path))
        if not isinstance(noted, dict):
            raise ValueError("it is no JSON object")
    except (OSError, ValueError) as error:
        raise PrerequisiteError(
            f"{path} cannot be read", why=str(error), fix="remove it, or make the games again in another folder"
        ) from error
    return noted


def check_made(root: Path, split: str, tasks: Sequence[Task]) -> None:
    """Whether the games of a set that was made here are all there and unchanged (notes of earlier versions hold no
    hash: then their number counts).  Raises PrerequisiteError that says what is wrong."""
    noted = read_note(root, split)
    number, digest = noted.get("games", len(tasks)), noted.get("sha256")
    if number != len(tasks):
        wrong = f"{root / split} holds {len(tasks)} games, and {number} were made"
    elif digest is not None and (not tasks or digest != make_panel(tasks).sha256):
        wrong = f"games in {root / split} were changed since they were made"
    else:
        return
    raise PrerequisiteError(
        wrong,
        why=f"{note_path(root, split)} says what was made; a success rate on other games is another figure",
        fix=f"make the set again in another folder, or remove {note_path(root, split)} to use the games as they are",
    )


def released_gap(tasks: Sequence[Task]) -> str:
    """What to say where tasks are of a released split and some of its games are not there; else empty."""
    wanted = RELEASED.get(tasks[0].split, 0) if tasks else 0
    if len(tasks) >= wanted or not any(RELEASED_TRIAL in task.id for task in tasks):
        return ""
    return f"{tasks[0].split} holds {len(tasks)} of the {wanted} released games: its panel is another one"
