"""``sdar models``: the bundled tiny policies and how they are rebuilt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from sdar_cli.commands.examples import OTHER_POLICY, POLICY
from sdar_cli.commands.options import JsonObject

LIST_EPILOG = f"""Examples:

sdar models list

sdar models list --json

sdar train --model {POLICY}"""
BUILD_EPILOG = f"""Examples:

sdar models build {POLICY}

sdar models build {OTHER_POLICY} --out my-policy --seed 1

sdar train --model ./my-policy"""


def register(app: typer.Typer) -> None:
    """Add the ``models`` sub-commands."""
    models = typer.Typer(help="Bundled models: list them, rebuild them from nothing.", no_args_is_help=True)
    models.command("list", epilog=LIST_EPILOG)(list_models)
    models.command("build", epilog=BUILD_EPILOG)(build)
    app.add_typer(models, name="models", rich_help_panel="Look and prepare")


def list_models(
    as_json: JsonObject = False,
) -> None:
    """List the bundled models."""
    from sdar_cli.base.display import Reporter
    from sdar_cli.models.loading import bundled_models, model_location

    rows = []
    for name, text in bundled_models().items():
        folder = Path(model_location(name))
        megabytes = (folder / "model.safetensors").stat().st_size / 1e6
        rows.append({"name": name, "description": text, "megabytes": round(megabytes, 1), "path": str(folder)})
    if as_json:
        print(json.dumps({"models": rows}))
        return
    reporter = Reporter()
    reporter.table(
        "bundled models", ["name", "size", "what it is"],
        [[r["name"], f"{r['megabytes']} MB", r["description"]] for r in rows],
    )  # fmt: skip
    reporter.close()


def build(
    name: Annotated[str, typer.Argument(help="The bundled model to rebuild.")] = POLICY,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the weights; default: a new ./NAME.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of games, demonstrations and weights.")] = 0,
    games: Annotated[
        int | None,
        typer.Option(min=1, help="Games, catalogues or worlds demonstrated; default: the recipe's."),
    ] = None,
    workers: Annotated[
        int, typer.Option(help="Processes of an environment that runs in several; 0 = one per core.")
    ] = 0,
) -> None:
    """Rebuild a bundled model from nothing: games, demonstrations, tokenizer, supervised warm start."""
    from sdar_cli.base.display import Reporter
    from sdar_cli.tiny.build import POLICIES, builder

    if name not in POLICIES:
        raise typer.BadParameter(f"{name!r} is not bundled; one of {', '.join(POLICIES)}", param_hint="NAME")
    reporter = Reporter()
    folder = out or Path(name)
    builder(name)(folder, seed=seed, games=games, workers=workers, reporter=reporter)
    shown = folder if folder.is_absolute() else f"./{folder}"
    reporter.info(f"saved to {folder}; use it with: sdar train --model {shown}")
    reporter.close()
