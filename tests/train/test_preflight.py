"""What a dry run calls complete starts: every cheap check runs before a directory or a game is made."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from sdar_cli.algo.registry import GATE, OBJECTIVE, SCHEDULE, SHAPING
from sdar_cli.base.errors import SdarError
from sdar_cli.config.presets import resolve
from sdar_cli.train import dummy
from sdar_cli.train.preflight import problems, require


def good(batch, beta: float) -> torch.Tensor:
    """A gate."""
    return torch.full(batch.mask.shape, 0.5)


def blank(batch, beta: float) -> torch.Tensor:
    """A gate that is not defined."""
    return torch.full(batch.mask.shape, float("nan"))


def flat(batch, beta: float) -> torch.Tensor:
    """A gate of another shape."""
    return torch.ones(3)


def number(batch, beta: float) -> float:
    """A gate that is no tensor."""
    return 0.5


def rising(step: int, over: int, start: float, end: float) -> float:
    """A schedule that turns negative."""
    return 1.0 - step


def wrong(batch, coef: float, clip: float) -> torch.Tensor:
    """A shaping of another shape."""
    return torch.ones(1)


def found(tmp_path: Path, *sets: str, **names: str) -> list[str]:
    """What is missing; the checks of a real run must agree."""
    resolved = resolve(sets=[*sets], **names)
    absent, _ = problems(resolved, tmp_path / "runs", False)
    if not absent:
        require(resolved, tmp_path / "runs", False)
    else:
        with pytest.raises(SdarError):
            require(resolved, tmp_path / "runs", False)
    return [item.what for item in absent]


def test_nothing_is_missing(tmp_path: Path) -> None:
    assert found(tmp_path) == found(tmp_path, f"algo.gate={__name__}:good") == []
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("setting", "word"),
    [
        ("algo.gate={}:blank", "not finite"),
        ("algo.gate={}:flat", "shape"),
        ("algo.gate={}:number", "algo.gate"),
        ("algo.coef_schedule={}:rising", "not negative"),
    ],
)
def test_a_guest_is_tried_on_a_batch(setting: str, word: str, tmp_path: Path) -> None:
    (what,) = found(tmp_path, setting.format(__name__))
    assert word in what and __name__ in what


def test_a_shaping_is_tried(tmp_path: Path) -> None:
    (what,) = found(tmp_path, f"algo.shaping={__name__}:wrong")
    assert "shape" in what


def test_everything_that_ships_passes_the_trial() -> None:
    for gate in GATE.builtin():
        for objective in OBJECTIVE.builtin():
            dummy._distilled(resolve(sets=[f"algo.gate={gate}", f"algo.objective={objective}"]).config)
    for shaping in SHAPING.builtin():
        if shaping != "none":
            dummy._shaped(resolve(sets=[f"algo.shaping={shaping}"]).config)
    for schedule in SCHEDULE.builtin():
        dummy._check_schedule(resolve(sets=[f"algo.coef_schedule={schedule}"]).config)


def test_an_empty_model_folder_and_wrong_targets(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (what,) = found(tmp_path, model=str(tmp_path / "empty"))
    assert "cannot load the model" in what
    (what,) = found(tmp_path, "model.lora.rank=4", "model.lora.targets=c_attn")
    assert "c_attn" in what


def test_a_bank_that_cannot_be_read_or_is_of_another_environment(tmp_path: Path) -> None:
    bank = tmp_path / "bank"
    bank.mkdir()
    (bank / "bank.toml").write_bytes(b'name = "b\xff\xfe"\n')
    (what,) = found(tmp_path, f"skills.bank={bank}")
    assert "bad skill bank" in what
    (what,) = found(tmp_path, "skills.bank=webshop")
    assert "is for webshop" in what


def test_a_device_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert found(tmp_path, "model.device=cuda") == ["no CUDA GPU is visible"]


def test_a_runs_folder_that_is_a_file_or_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs").write_text("")
    (what,) = found(tmp_path)
    assert "is no folder" in what
    (tmp_path / "runs").unlink()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**6))
    (what,) = found(tmp_path)
    assert "checkpoints need" in what


def test_a_split_without_a_game(tmp_path: Path) -> None:
    game = tmp_path / "json_2.1.1" / "valid_seen" / "pick_and_place_simple-A-None-B-1" / "trial_1" / "game.tw-pddl"
    game.parent.mkdir(parents=True)
    game.touch()
    absent, _ = problems(resolve(env="alfworld-real", sets=[f"env.data={tmp_path}"]), tmp_path / "runs", False)
    assert [item.what for item in absent] == ["split 'train' (env.train_split)"]
