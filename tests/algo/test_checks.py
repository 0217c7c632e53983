"""The shared checks, on the package itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from . import checks_terms, checks_totals
from .material import load


@pytest.mark.parametrize("check", checks_terms.CHECKS + checks_totals.CHECKS, ids=lambda check: check.__name__)
def test_by_hand(check: Callable) -> None:
    check(load("sdar_cli.algo"))
