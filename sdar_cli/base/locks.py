"""Files and folders held by one process at a time.

The operating system releases a lock when its process ends, however it ends, so a killed process blocks no other.
The content of a lock file means nothing, nor does a lock file that was left behind.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from filelock import lock_descriptor

from sdar_cli.base.errors import PrerequisiteError, SdarError

NO_LOCKS = frozenset({errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK})
"""What a file system without locks answers, as some network ones do."""


class Lock:
    """A lock that is held until ``close``, or until this process ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def close(self) -> None:
        """Release the lock; a second call does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def lock_open_file(descriptor: int, path: Path, *, wait: bool = False) -> bool:
    """Lock a file that is open already, until it is closed; False where another holder has it (never with ``wait``).

    ``path`` is for the message.  Raises PrerequisiteError on a file system that has no locks.
    """
    try:
        return lock_descriptor(descriptor, blocking=wait)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        raise PrerequisiteError(
            f"{path} cannot be locked",
            why=f"its file system has no file locks ({error.strerror})",
            fix="put the folder on a local disk, or on a network file system with locks (flock)",
        ) from error


def try_lock(path: Path, *, wait: bool = False) -> Lock | None:
    """Hold a folder, or a file that is made where there is none; None where another holder has it.

    Another holder may be an object of this process, too.  wait: until it is free.
    Raises PrerequisiteError on a file system that has no locks.
    """
    flags = os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT
    lock = Lock(os.open(path, flags | os.O_CLOEXEC, 0o666))
    try:
        assert lock._descriptor is not None
        if lock_open_file(lock._descriptor, path, wait=wait):
            return lock
    except BaseException:
        lock.close()
        raise
    lock.close()
    return None


@contextmanager
def locked(path: Path, busy: SdarError) -> Iterator[None]:
    """Hold a file or folder inside this block.  Raises ``busy`` where another holder has it."""
    lock = try_lock(path)
    if lock is None:
        raise busy
    with lock:
        yield


@contextmanager
def locked_in_turn(path: Path) -> Iterator[None]:
    """Hold a file or folder inside this block, after whoever holds it now."""
    lock = try_lock(path, wait=True)
    assert lock is not None
    with lock:
        yield


def is_locked(path: Path) -> bool:
    """Whether a process holds the file; a missing file is not held."""
    if not path.exists():
        return False
    lock = try_lock(path)
    if lock is None:
        return True
    lock.close()
    return False
