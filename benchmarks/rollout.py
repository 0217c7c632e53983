"""What episodes gain by not waiting for each other: continuous rollouts against lock step.

    python benchmarks/rollout.py [--episodes 24] [--repeats 3] [--smallest]

The environment sleeps 20 to 400 ms per action (log-uniform: most are quick and a few are slow, as tools are); episodes
have 2 to 11 turns.  The engine decodes one token of every
request in flight per 5 ms, as a GPU does while its batch is small; responses have 6 to 60 tokens.  Both loops play the
same episodes with the same engine and environment: continuous is the package's own loop, lock step (all prompts, all
responses, all actions, turn by turn) is written here.  Prints seconds, the ratio, and the share of time in which the
engine had nothing to do; stops where a token differs.
"""

from __future__ import annotations

import argparse
import heapq
import math
import platform
import random
import statistics
import time
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from typing import Any

from sdar_cli.base.seeds import seed_of
from sdar_cli.config.schema import ModelConfig, RunConfig
from sdar_cli.envs.base import Observation, Step, Task
from sdar_cli.envs.continuous import InTurns
from sdar_cli.models.engine import Reply, Request, Sampling, generate
from sdar_cli.models.loading import load_tokenizer
from sdar_cli.rollout.collect import Assignment, Collector, Live
from sdar_cli.rollout.episode import Episode

DECODE_S = 0.005
"""Seconds of a step of the engine."""
TURNS, DELAY_S, TOKENS = (2, 11), (0.02, 0.4), (6, 60)


class SleepingEnvironment(InTurns):
    """Answers every action after a delay that its task and turn determine; any text is an action."""

    def __init__(self) -> None:
        self.coming: list[tuple[float, int, Step]] = []
        self.turn: dict[int, int] = {}
        self.task: dict[int, Task] = {}

    def tasks(self, split: str) -> list[Task]:
        """None: the tasks are made by the caller."""
        return []

    def preflight(self, tasks: Sequence[Task]) -> None:
        """Nothing can be missing."""

    def close(self) -> None:
        """Nothing to stop."""

    def start(self, assignment: Mapping[int, Task]) -> None:
        """See ``Continuous``."""
        for slot, task in assignment.items():
            self.task[slot], self.turn[slot] = task, 0
            self._answer(slot)

    def send(self, actions: Mapping[int, str]) -> None:
        """See ``Continuous``."""
        for slot in actions:
            self.turn[slot] += 1
            self._answer(slot)

    def ready(self, timeout: float | None) -> dict[int, Step]:
        """See ``Continuous``."""
        if not self.coming:
            return {}
        wait = self.coming[0][0] - time.perf_counter()
        time.sleep(max(0.0, wait if timeout is None else min(wait, timeout)))
        out = {}
        while self.coming and self.coming[0][0] <= time.perf_counter():
            _, slot, step = heapq.heappop(self.coming)
            out[slot] = step
        return out

    def _answer(self, slot: int) -> None:
        draw = random.Random(f"{self.task[slot].id}/{self.turn[slot]}")
        seen = Observation(f"Room {self.turn[slot]}.", "walk on", ("look", "go on"))
        done = self.turn[slot] == random.Random(self.task[slot].id).randint(*TURNS)
        step = Step(seen, float(done), done, done)
        delay = math.exp(draw.uniform(*map(math.log, DELAY_S)))
        heapq.heappush(self.coming, (time.perf_counter() + delay, slot, step))


