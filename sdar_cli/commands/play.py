"""``sdar play``: take the agent's place in an environment, or replay a script of actions."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TextIO

import typer

from sdar_cli.commands import completion
from sdar_cli.commands.examples import with_examples

if TYPE_CHECKING:
    from sdar_cli.envs.base import Environment, Step, Task
    from sdar_cli.envs.benchmark import Message
    from sdar_cli.envs.options import EnvOptions

EnvArgument = Annotated[
    str,
    typer.Argument(
        metavar="ENV", help="Environment preset, or an import path.", autocompletion=completion.preset_names("envs")
    ),
]
TaskOption = Annotated[
    str | None,
    typer.Option(
        "--task",
        help="Task id, or a task type for its first task; default: the first task.  --list shows the ids.",
        rich_help_panel="Task",
    ),
]
SplitOption = Annotated[
    str | None,
    typer.Option("--split", help="Split of the task; default: the task id's, else the first.", rich_help_panel="Task"),
]
DataOption = Annotated[
    str | None,
    typer.Option("--data", help="Folder of the original's data; default: generated data.", rich_help_panel="Task"),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A setting of env; repeatable.", rich_help_panel="Task"),
]
ListOption = Annotated[
    bool, typer.Option("--list", help="Print the task ids of the split and stop.", rich_help_panel="Task")
]
ActionsOption = Annotated[
    str | None,
    typer.Option(
        "--actions",
        metavar="FILE",
        help="File of actions, one per line, or - for standard input; default: type them.",
        rich_help_panel="Play",
    ),
]
PromptOption = Annotated[
    bool, typer.Option("--prompt", help="Also show the prompt a model would get.", rich_help_panel="Play")
]
StyleOption = Annotated[
    Literal["full", "compact"], typer.Option("--style", help="Wording of the prompt.", rich_help_panel="Play")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON line per step on stdout.", rich_help_panel="Play")]


def register(app: typer.Typer) -> None:
    """Add ``play`` to the main application."""
    app.command("play", cls=with_examples(_examples), rich_help_panel="Look and prepare")(play_command)


def _examples() -> list[str]:
    """Of every environment, as its record gives them."""
    from sdar_cli.envs.registry import ENVIRONMENT, benchmark

    return [f"sdar play {name} {each}" for name in ENVIRONMENT.names() for each in benchmark(name).play.examples]


def play_command(
    env: EnvArgument,
    task: TaskOption = None,
    split: SplitOption = None,
    data: DataOption = None,
    sets: SetOption = None,
    actions: ActionsOption = None,
    prompt: PromptOption = False,
    style: StyleOption = "full",
    show_list: ListOption = False,
    as_json: JsonOption = False,
) -> None:
    """Play one episode by hand, or replay a file of actions and see what the environment answers.

    Step 0 is the reset.  The observation is the environment's own text; an action that is not admissible changes
    nothing.
    """
    from sdar_cli.base.display import Reporter
    from sdar_cli.config.presets import env_settings
    from sdar_cli.envs.registry import benchmark, open_environment
    from sdar_cli.skills.inspect import find_task

    config = env_settings(env, data, sets or [], workers=1)
    rules = benchmark(config.name).play
    script = _lines(actions, rules.verbatim)
    is_id = task is not None and "/" in task  # a task type holds no slash
    with Reporter(json_mode=True) as reporter, open_environment(config, reporter) as environment:
        if task and is_id and hasattr(environment, "task") and not show_list:  # ids need no split, and tasks are many
            chosen = environment.task(task)
        else:
            named = task.partition("/")[0] if task and is_id and rules.split_in_id else rules.split
            tasks = environment.tasks(split or named)
            if show_list:
                typer.echo(json.dumps([t.id for t in tasks]) if as_json else "\n".join(t.id for t in tasks))
                return
            chosen = find_task(tasks, task) if task else tasks[0]
        environment.preflight([chosen])
        show = _print_json if as_json else _print_text
        shown = style if prompt else None
        _play(environment, config, chosen, script, shown, show, typed=actions is None, as_json=as_json)


@dataclass(frozen=True)
class Record:
    """What is shown of a step.  number: of actions so far; action: the last one; prompt: with ``--prompt``."""

    number: int
    action: str | None
    step: Step
    prompt: list[Message] | None = None

    @property
    def done(self) -> bool:
        return self.step.done

    def to_json(self) -> Mapping[str, object]:
        """Flat, with what else the environment says of the step."""
        seen = self.step.observation
        return {
            "step": self.number,
            "action": self.action,
            "observation": seen.text,
            "admissible": list(seen.admissible),
            "reward": self.step.reward,
            "done": self.step.done,
            "won": self.step.won,
            **self.step.info,
            **({} if self.prompt is None else {"prompt": self.prompt}),
        }


def _play(
    environment: Environment,
    config: EnvOptions,
    task: Task,
    script: Iterator[str],
    style: str | None,
    show: Callable[[Record], None],
    typed: bool,
    as_json: bool,
) -> None:
    from sdar_cli.envs.registry import benchmark

    record: Record | None = None
    end: Record | None = None
    past_end = benchmark(config.name).play.past_end and not typed
    for record in episode(environment, config, task, script, style, past_end):
        show(record)
        end = record if record.done and not end else end
        if typed and not record.done:
            typer.echo("> ", nl=False, err=as_json)
    assert record is not None  # an episode has a first observation
    _report_end(end or record, [] if typed else list(script))


def episode(
    environment: Environment,
    config: EnvOptions,
    task: Task,
    actions: Iterator[str],
    style: str | None,
    past_end: bool = False,
) -> Iterator[Record]:
    """One record per step until the episode or the actions end.

    past_end: continue after the end while there are actions, in an environment that takes them.
    Raises RunFailedError when the environment broke.
    """
    from sdar_cli.base.errors import RunFailedError
    from sdar_cli.envs.base import TurnView
    from sdar_cli.envs.registry import prompts_of

    past: list[tuple[str, str]] = []
    action: str | None = None
    step = environment.reset({0: task})[0]
    while True:
        if step.failure:
            raise RunFailedError(f"the environment broke at step {len(past)} of {task.id}", why=step.failure)
        seen = step.observation
        messages = None
        if style:
            shown = tuple(past[-config.history :]) if config.history else ()
            view = TurnView(seen.goal, seen.text, seen.admissible, shown, len(past), config.name)
            messages = prompts_of(config.name).messages(view, style)
        yield Record(len(past), action, step, messages)
        action = None if step.done and not past_end else next(actions, None)
        if action is None:
            return
        past.append((seen.text, action))
        step = environment.step({0: action})[0]


def _lines(actions: str | None, verbatim: bool) -> Iterator[str]:
    """Actions from a file or standard input, blank lines left out.

    verbatim: a script's actions keep the blanks around them, which some environments do not ignore.
    Raises ConfigError when there is no such file.
    """
    from sdar_cli.base.errors import ConfigError

    if actions is None or actions == "-":
        return _actions(sys.stdin, verbatim and actions is not None)
    try:
        return _actions(io.StringIO(Path(actions).read_text(encoding="utf-8-sig"), newline="\n"), verbatim)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"--actions {actions} cannot be read", why=str(error), fix="give a text file with one action per line"
        ) from error


def _actions(stream: TextIO, verbatim: bool) -> Iterator[str]:
    for line in iter(stream.readline, ""):
        if line.strip():
            yield line.rstrip("\r\n") if verbatim else line.strip()


def _print_json(record: Record) -> None:
    typer.echo(json.dumps(record.to_json(), ensure_ascii=False))


def _print_text(record: Record) -> None:
    from sdar_cli.base.text import clean

    seen = record.step.observation
    if record.action is not None:
        typer.echo(f"[{record.number}] {clean(record.action)}")
    typer.echo(clean(seen.text or str(record.step.info.get("question", ""))))
    if record.prompt is not None:
        for message in record.prompt:
            typer.echo(f"\n--- {message['role']} ---\n{clean(message['content'])}\n---")
    elif not record.done:
        typer.echo("actions: " + ", ".join(clean(action) for action in seen.admissible))
    typer.echo()


def _report_end(record: Record, left: list[str]) -> None:
    """How the episode ended, on standard error."""
    how = "won" if record.step.won else "lost" if record.done else "not finished"
    typer.echo(f"{how} after {record.number} steps", err=True)
    if left:
        typer.echo(f"{len(left)} actions left over, first: {left[0]}", err=True)
