"""What the commands of ``sdar skills`` share: options, and tasks with their goal texts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sdar_cli.commands import completion
from sdar_cli.commands.options import option

if TYPE_CHECKING:
    from sdar_cli.base.display import Reporter
    from sdar_cli.commands.options import Flags
    from sdar_cli.config.schema import RunConfig
    from sdar_cli.envs.options import EnvOptions
    from sdar_cli.skills.bank import Bank
    from sdar_cli.skills.lint import Goal

BankArgument = Annotated[
    str | None, typer.Argument(help="Bundled bank or folder; default: the bank of --env.", show_default=False)
]
JsonOption = Annotated[bool, option("--json", "One JSON object on stdout, all else on stderr.")]
EnvOption = Annotated[
    str | None,
    option(
        "--env",
        "Environment preset the tasks come from; default: the bank's environment.",
        autocompletion=completion.preset_names("envs"),
        show_default=False,
    ),
]
ModelOption = Annotated[
    str | None,
    option(
        "--model",
        "Whose tokenizer, template and budgets; default: the environment's tiny policy.",
        autocompletion=completion.preset_names("models"),
        show_default=False,
    ),
]
DataOption = Annotated[
    str | None, option("--data", "Folder of the original's data; default: generated.", show_default=False)
]
OutOption = Annotated[Path, option("--out", "Folder of the new bank; must not exist.", show_default=False)]
NameOption = Annotated[str | None, option("--name", "Name; default: that of --out.", show_default=False)]


def print_json(record: Mapping[str, object]) -> None:
    """One object on standard output."""
    from sdar_cli.base.files import finite

    typer.echo(json.dumps(finite(record), ensure_ascii=False, allow_nan=False))


def settings(
    bank: str | None,
    env: str | None,
    model: str | None,
    flags: Flags,
    config_file: Path | None = None,
) -> tuple[Bank, RunConfig]:
    """The bank, and what a training run with it and these flags would use, or the run of ``config_file``.

    Raises ConfigError for a bank of another environment.
    """
    from sdar_cli.base.errors import ConfigError
    from sdar_cli.config.presets import resolve
    from sdar_cli.skills.bank import load_bank

    # No run is started: one worker is enough, and retrieval none contradicts no distillation.
    given = {**flags, "env.workers": (1, "skills"), "algo.coef": (0.0, "skills")}
    loaded = load_bank(bank) if bank else None
    preset = env or (loaded.environment if loaded and not config_file else None)
    config = resolve(config_file=config_file, env=preset, model=model, flags=given, training=False).config
    loaded = loaded or load_bank(config.skills.bank)
    if loaded.environment != config.env.name:
        raise ConfigError(
            f"bank {loaded.name} is for {loaded.environment}, not for {config.env.name}",
            why="its task types and its advice belong to that environment",
            fix=f"sdar skills inspect {config.skills.bank}, or --env {loaded.environment}",
        )
    return loaded, config


def goals_of(config: EnvOptions, split: str, limit: int, reporter: Reporter) -> Sequence[Goal]:
    """The tasks of a split (``limit`` spread over the panel; 0 = all) with their goal texts."""
    from sdar_cli.envs.panels import make_panel
    from sdar_cli.envs.registry import open_environment
    from sdar_cli.skills.inspect import first_observation
    from sdar_cli.skills.lint import Goal

    with open_environment(config, reporter) as environment:
        tasks = make_panel(environment.tasks(split), limit).tasks
        environment.preflight(tasks)
        goals = []
        with reporter.progress(f"reading {len(tasks)} goals", len(tasks)) as bar:
            for task in tasks:
                seen = first_observation(environment, task)
                goals.append(Goal(task, seen.goal, seen))
                bar.advance()
    return goals
