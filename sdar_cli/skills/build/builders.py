"""The builders that ``sdar skills build --builder`` names.

A builder is a function ``(traces, env, reporter, **arguments) -> (skills, warnings)``.  traces: the
episodes; env: the environment's name; reporter: for messages and progress.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from sdar_cli.base.errors import ConfigError
from sdar_cli.envs.base import Trace
from sdar_cli.skills.bank import Skill
from sdar_cli.skills.build.contrast import Limits, contrast
from sdar_cli.skills.build.llm import Asking, cost_line, questions, write_skills

if TYPE_CHECKING:
    from sdar_cli.base.display import Reporter

Built = tuple[list[Skill], list[str]]
"""(skills, warnings)."""


def by_contrast(
    traces: Sequence[Trace], env: str, reporter: Reporter, *, alpha: float = 0.05, core: float = 0.9, support: int = 3
) -> Built:
    """Rules from what won episodes do and lost ones do not; no model is asked."""
    return contrast(traces, env, Limits(alpha, core, support))


def by_llm(
    traces: Sequence[Trace],
    env: str,
    reporter: Reporter,
    *,
    model: str | None = None,
    backend: Literal["endpoint", "transformers", "vllm"] = "endpoint",
    prompt_tokens: int = 6000,
    answer_tokens: int = 2000,
    most: int = 3,
    retries: int = 2,
    yes: bool = False,
) -> Built:
    """A chat model writes the skills, after its cost was shown and, on a terminal and without ``yes``, agreed to."""
    from sdar_cli.models.chat import open_chat

    if model is None:
        raise ConfigError("--builder llm needs a model", fix="--llm NAME")
    asking = Asking(prompt_tokens, answer_tokens, most, retries)
    chat = open_chat(backend, model, answer_tokens)
    asked = questions(traces, env, asking)
    reporter.info(cost_line(asked, chat, model, asking))
    if not yes:
        reporter.confirm("Start?")
    with reporter.progress(f"asking {model}", len(asked)) as bar:
        return write_skills(asked, chat, asking, bar.advance)


BUILDERS: dict[str, Callable[..., Built]] = {
    "contrast": by_contrast,
    "llm": by_llm,
}
