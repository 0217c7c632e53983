"""``sdar train``: resolve the settings, then show what would happen (``--dry-run``) or do it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from sdar_cli.algo.registry import GATE, OBJECTIVE
from sdar_cli.commands import completion
from sdar_cli.config.plugs import RETRIEVAL, names_text

EPILOG = """Examples:

sdar train

sdar train --method grpo --seed 1 --name grpo-s1

sdar train --method skill-sd --objective reverse-kl

sdar train --gate none --objective signed --coef 0.05 --set train.lr=3e-4

sdar train --model Qwen/Qwen2.5-1.5B-Instruct --data ~/alfworld --dry-run

sdar train --resume grpo-s1 --steps 24

Precedence: defaults < env < model < method < --preset files < --set < flags.

A run's log always has the traceback of an error; --debug shows it."""


def _option(help_text: str, panel: str, default: str | None = None, **more: Any) -> Any:
    """An option; ``default`` is shown where the value comes from a preset."""
    return typer.Option(help=help_text, rich_help_panel=panel, show_default=default or True, **more)


WHAT, METHOD, RUN, OUTPUT = "What is trained", "Method", "Run", "Output"
Env = Annotated[
    str | None,
    _option("Environment preset.", WHAT, "alfworld", autocompletion=completion.preset_names("envs")),
]
Model = Annotated[
    str | None,
    _option(
        "Model preset, Hugging Face id or folder.",
        WHAT,
        "tiny-alfworld",
        autocompletion=completion.preset_names("models"),
    ),
]
Data = Annotated[Path | None, _option("Folder of the benchmark's own data; implies env.source=real.", WHAT)]
Lora = Annotated[int | None, _option("Rank of a LoRA adapter.", WHAT, "full fine-tuning", metavar="RANK")]
Method = Annotated[
    str | None,
    _option(
        "Method preset: grpo, sdar, opsd, grpo-opsd, skill-grpo, skill-prompt, skill-sd, rlsd, …",
        METHOD,
        "sdar",
        autocompletion=completion.preset_names("methods"),
    ),
]
Gate = Annotated[
    str | None,
    _option(
        f"Token gate: {names_text(GATE)}.",
        METHOD,
        "gap",
        autocompletion=completion.plugs(GATE),
    ),
]
Beta = Annotated[float | None, _option("Sharpness of the gate.", METHOD, "5.0")]
Coef = Annotated[
    float | None, _option("Strength of the teacher's signal; 0 = no teacher.", METHOD, "the method's and model's")
]
Objective = Annotated[
    str | None,
    _option(
        f"Distillation objective: {names_text(OBJECTIVE)}.",
        METHOD,
        "surrogate",
        autocompletion=completion.plugs(OBJECTIVE),
    ),
]
Retrieval = Annotated[
    str | None,
    _option(
        f"How skills are chosen: {names_text(RETRIEVAL)}.",
        METHOD,
        "task-type",
        autocompletion=completion.plugs(RETRIEVAL),
    ),
]
Preset = Annotated[
    list[str] | None,
    _option("More presets, by name or path; repeatable.", RUN, autocompletion=completion.preset_references),
]
Config = Annotated[Path | None, _option("A run's config.json, in place of defaults and presets.", RUN)]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Any setting, for example train.lr=1e-4; repeatable.",
        rich_help_panel=RUN,
        autocompletion=completion.keys,
    ),
]
Seed = Annotated[int | None, _option("Seed of tasks and sampling.", RUN, "0")]
Steps = Annotated[int | None, _option("Rollout-and-update steps.", RUN, "the model preset's")]
Name = Annotated[str | None, _option("Name of the run.", RUN, "made from the settings")]
RunsDir = Annotated[Path, _option("Where runs lie.", RUN)]
Resume = Annotated[
    str | None,
    _option("Continue a run, by name or directory; only --steps may differ, upward.", RUN,
            metavar="RUN", autocompletion=completion.run_names),
]  # fmt: skip
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show every value, its source, and what is missing.", rich_help_panel=OUTPUT)
]
Json = Annotated[bool, typer.Option("--json", help="JSON lines on stdout, all else on stderr.", rich_help_panel=OUTPUT)]


