"""The builder ``llm``: a chat model reads won and lost episodes of a task type and writes skills.

One question per task type.  An answer must be JSON of a schema, its evidence must name episodes it was shown; if not,
the model is asked again with what was wrong.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Annotated

from pydantic import Field, ValidationError

from sdar_cli.base.blocks import without_blocks
from sdar_cli.base.errors import RunFailedError
from sdar_cli.config.schema import Section
from sdar_cli.envs.base import Trace
from sdar_cli.models.chat import Chat, Message
from sdar_cli.skills.bank import Skill
from sdar_cli.skills.build.traces import references
from sdar_cli.skills.duplicates import similar_pairs
from sdar_cli.skills.write import one_line

CHARACTERS = 4
"""Per token, for estimates."""
SEEN = 240
"""Characters of an observation that are shown."""

SYSTEM = (
    "You study records of an agent's attempts at tasks and write down what another agent should know before it tries. "
    "You answer with one JSON object and nothing else."
)
QUESTION = """The environment is {env}. All attempts below are at tasks of the type "{kind}": {won} won, {lost} lost.

Find what the won attempts did and the lost ones did not: the order of the steps, what has to be done before what, what
wastes turns. Write at most {most} skills. A skill must hold for other tasks of this type, with other objects and
places, so it names no numbered thing of one attempt. It states what to do, not what happened.

Each skill has:
- title: at most eight words
- when: one sentence, in which situation it applies
- brief: the advice in one short sentence, an instruction
- advice: the whole advice, in a few short lines
- evidence: the numbers of the attempts it rests on

The JSON schema of your answer:
{schema}

The attempts:

{attempts}"""
AGAIN = "That answer cannot be used: {problem}. Answer once more, with one JSON object of the schema and nothing else."

Words = Annotated[str, Field(min_length=3, max_length=4000)]


class Rule(Section):
    """One skill of an answer."""

    title: Words
    when: Words
    brief: Words
    advice: Words
    evidence: tuple[int, ...] = Field(min_length=1)


class Answer(Section):
    """An answer."""

    skills: tuple[Rule, ...] = Field(min_length=1)


@dataclass(frozen=True)
class Asking:
    """prompt_tokens: estimated size of a question's episodes; most: skills per type; retries: of an unusable answer."""

    prompt_tokens: int = 6000
    answer_tokens: int = 2000
    most: int = 3
    retries: int = 2


@dataclass(frozen=True)
class Question:
    """What is asked about one task type.  ``shown``: its episodes, numbered from 1 in the text."""

    kind: str
    shown: tuple[Trace, ...]
    messages: tuple[Message, ...]

    @property
    def tokens(self) -> int:
        """Estimated tokens of the messages."""
        return sum(len(message["content"]) for message in self.messages) // CHARACTERS


def questions(traces: Sequence[Trace], env: str, asking: Asking) -> list[Question]:
    """One per task type, with as many episodes as fit, won and lost in turn."""
    asked = []
    for kind in sorted({trace.type for trace in traces}):
        of_type = [trace for trace in traces if trace.type == kind]
        shown, text = _chosen(of_type, asking.prompt_tokens * CHARACTERS)
        content = QUESTION.format(
            env=env,
            kind=kind,
            won=sum(trace.won for trace in shown),
            lost=sum(not trace.won for trace in shown),
            most=asking.most,
            schema=json.dumps(Answer.model_json_schema()),
            attempts=text,
        )
        messages = ({"role": "system", "content": SYSTEM}, {"role": "user", "content": content})
        asked.append(Question(kind, shown, messages))
    return asked


def cost_line(asked: Sequence[Question], chat: Chat, model: str, asking: Asking) -> str:
    """What building will take, before it starts."""
    episodes, tokens = sum(len(q.shown) for q in asked), sum(q.tokens for q in asked)
    return (
        f"{model} ({chat.where}): {len(asked)} requests about {episodes} episodes, about {tokens:,} prompt tokens and "
        f"at most {len(asked) * asking.answer_tokens:,} answer tokens; up to {1 + asking.retries} times that where "
        "answers are unusable"
    )


