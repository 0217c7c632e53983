"""The shapings on random episodes, against the same rules written in plain Python, and their bounds and symmetries."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import math
import statistics
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sdar_cli.algo.batch import TokenBatch
from sdar_cli.algo.registry import SHAPING
from sdar_cli.algo.shaping import SHAPINGS
from sdar_cli.base.errors import ConfigError

from .material import Turn, batch_of_turns, close, load, random_turns

ALGO = load("sdar_cli.algo")
SEEDS = st.integers(0, 10**6)
FEW = settings(max_examples=12, deadline=None, database=None)


def _by_trajectory(turns: list[Turn]) -> list[list[Turn]]:
    ordered = sorted(turns, key=lambda turn: (turn.trajectory, turn.turn))
    return [list(some) for _, some in itertools.groupby(ordered, key=lambda turn: turn.trajectory)]


def _success_rate(turns: list[Turn], group: int) -> float:
    return statistics.fmean({turn.trajectory: float(turn.won) for turn in turns if turn.group == group}.values())


def _sign(x: float) -> int:
    return (x > 0) - (x < 0)


def belief_by_hand(turns: list[Turn], coef: float, clip: float) -> dict[tuple[int, int], list[float]]:
    """AgentOPSD turn by turn: {(trajectory, turn): shaped advantage of each token}."""
    result = {}
    for some in _by_trajectory(turns):
        rate = min(max(_success_rate(turns, some[0].group), 1e-3), 1 - 1e-3)
        carried, last, revisions = 0.0, rate, []
        for turn in some:
            carried = 0.95 * carried + sum(turn.gaps)
            now = 1 / (1 + math.exp(-(math.log(rate / (1 - rate)) + carried)))
            revisions.append(_sign(turn.advantage) * (now - last))
            last = now
        mean, deviation = statistics.fmean(revisions), statistics.pstdev(revisions)
        for turn, q in zip(some, revisions, strict=True):
            w = min(max(1 + clip * (q - mean) / (deviation + 1e-6), 1 - clip), 1 + clip) if len(some) > 1 else 1.0
            result[turn.trajectory, turn.turn] = [turn.advantage * (1 - coef + coef * w)] * len(turn.gaps)
    return result


def grsd_by_hand(turns: list[Turn], coef: float, clip: float) -> dict[tuple[int, int], list[float]]:
    result = {}
    for group in {turn.group for turn in turns}:
        some = [turn for turn in turns if turn.group == group]
        credit = [math.expm1(_sign(turn.advantage) * statistics.fmean(turn.gaps)) for turn in some]
        size = statistics.fmean(map(abs, credit)) + 1e-6
        for turn, g in zip(some, credit, strict=True):
            factor = max(1 + coef * min(max(g / size, -3), 3), 0.1)
            mixed = 0 < _success_rate(turns, group) < 1
            shaped = turn.advantage * (factor if mixed else 1.0)
            result[turn.trajectory, turn.turn] = [shaped] * len(turn.gaps)
    return result


def t_dur_by_hand(turns: list[Turn], coef: float, clip: float) -> dict[tuple[int, int], list[float]]:
    def share(values: list[float]) -> list[float]:
        low, high = min(values), max(values)
        return [(value - low) / (high - low) if high > low else 0.5 for value in values]

    result = {}
    for some in _by_trajectory(turns):
        d = [statistics.fmean(map(abs, turn.gaps)) for turn in some]
        h = [-statistics.fmean(turn.logps or [-1.0]) for turn in some]
        weights = [x + y - x * y for x, y in zip(share(d), share(h), strict=True)]
        for turn, weight in zip(some, weights, strict=True):
            w = 1.0 if len(some) < 3 or max(d) < 0.01 else weight
            result[turn.trajectory, turn.turn] = [turn.advantage + coef * w * gap for gap in turn.gaps]
    return result


def rlsd_by_hand(turns: list[Turn], coef: float, clip: float) -> dict[tuple[int, int], list[float]]:
    def factor(turn: Turn, gap: float) -> float:
        return min(max(math.exp(_sign(turn.advantage) * gap), 1 - clip), 1 + clip)

    return {
        (turn.trajectory, turn.turn): [turn.advantage * (1 + coef * (factor(turn, gap) - 1)) for gap in turn.gaps]
        for turn in turns
    }


BY_HAND: dict[str, Callable[[list[Turn], float, float], dict[tuple[int, int], list[float]]]] = {
    "rlsd": rlsd_by_hand,
    "belief": belief_by_hand,
    "grsd": grsd_by_hand,
    "t-dur": t_dur_by_hand,
}


def _change(turns: list[Turn], name: str, coef: float, clip: float) -> tuple[TokenBatch, Tensor, Tensor]:
    """(batch, advantages before, advantages after), (R, T) each."""
    batch = batch_of_turns(ALGO, turns)
    before = torch.where(batch.mask, batch.advantage[:, None], 0.0)
    return batch, before, SHAPINGS[name](batch, coef, clip)


@FEW
@given(SEEDS, st.floats(0, 2), st.floats(0.05, 0.9), st.data())
def test_plain_python_agrees_in_any_order_of_rows(seed: int, coef: float, clip: float, data: st.DataObject) -> None:
    turns = data.draw(st.permutations(random_turns(seed)))
    for name, by_hand in BY_HAND.items():
        batch, _, after = _change(turns, name, coef, clip)
        expected = by_hand(turns, coef, clip)
        flat = [value for turn in turns for value in expected[turn.trajectory, turn.turn]]
        close(after[batch.mask], flat)


@FEW
@given(SEEDS, st.floats(0, 1), st.floats(0.05, 0.9))
def test_bounds(seed: int, coef: float, clip: float) -> None:
    turns = random_turns(seed)
    for name, low, high in (
        ("rlsd", 1 - coef * clip, 1 + coef * clip),
        ("belief", 1 - coef * clip, 1 + coef * clip),
        ("grsd", 0.1, 1 + 3 * coef),
    ):
        batch, before, after = _change(turns, name, coef, clip)
        factor = (after / before)[batch.mask]
        assert (factor >= low - 1e-9).all() and (factor <= high + 1e-9).all(), name
    batch, before, after = _change(turns, "t-dur", coef, clip)
    gap = torch.where(batch.mask, batch.teacher - batch.student, 0.0)
    added = after - before
    assert (added * gap >= -1e-9).all() and (added.abs() <= coef * gap.abs() + 1e-9).all()


@FEW
@given(SEEDS)
def test_the_other_sign_of_the_advantage(seed: int) -> None:
    """A group seen from the loser's side: with gap and advantage both negated, rlsd and grsd give the negation."""
    turns = random_turns(seed)
    mirrored = [dataclasses.replace(t, gaps=[-gap for gap in t.gaps], advantage=-t.advantage) for t in turns]
    for name in ("rlsd", "grsd", "t-dur"):
        close(_change(mirrored, name, 0.5, 0.2)[2], -_change(turns, name, 0.5, 0.2)[2])


