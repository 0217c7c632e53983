"""What an evaluation found, as it stands in ``eval/*.json``: rates, the result of each setting, the whole report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import inf
from pathlib import Path
from typing import Any

from sdar_cli.base.errors import RunFailedError
from sdar_cli.base.typed import check_fields
from sdar_cli.runs import older
from sdar_cli.runs.records import SCHEMA
from sdar_cli.stats import PairedDifference

INTERVAL = "Wilson 95 %, sampling error of tasks only"


OLDER_HASHES = "earlier versions hashed the names of game files only, so their hash of the same games is another"
"""Why the panel of an older run and that of a newer one may differ."""


@dataclass(frozen=True)
class Rate:
    """Success over episodes with its Wilson interval (fractions), and the means of the metrics that are shown."""

    won: int
    of: int
    success: float
    low: float
    high: float
    metrics: Mapping[str, float | None] = field(default_factory=dict)

    def to_json(self) -> Mapping[str, object]:
        """Flat: the metrics stand next to success, by their names."""
        return {"won": self.won, "of": self.of, "success": self.success, "low": self.low, "high": self.high,
                **self.metrics}  # fmt: skip

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Rate:
        """Raises KeyError for a row that is no rate."""
        own = {name: row[name] for name in RATE}
        return cls(**own, metrics={name: value for name, value in row.items() if name not in RATE})


RATE = ("won", "of", "success", "low", "high")
"""Keys of a rate's own; a metric cannot have one of these names."""


@dataclass(frozen=True)
class MetricLabel:
    """How a metric is shown: name in files, title for people, and unit (``%``: a share in [0, 1])."""

    name: str
    title: str
    unit: str


@dataclass(frozen=True)
class PanelRecord:
    """Which tasks were played."""

    split: str
    tasks: int
    sha256: str


@dataclass(frozen=True)
class EvaluationResult:
    """One setting of a panel: success overall and per task type, over all sampling seeds.

    per_seed: success of each seed; mean and sd_over_sampling_seeds of those.  means: further means over task types that
    the benchmark reports.  mean_turns: turns per episode.  invalid_ratio: invalid actions per turn.  failed: episodes
    that the environment broke, which count as lost.  tagger: what the scores depend on.  metrics: those in the rates.
    """

    label: str
    with_skill: bool
    decoding: str
    temperature: float | None
    seeds: tuple[int, ...]
    panel: PanelRecord
    overall: Rate
    per_seed: tuple[float, ...]
    mean: float
    sd_over_sampling_seeds: float
    types: Mapping[str, Rate]
    means: Mapping[str, float] | None
    mean_turns: float
    invalid_ratio: float
    failed: int
    cut_prompts: int
    tagger: str | None = None
    metrics: tuple[MetricLabel, ...] = ()

    def to_json(self) -> Mapping[str, object]:
        """JSON-ready."""
        found: dict[str, object] = {
            "label": self.label,
            "with_skill": self.with_skill,
            "decoding": self.decoding,
            "temperature": self.temperature,
            "seeds": list(self.seeds),
            "panel": asdict(self.panel),
            "overall": self.overall.to_json(),
            "per_seed": list(self.per_seed),
            "mean": self.mean,
            "sd_over_sampling_seeds": self.sd_over_sampling_seeds,
            "types": {name: rate.to_json() for name, rate in self.types.items()},
            "means": self.means,
            "mean_turns": self.mean_turns,
            "invalid_ratio": self.invalid_ratio,
            "failed": self.failed,
            "cut_prompts": self.cut_prompts,
            "metrics": [asdict(metric) for metric in self.metrics],
            "interval": INTERVAL,
        }
        return {**found, **({"tagger": self.tagger} if self.tagger else {})}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> EvaluationResult:
        """A result of this schema or an earlier one.  Raises KeyError and TypeError for what is none."""
        if "metrics" not in row:
            row = older.result(row)
        return cls(
            label=row["label"],
            with_skill=row["with_skill"],
            decoding=row["decoding"],
            temperature=row["temperature"],
            seeds=tuple(row["seeds"]),
            per_seed=tuple(row["per_seed"]),
            mean=row["mean"],
            sd_over_sampling_seeds=row["sd_over_sampling_seeds"],
            means=row["means"],
            mean_turns=row["mean_turns"],
            invalid_ratio=row["invalid_ratio"],
            failed=row["failed"],
            cut_prompts=row["cut_prompts"],
            panel=PanelRecord(**row["panel"]),
            overall=Rate.from_json(row["overall"]),
            types={name: Rate.from_json(rate) for name, rate in row["types"].items()},
            tagger=row.get("tagger"),
            metrics=tuple(MetricLabel(**metric) for metric in row["metrics"]),
        )


