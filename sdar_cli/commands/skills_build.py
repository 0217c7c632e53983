"""``sdar skills build``: a bank from episodes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sdar_cli.commands import completion
from sdar_cli.commands.skills_common import JsonOption
from sdar_cli.config.plugs import BUILDER, names_text

if TYPE_CHECKING:
    from sdar_cli.base.display import Reporter
    from sdar_cli.skills.bank import Bank

CONTRAST, LLM = "Builder contrast", "Builder llm"


def _option(name: str, text: str, panel: str | None = None, **more: Any) -> Any:
    return typer.Option(name, help=text, rich_help_panel=panel, **more)


Sources = Annotated[
    list[str],
    _option("--from", "A run, a folder of *.jsonl files, or one file of episodes; repeatable.",
            metavar="EPISODES|DIR|RUN", show_default=False),
]  # fmt: skip
Out = Annotated[Path, _option("--out", "Folder of the new bank; must not exist.", show_default=False)]
Env = Annotated[str, _option("--env", "Environment the episodes are of.")]
Name = Annotated[str | None, _option("--name", "Name; default: that of --out.", show_default=False)]
Licence = Annotated[str, _option("--licence", "Licence of the new texts.")]
RunsDir = Annotated[Path, _option("--runs-dir", "Where runs lie.")]
Which = Annotated[
    str,
    _option("--builder", f"contrast needs no model, llm asks a chat model: {names_text(BUILDER)}.",
            autocompletion=completion.plugs(BUILDER)),
]  # fmt: skip
Arguments = Annotated[
    list[str] | None,
    _option("--builder-arg", "A keyword argument of the builder; repeatable.", metavar="KEY=VALUE", show_default=False),
]
Support = Annotated[int, _option("--min-support", "Won episodes a task type needs.", CONTRAST, min=1)]
Alpha = Annotated[float, _option("--alpha", "Chance of a false rule.", CONTRAST, min=1e-9, max=0.5)]
Core = Annotated[float, _option("--core", "Share of won episodes a step must be in.", CONTRAST, min=0.5, max=1.0)]
Model = Annotated[
    str | None, _option("--llm", "Name at the endpoint, or a folder or Hugging Face id.", LLM, show_default=False)
]
Where = Annotated[
    Literal["endpoint", "transformers", "vllm"],
    _option("--backend", "endpoint: OPENAI_BASE_URL and OPENAI_API_KEY; or in this process.", LLM),
]
PromptTokens = Annotated[int, _option("--prompt-tokens", "Estimated tokens of episodes per question.", LLM, min=100)]
AnswerTokens = Annotated[int, _option("--answer-tokens", "Most tokens of an answer.", LLM, min=50)]
Most = Annotated[int, _option("--skills-per-type", "Most skills per task type.", LLM, min=1)]
Retries = Annotated[int, _option("--retries", "Further tries after an unusable answer.", LLM, min=0)]
Yes = Annotated[bool, _option("--yes", "Ask nothing before the model is asked.", LLM)]


def register(app: typer.Typer) -> None:
    """Add ``build``."""
    app.command("build")(build_command)


def build_command(
    sources: Sources,
    out: Out,
    env: Env = "alfworld",
    which: Which = "contrast",
    arguments: Arguments = None,
    name: Name = None,
    licence: Licence = "CC0-1.0",
    runs_dir: RunsDir = Path("runs"),
    support: Support = 3,
    alpha: Alpha = 0.05,
    core: Core = 0.9,
    model: Model = None,
    backend: Where = "endpoint",
    prompt_tokens: PromptTokens = 6000,
    answer_tokens: AnswerTokens = 2000,
    most: Most = 3,
    retries: Retries = 2,
    yes: Yes = False,
    as_json: JsonOption = False,
) -> None:
    """Make a skill bank from won and lost episodes: of a run, of an evaluation, or demonstrations.

    Every skill records the episodes it came from.

    Examples:

    sdar skills build --env alfworld --from my-run --out my-bank

    sdar skills build --from run-a --from run-b/eval --out my-bank --min-support 5

    sdar skills build --env webshop --from demonstrations.jsonl --out shop-bank --json

    sdar skills build --from my-run --out my-bank --builder llm --llm gpt-4.1-mini --yes

    sdar skills build --from my-run --out my-bank --builder my_package.builders:build --builder-arg depth=3
    """
    from sdar_cli.base.display import Reporter, json_stdout
    from sdar_cli.base.files import refuse_taken
    from sdar_cli.commands.skills_convert import require_env
    from sdar_cli.skills.build.build import Wanted, build_bank, merge
    from sdar_cli.skills.build.traces import read_traces

    require_env(env)
    refuse_taken(out)
    flags: dict[str, dict[str, Any]] = {
        "contrast": {"alpha": alpha, "core": core, "support": support},
        "llm": {"model": model, "backend": backend, "prompt_tokens": prompt_tokens, "answer_tokens": answer_tokens,
                "most": most, "retries": retries, "yes": yes},
    }  # fmt: skip
    values = {**flags.get(which, {}), **_parsed(arguments or ())}
    builder = BUILDER.bind(which, values)
    label = "llm {model} by {backend}".format(**values) if which == "llm" else which
    with Reporter(json_mode=as_json) as reporter, json_stdout(reporter):
        traces = merge([read_traces(source, runs_dir) for source in sources])
        won = sum(trace.won for trace in traces.episodes)
        reporter.info(f"{len(traces.episodes)} episodes ({won} won) from {len(traces.files)} files")
        wanted = Wanted(name or out.resolve().name, env, licence, out)
        bank, warnings = build_bank(traces, partial(builder, reporter=reporter), label, wanted)
        _show(reporter, bank, out, warnings)
        if as_json:
            skills = [{"id": s.id, "category": s.category, "brief": s.brief, "sources": s.sources} for s in bank.skills]
            counts = {"episodes": len(traces.episodes), "won": won, "builder": label}
            reporter.emit_object(
                {"bank": str(out), "sha256": bank.sha256, **counts, "skills": skills, "warnings": warnings}
            )


def _show(reporter: Reporter, bank: Bank, out: Path, warnings: Sequence[str]) -> None:
    for warning in warnings:
        reporter.warn(warning)
    for skill in bank.skills:
        reporter.info(f"  {skill.id}: {skill.brief}")
    reporter.info(f"{out}: {len(bank.skills)} skills, sha256 {bank.sha256}")


def _parsed(arguments: Sequence[str]) -> dict[str, Any]:
    """``KEY=VALUE`` each, values as in ``--set``.  Raises ConfigError for another form."""
    from sdar_cli.base.errors import ConfigError
    from sdar_cli.config.merge import parse_value

    found = {}
    for each in arguments:
        key, equals, text = each.partition("=")
        if not equals:
            raise ConfigError(f"--builder-arg {each}: write KEY=VALUE", fix="for example --builder-arg support=5")
        found[key.strip()] = parse_value(text.strip(), None)
    return found
