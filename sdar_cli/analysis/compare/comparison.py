"""A comparison as data: arms, measures with their intervals, and the tests of pairs of arms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from sdar_cli.runs.results import PanelRecord
from sdar_cli.stats import Difference, SeedsNeeded

TESTS = {
    "paired": "exact paired (McNemar)",
    "welch": "Welch t on seeds",
    "two_level": "two-level bootstrap",
    "seed_by_seed": "paired t, seed by seed",
}
"""The tests of a pair by their keys; each is corrected as a family of its own."""


@dataclass(frozen=True)
class Estimate:
    """An estimate and its 95 % interval.  interval: of which kind; None, with no bounds, where nothing bounds it."""

    estimate: float
    low: float | None
    high: float | None
    interval: str | None


@dataclass(frozen=True)
class ArmReport:
    """Where an arm's numbers come from.  types: label of a setting to task type to success."""

    label: str
    members: Sequence[str]
    seeds: Sequence[int]
    steps: Sequence[int | None]
    evaluations: Sequence[str]
    types: Mapping[str, Mapping[str, Estimate]]


@dataclass(frozen=True)
class ArmValue:
    """A measure of one arm: the value of each member, and the estimate over them."""

    label: str
    values: Sequence[float]
    found: Estimate

    def to_json(self) -> Mapping[str, object]:
        """Flat."""
        return {"label": self.label, "values": list(self.values), **asdict(self.found)}


@dataclass(frozen=True)
class Corrected:
    """A test of a pair.  p_holm: corrected over all pairs.  tasks_needed: of the paired test, None where none do."""

    difference: Difference
    p_holm: float
    tasks_needed: int | None = None

    def to_json(self, name: str) -> Mapping[str, object]:
        """Flat."""
        needed = {"tasks_needed": self.tasks_needed} if name == "paired" else {}
        return {**asdict(self.difference), **needed, "p_holm": self.p_holm}


@dataclass(frozen=True)
class Pair:
    """Two arms by one measure.  difference: second minus first.  tests: by the keys of ``TESTS``, those that apply."""

    first: str
    second: str
    difference: float
    tests: Mapping[str, Corrected]

    def to_json(self) -> Mapping[str, object]:
        """Flat: the tests stand next to the difference."""
        tests = {name: test.to_json(name) for name, test in self.tests.items()}
        return {"first": self.first, "second": self.second, "difference": self.difference, **tests}


@dataclass(frozen=True)
class MeasureReport:
    """One measure of every arm.  unit: ``%`` for shares, which are fractions here.  seeds_needed: of several seeds."""

    title: str
    unit: str
    arms: Sequence[ArmValue]
    pairs: Sequence[Pair]
    seeds_needed: SeedsNeeded | None = None

    def to_json(self) -> Mapping[str, object]:
        """JSON-ready."""
        needed = {"seeds_needed": asdict(self.seeds_needed)} if self.seeds_needed else {}
        return {
            "measure": self.title,
            "unit": self.unit,
            "arms": [arm.to_json() for arm in self.arms],
            "comparisons": [pair.to_json() for pair in self.pairs],
            **needed,
        }


@dataclass(frozen=True)
class SettingDifference:
    """A setting in which arms differ: its key, and what it is in each arm."""

    key: str
    values: Sequence[str]


@dataclass(frozen=True)
class Comparison:
    """Everything that is reported of the arms.

    kind: ``one`` arm, ``checkpoints``, ``methods`` or ``mixed``.  notes: what a reader must know, most important first.
    """

    kind: str
    panel: PanelRecord
    arms: Sequence[ArmReport]
    measures: Sequence[MeasureReport]
    differences: Sequence[SettingDifference]
    notes: Sequence[str]

    def to_json(self) -> Mapping[str, object]:
        """JSON-ready."""
        return {
            "kind": self.kind,
            "panel": asdict(self.panel),
            "arms": [asdict(arm) for arm in self.arms],
            "measures": [measure.to_json() for measure in self.measures],
            "differences": [asdict(row) for row in self.differences],
            "notes": list(self.notes),
        }
