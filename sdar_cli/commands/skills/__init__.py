"""``sdar skills``: look into skill banks, check, convert and make them.  One file per command."""

from __future__ import annotations

import typer

from sdar_cli.commands.skills import build, convert, diff, inspect, lint

skills_app = typer.Typer(no_args_is_help=True, help="Look into skill banks, check, convert and make them.")


def register(app: typer.Typer) -> None:
    """Add ``skills`` to the main application."""
    app.add_typer(skills_app, name="skills", rich_help_panel="Look and prepare")


@skills_app.callback()
def _group() -> None:
    """Look into skill banks, check, convert and make them."""


for _part in (inspect, lint, diff, build, convert):
    _part.register(skills_app)
