"""How often each test and interval is wrong in a world where the truth is known: nominal 5 %, at most 7 % allowed.

The default run is a small twin of the slow one.  ``python -m pytest -m slow -s`` on this file prints the rates that
docs/statistics.md quotes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from sdar_cli.stats import Difference, holm, paired, seed_by_seed, t_interval, two_level, welch, wilson

from .simulation import simulate

WORST = 0.07
SEED_SDS = (0.0, 0.2, 0.5, 1.0)
EFFECT = 0.3
"""Of the second method, on the logit scale: about 5 points."""

Judge = Callable[[np.ndarray, np.ndarray], Difference]


def by_welch(first_ST: np.ndarray, second_ST: np.ndarray) -> Difference:
    return welch(first_ST.mean(1).tolist(), second_ST.mean(1).tolist())


def by_seed(first_ST: np.ndarray, second_ST: np.ndarray) -> Difference:
    return seed_by_seed(first_ST.mean(1).tolist(), second_ST.mean(1).tolist())


def by_two_level(first_ST: np.ndarray, second_ST: np.ndarray) -> Difference:
    return two_level(first_ST, second_ST, draws=400)


def pooled(first_ST: np.ndarray, second_ST: np.ndarray) -> Difference:
    """What must not be done: every (seed, task) as a pair of its own."""
    return paired(first_ST.ravel().tolist(), second_ST.ravel().tolist())


def error_rates(
    judge: Judge, studies: int, seeds: int, seed_sd: float, overall: bool, shared_sd: float = 0.0
) -> dict[str, float]:
    """Share of studies that see a difference where there is none, and whose interval misses a true one."""
    null = simulate(studies, seeds, seed_sd, shared_sd=shared_sd).outcomes
    world = simulate(studies, seeds, seed_sd, (0.0, EFFECT), rng_seed=1, shared_sd=shared_sd)
    found = [judge(study[0], study[1]) for study in world.outcomes]
    truth = np.full(studies, world.overall[1] - world.overall[0])
    if not overall:
        truth = world.on_panel[:, 1] - world.on_panel[:, 0]
    return {
        "false positives": float(np.mean([judge(study[0], study[1]).p < 0.05 for study in null])),
        "misses": float(np.mean([not f.low <= t <= f.high for f, t in zip(found, truth, strict=True)])),
        "power": float(np.mean([f.p < 0.05 for f in found])),
    }


def check(name: str, rates: dict[str, float]) -> None:
    print(name, {key: f"{100 * rate:.1f} %" for key, rate in rates.items()})
    assert rates["false positives"] <= WORST
    assert rates["misses"] <= WORST


def grid(small: list[tuple[int, float]], studies: int = 600) -> list[object]:
    """(studies, seeds, seed_sd): a few small ones, and all as slow."""
    every = [(seeds, sd) for seeds in (3, 4, 5) for sd in SEED_SDS]
    slow = [pytest.param(4000, *point, marks=pytest.mark.slow, id=f"slow-{point[0]}-{point[1]}") for point in every]
    return [*(pytest.param(studies, *point) for point in small), *slow]


@pytest.mark.parametrize("studies, seeds, seed_sd", grid([(3, 0.2), (3, 1.0), (5, 0.5)]))
def test_welch(studies: int, seeds: int, seed_sd: float) -> None:
    check(f"Welch, {seeds} seeds of sd {seed_sd}:", error_rates(by_welch, studies, seeds, seed_sd, overall=False))


@pytest.mark.parametrize("studies, seeds, seed_sd", grid([(3, 0.2), (5, 0.5)]))
def test_seed_by_seed(studies: int, seeds: int, seed_sd: float) -> None:
    """Where the methods' seeds have nothing in common."""
    check(f"seed by seed, {seeds} seeds of sd {seed_sd}:", error_rates(by_seed, studies, seeds, seed_sd, overall=False))


