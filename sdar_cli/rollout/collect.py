"""Multi-turn collection: every turn, the active episodes and no others are prompted, generated and stepped."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from sdar_cli.base.errors import RunFailedError, SdarError
from sdar_cli.base.plugins import blame
from sdar_cli.base.seeds import seed_of
from sdar_cli.config.schema import RunConfig
from sdar_cli.envs.base import Environment, Step, StopReason, Task, TurnView
from sdar_cli.envs.registry import prompts_of
from sdar_cli.models.engine import Engine, Sampling, generate
from sdar_cli.rollout.episode import Episode, Turn
from sdar_cli.rollout.prompt import encode_prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SkillFor = Callable[[Task, str], str]
"""(task, goal text) to the skill text shown in the prompt; empty for none."""


def no_skill(task: Task, goal: str) -> str:
    """The student's prompt: nothing privileged."""
    return ""


class Assignment(NamedTuple):
    """An episode to play."""

    task: Task
    group: int
    seed: tuple[int | str, ...]
    """What its draws depend on: turn k is sampled with ``seed_of(*seed, k)``.  It names the episode and no process, so
    that any number of processes plays the same episodes."""


@dataclass
class Collected:
    """Episodes in the order asked for, and where the time went (seconds)."""

    episodes: list[Episode]
    seconds_env: float = 0.0
    seconds_generate: float = 0.0
    tokens_generated: int = 0
    cut_prompts: int = 0


@dataclass
class _Live:
    episode: Episode
    seed: tuple[int | str, ...]
    step: Step
    skill: str
    past: list[tuple[str, str]] = field(default_factory=list)
    context: list[int] = field(default_factory=list)
    """Token ids so far, ``context = transcript`` only."""


def check_failures(failures: Sequence[str], total: int, max_failed: float, what: str) -> None:
    """Stop where an environment that broke would look like a policy that fails.

    failures: the failure of every episode that broke, of ``total`` episodes of ``what`` (in words).  Raises
    RunFailedError where all of them broke, or more than the share ``max_failed``.
    """
    broken = len(failures)
    if broken and (broken == total or broken > max_failed * total):
        raise RunFailedError(
            f"{broken} of {total} episodes of {what} failed",
            why=f"the first: {failures[0]}",
            fix="see sdar doctor and fix the environment (a training run continues with --resume), or raise "
            "--set env.max_failed",
        )


