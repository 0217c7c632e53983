"""The configuration of a run as its checks see it: what they read, and nothing that builds or validates it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Protocol

from sdar_cli.envs.benchmark import RunSettings


class TeacherView(Protocol):
    """A teacher context with nothing left open."""

    @property
    def retrieval(self) -> str: ...
    @property
    def form(self) -> str: ...
    @property
    def weight(self) -> float: ...


class Settings(RunSettings, Protocol):
    """The sections of ``schema.RunConfig``, and what it derives from them."""

    @property
    def method(self) -> str: ...
    @property
    def skills(self) -> Any: ...
    @property
    def teacher(self) -> Any: ...
    @property
    def algo(self) -> Any: ...
    @property
    def engine(self) -> Any: ...
    @property
    def correction(self) -> str: ...
    @property
    def views(self) -> Sequence[TeacherView]: ...
    @property
    def retrievals(self) -> Collection[str]: ...
