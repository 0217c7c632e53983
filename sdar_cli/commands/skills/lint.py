"""``sdar skills lint``: what is wrong with a bank."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, NotRequired, TypedDict

import typer

from sdar_cli.commands.examples import ENV, OTHER_ENV, POLICY
from sdar_cli.commands.options import given_flags, option
from sdar_cli.commands.skills.common import BankArgument, DataOption, EnvOption, JsonOption, ModelOption

if TYPE_CHECKING:
    from sdar_cli.base.display import Reporter
    from sdar_cli.config.schema import RunConfig
    from sdar_cli.skills.bank import Bank
    from sdar_cli.skills.lint import Finding, Goal

COLOURS = {"error": "bold red", "warning": "yellow", "note": "cyan"}

SplitOption = Annotated[
    str | None, option("--split", "Split of the panel; default: the held-out one.", show_default=False)
]
TasksOption = Annotated[int, option("--tasks", "N tasks spread over the panel; 0 = all.", min=0)]

EPILOG = f"""Examples:

sdar skills lint

sdar skills lint my-bank/ --env {ENV} --model {POLICY}

sdar skills lint {OTHER_ENV} --env {OTHER_ENV} --tasks 200 --json"""


class Checked(TypedDict):
    """A bank, and what of it was checked; no more than that of one that cannot be read."""

    bank: str | None
    sha256: NotRequired[str]
    skills: NotRequired[int]
    categories: NotRequired[int]
    checked: list[str]
    tasks: NotRequired[int]


def register(app: typer.Typer) -> None:
    """Add ``lint``."""
    app.command("lint", epilog=EPILOG)(lint_command)


def lint_command(
    bank: BankArgument = None,
    env: EnvOption = None,
    model: ModelOption = None,
    data: DataOption = None,
    split: SplitOption = None,
    tasks: TasksOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Check a bank: repeated texts and bad keywords; with --env a panel of tasks; with --model the token budget.

    Exit code 1 with errors, 0 with warnings or nothing.
    """
    from sdar_cli.base.display import Reporter, json_stdout
    from sdar_cli.base.errors import ConfigError
    from sdar_cli.skills.lint import Finding, summary

    with Reporter(json_mode=as_json) as reporter, json_stdout(reporter):
        try:
            about, findings = _lint(bank, env, model, data, split, tasks, reporter)
        except ConfigError as error:
            if not error.what.startswith("bad skill bank"):
                raise
            about = {"bank": bank, "checked": ["files"]}
            findings = [Finding("error", "unreadable", error.what.partition(": ")[2], f"{error.why}; {error.fix}")]
        counts = summary(findings)
        if as_json:
            reporter.emit_object({**about, **counts, "findings": [finding.record() for finding in findings]})
        else:
            _print_findings(reporter, about, counts, findings)
    raise typer.Exit(1 if counts["errors"] else 0)


def _lint(
    name: str | None,
    env: str | None,
    model: str | None,
    data: str | None,
    split: str | None,
    tasks: int,
    reporter: Reporter,
) -> tuple[Checked, list[Finding]]:
    """(record of the bank and of what was checked, findings)"""
    from sdar_cli.commands.skills.common import goals_of, settings
    from sdar_cli.session import eval_split
    from sdar_cli.skills.bank import load_bank
    from sdar_cli.skills.lint import lint_bank, lint_panel, lint_tokens

    flags = given_flags(data=data, split=split)
    if name and not (env or model or data):  # a bank of any environment can be read
        bank = load_bank(name)
        return _about(bank, ["bank"], 0), lint_bank(bank)
    bank, config = settings(name, env, model, flags)
    findings = lint_bank(bank)
    checked = ["bank"]
    goals: list[Goal] = []
    if env or data:
        goals += goals_of(config.env, eval_split(config), tasks, reporter)
        checked.append("panel")
        findings += lint_panel(bank, goals)
    if model:
        checked.append("tokens")
        count, prompts = _measure(config, goals)
        findings += lint_tokens(bank, count, config.teacher.max_prompt_tokens, prompts)
    return _about(bank, checked, len(goals)), findings


def _about(bank: Bank, checked: list[str], tasks: int) -> Checked:
    return {
        "bank": bank.name,
        "sha256": bank.sha256,
        "skills": len(bank.skills),
        "categories": len(bank.categories),
        "checked": checked,
        "tasks": tasks,
    }


def _measure(config: RunConfig, goals: Sequence[Goal]) -> tuple[Callable[[str], int], dict[str, int]]:
    """(text to its tokens, the longest first prompt without a skill per task type, in tokens)."""
    from sdar_cli.envs.base import TurnView
    from sdar_cli.models.loading import load_tokenizer
    from sdar_cli.rollout.prompt import count_tokens, render

    tokenizer = load_tokenizer(config.model)
    longest: dict[str, int] = {}
    for goal in goals:
        assert goal.seen is not None
        view = TurnView(goal.text, goal.seen.text, goal.seen.admissible, env=config.env.name)
        text = render(tokenizer, view, style=config.env.prompt, thinking=config.model.thinking)
        longest[goal.task.type] = max(longest.get(goal.task.type, 0), count_tokens(tokenizer, text))
    return lambda text: count_tokens(tokenizer, text), longest


def _print_findings(reporter: Reporter, about: Checked, counts: Mapping[str, int], findings: Sequence[Finding]) -> None:
    from rich.text import Text

    for finding in findings:
        line = Text.assemble(
            (f"{finding.level + ':':<9}", COLOURS[finding.level]),
            f"{finding.check:<22}",
            f"{finding.where}: {finding.text}",
        )
        reporter.console.print(line, soft_wrap=True)
    left = {"panel": "coverage by tasks (--env)", "tokens": "token budget (--model)"}
    missing = [text for name, text in left.items() if name not in about["checked"]]
    found = ", ".join(f"{counts[level]} {level}" for level in ("errors", "warnings", "notes"))
    size = f"{about['skills']} skills" if "skills" in about else "unreadable"
    reporter.info(f"{about['bank']}: {size}, {found}" + (f"; not checked: {', '.join(missing)}" if missing else ""))
