"""No episode waits for another, and the tokens are those of playing in lock step."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest
import toy
from toy import COMMANDS, TAKE, say, task

from sdar_cli.base import distributed
from sdar_cli.base.seeds import seed_of
from sdar_cli.envs.base import Step, StopReason, Task
from sdar_cli.envs.continuous import InTurns
from sdar_cli.models.engine import Reply, Sampling, generate
from sdar_cli.models.engines.scripted import ScriptedEngine
from sdar_cli.rollout.collect import Assignment, Collector, continuation
from sdar_cli.rollout.episode import Episode
from sdar_cli.rollout.prompt import encode_prompt
from sdar_cli.rollout.step import play_step


class Drawing(ScriptedEngine):
    """Walks on or does something else, drawn with the request's seed; ``order`` shuffles which requests come first."""

    def __init__(self, tokenizer, order: int | None = None) -> None:
        super().__init__(tokenizer, toy.walker)
        self.order = None if order is None else random.Random(order)

    @property
    def busy(self) -> bool:
        return bool(self._queue) and self.order is not None

    def answer(self, request) -> list[int]:
        draw = random.Random(request.seed)
        text = say(draw.choice(["go on", "go on", TAKE, *COMMANDS, "dance"])) + " ." * draw.randrange(30)
        return [*self.tokenizer(text, add_special_tokens=False)["input_ids"], self.tokenizer.eos_token_id]

    def poll(self, block: bool) -> list[Reply]:
        if self.order is None:
            return super().poll(block)
        self.order.shuffle(self._queue)
        later = self._queue[max(int(block), self.order.randrange(3)) :]
        self._queue = self._queue[: len(self._queue) - len(later)]
        replies = super().poll(True)
        self._queue = later
        return replies


class Slow(InTurns):
    """The corridor, whose steps come one or two at a time in any order.  ``most``: slots in play at the same time."""

    def __init__(self, seed: int) -> None:
        self.inner = toy.Corridor()
        self.draw = random.Random(seed)
        self.steps: dict[int, Step] = {}
        self.playing: set[int] = set()
        self.most = 0

    def start(self, assignment: Mapping[int, Task]) -> None:
        self.steps |= self.inner.reset(assignment)
        self.playing |= set(assignment)
        self.most = max(self.most, len(self.playing))

    def send(self, actions: Mapping[int, str]) -> None:
        self.steps |= self.inner.step(actions)

    def ready(self, timeout: float | None) -> dict[int, Step]:
        least = 0 if timeout == 0 else min(1, len(self.steps))
        slots = self.draw.sample(sorted(self.steps), min(len(self.steps), max(least, self.draw.randrange(3))))
        out = {slot: self.steps.pop(slot) for slot in slots}
        self.playing -= {slot for slot, step in out.items() if step.done}
        return out

    def tasks(self, split: str) -> list[Task]:
        return []

    def preflight(self, tasks) -> None:
        pass

    def close(self) -> None:
        pass


def lock_step(player: Collector, assignment: list[Assignment], sampling: Sampling) -> list[list[tuple]]:
    """The episodes, turn by turn and all together: per turn prompt ids, response ids and action."""
    config, env = player.config, toy.Corridor()
    now = env.reset({i: each.task for i, each in enumerate(assignment)})
    made: list[list[tuple]] = [[] for _ in assignment]
    past: list[list[tuple[str, str]]] = [[] for _ in assignment]
    episodes = [Episode(each.task, each.group, i) for i, each in enumerate(assignment)]
    active = list(range(len(assignment)))
    for turn in range(config.env.max_turns):
        prompts, views = {}, {}
        for i in active:
            seen = now[i].observation
            history = tuple(past[i][-config.env.history :]) if config.env.context == "window" else ()
            views[i] = toy.TurnView(seen.goal, seen.text, seen.admissible, history, turn, config.env.name)
            if turn and config.env.context == "transcript":
                ids = continuation(player.tokenizer, episodes[i].turns[-1], views[i], "compact", False)
            else:
                ids = encode_prompt(
                    player.tokenizer, views[i], style="compact", limit=config.model.max_prompt_tokens, thinking=False
                ).ids
            prompts[i] = ids
        active = [i for i in active if player.has_room(prompts[i])]
        seeds = [seed_of(*assignment[i].seed, turn) for i in active]
        replies = generate(player.engine, [prompts[i] for i in active], sampling, seeds) if active else []
        actions = {}
        for i, reply in zip(active, replies, strict=True):
            ended = reply.ids[-1] in player.engine.ends
            text = player.tokenizer.decode(reply.ids[:-1] if ended else reply.ids)
            seen = views[i]
            action = toy.PROMPTS.parse_action(text, seen.admissible, config.env.valid_action).text
            written = toy.make_turn(reply.ids, prompts[i])
            written.truncated_response = not ended
            episodes[i].turns.append(written)
            actions[i] = action
            past[i].append((seen.observation, action))
            made[i].append((prompts[i], reply.ids, action))
        now |= env.step(actions)
        active = [i for i in active if not now[i].done]
    return made


