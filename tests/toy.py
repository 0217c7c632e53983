"""A toy world for tests: an environment in memory, scripted policies, a tiny random model and its tokenizer.

The corridor: ``go on`` as many times as the task's id says, then ``take apple 1`` wins.  ``fall 1`` loses with
reward 0.25, and ``break 1`` breaks the environment.  Any other command changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdar_cli.config.schema import RunConfig
from sdar_cli.envs.base import Observation, Step, Task, TurnView
from sdar_cli.envs.benchmark import Benchmark
from sdar_cli.envs.options import EnvOptions
from sdar_cli.envs.wording import CommandPrompts
from sdar_cli.models.engine import Sampling
from sdar_cli.models.engines.scripted import ScriptedEngine
from sdar_cli.rollout.collect import Assignment, Collector
from sdar_cli.rollout.episode import Episode, Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast, Qwen3ForCausalLM

GOAL = "put some apple on shelf"
LOST_REWARD = 0.25
COMMANDS = ("break 1", "fall 1", "go on", "help", "look")
TAKE = "take apple 1"
TASK_TYPES = (
    "look_at_obj_in_light", "pick_and_place_simple", "pick_clean_then_place_in_recep",
    "pick_cool_then_place_in_recep", "pick_heat_then_place_in_recep", "pick_two_obj_and_place",
)  # fmt: skip
"""Those of the bank that most tests show to the teacher."""
PROMPTS = CommandPrompts("You walk through a corridor, one command per turn.", hidden=frozenset({"help"}))


def task(distance: int, number: int = 0, kind: str = "pick_and_place_simple", split: str = "train") -> Task:
    """A corridor of ``distance`` rooms."""
    return Task(id=f"{kind}/{distance}-{number}", type=kind, split=split)


def tasks(count: int, split: str = "train") -> list[Task]:
    """Short corridors, the six task types in turn."""
    made = [task(n % 3, n, TASK_TYPES[n % len(TASK_TYPES)], split) for n in range(count)]
    return sorted(made, key=lambda t: t.id)


@dataclass
class _Slot:
    left: int
    step: Step


class Corridor:
    """The environment.  ``stepped`` holds the slots of every call of ``step``."""

    def __init__(self, known: Sequence[Task] = ()) -> None:
        self.known = list(known)
        self.stepped: list[tuple[int, ...]] = []
        self._slots: dict[int, _Slot] = {}

    def tasks(self, split: str) -> list[Task]:
        """See ``Environment``."""
        return [each for each in self.known if each.split == split]

    def reset(self, assignment: Mapping[int, Task]) -> dict[int, Step]:
        """See ``Environment``."""
        for slot, each in assignment.items():
            left = int(each.id.partition("/")[2].partition("-")[0])
            self._slots[slot] = _Slot(left, Step(self._seen(left, "You stand in a corridor."), 0.0, False, False))
        return {slot: self._slots[slot].step for slot in assignment}

    def step(self, actions: Mapping[int, str]) -> dict[int, Step]:
        """See ``Environment``.  A finished slot must not be stepped again."""
        self.stepped.append(tuple(sorted(actions)))
        return {slot: self._act(self._slots[slot], command) for slot, command in actions.items()}

    def preflight(self, tasks: Sequence[Task]) -> None:
        """Nothing can be missing."""

    def close(self) -> None:
        """Nothing to stop."""

    def _seen(self, left: int, text: str) -> Observation:
        return Observation(text, GOAL, tuple(sorted((*COMMANDS, TAKE))) if left == 0 else COMMANDS)

    def _act(self, slot: _Slot, command: str) -> Step:
        assert not slot.step.done, "an episode that is over was stepped"
        seen = slot.step.observation
        if command == "break 1":
            step = Step(seen, 0.0, done=True, won=False, failure="the corridor fell down")
        elif command == "fall 1":
            step = Step(self._seen(slot.left, "You fall."), LOST_REWARD, done=True, won=False)
        elif command == TAKE and slot.left == 0:
            step = Step(self._seen(0, "You take the apple 1."), 1.0, done=True, won=True)
        elif command == "go on" and slot.left:
            slot.left -= 1
            step = Step(self._seen(slot.left, f"You walk on, {slot.left} to go."), 0.0, done=False, won=False)
        else:
            step = Step(self._seen(slot.left, "Nothing happens."), 0.0, done=False, won=False)
        slot.step = step
        return step


class ToyOptions(EnvOptions):
    """The corridor's settings: the common ones alone."""

    name: str = "toy:BENCHMARK"


