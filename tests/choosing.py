"""The skills that a strategy chooses in an evaluation, with default settings."""

from __future__ import annotations

from sdar_cli.config.schema import SkillsConfig
from sdar_cli.envs.base import Task
from sdar_cli.skills.bank import Bank, Skill
from sdar_cli.skills.choose.retriever import Retriever
from sdar_cli.skills.choose.strategies import Choice


def choose(bank: Bank, task: Task, goal: str, strategy: str) -> Choice:
    """What a strategy chooses for a task."""
    return Retriever(bank, SkillsConfig()).choose(strategy, task, goal)


def retrieve(bank: Bank, task: Task, goal: str, strategy: str) -> tuple[Skill, ...]:
    """The skills alone."""
    return choose(bank, task, goal, strategy).skills
