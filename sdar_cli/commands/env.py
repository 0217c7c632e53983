"""``sdar env``: the environments there are, a package for a new one, and a check that one keeps the contract."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sdar_cli.commands import completion

NEW_EPILOG = """Examples:

sdar env new maze

sdar env new maze --out packages/maze

cd maze && pip install . && sdar env check maze && sdar train --env maze"""
CHECK_EPILOG = """Examples:

sdar env check maze

sdar env check maze.world:BENCHMARK --json

sdar env check maze --set env.max_turns=20"""

Env = Annotated[
    str,
    typer.Argument(
        metavar="ENV",
        help="Environment preset, or package.module:attribute.",
        autocompletion=completion.preset_names("envs"),
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


def register(app: typer.Typer) -> None:
    """Add ``env list``, ``env new`` and ``env check``."""
    env = typer.Typer(help="Environments: list them, begin one of your own, check one.", no_args_is_help=True)
    env.command("list")(list_command)
    env.command("new", epilog=NEW_EPILOG)(new_command)
    env.command("check", epilog=CHECK_EPILOG)(check_command)
    app.add_typer(env, name="env", rich_help_panel="Look and prepare")


def list_command(as_json: Json = False) -> None:
    """List the environments that ship here and those of installed packages.

    Examples:

    sdar env list

    sdar env list --json
    """
    from sdar_cli.base.display import Reporter
    from sdar_cli.envs.registry import ENVIRONMENT, benchmark, built_in

    found = [(name, benchmark(name)) for name in ENVIRONMENT.names()]
    rows = [
        {
            "name": name,
            "title": record.title,
            "description": record.description,
            "default_model": record.default_model,
            "built_in": name in built_in(),
        }
        for name, record in found
    ]
    with Reporter(json_mode=as_json) as reporter:
        if as_json:
            reporter.emit_object({"environments": rows})
        else:
            table = [(row["name"], row["description"], "here" if row["built_in"] else "a package") for row in rows]
            reporter.table("environments", ["name", "what it is", "from"], table)


def new_command(
    name: Annotated[str, typer.Argument(help="Name of the environment: lower-case letters, digits and _.")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the package.", show_default="./NAME")] = None,
) -> None:
    """Write the package of a new environment: a small world that trains at once, to be changed part by part."""
    from sdar_cli.base.display import Reporter
    from sdar_cli.envs.new import write_package

    folder = out or Path(name)
    files = write_package(name, folder)
    with Reporter() as reporter:
        reporter.info(f"{len(files)} files in {folder}: {', '.join(files)}")
        reporter.info(f"next: pip install {folder if folder.is_absolute() else f'./{folder}'} && sdar env check {name}")


def check_command(
    env: Env,
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any setting; repeatable.")
    ] = None,
    data: Annotated[str | None, typer.Option("--data", help="Folder of the environment's own data.")] = None,
    as_json: Json = False,
) -> None:
    """Check that an environment keeps the contract that training and evaluation rest on.

    Ends with exit code 1 where a check is not passed.
    """
    from sdar_cli.base.display import Reporter
    from sdar_cli.base.errors import RunFailedError
    from sdar_cli.config.presets import resolve
    from sdar_cli.evaluation.conformance import CHECKS, check_environment
    from sdar_cli.models.loading import load_tokenizer

    flags = {"env.data": (data, "--data")} if data else {}
    config = resolve(env=env, sets=sets or [], flags=flags, training=False).config
    with Reporter(json_mode=as_json) as reporter:
        tokenizer = load_tokenizer(config.model)
        findings = []
        with reporter.progress(f"checking {config.env.name}", len(CHECKS)) as work:
            for finding in check_environment(config, tokenizer):
                findings.append(finding)
                work.advance()
        if as_json:
            reporter.emit_object({"environment": config.env.name, "checks": [each._asdict() for each in findings]})
        else:
            rows = [(each.check, "passed" if each.passed else "FAILED", each.detail) for each in findings]
            reporter.table(f"environment {config.env.name}", ["check", "", "found"], rows)
    failed = [each for each in findings if not each.passed]
    if failed:
        raise RunFailedError(
            f"{len(failed)} of {len(findings)} checks of {config.env.name} are not passed",
            why="; ".join(f"{each.check}: {each.detail}" for each in failed),
            fix="docs/extending.md lists what an environment must do",
        )
