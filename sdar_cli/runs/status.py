"""What ``status.json`` holds and ``sdar runs list`` shows, and the types that a run's JSON files must have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict, final

STATUS_TYPES: dict[str, type | tuple[type, ...]] = {
    "state": str, "started": str, "attempt_started": str, "ended": str, "seconds": (int, float), "attempts": int,
    "pid": int, "host": str, "error": str, "summary": dict,
}  # fmt: skip
CONFIG_TYPES: dict[str, type | tuple[type, ...]] = {
    "env": dict, "model": dict, "train": dict, "method": str, "seed": int, "name": str,
}  # fmt: skip
PROVENANCE_TYPES: dict[str, type | tuple[type, ...]] = {
    "created": str, "argv": list, "packages": dict, "seeds": dict, "resumed": list,
}  # fmt: skip


class Status(TypedDict, total=False):
    """``status.json``.  seconds: of all attempts that have ended.  summary: of a run that is done; error: of one that
    failed."""

    state: str
    started: str
    attempt_started: str
    attempts: int
    seconds: float
    pid: int
    host: str
    ended: str
    error: str
    summary: Mapping[str, Any]


@final
class Overview(TypedDict):
    """A row of ``sdar runs list``.  curve: success of the training episodes of every step; the other two are of the
    panel, without skill.  Values are None where they are not known yet."""

    name: str
    path: str
    status: str
    method: str | None
    model: str | None
    seed: int | None
    steps_done: int
    steps: int | None
    curve: list[float]
    success_before: float | None
    success_after: float | None
    started: str | None
    seconds: float | None
