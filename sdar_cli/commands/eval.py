"""``sdar eval``: a run, one of its checkpoints, or a model, on a fixed panel."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sdar_cli.commands import completion

if TYPE_CHECKING:
    from sdar_cli.config import RunConfig
    from sdar_cli.display import Reporter
    from sdar_cli.evaluate import Setting
    from sdar_cli.runs import RunDir

EPILOG = """Examples:

sdar eval

sdar eval --run my-run --checkpoint 6 --decoding both --seeds 3

sdar eval --env webshop

sdar eval --model tiny-alfworld --skills without

sdar eval --run my-run --data ~/alfworld --split valid_unseen --json"""
WHAT, HOW, OUTPUT = "What is evaluated", "How", "Output"


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


def _option(name: str, text: str, panel: str, **more: Any) -> Any:
    return typer.Option(name, help=text, rich_help_panel=panel, **more)


Run = Annotated[
    str | None,
    _option("--run", "A run by name or directory; default: the latest one.", WHAT,
            autocompletion=completion.run_names),
]  # fmt: skip
Checkpoint = Annotated[
    int | None, _option("--checkpoint", "Step of a checkpoint; default: the last.", WHAT, min=0, show_default=False)
]
Model = Annotated[
    str | None,
    _option("--model", "A model preset, Hugging Face id or folder, in place of a run.", WHAT,
            autocompletion=completion.preset_names("models")),
]  # fmt: skip
Env = Annotated[
    str | None,
    _option(
        "--env",
        "Environment preset; without --run and --model: the latest run of its benchmark, else the bundled policy.",
        WHAT,
    ),
]
Data = Annotated[Path | None, _option("--data", "Folder of the released games.", WHAT)]
Split = Annotated[str | None, _option("--split", "Split to play; default: the held-out one.", WHAT)]
Games = Annotated[int | None, _option("--games", "N tasks spread over the sorted panel; default: all.", WHAT, min=1)]
Decode = Annotated[Decoding, _option("--decoding", "Decoding.", HOW)]
WithSkills = Annotated[Skills, _option("--skills", "Without or with the skill in the prompt.", HOW)]
Seeds = Annotated[int, _option("--seeds", "Sampling seeds.", HOW, min=1)]
Temperature = Annotated[float | None, _option("--temperature", "Sampling temperature; default: eval.temperature.", HOW)]
Sets = Annotated[
    list[str] | None,
    _option("--set", "Any setting; repeatable.", HOW, metavar="KEY=VALUE", autocompletion=completion.keys),
]
RunsDir = Annotated[Path, _option("--runs-dir", "Where runs lie.", OUTPUT)]
Out = Annotated[Path | None, _option("--out", "Also write the result to this JSON file.", OUTPUT)]
Json = Annotated[bool, _option("--json", "JSON lines on stdout, all else on stderr.", OUTPUT)]


def register(app: typer.Typer) -> None:
    """Add ``eval``."""
    app.command("eval", rich_help_panel="Train and evaluate", epilog=EPILOG)(evaluate)


def evaluate(
    run: Run = None,
    checkpoint: Checkpoint = None,
    model: Model = None,
    env: Env = None,
    data: Data = None,
    split: Split = None,
    games: Games = None,
    decoding: Decode = Decoding.sampled,
    skills: WithSkills = Skills.both,
    seeds: Seeds = 1,
    temperature: Temperature = None,
    sets: Sets = None,
    runs_dir: RunsDir = Path("runs"),
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Success on a fixed panel, per task type, with intervals; each task once per seed.

    The result is printed and written to the run's eval/ folder (with --out: to that file too).
    """
    from sdar_cli.display import Reporter, json_stdout
    from sdar_cli.errors import SdarError
    from sdar_cli.evaluate import settings_for

    flags = {"env.data": (None if data is None else str(data), "--data"), "eval.split": (split, "--split"),
             "eval.games": (games, "--games"), "eval.temperature": (temperature, "--temperature")}  # fmt: skip
    flags = {key: pair for key, pair in flags.items() if pair[0] is not None}
    source, config, path = _source(run, checkpoint, model, env, sets or (), flags, runs_dir)
    decodings = ["sampled", "greedy"] if decoding is Decoding.both else [decoding.value]
    shown = [False, True] if skills is Skills.both else [skills is Skills.shown]
    settings = settings_for(decodings, shown, config.eval.temperature, seeds)
    with Reporter(json_mode=as_json) as reporter, json_stdout(reporter):
        if env and not (run or model):
            which = (
                f"run {source.name}, the latest" if source else f"no run: evaluating the bundled {config.model.name}"
            )
            reporter.info(f"{config.env.name}: {which}")
        reporter.emit("launch", evaluated=str(path or config.model.name), config=config.model_dump(mode="json"))
        try:
            report = _play(config, source, path, settings, reporter)
        except SdarError as error:
            reporter.emit("done", status="failed", error=error.render())
            raise
        if out is not None:
            from sdar_cli.atomic import write_json_atomic

            write_json_atomic(out, report)
        reporter.emit("done", status="done", **report)


def _source(
    run: str | None, checkpoint: int | None, model: str | None, env: str | None, sets: Any, flags: Any, runs_dir: Path
) -> tuple[RunDir | None, RunConfig, Path | None]:
    """The run, its configuration with the overrides, and the checkpoint; or a model's configuration alone."""
    from sdar_cli.errors import ConfigError, PrerequisiteError
    from sdar_cli.presets import resolve
    from sdar_cli.runs import RunDir
    from sdar_cli.train.checkpoint import checkpoint_path, latest_checkpoint, list_checkpoints, step_of

    if model is not None:
        if run is not None or checkpoint is not None:
            raise ConfigError("--model excludes --run and --checkpoint", fix="give a model or a run")
        return None, resolve(env=env, model=model, sets=sets, flags=flags).config, None
    if env and not run:
        benchmark = resolve(env=env).config.env.name
        source = RunDir.latest_of(benchmark, runs_dir)
        if source is None:
            if checkpoint is not None:
                raise ConfigError(f"no run of {benchmark} under {runs_dir}", fix=f"sdar train --env {env}")
            return None, resolve(env=env, sets=sets, flags=flags).config, None
        env = None if env == benchmark else env  # the benchmark's own name chooses the run and changes nothing in it
    else:
        source = RunDir.open(run, runs_dir) if run else RunDir.latest(runs_dir)
    config = resolve(config_file=source.config_path, env=env, sets=sets, flags=flags).config
    path = latest_checkpoint(source.checkpoints)
    if checkpoint is not None:
        path = checkpoint_path(source.checkpoints, checkpoint)
    if path is None and checkpoint is None and config.train.steps == 0:
        return source, config, None  # a run without training is its model
    if path is None or not path.is_dir():
        steps = ", ".join(str(step_of(p)) for p in list_checkpoints(source.checkpoints)) or "none"
        raise PrerequisiteError(
            f"run {source.name} has no such checkpoint", why=f"checkpoints: {steps}", fix="sdar runs list"
        )
    return source, config, path


def _play(
    config: RunConfig, source: RunDir | None, path: Path | None, settings: list[Setting], reporter: Reporter
) -> dict[str, Any]:
    from sdar_cli.session import open_session

    with open_session(config, reporter, checkpoint=path, training=False) as session:
        what = f"{source.name}/{path.name}" if source and path else config.model.name
        name = f"panel-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        report = session.evaluate_panel(source, name, what, settings)
        report["evaluated"] = what
        if source is not None:
            reporter.info(f"saved to {source.eval / name}.json")
        return report
