"""``sdar skills inspect``: a bank, the prompts of a task, the coverage of a panel, the use of skills in a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sdar_cli.commands import completion
from sdar_cli.commands.examples import ENV, OTHER_ENV
from sdar_cli.commands.option_groups import expand_groups
from sdar_cli.commands.options import RUNS_DIR, given_flags, option, runs_dir_option
from sdar_cli.commands.skills.common import BankArgument, DataOption, EnvOption, JsonOption, ModelOption
from sdar_cli.config.choices import FORMS, PLACEMENTS, WORDINGS
from sdar_cli.config.plugs import RETRIEVAL, names_text

if TYPE_CHECKING:
    from sdar_cli.base.display import Reporter
    from sdar_cli.commands.options import Flags
    from sdar_cli.config.schema import RunConfig
    from sdar_cli.runs.rundir import RunDir
    from sdar_cli.skills.choose.retriever import Retriever
    from sdar_cli.skills.inspect import PanelCoverage, TaskPrompts

WHAT, PROMPT = "What is shown", "Prompt"

Task = Annotated[str | None, option("--task", "Task id, or a task type for its first task: both prompts.", WHAT)]
Panel = Annotated[bool, option("--panel", "Coverage: which skill the tasks of each type are given.", WHAT)]
Run = Annotated[
    str | None,
    option("--run", "Use of skills in a run; with --task or --panel: with what it has learnt.", WHAT,
           autocompletion=completion.run_names),
]  # fmt: skip
RunsDir = Annotated[Path, runs_dir_option(WHAT)]
Split = Annotated[
    str | None,
    option("--split", "Split of the tasks; default: that of training, with --panel the held-out one.", WHAT),
]
Tasks = Annotated[
    int, option("--tasks", "With --panel: N tasks spread over it; default: all.", WHAT, show_default=False, min=0)
]
Chosen = Annotated[
    str | None,
    option("--retrieval", f"How skills are chosen: {names_text(RETRIEVAL)}; default: as in training.", PROMPT,
           autocompletion=completion.plugs(RETRIEVAL)),
]  # fmt: skip
Place = Annotated[PLACEMENTS | None, option("--placement", "Where the skill stands; default: as in training.", PROMPT)]
Shape = Annotated[FORMS | None, option("--form", "Briefs, or whole texts; default: as in training.", PROMPT)]
Wording = Annotated[WORDINGS | None, option("--prompt", "Wording of the prompt; default: as in training.", PROMPT)]
Limit = Annotated[
    int | None,
    option("--limit", "Teacher's budget in tokens; default: teacher.max_prompt_tokens.", PROMPT, min=1),
]


@dataclass(frozen=True)
class What:
    """What is shown."""

    bank: BankArgument = None
    env: EnvOption = None
    task: Task = None
    panel: Panel = False
    run: Run = None
    runs_dir: RunsDir = RUNS_DIR
    split: Split = None
    tasks: Tasks = 0
    data: DataOption = None
    model: ModelOption = None


@dataclass(frozen=True)
class PromptOptions:
    """How skills are chosen and shown, where not as in training."""

    retrieval: Chosen = None
    placement: Place = None
    form: Shape = None
    prompt: Wording = None
    limit: Limit = None


EPILOG = f"""Examples:

sdar skills inspect

sdar skills inspect my-bank/ --model Qwen/Qwen3-0.6B

sdar skills inspect {OTHER_ENV} --task footwear

sdar skills inspect --task look_at_obj_in_light --retrieval keyword --form full --placement system --json

sdar skills inspect --env {ENV} --panel --retrieval keyword

