"""What a run did with its skills, read from its directory: use, gap, gate and success per skill, and the bandit.

``episodes/`` hold what every episode's teacher was shown (its first view) and what every token's gap and gate were;
``skills.jsonl`` which skill the bandit chose for every group and the reward that came back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

from sdar_cli.base.errors import RunFailedError
from sdar_cli.runs.metrics import read_metrics
from sdar_cli.runs.records import EpisodeRecord, read_episodes
from sdar_cli.runs.rundir import RunDir
from sdar_cli.skills.choose.bandit import Bandit
from sdar_cli.stats import wilson


class UseRecord(TypedDict):
    """``Use``, JSON-ready: means over tokens, None where none had a value, and success with its Wilson interval."""

    groups: int
    episodes: int
    gap: float | None
    gate: float | None
    success: float | None
    low: float
    high: float


class ArmRecord(TypedDict):
    """An arm of the bandit: groups that were given the skill, their mean reward, and the upper bound."""

    skill: str
    n: int
    mean: float
    bound: float


class RunUsage(TypedDict):
    """A run's use of its skills, JSON-ready.

    skills: by id.  without: episodes whose teacher was shown nothing.  candidates: by task type, how many skills ucb
    had to choose from.  bandit: by task type, None unless a strategy was ucb.  changes: those the evolution hook made.
    """

    run: str
    retrieval: str
    views: list[str]
    skills: dict[str, UseRecord]
    without: UseRecord | None
    candidates: dict[str, int]
    bandit: dict[str, list[ArmRecord]] | None
    changes: list[Mapping[str, object]]


@dataclass
class Use:
    """Of one skill.  Sums over tokens; ``episodes`` and ``won`` of those whose teacher (or policy) was shown it."""

    episodes: int = 0
    won: int = 0
    groups: set[tuple[int, int]] = field(default_factory=set)
    gap: float = 0.0
    gap_tokens: int = 0
    gate: float = 0.0
    gate_tokens: int = 0

    def add(self, step: int, episode: EpisodeRecord) -> None:
        """Count an episode of a step of training."""
        assert episode.group is not None
        self.episodes += 1
        self.won += episode.won
        self.groups.add((step, episode.group))
        gaps, gates = _values(episode, "token_gap"), _values(episode, "token_gate")
        self.gap += sum(gaps)
        self.gap_tokens += len(gaps)
        self.gate += sum(gates)
        self.gate_tokens += len(gates)

    def record(self) -> UseRecord:
        """JSON-ready; means are None where no token had a value."""
        success = self.won / self.episodes if self.episodes else None
        # Episodes of a group play the same task: they are no new draws of the task population.
        low, high = wilson((success or 0.0) * len(self.groups), len(self.groups))
        return {
            "groups": len(self.groups),
            "episodes": self.episodes,
            "gap": self.gap / self.gap_tokens if self.gap_tokens else None,
            "gate": self.gate / self.gate_tokens if self.gate_tokens else None,
            "success": success,
            "low": low,
            "high": high,
        }


def describe_run(run: RunDir) -> RunUsage:
    """What a run did with its skills.  Raises RunFailedError where the run has no episodes, or a file is damaged."""
    uses: dict[str, Use] = {}
    bare = Use()
    for step, episode in _episodes(run):
        if episode.failure is None:
            for name in episode.skill_ids or ():
                uses.setdefault(name, Use()).add(step, episode)
            if not episode.skill_ids:
                bare.add(step, episode)
    choices = read_metrics(run.skills)
    config = run.config()
    return {
        "run": run.name,
        "retrieval": config.skills.retrieval,
        "views": [view.retrieval for view in config.views],
        "skills": {name: uses[name].record() for name in sorted(uses)},
        "without": bare.record() if bare.episodes else None,
        "candidates": {c["type"]: c["candidates"] for c in choices if c["strategy"] == "ucb"},
        "bandit": _bandit(choices, config.skills.ucb_c) if "ucb" in config.retrievals else None,
        "changes": [{"step": c["step"], "type": c["type"], **change} for c in choices for change in c["changes"]],
    }


def _bandit(choices: Sequence[Mapping[str, Any]], c: float) -> dict[str, list[ArmRecord]]:
    """Task type to its arms, the best bound first: the log played again."""
    bandit = Bandit(c)
    for choice in choices:
        if choice["strategy"] == "ucb" and choice["reward"] is not None:
            bandit.update(choice["type"], choice["skills"][0], choice["reward"])
    table: dict[str, list[ArmRecord]] = {}
    for kind, arms in sorted(bandit.arms.items()):
        names = sorted(arms)
        means, bounds = bandit.means(kind, names), bandit.scores(kind, names)
        names.sort(key=lambda name: (-bounds[name], name))
        table[kind] = [{"skill": n, "n": arms[n].n, "mean": means[n], "bound": bounds[n]} for n in names]
    return table


def _episodes(run: RunDir) -> Iterator[tuple[int, EpisodeRecord]]:
    """(step, episode) of everything the run trained on."""
    files = run.episode_files()
    if not files:
        raise RunFailedError(f"run {run.name} has no episodes", why=f"{run.episodes} is empty", fix="sdar runs list")
    for step, path in files.items():
        for episode in read_episodes(path):
            yield step, episode


def _values(episode: EpisodeRecord, name: str) -> list[float]:
    """All tokens' values; tokens and turns without one are left out."""
    return [value for turn in episode.turns for value in getattr(turn.detail, name, None) or () if value is not None]