def register(app: typer.Typer) -> None:
    """Add ``train``."""
    app.command("train", rich_help_panel="Train and evaluate", epilog=EPILOG)(train)


def train(
    env: Env = None,
    model: Model = None,
    data: Data = None,
    lora: Lora = None,
    method: Method = None,
    gate: Gate = None,
    beta: Beta = None,
    coef: Coef = None,
    objective: Objective = None,
    retrieval: Retrieval = None,
    preset: Preset = None,
    config: Config = None,
    sets: Set = None,
    seed: Seed = None,
    steps: Steps = None,
    name: Name = None,
    runs_dir: RunsDir = Path("runs"),
    resume: Resume = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Train a policy with GRPO and a distillation term whose tokens are weighted by a gate, or any method beside it.

    Without flags: the bundled tiny policy on generated ALFWorld games, on a CPU, in minutes.
    """
    from sdar_cli.base import distributed
    from sdar_cli.base.display import Reporter, json_stdout
    from sdar_cli.config.presets import resolve
    from sdar_cli.train.launch import continue_run, start_run

    _check_flags(resume, name)
    flags = given_flags(
        data=data, lora=lora, gate=gate, beta=beta, coef=coef, objective=objective, retrieval=retrieval, seed=seed,
        steps=steps, name=name,
    )  # fmt: skip
    run = _run_to_resume(resume, runs_dir)
    base = config or (run.config_path if run else None)
    resolved = resolve(
        env=env, model=model, method=method, presets=preset or (), sets=sets or (), flags=flags, config_file=base
    )
    if dry_run:
        from sdar_cli.commands.dry_run import show

        with Reporter(json_mode=as_json) as reporter, json_stdout(reporter):
            raise typer.Exit(show(resolved, reporter, runs_dir, run))
    with (
        distributed.joined(resolved.config.model.device),
        Reporter(json_mode=as_json, silent=not distributed.is_main()) as reporter,
        json_stdout(reporter),
    ):
        argv = sys.argv[1:]
        if run is None:
            start_run(resolved, runs_dir, argv, reporter)
        else:
            continue_run(run, resolved, argv, reporter)


KEY_OF_FLAG = {
    "data": "env.data",
    "lora": "model.lora.rank",
    "gate": "algo.gate",
    "beta": "algo.gate_beta",
    "coef": "algo.coef",
    "objective": "algo.objective",
    "retrieval": "skills.retrieval",
    "seed": "seed",
    "steps": "train.steps",
    "name": "name",
}


def given_flags(**flags: Any) -> dict[str, tuple[Any, str]]:
    """Those of the flags that are given, as ``presets.resolve`` takes them.  Raises ConfigError for ``--lora 0``."""
    from sdar_cli.base.errors import ConfigError

    if flags.get("lora") == 0:
        raise ConfigError(
            "--lora 0 is not a rank",
            why="an adapter of rank 0 has no weights",
            fix="leave the flag out for full fine-tuning",
        )
    return {
        KEY_OF_FLAG[name]: (str(value) if isinstance(value, Path) else value, f"--{name}")
        for name, value in flags.items()
        if value is not None
    }


def _check_flags(resume: str | None, name: str | None) -> None:
    from sdar_cli.base.errors import ConfigError

    if resume is not None and name is not None:
        raise ConfigError("--resume and --name exclude each other", why="a run keeps its name", fix="drop --name")


def _run_to_resume(reference: str | None, runs_dir: Path) -> Any:
    from sdar_cli.runs.rundir import RunDir

    return None if reference is None else RunDir.open(reference, runs_dir)
