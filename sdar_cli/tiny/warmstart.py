"""The tiny policy from nothing: demonstrations, tokenizer, supervised warm start (``sdar models build``).

Supervised data are states visited by an expert, by a clumsy demonstrator and by an expert following a wrong
skill; every state is labelled three ways: with the right skill in the prompt (the expert's move), with no
skill (the clumsy one's), with a wrong skill (the move of that skill's procedure).  The policy so learns to
use a skill without having internalised any, as a large instruction-tuned model would.
"""

from __future__ import annotations

import math
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sdar_cli.base.files import refuse_taken
from sdar_cli.envs.alfworld.expert import Habits, Memory, Move, clumsy, expert
from sdar_cli.envs.alfworld.games.layout import TASK_TYPES
from sdar_cli.envs.alfworld.prompt import PROMPTS
from sdar_cli.envs.base import Environment, Step, Task, TurnView
from sdar_cli.envs.registry import prompts_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

    from sdar_cli.base.display import Reporter

GAMES_SEED = 1000
"""Far from the seeds of training games; the eval split is disjoint by content in any case."""
MAX_TURNS = 15
HISTORY = 2
MISTAKES = 0.03
"""Share of labels with the right skill that are a random legal action."""
SLIPS = 0.08
"""Share of moves replaced by taking the wanted object where it may not be: what to do after
``Nothing happens.`` is learned, too."""
BATCH = 60
"""Games demonstrated side by side."""
DRIVERS = ("expert", "clumsy", "wrong")


@dataclass(frozen=True)
class Recipe:
    """Everything the warm start depends on; the defaults made the shipped weights."""

    seed: int = 0
    games: int = 1200
    vocabulary: int = 1024
    layers: int = 3
    width: int = 128
    feed_forward: int = 320
    heads: int = 4
    epochs: float = 2.0
    batch: int = 32
    lr: float = 3e-3
    prompt_weight: float = 0.1


class Answer(Protocol):
    """A demonstrator's move: a sub-goal of two or three words and the action that serves it."""

    @property
    def thought(self) -> str: ...
    @property
    def action(self) -> str: ...


@dataclass(frozen=True)
class Example:
    """A state, the skill text in its prompt (empty for none), and the response to learn."""

    view: TurnView
    skill: str
    move: Answer


def three_ways(view: TurnView, moves: Mapping[str, Answer], right: str, wrong: str) -> list[Example]:
    """A state labelled by every demonstrator of ``DRIVERS``, each under the skill text that it follows."""
    shown = {"expert": right, "clumsy": "", "wrong": wrong}
    return [Example(view, shown[driver], move) for driver, move in moves.items()]


def respond(move: Answer) -> str:
    """The response format of the policy."""
    return f"<think>{move.thought}</think><action>{move.action}</action>"


Write = Callable[[Answer], str]
"""How a move is written as a response."""


@dataclass
class _Player:
    task: Task
    step: Step
    memory: Memory
    driver: str
    habits: Habits
    wrong: str
    past: list[tuple[str, str]]

    def view(self) -> TurnView:
        seen = self.step.observation
        return TurnView(seen.goal, seen.text, seen.admissible, tuple(self.past[-HISTORY:]), len(self.past))


def demonstrate(
    environment: Environment, tasks: Sequence[Task], skills: dict[str, str], rng: random.Random
) -> list[Example]:
    """Play every task once, the three demonstrators in turn, and label every visited state three ways.

    skills: task type to the text its skill shows.
    """
    examples: list[Example] = []
    first = environment.reset(dict(enumerate(tasks)))
    players = {}
    for i, task in enumerate(tasks):
        driver = DRIVERS[i % len(DRIVERS)]
        wrong = rng.choice([kind for kind in TASK_TYPES if kind != task.type])
        memory = Memory(first[i].observation.goal)
        players[i] = _Player(task, first[i], memory, driver, Habits.draw(rng, task.type), wrong, [])
    for _ in range(MAX_TURNS):
        actions = {}
        for i, player in players.items():
            if not player.step.done:
                actions[i] = _label(player, skills, rng, examples)
        if not actions:
            break
        for i, step in environment.step(actions).items():
            player = players[i]
            player.past.append((player.step.observation.text, actions[i]))
            player.memory.note(actions[i], step.observation.text)
            player.step = step
    return examples