@contextmanager
def open_corridor(options: ToyOptions, reporter: object = None) -> Iterator[Corridor]:
    """Six short corridors to train on, one of each type, and three held out."""
    held_out = [task(n % 2, n, kind, "eval") for n, kind in enumerate(TASK_TYPES[:3])]
    yield Corridor([*(task(n % 2, n, kind) for n, kind in enumerate(TASK_TYPES)), *held_out])


BENCHMARK = Benchmark(
    name="toy",
    title="the corridor",
    description="an environment in memory, for tests",
    options=ToyOptions,
    open=open_corridor,
    prompts=PROMPTS,
    bank=Path(__file__).parent / "toybank",
    default_model="tiny-alfworld",
)
"""``--env toy:BENCHMARK``: what a guest's package would hold."""


def say(action: str) -> str:
    """A response in the format asked for."""
    return f"<think>do it</think><action>{action}</action>"


def walker(prompt: str) -> str:
    """The policy that wins: takes the apple when it is there, else walks on."""
    return say(TAKE if TAKE in prompt.rpartition("Actions")[2] else "go on")


def config(**sections: Any) -> RunConfig:
    """A small configuration; keyword arguments are sections (dicts) or top-level values laid over it."""
    base: dict[str, Any] = {
        "env": {"max_turns": 4},
        "model": {"max_prompt_tokens": 400, "max_response_tokens": 24, "device": "cpu", "dtype": "float32"},
        "train": {"steps": 2, "tasks_per_step": 2, "group_size": 2, "updates_per_step": 1, "grad_clip": 1e9},
        "eval": {"with_skill": False},
    }
    for name, values in sections.items():
        base[name] = {**base.get(name, {}), **values} if isinstance(values, dict) else values
    return RunConfig.model_validate(base)


def assigned(pairs: Sequence[tuple[Task, int]], seed: int = 0) -> list[Assignment]:
    """An episode per (task, group), each with draws of its own."""
    return [Assignment(each, group, (seed, n)) for n, (each, group) in enumerate(pairs)]


def collect(
    settings: RunConfig,
    tokenizer: PreTrainedTokenizerBase,
    assignment: Sequence[tuple[Task, int]],
    respond: Callable[[str], str] = walker,
    **more: Any,
) -> tuple[list[Episode], ScriptedEngine, Corridor]:
    """Play episodes of the corridor with a scripted policy."""
    environment, engine = Corridor(), ScriptedEngine(tokenizer, respond)
    collector = Collector(settings, environment, engine, tokenizer)
    out = collector.collect(assigned(assignment), Sampling(settings.model.max_response_tokens), **more)
    assert out.tokens_generated == engine.tokens_generated
    return out.episodes, engine, environment


def make_turn(response: Sequence[int], prompt: Sequence[int] = (1, 2), valid: bool = True) -> Turn:
    """A turn of which only the token ids and the validity matter."""
    view = TurnView(GOAL, "You stand in a corridor.", COMMANDS)
    return Turn(view, list(prompt), list(response), "", "go on", valid, valid, [-0.5] * len(response))


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer trained on the corridor's prompts in both wordings and some responses."""
    from sdar_cli.tiny.tokenizer import train_tokenizer

    seen = ["You stand in a corridor.", "You walk on, 1 to go.", "Nothing happens.", "You take the apple 1."]
    texts = [say(command) for command in (*COMMANDS, TAKE)]
    for style in ("compact", "full"):
        for text in seen:
            view = TurnView(GOAL, text, (*COMMANDS, TAKE), ((seen[0], "go on"),), 1)
            texts += [m["content"] for m in PROMPTS.messages(view, style, "Find the apple, then put it on the shelf.")]
    return train_tokenizer(texts, 400)


def make_model(tokenizer: PreTrainedTokenizerFast, spread: float = 12.0, seed: int = 0) -> Qwen3ForCausalLM:
    """A random Qwen3 of two layers, width 32; ``spread`` makes its distributions far from uniform."""
    import torch

    from sdar_cli.tiny.warmstart import Recipe, new_model

    recipe = Recipe(seed=seed, layers=2, width=32, feed_forward=64, heads=2)
    model = new_model(recipe, tokenizer)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        # Words spelled alike start out equal, which ties the likeliest tokens: not wanted here.
        model.get_input_embeddings().weight.normal_(std=0.02, generator=generator)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(spread)
    return model.eval()