ASSIGNMENT = [Assignment(task(n % 3, n), n // 4, (3, "rollout", 1, n // 4, n % 4)) for n in range(12)]


@pytest.mark.parametrize("context", ["window", "transcript"])
@pytest.mark.parametrize("order", range(3))
def test_the_tokens_are_those_of_lock_step(tokenizer, context: str, order: int) -> None:
    """Whatever the order of replies and steps.  Some responses are cut, and some transcripts get full."""
    settings = toy.config(
        env={"context": context, "max_turns": 6}, model={"max_context_tokens": 260, "max_prompt_tokens": 200}
    )
    sampling = Sampling(24)
    expected = lock_step(Collector(settings, toy.Corridor(), Drawing(tokenizer), tokenizer), ASSIGNMENT, sampling)
    out = Collector(settings, Slow(order), Drawing(tokenizer, order), tokenizer).collect(ASSIGNMENT, sampling)
    assert [[(t.prompt_ids, t.response_ids, t.action) for t in e.turns] for e in out.episodes] == expected
    assert len({len(turns) for turns in expected}) > 3
    stops = {e.stop for e in out.episodes}
    assert {StopReason.LOST, StopReason.ENV_FAILED} <= stops
    assert (StopReason.CONTEXT_FULL in stops) is (context == "transcript")
    assert any(t.truncated_response for e in out.episodes for t in e.turns)
    assert out.tokens_generated == sum(len(t.response_ids) for e in out.episodes for t in e.turns)


def test_at_most_so_many_episodes_at_the_same_time(tokenizer) -> None:
    def play(most: int) -> tuple[list, int]:
        env = Slow(0)
        settings = toy.config(engine={"max_episodes": most}, env={"max_turns": 99})
        out = Collector(settings, env, Drawing(tokenizer, 1), tokenizer).collect(ASSIGNMENT, Sampling(60))
        return [[t.response_ids for t in e.turns] for e in out.episodes], env.most

    together, alone = play(0), play(1)
    assert together[0] == alone[0] == play(5)[0]
    assert (together[1], alone[1]) == (12, 1)


def test_what_the_engine_said_of_its_tokens_is_kept(tokenizer) -> None:
    class Sure(ScriptedEngine):
        def poll(self, block: bool) -> list[Reply]:
            return [r._replace(logprobs=[-0.25 * k for k in range(len(r.ids))]) for r in super().poll(block)]

    engine = Sure(tokenizer, toy.walker)
    engine.push(iter(()), 7)
    out = Collector(toy.config(), toy.Corridor(), engine, tokenizer).collect(ASSIGNMENT[:2], Sampling(60))
    for turn in (turn for episode in out.episodes for turn in episode.turns):
        assert turn.sampler_logp == [-0.25 * k for k in range(len(turn.response_ids))] and turn.weight_version == 7


def test_an_error_leaves_no_request_behind(tokenizer) -> None:
    class Falling(toy.Corridor):
        def step(self, actions):
            raise KeyboardInterrupt

    engine = Drawing(tokenizer, 0)
    with pytest.raises(KeyboardInterrupt):
        Collector(toy.config(), Falling(), engine, tokenizer).collect(ASSIGNMENT, Sampling(60))
    assert engine.poll(block=True) == []


def test_the_episodes_do_not_depend_on_the_number_of_processes(tokenizer, monkeypatch) -> None:
    """Two processes play every second group each; together they have what one process has."""
    train = {"tasks_per_step": 5, "group_size": 2, "updates_per_step": 1}
    settings = toy.config(train=train, env={"max_failed": 1.0})
    player = Collector(settings, toy.Corridor(toy.tasks(6)), Drawing(tokenizer), tokenizer)

    def play() -> list[tuple]:
        played = play_step(player, toy.tasks(6), 3, lambda task, goal: "", lambda text: None)
        return [(e.group, e.task.id, [turn.response_ids for turn in e.turns]) for e in played.episodes]

    alone, shared = play(), []
    for rank in (0, 1):
        monkeypatch.setattr(distributed, "local_part", lambda items, rank=rank: list(items)[rank::2])
        shared += play()
    assert sorted(shared, key=lambda each: each[0]) == alone
    assert len({tuple(map(tuple, turns)) for _, _, turns in alone}) > 5
