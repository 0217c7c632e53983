"""Means over task types that a benchmark reports besides the mean over episodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

MeansOverTypes = Callable[[Mapping[str, float], float], Mapping[str, float] | None]
"""``means_over_types(rates, overall)``: success by task type and over all episodes, to further means by their titles;
None where the panel has none."""


def means_over_types(environment: object, rates: Mapping[str, float], overall: float) -> Mapping[str, float] | None:
    """The further means of an environment that has a ``means_over_types`` of its own, see ``MeansOverTypes``."""
    own: MeansOverTypes = getattr(environment, "means_over_types", means_over_sources)
    return own(rates, overall)


def means_over_sources(rates: Mapping[str, float], overall: float) -> dict[str, float] | None:
    """Success over Search-QA's data sets; None for other types.

    Macro is the mean of the data sets' rates, which is the paper's figure; micro that of all episodes.  Bamboogle is
    125 questions and moves the macro mean as much as any other.
    """
    from sdar_cli.envs.search.data.questions import SOURCES

    if not set(rates) <= set(SOURCES):
        return None
    means = {"macro mean": sum(rates.values()) / len(rates), "micro mean": overall}
    rest = [rate for name, rate in rates.items() if name != "bamboogle"]
    if 0 < len(rest) < len(rates):
        means["macro mean without bamboogle"] = sum(rest) / len(rest)
    return means
