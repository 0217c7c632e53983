"""``sdar doctor``: what is here, what is needed, and the command that fixes the difference."""

from __future__ import annotations

import typer

from sdar_cli.commands.options import JsonObject

EPILOG = """Examples:

sdar doctor

sdar doctor --json

sdar doctor && sdar train

Ends with code 3 where something required is missing."""


def register(app: typer.Typer) -> None:
    """Add ``doctor``."""
    app.command("doctor", rich_help_panel="Look and prepare", epilog=EPILOG)(doctor)


def doctor(as_json: JsonObject = False) -> None:
    """Check this machine: packages, hardware, folders, data."""
    from sdar_cli.base.display import Reporter, json_stdout
    from sdar_cli.train.doctor import all_checks

    with Reporter(json_mode=as_json) as reporter, json_stdout(reporter):
        checks = all_checks()
        missing = [check for check in checks if check.state == "missing"]
        if as_json:
            reporter.emit_object({"checks": [check._asdict() for check in checks], "ok": not missing})
        else:
            rows = [(c.state, c.name, c.found, c.needed, c.fix) for c in checks]
            marked = [check.state != "ok" for check in checks]
            reporter.table("sdar doctor", ["", "check", "found", "needed", "fix"], rows, marked=marked)
            names = ", ".join(check.name for check in missing)
            reporter.info(f"required and missing: {names}" if missing else "everything required is here")
    if missing:
        raise typer.Exit(3)
