"""Schedules over any run: ranges, ends, monotony, names.  Values by hand are in ``checks_schedule.py``."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdar_cli.algo.registry import SCHEDULE
from sdar_cli.algo.schedule import SCHEDULES, coefficient
from sdar_cli.base.errors import ConfigError

STRENGTH = st.floats(0, 10)
STEPS = st.integers(1, 300)


def halved(step: int, over: int, start: float, end: float) -> float:
    """A schedule of somebody else's."""
    return start / 2**step


def increasing_debt(step: int, over: int, start: float, end: float) -> float:
    return start - step


@settings(max_examples=40, deadline=None, database=None)
@given(st.sampled_from(sorted(SCHEDULES)), STEPS, STEPS, STRENGTH, STRENGTH)
def test_no_schedule_leaves_the_range_of_its_ends(name: str, step: int, over: int, start: float, end: float) -> None:
    value = coefficient(name, step, over, start, end)  # which refuses a negative one
    lowest = {"constant": start, "warm-down": 0.0, "atod": min(start, end) / 2}.get(name, min(start, end))
    highest = start if name in ("constant", "warm-down") else max(start, end)
    assert lowest - 1e-9 <= value <= highest + 1e-9
    if step >= over:
        last = {"constant": start, "warm-down": 0.0, "atod": end / 2}.get(name, end)
        assert value == pytest.approx(last, abs=1e-12)
    if start == end and name == "linear":
        assert value == start


@pytest.mark.parametrize("name", ["linear", "warm-down", "atod"])
def test_a_fall_never_rises(name: str) -> None:
    course = [coefficient(name, step, 20, 1.0, 0.0) for step in range(1, 31)]
    assert course == sorted(course, reverse=True) and course[0] < 1.0 and course[19:] == [0.0] * 11


def test_an_import_path_or_a_function() -> None:
    path = f"{__name__}:halved"
    assert SCHEDULE.bind(path)(3, 10, 4.0, 0.0) == 0.5
    assert coefficient(path, 3, 10, 4.0, 0.0) == coefficient(halved, 3, 10, 4.0, 0.0) == 0.5


def test_a_negative_coefficient_names_the_step() -> None:
    assert coefficient(f"{__name__}:increasing_debt", 2, 10, 2.0, 0.0) == 0.0
    with pytest.raises(ValueError, match=r"gave -1\.0 at step 3; it must be finite and not negative"):
        coefficient(f"{__name__}:increasing_debt", 3, 10, 2.0, 0.0)


def test_a_misspelt_schedule_names_the_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        coefficient("warm_down", 1, 2, 1.0, 0.0)
    assert caught.value.what == "unknown schedule 'warm_down'; did you mean 'warm-down'?"
