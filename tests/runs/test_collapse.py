"""Signs of a collapse: said once, by the numbers, and not of a policy that merely learns."""

from __future__ import annotations

from sdar_cli.runs.collapse import CollapseWatch, success_sign


def row(step: int, entropy: float | None, invalid: float) -> dict[str, object]:
    return {"step": step, "entropy": entropy, "invalid_ratio": invalid}


def test_a_policy_that_learns_shows_no_sign() -> None:
    watch = CollapseWatch()
    for step, (entropy, invalid) in enumerate([(0.5, 0.3), (0.2, 0.1), (0.05, 0.4), (0.02, 0.6)], start=1):
        assert watch.new(row(step, entropy, invalid)) == []


def test_each_sign_is_said_once_and_survives_a_resume() -> None:
    rows = [row(1, 0.5, 0.1), row(2, 0.001, 0.2), row(3, 0.0, 1.0), row(4, 0.0, 1.0)]
    watch = CollapseWatch()
    said = [watch.new(each) for each in rows]
    assert [len(each) for each in said] == [0, 1, 1, 0]
    assert "fell from 0.5 to 0.001 nats by step 2" in said[1][0] and "from 10 % to 100 % by step 3" in said[2][0]
    resumed = CollapseWatch(rows[:2])
    assert [len(resumed.new(each)) for each in rows[2:]] == [1, 0] and resumed.said == watch.said


def test_values_that_are_not_there_are_no_sign() -> None:
    assert CollapseWatch([{"step": 1}, row(2, None, 0.1), row(3, 0.0, 1.0)]).said == {}


def test_success_far_below_that_before_training() -> None:
    said = success_sign(0.4, 0.1, "with the skill")
    assert said == "success with the skill fell from 40.0 % before training to 10.0 %"
    for before, after in ((0.4, 0.3), (0.1, 0.04), (None, 0.1), (0.4, None), (0.2, 0.9)):
        assert success_sign(before, after, "") is None
