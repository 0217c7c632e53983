"""``sdar env check``: each broken promise fails its own check; the example keeps all of them."""

from __future__ import annotations

import pytest

from sdar_cli.config.presets import resolve
from sdar_cli.evaluation.conformance import CHECKS, check_environment

BROKEN = {
    "UNSORTED": "tasks have ids, types and splits",
    "UNSTABLE": "panels are stable",
    "FINISHED": "a reset starts an episode",
    "RANDOM": "the same actions give the same episode",
    "ALL_SLOTS": "slots are independent",
    "FORGETFUL": "a reset forgets the episode before",
    "FRAGILE": "other texts break nothing",
    "UNPAID": "episodes end with a result",
    "WITHOUT_SKILL": "the bank has a skill for every type",
    "WORDY": "prompts fit their budgets",
}


def failed(name: str, tokenizer) -> dict[str, str]:
    config = resolve(env=f"evaluation.broken_worlds:{name}").config
    findings = list(check_environment(config, tokenizer))
    assert [finding.check for finding in findings] == list(CHECKS)
    return {finding.check: finding.detail for finding in findings if not finding.passed}


@pytest.mark.parametrize(("name", "check"), BROKEN.items())
def test_a_broken_promise_fails_its_check(name: str, check: str, tokenizer) -> None:
    assert check in failed(name, tokenizer)


def test_an_exception_is_named_with_file_and_line(tokenizer) -> None:
    found = failed("FRAGILE", tokenizer)["other texts break nothing"]
    assert "KeyError" in found and "broken_worlds.py, line" in found


def test_the_example_keeps_the_contract(tokenizer) -> None:
    assert failed("KEPT", tokenizer) == {}
