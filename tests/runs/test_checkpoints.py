"""Checkpoint folders: found in order, published whole, and what a kill leaves is cleared away."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from sdar_cli.base.errors import RunFailedError
from sdar_cli.runs.checkpoints import (
    MANIFEST,
    checkpoint_path,
    latest_checkpoint,
    list_checkpoints,
    problems,
    publish,
    refuse_damaged,
    remove_unfinished,
    step_of,
)


def write(folder: Path, update: int, text: str = "") -> Path:
    """A checkpoint as it is written, under its temporary name."""
    path = folder / f"checkpoint-{update}"
    (path / "inner").mkdir(parents=True)
    (path / "inner" / "weights").write_text(text)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


def test_the_newest_is_the_one_of_most_steps(folder: Path) -> None:
    """Not of the last name in the alphabet, and none where there is no folder."""
    assert list_checkpoints(folder) == [] and latest_checkpoint(folder) is None
    for step in (999_999, 2, 1_000_000):
        publish(write(folder, step), step, keep=9)
    assert [step_of(path) for path in list_checkpoints(folder)] == [2, 999_999, 1_000_000]
    assert latest_checkpoint(folder) == checkpoint_path(folder, 1_000_000)
    assert checkpoint_path(folder, 4).name == "step-000004"


def test_the_oldest_go_and_the_unfinished_do_not_count(folder: Path) -> None:
    for step in range(1, 5):
        publish(write(folder, 2 * step, str(step)), step, keep=2)
    write(folder, 10)
    assert [step_of(path) for path in list_checkpoints(folder)] == [3, 4]
    assert (checkpoint_path(folder, 4) / "inner" / "weights").read_text() == "4"


def test_a_step_may_be_published_again(folder: Path) -> None:
    """A resumed run repeats steps; what it writes takes the place of the old."""
    publish(write(folder, 1, "old"), 1, keep=1)
    final = publish(write(folder, 1, "new"), 1, keep=1)
    assert (final / "inner" / "weights").read_text() == "new"
    assert [path.name for path in folder.iterdir()] == ["step-000001"]


def test_half_written_ones_are_removed(folder: Path) -> None:
    publish(write(folder, 2), 1, keep=3)
    write(folder, 4)
    write(folder, 99)
    remove_unfinished(folder)
    assert [path.name for path in folder.iterdir()] == ["step-000001"]


FILES = ("optimizer.pt", "scheduler.pt", "trainer_state.json", "model.safetensors", "skills.json")


def written(folder: Path) -> Path:
    """A published checkpoint with everything a resumed run needs."""
    path = folder / "checkpoint-1"
    path.mkdir(parents=True)
    for name in ("optimizer.pt", "scheduler.pt"):
        with zipfile.ZipFile(path / name, "w") as archive:
            archive.writestr("data", name * 100)
    for name in ("trainer_state.json", "skills.json"):
        (path / name).write_text("{}")
    head = b'{"w": {"data_offsets": [0, 8]}}'
    (path / "model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + bytes(8))
    return publish(path, 1, keep=1)


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_or_missing_file_is_named(folder: Path, name: str) -> None:
    checkpoint = written(folder)
    assert problems(checkpoint) == []
    whole = (checkpoint / name).read_bytes()
    for content in (whole[: len(whole) // 2], bytes([whole[0] ^ 1]) + whole[1:]):
        (checkpoint / name).write_bytes(content)
        assert [text for text in problems(checkpoint) if name in text]
    (checkpoint / name).unlink()
    assert problems(checkpoint) == [f"{name} is missing"]


def test_a_damaged_checkpoint_is_not_evaluated(folder: Path) -> None:
    """What only training needs may be gone; other bytes in the weights would be another policy."""
    checkpoint = written(folder)
    for name in FILES[:3]:
        (checkpoint / name).unlink()
    refuse_damaged(checkpoint)
    for name in FILES[3:]:
        whole = (checkpoint / name).read_bytes()
        (checkpoint / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(RunFailedError, match="is damaged") as caught:
            refuse_damaged(checkpoint)
        assert name in caught.value.why and "--checkpoint" in caught.value.fix
        (checkpoint / name).write_bytes(whole)


@pytest.mark.parametrize("name", FILES[:4])
def test_a_checkpoint_of_an_earlier_version_is_judged_by_its_files(folder: Path, name: str) -> None:
    checkpoint = written(folder)
    (checkpoint / MANIFEST).unlink()
    assert problems(checkpoint) == []
    whole = (checkpoint / name).read_bytes()
    (checkpoint / name).write_bytes(whole[: len(whole) // 2])
    assert len(problems(checkpoint)) == 1 and name in problems(checkpoint)[0]


def test_a_damaged_manifest_is_a_damaged_checkpoint(folder: Path) -> None:
    checkpoint = written(folder)
    (checkpoint / MANIFEST).write_text("{")
    assert problems(checkpoint) == [f"{MANIFEST} is damaged"]
