"""Examples in the help of the commands: names of environments and models, and examples made when the help is shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from typer.core import TyperCommand

from sdar_cli.envs.registry import built_in
from sdar_cli.tiny.build import POLICIES

ENV, OTHER_ENV = built_in()[:2]
"""Two environments: the default one, and another."""
POLICY, OTHER_POLICY = list(POLICIES)[:2]
"""Their bundled policies."""


def with_examples(examples: Callable[[], Sequence[str]]) -> type[TyperCommand]:
    """A command whose help ends with these lines.

    The function is called when the help is shown: reading the records of the environments takes time.
    """

    class Command(TyperCommand):
        def format_help(self, ctx: Any, formatter: Any) -> None:
            self.epilog = "\n\n".join(["Examples:", *examples()])
            super().format_help(ctx, formatter)

    return Command
