"""Prompts as token ids within a budget, of the student (no skill) and of the teacher (the skill shown).

What does not fit is cut in a fixed order (history, observation, and the skill last) and the cut is reported.
The released code cuts from the left without a word, and so loses the skill first (method.md 6.1).  Response
tokens are no part of this: the sampled ids are appended unchanged by whoever scores them.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from jinja2.exceptions import TemplateError

from sdar_cli.base.errors import ConfigError
from sdar_cli.envs.base import TurnView
from sdar_cli.envs.registry import prompts_of

Tokenizer: TypeAlias = Any
"""A Hugging Face tokenizer with a chat template."""
PREFIX = "[Privileged Skill Information]\n{skill}\n\n"
"""What the released code puts before the rendered chat template (``placement = prefix``)."""
CUT_MARK = "..."
"""Ends a shortened observation."""


@dataclass(frozen=True)
class EncodedPrompt:
    """One prompt of at most ``limit`` tokens and what had to go.  All counts are in tokens."""

    ids: list[int]
    text: str
    """The rendered text that ``ids`` encode."""
    skill_tokens: int
    """Length of the skill text that stands in the prompt, encoded by itself."""
    cut_tokens: int
    """By how much the uncut prompt was longer."""
    cut: tuple[str, ...]
    """What was cut, in the order of cutting: ``history``, ``observation``, ``skill``."""
    skill_present: bool
    """The skill, or the kept part of it, is in ``text``."""
    skill: str = ""
    """The kept part of the skill text."""


class PromptTooLongError(ConfigError):
    """Not even the shortest form of a prompt fits.  ``needed`` and ``limit`` are in tokens."""

    def __init__(self, needed: int, limit: int, full: int, with_skill: bool) -> None:
        keys = ["teacher.max_prompt_tokens"] if with_skill else []
        keys.append("model.max_prompt_tokens")
        super().__init__(
            f"a prompt needs at least {needed} tokens, and its budget ({' or '.join(keys)}) is {limit}",
            why="the task, the instructions and the list of actions are never cut; "
            f"with history, observation and skill it is {full} tokens",
            fix=" ".join(f"--set {key}={full}" for key in keys),
        )
        self.needed = needed
        self.limit = limit


@dataclass(frozen=True)
class _Draft:
    """A prompt that may still be cut."""

    view: TurnView
    skill: str


def encode_prompt(
    tokenizer: Tokenizer,
    view: TurnView,
    *,
    style: str,
    limit: int,
    thinking: bool = False,
    skill: str = "",
    placement: str = "user",
) -> EncodedPrompt:
    """The prompt of one turn, ending where the response begins.

    style: ``compact`` or ``full`` wording.  limit: budget in tokens.  thinking: the template's
    ``enable_thinking``.  skill: text for the teacher; empty gives the student's prompt.
    placement: ``user``, ``system`` or ``prefix`` (see ``render``).
    Raises PromptTooLongError when nothing more can be cut, ConfigError when the template refuses the placement.
    """
    skill = skill.strip()

    def encode(draft: _Draft) -> tuple[str, list[int]]:
        text = render(tokenizer, draft.view, style=style, thinking=thinking, skill=draft.skill, placement=placement)
        return text, tokenizer(text, add_special_tokens=False)["input_ids"]

    draft = _Draft(view, skill)
    text, ids = encode(draft)
    full = len(ids)
    cut: tuple[str, ...] = ()
    if full > limit:
        draft, cut = _fit(draft, limit, lambda candidate: len(encode(candidate)[1]), full)
        text, ids = encode(draft)
    present = _has_skill(text, draft.skill, placement)
    kept = count_tokens(tokenizer, draft.skill) if present else 0
    return EncodedPrompt(ids, text, kept, full - len(ids), cut, present, draft.skill)


def render(
    tokenizer: Tokenizer,
    view: TurnView,
    *,
    style: str,
    thinking: bool = False,
    skill: str = "",
    placement: str = "user",
) -> str:
    """The text of a prompt, uncut.

    placement: ``user``: in the user turn; ``system``: a system message; ``prefix``: raw text before the
    whole rendered template, as in the released code.
    """
    if placement not in PLACEMENTS:
        raise ConfigError(
            f"unknown placement {placement!r}",
            why=f"teacher.placement is one of {', '.join(PLACEMENTS)}",
            fix="--set teacher.placement=user",
        )
    inside = "" if placement == "prefix" else skill
    try:
        text: str = tokenizer.apply_chat_template(
            prompts_of(view.env).messages(view, style, inside, placement),
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=thinking,
        )
    except TemplateError as error:
        if inside and placement == "system":
            raise ConfigError(
                "the chat template refuses a system message (teacher.placement=system)",
                why=str(error),
                fix="--set teacher.placement=user",
            ) from error
        raise ConfigError("the chat template cannot be rendered", why=str(error), fix="choose another model") from error
    return PREFIX.format(skill=skill) + text if skill and placement == "prefix" else text


@functools.lru_cache(maxsize=512)
def count_tokens(tokenizer: Tokenizer, text: str) -> int:
    """Tokens of a text encoded by itself, without special tokens; remembered per tokenizer and text."""
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])


def _has_skill(text: str, skill: str, placement: str) -> bool:
    """Whether the rendered text holds the skill.  A template that drops it would make the teacher a second student."""
    if skill and skill not in text:
        raise ConfigError(
            f"the chat template dropped or changed the skill (teacher.placement={placement})",
            why="the skill text is not in the rendered prompt",
            fix="--set teacher.placement=user",
        )
    return bool(skill)


def _fit(draft: _Draft, limit: int, measure: Callable[[_Draft], int], full: int) -> tuple[_Draft, tuple[str, ...]]:
    """The longest draft of at most ``limit`` tokens along the order of cutting, and what was cut."""
    cut: list[str] = []
    for name, options in CUTS.items():
        candidates = options(draft)
        if len(candidates) == 1:
            continue
        cut.append(name)
        kept = _longest(candidates, lambda candidate: measure(candidate) <= limit)
        draft = candidates[max(kept, 0)]
        if kept >= 0:
            return draft, tuple(cut)
    raise PromptTooLongError(measure(draft), limit, full, with_skill="skill" in cut)


def _longest(drafts: list[_Draft], fits: Callable[[_Draft], bool]) -> int:
    """The index of the last draft that fits, or -1, by bisection: they grow from first to last."""
    low, high = -1, len(drafts)
    while high - low > 1:
        middle = (low + high) // 2
        if fits(drafts[middle]):
            low = middle
        else:
            high = middle
    return low


def _less_history(draft: _Draft) -> list[_Draft]:
    """From no history to the whole of it; the newest pairs are kept longest."""
    pairs = draft.view.history
    return [replace(draft, view=replace(draft.view, history=pairs[start:])) for start in range(len(pairs), -1, -1)]


def _less_observation(draft: _Draft) -> list[_Draft]:
    """From no word of the observation to the whole of it; a shortened one ends with ``CUT_MARK``."""
    heads = _heads(prompts_of(draft.view.env).body_of(draft.view.observation))
    shorter = [f"{head} {CUT_MARK}".strip() for head in heads[:-1]]
    whole = draft.view.observation
    return [replace(draft, view=replace(draft.view, observation=seen)) for seen in [*shorter, whole]]


def _less_skill(draft: _Draft) -> list[_Draft]:
    """From no skill to the whole of it, word by word from its beginning."""
    return [replace(draft, skill=head) for head in _heads(draft.skill)]


def _heads(text: str) -> list[str]:
    """Every beginning of a text that ends with a whole word, shortest first: from empty to all of it."""
    return ["", *(text[: word.end()] for word in re.finditer(r"\S+", text))]


PLACEMENTS = ("user", "system", "prefix")
CUTS: dict[str, Callable[[_Draft], list[_Draft]]] = {
    "history": _less_history,
    "observation": _less_observation,
    "skill": _less_skill,
}
"""In the order of cutting; each lists the drafts from the shortest to the uncut one."""
