"""UCB: its score by hand, its rules, and that it finds the best of five arms with logarithmic regret."""

from __future__ import annotations

import json
import math
import random

import pytest

from sdar_cli.skills.choose.bandit import Bandit, best

ARMS = {"a": 0.1, "b": 0.3, "c": 0.9, "d": 0.5, "e": 0.4}
"""Chances of a reward of 1."""
SEEDS = 20
HORIZON = 500


def test_the_score_by_hand() -> None:
    """Three groups of a: rewards 1, 0, 1; one of b: 0.5.  N = 4, ln 4 = 1.3863."""
    bandit = Bandit(c=0.5)
    for skill, reward in (("a", 1.0), ("a", 0.0), ("b", 0.5), ("a", 1.0)):
        bandit.update("heat", skill, reward)
    scores = bandit.scores("heat", ["a", "b", "new"])
    assert scores["a"] == pytest.approx(2 / 3 + 0.5 * math.sqrt(1.386294 / 3), abs=1e-6)  # 1.0066
    assert scores["b"] == pytest.approx(1 / 2 + 0.5 * math.sqrt(1.386294 / 1), abs=1e-6)  # 1.0887
    assert scores["new"] == math.inf
    assert best(scores) == "new", "what was never tried comes first"
    assert best({name: scores[name] for name in "ab"}) == "b"
    assert bandit.means("heat", ["a", "b", "new"]) == {"a": pytest.approx(2 / 3), "b": 0.5}


def test_types_know_nothing_of_each_other() -> None:
    bandit = Bandit(c=1.0)
    bandit.update("heat", "a", 1.0)
    assert bandit.scores("cool", ["a"]) == {"a": math.inf} and bandit.means("cool", ["a"]) == {}
    bandit.update("cool", "a", 0.0)
    assert bandit.scores("heat", ["a"]) == {"a": 1.0}, "N counts the groups of the type: ln 1 = 0"


def test_ties_go_to_the_first_id_whatever_the_order() -> None:
    assert best({"b": 1.0, "a": 1.0, "c": 0.5}) == best({"c": 0.5, "a": 1.0, "b": 1.0}) == "a"
    assert best({"z": math.inf, "y": math.inf, "a": 9.0}) == "y"
    with pytest.raises(ValueError, match="empty"):
        best({})


def test_c_decides_how_long_a_bad_skill_is_tried() -> None:
    """Mean 1 after two groups, mean 0 after one; N = 3.  The bad one is next if c * (1 - 1/sqrt 2) * sqrt(ln 3) > 1."""
    for c, chosen in ((3.2, "good"), (3.3, "bad")):
        bandit = Bandit(c)
        for skill, reward in (("good", 1.0), ("good", 1.0), ("bad", 0.0)):
            bandit.update("t", skill, reward)
        assert best(bandit.scores("t", ["good", "bad"])) == chosen


def test_the_state_is_json_and_gives_the_same_bandit() -> None:
    bandit, rng = Bandit(0.7), random.Random(0)
    for _ in range(30):
        bandit.update(rng.choice("st"), rng.choice("abc"), rng.random())
    again = Bandit(0.7)
    again.load(json.loads(json.dumps(bandit.state())))
    assert again.state() == bandit.state()
    for kind in "st":
        assert again.scores(kind, "abcd") == bandit.scores(kind, "abcd")


def regrets(c: float, seed: int) -> tuple[float, float, float]:
    """(regret after HORIZON plays, after ten times as many, share of the best arm among the last half)."""
    bandit, rng = Bandit(c), random.Random(seed)
    regret, at_horizon, late = 0.0, 0.0, 0
    for t in range(1, 10 * HORIZON + 1):
        arm = best(bandit.scores("t", list(ARMS)))
        bandit.update("t", arm, float(rng.random() < ARMS[arm]))
        regret += ARMS["c"] - ARMS[arm]
        at_horizon = regret if t == HORIZON else at_horizon
        late += arm == "c" and t > 5 * HORIZON
    return at_horizon, regret, late / (5 * HORIZON)


def test_it_finds_the_best_arm_and_its_regret_grows_like_a_logarithm() -> None:
    """From T = 500 to 10 T a logarithm grows by ln(10 T) / ln(T) = 1.37, a square root by 3.2, a line by 10.

    Constants make it some more than 1.37: regret is a ln(T) + b with b < 0 while all arms are still looked at.
    """
    runs = [regrets(1.0, seed) for seed in range(SEEDS)]
    early, late, share = (sum(column) / SEEDS for column in zip(*runs, strict=True))
    assert share > 0.9
    assert all(run[2] > 0.8 for run in runs), "in every run, not on average only"
    logarithm = math.log(10 * HORIZON) / math.log(HORIZON)
    assert 1.0 < late / early < 1.5 * logarithm < 2.1
    gaps = [ARMS["c"] - chance for chance in ARMS.values() if chance < ARMS["c"]]
    assert late < sum(2 * math.log(10 * HORIZON) / gap for gap in gaps), "the bound of UCB1 up to its constant"


def test_without_exploration_the_regret_grows_like_a_line() -> None:
    """The test above can fail: greedy choice stays with a wrong arm in some runs."""
    runs = [regrets(0.0, seed) for seed in range(SEEDS)]
    early, late, _ = (sum(column) / SEEDS for column in zip(*runs, strict=True))
    assert late / early > 5
