"""The record of an episode: one shape for what training and evaluation write, a line of JSON each, and its reader.

``episodes/step-*.jsonl`` of a run hold every token (``TurnDetail``); ``eval/*.jsonl`` hold the responses and what came
of it.  Every line has a schema number; lines of an earlier version are read through ``runs.older``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from sdar_cli.base.errors import RunFailedError
from sdar_cli.base.files import read_json_lines
from sdar_cli.envs.base import StopReason, Task, TurnView
from sdar_cli.runs import older

SCHEMA = 2
"""Of episodes, and of the reports of evaluations, in files.  Schema 1 wrote no number."""
NAMED = ("label", "seed", "group", "index", "skill_ids", "skill_text")
"""Fields of an episode that a line has only where they apply."""


@dataclass(frozen=True)
class TurnDetail:
    """What training keeps of a turn and an evaluation does not.  Values per token have one entry per response token."""

    view: TurnView
    prompt_ids: Sequence[int]
    response_ids: Sequence[int]
    truncated_prompt: int = 0
    truncated_response: bool = False
    teacher_tokens: int | None = None
    teacher_cut: tuple[str, ...] = ()
    token_logp: Sequence[float | None] | None = None
    token_entropy: Sequence[float | None] | None = None
    token_gap: Sequence[float | None] | None = None
    token_gate: Sequence[float | None] | None = None


@dataclass(frozen=True)
class TurnRecord:
    """One turn.  ``valid``: the response had the form of an action; ``admissible``: the action was possible there."""

    response: str
    action: str
    valid: bool
    admissible: bool
    detail: TurnDetail | None = None

    def to_json(self) -> Mapping[str, object]:
        """Flat: the detail's fields stand next to the turn's own."""
        own = {"response": self.response, "action": self.action, "valid": self.valid, "admissible": self.admissible}
        if self.detail is None:
            return own
        return {**own, "view": asdict(self.detail.view), **{name: getattr(self.detail, name) for name in DETAILS}}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> TurnRecord:
        """Raises KeyError and TypeError for a row that is no turn."""
        detail = None
        if "view" in row:
            view = row["view"]
            pairs = tuple((seen, done) for seen, done in view["history"])
            shown = TurnView(**{**view, "admissible": tuple(view["admissible"]), "history": pairs})
            values = {name: row[name] for name in DETAILS}
            detail = TurnDetail(view=shown, **{**values, "teacher_cut": tuple(row["teacher_cut"])})
        return cls(row["response"], row["action"], row["valid"], row["admissible"], detail)


DETAILS = tuple(field.name for field in fields(TurnDetail) if field.name != "view")
"""The detail's fields that JSON holds as they are."""


@dataclass(frozen=True)
class EpisodeRecord:
    """One episode.

    reward: what training was given; None where an older file does not have it.  score: the benchmark's own, in [0, 1],
    where it has one.  reward_parts: what the score is made of, in the environment's words.  label, seed: setting and
    sampling seed of an evaluation.  group, index, skill_ids, skill_text: place in a step of training, and what the
    teacher was shown.
    """

    task: Task
    goal: str
    won: bool
    reward: float | None = None
    score: float | None = None
    reward_parts: Mapping[str, Any] | None = None
    stop: StopReason | None = None
    failure: str | None = None
    turns: tuple[TurnRecord, ...] = ()
    label: str | None = None
    seed: int | None = None
    group: int | None = None
    index: int | None = None
    skill_ids: tuple[str, ...] | None = None
    skill_text: str | None = None

    def brief(self, label: str, seed: int) -> EpisodeRecord:
        """What an evaluation keeps of it: its outcome and its text, not its token ids."""
        turns = tuple(replace(turn, detail=None) for turn in self.turns)
        return EpisodeRecord(
            task=self.task, goal=self.goal, won=self.won, reward=self.reward, score=self.score,
            reward_parts=self.reward_parts, stop=self.stop, failure=self.failure, turns=turns, label=label, seed=seed,
        )  # fmt: skip

    def to_json(self) -> Mapping[str, object]:
        """JSON-ready, with the schema number."""
        named = {name: value for name in NAMED if (value := getattr(self, name)) is not None}
        return {
            "schema": SCHEMA,
            **named,
            "task": asdict(self.task),
            "goal": self.goal,
            "won": self.won,
            "reward": self.reward,
            "score": self.score,
            "reward_parts": self.reward_parts,
            "stop": self.stop.value if self.stop else None,
            "failure": self.failure,
            "turns": [turn.to_json() for turn in self.turns],
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> EpisodeRecord:
        """An episode of this schema or an earlier one.

        Raises KeyError, TypeError or ValueError for an object that is no episode.
        """
        if row.get("schema") is None:
            row = older.episode(row)
        elif row["schema"] != SCHEMA:
            raise ValueError(f"schema {row['schema']!r} is of another version of sdar; this one reads up to {SCHEMA}")
        return cls(
            task=Task(**row["task"]),
            goal=row["goal"],
            won=row["won"],
            reward=row["reward"],
            score=row["score"],
            reward_parts=row["reward_parts"],
            stop=StopReason(row["stop"]) if row["stop"] else None,
            failure=row["failure"],
            turns=tuple(TurnRecord.from_json(turn) for turn in row["turns"]),
            skill_ids=None if row.get("skill_ids") is None else tuple(row["skill_ids"]),
            **{name: row.get(name) for name in NAMED if name != "skill_ids"},
        )


def is_ledger_line(row: Mapping[str, Any]) -> bool:
    """Whether a line of ``eval/*.jsonl`` is no episode but names what is evaluated, or closes a chunk."""
    return "key" in row or "chunk" in row


def read_episodes(path: Path) -> Iterator[EpisodeRecord]:
    """The episodes of a file of training or evaluation, in order.

    Raises RunFailedError naming the line that is damaged or no episode.
    """
    for number, row in enumerate(read_json_lines(path), 1):
        if is_ledger_line(row):
            continue
        try:
            yield EpisodeRecord.from_json(row)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise RunFailedError(
                f"{path}, record {number}, is no episode", why=f"{type(error).__name__}: {error}"
            ) from error
