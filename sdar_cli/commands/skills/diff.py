"""``sdar skills diff``: what differs between two banks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sdar_cli.commands.examples import ENV
from sdar_cli.commands.skills.common import JsonOption

if TYPE_CHECKING:
    from sdar_cli.skills.diff import BankDiff

First = Annotated[str, typer.Argument(metavar="A", help="Bundled bank or folder.")]
Second = Annotated[str, typer.Argument(metavar="B", help="Bundled bank or folder.")]

EPILOG = f"""Examples:

sdar skills diff {ENV} my-bank/

sdar skills diff bank-v1/ bank-v2/

sdar skills diff bank-v1/ bank-v2/ --json"""


def register(app: typer.Typer) -> None:
    """Add ``diff``."""
    app.command("diff", epilog=EPILOG)(diff_command)


def diff_command(a: First, b: Second, as_json: JsonOption = False) -> None:
    """What differs between two banks: skills by id, keywords, order of categories, and the text line by line."""
    from sdar_cli.commands.skills.common import print_json
    from sdar_cli.skills.bank import load_bank
    from sdar_cli.skills.diff import diff_banks

    record = diff_banks(load_bank(a), load_bank(b))
    print_json(record) if as_json else _print_diff(record)


def _print_diff(record: BankDiff) -> None:
    from rich.console import Console
    from rich.text import Text

    from sdar_cli.base.display import clean

    console = Console(highlight=False)

    def show(text: str, style: str = "") -> None:
        console.print(Text(clean(text), style=style), soft_wrap=True)

    before, after = record["sha256"]
    show(f"sha256 {before[:12]} -> {after[:12]}" if not record["same"] else f"the same content, sha256 {before[:12]}")
    for key, (old, new) in record["bank"].items():
        show(f"{key}: {old} -> {new}")
    for sign, skills, style in (("+", record["added"], "green"), ("-", record["removed"], "red")):
        for skill in skills:
            show(f"{sign} {skill['id']} ({skill['category']}): {skill['brief']}", style)
    for change in record["changed"]:
        show(f"~ {change['id']}: {', '.join(change['fields'])}", "bold")
        for field in ("category", "kind", "when", "brief", "path"):
            if field in change["fields"]:
                show(f"    {field}: {change['fields'][field][0]} -> {change['fields'][field][1]}")
        for line in change["diff"]:
            show(f"    {line}", {"+": "green", "-": "red"}.get(line[:1], "dim"))
    for category, words in record["keywords"].items():
        changes = [f"+{word}" for word in words["added"]] + [f"-{word}" for word in words["removed"]]
        show(f"keywords of {category}: {' '.join(changes)}")
    for key, mapped in (("types", record["types"]), ("routes", record["routes"])):
        for name, (was, now) in mapped.items():
            show(f"{key}: {name} {was or 'nowhere'} -> {now or 'nowhere'}")
    if record["order"]:
        show(f"order of categories: {', '.join(record['order'][0])} -> {', '.join(record['order'][1])}")
