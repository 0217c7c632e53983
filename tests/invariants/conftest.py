"""``sdar`` in this process, on the corridor: its real command line, runs and trainer, with a guest's environment."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import toy
from train.conftest import walker_model  # noqa: F401  a fixture
from train.material import quick_collections

from sdar_cli.cli import main

with toy.open_corridor(toy.ToyOptions()) as _corridor:
    TASKS = _corridor.known
"""Corridors short enough to be won now and then."""
PRESET = """
[model]
device = "cpu"
dtype = "float32"
max_prompt_tokens = 400
max_response_tokens = 14
temperature = 1.2

[env]
max_turns = 2

[skills]
form = "brief"

[algo]
kl_coef = 0.0
invalid_penalty = 0.05
penalty_on = "advantage"
adv_stats = "episode"

[train]
steps = 2
tasks_per_step = 4
group_size = 2
updates_per_step = 2
lr = 5e-4
save_every = 0

[eval]
temperature = 1.0
"""
"""What a run needs to be over within a second."""

Command = Callable[..., Path]


@pytest.fixture(scope="session")
def walker_folder(walker_model, tokenizer, tmp_path_factory) -> Path:  # noqa: F811
    """The model that walks the corridor badly, saved with a preset of its own."""
    quick_collections()
    folder = tmp_path_factory.mktemp("walker")
    copy.deepcopy(walker_model).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "sdar.toml").write_text(PRESET)
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a module's runs."""
    return tmp_path_factory.mktemp("invariants")


@pytest.fixture
def command(walker_folder: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """``sdar train WORDS`` on the corridor; its exit code."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("SDAR_DEBUG", raising=False)
    monkeypatch.chdir(place)

    def run(*words: str) -> int:
        with pytest.raises(SystemExit) as caught:
            main(["train", "--env", "toy:BENCHMARK", "--model", str(walker_folder), *words])
        return caught.value.code if isinstance(caught.value.code, int) else 0

    return run


@pytest.fixture
def trained(command: Callable[..., int], place: Path) -> Command:
    """The folder of the finished run ``sdar train WORDS``; the same words are run once per module."""

    def run(*words: str) -> Path:
        name = "-".join(word.strip("-").replace("=", "-") for word in words) or "plain"
        name = "".join(letter if letter.isalnum() or letter in "-._" else "_" for letter in name)
        folder = place / "runs" / name
        if not folder.exists():
            assert command("--name", name, *words) == 0
        return folder

    return run
