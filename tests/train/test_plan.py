"""The plan of micro-batches: equal numbers of passes everywhere, every row once, bounded and balanced cost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdar_cli.train.plan import Size, padded_tokens, plan_rows

SIZES = st.lists(st.builds(Size, st.integers(1, 60), st.integers(1, 30)), max_size=40)


def cost(sizes: list[Size], batch: list[int]) -> int:
    return padded_tokens([sizes[i] for i in batch])


@given(sizes=SIZES, processes=st.integers(1, 5), rows=st.integers(1, 9), tokens=st.sampled_from([0, 50, 200, 1000]))
def test_every_process_makes_as_many_passes_and_every_row_is_there_once(
    sizes: list[Size], processes: int, rows: int, tokens: int
) -> None:
    plan = plan_rows(sizes, processes, rows, tokens)
    assert len(plan) == processes and len({len(batches) for batches in plan}) == 1
    assert sorted(i for batches in plan for batch in batches for i in batch) == list(range(len(sizes)))
    for batches in plan:
        for batch in batches:
            assert len(batch) <= rows
            assert not tokens or len(batch) <= 1 or cost(sizes, batch) <= tokens
    assert plan == plan_rows(list(sizes), processes, rows, tokens), "not a function of its arguments alone"


@given(sizes=SIZES, processes=st.integers(1, 5), rows=st.integers(1, 9))
def test_costs_fall_from_round_to_round(sizes: list[Size], processes: int, rows: int) -> None:
    """So the cost of a round is as equal as sorting can make it, and the costliest is the first."""
    plan = plan_rows(sizes, processes, rows)
    in_order = [cost(sizes, batch) for number in zip(*plan, strict=True) for batch in number]
    assert in_order == sorted(in_order, reverse=True)


@given(sizes=SIZES, processes=st.integers(2, 5), rows=st.integers(1, 9))
def test_a_filler_stands_only_where_nothing_can_be_halved(sizes: list[Size], processes: int, rows: int) -> None:
    batches = [batch for part in plan_rows(sizes, processes, rows) for batch in part]
    if [] in batches:
        assert max(map(len, batches)) == 1
        assert sum(batch == [] for batch in batches) < processes


def test_a_plan_by_hand() -> None:
    """Widths 12, 9, 7, 3, 2.  Three rows a batch: 12+9+7 and 3+2; three processes: the first is halved."""
    sizes = [Size(1, 2), Size(8, 4), Size(1, 1), Size(5, 4), Size(5, 2)]
    assert plan_rows(sizes, 1, 3) == [[[1, 3, 4], [0, 2]]]
    assert plan_rows(sizes, 3, 3) == [[[1, 3]], [[4]], [[0, 2]]]
    assert padded_tokens([Size(8, 4), Size(5, 4)]) == 24 and padded_tokens([Size(9, 1), Size(1, 9)]) == 36


def test_tokens_bound_the_padded_size() -> None:
    """Two rows of 12 tokens are 24; a row beyond the bound is alone and not lost."""
    sizes = [Size(6, 6)] * 4 + [Size(40, 20)]
    assert plan_rows(sizes, 1, 64, 24) == [[[4], [0, 1], [2, 3]]]
    assert plan_rows(sizes, 1, 64, 23) == [[[4], [0], [1], [2], [3]]]


def test_fewer_rows_than_processes() -> None:
    assert plan_rows([Size(2, 2)], 3, 8) == [[[0]], [[]], [[]]]
    assert plan_rows([], 2, 8) == [[], []]


@pytest.mark.parametrize("processes, rows", [(0, 1), (1, 0)])
def test_nonsense_is_refused(processes: int, rows: int) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        plan_rows([Size(1, 1)], processes, rows)
