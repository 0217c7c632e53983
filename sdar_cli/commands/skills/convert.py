"""``sdar skills import`` and ``sdar skills export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from sdar_cli.commands.examples import ENV, OTHER_ENV
from sdar_cli.commands.skills.common import JsonOption, NameOption, OutOption

SourceArgument = Annotated[
    Path, typer.Argument(metavar="FILE|DIR", help="JSON file, or folder with skill_mapping.json.", show_default=False)
]
BankOption = Annotated[str, typer.Argument(metavar="BANK", help="Bundled bank or folder.", show_default=False)]
TargetOption = Annotated[
    Path, typer.Option("--out", help="File (claude) or folder (mapping); must not exist.", show_default=False)
]
EnvOption = Annotated[
    str | None,
    typer.Option("--env", help="Environment; default: the one with its task types.", show_default=False),
]
LicenceOption = Annotated[str, typer.Option("--licence", help="Licence of the texts: the formats do not say.")]
MapOption = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="OLD=NEW[,NEW]",
        help="Put a task type of the file into types of the environment; repeatable.",
        show_default=False,
    ),
]
FormatOption = Annotated[
    Literal["claude", "mapping"],
    typer.Option("--format", help="SkillRL's JSON, or skill_mapping.json with Markdown files.", show_default=False),
]

IMPORT_EPILOG = f"""Examples:

sdar skills import claude_style_skills.json --out my-bank --map clean=pick_clean_then_place_in_recep

sdar skills import skills/{ENV}/ --out my-bank --licence Apache-2.0

sdar skills import skills/{OTHER_ENV}/skill_mapping.json --env {OTHER_ENV} --out shop-bank --json"""

EXPORT_EPILOG = f"""Examples:

sdar skills export {ENV} --format claude --out skills.json

sdar skills export {OTHER_ENV} --format mapping --out skills/{OTHER_ENV}

sdar skills export my-bank/ --format mapping --out out --json"""


def register(app: typer.Typer) -> None:
    """Add ``import`` and ``export``."""
    app.command("import", epilog=IMPORT_EPILOG)(import_command)
    app.command("export", epilog=EXPORT_EPILOG)(export_command)


def import_command(
    source: SourceArgument,
    out: OutOption,
    env: EnvOption = None,
    name: NameOption = None,
    licence: LicenceOption = "unknown",
    maps: MapOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a bank of skills in a released format: SkillRL's JSON, or skill_mapping.json with Markdown files.

    What could not be kept is reported. Then run sdar skills lint.
    """
    from sdar_cli.base.display import Reporter, json_stdout
    from sdar_cli.skills.convert.convert import read_foreign
    from sdar_cli.skills.convert.parts import Header
    from sdar_cli.skills.write import write_bank

    if env is not None:
        require_env(env)
    header = Header(name or out.resolve().name, "1", env or "", licence, _renames(maps or []))
    draft, warnings = read_foreign(source, header)
    bank = write_bank(draft, out)
    with Reporter(json_mode=as_json) as reporter, json_stdout(reporter):
        for warning in warnings:
            reporter.warn(warning)
        if env is None:
            reporter.info(f"by its task types the bank is for {bank.environment} (--env says another)")
        reporter.info(f"{out}: {len(bank.skills)} skills in {len(bank.categories)} task types, sha256 {bank.sha256}")
        if as_json:
            about = {"bank": str(out), "skills": len(bank.skills), "categories": list(bank.categories)}
            reporter.emit_object({**about, "sha256": bank.sha256, "warnings": warnings})


def export_command(bank: BankOption, form: FormatOption, out: TargetOption, as_json: JsonOption = False) -> None:
    """Write a bank in a released format. What the format cannot hold is reported."""
    from sdar_cli.base.display import Reporter, json_stdout
    from sdar_cli.skills.bank import load_bank
    from sdar_cli.skills.convert.convert import write_foreign

    loaded = load_bank(bank)
    warnings = write_foreign(loaded, form, out)
    with Reporter(json_mode=as_json) as reporter, json_stdout(reporter):
        for warning in warnings:
            reporter.warn(warning)
        reporter.info(f"{out}: {len(loaded.skills)} skills of {loaded.name}")
        if as_json:
            reporter.emit_object({"out": str(out), "skills": len(loaded.skills), "warnings": warnings})


def require_env(name: str) -> None:
    """Raises ConfigError for an environment that there is not, here or in an installed package."""
    from sdar_cli.envs.registry import benchmark

    benchmark(name)


def _renames(maps: list[str]) -> dict[str, tuple[str, ...]]:
    """OLD=NEW,NEW as a mapping.  Raises ConfigError for another form."""
    from sdar_cli.base.errors import ConfigError

    found = {}
    for text in maps:
        old, equals, new = text.partition("=")
        names = tuple(name.strip() for name in new.split(",") if name.strip())
        if not equals or not old.strip() or not names:
            raise ConfigError(f"--map {text}", why="it should be OLD=NEW or OLD=NEW,NEW", fix="--map clean=pick_clean")
        found[old.strip()] = names
    return found
