"""What it saves that no episode waits for another: the rollout loop against the same episodes in lock step.

    python benchmarks/rollout.py [--episodes 96] [--at-once 24] [--token-ms 8] [--spread log|even] [--smallest]

Episodes of 2 to 11 turns, responses of 6 to 60 tokens.  The engine writes one token of every response it has been
asked for in ``token-ms`` milliseconds, however many there are, as a GPU nearly does; the environment answers each
action after 20 to 400 ms, many at the same time.  Lengths and delays are drawn per turn: evenly on a logarithmic scale,
so that most are short and a few long, or evenly (``--spread even``).  ``at-once`` episodes are in play; an episode
that ends makes room for the next one (0: all are).  In lock step, the loop's engine returns replies
and its environment returns steps only when all of them are there.  The tokens of both must be the same.
``--smallest``: four episodes.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from sdar_cli.base.seeds import seed_of
from sdar_cli.config.presets import resolve
from sdar_cli.envs.base import Observation, Step, Task
from sdar_cli.envs.continuous import InTurns
from sdar_cli.models.engine import Reply, Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from sdar_cli.rollout.collect import Collected

DELAY = (0.02, 0.4)
TURNS = (2, 11)
TOKENS = (6, 60)


def drawn(seed: int, least: float, most: float, spread: str) -> float:
    """A number between the two."""
    draw = random.Random(seed)
    if spread == "even":
        return draw.uniform(least, most)
    return math.exp(draw.uniform(math.log(least), math.log(most)))


class SteppedEngine:
    """One token of each request per ``seconds``.  together: replies come when the last one is finished."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, seconds: float, spread: str, together: bool) -> None:
        self.vocabulary = sorted(set(tokenizer.get_vocab().values()) - set(tokenizer.all_special_ids))
        self.end = tokenizer.eos_token_id
        self.ends = frozenset([self.end])
        self.seconds, self.spread, self.together = seconds, spread, together
        self.tokens_generated = self.steps = 0
        self._left: dict[Hashable, list[int]] = {}
        self._whole: dict[Hashable, list[int]] = {}
        self._finished: list[Reply] = []

    @property
    def busy(self) -> bool:
        """Whether a request is in flight."""
        return bool(self._left) and not self.together

    def submit(self, key: Hashable, prompt_ids: Sequence[int], sampling: Sampling, seed: int) -> None:
        """See ``Engine``."""
        count = round(drawn(seed, *TOKENS, self.spread)) - 1
        self._whole[key] = [*random.Random(seed + 1).choices(self.vocabulary, k=count), self.end]
        self._left[key] = list(self._whole[key])

    def poll(self, block: bool) -> list[Reply]:
        """See ``Engine``."""
        while self._left:
            time.sleep(self.seconds)
            self.steps += 1
            for key in list(self._left):
                self._left[key].pop()
                self.tokens_generated += 1
                if not self._left[key]:
                    del self._left[key]
                    ids = self._whole.pop(key)
                    self._finished.append(Reply(key, ids, [0.0] * len(ids), 0))
            if not self.together and (self._finished or not block):
                break
        finished, self._finished = self._finished, []
        return finished

    def abort(self, keys: Collection[Hashable]) -> None:
        """See ``Engine``."""
        for key in keys:
            self._left.pop(key, None)

    def push(self, weights: Iterable[object], version: int) -> None:
        """Nothing is sampled from a model."""

    def sleep(self) -> None:
        """Nothing to free."""

    def wake(self) -> None:
        """Nothing to take back."""


class SlowEnvironment(InTurns):
    """Answers each action after a time of its own.  together: steps come when the last one is there."""

    def __init__(self, spread: str, together: bool) -> None:
        self.spread, self.together = spread, together
        self._turn: dict[int, int] = {}
        self._due: dict[int, float] = {}

    def tasks(self, split: str) -> list[Task]:
        """None are listed."""
        return []

    def preflight(self, tasks: Sequence[Task]) -> None:
        """Nothing can be missing."""

    def close(self) -> None:
        """Nothing to stop."""

    def start(self, assignment: Mapping[int, Task]) -> None:
        """See ``Continuous``."""
        for slot in assignment:
            self._turn[slot] = -1
        self.send(dict.fromkeys(assignment, ""))

    def send(self, actions: Mapping[int, str]) -> None:
        """See ``Continuous``."""
        for slot in actions:
            self._turn[slot] += 1
            delay = drawn(seed_of("delay", slot, self._turn[slot]), *DELAY, self.spread)
            self._due[slot] = time.monotonic() + delay

    def ready(self, timeout: float | None) -> dict[int, Step]:
        """See ``Continuous``."""
        if not self._due:
            return {}
        wanted = max(self._due.values()) if self.together else min(self._due.values())
        if timeout is None or self.together:
            time.sleep(max(0.0, wanted - time.monotonic()))
        now = time.monotonic()
        slots = [slot for slot, due in self._due.items() if due <= now]
        for slot in slots:
            del self._due[slot]
        return {slot: self._step(slot) for slot in slots}

    def _step(self, slot: int) -> Step:
        turn, last = self._turn[slot], random.Random(seed_of("turns", slot)).randint(*TURNS)
        seen = Observation(f"You see door {turn} of {last}.", "open the last door", ("look", "open door"))
        return Step(seen, 0.0, done=turn == last, won=turn == last)


def played(episodes: int, at_once: int, seconds: float, spread: str, together: bool) -> tuple[float, int, Collected]:
    """(seconds of the rollout, decoding steps of the engine, episodes)."""
    from sdar_cli.models.loading import load_tokenizer
    from sdar_cli.rollout.collect import Assignment, Collector

    config = resolve(sets=[f"engine.max_episodes={at_once}"]).config
    tokenizer = load_tokenizer(config.model)
    engine = SteppedEngine(tokenizer, seconds, spread, together)
    collector = Collector(config, SlowEnvironment(spread, together), engine, tokenizer)
    assignment = [Assignment(Task(f"door/{n}", "door", "train"), n, (0, n)) for n in range(episodes)]
    began = time.perf_counter()
    out = collector.collect(assignment, Sampling(TOKENS[1]))
    return time.perf_counter() - began, engine.steps, out


def main() -> None:
    """Play both, compare every token, and print seconds, decoding steps and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=96)
    parser.add_argument("--at-once", type=int, default=24)
    parser.add_argument("--token-ms", type=float, default=8.0)
    parser.add_argument("--spread", choices=["log", "even"], default="log")
    parser.add_argument("--smallest", action="store_true")
    words = parser.parse_args()
    episodes, seconds = (4, 0.001) if words.smallest else (words.episodes, words.token_ms / 1000)
    size = (episodes, words.at_once, seconds, words.spread)
    slow, slow_steps, first = played(*size, together=True)
    fast, fast_steps, second = played(*size, together=False)
    tokens = [[turn.response_ids for turn in episode.turns] for episode in first.episodes]
    if tokens != [[turn.response_ids for turn in episode.turns] for episode in second.episodes]:
        raise SystemExit("the two ways of playing gave different tokens")
    turns = sum(map(len, tokens))
    print(
        f"{episodes} episodes, {turns} turns, {sum(len(t) for each in tokens for t in each)} tokens, the same in both"
    )
    print(f"lock step   {slow:6.2f} s, {slow_steps} decoding steps")
    print(f"continuous  {fast:6.2f} s, {fast_steps} decoding steps")
    print(f"ratio       {slow / fast:6.2f}")


if __name__ == "__main__":
    main()
