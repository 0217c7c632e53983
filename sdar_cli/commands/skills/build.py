"""``sdar skills build``: a bank from episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sdar_cli.commands import completion
from sdar_cli.commands.examples import ENV, OTHER_ENV
from sdar_cli.commands.option_groups import expand_groups
from sdar_cli.commands.options import RUNS_DIR, RunsDir, option
from sdar_cli.commands.skills.common import JsonOption, NameOption, OutOption
from sdar_cli.config.plugs import BUILDER, names_text

if TYPE_CHECKING:
    from sdar_cli.base.display import Reporter
    from sdar_cli.skills.bank import Bank

CONTRAST, LLM = "Builder contrast", "Builder llm"


Sources = Annotated[
    list[str],
    option("--from", "A run, a folder of *.jsonl files, or one file of episodes; repeatable.",
           metavar="EPISODES|DIR|RUN", show_default=False),
]  # fmt: skip
Env = Annotated[str, option("--env", "Environment the episodes are of.")]
Licence = Annotated[str, option("--licence", "Licence of the new texts.")]
Which = Annotated[
    str,
    option("--builder", f"contrast needs no model, llm asks a chat model: {names_text(BUILDER)}.",
           autocompletion=completion.plugs(BUILDER)),
]  # fmt: skip
Arguments = Annotated[
    list[str] | None,
    option("--builder-arg", "A keyword argument of the builder; repeatable.", metavar="KEY=VALUE", show_default=False),
]
Support = Annotated[int, option("--min-support", "Won episodes a task type needs.", CONTRAST, min=1)]
Alpha = Annotated[float, option("--alpha", "Chance of a false rule.", CONTRAST, min=1e-9, max=0.5)]
Core = Annotated[float, option("--core", "Share of won episodes a step must be in.", CONTRAST, min=0.5, max=1.0)]
Model = Annotated[
    str | None, option("--llm", "Name at the endpoint, or a folder or Hugging Face id.", LLM, show_default=False)
]
Where = Annotated[
    Literal["endpoint", "transformers", "vllm"],
    option("--backend", "endpoint: OPENAI_BASE_URL and OPENAI_API_KEY; or in this process.", LLM),
]
PromptTokens = Annotated[int, option("--prompt-tokens", "Estimated tokens of episodes per question.", LLM, min=100)]
AnswerTokens = Annotated[int, option("--answer-tokens", "Most tokens of an answer.", LLM, min=50)]
Most = Annotated[int, option("--skills-per-type", "Most skills per task type.", LLM, min=1)]
Retries = Annotated[int, option("--retries", "Further tries after an unusable answer.", LLM, min=0)]
Yes = Annotated[bool, option("--yes", "Ask nothing before the model is asked.", LLM)]


@dataclass(frozen=True)
class ContrastOptions:
    """What the builder ``contrast`` takes."""

    support: Support = 3
    alpha: Alpha = 0.05
    core: Core = 0.9


@dataclass(frozen=True)
class LlmOptions:
    """What the builder ``llm`` takes."""

    model: Model = None
    backend: Where = "endpoint"
    prompt_tokens: PromptTokens = 6000
    answer_tokens: AnswerTokens = 2000
    most: Most = 3
    retries: Retries = 2
    yes: Yes = False


EPILOG = f"""Examples:

sdar skills build --env {ENV} --from my-run --out my-bank

sdar skills build --from run-a --from run-b/eval --out my-bank --min-support 5

sdar skills build --env {OTHER_ENV} --from demonstrations.jsonl --out shop-bank --json

sdar skills build --from my-run --out my-bank --builder llm --llm gpt-4.1-mini --yes

sdar skills build --from my-run --out my-bank --builder my_package.builders:build --builder-arg depth=3"""


def register(app: typer.Typer) -> None:
    """Add ``build``."""
    app.command("build", epilog=EPILOG)(build_command)


@expand_groups
def build_command(
    sources: Sources,
    out: OutOption,
    contrasting: ContrastOptions,
    asked: LlmOptions,
    env: Env = ENV,
    which: Which = "contrast",
    arguments: Arguments = None,
    name: NameOption = None,
    licence: Licence = "CC0-1.0",
    runs_dir: RunsDir = RUNS_DIR,
    as_json: JsonOption = False,
) -> None:
    """Make a skill bank from won and lost episodes: of a run, of an evaluation, or demonstrations.

    Every skill records the episodes it came from.
    """
    from sdar_cli.base.display import Reporter, json_stdout
    from sdar_cli.base.files import refuse_taken
    from sdar_cli.commands.skills.convert import require_env
    from sdar_cli.skills.build.build import Wanted, build_bank, merge
    from sdar_cli.skills.build.traces import read_traces

    require_env(env)
    refuse_taken(out)
    flags = {"contrast": asdict(contrasting), "llm": asdict(asked)}
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


def _parsed(arguments: Sequence[str]) -> dict[str, object]:
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
