"""Episodes written by hand, of which only token ids, validity and rewards matter; fixtures for samples and batches."""

from __future__ import annotations

import pytest
from toy import make_turn, task

from sdar_cli.envs.base import StopReason
from sdar_cli.rollout.episode import Episode


def episode(index: int, group: int, turns, reward: float = 0.0, stop: StopReason = StopReason.MAX_TURNS) -> Episode:
    made = Episode(task(0, group), group, index, list(turns), reward, reward > 0)
    made.stop = stop
    return made


@pytest.fixture(name="window")
def window_episodes() -> list[Episode]:
    """Group 0: a won episode of two turns, the second invalid, and a lost one of one turn.  Group 1: two lost
    ones, the first with an invalid turn.  2 + 3, 1, 1 and 4 tokens."""
    return [
        episode(0, 0, [make_turn([11, 12], (1, 2, 3)), make_turn([13, 14, 15], (1,), valid=False)], 1.0),
        episode(1, 0, [make_turn([16], (4, 5))]),
        episode(2, 1, [make_turn([17], (6,), valid=False)]),
        episode(3, 1, [make_turn([18, 19, 20, 21], (7, 8))]),
    ]


@pytest.fixture(name="transcript")
def transcript_episodes() -> list[Episode]:
    """Group 0: a won episode of three turns (the last two invalid) with 2 and 1 environment tokens between, and a
    lost one of one turn."""
    first = make_turn([11, 12], (1, 2))
    second = make_turn([13], (1, 2, 11, 12, 90, 91), valid=False)
    third = make_turn([14, 15, 16], (1, 2, 11, 12, 90, 91, 13, 92), valid=False)
    return [episode(0, 0, [first, second, third], 1.0), episode(1, 0, [make_turn([17], (3,))])]
