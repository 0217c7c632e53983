"""Errors a user can act on: what happened, why, and the command that fixes it."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from sdar_cli.base.text import presentable


class SdarError(Exception):
    """A failure with a cause and a fix.  ``exit_code`` is what the process ends with."""

    exit_code = 1

    def __init__(self, what: str, *, why: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.fix = fix

    def render(self) -> str:
        """``error: … / why: … / fix: …``, leaving out what is empty; no control characters, no passwords."""
        lines = [f"error: {self.what}"]
        if self.why:
            lines.append(f"why: {self.why}")
        if self.fix:
            lines.append(f"fix: {self.fix}")
        return presentable("\n".join(lines))


class ConfigError(SdarError):
    """A wrong flag, key or value (exit 2).  ``problems``: each mistake on its own, where there may be several."""

    exit_code = 2

    def __init__(self, what: str, *, why: str = "", fix: str = "", problems: Sequence[str] = ()) -> None:
        super().__init__(what, why=why, fix=fix)
        self.problems = tuple(problems) or (f"{what} ({why})" if why else what,)


class PrerequisiteError(SdarError):
    """Data, a package or hardware is missing (exit 3)."""

    exit_code = 3


class RunConflictError(SdarError):
    """A run directory is in the way, or a resumed run differs (exit 4)."""

    exit_code = 4


class RunFailedError(SdarError):
    """The run started and could not continue (exit 1)."""


class NotFiniteError(RunFailedError):
    """A loss, a gradient or a weight holds NaN or an infinity."""


class WorseError(SdarError):
    """``compare --fail-if-worse`` found what it looks for (exit 5)."""

    exit_code = 5


class PlaceError(PrerequisiteError):
    """The system refused to read or write a file or folder."""


FULL = (errno.ENOSPC, errno.EDQUOT)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


def place_error(error: OSError, words: Sequence[str] = (), place: Path | None = None) -> PlaceError:
    """A refusal of the operating system with its path, its reason and the flag that chose the path.

    words: of the command line, where the flag is looked for.  place: where the error itself names no path.
    """
    path = str(error.filename or place or "")
    why = error.strerror or str(error).split("\n")[0]
    flag = _flag_of(path, words)
    elsewhere = f"another {flag}" if flag else "another folder"
    if error.errno in FULL:
        return PlaceError(f"no room for {path or 'a file'}", why=why, fix=f"free some space, or choose {elsewhere}")
    if error.errno in FORBIDDEN:
        fix = f"give yourself the right to read and write there, or choose {elsewhere}"
        return PlaceError(f"no access to {path or 'a file'}", why=why, fix=fix)
    return PlaceError(f"{path or 'a file'} cannot be used", why=why, fix=f"choose {elsewhere}")


def _flag_of(path: str, words: Sequence[str]) -> str | None:
    """The flag whose value is the path, a folder above it, or what the path is a temporary name of."""
    for flag, value in [*pairwise(words), *(word.split("=", 1) for word in words if "=" in word)]:
        given = Path(value).expanduser()
        if flag.startswith("--") and value and not value.startswith("-"):
            own, given = Path(path).absolute(), given.absolute()
            if given in (own, *own.parents) or (own.parent == given.parent and own.name.startswith(f".{given.name}.")):
                return flag
    return None


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError of this block that names no file names this one (a full disk is met while writing, without a name)."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


class Missing(NamedTuple):
    """Something without which the run would fail."""

    what: str
    fix: str
