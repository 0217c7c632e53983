"""The means over data sets that an evaluation of Search-QA reports."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from sdar_cli.envs.benchmark import Rates
from sdar_cli.envs.search.benchmark import SEARCH


def means(rates: Mapping[str, float], overall: float) -> Mapping[str, float]:
    return SEARCH.means(Rates(rates, overall))


def test_means_over_the_data_sets_of_search_qa() -> None:
    """Rates 1/2 of 2, 1/4 of 8 and 1 of 1: macro (1/2 + 1/4 + 1) / 3, micro 4/11, without Bamboogle (1/2 + 1/4) / 2."""
    rates = {"nq": 0.5, "popqa": 0.25, "bamboogle": 1.0}
    assert means(rates, 4 / 11) == {
        "macro mean": pytest.approx(7 / 12),
        "micro mean": 4 / 11,
        "macro mean without bamboogle": pytest.approx(3 / 8),
    }
    assert list(means({"nq": 0.5}, 0.5)) == ["macro mean", "micro mean"]
    assert "macro mean without bamboogle" not in means({"bamboogle": rates["nq"]}, rates["nq"])
    assert means({**rates, "direct": 1.0}, 0.5) == {}
