"""``sdar skills``: what a skill bank holds, and what the teacher reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from rich.text import Text

    from sdar_cli.envs.base import Task
    from sdar_cli.skills.bank import Bank
    from sdar_cli.skills.inspect import Shown

skills_app = typer.Typer(no_args_is_help=True, help="Look into skill banks and teacher prompts.")

EnvName = Literal["alfworld", "webshop", "search"]
Retrieval = Literal["task-type", "keyword", "released", "ucb", "embedding", "random", "full", "none"]
Placement = Literal["user", "system", "prefix"]
Form = Literal["brief", "full"]
Style = Literal["compact", "full"]

BankArgument = Annotated[str | None, typer.Argument(help="Bundled bank or folder; default: the bank of --env.")]
EnvOption = Annotated[EnvName, typer.Option("--env", help="Environment the tasks come from.", rich_help_panel="Task")]
TaskOption = Annotated[
    str | None,
    typer.Option("--task", help="Task id, or a task type for its first task.", rich_help_panel="Task"),
]
SplitOption = Annotated[str, typer.Option("--split", help="Split of the task.", rich_help_panel="Task")]
DataOption = Annotated[
    str | None, typer.Option("--data", help="Folder of the released games; default: generated.", rich_help_panel="Task")
]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", help="Whose tokenizer and template; default: the tiny policy.", rich_help_panel="Prompt"),
]
RetrievalOption = Annotated[
    Retrieval | None,
    typer.Option("--retrieval", help="How skills are chosen; default: as in training.", rich_help_panel="Prompt"),
]
PlacementOption = Annotated[
    Placement | None,
    typer.Option("--placement", help="Where the skill stands; default: as in training.", rich_help_panel="Prompt"),
]
FormOption = Annotated[
    Form | None,
    typer.Option("--form", help="Briefs, or whole texts; default: as in training.", rich_help_panel="Prompt"),
]
PromptOption = Annotated[
    Style | None,
    typer.Option("--prompt", help="Wording of the prompt; default: as in training.", rich_help_panel="Prompt"),
]
LimitOption = Annotated[
    int | None,
    typer.Option(
        "--limit",
        min=1,
        help="Teacher's budget in tokens; default: teacher.max_prompt_tokens.",
        rich_help_panel="Prompt",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


def register(app: typer.Typer) -> None:
    """Add ``skills`` to the main application."""
    app.add_typer(skills_app, name="skills")


@skills_app.callback()
def _group() -> None:
    """Look into skill banks and teacher prompts."""


@skills_app.command("inspect")
def inspect_command(
    bank: BankArgument = None,
    env: EnvOption = "alfworld",
    task: TaskOption = None,
    split: SplitOption = "train",
    data: DataOption = None,
    model: ModelOption = None,
    retrieval: RetrievalOption = None,
    placement: PlacementOption = None,
    form: FormOption = None,
    prompt: PromptOption = None,
    limit: LimitOption = None,
    as_json: JsonOption = False,
) -> None:
    """List a skill bank, or show exactly what teacher and student read for one task.

    Examples:

    sdar skills inspect

    sdar skills inspect my-bank/ --model Qwen/Qwen3-0.6B

    sdar skills inspect --task pick_heat_then_place_in_recep

    sdar skills inspect --task look_at_obj_in_light --retrieval keyword --form full --placement system --json
    """
    from sdar_cli.skills.bank import load_bank

    loaded = load_bank(bank or env)
    if task is None:
        _show_bank(loaded, model, as_json)
        return
    flags = {
        "env.data": (data, "--data"),
        "env.prompt": (prompt, "--prompt"),
        "skills.bank": (bank, "BANK"),
        "skills.retrieval": (retrieval, "--retrieval"),
        "skills.form": (form, "--form"),
        "teacher.placement": (placement, "--placement"),
        "teacher.max_prompt_tokens": (limit, "--limit"),
    }
    _show_task(loaded, task, split, _settings(env, model, flags), as_json)


def _settings(env: str, model: str | None, flags: dict[str, tuple[Any, str]]) -> Shown:
    """What a training run with these flags would use."""
    from sdar_cli.presets import resolve
    from sdar_cli.skills.inspect import Shown

    given = {key: pair for key, pair in flags.items() if pair[0] is not None}
    # No run is started: one worker is enough, and retrieval none contradicts no distillation.
    given |= {"env.workers": (1, "inspect"), "algo.coef": (0.0, "inspect")}
    config = resolve(env=env, model=model, flags=given).config
    return Shown(config.env, config.model, config.skills, config.teacher)


def _show_bank(bank: Bank, model: str | None, as_json: bool) -> None:
    from sdar_cli.skills.inspect import describe_bank

    count = None
    if model:
        from sdar_cli.models.loading import load_tokenizer
        from sdar_cli.skills.teacher import count_tokens

        tokenizer = load_tokenizer(model)

        def count(text: str) -> int:
            return count_tokens(tokenizer, text)

    record = describe_bank(bank, count)
    _print_json(record) if as_json else _print_bank(record)


def _show_task(bank: Bank, wanted: str, split: str, shown: Shown, as_json: bool) -> None:
    from sdar_cli.envs.registry import open_environment
    from sdar_cli.errors import ConfigError
    from sdar_cli.models.loading import load_tokenizer
    from sdar_cli.skills.inspect import describe_task, find_task, first_observation

    if bank.environment != shown.env.name:
        raise ConfigError(
            f"bank {bank.name} is for {bank.environment}, not for {shown.env.name}",
            why="its task types and its advice belong to that environment",
            fix=f"sdar skills inspect {shown.env.name} --task {wanted}",
        )
    tokenizer = load_tokenizer(shown.model.name, shown.model.revision)
    with open_environment(shown.env) as environment:
        task: Task = find_task(environment.tasks(split), wanted)
        environment.preflight([task])
        seen = first_observation(environment, task)
    record = describe_task(bank, task, seen, shown, tokenizer)
    _print_json(record) if as_json else _print_task(record)


def _print_json(record: dict[str, Any]) -> None:
    import json

    typer.echo(json.dumps(record, ensure_ascii=False))


def _print_bank(record: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console()
    title = f"{record['name']} {record['version']} for {record['environment']}, {record['licence']}"
    console.print(Text(f"{title}, {len(record['skills'])} skills", style="bold"))
    console.print(Text(f"sha256 {record['sha256']}", style="dim"), soft_wrap=True)
    for skill in record["skills"]:
        size = f"{skill['words']} words"
        if "tokens" in skill:
            size += f", {skill['tokens']} tokens, brief {skill['brief_tokens']}"
        console.print()
        console.print(Text(skill["id"], style="bold cyan"), Text(f"({size})"), soft_wrap=True)
        for name in ("category", "keywords", "when", "brief"):
            value = ", ".join(skill[name]) if name == "keywords" else skill[name]
            console.print(Text(f"  {name:<9} {value}"), soft_wrap=True)


def _print_task(record: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console()
    task, bank = record["task"], record["bank"]
    lines = [
        f"task       {task['id']} ({task['type']}, split {task['split']})",
        f"goal       {task['goal']}",
        f"bank       {bank['name']} {bank['version']}, sha256 {bank['sha256'][:12]}",
        f"model      {record['model']}",
        f"retrieval  {record['retrieval']}, form {record['form']}, placement {record['placement']}",
        *(f"skill      {skill['id']}: {skill['reason']}" for skill in record["skills"]),
    ]
    console.print(Text("\n".join(lines)), soft_wrap=True)
    for who in ("teacher", "student"):
        prompt = record[who]
        console.rule(Text(f"{who}: {_counts(prompt)}"))
        console.print(_highlighted(prompt), soft_wrap=True)
    console.rule()


def _counts(prompt: dict[str, Any]) -> str:
    """Tokens of a prompt, of its skill, and what was cut."""
    text = f"{prompt['tokens']} of at most {prompt['limit']} tokens"
    if prompt["skill_present"]:
        text += f", skill {prompt['skill_tokens']}"
    return text + (f", CUT {prompt['cut_tokens']} ({', '.join(prompt['cut'])})" if prompt["cut"] else ", nothing cut")


def _highlighted(prompt: dict[str, Any]) -> Text:
    """The exact prompt, the inserted skill marked."""
    from rich.text import Text

    text = Text(prompt["text"])
    if prompt["skill_span"]:
        text.stylize("bold black on bright_yellow", *prompt["skill_span"])
    return text
