"""Errors a user can act on: what happened, why, and the command that fixes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class SdarError(Exception):
    """A failure with a cause and a fix.  ``exit_code`` is what the process ends with."""

    exit_code = 1

    def __init__(self, what: str, *, why: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.fix = fix

    def render(self) -> str:
        """``error: … / why: … / fix: …``, leaving out what is empty."""
        lines = [f"error: {self.what}"]
        if self.why:
            lines.append(f"why: {self.why}")
        if self.fix:
            lines.append(f"fix: {self.fix}")
        return "\n".join(lines)


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


class WorseError(SdarError):
    """``compare --fail-if-worse`` found what it looks for (exit 5)."""

    exit_code = 5


class Missing(NamedTuple):
    """Something without which the run would fail."""

    what: str
    fix: str
