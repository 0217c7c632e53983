"""Prompts of student and teacher: where the skill stands, and what is cut when the budget is small.

The tokenizer has one token per word.  Compact wording of ``view()``: <|im_start|> user (2), Task: and the goal (6),
Now: (1) and the observation (4), Actions: (1), go far, look around (4), <|im_end|> (1), <|im_start|> assistant (2): 21.
"""

from __future__ import annotations

import pytest
from skills.material import BROKEN, CHATML, DROPS_SYSTEM, REFUSES_SYSTEM, THINKING, view, word_tokenizer

from sdar_cli.base.errors import ConfigError
from sdar_cli.rollout.prompt import CUTS, PLACEMENTS, PromptTooLongError, count_tokens, encode_prompt

SKILL = "first second third {fourth}"
STUDENT = (
    "<|im_start|>user\nTask: put some pencil on dresser\nNow: o0 o1 o2 o3\nActions:\ngo far\nlook around<|im_end|>\n"
    "<|im_start|>assistant\n"
)
BASE = 21
SPAN = {
    "user": f"Skill: {SKILL}\n",
    "system": f"<|im_start|>system\n{SKILL}<|im_end|>\n",
    "prefix": f"[Privileged Skill Information]\n{SKILL}\n\n",
}
ADDED = {"user": 5, "system": 7, "prefix": 7}
"""Tokens: the heading word and 4; three of the frame and 4; three of the heading and 4."""


@pytest.fixture(scope="module")
def tokenizer():
    return word_tokenizer()


def encode(tokenizer, seen, limit=1000, **kwargs):
    return encode_prompt(tokenizer, seen, style="compact", limit=limit, **kwargs)


