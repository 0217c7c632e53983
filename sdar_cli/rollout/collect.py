"""Multi-turn collection: many episodes at once, none of which waits for another.

An episode is either with the engine, which writes its next response, or with the environment, which answers its last
action.  One loop moves them between the two, for every engine, in training and in evaluation.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, cast

from sdar_cli.base.errors import RunFailedError, SdarError
from sdar_cli.base.plugins import blame
from sdar_cli.base.seeds import seed_of
from sdar_cli.config.schema import RunConfig
from sdar_cli.envs.base import Environment, Step, StopReason, Task, TurnView
from sdar_cli.envs.continuous import continuous
from sdar_cli.envs.registry import prompts_of
from sdar_cli.models.engine import Engine, Reply, Sampling
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
class Live:
    """An episode that is being played."""

    episode: Episode
    seed: tuple[int | str, ...]
    step: Step
    skill: str
    past: list[tuple[str, str]] = field(default_factory=list)


class Prompt(NamedTuple):
    """A turn that the engine is writing."""

    view: TurnView
    ids: list[int]
    cut: int
    """Tokens that did not fit."""


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
        self.continuous = continuous(environment)
        self.engine = engine
        self.tokenizer = tokenizer

    def collect(
        self,
        assignment: Sequence[Assignment],
        sampling: Sampling,
        skill_for: SkillFor = no_skill,
        progress: Callable[[int], None] | None = None,
    ) -> Collected:
        """One episode per assignment, at most ``engine.max_episodes`` at the same time.

        ``progress`` receives how many episodes have ended.  A broken episode is not an exception but ends with
        ``StopReason.ENV_FAILED``.  Raises the SdarErrors of engine and environment as they are; any other exception of
        the environment's code is a RunFailedError that names its file and line.
        """
        return _Rollout(self, assignment, sampling, skill_for, progress).play()

    @contextmanager
    def blamed(self, method: str) -> Iterator[None]:
        """An exception of the environment's code inside this block names its file and line."""
        try:
            yield
        except SdarError:
            raise
        except Exception as error:
            kind = type(self.environment)
            file = getattr(sys.modules.get(kind.__module__), "__file__", None)
            raise blame(f"{kind.__name__}.{method} of environment {self.config.env.name!r}", error, file) from error

    def cut(self, step: Step) -> Step:
        """A step with at most ``env.max_observation_tokens`` of its observation."""
        limit, seen = self.config.env.max_observation_tokens, step.observation
        if not limit or len(seen.text.encode()) <= limit:  # no token is shorter than a byte
            return step
        ids = self.tokenizer(seen.text, add_special_tokens=False)["input_ids"]
        if len(ids) <= limit:
            return step
        return replace(step, observation=replace(seen, text=self.tokenizer.decode(ids[:limit])))

    def view(self, item: Live) -> TurnView:
        """What the prompt of an episode's next turn may show."""
        window = self.config.env.history if self.config.env.context == "window" else 0
        seen = item.step.observation
        history = tuple(item.past[-window:]) if window else ()
        return TurnView(seen.goal, seen.text, seen.admissible, history, len(item.past), self.config.env.name)

    def encode(self, item: Live) -> Prompt:
        """The prompt of an episode's next turn."""
        view = self.view(item)
        env, model = self.config.env, self.config.model
        if env.context == "transcript" and item.episode.turns:
            ids = continuation(self.tokenizer, item.episode.turns[-1], view, env.prompt, model.thinking)
            return Prompt(view, ids, 0)
        encoded = encode_prompt(
            self.tokenizer,
            view,
            style=env.prompt,
            limit=self.config.teacher.max_prompt_tokens if item.skill else model.max_prompt_tokens,
            thinking=model.thinking,
            skill=item.skill,
            placement=self.config.teacher.placement,
        )
        return Prompt(view, encoded.ids, encoded.cut_tokens)

    def has_room(self, ids: list[int]) -> bool:
        """Whether a response still fits into the context after this prompt."""
        if self.config.env.context == "window":
            return True
        return len(ids) + self.config.model.max_response_tokens <= self.config.model.max_context_tokens

    def record(self, prompt: Prompt, reply: Reply) -> Turn:
        """The turn that a reply makes of a prompt."""
        view, response_ids = prompt.view, reply.ids
        ended = bool(response_ids) and response_ids[-1] in self.engine.ends
        text = self.tokenizer.decode(response_ids[:-1] if ended else response_ids)
        parsed = prompts_of(view.env).parse_action(text, view.admissible, self.config.env.valid_action)
        return Turn(
            view=view,
            prompt_ids=prompt.ids,
            response_ids=response_ids,
            response=text,
            action=parsed.text,
            valid=parsed.valid,
            admissible=parsed.admissible,
            sampler_logp=reply.logprobs,
            weight_version=reply.weight_version,
            truncated_prompt=prompt.cut,
            truncated_response=not ended,
        )


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


