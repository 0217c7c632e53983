"""``sdar presets``: what exists and what it sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sdar_cli.commands import completion
from sdar_cli.commands.options import JsonObject

if TYPE_CHECKING:
    from sdar_cli.base.display import Reporter
    from sdar_cli.config.presets import Preset

LIST_EPILOG = """Examples:

sdar presets list

sdar presets list --kind models

sdar presets list --json"""
SHOW_EPILOG = """Examples:

sdar presets show sdar

sdar presets show models/qwen2.5-7b-instruct

sdar presets show my-settings.toml --json"""

Kind = Annotated[str | None, typer.Option(help="Only envs, models or methods.", show_default="all")]
Reference = Annotated[
    str, typer.Argument(help="Name, kind/name, or a TOML file.", autocompletion=completion.preset_references)
]


def register(app: typer.Typer) -> None:
    """Add ``presets list`` and ``presets show``."""
    presets = typer.Typer(help="Presets: named settings of environments, models and methods.", no_args_is_help=True)
    presets.command("list", epilog=LIST_EPILOG)(list_command)
    presets.command("show", epilog=SHOW_EPILOG)(show_command)
    app.add_typer(presets, name="presets", rich_help_panel="Look and prepare")


def list_command(kind: Kind = None, as_json: JsonObject = False) -> None:
    """List the shipped presets."""
    from sdar_cli.base.display import Reporter
    from sdar_cli.base.errors import ConfigError
    from sdar_cli.config.presets import KINDS, list_presets, load_preset

    if kind is not None and kind not in KINDS:
        raise ConfigError(f"unknown kind {kind!r}", fix=f"--kind {' | '.join(KINDS)}")
    rows = [
        {"kind": each, "name": name, "description": load_preset(name, each).description}
        for each in KINDS
        if kind in (None, each)
        for name in list_presets(each)
    ]
    with Reporter(json_mode=as_json) as reporter:
        if as_json:
            reporter.emit_object({"presets": rows})
        else:
            table = [(f"{row['kind']}/{row['name']}", row["description"]) for row in rows]
            reporter.table("presets", ["preset", "what it is for"], table)


def show_command(reference: Reference, as_json: JsonObject = False) -> None:
    """Show what a method is, what a preset sets, the presets it extends, and its comments."""
    from sdar_cli.base.display import Reporter
    from sdar_cli.config.merge import Merger
    from sdar_cli.config.presets import load_preset

    preset = load_preset(reference)
    merger = Merger()
    for part in preset.chain():
        merger.put_tree(part.values, part.label)
    values = {key: value for key, value in merger.values.items() if merger.sources[key] != "default"}
    wanted = {kind: _settings_wanted(preset, kind) for kind in ("envs", "methods")}
    with Reporter(json_mode=as_json) as reporter:
        if as_json:
            reporter.emit_object(
                {
                    "preset": preset.label.removeprefix("preset "),
                    "path": str(preset.path),
                    "description": preset.description,
                    "about": preset.about,
                    "parameters": preset.parameters,
                    "extends": preset.base.label.removeprefix("preset ") if preset.base else None,
                    "values": values,
                    "sources": {key: merger.sources[key] for key in values},
                    **wanted,
                }
            )
            return
        if preset.about:
            _show_about(reporter, preset.about)
        reporter.info(f"{preset.path}: {preset.description}\n")
        rows = [(key, value, merger.sources[key].removeprefix("preset ")) for key, value in values.items()]
        for kind, found in wanted.items():
            what = kind.removesuffix("s")
            rows += [(key, value, f"for {what} {name}") for name in found for key, value in found[name].items()]
        reporter.table(preset.label, ["key", "value", "from"], rows)
        reporter.info(preset.path.read_text(encoding="utf-8"))


def _settings_wanted(preset: Preset, kind: str) -> dict[str, dict[str, object]]:
    """Method or benchmark (kind) to the settings, by dotted key, that a model's preset, or one it extends, wants."""
    from sdar_cli.config.merge import Merger

    found = {}
    for part in preset.chain():
        for name, settings in getattr(part, kind).items():
            merger = Merger()
            merger.put_tree(settings, name)
            found[name] = {key: value for key, value in merger.values.items() if merger.sources[key] == name}
    return found


def _show_about(reporter: Reporter, about: Mapping[str, Any]) -> None:
    """A method's card: what it optimises and reduces to, its formula, and what the paper reports of it."""
    for key, label in (("optimises", "Optimises"), ("reduces_to", "Reduces to")):
        if key in about:
            reporter.info(f"{label}: {about[key]}")
    rows = [(key, about[key]) for key in ("formula", "weight", "sink", "source") if key in about]
    reporter.table("\nthe method", ["part", "what it is"], rows)
    if "paper" in about:
        from sdar_cli.config.presets import paper_columns

        columns = ["model", f"{' / '.join(paper_columns())}, %"]
        reporter.table("what the paper reports (Table 1)", columns, list(about["paper"].items()))
