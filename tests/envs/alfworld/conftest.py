"""Games for these tests: a handful of generated ones, and the real ones of the recorded transcripts.

This folder holds no ``__init__.py``: a package of this name would hide the installed ``alfworld``.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from places import SHARED

from sdar_cli.envs.alfworld.env import AlfworldEnvironment
from sdar_cli.envs.alfworld.games.generator import make_games

DATA = SHARED / "data" / "alfworld"


@pytest.fixture(scope="session")
def made_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One small generated game of each task type, split ``train``."""
    out = tmp_path_factory.mktemp("made")
    make_games("train", 6, 3, "small", out)
    return out / "json_2.1.1"


@pytest.fixture(scope="session")
def transcripts() -> list[dict[str, Any]]:
    """Episodes recorded with the unmodified engine."""
    path = DATA / "transcripts_valid_seen.jsonl"
    if not path.exists():
        pytest.skip(f"no recorded transcripts at {path} (SDAR_SHARED names the shared folder)")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="session")
def real_root(transcripts: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real games of the transcripts."""
    archive = DATA / "games_train_and_valid_seen.tar.xz"
    if not archive.exists():
        pytest.skip(f"no real games at {archive} (SDAR_SHARED names the shared folder)")
    out = tmp_path_factory.mktemp("real")
    wanted = {row["game"] for row in transcripts}
    with tarfile.open(archive, "r|xz") as tar:
        for member in tar:
            if member.name in wanted:
                content = tar.extractfile(member)
                assert content is not None
                path = out / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.read())
                wanted.discard(member.name)
            if not wanted:
                break
    assert not wanted
    return out


@pytest.fixture(scope="module")
def environment(made_root: Path) -> Iterator[AlfworldEnvironment]:
    """Two workers on the generated games."""
    with AlfworldEnvironment(made_root, workers=2, step_timeout=60.0) as made:
        yield made