@FEW
@given(SEEDS)
def test_trajectories_of_other_groups_change_nothing(seed: int) -> None:
    turns = random_turns(seed)
    for name in SHAPINGS:
        whole = _change(turns, name, 0.5, 0.2)[2]
        for group in range(3):
            rows = [row for row, turn in enumerate(turns) if turn.group == group]
            alone = _change([turns[row] for row in rows], name, 0.5, 0.2)[2]
            close(whole[rows, : alone.shape[1]], alone)


@pytest.mark.parametrize("name", ["rlsd", "grsd"])
def test_only_the_sign_of_the_advantage_reaches_the_factor(name: str) -> None:
    turns = random_turns(11)
    larger = [dataclasses.replace(turn, advantage=7 * turn.advantage) for turn in turns]
    close(_change(larger, name, 0.5, 0.2)[2], 7 * _change(turns, name, 0.5, 0.2)[2])


@pytest.mark.parametrize("won", [True, False])
@pytest.mark.parametrize("gap", [0.3, 40.0, -40.0, 700.0])
def test_groups_without_a_contrast_stay_finite(won: bool, gap: float) -> None:
    turns = [Turn(k // 4, k % 4, [gap, -gap / 2], 1.0 if won else -1.0, won) for k in range(12)]
    for name in SHAPINGS:
        batch, _, after = _change(turns, name, 0.5, 0.2)
        assert after.isfinite().all()
        low = dataclasses.replace(
            batch, **{field: getattr(batch, field).float() for field in ("student", "teacher", "advantage")}
        )
        result = SHAPINGS[name](low, 0.5, 0.2)
        assert result.dtype == torch.float32 and result.isfinite().all()


def test_belief_counts_each_turn_once_however_long_it_is() -> None:
    """A turn's evidence is the sum over its tokens: how it is spread over them changes nothing."""
    plain = [Turn(0, 0, [0.8], 1.0, True), Turn(0, 1, [-0.3], 1.0, True), Turn(0, 2, [0.1], 1.0, True)]
    fine = [Turn(0, 0, [0.2] * 4, 1.0, True), *plain[1:]]
    close(_change(fine, "belief", 1.0, 0.2)[2][:, 0], _change(plain, "belief", 1.0, 0.2)[2][:, 0])


def test_names_and_import_paths() -> None:
    assert inspect.unwrap(SHAPING.bind("sdar_cli.algo.shaping:t_dur")) is SHAPINGS["t-dur"]
    with pytest.raises(ConfigError) as caught:
        SHAPING.bind("believe")
    assert caught.value.what == "unknown shaping 'believe'; did you mean 'belief'?"
    assert caught.value.why == "the names are: none, rlsd, belief, grsd, t-dur"
