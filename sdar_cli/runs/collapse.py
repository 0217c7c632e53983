"""Signs that a policy has collapsed: it repeats itself, its actions are invalid, or it plays worse than before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

ENTROPY_LEFT = 0.02
"""Share of the first step's entropy below which a policy hardly varies."""
INVALID, INVALID_BEFORE = 0.9, 0.5
"""Share of invalid actions that is a collapse, where the first step had at most the second."""
SUCCESS_LEFT = 0.5
"""Share of the success before training below which training has done harm ..."""
SUCCESS_LOST = 0.1
"""... where it is also this much lower."""


def step_signs(first: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """What a step's metrics say against those of the first step, in words, by the metric that says it."""
    found = {}
    before, after = _number(first, "entropy"), _number(now, "entropy")
    if before is not None and after is not None and before > 0 and after < ENTROPY_LEFT * before:
        fell = f"fell from {before:.3g} to {after:.3g} nats by step {now.get('step')}"
        found["entropy"] = f"the policy's entropy {fell}: it repeats itself"
    before, after = _number(first, "invalid_ratio"), _number(now, "invalid_ratio")
    if before is not None and after is not None and before <= INVALID_BEFORE and after >= INVALID:
        found["invalid_ratio"] = (
            f"invalid actions rose from {100 * before:.0f} % to {100 * after:.0f} % by step {now.get('step')}"
        )
    return found


def success_sign(before: float | None, after: float | None, what: str) -> str | None:
    """Held-out success far below that before training, in words; what: the kind of evaluation."""
    if before is None or after is None or before - after < SUCCESS_LOST or after >= SUCCESS_LEFT * before:
        return None
    return f"success {what} fell from {100 * before:.1f} % before training to {100 * after:.1f} %"


class CollapseWatch:
    """The signs of a run's steps, each said once."""

    def __init__(self, earlier: Sequence[Mapping[str, Any]] = ()) -> None:
        self._first: Mapping[str, Any] | None = None
        self.said: dict[str, str] = {}
        for metrics in earlier:
            self.new(metrics)

    def new(self, metrics: Mapping[str, Any]) -> list[str]:
        """The signs that this step is the first to show."""
        if self._first is None:
            self._first = dict(metrics)
        found = {key: text for key, text in step_signs(self._first, metrics).items() if key not in self.said}
        self.said |= found
        return list(found.values())


def _number(metrics: Mapping[str, Any], key: str) -> float | None:
    value = metrics.get(key)
    return value if isinstance(value, int | float) else None
