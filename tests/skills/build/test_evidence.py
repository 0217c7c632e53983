"""The tests behind a rule, by hand."""

from __future__ import annotations

import math

import pytest

from sdar_cli.skills.build.evidence import Count, count, fisher_tail, normal_tail, pooled_z


def test_the_lady_tasting_tea() -> None:
    """Eight cups, four of each kind: all four right by chance once in C(8,4) = 70, three or more 1 + 16 times."""
    assert fisher_tail(4, 4, 4, 8) == pytest.approx(1 / 70)
    assert fisher_tail(3, 4, 4, 8) == pytest.approx(17 / 70)
    assert fisher_tail(0, 4, 4, 8) == 1.0
    assert Count(4, 4, 0, 4).p_helps() == pytest.approx(1 / 70)
    assert Count(0, 4, 4, 4).p_harms() == pytest.approx(1 / 70)
    assert Count(0, 4, 4, 4).p_helps() == 1.0


def test_one_side_empty_says_nothing() -> None:
    assert Count(5, 5, 0, 0).p_helps() == 1.0
    assert Count(0, 0, 3, 3).p_harms() == 1.0
    assert (Count(0, 0, 3, 4).won_share, Count(0, 0, 3, 4).lost_share) == (0.0, 0.75)


def test_agrees_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    for table in ((7, 9, 3, 11), (1, 6, 5, 5), (0, 3, 0, 4)):
        won, won_of, lost, lost_of = table
        cells = [[won, won_of - won], [lost, lost_of - lost]]
        assert Count(*table).p_helps() == pytest.approx(stats.fisher_exact(cells, alternative="greater").pvalue)
        assert Count(*table).p_harms() == pytest.approx(stats.fisher_exact(cells, alternative="less").pvalue)


def test_mantel_haenszel_by_hand() -> None:
    """One table: 3 of 4 won and 1 of 4 lost have it.  Expected 4 * 4 / 8 = 2, variance 4*4*4*4 / (64 * 7) = 4/7."""
    table = Count(3, 4, 1, 4)
    assert pooled_z([table]) == pytest.approx(1 / math.sqrt(4 / 7))
    assert pooled_z([table, table]) == pytest.approx(2 / math.sqrt(8 / 7))
    assert pooled_z([table, Count(1, 4, 3, 4)]) == 0.0
    assert pooled_z([Count(2, 2, 3, 3)]) == 0.0, "who all have it say nothing"
    assert pooled_z([]) == 0.0


def test_tables_are_compared_within_and_not_between() -> None:
    """Simpson: in all, 9 of 12 won and 4 of 12 lost have the step; within each task it goes with losing."""
    easy, hard = Count(9, 10, 2, 2), Count(0, 2, 2, 10)
    assert 9 / 12 > 4 / 12
    assert pooled_z([easy, hard]) < 0


def test_normal_tail() -> None:
    assert normal_tail(0) == 0.5
    assert normal_tail(1.959964) == pytest.approx(0.025, abs=1e-6)


def test_counting_and_wording() -> None:
    counted = count([{"a"}, {"a", "b"}], [set(), {"a"}, {"b"}], "a")
    assert counted == Count(2, 2, 1, 3)
    assert counted.words() == "2 of 2 won, 1 of 3 lost"
