"""Whether an environment keeps the contract that training and evaluation rest on (``sdar env check``).

Every check plays the environment through the same doors as a run does: its record, its settings, its wording and the
tokenizer of its default model.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sdar_cli.base.errors import SdarError
from sdar_cli.base.plugins import blame
from sdar_cli.config.schema import RunConfig
from sdar_cli.envs.base import Environment, Step, Task, TurnView
from sdar_cli.envs.benchmark import Benchmark
from sdar_cli.envs.panels import make_panel
from sdar_cli.envs.registry import benchmark, open_environment
from sdar_cli.rollout.prompt import encode_prompt
from sdar_cli.skills.bank import load_bank
from sdar_cli.skills.choose.retriever import Retriever
from sdar_cli.skills.choose.strategies import skill_text

PLAYED = 4
"""Tasks of each split that are played."""
ODD = ("", " ", "no such command", "\x00", "<action></action>", "é" * 50, "a" * 5000)
"""Actions that no environment lists: what a model may write."""
PLACEHOLDER = re.compile(r"<[^<>]+>")


class Finding(NamedTuple):
    """One line of the table."""

    check: str
    passed: bool
    detail: str


@dataclass
class _Played:
    """An episode as it was played: (action, step), the reset's action being empty."""

    task: Task
    steps: list[tuple[str, Step]]


