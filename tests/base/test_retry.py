"""Asking again: pauses, tries, budgets."""

from __future__ import annotations

import math

import pytest

from sdar_cli.base import retry as module
from sdar_cli.base.retry import Backoff, TryAgainError, retry, retry_with_deadline


class Busy:
    """Fails so many times, then answers."""

    def __init__(self, failures: int, wait: float | None = None) -> None:
        self.failures, self.wait, self.asked = failures, wait, 0

    def __call__(self, until: float) -> int:
        self.asked += 1
        if self.asked <= self.failures:
            raise TryAgainError(f"failure {self.asked}", self.wait)
        return self.asked


def test_pauses_double_up_to_the_longest() -> None:
    pauses: list[float] = []
    assert retry(Busy(5), Backoff(1.0, 6.0), RuntimeError, pauses.append) == 6
    assert pauses == [1.0, 2.0, 4.0, 6.0, 6.0]


def test_a_pause_the_server_asks_for_is_taken_and_the_others_go_on_doubling() -> None:
    pauses: list[float] = []

    def ask(until: float) -> str:
        assert until == math.inf
        if len(pauses) < 3:
            raise TryAgainError("busy", 7.0 if len(pauses) == 1 else None)
        return "answer"

    assert retry(ask, Backoff(1.0, 60.0), RuntimeError, pauses.append) == "answer"
    assert pauses == [1.0, 7.0, 4.0]


def test_the_last_failure_is_named_once_the_tries_are_spent() -> None:
    pauses: list[float] = []
    busy = Busy(9)
    with pytest.raises(RuntimeError, match="failure 3"):
        retry(busy, Backoff(1.0, 60.0, tries=3), RuntimeError, pauses.append)
    assert busy.asked == 3 and pauses == [1.0, 2.0]  # no pause after the last try


def test_a_pause_that_outlasts_the_budget_is_not_begun() -> None:
    pauses: list[float] = []
    with pytest.raises(RuntimeError, match="failure 1"):
        retry(Busy(9, wait=30.0), Backoff(1.0, 60.0, budget=20.0), RuntimeError, pauses.append)
    assert pauses == []


def test_jitter_stays_within_its_share() -> None:
    pauses: list[float] = []
    retry(Busy(200), Backoff(1.0, 1.0, jitter=0.25), RuntimeError, pauses.append)
    assert 0.75 <= min(pauses) < 0.8 and 1.2 < max(pauses) <= 1.25


def test_another_failure_ends_it_at_once() -> None:
    def ask(until: float) -> None:
        raise KeyError("wrong")

    with pytest.raises(KeyError):
        retry(ask, Backoff(1.0, 1.0), RuntimeError, lambda pause: pytest.fail("it waited"))


def test_a_deadline_is_named_with_the_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT", 0.01)
    with pytest.raises(RuntimeError, match=r"0\.05 failure"):
        retry_with_deadline(Busy(99), 0.05, lambda budget, why: RuntimeError(f"{budget:g} {why}"))
