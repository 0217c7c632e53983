"""Locks of files: two processes, a killed holder, a file system without locks."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

from sdar_cli.base import locks
from sdar_cli.base.errors import PrerequisiteError, RunConflictError

HOLD = """
import sys, time
from pathlib import Path
from sdar_cli.base.locks import try_lock
lock = try_lock(Path(sys.argv[1]))
print(lock is not None, flush=True)
time.sleep(float(sys.argv[2]))
"""


def holder(path: Path, seconds: float = 60.0) -> subprocess.Popen[str]:
    """Another process that has tried to take the lock, and holds it if it could."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", HOLD, str(path), str(seconds)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    process.got = process.stdout.readline() == "True\n"  # type: ignore[attr-defined]
    return process


@pytest.fixture(params=["file", "folder"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / "lock" if request.param == "file" else tmp_path


def test_another_process_is_refused_until_the_holder_lets_go(path: Path) -> None:
    lock = locks.try_lock(path)
    assert lock is not None
    with holder(path, 0) as other:
        assert not other.got  # type: ignore[attr-defined]
    lock.close()
    lock.close()
    with holder(path, 0) as other:
        assert other.got  # type: ignore[attr-defined]


def test_a_killed_holder_blocks_nobody(path: Path) -> None:
    other = holder(path)
    try:
        assert other.got and locks.is_locked(path)  # type: ignore[attr-defined]
        with pytest.raises(RunConflictError, match="busy"), locks.locked(path, RunConflictError("busy")):
            pytest.fail("the block was entered")
    finally:
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert not locks.is_locked(path)
    with locks.locked(path, RunConflictError("busy")):
        assert locks.is_locked(path)


def test_an_object_of_this_process_is_another_holder(path: Path) -> None:
    with locks.locked(path, RunConflictError("busy")):
        assert locks.try_lock(path) is None
    assert locks.try_lock(path) is not None


def test_in_turn_waits_for_the_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    other = holder(path, 0.5)
    assert other.got  # type: ignore[attr-defined]
    with locks.locked_in_turn(path):
        assert other.wait(5) == 0
    assert not locks.is_locked(path)


def test_asking_makes_no_file_and_changes_none(tmp_path: Path) -> None:
    assert not locks.is_locked(tmp_path / "lock")
    assert not list(tmp_path.iterdir())
    (tmp_path / "lock").write_text("content", encoding="utf-8")
    assert not locks.is_locked(tmp_path / "lock")
    assert (tmp_path / "lock").read_text(encoding="utf-8") == "content"


def test_a_program_the_holder_starts_does_not_inherit_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock = locks.try_lock(path)
    assert lock is not None
    code = "import time; print('started', flush=True); time.sleep(30)"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, close_fds=False)
    try:
        assert child.stdout is not None and child.stdout.readline() == "started\n"
        lock.close()
        assert not locks.is_locked(path)
    finally:
        child.kill()
        child.communicate()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_an_error(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, *, blocking: bool) -> bool:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(locks, "lock_descriptor", refuse)
    with pytest.raises(PrerequisiteError, match="cannot be locked") as caught:
        locks.try_lock(tmp_path / "lock")
    assert os.strerror(number) in caught.value.why and "flock" in caught.value.fix
    with pytest.raises(PrerequisiteError, match="cannot be locked"):
        locks.is_locked(tmp_path / "lock")


def test_another_failure_of_the_system_stays_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int, *, blocking: bool) -> bool:
        raise OSError(errno.EIO, "disk")

    monkeypatch.setattr(locks, "lock_descriptor", fail)
    before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").is_dir() else 0
    with pytest.raises(OSError, match="disk"):
        locks.try_lock(tmp_path / "lock")
    assert not before or len(list(Path("/proc/self/fd").iterdir())) == before