def test_student_prompt(tokenizer):
    prompt = encode(tokenizer, view())
    assert prompt.text == STUDENT
    assert len(prompt.ids) == BASE
    assert (prompt.skill_tokens, prompt.cut_tokens, prompt.cut) == (0, 0, ())
    assert not prompt.skill_present


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("style", ["compact", "full"])
@pytest.mark.parametrize("history", [0, 2])
def test_teacher_prompt_is_the_student_prompt_and_the_skill(tokenizer, placement, style, history):
    """Take the inserted span out and the student's prompt remains: the two differ in nothing else."""
    seen = view(history)
    student = encode_prompt(tokenizer, seen, style=style, limit=1000)
    teacher = encode_prompt(tokenizer, seen, style=style, limit=1000, skill=SKILL, placement=placement)
    span = SPAN[placement]
    if (style, placement) == ("full", "user"):
        span = f"Advice for this kind of task:\n{SKILL}\n\n"
    assert teacher.text.count(span) == 1
    assert teacher.text.replace(span, "") == student.text
    assert teacher.skill_present
    assert teacher.skill_tokens == 4
    assert teacher.ids == tokenizer(teacher.text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_place_of_the_skill(tokenizer, placement):
    prompt = encode(tokenizer, view(), skill=SKILL, placement=placement)
    before = "<|im_start|>user\n" if placement == "user" else ""
    assert prompt.text == before + SPAN[placement] + STUDENT.removeprefix(before)
    assert len(prompt.ids) == BASE + ADDED[placement]


def test_prefix_is_that_of_the_released_code(tokenizer):
    prompt = encode(tokenizer, view(), skill="a b", placement="prefix")
    assert prompt.text.startswith("[Privileged Skill Information]\na b\n\n<|im_start|>user\n")


def test_prompts_never_contain_a_response(tokenizer):
    """The prompt ends where the response begins, so the sampled ids follow unchanged after either prompt."""
    for placement in PLACEMENTS:
        assert encode(tokenizer, view(2), skill=SKILL, placement=placement).text.endswith("<|im_start|>assistant\n")
    assert "help" not in encode(tokenizer, view()).text


def test_thinking_reaches_the_template():
    tokenizer = word_tokenizer(THINKING)
    assert encode(tokenizer, view(), thinking=False).text.endswith("assistant\n<think>\n\n</think>\n")
    assert encode(tokenizer, view(), thinking=True).text.endswith("assistant\n")


# What is cut.  With 2 past pairs (4 tokens each) and the skill (5 with its heading): 21 + 8 + 5 = 34.
CASES = {
    34: (34, (), 4, ["saw0", "saw1", "o3", "{fourth}"], []),
    33: (30, ("history",), 4, ["saw1", "o3", "{fourth}"], ["saw0"]),
    29: (26, ("history",), 4, ["o3", "{fourth}"], ["saw1"]),
    # two words of the observation and the mark are 3 tokens instead of 4
    25: (25, ("history", "observation"), 4, ["o1 ...", "{fourth}"], ["saw1", "o2"]),
    23: (23, ("history", "observation"), 4, ["Now: ...", "{fourth}"], ["o0"]),
    # the observation is down to the mark: 18; then the heading and one word less for each token
    22: (22, ("history", "observation", "skill"), 3, ["Skill: first second third\n"], ["{fourth}"]),
    20: (20, ("history", "observation", "skill"), 1, ["Skill: first\n"], ["second"]),
    19: (18, ("history", "observation", "skill"), 0, ["user\nTask:"], ["Skill:"]),
    18: (18, ("history", "observation", "skill"), 0, ["user\nTask:"], ["Skill:"]),
}


@pytest.mark.parametrize("limit", CASES)
def test_cutting_goes_history_observation_skill(tokenizer, limit):
    tokens, cut, skill_tokens, kept, gone = CASES[limit]
    prompt = encode(tokenizer, view(history=2), limit, skill=SKILL)
    assert len(prompt.ids) == tokens
    assert prompt.cut == cut
    assert prompt.cut_tokens == 34 - tokens
    assert prompt.skill_tokens == skill_tokens
    assert prompt.skill_present == (skill_tokens > 0)
    assert all(word in prompt.text for word in kept)
    assert not any(word in prompt.text for word in gone)


def test_order_of_cutting_is_fixed():
    assert list(CUTS) == ["history", "observation", "skill"]


def test_the_task_line_of_a_first_observation_is_not_cut_twice(tokenizer):
    """The banner and the task line of the engine are no part of the observation's words."""
    from dataclasses import replace

    raw = "-= Welcome to TextWorld, ALFRED! =-\n\no0 o1 o2 o3\n\nYour task is to: put some pencil on dresser."
    assert encode(tokenizer, replace(view(), observation=raw)).text == STUDENT
    cut = encode(tokenizer, replace(view(), observation=raw), BASE - 1)
    assert "Now: o0 o1 ...\n" in cut.text
    assert cut.cut == ("observation",)


@pytest.mark.parametrize("placement", ["system", "prefix"])
def test_an_emptied_skill_leaves_the_student_prompt(tokenizer, placement):
    prompt = encode(tokenizer, view(words=0), BASE - 4, skill=SKILL, placement=placement)
    assert prompt.cut == ("skill",)
    assert not prompt.skill_present
    assert prompt.text == encode(tokenizer, view(words=0)).text


def test_too_long_names_the_keys_and_the_size(tokenizer):
    with pytest.raises(PromptTooLongError) as caught:
        encode(tokenizer, view(history=2), 17)
    assert (caught.value.needed, caught.value.limit) == (18, 17)
    assert caught.value.fix == "--set model.max_prompt_tokens=29"
    with pytest.raises(PromptTooLongError) as caught:
        encode(tokenizer, view(history=2), 17, skill=SKILL)
    assert "18 tokens" in caught.value.what
    assert caught.value.fix == "--set teacher.max_prompt_tokens=34 --set model.max_prompt_tokens=34"
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("template", "message"),
    [(REFUSES_SYSTEM, "teacher.placement=system"), (DROPS_SYSTEM, "teacher.placement=system")],
    ids=["refuses", "drops"],
)
def test_templates_without_a_system_role(template, message):
    tokenizer = word_tokenizer(template)
    with pytest.raises(ConfigError, match=message) as caught:
        encode(tokenizer, view(), skill=SKILL, placement="system")
    assert caught.value.fix == "--set teacher.placement=user"
    assert encode(tokenizer, view(), placement="system").text == STUDENT
    assert encode(tokenizer, view(), skill=SKILL).skill_present


def test_other_template_errors_are_not_blamed_on_the_placement():
    with pytest.raises(ConfigError, match="cannot be rendered") as caught:
        encode(word_tokenizer(BROKEN), view(), skill=SKILL)
    assert caught.value.why == "never works"


def test_unknown_placement(tokenizer):
    with pytest.raises(ConfigError, match="unknown placement 'usr'"):
        encode(tokenizer, view(), skill=SKILL, placement="usr")


def test_common_case_encodes_the_prompt_once(monkeypatch):
    tokenizer = word_tokenizer(CHATML)
    texts = []
    original = type(tokenizer).__call__
    monkeypatch.setattr(
        type(tokenizer), "__call__", lambda self, text, **kw: texts.append(text) or original(self, text, **kw)
    )
    for turn in range(5):
        encode(tokenizer, view(turn), skill=SKILL)
    assert texts.count(SKILL) == 1
    assert len(texts) == 6


def test_count_tokens_is_kept_per_tokenizer():
    assert count_tokens(word_tokenizer(), "a b c") == 3