def _label(player: _Player, skills: dict[str, str], rng: random.Random, examples: list[Example]) -> str:
    """Three examples of one state; returns the action of the demonstrator that drives this episode."""
    view = player.view()
    legal = tuple(PROMPTS.shown_actions(view))

    def ask(skill: str) -> Move:
        return expert(player.memory, legal, skill)

    right = ask(player.task.type)
    if rng.random() < MISTAKES:
        right = Move(right.thought, rng.choice(legal))
    moves = {
        "expert": right,
        "clumsy": clumsy(player.memory, legal, player.habits, rng),
        "wrong": ask(player.wrong),
    }
    examples += three_ways(view, moves, skills[player.task.type], skills[player.wrong])
    if player.memory.place and rng.random() < SLIPS:
        return f"take {player.memory.target_object} 1 from {player.memory.place}"
    return moves[player.driver].action


def prompt_text(tokenizer: PreTrainedTokenizerFast, example: Example) -> str:
    """The rendered prompt of an example, as the collector renders it."""
    chat = prompts_of(example.view.env).messages(example.view, "compact", example.skill)
    return tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)


def encode(
    tokenizer: PreTrainedTokenizerFast, examples: Sequence[Example], write: Write = respond
) -> list[tuple[list[int], list[int]]]:
    """(prompt ids, response ids with the end token) of every example."""
    prompts = tokenizer([prompt_text(tokenizer, e) for e in examples], add_special_tokens=False)["input_ids"]
    responses = tokenizer([write(e.move) for e in examples], add_special_tokens=False)["input_ids"]
    end = tokenizer.eos_token_id
    return [(p, [*r, end]) for p, r in zip(prompts, responses, strict=True)]