class PacedEngine:
    """One token of every request in flight per step, and a step takes ``DECODE_S``."""

    def __init__(self, end: int) -> None:
        self.ends = frozenset([end])
        self.end = end
        self.tokens_generated = 0
        self.working = 0.0
        """Seconds of all steps."""
        self.left: dict[Hashable, tuple[list[int], int]] = {}

    @property
    def busy(self) -> bool:
        """See ``Engine``."""
        return bool(self.left)

    def submit(self, key: Hashable, prompt_ids: Sequence[int], sampling: Sampling, seed: int) -> None:
        """See ``Engine``; the response depends on the prompt and the seed."""
        request = Request(key, prompt_ids, sampling, seed)
        draw = random.Random(seed_of(request.seed, *request.prompt_ids))
        ids = [draw.randrange(10, 200) for _ in range(draw.randint(*TOKENS) - 1)]
        self.left[key] = ([*ids, self.end], len(ids) + 1)

    def poll(self, block: bool) -> list[Reply]:
        """See ``Engine``."""
        replies: list[Reply] = []
        while self.left and not replies:
            time.sleep(DECODE_S)
            self.working += DECODE_S
            self.left = {key: (ids, n - 1) for key, (ids, n) in self.left.items()}
            replies = [Reply(key, ids, [0.0] * len(ids), 0) for key, (ids, n) in self.left.items() if n == 0]
            self.abort([reply.key for reply in replies])
            if not block:
                break
        self.tokens_generated += sum(len(reply.ids) for reply in replies)
        return replies

    def abort(self, keys: Collection[Hashable]) -> None:
        """See ``Engine``."""
        self.left = {key: value for key, value in self.left.items() if key not in keys}

    def push(self, weights: Iterable[tuple[str, Any]], version: int) -> None:
        """There are no weights."""

    def sleep(self) -> None:
        """Nothing to free."""

    def wake(self) -> None:
        """Nothing to take back."""


def lock_step(player: Collector, assignment: Sequence[Assignment], sampling: Sampling) -> list[list[list[int]]]:
    """The response ids of every episode, turn by turn: nobody goes on before all have answered."""
    environment = SleepingEnvironment()
    first = environment.reset({slot: each.task for slot, each in enumerate(assignment)})
    items = {
        slot: Live(Episode(each.task, each.group, slot), each.seed, first[slot], "")
        for slot, each in enumerate(assignment)
    }
    active = items
    while active:
        prompts = [player.encode(item) for item in active.values()]
        seeds = [seed_of(*item.seed, len(item.episode.turns)) for item in active.values()]
        replies = generate(player.engine, [prompt.ids for prompt in prompts], sampling, seeds)
        for item, prompt, reply in zip(active.values(), prompts, replies, strict=True):
            item.episode.turns.append(player.record(prompt, reply))
        actions = {slot: item.episode.turns[-1].action for slot, item in active.items()}
        for slot, step in environment.step(actions).items():
            item = items[slot]
            item.past.append((item.step.observation.text, actions[slot]))
            item.step = step
        active = {slot: item for slot, item in active.items() if not item.step.done}
    written = [[turn.response_ids for turn in item.episode.turns] for item in items.values()]
    return written


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--smallest", action="store_true", help="six episodes, once")
    given = parser.parse_args()
    episodes, repeats = (6, 1) if given.smallest else (given.episodes, given.repeats)
    config = RunConfig.model_validate({"env": {"max_turns": TURNS[1]}})
    tokenizer = load_tokenizer(ModelConfig())
    sampling = Sampling(TOKENS[1])
    print(f"{platform.machine()}; {episodes} episodes")
    seconds: dict[str, list[float]] = {"lock step": [], "continuous": []}
    for repeat in range(repeats):
        assignment = [Assignment(Task(f"{repeat}/{n}", "walk", "train"), 0, (repeat, n)) for n in range(episodes)]
        found = {}
        for name in seconds:
            engine = PacedEngine(tokenizer.eos_token_id)
            player = Collector(config, SleepingEnvironment(), engine, tokenizer)
            began = time.perf_counter()
            if name == "lock step":
                found[name] = lock_step(player, assignment, sampling)
            else:
                out = player.collect(assignment, sampling)
                found[name] = [[turn.response_ids for turn in episode.turns] for episode in out.episodes]
            took = time.perf_counter() - began
            seconds[name].append(took)
            print(f"{name}: {took:.2f} s, engine without work {1 - engine.working / took:.0%}")
        if found["lock step"] != found["continuous"]:
            raise SystemExit("the tokens differ")
    ratio = statistics.median(a / b for a, b in zip(seconds["lock step"], seconds["continuous"], strict=True))
    print(f"the same tokens; lock step / continuous: {ratio:.2f}")


if __name__ == "__main__":
    main()