class _Rollout:
    """One call of ``Collector.collect``.  An episode's slot, and the key of its requests, is its index."""

    def __init__(
        self,
        player: Collector,
        assignment: Sequence[Assignment],
        sampling: Sampling,
        skill_for: SkillFor,
        progress: Callable[[int], None] | None,
    ) -> None:
        self.player = player
        self.assignment = assignment
        self.sampling = sampling
        self.skill_for = skill_for
        self.progress = progress
        self.out = Collected([Episode(each.task, each.group, i) for i, each in enumerate(assignment)])
        self.started = 0
        self.ended = 0
        self.live: dict[int, Live] = {}
        self.written: dict[int, Prompt] = {}
        """By slot: what the engine was asked for."""
        self.acting: dict[int, str] = {}
        """By slot: the action whose step has not come; empty for the start of an episode."""

    def play(self) -> Collected:
        """Play all of them to their end."""
        engine, env = self.player.engine, self.player.continuous
        before = engine.tokens_generated
        try:
            while self.ended < len(self.assignment):
                began = time.perf_counter()
                self._start()
                started = time.perf_counter()
                actions = self._read(engine.poll(block=not self.acting)) if self.written else {}
                polled = time.perf_counter()
                if actions:
                    with self.player.blamed("step"):
                        env.send(actions)
                    self.acting |= actions
                steps: Mapping[int, Step] = {}
                if self.acting:
                    with self.player.blamed("step"):
                        steps = env.ready(0.0 if engine.busy else None)
                answered = time.perf_counter()
                ended = self.ended
                for slot, step in steps.items():
                    self._take(slot, step)
                if self.progress and self.ended > ended:
                    self.progress(self.ended)
                self.out.seconds_env += started - began + answered - polled
                self.out.seconds_generate += polled - started + time.perf_counter() - answered
        finally:
            engine.abort(self.written)
        self.out.tokens_generated = engine.tokens_generated - before
        return self.out

    def _start(self) -> None:
        """Start as many episodes as may be played at the same time."""
        most = self.player.config.engine.max_episodes or len(self.assignment)
        last = min(len(self.assignment), self.ended + most)
        if last > self.started:
            tasks = {slot: self.assignment[slot].task for slot in range(self.started, last)}
            with self.player.blamed("reset"):
                self.player.continuous.start(tasks)
            self.acting |= dict.fromkeys(tasks, "")
            self.started = last

    def _read(self, replies: Sequence[Reply]) -> dict[int, str]:
        """Take the engine's replies; the actions in them, by slot."""
        actions = {}
        for reply in replies:
            slot = cast("int", reply.key)
            prompt = self.written.pop(slot)
            turn = self.player.record(prompt, reply)
            self.out.episodes[slot].turns.append(turn)
            self.out.cut_prompts += prompt.cut > 0
            actions[slot] = turn.action
        return actions

    def _take(self, slot: int, step: Step) -> None:
        """Take a step of the environment, and ask for the next response if the episode goes on."""
        player, action = self.player, self.acting.pop(slot)
        step = player.cut(step)
        episode = self.out.episodes[slot]
        if slot not in self.live:
            skill = self.skill_for(episode.task, step.observation.goal)
            self.live[slot] = Live(episode, self.assignment[slot].seed, step, skill)
        else:
            item = self.live[slot]
            item.past.append((item.step.observation.text, action))
            item.step = step
        _settle(episode, step, player.config)
        if episode.stop is None and len(episode.turns) == player.config.env.max_turns:
            episode.stop = StopReason.MAX_TURNS
        if episode.stop is None:
            prompt = player.encode(self.live[slot])
            if player.has_room(prompt.ids):
                self.written[slot] = prompt
                seed = seed_of(*self.live[slot].seed, len(episode.turns))
                player.engine.submit(slot, prompt.ids, self.sampling, seed)
            else:
                episode.stop = StopReason.CONTEXT_FULL
        self.ended += episode.stop is not None


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
