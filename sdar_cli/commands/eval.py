"""``sdar eval``: a run, one of its checkpoints, or a model, on the fixed panels of one benchmark or several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sdar_cli.base.errors import SdarError
from sdar_cli.commands import completion
from sdar_cli.commands.examples import ENV, OTHER_ENV, OTHER_POLICY
from sdar_cli.commands.option_groups import expand_groups
from sdar_cli.commands.options import OUTPUT, RUNS_DIR, Json, given_flags, option, runs_dir_option

if TYPE_CHECKING:
    from sdar_cli.base.display import Reporter
    from sdar_cli.evaluation.targets import Target
    from sdar_cli.runs.results import EvaluationReport

EPILOG = f"""Examples:

sdar eval

sdar eval --run my-run --checkpoint 6 --decoding both --seeds 3

sdar eval --env all

sdar eval --env {OTHER_ENV} --model {OTHER_POLICY} --skills without

sdar eval --run my-run --games 250 --name wide   # then: sdar compare my-run other-run --evaluation wide

sdar eval --run my-run --env {ENV}-real --data ~/{ENV} --split valid_unseen --json"""
WHAT, HOW = "What is evaluated", "How"


class Decoding(StrEnum):
    """How actions are decoded."""

    sampled = "sampled"
    greedy = "greedy"
    both = "both"


class Skills(StrEnum):
    """Whether the prompt shows the skill."""

    without = "without"
    shown = "with"
    both = "both"


Run = Annotated[
    str | None,
    option("--run", "A run by name or directory; default: the latest one.", WHAT,
           autocompletion=completion.run_names),
]  # fmt: skip
Checkpoint = Annotated[
    int | None, option("--checkpoint", "Step of a checkpoint; default: the last.", WHAT, min=0, show_default=False)
]
Model = Annotated[
    str | None,
    option("--model", "A model preset, Hugging Face id or folder, in place of a run.", WHAT,
           autocompletion=completion.preset_names("models")),
]  # fmt: skip
Envs = Annotated[
    list[str] | None,
    option("--env", "Environment preset; repeatable, or all. Alone: its latest run, else its bundled policy.", WHAT,
           autocompletion=completion.preset_names("envs")),
]  # fmt: skip
Data = Annotated[Path | None, option("--data", "Folder of the benchmark's own data.", WHAT)]
Split = Annotated[str | None, option("--split", "Split to play; default: the held-out one.", WHAT)]
Games = Annotated[int | None, option("--games", "N tasks spread over the sorted panel; default: all.", WHAT, min=1)]
Decode = Annotated[Decoding, option("--decoding", "Decoding.", HOW)]
WithSkills = Annotated[Skills, option("--skills", "Without or with the skill in the prompt.", HOW)]
Seeds = Annotated[int, option("--seeds", "Sampling seeds.", HOW, min=1)]
Temperature = Annotated[float | None, option("--temperature", "Sampling temperature; default: eval.temperature.", HOW)]
Sets = Annotated[
    list[str] | None,
    option("--set", "Any setting; repeatable.", HOW, metavar="KEY=VALUE", autocompletion=completion.keys),
]
RunsDir = Annotated[Path, runs_dir_option(OUTPUT)]
Name = Annotated[
    str | None, option("--name", "Name of the evaluation; default: made of what is evaluated and how.", OUTPUT)
]
Out = Annotated[
    Path | None, option("--out", "Folder of the result; default: the run's eval/, of a model evals/NAME/.", OUTPUT)
]


@dataclass(frozen=True)
class What:
    """What is evaluated, and on which panel."""

    run: Run = None
    checkpoint: Checkpoint = None
    model: Model = None
    envs: Envs = None
    data: Data = None
    split: Split = None
    games: Games = None


@dataclass(frozen=True)
class How:
    """How it plays."""

    decoding: Decode = Decoding.sampled
    skills: WithSkills = Skills.both
    seeds: Seeds = 1
    temperature: Temperature = None
    sets: Sets = None


def register(app: typer.Typer) -> None:
    """Add ``eval``."""
    app.command("eval", rich_help_panel="Train and evaluate", epilog=EPILOG)(evaluate)


@expand_groups
def evaluate(
    what: What,
    how: How,
    runs_dir: RunsDir = RUNS_DIR,
    name: Name = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Success on fixed panels, per task type, with intervals, without and with skills; each task once per seed.

    The latest run, a run's checkpoint, or a model; one benchmark or several in one table. Results and episodes are
    saved. An evaluation that was interrupted resumes when the same command is given again.
    """
    from sdar_cli.base.display import Reporter, json_stdout
    from sdar_cli.base.errors import ConfigError
    from sdar_cli.config.schema import RUN_NAME
    from sdar_cli.evaluation.setting import settings_for
    from sdar_cli.evaluation.targets import Asked, Saving, choose_targets, play

    if name is not None and (not RUN_NAME.fullmatch(name) or name.startswith("step-")):
        raise ConfigError(
            f"--name {name!r} is no name for an evaluation",
            why="letters, digits, '.', '_' and '-'; step-… are the evaluations of the training itself",
        )
    flags = given_flags(data=what.data, split=what.split, games=what.games, temperature=how.temperature)
    asked = Asked(
        what.run, what.checkpoint, what.model, tuple(what.envs or ()), tuple(how.sets or ()), flags, runs_dir
    )  # fmt: skip
    targets = choose_targets(asked)
    decodings = ["sampled", "greedy"] if how.decoding is Decoding.both else [how.decoding.value]
    shown = [False, True] if how.skills is Skills.both else [how.skills is Skills.shown]
    with Reporter(json_mode=as_json) as reporter, json_stdout(reporter):
        _launch(targets, reporter)
        try:
            saving = Saving(out, name, len(targets) > 1)
            played = [
                play(
                    target, settings_for(decodings, shown, target.config.eval.temperature, how.seeds), saving, reporter
                )
                for target in targets
            ]
            _show_together([report for report, _ in played], reporter)
        except SdarError as error:
            reporter.emit("done", status="failed", error=error.render())
            raise
        except KeyboardInterrupt:
            reporter.emit("done", status="interrupted")
            reporter.info("interrupted; the same command resumes it")
            raise
        found = [{**report.to_json(), "path": str(path)} for report, path in played]
        reporter.emit("done", status="done", evaluations=found)


def _launch(targets: Sequence[Target], reporter: Reporter) -> None:
    """Report what will be evaluated, and why where the command line did not name it."""
    for target in targets:
        reporter.info(f"evaluating {target.title}{f' ({target.why})' if target.why else ''}")
    described = [
        {"benchmark": t.benchmark, "evaluated": t.title, "why": t.why, "config": t.config.model_dump(mode="json")}
        for t in targets
    ]
    reporter.emit("launch", evaluations=described)


def _show_together(reports: Sequence[EvaluationReport], reporter: Reporter) -> None:
    """Several benchmarks in one table, and how much of the skills each has internalised."""
    from sdar_cli.evaluation.render import benchmark_table, internalisation_line

    if len(reports) < 2:
        return
    reporter.table("all benchmarks", *benchmark_table(reports))
    for report in reports:
        for found in report.internalisation or ():
            reporter.info(f"{report.benchmark}: {internalisation_line(found)}")