@dataclass(frozen=True)
class Internalisation:
    """Success without and with the skill in the prompt, in one way of decoding.

    share: of the success with the skill, what is there without; None where nothing was won with it.  gain: what showing
    the skill adds, paired by task.
    """

    decoding: str
    without: float
    shown: float
    share: float | None
    gain: PairedDifference

    def to_json(self) -> Mapping[str, object]:
        """JSON-ready."""
        return {"decoding": self.decoding, "without": self.without, "with": self.shown, "share": self.share,
                "gain": asdict(self.gain)}  # fmt: skip

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Internalisation:
        """JSON holds no infinity: degrees of freedom without a number are those of the normal distribution."""
        gain = {**row["gain"], "df": inf if row["gain"]["df"] is None else row["gain"]["df"]}
        return cls(row["decoding"], row["without"], row["with"], row["share"], PairedDifference(**gain))


@dataclass(frozen=True)
class EvaluationReport:
    """A panel in every setting it was played in.

    benchmark, evaluated, internalisation: of ``sdar eval``.  shared_from: the run of a sweep that played it.
    """

    title: str
    panel: PanelRecord
    results: tuple[EvaluationResult, ...]
    benchmark: str | None = None
    evaluated: str | None = None
    internalisation: tuple[Internalisation, ...] | None = None
    shared_from: str | None = None

    def result(self, with_skill: bool) -> EvaluationResult | None:
        """The result without or with the skill in the prompt; of several ways of decoding the first."""
        return next((found for found in self.results if found.with_skill is with_skill), None)

    def to_json(self) -> Mapping[str, object]:
        """JSON-ready, with the schema number; what does not apply is left out."""
        learnt = None if self.internalisation is None else [each.to_json() for each in self.internalisation]
        optional = {"internalisation": learnt, "shared_from": self.shared_from}
        named = {"benchmark": self.benchmark, "evaluated": self.evaluated}
        return {
            "schema": SCHEMA,
            **{name: value for name, value in named.items() if value is not None},
            "title": self.title,
            "panel": asdict(self.panel),
            "results": [result.to_json() for result in self.results],
            **{name: value for name, value in optional.items() if value is not None},
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> EvaluationReport:
        """A report of this schema or an earlier one.

        Raises KeyError, TypeError or ValueError for an object that is none.
        """
        if row.get("schema", 1) > SCHEMA:
            raise ValueError(f"schema {row['schema']} is of a later version of sdar; this one reads up to {SCHEMA}")
        learnt = row.get("internalisation")
        return cls(
            title=row["title"],
            panel=PanelRecord(**row["panel"]),
            results=tuple(EvaluationResult.from_json(result) for result in row["results"]),
            benchmark=row.get("benchmark"),
            evaluated=row.get("evaluated"),
            internalisation=None if learnt is None else tuple(map(Internalisation.from_json, learnt)),
            shared_from=row.get("shared_from"),
        )


def read_report(path: Path) -> EvaluationReport:
    """The report of a file.  Raises RunFailedError where it cannot be read or is none."""
    try:
        report = EvaluationReport.from_json(json.loads(path.read_text(encoding="utf-8")))
        check_fields(report)
        return report
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RunFailedError(f"the evaluation {path} cannot be read", why=f"{type(error).__name__}: {error}") from error
