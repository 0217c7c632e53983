"""How ``sdar skills inspect`` looks on a terminal.  Every function shows a record and returns it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rich.columns import Columns
from rich.panel import Panel
from rich.text import Text

from sdar_cli.base.display import clean

if TYPE_CHECKING:
    from sdar_cli.base.display import Reporter
    from sdar_cli.skills.inspect import BankRecord, PanelCoverage, PromptRecord, TaskPrompts
    from sdar_cli.skills.usage import RunUsage, UseRecord

WIDE = 120
"""Columns of a terminal from which both prompts stand side by side."""
INSERTED = "bold black on bright_yellow"
SCORES_SHOWN = 10


def bank(reporter: Reporter, record: BankRecord) -> BankRecord:
    """Every skill with its size, category, keywords and origin."""
    title = f"{record['name']} {record['version']} for {record['environment']}, {record['licence']}"
    _line(reporter, f"{title}, {len(record['skills'])} skills", "bold")
    _line(reporter, f"sha256 {record['sha256']}", "dim")
    origin = record["origin"]
    if origin:
        counts = f"{origin['episodes']} episodes ({origin['won']} won) in {len(origin['files'])} files"
        _line(reporter, f"made by {origin['builder']} from {counts}", "dim")
    for skill in record["skills"]:
        size = f"{skill['words']} words"
        if "tokens" in skill:
            size += f", {skill['tokens']} tokens, brief {skill['brief_tokens']}"
        what = "" if skill["kind"] == "skill" else f", {skill['kind']}"
        _line(reporter, "")
        reporter.console.print(Text(clean(skill["id"]), style="bold cyan"), Text(f"({size}{what})"), soft_wrap=True)
        for name in ("category", "keywords", "when", "brief"):
            value = ", ".join(skill[name]) if name == "keywords" else skill[name]
            _line(reporter, f"  {name:<9} {value}")
        if skill["sources"]:
            more = f" and {len(skill['sources']) - 1} more" if len(skill["sources"]) > 1 else ""
            _line(reporter, f"  {'sources':<9} {skill['sources'][0]}{more}")
    return record


def prompts(reporter: Reporter, record: TaskPrompts) -> TaskPrompts:
    """The task, its skills, and both prompts: side by side where there is room."""
    task, about = record["task"], record["bank"]
    scores = list(record["scores"].items())[:SCORES_SHOWN]
    lines = [
        f"task       {task['id']} ({task['type']}, split {task['split']})",
        f"goal       {task['goal']}",
        f"bank       {about['name']} {about['version']}, sha256 {about['sha256'][:12]}",
        f"model      {record['model']}",
        f"retrieval  {record['retrieval']}, form {record['form']}, placement {record['placement']}",
        *(f"skill      {skill['id']}{_score(skill['score'])}: {skill['reason']}" for skill in record["skills"]),
    ]
    if scores:
        lines.append("scores     " + ", ".join(f"{name} {_number(score)}" for name, score in scores))
    if not record["skills"]:
        lines.append("skill      none: the teacher reads what the student reads")
    _line(reporter, "\n".join(lines))
    parts = (("teacher", record["teacher"]), ("student", record["student"]))
    wide = reporter.console.is_terminal or "COLUMNS" in os.environ
    if wide and reporter.console.width >= WIDE:
        half = reporter.console.width // 2 - 1
        panels = [Panel(_highlighted(p), title=Text(f"{who}: {_counts(p)}"), width=half) for who, p in parts]
        reporter.console.print(Columns(panels, padding=(0, 1)))
    else:
        for who, prompt in parts:
            reporter.console.rule(Text(f"{who}: {_counts(prompt)}"))
            reporter.console.print(_highlighted(prompt), soft_wrap=True)
        reporter.console.rule()
    if record["teacher"]["dropped"]:
        _line(reporter, f"of the skill this is cut: {record['teacher']['dropped'].strip()}", "bold red")
    return record


def coverage(reporter: Reporter, record: PanelCoverage) -> PanelCoverage:
    """Skills by task types; each cell the number of tasks that are given the skill."""
    types = record["types"]
    labels = [f"T{number}" for number in range(1, len(types) + 1)]  # names of types are too long for columns
    columns = ["skill", *labels]
    rows = [[name, *(row[kind] or "·" for kind in types)] for name, row in record["skills"].items()]
    title = f"{record['bank']} on {record['tasks']} tasks, retrieval {record['retrieval']}: tasks given each skill"
    reporter.table(title, columns, rows, [name in record["unused"] for name in record["skills"]])
    for label, (kind, number) in zip(labels, types.items(), strict=True):
        reporter.info(f"{label}  {kind} ({number} tasks)")
    for kind, number in record["without_own"].items():
        reporter.warn(f"{number} of {types[kind]} tasks of type {kind} are given no skill of their category")
    for kind, number in record["refused"].items():
        reporter.warn(f"{number} tasks of type {kind} have no skill: retrieval={record['retrieval']} refuses them")
    for name in record["unused"]:
        reporter.warn(f"no task is given {name}")
    return record


def run(reporter: Reporter, record: RunUsage) -> RunUsage:
    """Use of every skill in a run, the bandit's table, and what the evolution hook changed."""
    columns = ["skill", "groups", "episodes", "mean gap", "mean gate", "success [95 %]"]
    rows = [[name, *_used(use)] for name, use in record["skills"].items()]
    if record["without"]:
        rows.append(["(no skill)", *_used(record["without"])])
    reporter.table(f"run {record['run']}, retrieval {record['retrieval']}: skills in training", columns, rows)
    for kind, arms in (record["bandit"] or {}).items():
        arm_rows = [[a["skill"], a["n"], f"{a['mean']:.3f}", _number(a["bound"])] for a in arms]
        title = f"bandit, {kind}: {len(arms)} of {record['candidates'][kind]} skills tried"
        reporter.table(title, ["skill", "groups", "mean reward", "upper bound"], arm_rows)
    for change in record["changes"]:
        reporter.info(f"step {change['step']}, {change['type']}: {change['skill']} {change['effect']}, {change['why']}")
    return record


def _used(use: UseRecord) -> list[str]:
    gap = "–" if use["gap"] is None else f"{use['gap']:+.3f}"
    gate = "–" if use["gate"] is None else f"{use['gate']:.3f}"
    success = "–"
    if use["success"] is not None:
        success = f"{100 * use['success']:.1f} % [{100 * use['low']:.0f}, {100 * use['high']:.0f}]"
    return [str(use["groups"]), str(use["episodes"]), gap, gate, success]


def _counts(prompt: PromptRecord) -> str:
    """Tokens of a prompt, of its skill, and what was cut."""
    text = f"{prompt['tokens']} of at most {prompt['limit']} tokens"
    if prompt["skill_present"]:
        text += f", skill {prompt['skill_tokens']}"
    return text + (f", CUT {prompt['cut_tokens']} ({', '.join(prompt['cut'])})" if prompt["cut"] else ", nothing cut")


def _highlighted(prompt: PromptRecord) -> Text:
    """The exact prompt, the inserted skill marked."""
    text = Text(prompt["text"])
    if prompt["skill_span"]:
        text.stylize(INSERTED, *prompt["skill_span"])
    return text


def _score(score: float | None) -> str:
    return "" if score is None else f" ({_number(score)})"


def _number(score: float) -> str:
    return "untried" if score == float("inf") else f"{score:.3f}"


def _line(reporter: Reporter, text: str, style: str = "") -> None:
    reporter.console.print(Text(clean(text), style=style), soft_wrap=True)
