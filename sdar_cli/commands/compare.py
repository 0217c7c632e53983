"""``sdar compare``: which of several runs, groups, sweep points or checkpoints is better, and whether that is known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sdar_cli.commands import completion
from sdar_cli.commands.options import (
    OUTPUT,
    RUNS_DIR,
    SWEEPS_DIR,
    json_object_option,
    runs_dir_option,
    sweeps_dir_option,
)

EPILOG = """Examples:

sdar compare 'grpo-s*' 'sdar-s*'

sdar compare --arm GRPO=grpo-s0,grpo-s1,grpo-s2 --arm SDAR=sdar-s0,sdar-s1,sdar-s2 --json

sdar compare my-run@6 my-run@12

sdar compare 'beta:*' --against-first

sdar compare 'main-s*' 'branch-s*' --fail-if-worse --margin 3

docs/statistics.md explains which test is used when, and why."""
WHAT, HOW = "What is compared", "How"

References = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[ARM]...",
        help="RUN, RUN@STEP, a pattern, RUN,RUN (one arm), SWEEP:POINT (patterns too), or an evaluation's JSON file.",
        show_default=False,
        autocompletion=completion.run_names,
    ),
]
Named = Annotated[
    list[str] | None,
    typer.Option("--arm", help="An arm with a label; repeatable.", metavar="LABEL=RUN,RUN", rich_help_panel=WHAT),
]
EvaluationName = Annotated[
    str | None,
    typer.Option(
        "--evaluation", help="Compare eval/NAME.json of each run (sdar eval --name); default: the training's last.",
        metavar="NAME", rich_help_panel=WHAT,
    ),
]  # fmt: skip
Early = Annotated[int, typer.Option("--early", help="Steps of early speed.", min=1, rich_help_panel=HOW)]
AgainstFirst = Annotated[
    bool,
    typer.Option("--against-first", help="Compare every arm with the first only: fewer tests.", rich_help_panel=HOW),
]
FailIfWorse = Annotated[
    bool,
    typer.Option(
        "--fail-if-worse", help="Exit 5 if an arm is surely worse than the first by more than --margin.",
        rich_help_panel=OUTPUT,
    ),
]  # fmt: skip
Margin = Annotated[
    float, typer.Option("--margin", help="Points of success, 0 to 100.", min=0, max=100, rich_help_panel=OUTPUT)
]
RunsDir = Annotated[Path, runs_dir_option(OUTPUT)]
SweepsDir = Annotated[Path, sweeps_dir_option(OUTPUT)]
Json = Annotated[bool, json_object_option(OUTPUT)]


def register(app: typer.Typer) -> None:
    """Add ``compare``."""
    app.command("compare", rich_help_panel="Train and evaluate", epilog=EPILOG)(compare_command)


def compare_command(
    references: References = None,
    named: Named = None,
    evaluation: EvaluationName = None,
    early: Early = 6,
    against_first: AgainstFirst = False,
    fail_if_worse: FailIfWorse = False,
    margin: Margin = 0.0,
    runs_dir: RunsDir = RUNS_DIR,
    sweeps_dir: SweepsDir = SWEEPS_DIR,
    as_json: Json = False,
) -> None:
    """Compare arms on one panel: seeds of methods by Welch's test and a two-level bootstrap, checkpoints task by task.

    Arms of one run each are checkpoints and not methods. Runs of different panels are refused.
    """
    from sdar_cli.analysis.compare.arms import Places, resolve_arms
    from sdar_cli.analysis.compare.build import compare, kind_of, worse_arms
    from sdar_cli.analysis.compare.notes import ONE_SEED
    from sdar_cli.analysis.compare.render import show
    from sdar_cli.base.display import Reporter
    from sdar_cli.base.errors import ConfigError, WorseError

    if margin and not fail_if_worse:
        raise ConfigError("--margin has no effect without --fail-if-worse", fix="add --fail-if-worse")
    arms = resolve_arms(references or [], named or [], Places(runs_dir, sweeps_dir))
    if fail_if_worse and kind_of(arms) != "methods":
        single = [arm.label for arm in arms if len(arm.members) < 2]
        why = f"one seed: {', '.join(single)}; {ONE_SEED}" if len(arms) > 1 else "there is one arm"
        raise ConfigError(
            "--fail-if-worse needs two arms or more of two seeds or more",
            why=why,
            fix="train each method with more seeds, then name their runs RUN,RUN or by a pattern",
        )
    comparison = compare(arms, evaluation=evaluation, early=early, against_first=against_first)
    worse = worse_arms(comparison, margin / 100) if fail_if_worse else None
    with Reporter(json_mode=as_json) as reporter:
        if as_json:
            reporter.emit_object({**comparison.to_json(), "worse": worse})
        else:
            show(comparison, reporter)
    if worse:
        raise WorseError("; ".join(worse), why=f"--fail-if-worse with a margin of {margin:g} points")
