"""Asking a server again until it answers or a budget of seconds is spent."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

BUDGET = 45.0
"""Seconds a request may take, all tries together: longer than a restart of half a minute."""
FIRST_WAIT, LONGEST_WAIT = 0.2, 4.0
"""Seconds between two tries; they double."""
AGAIN = frozenset({429, 500, 502, 503, 504})
"""HTTP statuses that may pass."""
_JITTER = random.Random()  # not the module's: a failure must not move the seeded draws of a run
Answer = TypeVar("Answer")


class TryAgainError(Exception):
    """A failure that may pass."""


def retry_with_deadline(
    ask: Callable[[float], Answer], budget: float, unavailable: Callable[[float, str], Exception]
) -> Answer:
    """The answer of ``ask(until)``, asked again with longer and longer pauses while it raises TryAgainError.

    budget: seconds; ``until`` is their end on ``time.monotonic``'s clock.
    Raises ``unavailable(budget, last failure)`` once they are spent.
    """
    until = time.monotonic() + budget
    wait = FIRST_WAIT
    while True:
        try:
            return ask(until)
        except TryAgainError as error:
            pause = wait * _JITTER.uniform(0.75, 1.25)
            if time.monotonic() + pause > until:
                raise unavailable(budget, str(error)) from error
        time.sleep(pause)
        wait = min(2 * wait, LONGEST_WAIT)