def write_skills(
    asked: Sequence[Question], chat: Chat, asking: Asking, progress: Callable[[], None]
) -> tuple[list[Skill], list[str]]:
    """(skills, warnings).  Raises RunFailedError where a model gives no usable answer."""
    skills: list[Skill] = []
    for question in asked:
        answer = ask(question, chat, asking)
        skills += [_skill(question, number, rule) for number, rule in enumerate(answer.skills[: asking.most], 1)]
        progress()
    return without_repeats(skills)


def ask(question: Question, chat: Chat, asking: Asking) -> Answer:
    """A valid answer; an invalid one is sent back with its fault, up to ``retries`` times."""
    messages, problem = list(question.messages), ""
    for _ in range(1 + asking.retries):
        text = chat.ask(messages, Answer.model_json_schema())
        try:
            return _parsed(text, len(question.shown))
        except ValueError as error:
            problem = one_line(str(error))
            answer = {"role": "assistant", "content": text}
            messages = [*question.messages, answer, {"role": "user", "content": AGAIN.format(problem=problem)}]
    raise RunFailedError(
        f"no usable answer about {question.kind} in {1 + asking.retries} tries",
        why=f"the last one: {problem}",
        fix="a larger model, or --builder contrast, which needs none; nothing was written",
    )


def without_repeats(skills: Sequence[Skill]) -> tuple[list[Skill], list[str]]:
    """Skills without near-duplicates in one category; the kept one takes over the sources."""
    kept = list(skills)
    gone: dict[int, int] = {}
    for pair in similar_pairs([skill.text for skill in skills]):
        earlier = gone.get(pair.earlier, pair.earlier)
        if skills[pair.later].category == skills[earlier].category:
            gone[pair.later] = earlier
            merged = dict.fromkeys([*kept[earlier].sources, *kept[pair.later].sources])
            kept[earlier] = replace(kept[earlier], sources=tuple(merged))
    warnings = [f"{skills[a].id} repeats {skills[b].id} and was left out" for a, b in gone.items()]
    return [skill for number, skill in enumerate(kept) if number not in gone], warnings


def _parsed(text: str, shown: int) -> Answer:
    """Raises ValueError with what is wrong."""
    said = without_blocks(text, "think")
    start, end = said.find("{"), said.rfind("}")
    if not 0 <= start < end:
        raise ValueError("it holds no JSON object")
    try:
        answer = Answer.model_validate_json(said[start : end + 1])
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc'])) or 'the JSON'}: {first['msg']}") from error
    foreign = sorted({n for rule in answer.skills for n in rule.evidence if not 1 <= n <= shown})
    if foreign:
        raise ValueError(f"evidence names attempt {foreign[0]}, and there are 1 to {shown}")
    return answer


def _skill(question: Question, number: int, rule: Rule) -> Skill:
    return Skill(
        id=f"{question.kind}-{number}",
        category=question.kind,
        when=one_line(rule.when),
        brief=one_line(rule.brief),
        text=f"# {one_line(rule.title)}\n\n{rule.advice.strip()}",
        path="",
        sources=references(question.shown[n - 1] for n in set(rule.evidence)),
    )


def _chosen(traces: Sequence[Trace], room: int) -> tuple[tuple[Trace, ...], str]:
    """(episodes, their text) of at most ``room`` characters, at least one: the shortest won and lost ones in turn."""
    won, lost = (sorted((t for t in traces if t.won is each), key=lambda t: len(t.acts)) for each in (True, False))
    order = [trace for pair in zip_longest(won, lost) for trace in pair if trace is not None]
    shown: list[Trace] = []
    parts: list[str] = []
    for trace in order:
        text = _attempt(len(shown) + 1, trace)
        if shown and sum(map(len, parts)) + len(text) > room:
            break
        shown.append(trace)
        parts.append(text)
    return tuple(shown), "\n\n".join(parts)


def _attempt(number: int, trace: Trace) -> str:
    lines = [f"Attempt {number}, {'won' if trace.won else 'lost'}. Goal: {one_line(trace.goal)}"]
    for act in trace.acts:
        if act.observation:
            lines.append(f"  saw: {one_line(act.observation)[:SEEN]}")
        lines.append(f"  did: {one_line(act.action)}{'' if act.acted else ' (not possible)'}")
    return "\n".join(lines)
