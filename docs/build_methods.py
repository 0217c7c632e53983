"""Writes the generated parts of docs/methods.md from presets/methods/*.toml and the model presets.

    python docs/build_methods.py

A generated part lies between ``<!-- begin NAME -->`` and ``<!-- end NAME -->``; everything else, the comparison
included, is written by hand and kept.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from sdar_cli.config.presets import Preset, list_presets, load_preset  # noqa: E402

DOCUMENT = ROOT / "docs" / "methods.md"
PAPER = ("grpo", "opsd", "grpo-opsd", "skill-grpo", "skill-prompt", "skill-sd", "rlsd", "sdar")
VARIANTS = (
    "sdar-paper",
    "sdar-released",
    "opsd-paper",
    "opsd-released",
    "grpo-opsd-paper",
    "grpo-opsd-signed",
    "rlsd-released",
)
FOLLOW_UPS = ("agentopsd", "grsd", "atod")
MODELS = ("Qwen2.5-3B", "Qwen2.5-7B", "Qwen3-1.7B")
COLUMNS = ("method", "formula", "weight", "sink", "coefficient", "source")


def parts() -> dict[str, str]:
    """Every generated part by its name."""
    return {
        "paper": table(PAPER, figures=True),
        "variants": table(VARIANTS, figures=True),
        "follow-ups": table(FOLLOW_UPS, figures=False),
        "methods": "\n\n".join(section(name) for name in (*PAPER, *VARIANTS, *FOLLOW_UPS)),
    }


def table(names: tuple[str, ...], figures: bool) -> str:
    """A row per method."""
    columns = [*COLUMNS, *(MODELS if figures else ())]
    lines = [line(columns), line(["---"] * len(columns))]
    for name in names:
        preset = load_preset(name, "methods")
        about = preset.about
        cells = [f"[{name}](#{name})", code(about["formula"]), code(about["weight"]), about["sink"]]
        cells += [f"{settings(preset)['algo.coef']:g}", about["source"]]
        if figures:
            reported = about.get("paper", {})
            cells += [reported[model].replace(", ", "<br>") if model in reported else "–" for model in MODELS]
        lines.append(line(cells))
    return "\n".join(lines)


def section(name: str) -> str:
    """What a method optimises, what it reduces to, and its settings."""
    preset = load_preset(name, "methods")
    about = preset.about
    own = [f"`{key} = {toml(value)}`" for key, value in flat(preset.values).items() if key != "method"]
    base = f"those of [{preset.base.path.stem}](#{preset.base.path.stem}), and " if preset.base else ""
    lines = [
        f"### {name}",
        "",
        f"{preset.description}.",
        "",
        f"- Optimises: {about['optimises']}",
        f"- Reduces to: {about['reduces_to']}",
        f"- Settings: {base}{', '.join(own)}.",
    ]
    for model in list_presets("models"):
        wanted = flat(load_preset(model, "models").methods.get(name, {}))
        if wanted:
            lines.append(f"- With {model}: {', '.join(f'`{key} = {toml(value)}`' for key, value in wanted.items())}.")
    return "\n".join(lines)


def settings(preset: Preset) -> dict[str, Any]:
    """Dotted key to value, with what the preset extends."""
    found: dict[str, Any] = {}
    for part in preset.chain():
        found |= flat(part.values)
    return found


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"a": {"b": 1}}`` to ``{"a.b": 1}``."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return found


def toml(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{key} = {toml(inner)}' for key, inner in value.items())} }}"
    return str(value)


def line(cells: list[str]) -> str:
    """One row of a Markdown table."""
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def code(formula: str) -> str:
    """A formula in backticks; a plain word stays one."""
    return formula if formula == "none" else f"`{formula}`"


def build(text: str) -> str:
    """The document with its generated parts made anew.  Raises ValueError where the marks of a part are missing."""
    for name, content in parts().items():
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        if text.count(begin) != 1 or text.count(end) != 1 or text.index(end) < text.index(begin):
            raise ValueError(f"{DOCUMENT} needs the marks {begin} and {end}, once each and in this order")
        pattern = f"{re.escape(begin)}.*?{re.escape(end)}"
        new = f"{begin}\n{content}\n{end}"
        text = re.sub(pattern, lambda match, new=new: new, text, flags=re.DOTALL)
    return text


if __name__ == "__main__":
    DOCUMENT.write_text(build(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"wrote {DOCUMENT}")
