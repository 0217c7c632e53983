"""Asking a server again until it answers, or until a number of tries or a budget of seconds is spent."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

BUDGET = 45.0
"""Seconds a request may take, all tries together: longer than a restart of half a minute."""
FIRST_WAIT, LONGEST_WAIT = 0.2, 4.0
"""Seconds between two tries; they double."""
JITTER = 0.25
"""Share by which a pause is longer or shorter at random, so that many clients do not ask at once."""
AGAIN = frozenset({429, 500, 502, 503, 504})
"""HTTP statuses that may pass."""
_JITTER = random.Random()  # not the module's: a failure must not move the seeded draws of a run
Answer = TypeVar("Answer")


class TryAgainError(Exception):
    """A failure that may pass.  ``wait``: the pause in seconds that the server asks for, where it does."""

    def __init__(self, why: str, wait: float | None = None) -> None:
        super().__init__(why)
        self.wait = wait


@dataclass(frozen=True)
class Backoff:
    """When to ask again: pauses in seconds, doubled from ``first`` to ``longest``; at most ``tries`` within ``budget``.

    jitter: share of a pause that is random, either way.  A pause that a server asks for is taken as it is.
    """

    first: float
    longest: float
    jitter: float = 0.0
    tries: float = math.inf
    budget: float = math.inf


def retry(
    ask: Callable[[float], Answer],
    backoff: Backoff,
    unavailable: Callable[[str], Exception],
    sleep: Callable[[float], None] = time.sleep,
) -> Answer:
    """The answer of ``ask(until)``, asked again after a pause while it raises TryAgainError.

    until: when the budget is spent, on ``time.monotonic``'s clock; infinity without one.
    Raises ``unavailable(last failure)`` once the tries or the budget are spent.
    """
    until = time.monotonic() + backoff.budget
    wait, tries = backoff.first, 0
    while True:
        try:
            return ask(until)
        except TryAgainError as error:
            tries += 1
            pause = wait * _JITTER.uniform(1 - backoff.jitter, 1 + backoff.jitter) if error.wait is None else error.wait
            if tries >= backoff.tries or time.monotonic() + pause > until:
                raise unavailable(str(error)) from error
        sleep(pause)
        wait = min(2 * wait, backoff.longest)


def retry_with_deadline(
    ask: Callable[[float], Answer], budget: float, unavailable: Callable[[float, str], Exception]
) -> Answer:
    """``retry`` for ``budget`` seconds.  Raises ``unavailable(budget, last failure)`` once they are spent."""
    backoff = Backoff(FIRST_WAIT, LONGEST_WAIT, JITTER, budget=budget)
    return retry(ask, backoff, lambda why: unavailable(budget, why))
