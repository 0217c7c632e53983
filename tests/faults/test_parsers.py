"""Fuzzed inputs of every parser: a documented error or a right result, never another exception.

The quick tests take the same inputs every time.  The slow ones take ``SDAR_FAULTS_INPUTS`` of them (2,000) and
``SDAR_FAULTS_SEED`` (0); ``pytest tests/faults --slow -s`` prints how many ran.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest

from sdar_cli.base import retry
from sdar_cli.base.errors import SdarError

from .hostile import MANY, QUICK, SEED, fuzz
from .parsers import PARSERS


def run(name: str, number: int, seed: int | None) -> int:
    """Fuzz one parser, each input in a folder of its own."""
    parser = PARSERS[name]

    def check(value: Any) -> None:
        with tempfile.TemporaryDirectory() as folder:
            parser.check(value, Path(folder))

    return fuzz(parser.inputs, check, number, seed)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(retry, "LONGEST_WAIT", 0.001)


@pytest.mark.parametrize("name", PARSERS)
def test_some_inputs(name: str) -> None:
    assert run(name, QUICK, None) >= QUICK // 2


@pytest.mark.slow
@pytest.mark.parametrize("name", PARSERS)
def test_many_inputs(name: str) -> None:
    print(f"\n{name}: {run(name, MANY, SEED)} inputs")


def test_the_fuzzer_can_fail() -> None:
    from hypothesis import strategies as st

    def refuse(value: int) -> None:
        raise SdarError("a documented error")

    def fail(value: int) -> None:
        raise KeyError(value)

    assert fuzz(st.integers(), refuse, 5) == 5
    with pytest.raises(KeyError):
        fuzz(st.integers(), fail, 5)
