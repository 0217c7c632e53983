"""Schedules of the coefficients over the steps of a run.

A schedule maps (step, over, start, end) to the coefficient of that step: ``step`` counts from 1, ``over`` is the number
of steps the schedule lasts, ``start`` and ``end`` are ``algo.coef`` and ``algo.coef_end``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from sdar_cli.algo.registry import SCHEDULE

Schedule = Callable[[int, int, float, float], float]


def constant(step: int, over: int, start: float, end: float) -> float:
    """``start`` at every step."""
    return start


def linear(step: int, over: int, start: float, end: float) -> float:
    """start + (end - start) * p, p = min(step / over, 1); the first step already has p = 1 / over, as released."""
    return start + (end - start) * min(step / over, 1.0)


def warm_down(step: int, over: int, start: float, end: float) -> float:
    """start * (1 - step / over), and 0 from step ``over`` on: RLSD's as released (``end`` has no effect)."""
    return linear(step, over, start, 0.0)


def atod(step: int, over: int, start: float, end: float) -> float:
    """kappa / rho of ATOD (2606.27814, Eq. 8): kappa falls linearly from ``start`` to ``end``, rho = 1 + p rises to 2.

    ATOD's advantage kappa * A_OPD + rho * A_GRPO is rho * (A_GRPO + kappa / rho * A_OPD): rho is ``policy_coef`` with
    ``policy_coef_end`` = 2.
    """
    return linear(step, over, start, end) / linear(step, over, 1.0, 2.0)


def coefficient(schedule: Schedule | str, step: int, over: int, start: float, end: float) -> float:
    """The coefficient of ``step``.  Raises ValueError for a negative or infinite one."""
    function = SCHEDULE.bind(schedule) if isinstance(schedule, str) else schedule
    value = float(function(step, over, start, end))
    if not 0 <= value < math.inf:
        raise ValueError(f"the coefficient schedule gave {value} at step {step}; it must be finite and not negative")
    return value


SCHEDULES: dict[str, Schedule] = {
    "constant": constant,
    "linear": linear,
    "warm-down": warm_down,
    "atod": atod,
}