@pytest.mark.parametrize("studies", [600, pytest.param(4000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("seeds", [5, 8])
def test_seeds_that_share_their_luck(studies: int, seeds: int) -> None:
    """Of sd 0.7, next to 0.2 of their own: Welch's test is then too careful, and the pairs see what it misses."""
    welchs, pairs = (error_rates(judge, studies, seeds, 0.2, False, 0.7) for judge in (by_welch, by_seed))
    check(f"shared luck, Welch, {seeds} seeds:", welchs)
    check(f"shared luck, seed by seed, {seeds} seeds:", pairs)
    assert welchs["false positives"] < 0.02 and pairs["power"] > 3 * welchs["power"]


@pytest.mark.parametrize("studies, seeds, seed_sd", grid([(3, 0.2), (3, 1.0)], 250))
def test_two_level_bootstrap(studies: int, seeds: int, seed_sd: float) -> None:
    name = f"two-level, {seeds} seeds of sd {seed_sd}:"
    check(name, error_rates(by_two_level, studies, seeds, seed_sd, overall=True))


@pytest.mark.parametrize("studies, seeds, seed_sd", grid([(3, 0.2), (5, 1.0)]))
def test_t_interval(studies: int, seeds: int, seed_sd: float) -> None:
    """Of a method's success on this panel, over all seeds it might have had."""
    world = simulate(studies, seeds, seed_sd, (0.3,))
    found = [t_interval(study[0].mean(1).tolist()) for study in world.outcomes]
    misses = np.mean([not f.low <= t <= f.high for f, t in zip(found, world.on_panel[:, 0], strict=True)])
    print(f"t interval, {seeds} seeds of sd {seed_sd}: misses {100 * misses:.1f} %")
    assert misses <= WORST


@pytest.mark.parametrize("base", [-3.0, -1.0, 0.0, 2.0])
def test_wilson(base: float) -> None:
    """One checkpoint on tasks drawn anew; its seed is no part of what Wilson's interval speaks of."""
    world = simulate(4000, 1, 0.0, (base,))
    bounds = [wilson(int(study.sum()), study.size) for study in world.outcomes]
    misses = np.mean([not low <= world.overall[0] <= high for low, high in bounds])
    print(f"Wilson at {world.overall[0]:.2f}: misses {100 * misses:.1f} %")
    assert misses <= WORST


@pytest.mark.parametrize("plays, base, studies", [(1, -2.0, 1500), (1, 0.0, 1500), (3, 0.0, 250)])
def test_paired(plays: int, base: float, studies: int) -> None:
    """Two checkpoints equally good over all tasks, then two that are not."""
    null = simulate(studies, 1, 0.0, (base, base), plays).outcomes[:, :, 0]
    false = np.mean([paired(a.tolist(), b.tolist(), plays).p < 0.05 for a, b in null])
    world = simulate(studies, 1, 0.0, (base, base + EFFECT), plays, rng_seed=1)
    truth = world.overall[1] - world.overall[0]
    found = [paired(a.tolist(), b.tolist(), plays) for a, b in world.outcomes[:, :, 0]]
    misses = float(np.mean([not f.low <= truth <= f.high for f in found]))
    power = float(np.mean([f.p < 0.05 for f in found]))
    check(f"paired, {plays} plays, base {base}:", {"false positives": float(false), "misses": misses, "power": power})


def test_holm_over_six_comparisons() -> None:
    """Four equal methods, all pairs by Welch: any difference named is a mistake."""
    world = simulate(800, 3, 0.5, (0.0,) * 4)
    pairs = [(i, j) for i in range(4) for j in range(i)]
    raw = [[by_welch(study[i], study[j]).p for i, j in pairs] for study in world.outcomes]
    corrected = np.mean([min(holm(ps)) < 0.05 for ps in raw])
    uncorrected = np.mean([min(ps) < 0.05 for ps in raw])
    print(f"Holm, six comparisons: {100 * corrected:.1f} %, uncorrected {100 * uncorrected:.1f} %")
    assert corrected <= WORST < 0.12 < uncorrected


def test_pooling_seeds_is_why_there_are_two_tests() -> None:
    """McNemar over pooled seeds calls equal methods different far too often."""
    null = simulate(300, 3, 0.3).outcomes
    rate = np.mean([pooled(study[0], study[1]).p < 0.05 for study in null])
    print(f"McNemar over pooled seeds: {100 * rate:.1f} %")
    assert rate > 0.12
