"""Choices of a run: functions of state, step and task; what is learnt is saved and changes them."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import toy

from sdar_cli.base.errors import ConfigError, PrerequisiteError
from sdar_cli.config.schema import RunConfig, SkillsConfig
from sdar_cli.rollout.episode import Episode
from sdar_cli.session import SKILLS_FILE, load_skills
from sdar_cli.skills.bank import load_bank
from sdar_cli.skills.choose.evolve import Change
from sdar_cli.skills.choose.retriever import Retriever
from sdar_cli.skills.choose.similar import Similarity
from sdar_cli.skills.choose.strategies import RETRIEVALS
from sdar_cli.train.preflight import missing

BANK = load_bank("alfworld")
HEAT, COOL = "pick_heat_then_place_in_recep", "pick_cool_then_place_in_recep"
GOAL = "heat some apple and put it in fridge"
TASK = toy.task(1, 0, HEAT)


def make(**settings) -> Retriever:
    return Retriever(BANK, SkillsConfig(**settings), seed=3)


def ids(choice) -> list[str]:
    return [skill.id for skill in choice.skills]


def test_ucb_tries_every_skill_of_the_bank_and_then_the_best() -> None:
    """The general skill is one of the seven arms, and one skill is given at a time."""
    retriever, tried = make(), []
    for step in range(7):
        choice = retriever.choose("ucb", TASK, GOAL, step)
        assert len(choice.skills) == 1 and choice.scores.keys() == {skill.id for skill in BANK.skills}
        tried += ids(choice)
        retriever.bandit.update(HEAT, tried[-1], 0.9 if tried[-1] == COOL else 0.1)
    assert tried == sorted(skill.id for skill in BANK.skills)
    assert ids(retriever.choose("ucb", TASK, GOAL, 7)) == [COOL], "what brought rewards, whatever it is called"
    assert ids(retriever.choose("ucb", toy.task(1, 0, COOL), GOAL, 7)) == ["general"], "another type starts anew"


def test_an_evaluation_explores_nothing_and_changes_nothing() -> None:
    retriever = make(ucb_c=100.0)
    assert ids(retriever.choose("ucb", TASK, GOAL)) == ["general"], "no reward yet: the first by id"
    for skill, reward in ((HEAT, 0.6), (COOL, 0.5), (COOL, 0.8)):
        retriever.bandit.update(HEAT, skill, reward)
    before = retriever.state()
    found = retriever.choose("ucb", TASK, GOAL)
    assert ids(found) == [COOL] and found.scores == {COOL: 0.65, HEAT: 0.6}
    assert retriever.state() == before
    assert ids(retriever.choose("ucb", TASK, GOAL, 1)) == ["general"], "in training the untried come first"


def test_the_choice_is_a_function_of_state_step_and_task() -> None:
    first, second = make(), make()
    for strategy in ("ucb", "random", "keyword", "task-type"):
        for step in range(5):
            assert first.choose(strategy, TASK, GOAL, step) == second.choose(strategy, TASK, GOAL, step)


def test_random_draws_one_skill_anew_for_every_step_and_task() -> None:
    retriever = make()
    drawn = Counter(
        ids(retriever.choose("random", toy.task(1, n, HEAT), GOAL, step))[0] for n in range(40) for step in range(40)
    )
    assert drawn.keys() == {skill.id for skill in BANK.skills}
    assert all(abs(count - 1600 / 7) < 75 for count in drawn.values())  # five standard deviations of 14
    by_step = {ids(retriever.choose("random", TASK, GOAL, step))[0] for step in range(40)}
    assert len(by_step) > 3
    other = Retriever(BANK, SkillsConfig(), seed=4)
    assert any(
        ids(other.choose("random", TASK, GOAL, step)) != ids(retriever.choose("random", TASK, GOAL, step))
        for step in range(5)
    )
    assert ids(other.choose("random", TASK, GOAL)) == ids(retriever.choose("random", TASK, GOAL)), "evaluations agree"


def test_one_choice_per_group(tokenizer) -> None:
    """All episodes of a group share it; a group in which no turn was played has none."""
    episodes, _, _ = toy.collect(toy.config(), tokenizer, [(TASK, 0), (TASK, 0), (toy.task(0), 1)])
    chosen = make().choose_for_groups([*episodes, Episode(TASK, 2, 3)], {"random", "keyword"}, step=2)
    assert sorted(chosen) == [0, 1]
    assert sorted(chosen[0]) == ["keyword", "random"]
    assert chosen[0]["random"] == make().choose("random", TASK, toy.GOAL, 2)


def test_dropped_skills_are_gone_for_their_type_only() -> None:
    retriever = make()
    assert retriever.apply(HEAT, Change(HEAT, "no help")) == "kept", "the last of the type's category"
    assert retriever.apply(HEAT, Change("general", "no help")) == "kept"
    for skill in BANK.skills:
        if skill.category not in ("general", HEAT):
            assert retriever.apply(HEAT, Change(skill.id, "no help")) == "dropped", "it stays with its own type"
    assert retriever.dropped.keys() == {HEAT} and len(retriever.bank_for(HEAT).skills) == 2
    bank = replace(BANK, skills=(*BANK.skills, replace(BANK.of(HEAT)[0], id="heat-2", text="Twice.", brief="twice")))
    retriever = Retriever(bank, SkillsConfig())
    assert retriever.apply(HEAT, Change(HEAT, "no help")) == "dropped"
    assert ids(retriever.choose("task-type", TASK, GOAL, 1)) == ["general", "heat-2"]
    assert HEAT in ids(retriever.choose("full", toy.task(1, 0, COOL), GOAL, 1))
    assert retriever.apply(HEAT, Change("heat-2", "no help")) == "kept"
    lone = Retriever(replace(BANK, skills=BANK.of(COOL)), SkillsConfig())
    assert lone.apply(HEAT, Change(COOL, "no help")) == "kept", "there is nothing else"
    with pytest.raises(ConfigError, match="is not given"):
        retriever.apply(HEAT, Change(HEAT, "again"))


def test_rewritten_skills_are_shown_to_all() -> None:
    retriever, skill = make(), BANK.of(HEAT)[0]
    assert retriever.apply(HEAT, Change(HEAT, "better", replace(skill, brief="new words"))) == "rewritten"
    assert retriever.choose("task-type", TASK, GOAL, 1).skills[1].brief == "new words"
    for wrong in (replace(skill, id="other"), replace(skill, category=COOL), replace(skill, brief=" ")):
        with pytest.raises(ConfigError, match="to something else"):
            retriever.apply(HEAT, Change(HEAT, "better", wrong))


def test_a_type_under_another_name_keeps_its_category() -> None:
    search = Retriever(load_bank("search"), SkillsConfig())
    assert search.apply("bridge", Change(search.bank.of("multi_hop")[0].id, "no help")) == "kept"
    assert search.apply("bridge", Change(search.bank.of("comparison")[0].id, "no help")) == "dropped"


def test_the_state_is_json_and_complete() -> None:
    skill = replace(BANK.of(HEAT)[0], id="heat-2")
    bank = replace(BANK, skills=(*BANK.skills, skill))
    retriever = Retriever(bank, SkillsConfig())
    retriever.bandit.update(HEAT, COOL, 0.3)
    retriever.apply(HEAT, Change("heat-2", "no help"))
    retriever.apply(COOL, Change("general", "better", replace(BANK.skills[0], text="New.")))
    retriever.memory["seen"] = {HEAT: 3}
    again = Retriever(bank, SkillsConfig())
    again.load(json.loads(json.dumps(retriever.state())))
    assert again.state() == retriever.state()
    for kind in (HEAT, COOL):
        for strategy in ("ucb", "full", "random"):
            task = toy.task(1, 0, kind)
            assert again.choose(strategy, task, GOAL, 1) == retriever.choose(strategy, task, GOAL, 1)
    assert Retriever(bank, SkillsConfig()).state() != retriever.state()


class Words:
    """An encoder: a vector of length one per text, an axis for each word it knows."""

    AXES = ("heat", "cool", "light", "clean")

    def _vectors(self, texts: list[str]) -> np.ndarray:
        counts = np.array([[0.01 + text.lower().count(word) for word in self.AXES] for text in texts])
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)

    def passages(self, passages) -> np.ndarray:
        self.asked = [f"{p.title} {p.text}" for p in passages]
        return self._vectors(self.asked)

    def queries(self, queries) -> np.ndarray:
        return self._vectors(list(queries))


def test_embedding_gives_the_general_skills_and_the_most_similar_one() -> None:
    retriever = make(embedding_model="words")
    similarity = Similarity.__new__(Similarity)
    similarity._encoder, similarity._goals, similarity._skills = Words(), {}, {}
    retriever._similarity = similarity
    choice = retriever.choose("embedding", toy.task(1, 0, "unknown"), GOAL, 1)
    assert ids(choice) == ["general", HEAT], "the goal is read, not the type"
    assert "general" not in choice.scores and len(choice.scores) == 6
    assert similarity._encoder.asked[0] == f"{BANK.skills[1].when} {BANK.skills[1].brief}"
    similarity._encoder.asked = []
    assert ids(retriever.choose("embedding", TASK, "cool some apple", 1)) == ["general", COOL]
    assert similarity._encoder.asked == [], "skills are encoded once"


def test_a_real_encoder_from_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """sentence-transformers on random weights: length-one vectors, and equal texts have cosine 1."""
    transformers = pytest.importorskip("sentence_transformers")
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = ["[UNK]", "[PAD]", *sorted({w for skill in BANK.skills for w in f"{skill.when} {skill.brief}".split()})]
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="[UNK]", pad_token="[PAD]")
    tokenizer.save_pretrained(tmp_path / "bert")
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        pad_token_id=1,
    )
    BertModel(config).save_pretrained(tmp_path / "bert")
    body = Transformer(str(tmp_path / "bert"))
    pooling = Pooling(32, "mean")
    transformers.SentenceTransformer(modules=[body, pooling], device="cpu").save(str(tmp_path / "encoder"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    skill = BANK.of(HEAT)[0]
    scores = Similarity(str(tmp_path / "encoder")).scores(f"{skill.when}\n{skill.brief}", BANK.skills)
    assert scores[HEAT] == pytest.approx(1.0, abs=1e-5) and max(scores.values()) == scores[HEAT]
    assert all(value < 0.99999 for name, value in scores.items() if name != HEAT)


def test_an_encoder_that_is_not_there_is_not_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdar_cli.models.hub.find_spec", lambda name: object())  # the packages of the extra are there
    with pytest.raises(PrerequisiteError, match="missing: encoder nobody/nothing") as caught:
        make(embedding_model="nobody/nothing").choose("embedding", TASK, GOAL)
    assert "hf download nobody/nothing" in str(caught.value.fix)
    config = RunConfig.model_validate({"skills": {"retrieval": "embedding", "embedding_model": "nobody/nothing"}})
    assert [each.fix for each in missing(config)] == ["hf download nobody/nothing"], "before a run is made"


def test_without_the_package_the_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdar_cli.models.hub.find_spec", lambda name: None)
    with pytest.raises(PrerequisiteError) as caught:
        make(embedding_model=str(tmp_path)).choose("embedding", TASK, GOAL)
    assert "pip install 'sdar[dense]'" in str(caught.value.fix)


def test_a_checkpoint_of_another_bank_says_nothing_of_this_one(tmp_path: Path) -> None:
    retriever = make()
    retriever.bandit.update(HEAT, HEAT, 1.0)
    (tmp_path / SKILLS_FILE).write_text(json.dumps(retriever.state()))
    same, other = make(), Retriever(replace(BANK, sha256="0"), SkillsConfig())
    assert load_skills(same, tmp_path) and same.state() == retriever.state()
    assert not load_skills(other, tmp_path) and other.bandit.arms == {}
    assert not load_skills(make(), tmp_path / "nothing")


def test_every_strategy_works_on_every_type_of_the_bank() -> None:
    for strategy in RETRIEVALS.keys() - {"embedding", "none", "released"}:
        for kind in BANK.categories:
            assert make().choose(strategy, toy.task(1, 0, kind), "", 1).skills
    with pytest.raises(ConfigError, match="unknown retrieval 'best'"):
        make().choose("best", TASK, GOAL)
