"""The report of ``sdar probe``, as it stands in ``probe.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict


class Interval(TypedDict):
    """A cosine with the limits of its bootstrap interval."""

    cosine: float
    low: float
    high: float


class Comparison(TypedDict):
    """What the gradients of one estimator say: see ``probe.compare``."""

    norm: float
    between_halves: Interval | None
    with_exact: Interval | None
    with_policy: float | None
    equal_norm_coef: float | None
    noise: bool


class EstimatorReport(Comparison):
    """The comparison of a named estimator; ``own``: whether it is the loss of the configured method."""

    name: str
    gate: str | None
    objective: str
    own: bool


class Figures(TypedDict):
    """What was played and what the gradients on it say.

    halves: ids of the tasks of each half.  batch: counts and rollout metrics; teacher: shares and means of the
    teacher's prompts.  parameters: of the gradients; sketch: the sums kept of each, None where they are kept whole.
    all_turns, per_turn: ``gradients.turn_statistics``.  own: a sentence about the coefficient of the configured method.
    """

    schema: int
    created: str
    config: Mapping[str, object]
    settings: Mapping[str, object]
    halves: list[list[str]]
    batch: Mapping[str, float]
    teacher: Mapping[str, float]
    parameters: int
    sketch: int | None
    estimators: list[EstimatorReport]
    all_turns: Mapping[str, float | None]
    per_turn: list[Mapping[str, float | None]]
    own: str
    warnings: list[str]


class ProbeReport(Figures):
    """With where it comes from, and how long it took."""

    provenance: Mapping[str, object]
    seconds: Mapping[str, float]


class NamedReport(ProbeReport):
    """With what was probed: a run's checkpoint, or a model."""

    probed: str
