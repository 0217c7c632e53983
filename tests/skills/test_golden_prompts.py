"""The teacher's prompt of every task type, word by word, as committed in ``golden/BANK/CATEGORY.txt``.

The prompts go the way of training: retrieval, wording, chat template and tokenizer of a bundled policy, and back from
token ids to text.  After a wanted change: SDAR_REGENERATE_GOLDEN=1 pytest tests/skills/test_golden_prompts.py, then
read the difference.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from sdar_cli.config.schema import ModelConfig, RunConfig
from sdar_cli.envs.base import Task, TurnView
from sdar_cli.envs.search.prompt import ADMISSIBLE
from sdar_cli.models.loading import load_tokenizer
from sdar_cli.rollout.episode import Episode, Turn
from sdar_cli.rollout.samples import make_samples
from sdar_cli.skills.bank import Bank, load_bank
from sdar_cli.skills.choose.retriever import Retriever
from sdar_cli.train.teacher import TeacherPrompts

GOLDEN = Path(__file__).parent / "golden"
REGENERATE = "SDAR_REGENERATE_GOLDEN"
MODELS = {"alfworld": "tiny-alfworld", "webshop": "tiny-webshop", "search": "tiny-alfworld"}
"""Whose tokenizer and template; any text survives a tokenizer, so one may serve two environments."""
KITCHEN = (
    "-= Welcome to TextWorld, ALFRED! =-\n\nYou are in the middle of a room. Looking quickly around you, you see a "
    "desk 1, a fridge 1, a microwave 1, a shelf 1, and a sinkbasin 1.\n\nYour task is to: {goal}."
)
WALKS = ("go to desk 1", "go to fridge 1", "go to microwave 1", "go to shelf 1", "go to sinkbasin 1", "help", "look")
SHOP = "WebShop [SEP] Instruction: [SEP] {goal} [SEP] Search"
GOALS = {
    "alfworld": {
        "pick_and_place_simple": "put some book on shelf",
        "look_at_obj_in_light": "look at book under the desklamp",
        "pick_clean_then_place_in_recep": "put a clean cup in shelf",
        "pick_heat_then_place_in_recep": "heat some apple and put it in fridge",
        "pick_cool_then_place_in_recep": "cool some apple and put it in microwave",
        "pick_two_obj_and_place": "put two book in shelf",
    },
    "webshop": {
        "apparel": "i need a blue shirt, size large, and price lower than 40.00 dollars",
        "footwear": "i want black sandals in size 8, and price lower than 50.00 dollars",
        "electronics": "i am looking for a wireless speaker, and price lower than 60.00 dollars",
        "beauty": "find me a shampoo for dry hair, and price lower than 20.00 dollars",
        "home": "i need a beige rug, and price lower than 90.00 dollars",
        "accessories": "i want a leather wallet, and price lower than 30.00 dollars",
        "other": "i would like gluten free crackers, and price lower than 15.00 dollars",
    },
    "search": {
        "direct_retrieval": "when was the harbour of Velmora built?",
        "multi_hop": "where was the author of The Glass Orchard born?",
        "entity_attribute": "what is the capital of Ostravia?",
        "comparison": "which is older, Velmora or Tarnby?",
    },
}
FORMS = {"compact wording, briefs": ("compact", "brief"), "full wording, whole texts": ("full", "full")}
CASES = [(bank, category) for bank, goals in GOALS.items() for category in goals]


def first_view(bank: str, category: str) -> TurnView:
    """What the agent sees first."""
    goal = GOALS[bank][category]
    if bank == "alfworld":
        return TurnView(goal, KITCHEN.format(goal=goal), WALKS)
    if bank == "search":
        return TurnView(goal, "", ADMISSIBLE, env=bank)
    return TurnView(goal, SHOP.format(goal=goal), ("search[<your query>]",), env=bank)


def prompts(bank: Bank, category: str, retrieval: str = "task-type") -> dict[str, tuple[str, str]]:
    """Of each form (teacher's prompt, student's prompt), decoded from the ids that training uses."""
    name = bank.environment
    tokenizer = load_tokenizer(ModelConfig(name=MODELS[name]))
    made = {}
    for title, (style, form) in FORMS.items():
        config = RunConfig.model_validate(
            {
                "env": {"name": name, "prompt": style},
                "skills": {"bank": name, "retrieval": retrieval, "form": form},
                "teacher": {"max_prompt_tokens": 4096},
            }
        )
        student = [0]  # not looked at: a turn must have been played
        kind = next((kind for kind, owner in bank.types.items() if owner == category), category)
        episode = Episode(Task(f"{kind}-0", kind, "train"), 0, 0)
        episode.turns.append(Turn(first_view(name, category), student, [5], "", "look", True, True, [0.0]))
        samples, _ = make_samples([episode], "window", config.algo)
        maker = TeacherPrompts(config, Retriever(bank, config.skills), tokenizer)
        (row,), stats = maker.add_prompts(samples, [episode], 1)
        assert episode.turns[0].teacher_cut == () and stats.problem() == ""
        bare = replace(bank, skills=())
        without = RunConfig.model_validate({**config.model_dump(), "skills": {"bank": name, "retrieval": "full"}})
        taught = tokenizer.decode(row.teacher_prompts[0])
        (plain,), _ = TeacherPrompts(without, Retriever(bare, without.skills), tokenizer).add_prompts(
            samples, [episode], 1
        )
        made[title] = (taught, tokenizer.decode(plain.teacher_prompts[0]))
    return made


def written(made: dict[str, tuple[str, str]]) -> str:
    return "".join(f"==== {title} ====\n{teacher}\n" for title, (teacher, _) in made.items())


@pytest.mark.parametrize(("bank", "category"), CASES)
def test_the_teachers_prompt_is_the_committed_one(bank: str, category: str) -> None:
    found, path = written(prompts(load_bank(bank), category)), GOLDEN / bank / f"{category}.txt"
    if os.environ.get(REGENERATE):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(found, encoding="utf-8")
    assert found == path.read_text(encoding="utf-8"), f"set {REGENERATE}=1 if this is wanted"


@pytest.mark.parametrize(("bank", "category"), CASES)
def test_no_word_of_a_skill_is_lost(bank: str, category: str) -> None:
    """The committed texts hold the whole general and the whole own skill, and none of another type."""
    loaded = load_bank(bank)
    _, briefs, texts = (GOLDEN / bank / f"{category}.txt").read_text(encoding="utf-8").split("==== ")
    for skill in loaded.skills:
        expected = skill.category in ("general", category)
        assert (skill.text in texts) is expected, skill.id
        assert (skill.brief in briefs) is expected, skill.id


@pytest.mark.parametrize("bank", GOALS)
def test_every_category_has_its_file_and_its_own_text(bank: str) -> None:
    assert {path.stem for path in (GOLDEN / bank).glob("*.txt")} == set(load_bank(bank).categories) == set(GOALS[bank])
    texts = [path.read_text(encoding="utf-8") for path in (GOLDEN / bank).glob("*.txt")]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize(
    ("bank", "category"), [("alfworld", "look_at_obj_in_light"), ("webshop", "apparel"), ("search", "comparison")]
)
def test_keywords_find_the_same_skill_and_a_loss_is_noticed(bank: str, category: str) -> None:
    """By keyword the prompt is the same; without the last line of a skill, or without the general one, it is not."""
    loaded, golden = load_bank(bank), (GOLDEN / bank / f"{category}.txt").read_text(encoding="utf-8")
    made = prompts(loaded, category, "keyword")
    assert written(made) == golden
    for teacher, student in made.values():
        assert student != teacher and all(line in teacher for line in student.splitlines())
    own = loaded.of(category)[0]
    shorter = replace(own, text=own.text.rpartition("\n")[0])
    skills = tuple(shorter if skill is own else skill for skill in loaded.skills)
    assert written(prompts(replace(loaded, skills=skills), category)) != golden
    assert written(prompts(replace(loaded, skills=loaded.skills[1:]), category)) != golden