def new_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    """A Qwen3 of the recipe's size; the embedding of ``noun number`` starts from its parts."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(recipe.seed)
    size = math.ceil(len(tokenizer) / 16) * 16
    config = Qwen3Config(
        vocab_size=size,
        hidden_size=recipe.width,
        intermediate_size=recipe.feed_forward,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        head_dim=recipe.width // recipe.heads,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    model = Qwen3ForCausalLM(config)
    _compose_embeddings(model, tokenizer, recipe.seed)
    return model


def _compose_embeddings(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, seed: int) -> None:
    import torch

    generator = torch.Generator().manual_seed(seed + 1)
    weight = model.get_input_embeddings().weight
    parts: dict[str, torch.Tensor] = {}

    def part(name: str) -> torch.Tensor:
        if name not in parts:
            parts[name] = torch.randn(weight.shape[1], generator=generator) * 0.02
        return parts[name]

    with torch.no_grad():
        for index in range(len(tokenizer)):
            words = tokenizer.decode([index]).strip().split(" ")
            if len(words) == 2 and words[0].isalpha() and words[1].isdigit():
                weight[index] = (part(words[0]) + part(words[1])) / math.sqrt(2)
            elif len(words) == 1 and words[0].isalpha():
                weight[index] = part(words[0])


def batches(
    data: Sequence[tuple[list[int], list[int]]], size: int, rng: random.Random
) -> Iterator[list[tuple[list[int], list[int]]]]:
    """Batches of similar length in random order (padding is the waste to avoid)."""
    order = list(range(len(data)))
    rng.shuffle(order)
    pool = size * 32
    chunks = []
    for start in range(0, len(order), pool):
        part = sorted(order[start : start + pool], key=lambda i: len(data[i][0]) + len(data[i][1]))
        chunks += [part[i : i + size] for i in range(0, len(part), size)]
    rng.shuffle(chunks)
    for chunk in chunks:
        yield [data[i] for i in chunk]


def warm_start(
    model: Qwen3ForCausalLM,
    data: Sequence[tuple[list[int], list[int]]],
    recipe: Recipe,
    pad: int,
    report: Callable[[int, int, float], None],
) -> None:
    """Supervised training: response tokens weigh 1, prompt tokens a little in the first half.

    ``report(update, updates, loss)`` is called now and then.
    """
    import torch
    import torch.nn.functional as F

    rng = random.Random(recipe.seed)
    per_epoch = math.ceil(len(data) / recipe.batch)
    total = max(1, round(per_epoch * recipe.epochs))
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.lr, betas=(0.9, 0.98), weight_decay=0.01)

    def rate(update: int) -> float:
        return min(1.0, (update + 1) / 50) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * update / total)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    model.train()
    update, running = 0, 0.0
    while update < total:
        for batch in batches(data, recipe.batch, rng):
            longest = max(len(p) + len(r) for p, r in batch)
            ids = torch.tensor([p + r + [pad] * (longest - len(p) - len(r)) for p, r in batch])
            weight = torch.zeros(len(batch), longest)
            for row, (p, r) in enumerate(batch):
                weight[row, 1 : len(p)] = recipe.prompt_weight if update < total / 2 else 0.0
                weight[row, len(p) : len(p) + len(r)] = 1.0
            keep = weight[:, 1:] > 0
            hidden = model.model(input_ids=ids).last_hidden_state[:, :-1][keep]
            losses = F.cross_entropy(model.lm_head(hidden), ids[:, 1:][keep], reduction="none")
            loss = (losses * weight[:, 1:][keep]).sum() / (weight == 1).sum()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            running = loss.item() if update == 0 else 0.98 * running + 0.02 * loss.item()
            update += 1
            if update % 50 == 0 or update == total:
                report(update, total, running)
            if update == total:
                break
    model.eval()


def build(
    recipe: Recipe,
    examples: Sequence[Example],
    units: Sequence[str],
    out: Path,
    log: Callable[[str], None],
    *,
    preset: str,
    words: Sequence[str] = (),
    write: Write = respond,
) -> None:
    """Train the tokenizer and the model on examples, and save both under ``out``.

    units, words: see ``train_tokenizer``.  preset: the bundled model whose settings the new one takes.  write: the
    response format.
    """
    from sdar_cli.tiny.tokenizer import train_tokenizer

    began = time.perf_counter()
    texts = [m["content"] for e in examples for m in prompts_of(e.view.env).messages(e.view, "compact", e.skill)]
    tokenizer = train_tokenizer([*texts, *(write(e.move) for e in examples)], recipe.vocabulary, units, words)
    data = encode(tokenizer, examples, write)
    tokens = sum(len(p) + len(r) for p, r in data)
    log(f"{len(data)} examples, {tokens / len(data):.0f} tokens each, vocabulary {len(tokenizer)}")
    model = new_model(recipe, tokenizer)
    log(f"{sum(p.numel() for p in model.parameters()):,} parameters; {time.perf_counter() - began:.0f} s so far")

    def report(update: int, total: int, loss: float) -> None:
        log(f"update {update} of {total}, loss {loss:.3f}, {time.perf_counter() - began:.0f} s")

    warm_start(model, data, recipe, tokenizer.pad_token_id, report)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    (out / "sdar.toml").write_text(f'extends = "models/{preset}"\n', encoding="utf-8")


def briefs(bank_name: str, tasks: Sequence[Task]) -> dict[str, str]:
    """Task type to the brief text that a bundled bank shows for it."""
    from sdar_cli.config.schema import SkillsConfig
    from sdar_cli.skills.bank import load_bank
    from sdar_cli.skills.choose.retriever import Retriever
    from sdar_cli.skills.choose.strategies import skill_text

    retriever = Retriever(load_bank(bank_name), SkillsConfig())
    chosen = {t.type: retriever.choose("task-type", t, "") for t in tasks}
    return {kind: skill_text(choice.skills, "brief") for kind, choice in chosen.items()}


def build_tiny_alfworld(out: Path, seed: int, games: int | None, workers: int, reporter: Reporter) -> Path:
    """``sdar models build tiny-alfworld``: generated training games, the bundled bank's briefs, the recipe.

    Returns ``out``.  Raises ConfigError when it exists and is not empty.
    """
    from sdar_cli.envs.alfworld.env import AlfworldEnvironment
    from sdar_cli.envs.alfworld.games.generator import make_games
    from sdar_cli.tiny.tokenizer import UNITS

    refuse_taken(out)
    recipe = Recipe(seed=seed) if games is None else Recipe(seed=seed, games=games)
    examples: list[Example] = []
    rng = random.Random(recipe.seed)
    with tempfile.TemporaryDirectory() as folder:
        make_games("train", recipe.games, GAMES_SEED + seed, "small", Path(folder))
        with AlfworldEnvironment(Path(folder), workers, 120.0) as environment:
            tasks = environment.tasks("train")
            random.Random(recipe.seed).shuffle(tasks)
            skills = briefs("alfworld", tasks)
            for start in range(0, len(tasks), BATCH):
                examples += demonstrate(environment, tasks[start : start + BATCH], skills, rng)
                done = min(start + BATCH, len(tasks))
                reporter.info(f"demonstrations: {done} of {len(tasks)} games, {len(examples)} examples")
    build(recipe, examples, UNITS, out, reporter.info, preset="tiny-alfworld")
    return out