class Collector:
    """Plays episodes of one environment with one engine under one configuration."""

    def __init__(
        self, config: RunConfig, environment: Environment, engine: Engine, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        self.config = config
        self.environment = environment
        self.engine = engine
        self.tokenizer = tokenizer

    def collect(
        self,
        assignment: Sequence[Assignment],
        sampling: Sampling,
        skill_for: SkillFor = no_skill,
        progress: Callable[[int], None] | None = None,
    ) -> Collected:
        """One episode per assignment, all played side by side.

        ``progress`` receives how many episodes have ended.  A broken episode is not an exception but ends with
        ``StopReason.ENV_FAILED``.  Raises the SdarErrors of the environment as they are; any other exception of its
        code is a RunFailedError that names its file and line.
        """
        out = Collected([Episode(each.task, each.group, i) for i, each in enumerate(assignment)])
        before = self.engine.tokens_generated
        began = time.perf_counter()
        first = self._reset({e.index: e.task for e in out.episodes})
        out.seconds_env += time.perf_counter() - began
        live = []
        for episode in out.episodes:
            step = self._cut(first[episode.index])
            seed = assignment[episode.index].seed
            live.append(_Live(episode, seed, step, skill_for(episode.task, step.observation.goal)))
            _settle(episode, step, self.config)
        for turn in range(self.config.env.max_turns):
            active = [item for item in live if item.episode.stop is None]
            if not active:
                break
            self._turn(active, sampling, turn, out)
            if progress:
                progress(sum(item.episode.stop is not None for item in live))
        for item in live:
            if item.episode.stop is None:
                item.episode.stop = StopReason.MAX_TURNS
        out.tokens_generated = self.engine.tokens_generated - before
        return out

    def _reset(self, tasks: Mapping[int, Task]) -> Mapping[int, Step]:
        with self._blamed("reset"):
            return self.environment.reset(tasks)

    def _step(self, actions: Mapping[int, str]) -> Mapping[int, Step]:
        with self._blamed("step"):
            return self.environment.step(actions)

    @contextmanager
    def _blamed(self, method: str) -> Iterator[None]:
        """An exception of the environment's code inside this block names its file and line."""
        try:
            yield
        except SdarError:
            raise
        except Exception as error:
            kind = type(self.environment)
            file = getattr(sys.modules.get(kind.__module__), "__file__", None)
            raise blame(f"{kind.__name__}.{method} of environment {self.config.env.name!r}", error, file) from error

    def _turn(self, active: list[_Live], sampling: Sampling, turn: int, out: Collected) -> None:
        began = time.perf_counter()
        views = [self._view(item) for item in active]
        encoded = [self._encode(item, view) for item, view in zip(active, views, strict=True)]
        fits = [i for i, (ids, _) in enumerate(encoded) if self._has_room(ids)]
        seeds = [seed_of(*active[i].seed, turn) for i in fits]
        replies = generate(self.engine, [encoded[i][0] for i in fits], sampling, seeds)
        actions = {}
        for i, reply in zip(fits, replies, strict=True):
            ids, cut = encoded[i]
            actions[active[i].episode.index] = self._record(active[i], views[i], ids, reply.ids, cut).action
            out.cut_prompts += cut > 0
        for i in set(range(len(active))) - set(fits):
            active[i].episode.stop = StopReason.CONTEXT_FULL
        generated = time.perf_counter()
        out.seconds_generate += generated - began
        steps = self._step(actions) if actions else {}
        out.seconds_env += time.perf_counter() - generated
        for item in active:
            if item.episode.index in steps:
                item.past.append((item.step.observation.text, actions[item.episode.index]))
                item.step = self._cut(steps[item.episode.index])
                _settle(item.episode, item.step, self.config)

    def _cut(self, step: Step) -> Step:
        """A step with at most ``env.max_observation_tokens`` of its observation."""
        limit, seen = self.config.env.max_observation_tokens, step.observation
        if not limit or len(seen.text.encode()) <= limit:  # no token is shorter than a byte
            return step
        ids = self.tokenizer(seen.text, add_special_tokens=False)["input_ids"]
        if len(ids) <= limit:
            return step
        return replace(step, observation=replace(seen, text=self.tokenizer.decode(ids[:limit])))

    def _view(self, item: _Live) -> TurnView:
        window = self.config.env.history if self.config.env.context == "window" else 0
        seen = item.step.observation
        history = tuple(item.past[-window:]) if window else ()
        return TurnView(seen.goal, seen.text, seen.admissible, history, len(item.past), self.config.env.name)

    def _encode(self, item: _Live, view: TurnView) -> tuple[list[int], int]:
        """Prompt ids of a turn and the number of tokens that did not fit."""
        env, model = self.config.env, self.config.model
        if env.context == "transcript" and item.episode.turns:
            return continuation(self.tokenizer, item.episode.turns[-1], view, env.prompt, model.thinking), 0
        encoded = encode_prompt(
            self.tokenizer,
            view,
            style=env.prompt,
            limit=self.config.teacher.max_prompt_tokens if item.skill else model.max_prompt_tokens,
            thinking=model.thinking,
            skill=item.skill,
            placement=self.config.teacher.placement,
        )
        return encoded.ids, encoded.cut_tokens

    def _has_room(self, ids: list[int]) -> bool:
        if self.config.env.context == "window":
            return True
        return len(ids) + self.config.model.max_response_tokens <= self.config.model.max_context_tokens

    def _record(self, item: _Live, view: TurnView, ids: list[int], response_ids: list[int], cut: int) -> Turn:
        ended = bool(response_ids) and response_ids[-1] in self.engine.ends
        text = self.tokenizer.decode(response_ids[:-1] if ended else response_ids)
        parsed = prompts_of(view.env).parse_action(text, view.admissible, self.config.env.valid_action)
        turn = Turn(
            view=view,
            prompt_ids=ids,
            response_ids=response_ids,
            response=text,
            action=parsed.text,
            valid=parsed.valid,
            admissible=parsed.admissible,
            truncated_prompt=cut,
            truncated_response=not ended,
        )
        item.episode.turns.append(turn)
        return turn


def continuation(
    tokenizer: PreTrainedTokenizerBase, last: Turn, view: TurnView, style: str, thinking: bool
) -> list[int]:
    """The next prompt of a growing transcript: all ids so far, then the new message, never re-tokenised.

    The new message's ids come from rendering it after a marked assistant turn, so any template's own
    separators are right; the end token the policy already wrote is not written twice.
    """
    marker = "\u241estub\u241e"
    chat = [{"role": "user", "content": "stub"}, {"role": "assistant", "content": marker}]
    chat += prompts_of(view.env).follow_up(view, style)
    rendered = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True, enable_thinking=thinking)
    text = rendered.rpartition(marker)[2]
    if not last.truncated_response:
        text = text.removeprefix(tokenizer.decode(last.response_ids[-1:]))
    return last.prompt_ids + last.response_ids + tokenizer(text, add_special_tokens=False)["input_ids"]


def _settle(episode: Episode, step: Step, config: RunConfig) -> None:
    """Write a step's outcome into its episode.  Where a benchmark has a score, only winning is rewarded (released)."""
    if step.failure is not None:
        episode.stop, episode.failure = StopReason.ENV_FAILED, step.failure
    elif step.done:
        episode.won, episode.score = step.won, step.score
        episode.reward_parts = step.info.get("reward_parts")
        consolation = step.reward if step.score is None else 0.0
        episode.reward = config.env.win_reward if step.won else consolation
        lost = StopReason.MAX_TURNS if step.out_of_turns else StopReason.LOST
        episode.stop = StopReason.WON if step.won else lost
