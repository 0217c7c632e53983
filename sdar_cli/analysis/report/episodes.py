"""The episode browser's material: some episodes of training, every token with its gate, and what the teacher read.

The teacher's prompt is rendered again from the record, by the function that training uses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdar_cli.config.schema import RunConfig
from sdar_cli.runs.records import EpisodeRecord, TurnDetail, TurnRecord, read_episodes
from sdar_cli.runs.rundir import RunDir

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SHADES = 5
"""Steps of colour from no to full endorsement, on either side of a gate of 1/2."""


@dataclass(frozen=True)
class Token:
    """One response token.  ``shade``: -SHADES (gate 0) to SHADES (gate 1); None without a gate."""

    text: str
    tip: str
    shade: int | None


@dataclass(frozen=True)
class ShownTurn:
    """One turn.  ``prompt``: the teacher's (the student's, where there is no teacher) in three parts, the second of
    which is
    the inserted skill."""

    number: int
    observation: str
    tokens: tuple[Token, ...]
    action: str
    valid: bool
    gap: float | None
    prompt: tuple[str, str, str]
    of_teacher: bool
    cut: tuple[str, ...]


@dataclass(frozen=True)
class ShownEpisode:
    """One episode, and what it came to."""

    step: int
    task: str
    kind: str
    goal: str
    won: bool
    outcome: str
    skills: tuple[str, ...]
    skill_text: str
    gate: float | None
    gap: float | None
    turns: tuple[ShownTurn, ...]


def shown_episodes(run: RunDir, count: int) -> list[ShownEpisode]:
    """About ``count`` episodes of the first and of the last step, of every task type, won and lost, in turn.

    Raises RunFailedError for a damaged record, and what loading the tokenizer raises.
    """
    files = run.episode_files()
    if not files or count <= 0:
        return []
    config = run.config()
    tokenizer = _tokenizer(run, config)
    ends = list(dict.fromkeys([max(files), min(files)]))
    shares = [count] if len(ends) == 1 else [count - count // 3, count // 3]
    chosen = []
    for step, share in zip(ends, shares, strict=True):
        records = list(read_episodes(files[step]))
        chosen += [_shown(record, step, config, tokenizer) for record in _choose(records, share)]
    return chosen


def _choose(records: Sequence[EpisodeRecord], count: int) -> list[EpisodeRecord]:
    """The first won and lost episodes of each type, then the next ones, types in turn, until there are enough."""
    groups: dict[tuple[str, bool], list[EpisodeRecord]] = {}
    for record in records:
        if record.turns:
            groups.setdefault((record.task.type, not record.won), []).append(record)
    chosen: list[EpisodeRecord] = []
    for rank in range(max(map(len, groups.values()), default=0)):
        chosen += [members[rank] for _, members in sorted(groups.items()) if rank < len(members)]
    return chosen[:count]


def _tokenizer(run: RunDir, config: RunConfig) -> PreTrainedTokenizerBase:
    """That of the last checkpoint; of the model where none was saved."""
    from sdar_cli.models.loading import load_tokenizer
    from sdar_cli.runs.checkpoints import latest_checkpoint

    checkpoint = latest_checkpoint(run.checkpoints)
    if checkpoint is not None:
        return load_tokenizer(config.model.model_copy(update={"name": str(checkpoint), "revision": None}))
    return load_tokenizer(config.model)


def _shown(record: EpisodeRecord, step: int, config: RunConfig, tokenizer: PreTrainedTokenizerBase) -> ShownEpisode:
    played = [(turn, turn.detail) for turn in record.turns if turn.detail is not None]
    turns = tuple(_turn(record, turn, detail, config, tokenizer) for turn, detail in played)
    score = "" if record.score is None else f", score {record.score:.2f}"
    return ShownEpisode(
        step=step,
        task=record.task.id,
        kind=record.task.type,
        goal=record.goal,
        won=record.won,
        outcome=f"{'won' if record.won else record.stop or 'unfinished'} in {len(turns)} turns{score}",
        skills=record.skill_ids or (),
        skill_text=record.skill_text or "",
        gate=_mean(value for _, detail in played for value in detail.token_gate or ()),
        gap=_mean(value for _, detail in played for value in detail.token_gap or ()),
        turns=turns,
    )


def _turn(
    record: EpisodeRecord, turn: TurnRecord, detail: TurnDetail, config: RunConfig, tokenizer: PreTrainedTokenizerBase
) -> ShownTurn:
    of_teacher = detail.teacher_tokens is not None
    return ShownTurn(
        number=detail.view.turn + 1,
        observation=detail.view.observation,
        tokens=tuple(_tokens(detail, tokenizer)),
        action=turn.action,
        valid=turn.valid,
        gap=_mean(detail.token_gap or ()),
        prompt=_teacher_prompt(record, detail, config, tokenizer)
        if of_teacher
        else (tokenizer.decode(detail.prompt_ids), "", ""),
        of_teacher=of_teacher,
        cut=detail.teacher_cut,
    )


def _teacher_prompt(
    record: EpisodeRecord, detail: TurnDetail, config: RunConfig, tokenizer: PreTrainedTokenizerBase
) -> tuple[str, str, str]:
    from sdar_cli.rollout.prompt import encode_prompt

    prompt = encode_prompt(
        tokenizer,
        detail.view,
        style=config.env.prompt,
        limit=config.teacher.max_prompt_tokens,
        thinking=config.model.thinking,
        skill=record.skill_text or "",
        placement=config.views[0].placement,
    )
    if not prompt.skill_present:
        return prompt.text, "", ""
    before, skill, after = prompt.text.partition(prompt.skill)
    return before, skill, after


def _tokens(detail: TurnDetail, tokenizer: PreTrainedTokenizerBase) -> Iterator[Token]:
    missing = [None] * len(detail.response_ids)
    recorded = (detail.token_gate, detail.token_gap, detail.token_entropy, detail.token_logp)
    gates, gaps, entropies, logps = (values or missing for values in recorded)
    for ident, gate, gap, entropy, logp in zip(detail.response_ids, gates, gaps, entropies, logps, strict=True):
        parts = [("gate", gate, ".3f"), ("gap", gap, "+.3f"), ("entropy", entropy, ".3f"), ("log-prob", logp, ".3f")]
        tip = ", ".join(f"{name} {value:{form}}" for name, value, form in parts if value is not None)
        yield Token(tokenizer.decode([ident]), tip or "nothing recorded", shade(gate))


def shade(gate: float | None) -> int | None:
    """A gate in [0, 1] as one of 2 * SHADES + 1 steps: 0 is a gate of 1/2.

    >>> [shade(g) for g in (0.0, 0.5, 0.61, 1.0)]
    [-5, 0, 1, 5]
    """
    return None if gate is None else round(max(-1.0, min(1.0, 2 * gate - 1)) * SHADES)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
