"""``sdar train``: resolve the settings, then show what would happen (``--dry-run``) or do it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sdar_cli.commands import completion
from sdar_cli.commands.examples import ENV
from sdar_cli.commands.option_groups import expand_groups
from sdar_cli.commands.options import OUTPUT, RUN, RUNS_DIR, Json, Settings, option, runs_dir_option

if TYPE_CHECKING:
    from sdar_cli.runs.rundir import RunDir

EPILOG = f"""Examples:

sdar train

sdar train --method grpo --seed 1 --name grpo-s1

sdar train --method skill-sd --objective reverse-kl

sdar train --gate none --objective signed --coef 0.05 --set train.lr=3e-4

sdar train --model Qwen/Qwen2.5-1.5B-Instruct --data ~/{ENV} --dry-run

sdar train --resume grpo-s1 --steps 24

Precedence: defaults < env < model < method < --preset files < --set < flags.

A run's log always has the traceback of an error; --debug shows it."""

Name = Annotated[str | None, option("--name", "Name of the run.", RUN, show_default="made from the settings")]
RunsDir = Annotated[Path, runs_dir_option(RUN)]
Resume = Annotated[
    str | None,
    option("--resume", "Continue a run, by name or directory; only --steps may differ, upward.", RUN,
           metavar="RUN", autocompletion=completion.run_names),
]  # fmt: skip
DryRun = Annotated[bool, option("--dry-run", "Show every value, its source, and what is missing.", OUTPUT)]


def register(app: typer.Typer) -> None:
    """Add ``train``."""
    app.command("train", rich_help_panel="Train and evaluate", epilog=EPILOG)(train)


@expand_groups
def train(
    settings: Settings,
    name: Name = None,
    runs_dir: RunsDir = RUNS_DIR,
    resume: Resume = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Train a policy with GRPO and a distillation term whose tokens are weighted by a gate, or by any other method.

    Without flags: a bundled tiny policy on generated tasks of the default environment, on a CPU, in minutes.
    """
    from sdar_cli.base import distributed
    from sdar_cli.base.display import Reporter, json_stdout
    from sdar_cli.train.launch import continue_run, start_run

    _check_flags(resume, name)
    run = _run_to_resume(resume, runs_dir)
    resolved = settings.resolve(run.config_path if run else None, name=name)
    if dry_run:
        from sdar_cli.train.preview import show

        with Reporter(json_mode=as_json) as reporter, json_stdout(reporter):
            raise typer.Exit(show(resolved, reporter, runs_dir, run))
    with (
        distributed.process_group(resolved.config.model.device),
        Reporter(json_mode=as_json, silent=not distributed.is_main()) as reporter,
        json_stdout(reporter),
    ):
        argv = sys.argv[1:]
        if run is None:
            start_run(resolved, runs_dir, argv, reporter)
        else:
            continue_run(run, resolved, argv, reporter)


def _check_flags(resume: str | None, name: str | None) -> None:
    from sdar_cli.base.errors import ConfigError

    if resume is not None and name is not None:
        raise ConfigError("--resume and --name exclude each other", why="a run keeps its name", fix="drop --name")


def _run_to_resume(reference: str | None, runs_dir: Path) -> RunDir | None:
    from sdar_cli.runs.rundir import RunDir

    return None if reference is None else RunDir.open(reference, runs_dir)
