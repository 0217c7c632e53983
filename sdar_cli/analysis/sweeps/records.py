"""What a sweep found, as data: points over their seeds, verdicts, and the whole of ``results.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from sdar_cli.analysis.compare.comparison import Comparison
from sdar_cli.runs.results import MetricLabel
from sdar_cli.sweep.outcome import Outcome


@dataclass(frozen=True)
class SeedMeans:
    """A measure over ``n`` seeds: mean, 95 % t interval (infinite for one seed), and the value of each."""

    n: int
    mean: float
    low: float
    high: float
    values: Sequence[float]


@dataclass(frozen=True)
class PointResult:
    """One point of a sweep.  Measures are None where a run has not got them; they are explained in ``Outcome``.

    before: success without and with the skill before training.  metrics: the others that the evaluations show.  paper:
    the paper's figure.
    """

    point: str
    success: SeedMeans | None = None
    with_skill: SeedMeans | None = None
    score: SeedMeans | None = None
    early: SeedMeans | None = None
    best: SeedMeans | None = None
    curve: SeedMeans | None = None
    metrics: Mapping[str, SeedMeans | None] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)
    steps: int | None = None
    before: Mapping[str, float | None] = field(default_factory=dict)
    runs: Sequence[Outcome] = ()
    paper: object = None

    def to_json(self) -> Mapping[str, object]:
        """JSON-ready."""
        return {**asdict(self), "runs": [outcome.to_json() for outcome in self.runs]}


@dataclass(frozen=True)
class Verdict:
    """Whether a measure has a winner.  alike: points that cannot be distinguished from the highest."""

    measure: str
    highest: str
    winner: str | None
    alike: Sequence[str]
    text: str


@dataclass(frozen=True)
class SweepResults:
    """What a sweep found.  metrics: how those of the points are shown.  not_compared: why there is no comparison.
    unfinished: runs that are not done, and how they are."""

    sweep: str
    seeds: Sequence[int]
    early_steps: int
    points: Sequence[PointResult]
    comparison: Comparison | None
    verdicts: Sequence[Verdict]
    not_compared: str | None
    metrics: Sequence[MetricLabel]
    paper_note: str | None
    unfinished: Mapping[str, str]

    def to_json(self) -> Mapping[str, object]:
        """JSON-ready."""
        return {
            "sweep": self.sweep,
            "seeds": self.seeds,
            "early_steps": self.early_steps,
            "points": [point.to_json() for point in self.points],
            "comparison": self.comparison.to_json() if self.comparison else None,
            "verdicts": [asdict(verdict) for verdict in self.verdicts],
            **({"not_compared": self.not_compared} if self.not_compared else {}),
            "metrics": [asdict(label) for label in self.metrics],
            "paper_note": self.paper_note,
            "unfinished": dict(self.unfinished),
        }
