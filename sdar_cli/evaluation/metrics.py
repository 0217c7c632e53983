"""What is measured on the episodes of an evaluation: one entry per metric, read by tables, comparisons and reports.

A new metric is one entry of ``METRICS``, or a guest's ``package.module:metric`` in ``eval.metrics``: a ``Metric``, or a
function of an episode.  Shown are success, the score where the benchmark has one, and what ``eval.metrics`` names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from sdar_cli.base.errors import ConfigError, SdarError
from sdar_cli.base.plugins import blame
from sdar_cli.config.plugs import METRIC
from sdar_cli.runs.records import EpisodeRecord
from sdar_cli.runs.results import RATE, MetricLabel

Over = Literal["episodes", "known", "turns", "sum"]
OfEpisode = Callable[[EpisodeRecord], float | None]


@dataclass(frozen=True)
class Metric:
    """A number per episode, and how it is averaged over episodes.

    name: its key in files, an identifier.  title: for people.  unit: ``%`` for a share in [0, 1], shown in per cent.
    of_episode: its value; None where an episode has none.  over: ``episodes``, the mean over all, where one without a
    value counts as 0; ``known``, the mean over those that have a value; ``turns``, the sum over the number of turns;
    ``sum``.
    """

    name: str
    title: str
    unit: str
    of_episode: OfEpisode
    over: Over = "known"

    @property
    def label(self) -> MetricLabel:
        """How it is shown."""
        return MetricLabel(self.name, self.title, self.unit)

    def value(self, episode: EpisodeRecord) -> float | None:
        """Its value for an episode.  Raises RunFailedError naming the line of a guest's function that failed."""
        try:
            found = self.of_episode(episode)
        except SdarError:
            raise
        except Exception as error:
            raise blame(f"metric {self.name!r}", error) from error
        if found is None:
            return None
        if not isinstance(found, int | float) or not math.isfinite(found):
            raise ConfigError(f"metric {self.name!r} returned {found!r}", fix="return a finite number, or None")
        return float(found)

    def mean(self, episodes: Sequence[EpisodeRecord]) -> float | None:
        """Its value over episodes; None where it is averaged over those with a value and there are none."""
        values = [self.value(episode) for episode in episodes]
        known = [value for value in values if value is not None]
        total = sum(known)
        if self.over == "sum":
            return total
        if self.over == "known":
            return total / len(known) if known else None
        parts = len(values) if self.over == "episodes" else sum(len(episode.turns) for episode in episodes)
        return total / max(1, parts)


METRICS: dict[str, Metric] = {
    "success": Metric("success", "success", "%", lambda episode: episode.won, "episodes"),
    # an episode that ends without a score, such as one without a purchase, scores 0
    "score": Metric("score", "score", "%", lambda episode: episode.score, "episodes"),
    "turns": Metric("turns", "turns per episode", "", lambda episode: len(episode.turns), "episodes"),
    "invalid_ratio": Metric(
        "invalid_ratio", "invalid actions", "%", lambda episode: sum(not turn.valid for turn in episode.turns), "turns"
    ),
    "failed": Metric("failed", "failed episodes", "", lambda episode: episode.failure is not None, "sum"),
}
"""What ships here, by name."""


def measure(name: str, episodes: Sequence[EpisodeRecord]) -> float:
    """A built-in metric over episodes; 0 for none."""
    return METRICS[name].mean(episodes) or 0.0


def load_metrics(names: Sequence[str]) -> tuple[Metric, ...]:
    """The metrics of names or import paths, each once.  Raises ConfigError for what is no metric."""
    found = {metric.name: metric for metric in map(_load, names)}
    if len(found) < len(set(names)):
        raise ConfigError(f"two of the metrics {', '.join(names)} have one name", fix="give each a name of its own")
    return tuple(found.values())


def _load(name: str) -> Metric:
    found = METRIC.load(name)
    if not isinstance(found, Metric):
        if not callable(found):
            raise ConfigError(
                f"{name} is no metric",
                why=f"it is a {type(found).__name__}",
                fix="a Metric, or a function of an episode",
            )
        own = str(getattr(found, "__name__", name.rpartition(":")[2]))
        found = Metric(own, own.replace("_", " "), "", found)
    taken = found.name in (*RATE, *METRICS) and found is not METRICS.get(found.name)
    if taken or not found.name.isidentifier():
        raise ConfigError(
            f"a metric cannot have the name {found.name!r}", fix="give it an identifier that no other metric has"
        )
    return found