sdar skills inspect --run my-run"""


def register(app: typer.Typer) -> None:
    """Add ``inspect``."""
    app.command("inspect", epilog=EPILOG)(inspect_command)


@expand_groups
def inspect_command(
    what: What,
    prompt: PromptOptions,
    as_json: JsonOption = False,
) -> None:
    """List a bank; or show what teacher and student read for a task, a panel's coverage, or a run's use of skills."""
    from sdar_cli.base.display import Reporter, json_stdout

    flags = given_flags(
        data=what.data, prompt=prompt.prompt, retrieval=prompt.retrieval, form=prompt.form, placement=prompt.placement,
        limit=prompt.limit,
    )  # fmt: skip
    if what.bank is not None:
        flags["skills.bank"] = (what.bank, "BANK")
    with Reporter(json_mode=as_json) as reporter, json_stdout(reporter):
        record = _record(reporter, what, flags)
        if as_json:
            reporter.emit_object(record)


def _record(reporter: Reporter, what: What, flags: Flags) -> Mapping[str, object]:
    """The record of what is wanted, shown unless JSON is wanted."""
    from sdar_cli.commands.skills import show
    from sdar_cli.commands.skills.common import settings
    from sdar_cli.runs.rundir import RunDir
    from sdar_cli.skills.bank import load_bank
    from sdar_cli.skills.inspect import describe_bank
    from sdar_cli.skills.usage import describe_run

    directory = RunDir.open(what.run, what.runs_dir) if what.run else None
    quiet = reporter.json_mode
    if directory is not None and not (what.task or what.panel):
        usage = describe_run(directory)
        return usage if quiet else show.run(reporter, usage)
    if not (what.task or what.panel):
        bank = load_bank(what.bank) if what.bank else settings(None, what.env, None, flags)[0]
        described = describe_bank(bank, _counter(what.model) if what.model else None)
        return described if quiet else show.bank(reporter, described)
    bank, config = settings(what.bank, what.env, what.model, flags, directory.config_path if directory else None)
    retriever = _retriever(bank, config, directory)
    if what.panel:
        coverage = _coverage(retriever, config, what.split, what.tasks, reporter)
        return coverage if quiet else show.coverage(reporter, coverage)
    assert what.task is not None
    prompts = _prompts(retriever, config, what.task, what.split)
    return prompts if quiet else show.prompts(reporter, prompts)


def _counter(model: str) -> Any:
    from sdar_cli.config.schema import ModelConfig
    from sdar_cli.models.loading import load_tokenizer
    from sdar_cli.rollout.prompt import count_tokens

    tokenizer = load_tokenizer(ModelConfig(name=model))
    return lambda text: count_tokens(tokenizer, text)


def _retriever(bank: Any, config: RunConfig, run: RunDir | None) -> Retriever:
    """A new one, or one that knows what the run has learnt by its last checkpoint."""
    from sdar_cli.runs.checkpoints import latest_checkpoint
    from sdar_cli.session import load_skills
    from sdar_cli.skills.choose.retriever import Retriever

    retriever = Retriever(bank, config.skills, config.seed)
    checkpoint: Path | None = latest_checkpoint(run.checkpoints) if run else None
    if checkpoint is not None:
        load_skills(retriever, checkpoint)
    return retriever


def _coverage(
    retriever: Retriever, config: RunConfig, split: str | None, tasks: int, reporter: Reporter
) -> PanelCoverage:
    from sdar_cli.commands.skills.common import goals_of
    from sdar_cli.session import eval_split
    from sdar_cli.skills.inspect import describe_coverage

    goals = goals_of(config.env, split or eval_split(config), tasks, reporter)
    record = describe_coverage(retriever, goals, config.skills.retrieval)
    return {"bank": retriever.bank.name, "sha256": retriever.bank.sha256, "tasks": len(goals), **record}


def _prompts(retriever: Retriever, config: RunConfig, wanted: str, split: str | None) -> TaskPrompts:
    from sdar_cli.envs.registry import open_environment
    from sdar_cli.models.loading import load_tokenizer
    from sdar_cli.skills.inspect import Shown, describe_task, find_task, first_observation

    tokenizer = load_tokenizer(config.model)
    with open_environment(config.env) as environment:
        chosen = find_task(environment.tasks(split or config.env.train_split), wanted)
        environment.preflight([chosen])
        seen = first_observation(environment, chosen)
    shown = Shown(config.env, config.model, config.skills, config.teacher)
    return describe_task(retriever, chosen, seen, shown, tokenizer)