class _Conformance:
    """The environment of a configuration, and what is known of it so far."""

    def __init__(self, config: RunConfig, tokenizer: Any) -> None:
        self.config = config
        self.tokenizer = tokenizer
        self.record: Benchmark = benchmark(config.env.name)
        self.splits = (config.env.train_split, config.eval.split or self.record.held_out(config.env))

    def tasks(self) -> str:
        """Both splits hold tasks with ids of their own, sorted; no task is in two."""
        with open_environment(self.config.env) as environment:
            found = {split: environment.tasks(split) for split in self.splits}
        for split, tasks in found.items():
            make_panel(tasks)
            _require(tasks == sorted(tasks, key=lambda t: t.id), f"the tasks of {split} are not sorted by id")
            _require(all(task.split == split for task in tasks), f"a task of {split} names another split")
        both = {t.id for t in found[self.splits[0]]} & {t.id for t in found[self.splits[1]]}
        one = self.splits[0] == self.splits[1]
        _require(one or not both, f"{len(both)} tasks are in both splits: {sorted(both)[:3]}")
        return ", ".join(f"{len(tasks)} in {split}" for split, tasks in found.items())

    def panels(self) -> str:
        """Two openings of the same settings have the same panels."""
        digests = []
        for _ in range(2):
            with open_environment(self.config.env) as environment:
                digests.append([make_panel(environment.tasks(split)).sha256 for split in self.splits])
        _require(digests[0] == digests[1], "the sha256 of a panel changed between two openings")
        return f"sha256 {digests[0][1][:12]} (held out)"

    def resets(self) -> str:
        """An episode starts with an observation, a goal and actions, is not over, and has no reward."""
        with open_environment(self.config.env) as environment:
            for task, step in _first_steps(environment, self._some(environment)):
                _require(step.failure is None, f"{task.id} failed at its reset: {step.failure}")
                begun = not step.done and not step.won and step.reward == 0
                _require(begun, f"{task.id} is over before its first turn")
                _require(bool(step.observation.goal), f"{task.id} has no goal")
                _require(bool(step.observation.admissible), f"{task.id} lists no action")
        return "observation, goal and actions are there"

    def repeats(self) -> str:
        """The same actions on the same task give the same episode, in a fresh environment too."""
        first, again = self._play(seed=0), self._play(seed=0)
        for before, after in zip(first, again, strict=True):
            for number, (old, new) in enumerate(zip(before.steps, after.steps, strict=False)):
                _require(_same(old[1], new[1]), f"{before.task.id} differs at turn {number} after {old[0]!r}")
            _require(len(before.steps) == len(after.steps), f"{before.task.id} ended at another turn")
        return f"{len(first)} episodes, twice"

    def slots(self) -> str:
        """A step answers for the slots that acted and no others; an episode that begins leaves the others running."""
        with open_environment(self.config.env) as environment:
            tasks = self._some(environment)
            now = environment.reset(dict(enumerate(tasks)))
            _require(set(now) == set(range(len(tasks))), "a reset answers for other slots than it was given")
            half = [slot for slot in now if slot % 2 == 0]
            answers = environment.step({slot: now[slot].observation.admissible[0] for slot in half})
            _require(set(answers) == set(half), "a step answers for other slots than those that acted")
            environment.reset({len(tasks): tasks[0]})  # begins while the others are played
            rest = [slot for slot in now if slot % 2]
            answers = environment.step({slot: now[slot].observation.admissible[0] for slot in rest})
            _require(set(answers) == set(rest), "a step answers for other slots than those that acted")
        return f"{len(tasks)} side by side"

    def starts_anew(self) -> str:
        """A reset starts anew, whatever was played in the slot before."""
        with open_environment(self.config.env) as environment:
            task = self._some(environment)[0]
            first = environment.reset({0: task})[0]
            environment.step({0: first.observation.admissible[0]})
            _require(_same(first, environment.reset({0: task})[0]), f"{task.id} starts otherwise after another episode")
        return "after a step in the same slot"

    def admissible(self) -> str:
        """Every listed action is read back from a response, is valid, and can be taken."""
        with open_environment(self.config.env) as environment:
            tasks, tried = self._some(environment), 0
            for task in tasks[:2]:
                for action in environment.reset({0: task})[0].observation.admissible[:20]:
                    step = environment.reset({0: task})[0]
                    response = action if "<" in action else f"<action>{action}</action>"
                    parsed = self.record.prompts.parse_action(response, step.observation.admissible, "format")
                    if PLACEHOLDER.search(action) and not parsed.valid:
                        continue  # a form to be filled in
                    _require(parsed.valid, f"{action!r} is listed and is no valid action")
                    after = environment.step({0: parsed.text})[0]
                    _require(after.failure is None, f"{task.id} failed at {action!r}: {after.failure}")
                    tried += 1
        return f"{tried} actions"

    def odd_actions(self) -> str:
        """What a model may write besides breaks nothing: no exception, at most an episode that ends with a reason."""
        with open_environment(self.config.env) as environment:
            task = self._some(environment)[0]
            for action in ODD:
                environment.reset({0: task})
                step = environment.step({0: action})[0]
                _require(not step.won, f"{task.id} is won by {action[:20]!r}")
        return f"{len(ODD)} odd texts"

    def ends(self) -> str:
        """A won episode is over and rewarded; an episode that is over records whether it was won."""
        ended = [played.steps[-1][1] for played in self._play(seed=1) if played.steps[-1][1].done]
        for step in ended:
            _require(not step.won or step.reward > 0, "a won episode has no reward")
            _require(step.score is None or 0 <= step.score <= 1, f"a score of {step.score} is not in [0, 1]")
        return f"{len(ended)} of {2 * PLAYED} random episodes ended by themselves"

    def bank(self) -> str:
        """The skill bank is the environment's and has a skill for every type of task."""
        loaded = load_bank(self.config.skills.bank)
        _require(loaded.environment == self.record.name, f"bank {loaded.name} is for {loaded.environment}")
        retriever = Retriever(loaded, self.config.skills)
        with open_environment(self.config.env) as environment:
            kinds = {task.type: task for split in self.splits for task in environment.tasks(split)}
        for kind, task in kinds.items():
            chosen = retriever.choose("task-type", task, "").skills
            _require(any(skill.brief for skill in chosen), f"no skill for the type {kind}")
        return f"{len(loaded.skills)} skills for {len(kinds)} types"

    def prompts(self) -> str:
        """Prompts with and without the skill fit their budgets in both wordings, and the skill is in the teacher's."""
        longest = 0
        retriever = Retriever(load_bank(self.config.skills.bank), self.config.skills)
        with open_environment(self.config.env) as environment:
            for task, step in _first_steps(environment, self._some(environment)):
                seen = step.observation
                view = TurnView(seen.goal, seen.text, seen.admissible, (), 0, self.config.env.name)
                chosen = retriever.choose("task-type", task, seen.goal).skills
                skill = skill_text(chosen, self.config.skills.form)
                for text, limit in (
                    ("", self.config.model.max_prompt_tokens),
                    (skill, self.config.teacher.max_prompt_tokens),
                ):
                    made = encode_prompt(self.tokenizer, view, style=self.config.env.prompt, limit=limit, skill=text)
                    _require("skill" not in made.cut, f"{task.id}: the skill does not fit {limit} tokens")
                    _require(made.skill_present == bool(text), f"{task.id}: the skill is not in the teacher's prompt")
                    longest = max(longest, len(made.ids))
                for message in self.record.prompts.messages(view, "full", skill):
                    _require(bool(message["content"]), f"{task.id}: the full wording is empty")
        return f"the longest of the first turn has {longest} tokens"

    def _some(self, environment: Environment) -> list[Task]:
        """A few tasks of both splits, checked as a run does before it plays them."""
        chosen = [task for split in self.splits for task in make_panel(environment.tasks(split), PLAYED).tasks]
        environment.preflight(chosen)
        return chosen

    def _play(self, seed: int) -> list[_Played]:
        """Episodes of random listed actions, one environment for all of them."""
        out = []
        with open_environment(self.config.env) as environment:
            for task in self._some(environment):
                draw = random.Random(f"{seed}/{task.id}")
                step = environment.reset({0: task})[0]
                played = _Played(task, [("", step)])
                while not step.done and len(played.steps) <= self.config.env.max_turns:
                    action = draw.choice(step.observation.admissible)
                    step = environment.step({0: action})[0]
                    played.steps.append((action, step))
                out.append(played)
        return out


