"""Which skill helps: an upper confidence bound per skill, kept apart for every task type (paper section 2.1, UCB).

    score(e) = mean reward of e + c * sqrt(ln N / n(e))

n(e) counts the groups of the type whose teacher was given skill e, N those of the type altogether.  What the paper
leaves open: a skill that was never given comes first, ties go to the id that sorts first, and c is a setting.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Arm:
    """What is known of one skill on one task type.  ``total``: sum of the rewards."""

    n: int = 0
    total: float = 0.0

    @property
    def mean(self) -> float:
        return self.total / self.n if self.n else 0.0


@dataclass
class Bandit:
    """The statistics.  ``c`` >= 0 weighs exploration, in units of the reward."""

    c: float
    arms: dict[str, dict[str, Arm]] = field(default_factory=dict)
    """Task type to skill id to its arm; only what was tried."""

    def scores(self, kind: str, ids: Sequence[str]) -> dict[str, float]:
        """The score of every skill for a task type; infinite for those never tried."""
        arms = self.arms.get(kind, {})
        queries = sum(arm.n for arm in arms.values())
        return {each: self._score(arms.get(each), queries) for each in ids}

    def _score(self, arm: Arm | None, queries: int) -> float:
        if arm is None or arm.n == 0:
            return math.inf
        return arm.mean + self.c * math.sqrt(math.log(queries) / arm.n)

    def means(self, kind: str, ids: Sequence[str]) -> dict[str, float]:
        """The mean reward of every skill that was tried for a task type: what evaluation goes by."""
        arms = self.arms.get(kind, {})
        return {each: arms[each].mean for each in ids if each in arms}

    def update(self, kind: str, skill: str, reward: float) -> None:
        """Add what one group of episodes brought."""
        arm = self.arms.setdefault(kind, {}).setdefault(skill, Arm())
        arm.n += 1
        arm.total += reward

    def state(self) -> dict[str, dict[str, list[float]]]:
        """JSON-ready: type, skill, [n, sum of rewards]."""
        return {
            kind: {skill: [arm.n, arm.total] for skill, arm in sorted(arms.items())}
            for kind, arms in sorted(self.arms.items())
        }

    def load(self, state: Mapping[str, Mapping[str, Sequence[Any]]]) -> None:
        """Take over what ``state`` gave."""
        self.arms = {
            kind: {skill: Arm(int(n), float(total)) for skill, (n, total) in arms.items()}
            for kind, arms in state.items()
        }


def best(scores: Mapping[str, float]) -> str:
    """The skill with the highest score; of equal ones the id that sorts first.  Raises ValueError without any."""
    highest = max(scores.values())
    return min(each for each, score in scores.items() if score == highest)
