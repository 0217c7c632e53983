"""A panel's hash identifies the tasks that a number was measured on."""

from __future__ import annotations

import hashlib

import pytest

from sdar_cli.base.errors import ConfigError
from sdar_cli.envs.base import Task
from sdar_cli.envs.panels import make_panel

TASKS = [Task(f"eval/{name}", "pick_and_place_simple", "eval") for name in ("c", "a", "b")]


def test_sorted_whole_and_hashed() -> None:
    panel = make_panel(TASKS)
    assert [task.id for task in panel.tasks] == ["eval/a", "eval/b", "eval/c"]
    assert panel.split == "eval"
    assert panel.sha256 == hashlib.sha256(b"eval/a\neval/b\neval/c").hexdigest()


def test_order_does_not_matter_and_tasks_do() -> None:
    assert make_panel(TASKS).sha256 == make_panel(TASKS[::-1]).sha256
    assert make_panel(TASKS, 2).sha256 == make_panel(TASKS[1:]).sha256 != make_panel(TASKS).sha256


def test_content_that_an_id_does_not_identify_counts() -> None:
    digested, other = (make_panel([Task("human/0", "home", "eval", content), TASKS[0]]) for content in ("ab", "cd"))
    assert digested.sha256 == hashlib.sha256(b"eval/c\nhuman/0 ab").hexdigest() != other.sha256


def test_limit_spreads_over_the_sorted_ids() -> None:
    assert [task.id for task in make_panel(TASKS, 1).tasks] == ["eval/a"]
    assert len(make_panel(TASKS, 99).tasks) == 3
    many = [Task(f"eval/{i:02d}", "pick_and_place_simple", "eval") for i in range(10)]
    assert [task.id for task in make_panel(many, 4).tasks] == ["eval/00", "eval/02", "eval/05", "eval/07"]


def test_refused() -> None:
    with pytest.raises(ConfigError, match="more than once, first eval/c"):
        make_panel([*TASKS, TASKS[0]])
    with pytest.raises(ConfigError, match="at least one"):
        make_panel([])
    with pytest.raises(ConfigError, match="of one split, not of eval, train"):
        make_panel([*TASKS, Task("train/x", "pick_and_place_simple", "train")])
