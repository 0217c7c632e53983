"""Options that several commands have: each is defined here, once, with its help, its panel and its completion.

An option is an annotation, as in ``def show(as_json: JsonObject = False)``.  ``Settings`` holds those a run's
configuration is made of, and resolves them.  ``--debug`` is not here: it may stand anywhere (``sdar_cli.cli``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sdar_cli.algo.registry import GATE, OBJECTIVE
from sdar_cli.commands import completion
from sdar_cli.commands.examples import ENV, POLICY
from sdar_cli.config.plugs import RETRIEVAL, names_text

if TYPE_CHECKING:
    from sdar_cli.config.presets import Resolved

WHAT, METHOD, RUN, OUTPUT = "What is trained", "Method", "Run", "Output"
"""Panels of the help."""
RUNS_DIR, SWEEPS_DIR = Path("runs"), Path("sweeps")
Flags = dict[str, tuple[Any, str]]
"""Dotted key to (value, name of the flag), as ``presets.resolve`` takes them."""


def option(name: str, text: str, panel: str | None = None, *others: str, **more: Any) -> Any:
    """An option with a help text, in a panel; ``others``: more names; ``more``: what ``typer.Option`` takes.

    show_default: a text, where the value comes from a preset.
    """
    return typer.Option(name, *others, help=text, rich_help_panel=panel, **more)


def runs_dir_option(panel: str | None = None) -> Any:
    """``--runs-dir``."""
    return option("--runs-dir", "Where runs lie.", panel)


def sweeps_dir_option(panel: str | None = None) -> Any:
    """``--sweeps-dir``."""
    return option("--sweeps-dir", "Where sweeps lie.", panel)


def json_object_option(panel: str | None = None) -> Any:
    """``--json`` of a command that prints one object."""
    return option("--json", "One JSON object on stdout.", panel)


Env = Annotated[
    str | None,
    option("--env", "Environment preset.", WHAT, show_default=ENV,
           autocompletion=completion.preset_names("envs")),
]  # fmt: skip
Model = Annotated[
    str | None,
    option("--model", "Model preset, Hugging Face id or folder.", WHAT, show_default=POLICY,
           autocompletion=completion.preset_names("models")),
]  # fmt: skip
Data = Annotated[Path | None, option("--data", "Folder of the benchmark's own data; implies env.source=real.", WHAT)]
Lora = Annotated[
    int | None, option("--lora", "Rank of a LoRA adapter.", WHAT, show_default="full fine-tuning", metavar="RANK")
]
Method = Annotated[
    str | None,
    option(
        "--method",
        "Method preset: grpo, sdar, opsd, grpo-opsd, skill-grpo, skill-prompt, skill-sd, rlsd, …",
        METHOD,
        show_default="sdar",
        autocompletion=completion.preset_names("methods"),
    ),
]
Gate = Annotated[
    str | None,
    option(
        "--gate",
        f"Token gate: {names_text(GATE)}.",
        METHOD,
        show_default="gap",
        autocompletion=completion.plugs(GATE),
    ),
]
Beta = Annotated[float | None, option("--beta", "Sharpness of the gate.", METHOD, show_default="5.0")]
Coef = Annotated[
    float | None,
    option("--coef", "Strength of the teacher's signal; 0 = no teacher.", METHOD,
           show_default="the method's and model's"),
]  # fmt: skip
Objective = Annotated[
    str | None,
    option(
        "--objective",
        f"Distillation objective: {names_text(OBJECTIVE)}.",
        METHOD,
        show_default="surrogate",
        autocompletion=completion.plugs(OBJECTIVE),
    ),
]
Retrieval = Annotated[
    str | None,
    option(
        "--retrieval",
        f"How skills are chosen: {names_text(RETRIEVAL)}.",
        METHOD,
        show_default="task-type",
        autocompletion=completion.plugs(RETRIEVAL),
    ),
]
Preset = Annotated[
    list[str] | None,
    option("--preset", "More presets, by name or path; repeatable.", RUN,
           autocompletion=completion.preset_references),
]  # fmt: skip
Config = Annotated[Path | None, option("--config", "A run's config.json, in place of defaults and presets.", RUN)]
Set = Annotated[
    list[str] | None,
    option("--set", "Any setting, for example train.lr=1e-4; repeatable.", RUN, metavar="KEY=VALUE",
           autocompletion=completion.keys),
]  # fmt: skip
Seed = Annotated[int | None, option("--seed", "Seed of tasks and sampling.", RUN, show_default="0")]
Steps = Annotated[int | None, option("--steps", "Rollout-and-update steps.", RUN, show_default="the model preset's")]
RunsDir = Annotated[Path, runs_dir_option()]
Json = Annotated[bool, option("--json", "JSON lines on stdout, all else on stderr.", OUTPUT)]
JsonObject = Annotated[bool, json_object_option()]

KEY_OF_FLAG: Mapping[str, str] = {
    "data": "env.data",
    "prompt": "env.prompt",
    "lora": "model.lora.rank",
    "gate": "algo.gate",
    "beta": "algo.gate_beta",
    "coef": "algo.coef",
    "objective": "algo.objective",
    "retrieval": "skills.retrieval",
    "form": "skills.form",
    "placement": "teacher.placement",
    "limit": "teacher.max_prompt_tokens",
    "seed": "seed",
    "steps": "train.steps",
    "tasks": "train.tasks_per_step",
    "group": "train.group_size",
    "split": "eval.split",
    "games": "eval.games",
    "temperature": "eval.temperature",
    "name": "name",
}
"""The setting that an option stands for."""


def given_flags(**flags: Any) -> Flags:
    """Those of the options that are given, by their settings' keys.  Raises ConfigError for ``--lora 0``."""
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


@dataclass(frozen=True)
class Settings:
    """The options a run's configuration is made of."""

    env: Env = None
    model: Model = None
    data: Data = None
    lora: Lora = None
    method: Method = None
    gate: Gate = None
    beta: Beta = None
    coef: Coef = None
    objective: Objective = None
    retrieval: Retrieval = None
    preset: Preset = None
    config: Config = None
    sets: Set = None
    seed: Seed = None
    steps: Steps = None

    def flags(self, **more: Any) -> Flags:
        """Those that set one key, and ``more`` of a command's own.  Raises ConfigError for ``--lora 0``."""
        return given_flags(
            data=self.data, lora=self.lora, gate=self.gate, beta=self.beta, coef=self.coef, objective=self.objective,
            retrieval=self.retrieval, seed=self.seed, steps=self.steps, **more,
        )  # fmt: skip

    def resolve(self, of_run: Path | None = None, **more: Any) -> Resolved:
        """The configuration; ``of_run``: the file it starts from where no --config is given; ``more``: as of ``flags``.

        Raises ConfigError with every problem.
        """
        from sdar_cli.config.presets import resolve

        return resolve(
            env=self.env, model=self.model, method=self.method, presets=self.preset or (), sets=self.sets or (),
            flags=self.flags(**more), config_file=self.config or of_run,
        )  # fmt: skip
