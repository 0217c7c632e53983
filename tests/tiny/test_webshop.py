"""Demonstrations of WebShop: three labels per state, and an expert that wins with the right skill."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from sdar_cli.envs.registry import open_environment
from sdar_cli.envs.webshop.options import WebShopOptions
from sdar_cli.tiny import webshop as module
from sdar_cli.tiny.warmstart import briefs, prompt_text, respond
from sdar_cli.tiny.webshop import demonstrate


@pytest.fixture
def examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SDAR_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "SLIPS", 0.0)
    with open_environment(WebShopOptions(name="webshop", products=300)) as environment:
        tasks = environment.tasks("train")[:21]
        skills = briefs("webshop", environment.tasks("all"))
        return tasks, skills, demonstrate(environment, tasks, skills, random.Random(0)), environment


def test_every_state_is_labelled_three_ways(examples) -> None:
    _tasks, skills, made, _ = examples
    assert len(made) % 3 == 0 and len(made) > 100
    for right, none, wrong in zip(made[::3], made[1::3], made[2::3], strict=True):
        assert right.view is none.view is wrong.view and right.view.env == "webshop"
        assert none.skill == "" and right.skill != wrong.skill
        assert {right.skill, wrong.skill} <= set(skills.values())
        for example in (right, none, wrong):
            assert example.move.action in example.view.admissible


def test_an_experts_episode_is_won(examples) -> None:
    """Every third task is driven by the expert: replayed, its labels buy what was asked for."""
    tasks, _, made, environment = examples
    first = [example for example in made[::3] if example.view.goal == made[0].view.goal]
    step = environment.reset({0: tasks[0]})[0]
    for example in first:
        step = environment.step({0: example.move.action})[0]
    assert step.done and step.won and step.score == 1.0


def test_prompts_are_the_collectors(examples, tokenizer) -> None:
    _, _, made, _ = examples
    text = prompt_text(tokenizer, made[0])
    assert f"Task: {made[0].view.goal}" in text and made[0].skill in text
    assert respond(made[0].move).startswith("<think>")