def check_environment(config: RunConfig, tokenizer: Any) -> Iterator[Finding]:
    """Every check of an environment, in order.

    tokenizer: of the default model; prompts are measured with it.  An exception in a guest's code fails its check with
    file and line.
    """
    made = _Conformance(config, tokenizer)
    for title, check in CHECKS.items():
        try:
            yield Finding(title, True, check(made))
        except _NotKeptError as error:
            yield Finding(title, False, str(error))
        except SdarError as error:
            yield Finding(title, False, f"{error.what} {error.why}".strip())
        except Exception as error:
            failure = blame("it", error)
            yield Finding(title, False, f"{failure.what} ({failure.why})")


class _NotKeptError(Exception):
    """A part of the contract is not kept."""


def _require(kept: bool, otherwise: str) -> None:
    if not kept:
        raise _NotKeptError(otherwise)


def _same(one: Step, other: Step) -> bool:
    return (one.observation, one.reward, one.done, one.won) == (other.observation, other.reward, other.done, other.won)


def _first_steps(environment: Environment, tasks: Sequence[Task]) -> list[tuple[Task, Step]]:
    steps = environment.reset(dict(enumerate(tasks)))
    return [(task, steps[slot]) for slot, task in enumerate(tasks)]


CHECKS: dict[str, Callable[[_Conformance], str]] = {
    "tasks have ids, types and splits": _Conformance.tasks,
    "panels are stable": _Conformance.panels,
    "a reset starts an episode": _Conformance.resets,
    "the same actions give the same episode": _Conformance.repeats,
    "slots are independent": _Conformance.slots,
    "a reset forgets the episode before": _Conformance.starts_anew,
    "listed actions are accepted": _Conformance.admissible,
    "other texts break nothing": _Conformance.odd_actions,
    "episodes end with a result": _Conformance.ends,
    "the bank has a skill for every type": _Conformance.bank,
    "prompts fit their budgets": _Conformance.prompts,
}
